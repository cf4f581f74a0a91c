//! The account in memory, and each process's way to it, on which everything can go wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use talon_core::clock::Clock;
use talon_core::cloud::{
    ApiMessage, BucketInfo, BucketRef, CallCx, Cloud, CloudError, CloudResult, CreatedToken,
    NewBucket, NewToken, ObjectPage, PendingUpload, SecretChange, TokenCheck, TokenInfo,
    WorkerInfo, WorkerSettings, WorkerUpload, WorkerVersion,
};
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::dice::SharedDice;
use super::faults::{CallFault, Faults};
use super::seat::{Moment, Seat};
use super::time::VirtualClock;
use super::world::{Catalog, World};

/// A write is not begun with less than this left, as in the real client.
const LEAST_FOR_A_WRITE: Duration = Duration::from_secs(2);

/// What is behind every process's [`SimCloud`].
pub struct Account {
    state: Mutex<AccountState>,
    /// Cloudflare's own clock.
    pub clock: Arc<VirtualClock>,
    dice: SharedDice,
    started: VirtualClock,
    trace: bool,
}

/// The account, its faults, and what was done to it.
#[derive(Debug, Default)]
pub struct AccountState {
    /// Workers, buckets, tokens.
    pub world: World,
    /// What goes wrong.
    pub faults: Faults,
    /// Calls sent that change something, by operation.
    pub writes: BTreeMap<&'static str, u64>,
    /// When something was last done to a thing that its agent's passes could not know of, by its name.
    pub disturbed: BTreeMap<String, DateTime<Utc>>,
    /// What happened, for people; kept only when somebody wants to read it.
    pub story: Vec<String>,
}

impl AccountState {
    /// How many calls were sent that change something.
    pub fn calls(&self) -> u64 {
        self.writes.values().sum()
    }
}

impl Account {
    /// An empty account on this clock.
    pub fn new(clock: Arc<VirtualClock>, dice: SharedDice, trace: bool) -> Self {
        Self {
            state: Mutex::new(AccountState::default()),
            clock,
            dice,
            started: VirtualClock::new(0),
            trace,
        }
    }

    /// The account as it is.
    pub fn state(&self) -> MutexGuard<'_, AccountState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the history began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes a line of the story.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if self.trace {
            let at = self.started.elapsed().as_millis();
            let line = format!("{:>6}.{:03} {}", at / 1000, at % 1000, line());
            self.state().story.push(line);
        }
    }

    /// Somebody else changes something, behind Talon's back.
    pub fn outside<T>(&self, what: &str, change: impl FnOnce(&mut World, DateTime<Utc>) -> T) -> T {
        self.tell(|| format!("somebody: {what}"));
        let now = self.clock.now();
        let mut state = self.state();
        state.world.remember(now);
        change(&mut state.world, now)
    }

    /// Notes that a thing is not as its agent's passes can know.
    pub fn disturb(&self, name: &str) {
        let now = self.clock.now();
        self.state().disturbed.insert(name.to_owned(), now);
    }

    fn carry_out<T>(&self, act: &Act<T>) -> CloudResult<T> {
        let now = self.clock.now();
        let mut state = self.state();
        state.world.remember(now);
        act(&mut state.world, now)
    }
}

type Act<T> = Arc<dyn Fn(&mut World, DateTime<Utc>) -> CloudResult<T> + Send + Sync>;

/// One process's way to the account.
pub struct SimCloud {
    /// The account.
    pub account: Arc<Account>,
    /// The process.
    pub seat: Arc<Seat>,
    /// Longest time a call may take.
    pub timeout: Duration,
}

fn said(call: &'static str, http: Option<u16>, code: Option<i64>, text: &str) -> ApiMessage {
    ApiMessage {
        call,
        http,
        code,
        message: text.to_owned(),
        ray: None,
    }
}

impl SimCloud {
    fn latency(&self) -> Duration {
        let ms = self.account.dice.throw(|d| {
            let slow = d.permille(20);
            d.range(if slow { 1_000..20_000 } else { 5..400 })
        });
        Duration::from_millis(ms)
    }

    fn fate(&self, operation: &'static str) -> Option<CallFault> {
        let mut state = self.account.state();
        *state.writes.entry(operation).or_default() += 1;
        self.account
            .dice
            .throw(|d| state.faults.write(operation, d))
    }

