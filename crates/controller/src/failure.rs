//! What an error means: for the records, for the status, and for when to come back.

use std::time::Duration;

use talon_core::cloud::{ApiMessage, CloudError};
use talon_core::condition::Reason;
use talon_core::registry::RegistryError;
use talon_plan::effect::Failure;
use talon_plan::status::PassFailure;
use talon_secrets::Redactor;

/// Codes that refuse a request now but may pass by themselves: a bucket or an R2 setting that is not visible yet, a
/// version that is not deployed yet. Source: observed on the live API.
const PASSING_CODES: &[i64] = &[10_085, 10_136, 10_215];
/// Account limits: Workers, buckets, plan.
const QUOTA_CODES: &[i64] = &[10_037, 10_009, 10_075];
/// R2 is not enabled on the account.
const R2_OFF_CODE: i64 = 10_042;

/// An error in all its meanings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// For the records.
    pub failure: Failure,
    /// For the status.
    pub pass: PassFailure,
    /// Not before.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// The same without the secrets that the redactor knows, and without what looks like a key.
    pub fn redacted(mut self, redactor: &Redactor) -> Self {
        for message in [&mut self.failure.message, &mut self.pass.message] {
            *message = redactor.redact(message);
        }
        self
    }

    /// What sort of failure it is, in a word or two for the log.
    pub fn class(&self) -> &'static str {
        let (failure, pass) = (&self.failure, &self.pass);
        if failure.throttled {
            "throttled"
        } else if failure.ambiguous {
            "answer lost"
        } else if failure.not_found {
            "not found"
        } else if failure.exists {
            "exists already"
        } else if failure.conflict {
            "conflict"
        } else if pass.stalled {
            "needs a person"
        } else {
            "passing"
        }
    }
}

/// What an error of a call to Cloudflare means.
pub fn of_cloud(error: &CloudError) -> Verdict {
    let failure = Failure {
        message: shown(error),
        ambiguous: error.is_ambiguous(),
        throttled: matches!(error, CloudError::Throttled { .. }),
        not_found: matches!(error, CloudError::NotFound(_)),
        exists: matches!(error, CloudError::Exists(_)),
        conflict: matches!(error, CloudError::Conflict(_)),
    };
    let retry_after = match error {
        CloudError::Throttled { retry_after } => Some(*retry_after),
        _ => None,
    };
    let pass = match error {
        CloudError::Throttled { retry_after } => {
            let message = format!(
                "Cloudflare or the call budget asks to wait {} s",
                retry_after.as_secs().max(1)
            );
            PassFailure {
                reason: Reason::RateLimited,
                message,
                stalled: false,
                throttled: true,
            }
        }
        CloudError::Auth(m) => stalled(
            Reason::CloudflareAuth,
            format!("{m}; check the controller's token and its permissions with talon doctor"),
        ),
        CloudError::Invalid(m) => of_invalid(m),
        CloudError::NotFound(m)
        | CloudError::Exists(m)
        | CloudError::Conflict(m)
        | CloudError::NotEmpty(m)
        | CloudError::Transient(m)
        | CloudError::Ambiguous(m) => passing(m.to_string()),
    };
    // Looks, resync and sweep have no values of a pass to look for, but the shapes of keys are known to all.
    let verdict = Verdict {
        failure,
        pass,
        retry_after,
    };
    verdict.redacted(&Redactor::new())
}

/// An error of a call as it may be recorded or said: without anything that looks like a key.
pub fn shown(error: &CloudError) -> String {
    Redactor::new().redact(&error.to_string())
}

fn of_invalid(m: &ApiMessage) -> PassFailure {
    match m.code {
        Some(code) if PASSING_CODES.contains(&code) => passing(m.to_string()),
        Some(code) if QUOTA_CODES.contains(&code) => stalled(
            Reason::QuotaReached,
            format!("{m}; the account is full: raise its limit or delete something"),
        ),
        Some(R2_OFF_CODE) => stalled(
            Reason::R2NotEnabled,
            format!("{m}; enable R2 for the account in Cloudflare's dashboard"),
        ),
        Some(_) | None => stalled(Reason::CloudflareRejected, m.to_string()),
    }
}

fn passing(message: String) -> PassFailure {
    PassFailure {
        reason: Reason::CloudflareError,
        message,
        stalled: false,
        throttled: false,
    }
}

fn stalled(reason: Reason, message: String) -> PassFailure {
    PassFailure {
        reason,
        message,
        stalled: true,
        throttled: false,
    }
}

/// What an error of the Registry means.
pub fn of_registry(error: &RegistryError) -> Verdict {
    let stalls = matches!(error, RegistryError::Refused(_));
    definite(
        Reason::RegistryError,
        Redactor::new().redact(&error.to_string()),
        stalls,
    )
}

