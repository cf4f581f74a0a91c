//! The agents on the stage, written as the controller writes them; then some times are moved, so that there is a past.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use talon_core::condition::{Condition, ConditionType as T, Reason as R, Truth};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{
    Cleanup, Finish, Intent, Mutation, Outcome, Progress, ResourceWrite, SecretWrite, StatusWrite,
};
use talon_core::resource::{CleanupResult, ResourceKind as K, ResourceState as S};
use talon_core::snapshot::{SecretSource, SecretState};
use talon_core::status::DeploymentStatus as D;
use talon_core::{AgentId, AgentName, AgentSpec, Generation, Owner};
use talon_store::fleet::{Actor, FleetStore};
use talon_store::{ApplyOptions, Claim, Store};
use talon_store_sqlite::SqliteStore;

type Done = Result<(), Box<dyn Error>>;

/// The agent of this name.
pub async fn id_of(store: &SqliteStore, name: &str) -> Result<AgentId, Box<dyn Error>> {
    let found = store.get(name, false).await?;
    Ok(found.ok_or("no such agent on the stage")?.agent.id)
}

/// A daemon as busy as one with a large fleet.
pub struct Daemon;

impl talon_dashboard::Gauge for Daemon {
    fn calls(&self) -> talon_dashboard::Calls {
        talon_dashboard::Calls {
            used: 412,
            paused_for: None,
        }
    }

    fn passes(&self) -> Option<talon_dashboard::Passes> {
        Some(talon_dashboard::Passes {
            count: 512,
            p50: Duration::from_millis(84),
            p99: Duration::from_millis(2_310),
        })
    }

    fn token(&self) -> Option<talon_dashboard::CloudToken> {
        let now = chrono::Utc::now();
        Some(talon_dashboard::CloudToken {
            status: Ok("active".to_owned()),
            expires_on: Some(now + chrono::TimeDelta::days(5)),
            permissions: Some(vec![
                "Workers Scripts Write".to_owned(),
                "Workers R2 Storage Write".to_owned(),
                "Zone Read".to_owned(),
            ]),
            missing: vec!["Account API Tokens Write"],
            asked_at: now - chrono::TimeDelta::minutes(3),
        })
    }
}

fn spec(more: serde_json::Value) -> Result<AgentSpec, serde_json::Error> {
    let mut base = serde_json::json!({
        "persona": "You are a careful research analyst.",
        "instructions": "Cite every claim. Say so when you do not know.",
        "model": "anthropic/claude-sonnet-4-6",
        "apiKeyRefs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"},
        "skills": [{"id": "research", "name": "Research", "description": "Research any topic with sources."}],
    });
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        base.extend(more.clone());
    }
    serde_json::from_value(base)
}

fn condition(kind: T, status: Truth, reason: R, message: &str) -> Mutation {
    Mutation::Condition(Condition {
        kind,
        status,
        reason,
        message: message.to_owned(),
        observed_generation: Generation(1),
    })
}

fn event(severity: Severity, reason: EventReason, object: &str, message: &str) -> Mutation {
    Mutation::Event(NewEvent {
        severity,
        reason,
        object: object.to_owned(),
        message: message.to_owned(),
    })
}

fn status(deployment_status: D, error: Option<&str>) -> Mutation {
    Mutation::Status(StatusWrite {
        deployment_status: Some(deployment_status),
        deployment_error: Some(error.map(str::to_owned)),
        observed_generation: Some(Generation(1)),
        ..StatusWrite::default()
    })
}

fn resource(agent: &str, kind: K, state: S) -> ResourceWrite {
    let name = match kind {
        K::Worker | K::WorkerRoute => format!("{agent}-7f3c0a9e1b"),
        K::R2Bucket | K::R2Objects => format!("openclaw-a1b2c3-{agent}-7f3c0a9e1b"),
        K::R2Token => format!("openclaw/a1b2c3/{agent}"),
        K::AgentCard => format!("ws-agent://{agent}"),
    };
    let mut write = ResourceWrite::new(kind, name, state);
    write.intent = Some(Intent::Open {
        settle_in: Duration::from_secs(90),
    });
    write
}