    async fn write<T: Send + 'static>(
        &self,
        cx: CallCx,
        operation: &'static str,
        target: &str,
        act: impl Fn(&mut World, DateTime<Utc>) -> CloudResult<T> + Send + Sync + 'static,
    ) -> CloudResult<T> {
        let act: Act<T> = Arc::new(act);
        // Fixed when the call begins and looked at just before it is sent, as in the real client.
        let until = self.account.elapsed() + cx.remaining.unwrap_or(self.timeout);
        let number = self.seat.number();
        self.seat.alive().await;
        self.seat.may_die(number, Moment::Before).await;
        let left = until.saturating_sub(self.account.elapsed());
        if left < LEAST_FOR_A_WRITE.min(self.timeout) {
            let text = "too little time left; not sent";
            return Err(CloudError::Transient(said(operation, None, None, text)));
        }
        let timeout = self.timeout.min(left);
        let fault = self.fate(operation);
        let there = self.latency().min(timeout / 2);
        let unclear = |text| Err(CloudError::Ambiguous(said(operation, None, None, text)));
        let told = |outcome: &str| {
            self.account
                .tell(|| format!("{operation} {target}: {outcome}"))
        };
        if self.seat.dies_in_flight(number) {
            let ms = self
                .account
                .dice
                .throw(|d| *d.pick(&[10, 3_000, 20_000, 55_000, 80_000]));
            self.send(&act, operation, target, Duration::from_millis(ms), true, 1);
            told("the process dies while it is on its way");
            self.seat.may_die(number, Moment::InFlight).await;
        }
        let answer = match fault {
            Some(CallFault::Throttled(seconds)) => {
                sleep(there).await;
                let retry_after = Duration::from_secs(seconds);
                Err(CloudError::Throttled { retry_after })
            }
            Some(CallFault::Forbidden) => {
                sleep(there).await;
                let text = "Authentication error";
                Err(CloudError::Auth(said(
                    operation,
                    Some(403),
                    Some(10_000),
                    text,
                )))
            }
            Some(CallFault::NotBindable) if operation == "upload" => {
                sleep(there).await;
                let text = "R2 bucket not found";
                Err(CloudError::Invalid(said(
                    operation,
                    Some(400),
                    Some(10_085),
                    text,
                )))
            }
            Some(CallFault::LostBefore | CallFault::NotBindable) => {
                sleep(there).await;
                unclear("502, not carried out")
            }
            Some(CallFault::LostAfter) => {
                let answer = self.send(&act, operation, target, there, true, 1);
                // Whatever it was, it does not arrive.
                let _lost = answer.await;
                sleep(timeout.saturating_sub(there)).await;
                unclear("timeout, carried out")
            }
            Some(CallFault::LandsLate) => {
                let late = self.account.dice.throw(|d| d.range(1_000..59_000));
                let at = timeout + Duration::from_millis(late);
                drop(self.send(&act, operation, target, at, true, 1));
                sleep(timeout).await;
                unclear("timeout, lands late")
            }
            Some(CallFault::Doubled) | None => {
                let times = if fault.is_some() { 2 } else { 1 };
                let answer = self.send(&act, operation, target, there, false, times);
                match answer.await {
                    Ok(answer) => answer,
                    Err(_) => unclear("the other side went away"),
                }
            }
        };
        self.seat.may_die(number, Moment::After).await;
        sleep(self.latency().min(timeout / 2)).await;
        self.seat.alive().await;
        match &answer {
            Ok(_) => told("ok"),
            Err(error) => told(&error.to_string()),
        }
        answer
    }

    /// Sends a request that is carried out whatever becomes of the process.
    fn send<T: Send + 'static>(
        &self,
        act: &Act<T>,
        operation: &'static str,
        target: &str,
        delay: Duration,
        unseen: bool,
        times: u32,
    ) -> oneshot::Receiver<CloudResult<T>> {
        let (answers, answer) = oneshot::channel();
        let (account, act, target) = (self.account.clone(), act.clone(), target.to_owned());
        tokio::spawn(async move {
            sleep(delay).await;
            let mut outcome = account.carry_out(&act);
            for _ in 1..times {
                sleep(Duration::from_millis(20)).await;
                // A second delivery finds what the first one did; its caller hears of what was done.
                let again = account.carry_out(&act);
                if again.is_ok() {
                    outcome = again;
                }
            }
            if unseen {
                account.disturb(&target);
                account.tell(|| {
                    format!(
                        "{operation} {target}: carried out unseen ({})",
                        if outcome.is_ok() { "ok" } else { "refused" }
                    )
                });
            }
            // Nobody may be listening any more.
            let _unheard = answers.send(outcome);
        });
        answer
    }

    async fn read<T>(
        &self,
        call: &'static str,
        read: impl FnOnce(&mut World, DateTime<Utc>) -> CloudResult<T>,
    ) -> CloudResult<T> {
        self.seat.alive().await;
        sleep(self.latency()).await;
        let fault = {
            let mut state = self.account.state();
            self.account.dice.throw(|d| state.faults.read(d))
        };
        let answer = match fault {
            Some(CallFault::Throttled(seconds)) => Err(CloudError::Throttled {
                retry_after: Duration::from_secs(seconds),
            }),
            Some(CallFault::Forbidden) => Err(CloudError::Auth(said(
                call,
                Some(403),
                Some(10_000),
                "Authentication error",
            ))),
            Some(_) => Err(CloudError::Transient(said(call, None, None, "reset"))),
            None => read(&mut self.account.state().world, self.account.clock.now()),
        };
        sleep(self.latency()).await;
        self.seat.alive().await;
        answer
    }

    /// Reads from the account as lists show it: a while ago.
    async fn list<T>(
        &self,
        call: &'static str,
        read: impl FnOnce(&Catalog, DateTime<Utc>) -> T,
    ) -> CloudResult<T> {
        let lag = {
            let state = self.account.state();
            self.account.dice.throw(|d| state.faults.lag(d))
        };
        self.read(call, |world, now| {
            let then = now - chrono::TimeDelta::from_std(lag).unwrap_or_default();
            Ok(read(world.as_of(then), then))
        })
        .await
    }
}

