//! The client: what it holds, and the two ways of calling the API (reads with retries, writes exactly once).

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder};
use talon_core::cloud::{Budget, CallClass, CallCx, CloudError, CloudResult, RateSignal};
use talon_core::logs::CallWitness;
use talon_core::secret::SecretValue;
use url::Url;

use crate::admission::Deadline;
use crate::config::{ClientConfig, ConfigError, Timeouts};
use crate::envelope::{Success, open};
use crate::exposed::bearer;
use crate::message::own;
use crate::rate;
use crate::server_clock::ServerClock;
use crate::taxonomy::Call;
use crate::tokens::PER_PAGE;
use crate::transport::{
    Answer, Lost, http_client, no_time, pause_before_retry, send, socket_client,
};

/// How often a read is tried in all.
pub(crate) const READ_TRIES: u32 = 3;

/// One Cloudflare account, through one API token. Cheap to share behind an `Arc`.
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// For what becomes a WebSocket: HTTP/1.1 alone, and never the token.
    pub(crate) sockets: reqwest::Client,
    pub(crate) api_base: Url,
    pub(crate) s3_endpoint: Option<Url>,
    pub(crate) account_id: String,
    pub(crate) token: SecretValue,
    pub(crate) timeouts: Timeouts,
    /// Id of `token`, once it is known.
    pub(crate) token_id: OnceLock<String>,
    /// Id of the permission group for new bucket tokens, once it is known.
    pub(crate) write_group: OnceLock<String>,
    /// How many tokens are asked for at once; falls when the server refuses so many.
    pub(crate) token_page: AtomicU64,
    pub(crate) server_clock: ServerClock,
    authorization: HeaderValue,
    witness: Option<Arc<dyn CallWitness>>,
    budget: Arc<dyn Budget>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("account_id", &self.account_id)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the configuration and makes the HTTP client. Makes no call.
    ///
    /// # Errors
    /// What is wrong with the configuration; the token is never repeated.
    pub fn new(config: ClientConfig, budget: Arc<dyn Budget>) -> Result<Self, ConfigError> {
        ConfigError::check_url(&config.api_base, ConfigError::ApiBase)?;
        if let Some(url) = &config.s3_endpoint {
            ConfigError::check_url(url, ConfigError::S3Endpoint)?;
        }
        ConfigError::check_account(&config.account_id)?;
        if config.api_base.scheme() == "http" && !is_loopback(&config.api_base) {
            tracing::warn!("the API base is plain http: the token crosses the network unencrypted");
        }
        let authorization = bearer(&config.token).ok_or(ConfigError::Token)?;
        Ok(Self {
            http: http_client(config.timeouts, &config.user_agent)?,
            sockets: socket_client(config.timeouts, &config.user_agent)?,
            api_base: config.api_base,
            s3_endpoint: config.s3_endpoint,
            account_id: config.account_id,
            token: config.token,
            timeouts: config.timeouts,
            token_id: OnceLock::new(),
            write_group: OnceLock::new(),
            token_page: AtomicU64::new(PER_PAGE),
            server_clock: ServerClock::default(),
            authorization,
            witness: None,
            budget,
        })
    }

    /// Tells this one of every answer of the API.
    pub fn with_witness(mut self, witness: Arc<dyn CallWitness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// `{api_base}/accounts/{account}/{segments…}`.
    pub(crate) fn account_url(&self, call: &Call, segments: &[&str]) -> CloudResult<Url> {
        let prefix = ["accounts", self.account_id.as_str()];
        self.url(call, &[&prefix, segments].concat())
    }

    /// `{api_base}/{segments…}`, each segment percent-encoded. Segments that a URL would swallow are refused: without
    /// its name, the deletion of a thing would address the collection.
    pub(crate) fn url(&self, call: &Call, segments: &[&str]) -> CloudResult<Url> {
        let invalid = |text: &str| CloudError::Invalid(own(call.name, text));
        if segments.iter().any(|s| matches!(*s, "" | "." | "..")) {
            return Err(invalid("a name is empty or made of dots; not sent"));
        }
        let mut url = self.api_base.clone();
        url.path_segments_mut()
            .map_err(|()| invalid("the API base cannot carry a path; not sent"))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    /// A request with the token.
    pub(crate) fn request(&self, call: &Call, url: Url) -> RequestBuilder {
        self.http
            .request(call.method.clone(), url)
            .header(AUTHORIZATION, self.authorization.clone())
    }

    /// A read: up to three tries, each admitted by the budget, all within the caller's time.
    pub(crate) async fn read(
        &self,
        terms: Terms,
        call: &Call,
        request: impl Fn() -> RequestBuilder,
    ) -> CloudResult<(Answer, Success)> {
        debug_assert_eq!(call.method, Method::GET);
        let mut n = 1;
        loop {
            let (error, again) = match self
                .once(terms, call, self.timeouts.request, request())
                .await
            {
                Ok(answer) => match self.settle(call, &answer, &[&self.token]) {
                    Ok(success) => return Ok((answer, success)),
                    Err(error @ CloudError::Transient(_)) => (error, true),
                    Err(error) => (error, false),
                },
                Err(lost) => (lost.error, lost.again),
            };
            if !again || n >= READ_TRIES {
                return Err(error);
            }
            pause_before_retry(n).await;
            if terms
                .deadline
                .timeout(false, self.timeouts.request)
                .is_none()
            {
                return Err(error);
            }
            n += 1;
        }
    }

    /// A write: sent exactly once, and only if enough of the caller's time is left. `secrets` are those that the
    /// request carries.
    pub(crate) async fn write(
        &self,
        terms: Terms,
        call: &Call,
        timeout: Duration,
        secrets: &[&SecretValue],
        request: RequestBuilder,
    ) -> CloudResult<(Answer, Success)> {
        let answer = self
            .once(terms, call, timeout, request)
            .await
            .map_err(|l| l.error)?;
        let secrets = [&[&self.token], secrets].concat();
        let success = self.settle(call, &answer, &secrets)?;
        Ok((answer, success))
    }

    /// Reads an answer. Some refusals say "slow down" by their code alone; the budget hears of those as well.
    fn settle(
        &self,
        call: &Call,
        answer: &Answer,
        secrets: &[&SecretValue],
    ) -> CloudResult<Success> {
        let opened = open(call, answer, secrets);
        if let Err(CloudError::Throttled { retry_after }) = &opened
            && answer.http != 429
        {
            self.budget.observe(RateSignal {
                remaining: None,
                reset_in: None,
                retry_after: Some(*retry_after),
                limited: true,
            });
        }
        opened
    }

    async fn once(
        &self,
        terms: Terms,
        call: &Call,
        wanted: Duration,
        request: RequestBuilder,
    ) -> Result<Answer, Lost> {
        let final_ = |error| Lost {
            error,
            again: false,
        };
        // Asked twice: a call that cannot be sent must not use up budget, and the budget may make us wait.
        if terms.deadline.timeout(call.is_write(), wanted).is_none() {
            return no_time(call).map_err(final_);
        }
        self.budget
            .admit(terms.class)
            .await
            .map_err(|retry_after| final_(CloudError::Throttled { retry_after }))?;
        let Some(timeout) = terms.deadline.timeout(call.is_write(), wanted) else {
            return no_time(call).map_err(final_);
        };
        let answer = send(call, request, timeout).await?;
        self.server_clock.learn(&answer.headers, Instant::now());
        tracing::debug!(
            call = call.name,
            http = answer.http,
            ray = answer.ray(),
            "cloudflare answered"
        );
        if let Some(witness) = &self.witness {
            witness.answered(answer.http, answer.ray().as_deref());
        }
        if let Some(signal) = rate::signal(answer.http, &answer.headers, chrono::Utc::now()) {
            self.budget.observe(signal);
        }
        Ok(answer)
    }
}

/// A [`CallCx`] whose remaining time runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) class: CallClass,
    pub(crate) deadline: Deadline,
}

impl From<CallCx> for Terms {
    fn from(cx: CallCx) -> Self {
        Self {
            class: cx.class,
            deadline: Deadline::of(cx),
        }
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