fn made(agent: &str, kind: K) -> Mutation {
    let mut write = resource(agent, kind, S::Present);
    write.confirmed = true;
    write.outcome = Some(Outcome::Ok);
    Mutation::Resource(write)
}

fn failed(agent: &str, kind: K, error: &str) -> Mutation {
    let mut write = resource(agent, kind, S::Unknown);
    write.outcome = Some(Outcome::Failed(error.to_owned()));
    Mutation::Resource(write)
}

fn cleaned(agent: &str, kind: K, result: CleanupResult, error: Option<&str>) -> Mutation {
    let state = if result == CleanupResult::Failed {
        S::Present
    } else {
        S::Absent
    };
    let mut write = resource(agent, kind, state);
    write.intent = None;
    write.cleanup = Some(Cleanup {
        result,
        error: error.map(str::to_owned),
    });
    Mutation::Resource(write)
}

fn secret(
    name: &str,
    provider: Option<&str>,
    source: SecretSource,
    state: SecretState,
) -> Mutation {
    Mutation::Secret(SecretWrite {
        name: name.to_owned(),
        provider: provider.map(str::to_owned),
        source,
        reference: (source == SecretSource::Reference)
            .then(|| "env:TALON_SECRET_ANTHROPIC".to_owned()),
        state,
        fingerprint: Some(
            "9be1000000000000000000000000000000000000000000000000000000c41e".to_owned(),
        ),
    })
}

/// Everything an agent has when it is live.
fn live(agent: &AgentName, spec: &AgentSpec) -> Vec<Mutation> {
    let identity = talon_core::identity::compile(agent, spec);
    let agent = agent.as_str();
    let mut all = vec![
        Mutation::Names {
            worker: format!("{agent}-7f3c0a9e1b"),
            bucket: format!("openclaw-a1b2c3-{agent}-7f3c0a9e1b"),
            account: "0123456789abcdef0123456789abcdef".to_owned(),
        },
        Mutation::Identity {
            markdown: identity.markdown,
            sha256: identity.sha256,
        },
    ];
    all.extend(
        [
            K::R2Bucket,
            K::R2Token,
            K::Worker,
            K::WorkerRoute,
            K::AgentCard,
        ]
        .map(|kind| made(agent, kind)),
    );
    all.extend([
        secret(
            "ANTHROPIC_API_KEY",
            Some("anthropic"),
            SecretSource::Reference,
            SecretState::Verified,
        ),
        secret(
            "AUTH_TOKEN",
            None,
            SecretSource::Generated,
            SecretState::Pushed,
        ),
        Mutation::Status(StatusWrite {
            worker_url: Some(Some(format!(
                "https://{agent}-7f3c0a9e1b.example.workers.dev"
            ))),
            has_anthropic_key: Some(true),
            ..StatusWrite::default()
        }),
        Mutation::Latch {
            generation: Generation(1),
        },
        status(D::Deployed, None),
        condition(T::Ready, Truth::True, R::Deployed, "generation 1"),
        condition(T::Reconciling, Truth::False, R::Idle, ""),
        condition(T::Stalled, Truth::False, R::AsExpected, ""),
        condition(T::WorkerReady, Truth::True, R::Deployed, "version 9d0e1c"),
        condition(T::StorageReady, Truth::True, R::Provisioned, ""),
        condition(T::TokenReady, Truth::True, R::Provisioned, ""),
        condition(T::SecretsReady, Truth::True, R::Pushed, "2 of 2"),
        condition(T::Registered, Truth::True, R::CardAccepted, ""),
        condition(T::HubConnected, Truth::True, R::Registered, "session 51d2"),
    ]);
    all
}

/// What is written of an agent that needs somebody before anything was made.
fn stalled(reason: R, said: &str) -> Vec<Mutation> {
    vec![
        status(D::Failed, Some(&format!("{reason}: {said}"))),
        condition(T::Stalled, Truth::True, reason, said),
        condition(T::Ready, Truth::False, R::NotDeployed, ""),
        event(Severity::Warning, EventReason::Stalled, "agent", said),
    ]
}

struct Stage<'s> {
    store: &'s SqliteStore,
}