/// What a defect of our own means.
pub fn internal(message: String) -> Verdict {
    definite(Reason::InternalError, message, false)
}

/// A failure that says nothing of what Cloudflare holds.
fn definite(reason: Reason, message: String, stalled: bool) -> Verdict {
    Verdict {
        failure: Failure {
            message: message.clone(),
            ambiguous: false,
            throttled: false,
            not_found: false,
            exists: false,
            conflict: false,
        },
        pass: PassFailure {
            reason,
            message,
            stalled,
            throttled: false,
        },
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use talon_core::secret::SecretValue;

    use super::*;

    fn said(code: Option<i64>) -> ApiMessage {
        ApiMessage {
            call: "PUT worker",
            http: Some(400),
            code,
            message: "no".to_owned(),
            ray: None,
        }
    }

    #[test]
    fn each_refusal_has_its_reason_and_only_some_need_a_person() {
        for (code, reason, stalled) in [
            (Some(10_085), Reason::CloudflareError, false),
            (Some(10_136), Reason::CloudflareError, false),
            (Some(10_215), Reason::CloudflareError, false),
            (Some(10_037), Reason::QuotaReached, true),
            (Some(10_009), Reason::QuotaReached, true),
            (Some(10_075), Reason::QuotaReached, true),
            (Some(R2_OFF_CODE), Reason::R2NotEnabled, true),
            (Some(1), Reason::CloudflareRejected, true),
            (None, Reason::CloudflareRejected, true),
        ] {
            let pass = of_cloud(&CloudError::Invalid(said(code))).pass;
            assert_eq!((pass.reason, pass.stalled), (reason, stalled), "{code:?}");
        }
    }

    #[test]
    fn each_error_has_its_class_and_a_throttled_one_its_time() {
        let m = || said(None);
        let retry_after = Duration::from_secs(7);
        for (error, class) in [
            (CloudError::Throttled { retry_after }, "throttled"),
            (CloudError::Ambiguous(m()), "answer lost"),
            (CloudError::NotFound(m()), "not found"),
            (CloudError::Exists(m()), "exists already"),
            (CloudError::Conflict(m()), "conflict"),
            (CloudError::Auth(m()), "needs a person"),
            (CloudError::Transient(m()), "passing"),
            (CloudError::NotEmpty(m()), "passing"),
        ] {
            let verdict = of_cloud(&error);
            assert_eq!(verdict.class(), class);
            let throttled = class == "throttled";
            assert_eq!(verdict.retry_after, throttled.then_some(retry_after));
            assert_eq!(verdict.pass.throttled, throttled);
        }
        let refused = of_registry(&RegistryError::Refused("no".to_owned()));
        let unavailable = of_registry(&RegistryError::Unavailable("no".to_owned()));
        assert!(refused.pass.stalled && !unavailable.pass.stalled);
        assert_eq!(internal("no".to_owned()).pass.reason, Reason::InternalError);
    }

    #[test]
    fn what_looks_resync_and_sweep_pass_on_holds_nothing_that_looks_like_a_key() {
        let said = "it says sk-ant-api03-abcdefghijkl";
        let error = CloudError::Transient(ApiMessage {
            call: "GET lists",
            http: Some(502),
            code: None,
            message: said.to_owned(),
            ray: None,
        });
        let router = RegistryError::Unavailable(said.to_owned());
        let verdicts = [of_cloud(&error), of_registry(&router)];
        let mut messages = vec![shown(&error)];
        messages.extend(
            verdicts
                .into_iter()
                .flat_map(|v| [v.failure.message, v.pass.message]),
        );
        for message in messages {
            assert!(message.contains("it says [redacted]"), "{message}");
        }
    }

    #[test]
    fn what_becomes_a_record_a_status_or_a_log_line_holds_no_secret_of_the_pass() {
        let mut redactor = Redactor::new();
        redactor.add(&SecretValue::new(
            "made-up-key-of-an-earlier-call".to_owned(),
        ));
        let error = CloudError::Invalid(ApiMessage {
            call: "POST worker subdomain",
            http: Some(400),
            code: None,
            message: "has made-up-key-of-an-earlier-call and sk-ant-api03-abcdefghijkl".to_owned(),
            ray: None,
        });
        let verdict = of_cloud(&error).redacted(&redactor);
        for message in [verdict.failure.message, verdict.pass.message] {
            assert!(
                !message.contains("made-up") && !message.contains("api03"),
                "{message}"
            );
            assert!(message.contains("[redacted] and [redacted]"), "{message}");
        }
    }
}