#[async_trait]
impl Cloud for SimCloud {
    fn account_id(&self) -> &str {
        "0123456789abcdef0123456789abcdef"
    }

    fn clock_now(&self) -> Option<DateTime<Utc>> {
        Some(self.account.clock.now())
    }

    async fn account_subdomain(&self, _cx: CallCx) -> CloudResult<Option<String>> {
        self.read("GET subdomain", |_, _| Ok(Some("sim".to_owned())))
            .await
    }

    async fn verify_token(&self, _cx: CallCx) -> CloudResult<TokenCheck> {
        let check = TokenCheck {
            id: "token-0".to_owned(),
            status: "active".to_owned(),
        };
        self.read("GET token", |_, _| Ok(check)).await
    }

    async fn list_workers(&self, _cx: CallCx) -> CloudResult<Vec<WorkerInfo>> {
        let tagless = self.account.state().faults.weather.tagless;
        self.list("GET workers", |c, at| c.list_workers(at, tagless))
            .await
    }

    async fn worker_settings(&self, _cx: CallCx, worker: &str) -> CloudResult<WorkerSettings> {
        self.read("GET worker settings", |w, _| w.settings(worker))
            .await
    }

    async fn secret_names(&self, cx: CallCx, worker: &str) -> CloudResult<Vec<String>> {
        let settings = self.worker_settings(cx, worker).await?;
        let secrets = settings
            .bindings
            .into_iter()
            .filter(|b| b.kind == "secret_text");
        Ok(secrets.map(|b| b.name).collect())
    }

    async fn upload_worker(
        &self,
        cx: CallCx,
        worker: &str,
        upload: WorkerUpload,
    ) -> CloudResult<WorkerVersion> {
        let name = worker.to_owned();
        let act = move |w: &mut World, at| w.upload(&name, &upload, at);
        self.write(cx, "upload", worker, act).await
    }

    async fn delete_worker(&self, cx: CallCx, worker: &str) -> CloudResult<()> {
        let name = worker.to_owned();
        let act = move |w: &mut World, _| w.delete_worker(&name);
        self.write(cx, "delete_worker", worker, act).await
    }

    async fn worker_route(&self, _cx: CallCx, worker: &str) -> CloudResult<bool> {
        let route = |w: &mut World, _| Ok(w.now.workers.get(worker).is_some_and(|w| w.route));
        self.read("GET worker route", route).await
    }

    async fn set_worker_route(&self, cx: CallCx, worker: &str, enabled: bool) -> CloudResult<()> {
        let name = worker.to_owned();
        let act = move |w: &mut World, at| w.route(&name, enabled, at);
        self.write(cx, "route", worker, act).await
    }