impl Stage<'_> {
    async fn create(&self, name: &str, owner: &str, spec: &AgentSpec) -> Done {
        self.store
            .apply(
                &AgentName::parse(name)?,
                &Owner(owner.to_owned()),
                spec,
                ApplyOptions::default(),
            )
            .await?;
        Ok(())
    }

    async fn claims(&self) -> Result<BTreeMap<String, Claim>, Box<dyn Error>> {
        let mut claims = BTreeMap::new();
        for claim in self
            .store
            .claim_due("talon-1 pid 4711", Duration::from_secs(600), 50_000)
            .await?
        {
            if let Some(s) = self.store.load(claim.agent_id).await? {
                claims.insert(s.agent.name.to_string(), claim);
            }
        }
        Ok(claims)
    }

    async fn pass(
        &self,
        claim: &Claim,
        mutations: Vec<Mutation>,
        progress: Progress,
        next: Option<u64>,
    ) -> Done {
        let Some(s) = self.store.load(claim.agent_id).await? else {
            return Ok(());
        };
        let finish = Finish {
            mutations,
            loaded_generation: s.agent.generation,
            loaded_reconcile_requested_at: s.agent.reconcile_requested_at,
            loaded_hold: None,
            next_due_in: next.map(Duration::from_secs),
            progress,
            plan_report: None,
        };
        Ok(self.store.finish(claim, &finish).await?)
    }
}

/// What nobody should take for markup.
pub const MARKUP: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp; </textarea></pre><b>bold</b> {{7*7}}";

