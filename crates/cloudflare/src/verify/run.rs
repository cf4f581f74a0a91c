//! One run: what it made, what it found out, and the ways of finding out.

use std::time::Duration;

use talon_core::cloud::{
    Binding, BucketRef, Cloud, CloudError, CloudResult, CreatedToken, WorkerInfo, WorkerUpload,
};
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;
use tokio::time::{Instant, sleep};

use super::{Patience, Report, Verdict, Wanted, cx};
use crate::client::Client;
use crate::s3::Session;

/// Name of the secret that the checks push and inherit.
pub(super) const SECRET: &str = "TALON_VERIFY_SECRET";

/// One run.
pub(super) struct Run<'a> {
    pub(super) client: &'a Client,
    pub(super) bundle: &'a (dyn Fn(Wanted) -> WorkerUpload + Sync),
    pub(super) patience: Patience,
    /// Worker and bucket share it.
    pub(super) name: String,
    pub(super) bucket: BucketRef,
    pub(super) token: Option<CreatedToken>,
    pub(super) has_bucket: bool,
    pub(super) has_worker: bool,
    pub(super) report: Report,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        client: &'a Client,
        bundle: &'a (dyn Fn(Wanted) -> WorkerUpload + Sync),
        mark: &str,
        patience: Patience,
    ) -> Self {
        let name = format!("talon-verify-{mark}");
        Self {
            client,
            bundle,
            patience,
            bucket: BucketRef {
                name: name.clone(),
                jurisdiction: Jurisdiction::Default,
            },
            name,
            token: None,
            has_bucket: false,
            has_worker: false,
            report: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, name: &'static str, verdict: Verdict) {
        self.report.push((name, verdict));
    }

    pub(super) fn tags(&self, n: &str) -> Vec<String> {
        vec!["talon-verify".to_owned(), format!("try-{n}")]
    }

    pub(super) fn bindings(&self, secret: Option<&str>) -> Vec<Binding> {
        let mut bindings = vec![Binding::R2Bucket {
            name: "BUCKET".to_owned(),
            bucket: self.bucket.name.clone(),
            jurisdiction: self.bucket.jurisdiction,
        }];
        bindings.extend(secret.map(|value| Binding::SecretText {
            name: SECRET.to_owned(),
            value: SecretValue::new(value.to_owned()),
        }));
        bindings
    }

    pub(super) async fn upload(
        &self,
        bindings: Vec<Binding>,
        tags: &[String],
        migrate: bool,
    ) -> CloudResult<()> {
        let upload = (self.bundle)(Wanted {
            bindings,
            tags: tags.to_vec(),
            migrate,
        });
        self.client
            .upload_worker(cx(), &self.name, upload)
            .await
            .map(drop)
    }

    pub(super) async fn listed(&self) -> CloudResult<Option<WorkerInfo>> {
        let all = self.client.list_workers(cx()).await?;
        Ok(all.into_iter().find(|w| w.name == self.name))
    }

    pub(super) async fn await_worker(
        &self,
        wanted: impl Fn(Option<&WorkerInfo>) -> bool,
    ) -> Verdict {
        let begun = Instant::now();
        loop {
            let last = match self.listed().await {
                Ok(worker) if wanted(worker.as_ref()) => return Verdict::Holds,
                Ok(worker) => format!("last seen: {worker:?}"),
                Err(e) => e.to_string(),
            };
            if begun.elapsed() + self.patience.pause > self.patience.most {
                return Verdict::Differs(format!("not within {:?}; {last}", self.patience.most));
            }
            sleep(self.patience.pause).await;
        }
    }

    pub(super) async fn secret_is_there(&self) -> Verdict {
        match self.client.secret_names(cx(), &self.name).await {
            Ok(names) => holds(names.iter().any(|n| n == SECRET), "the secret is gone"),
            Err(e) => Verdict::Differs(e.to_string()),
        }
    }

    /// How long a token's credentials take to be known to R2.
    pub(super) async fn opens(&self, id: &str, value: &SecretValue) -> Verdict {
        let begun = Instant::now();
        loop {
            let session = Session::of_token(cx(), id, value);
            let error = match self.client.s3_list_with(&session, &self.bucket).await {
                Ok(_) if begun.elapsed() <= Duration::from_secs(60) => return Verdict::Holds,
                Ok(_) => return Verdict::Differs(format!("took {:?}", begun.elapsed())),
                Err(e) => e,
            };
            if begun.elapsed() + self.patience.pause > self.patience.most {
                return Verdict::Differs(format!("not within {:?}: {error}", self.patience.most));
            }
            sleep(self.patience.pause).await;
        }
    }
}

pub(super) fn inherit(name: &str) -> Binding {
    Binding::Inherit {
        name: name.to_owned(),
        version_id: None,
    }
}

pub(super) fn holds(yes: bool, otherwise: &str) -> Verdict {
    if yes {
        Verdict::Holds
    } else {
        Verdict::Differs(otherwise.to_owned())
    }
}

pub(super) fn held<T>(result: CloudResult<T>) -> Verdict {
    match result {
        Ok(_) => Verdict::Holds,
        Err(e) => Verdict::Differs(e.to_string()),
    }
}

pub(super) fn lost<T>(result: &CloudResult<T>) -> bool {
    result.as_ref().is_err_and(CloudError::is_ambiguous)
}

pub(super) fn absent(result: CloudResult<()>, codes: &[i64]) -> Verdict {
    match result {
        Err(CloudError::NotFound(m)) if m.code.is_some_and(|c| codes.contains(&c)) => {
            Verdict::Holds
        }
        Err(e) => Verdict::Differs(e.to_string()),
        Ok(()) => Verdict::Differs("it was accepted".to_owned()),
    }
}

pub(super) fn gone_or_absent(result: CloudResult<()>) -> Verdict {
    match result {
        Ok(()) | Err(CloudError::NotFound(_)) => Verdict::Holds,
        Err(e) => Verdict::Differs(e.to_string()),
    }
}
