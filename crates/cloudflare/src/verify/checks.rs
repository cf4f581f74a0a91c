//! The checks themselves.

use reqwest::Method;
use talon_core::cloud::{Cloud, CloudError, NewBucket, NewToken, SecretChange};
use talon_core::secret::SecretValue;
use talon_core::spec::{Jurisdiction, StorageClass};
use tokio::time::sleep;

use super::run::{Run, SECRET, absent, gone_or_absent, held, holds, inherit, lost};
use super::{Verdict, cx};
use crate::taxonomy::{Area, Call, codes};

/// Keys that XML, URLs and forms each find hard.
const KEYS: [&str; 4] = ["a b+c&<d>%2F", "ü/😀", "line\nbreak", "control\u{1}"];

impl Run<'_> {
    pub(super) async fn account(&mut self) {
        let verdict = match self.client.verify_token(cx()).await {
            Ok(check) if check.status == "active" => Verdict::Holds,
            Ok(check) => Verdict::Differs(format!("status {}", check.status)),
            Err(e) => Verdict::Differs(e.to_string()),
        };
        self.note("token-is-active", verdict);
        let verdict = match self.client.account_subdomain(cx()).await {
            Ok(Some(_)) => Verdict::Holds,
            Ok(None) => Verdict::Differs("the account has no workers.dev subdomain yet".to_owned()),
            Err(e) => Verdict::Differs(e.to_string()),
        };
        self.note("account-has-a-subdomain", verdict);
        let verdict = self.ratelimit_headers().await;
        self.note("ratelimit-headers-on-reads", verdict);
    }

    async fn ratelimit_headers(&self) -> Verdict {
        let call = Call::new("GET workers", Method::GET, Area::Workers);
        let url = match self.client.account_url(&call, &["workers", "scripts"]) {
            Ok(url) => url,
            Err(e) => return Verdict::NotChecked(e.to_string()),
        };
        let read = self
            .client
            .read(cx().into(), &call, || {
                self.client.request(&call, url.clone())
            })
            .await;
        match read {
            Ok((answer, _)) => holds(
                crate::rate::signal(answer.http, &answer.headers, chrono::Utc::now()).is_some(),
                "neither Ratelimit nor x-ratelimit-* was there",
            ),
            Err(e) => Verdict::NotChecked(e.to_string()),
        }
    }

    /// Deleting what is not there must be told apart from every other failure.
    pub(super) async fn absent_things(&mut self) {
        let nothing = "0".repeat(32);
        let settings = self
            .client
            .worker_settings(cx(), &self.name)
            .await
            .map(drop);
        self.note("absent-worker-read-is-10007", absent(settings, &[10007]));
        let deleted = self.client.delete_worker(cx(), &self.name).await;
        self.note("absent-worker-delete-is-10007", absent(deleted, &[10007]));
        let deleted = self.client.delete_bucket(cx(), &self.bucket).await;
        self.note("absent-bucket-delete-is-10006", absent(deleted, &[10006]));
        let deleted = self.client.delete_token(cx(), &nothing).await;
        self.note("absent-token-delete-is-1003", absent(deleted, &[1003]));
    }

    pub(super) async fn bucket(&mut self) {
        let new = NewBucket {
            name: self.bucket.name.clone(),
            jurisdiction: self.bucket.jurisdiction,
            location_hint: None,
            storage_class: StorageClass::Standard,
        };
        let made = self.client.create_bucket(cx(), &new).await;
        self.has_bucket = made.is_ok() || lost(&made);
        self.note("bucket-is-made", held(made));
        if !self.has_bucket {
            return;
        }
        let again = self.client.create_bucket(cx(), &new).await;
        self.note(
            "second-bucket-is-refused-as-existing",
            match again {
                Err(CloudError::Exists(_)) => Verdict::Holds,
                Err(e) => Verdict::Differs(e.to_string()),
                Ok(_) => Verdict::Differs("it was accepted".to_owned()),
            },
        );
        let listed = self.client.list_buckets(cx(), Jurisdiction::Default).await;
        self.note(
            "bucket-is-listed-at-once-with-its-date",
            match listed {
                Ok(all) => holds(
                    all.iter()
                        .any(|b| b.name == self.bucket.name && b.creation_date.is_some()),
                    "not in the list, or without a date",
                ),
                Err(e) => Verdict::Differs(e.to_string()),
            },
        );
    }

    pub(super) async fn worker(&mut self) {
        let tags = self.tags("1");
        let made = self
            .upload(
                self.bindings(Some("first-value-of-the-secret")),
                &tags,
                true,
            )
            .await;
        self.has_worker = made.is_ok() || lost(&made);
        let fresh = made.as_ref().err().and_then(CloudError::code);
        let fresh = matches!(
            fresh,
            Some(codes::BOUND_BUCKET_NOT_FOUND | codes::BOUND_BUCKET_REFUSED)
        );
        self.note("a-fresh-bucket-can-be-bound", held(made));
        if fresh {
            let pause = self.patience.pause;
            sleep(pause).await;
            let again = self
                .upload(
                    self.bindings(Some("first-value-of-the-secret")),
                    &tags,
                    true,
                )
                .await;
            self.has_worker = again.is_ok() || lost(&again);
            self.note("a-bucket-can-be-bound-a-moment-later", held(again));
        }
        if !self.has_worker {
            return;
        }
        let first = self.listed().await;
        self.note(
            "worker-is-listed-at-once",
            match &first {
                Ok(w) => holds(w.is_some(), "not in the first list after the answer"),
                Err(e) => Verdict::Differs(e.to_string()),
            },
        );
        let null = matches!(&first, Ok(Some(w)) if w.tags.is_none());
        self.note(
            "tags-are-never-null",
            holds(!null, "null in the first list"),
        );
        let verdict = self
            .await_worker(|w| w.is_some_and(|w| w.tags.as_deref() == Some(&tags[..])))
            .await;
        self.note("tags-are-listed-as-sent", verdict);
        let routed = self.client.set_worker_route(cx(), &self.name, true).await;
        self.note("route-is-switched-on", held(routed));
        let route = self.client.worker_route(cx(), &self.name).await;
        self.note(
            "route-reads-back",
            match route {
                Ok(on) => holds(on, "off"),
                Err(e) => Verdict::Differs(e.to_string()),
            },
        );
    }

    pub(super) async fn secrets(&mut self) {
        if !self.has_worker {
            return self.note(
                "secrets",
                Verdict::NotChecked("there is no Worker".to_owned()),
            );
        }
        let before = self.listed().await.ok().flatten();
        let change = SecretChange {
            name: SECRET.to_owned(),
            value: Some(SecretValue::new("second-value-of-the-secret".to_owned())),
        };
        let pushed = self
            .client
            .change_secrets(cx(), &self.name, vec![change])
            .await;
        self.note("secrets-are-pushed-in-bulk", held(pushed));
        let after = self.listed().await.ok().flatten();
        self.note(
            "etag-survives-a-secrets-push",
            holds(
                before.as_ref().map(|w| &w.etag) == after.as_ref().map(|w| &w.etag),
                "the etag changed",
            ),
        );
        self.note(
            "tags-survive-a-secrets-push",
            holds(
                before.map(|w| w.tags) == after.map(|w| w.tags),
                "the tags changed",
            ),
        );

        let tags = self.tags("2");
        let mut bindings = self.bindings(None);
        bindings.push(inherit("TALON_VERIFY_ABSENT"));
        let refused = self.upload(bindings, &tags, false).await;
        self.note(
            "strict-inherit-refuses-what-is-absent",
            match refused {
                Ok(_) => Verdict::Differs("it was accepted".to_owned()),
                Err(e) if e.is_ambiguous() => Verdict::NotChecked(e.to_string()),
                Err(_) => Verdict::Holds,
            },
        );
        let mut bindings = self.bindings(None);
        bindings.push(inherit(SECRET));
        let inherited = self.upload(bindings, &tags, false).await;
        self.note("inherit-takes-a-secret", held(inherited));
        let verdict = self.secret_is_there().await;
        self.note("an-inherited-secret-stays", verdict);
        let kept = self.upload(self.bindings(None), &tags, false).await;
        self.note("an-upload-may-leave-secrets-unnamed", held(kept));
        let verdict = self.secret_is_there().await;
        self.note("keep-bindings-keeps-secrets", verdict);
    }

    pub(super) async fn token(&mut self) {
        let new = NewToken {
            name: format!("{}/token", self.name),
            bucket: self.bucket.name.clone(),
            jurisdiction: self.bucket.jurisdiction,
        };
        match self.client.create_token(cx(), &new).await {
            Ok(token) => {
                self.note("token-is-made", Verdict::Holds);
                self.token = Some(token);
            }
            Err(e) => return self.note("token-is-made", Verdict::Differs(e.to_string())),
        }
        let Some((id, first)) = self
            .token
            .as_ref()
            .map(|t| (t.id.clone(), t.value.duplicate()))
        else {
            return;
        };
        let listed = self.client.list_tokens(cx()).await;
        self.note(
            "token-is-listed-at-once",
            match listed {
                Ok(all) => holds(
                    all.iter().any(|t| t.id == id && t.name == new.name),
                    "not in the list",
                ),
                Err(e) => Verdict::Differs(e.to_string()),
            },
        );
        let verdict = self.opens(&id, &first).await;
        self.note("token-opens-its-bucket-within-60-s", verdict);
        match self.client.roll_token(cx(), &id).await {
            Ok(second) => {
                self.note(
                    "token-is-rolled",
                    holds(
                        second.sha256_hex() != first.sha256_hex(),
                        "the value stayed the same",
                    ),
                );
                let verdict = self.opens(&id, &second).await;
                self.note("rolled-token-opens-its-bucket-within-60-s", verdict);
            }
            Err(e) => self.note("token-is-rolled", Verdict::Differs(e.to_string())),
        }
    }

    pub(super) async fn storage(&mut self) {
        if !self.has_bucket {
            return self.note(
                "storage",
                Verdict::NotChecked("there is no bucket".to_owned()),
            );
        }
        for key in KEYS {
            if let Err(e) = self.client.s3_put_object(cx(), &self.bucket, key).await {
                return self.note("own-token-opens-s3", Verdict::Differs(e.to_string()));
            }
        }
        self.note("own-token-opens-s3", Verdict::Holds);
        let refused = self.client.delete_bucket(cx(), &self.bucket).await;
        let verdict = match refused {
            Err(CloudError::NotEmpty(_)) => Verdict::Holds,
            Err(e) => Verdict::Differs(e.to_string()),
            Ok(()) => {
                self.has_bucket = false;
                Verdict::Differs("it was deleted".to_owned())
            }
        };
        self.note("full-bucket-is-refused-as-not-empty", verdict);
        let page = match self.client.list_objects(cx(), &self.bucket).await {
            Ok(page) => page,
            Err(e) => {
                return self.note("keys-are-listed-as-stored", Verdict::Differs(e.to_string()));
            }
        };
        let mut keys = page.keys.clone();
        keys.sort_unstable();
        let mut stored = KEYS.map(str::to_owned).to_vec();
        stored.sort_unstable();
        self.note(
            "keys-are-listed-as-stored",
            holds(keys == stored, &format!("{keys:?}")),
        );
        let deleted = self
            .client
            .delete_objects(cx(), &self.bucket, &page.keys)
            .await;
        let rest = self.client.list_objects(cx(), &self.bucket).await;
        self.note(
            "every-key-can-be-deleted",
            match (deleted, rest) {
                (Ok(left), Ok(rest)) => holds(
                    left.is_empty() && rest.keys.is_empty(),
                    &format!("left: {left:?}, still listed: {:?}", rest.keys),
                ),
                (Err(e), _) | (_, Err(e)) => Verdict::Differs(e.to_string()),
            },
        );
        let uploads = self.client.list_uploads(cx(), &self.bucket).await;
        self.note("unfinished-uploads-can-be-listed", held(uploads));
    }

    /// Tries everything that may be there, and goes on after a failure.
    pub(super) async fn clean_up(&mut self) {
        if self.has_worker {
            let gone = self.client.delete_worker(cx(), &self.name).await;
            self.note("cleanup-worker", gone_or_absent(gone));
            let verdict = self.await_worker(|w| w.is_none()).await;
            self.note("deleted-worker-leaves-the-list", verdict);
        }
        if self.has_bucket {
            let left = self
                .client
                .list_objects(cx(), &self.bucket)
                .await
                .unwrap_or_default();
            // What this leaves behind is told by the bucket's own deletion.
            let _left = self
                .client
                .delete_objects(cx(), &self.bucket, &left.keys)
                .await;
            let gone = self.client.delete_bucket(cx(), &self.bucket).await;
            self.note("cleanup-bucket", gone_or_absent(gone));
        }
        let name = format!("{}/token", self.name);
        let mut ids: Vec<String> = self.token.iter().map(|t| t.id.clone()).collect();
        if ids.is_empty() {
            // Its answer may have been lost.
            let listed = self.client.list_tokens(cx()).await.unwrap_or_default();
            ids.extend(listed.into_iter().filter(|t| t.name == name).map(|t| t.id));
        }
        for id in ids {
            let gone = self.client.delete_token(cx(), &id).await;
            self.note("cleanup-token", gone_or_absent(gone));
        }
    }
}