/// Makes the fleet.
pub async fn make(store: &SqliteStore, url: &str, more: u32) -> Done {
    let stage = Stage { store };
    let plain = spec(serde_json::json!({}))?;
    for name in ["research-pro", "travel-planner", "quiet-owl"] {
        stage.create(name, "default", &plain).await?;
    }
    let long = "A very long description that goes on and on. ".repeat(40);
    let wide = "x".repeat(95);
    stage.create("very-long-values-agent-name-30", "default", &spec(serde_json::json!({"displayName": wide, "description": long, "persona": long, "keepAlive": true, "visibility": "public"}))?).await?;
    stage.create("markup-bot", "default", &spec(serde_json::json!({"displayName": "<b>Markup</b>", "persona": MARKUP, "instructions": MARKUP, "description": MARKUP}))?).await?;
    // Its key came over HTTP: no reference can supply it again.
    stage
        .create(
            "legal-bot",
            "default",
            &spec(serde_json::json!({"apiKeyRefs": {}}))?,
        )
        .await?;
    for name in ["name-taken", "locked-out"] {
        stage.create(name, "default", &plain).await?;
    }
    stage.create("invoice-helper", "default", &plain).await?;
    stage
        .create(
            "news-digest",
            "default",
            &spec(serde_json::json!({"keepAlive": true}))?,
        )
        .await?;
    stage.create("fresh-agent", "default", &plain).await?;
    stage
        .create(
            "keyless-bot",
            "default",
            &spec(serde_json::json!({"model": "openai/gpt-5", "apiKeyRefs": {}}))?,
        )
        .await?;
    stage.create("napping-cat", "default", &plain).await?;
    stage.create("old-helper", "default", &plain).await?;
    stage.create("left-behind", "default", &plain).await?;
    stage.create("acme-support", "acme", &plain).await?;
    stage.create("acme-sales", "acme", &plain).await?;
    for n in 0..more {
        stage
            .create(
                &format!("agent-{n:05}"),
                if n % 10 == 0 { "acme" } else { "default" },
                &plain,
            )
            .await?;
    }
    for name in ["old-helper", "left-behind"] {
        stage
            .store
            .request_deletion(&AgentName::parse(name)?, false)
            .await?;
    }
    let mut claims = stage.claims().await?;
    let warn =
        |reason, object: &str, message: &str| event(Severity::Warning, reason, object, message);
    let normal =
        |reason, object: &str, message: &str| event(Severity::Normal, reason, object, message);
    for (name, claim) in &claims {
        let Some(s) = store.load(claim.agent_id).await? else {
            continue;
        };
        let mut then = s.agent.spec;
        if name == "acme-sales" {
            // Renamed since: what was deployed still says the old name.
            then.display_name = Some("Sales Desk".to_owned());
        }
        let live = || live(&s.agent.name, &then);
        let go = |mutations, progress, next| stage.pass(claim, mutations, progress, next);
        match name.as_str() {
            "legal-bot" => {
                let said = "The Worker was recreated after it was deleted outside the controller. Cloudflare never returns secret values and this key came through the API, so the controller has no copy to put back.";
                let mut all = vec![
                    made(name, K::R2Bucket),
                    made(name, K::R2Token),
                    failed(name, K::Worker, "no value for ANTHROPIC_API_KEY"),
                ];
                all.extend([
                    secret(
                        "ANTHROPIC_API_KEY",
                        Some("anthropic"),
                        SecretSource::WriteThrough,
                        SecretState::Pushing,
                    ),
                    status(D::Failed, Some(&format!("SecretValueMissing: {said}"))),
                    condition(T::Stalled, Truth::True, R::SecretValueMissing, said),
                    condition(T::Ready, Truth::False, R::NotDeployed, ""),
                    condition(T::SecretsReady, Truth::False, R::SecretValueMissing, said),
                    condition(T::StorageReady, Truth::True, R::Provisioned, ""),
                    condition(T::TokenReady, Truth::True, R::Provisioned, ""),
                    warn(
                        EventReason::Stalled,
                        "secret/ANTHROPIC_API_KEY",
                        "no source can supply the value",
                    ),
                    warn(
                        EventReason::DriftDetected,
                        "worker/legal-bot-7f3c0a9e1b",
                        "missing at Cloudflare; recreated with a stub",
                    ),
                ]);
                go(all, Progress::Failed, None).await?;
            }
            "name-taken" => {
                let said = format!(
                    "a Worker named {name}-7f3c0a9e1b stands in the account without Talon's mark"
                );
                go(stalled(R::NameConflict, &said), Progress::Failed, None).await?;
            }
            "locked-out" => {
                let said = "PUT worker: Authentication error (HTTP 403, code 10000)";
                go(stalled(R::CloudflareAuth, said), Progress::Failed, None).await?;
            }
            "invoice-helper" => {
                let mut all = live();
                all.extend([
                    condition(
                        T::Drifted,
                        Truth::True,
                        R::Missing,
                        "the R2 token is gone from the account; a new one is made",
                    ),
                    warn(
                        EventReason::DriftDetected,
                        "r2_token/openclaw/a1b2c3/invoice-helper",
                        "gone from the account",
                    ),
                ]);
                go(all, Progress::Ok, Some(120)).await?;
            }
            "news-digest" => {
                let all = vec![
                    made(name, K::R2Bucket),
                    made(name, K::R2Token),
                    failed(
                        name,
                        K::Worker,
                        "PUT worker: 429 from Cloudflare, ray 8f1c2d3e4f-AMS (HTTP 429)",
                    ),
                    status(D::Deploying, None),
                    condition(
                        T::Reconciling,
                        Truth::True,
                        R::BackingOff,
                        "uploading the Worker",
                    ),
                    condition(
                        T::Throttled,
                        Truth::True,
                        R::RateLimited,
                        "Cloudflare asks to wait for 40 s",
                    ),
                    condition(T::StorageReady, Truth::True, R::Provisioned, ""),
                    condition(T::TokenReady, Truth::True, R::Provisioned, ""),
                    normal(
                        EventReason::Created,
                        "r2_bucket/openclaw-a1b2c3-news-digest",
                        "created",
                    ),
                    warn(
                        EventReason::Throttled,
                        "worker/news-digest",
                        "Cloudflare asks to wait for 40 s",
                    ),
                ];
                go(all, Progress::Throttled { seconds: 40 }, Some(40)).await?;
            }
            "keyless-bot" => {
                let said = "the model's provider openai has no key";
                go(
                    vec![condition(
                        T::Reconciling,
                        Truth::False,
                        R::AwaitingKeys,
                        said,
                    )],
                    Progress::Ok,
                    None,
                )
                .await?;
            }
            "fresh-agent" => {}
            "napping-cat" => {
                go(
                    vec![condition(T::Reconciling, Truth::False, R::Suspended, "")],
                    Progress::Ok,
                    None,
                )
                .await?
            }
            "old-helper" => {
                let all = vec![
                    cleaned(name, K::Worker, CleanupResult::Deleted, None),
                    cleaned(
                        name,
                        K::R2Objects,
                        CleanupResult::Deleted,
                        Some("1,204 of 1,204"),
                    ),
                    cleaned(
                        name,
                        K::R2Bucket,
                        CleanupResult::Failed,
                        Some("BucketNotEmpty: an upload arrived late"),
                    ),
                    cleaned(name, K::R2Token, CleanupResult::AlreadyAbsent, None),
                    status(D::Deleting, None),
                    warn(
                        EventReason::CleanupFailed,
                        "r2_bucket/openclaw-a1b2c3-old-helper",
                        "BucketNotEmpty: an upload arrived late",
                    ),
                ];
                go(all, Progress::Failed, Some(300)).await?;
            }
            "left-behind" => {
                let all = vec![
                    cleaned(name, K::Worker, CleanupResult::Deleted, None),
                    cleaned(
                        name,
                        K::R2Bucket,
                        CleanupResult::Failed,
                        Some("the bucket is locked by a retention rule"),
                    ),
                    cleaned(name, K::R2Token, CleanupResult::Deleted, None),
                    status(D::Deleting, None),
                    Mutation::Archive,
                ];
                go(all, Progress::Ok, None).await?;
            }
            _ => {
                let mut all = live();
                if !name.starts_with("agent-") {
                    all.push(normal(
                        EventReason::Uploaded,
                        &format!("worker/{name}-7f3c0a9e1b"),
                        "version 9d0e1c",
                    ));
                    all.push(normal(
                        EventReason::Registered,
                        &format!("agent_card/{name}"),
                        "the card was accepted",
                    ));
                    all.push(normal(
                        EventReason::Deployed,
                        &format!("agent/{name}"),
                        "generation 1",
                    ));
                }
                go(all, Progress::Ok, Some(240)).await?;
            }
        }
    }
    claims.clear();
    store
        .record_event(
            None,
            &NewEvent {
                severity: Severity::Warning,
                reason: EventReason::OrphanFound,
                object: "worker/stray-1b2c".to_owned(),
                message: "carries our mark, and no row owns it".to_owned(),
            },
        )
        .await?;
    store
        .set_suspend_as(
            &Actor {
                name: "operator".to_owned(),
                source: "dashboard".to_owned(),
            },
            &AgentName::parse("napping-cat")?,
            None,
            true,
        )
        .await?;
    store
        .try_lease("sweep", "talon-1 pid 4711", Duration::from_secs(900))
        .await?;
    past(url).await
}