    async fn change_secrets(
        &self,
        cx: CallCx,
        worker: &str,
        changes: Vec<SecretChange>,
    ) -> CloudResult<WorkerVersion> {
        let name = worker.to_owned();
        let act = move |w: &mut World, at| w.push(&name, &changes, at);
        self.write(cx, "push", worker, act).await
    }

    async fn list_buckets(
        &self,
        _cx: CallCx,
        jurisdiction: Jurisdiction,
    ) -> CloudResult<Vec<BucketInfo>> {
        if self.account.state().world.secretive == Some(jurisdiction) {
            let text = "this account has no such jurisdiction";
            return Err(CloudError::Auth(said("GET buckets", Some(403), None, text)));
        }
        self.list("GET buckets", |c, _| c.list_buckets(jurisdiction))
            .await
    }

    async fn get_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<BucketInfo> {
        let all = self.list_buckets(cx, bucket.jurisdiction).await?;
        let found = all.into_iter().find(|b| b.name == bucket.name);
        let none = || CloudError::NotFound(said("GET bucket", Some(404), Some(10_006), "none"));
        found.ok_or_else(none)
    }

    async fn create_bucket(&self, cx: CallCx, bucket: &NewBucket) -> CloudResult<BucketInfo> {
        let new = bucket.clone();
        let act = move |w: &mut World, at| w.create_bucket(&new, at);
        self.write(cx, "create_bucket", &bucket.name, act).await
    }

    async fn delete_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<()> {
        let name = bucket.name.clone();
        let act = move |w: &mut World, _| w.delete_bucket(&name);
        self.write(cx, "delete_bucket", &bucket.name, act).await
    }

    async fn list_tokens(&self, _cx: CallCx) -> CloudResult<Vec<TokenInfo>> {
        self.list("GET tokens", |c, _| c.list_tokens()).await
    }

    async fn create_token(&self, cx: CallCx, token: &NewToken) -> CloudResult<CreatedToken> {
        let new = token.clone();
        let act = move |w: &mut World, at| {
            let (id, value) = w.create_token(&new, at);
            Ok(CreatedToken { id, value })
        };
        self.write(cx, "create_token", &token.name, act).await
    }

    async fn roll_token(&self, cx: CallCx, id: &str) -> CloudResult<SecretValue> {
        let token = id.to_owned();
        let act = move |w: &mut World, _| w.roll_token(&token);
        self.write(cx, "roll_token", id, act).await
    }

    async fn delete_token(&self, cx: CallCx, id: &str) -> CloudResult<()> {
        let token = id.to_owned();
        let act = move |w: &mut World, _| w.delete_token(&token);
        self.write(cx, "delete_token", id, act).await
    }

    async fn list_objects(&self, _cx: CallCx, bucket: &BucketRef) -> CloudResult<ObjectPage> {
        self.read("S3 ListObjectsV2", |w, _| {
            let objects = &w.bucket(&bucket.name, "S3 ListObjectsV2")?.objects;
            Ok(ObjectPage {
                keys: objects.iter().take(1000).cloned().collect(),
                truncated: objects.len() > 1000,
            })
        })
        .await
    }

    async fn delete_objects(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        keys: &[String],
    ) -> CloudResult<Vec<String>> {
        let (name, keys) = (bucket.name.clone(), keys.to_vec());
        let act = move |w: &mut World, _| w.delete_objects(&name, &keys);
        self.write(cx, "delete_objects", &bucket.name, act).await
    }

    async fn list_uploads(
        &self,
        _cx: CallCx,
        bucket: &BucketRef,
    ) -> CloudResult<Vec<PendingUpload>> {
        self.read("S3 ListMultipartUploads", |w, _| {
            let uploads = &w.bucket(&bucket.name, "S3 ListMultipartUploads")?.uploads;
            let show = |id: &String| PendingUpload {
                key: "key".to_owned(),
                upload_id: id.clone(),
            };
            Ok(uploads.iter().map(show).collect())
        })
        .await
    }

    async fn abort_upload(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        upload: &PendingUpload,
    ) -> CloudResult<()> {
        let (name, upload) = (bucket.name.clone(), upload.clone());
        let act = move |w: &mut World, _| w.abort_upload(&name, &upload);
        self.write(cx, "abort_upload", &bucket.name, act).await
    }
}