/// Moves some times, so that there is a past.
async fn past(url: &str) -> Done {
    let options: SqliteConnectOptions = url.parse()?;
    let mut db = SqliteConnection::connect_with(&options).await?;
    let back = |column: &str, seconds: &str| {
        format!(
            "{column} = strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-' || ({seconds}) || ' seconds')"
        )
    };
    let statements = [
        format!("UPDATE agent_condition SET {}", back("last_transition_at", "6480 + abs(random() % 7000)")),
        format!("UPDATE agent_event SET {}, {}", back("first_at", "9000"), back("last_at", "60 * (id * 7 % 97)")),
        "UPDATE agent_resource SET intent_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || (CASE kind WHEN 'r2_bucket' THEN 21.0 WHEN 'r2_token' THEN 19.8 WHEN 'worker' THEN 18.7 WHEN 'worker_route' THEN 6.1 ELSE 5.2 END) || ' seconds'), \
         confirmed_at = CASE WHEN confirmed_at IS NULL THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || (CASE kind WHEN 'r2_bucket' THEN 19.9 WHEN 'r2_token' THEN 18.9 WHEN 'worker' THEN 6.3 WHEN 'worker_route' THEN 5.4 ELSE 4.9 END) || ' seconds') END \
         WHERE intent_at IS NOT NULL".to_owned(),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut db)
            .await?;
    }
    db.close().await?;
    Ok(())
}
