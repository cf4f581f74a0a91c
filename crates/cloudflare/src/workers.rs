//! Workers: list, settings, secrets, route, deletion. The upload stands in `upload`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use talon_core::cloud::{
    BindingInfo, CallCx, CloudError, CloudResult, SecretChange, WorkerInfo, WorkerSettings,
    WorkerVersion,
};

use crate::client::Client;
use crate::envelope::typed;
use crate::exposed::Exposed;
use crate::lenient::{date_field, text_field, texts_field};
use crate::message::own;
use crate::taxonomy::{Area, Call};

/// Fixes the meaning of `previews_enabled` to what the call says.
const ROUTE_API_DATE: (&str, &str) = ("Cloudflare-Workers-Script-Api-Date", "2025-08-01");
/// Cloudflare's own tool sends no more in one call.
const MOST_SECRETS: usize = 100;

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    #[serde(default, deserialize_with = "text_field")]
    tag: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    etag: Option<String>,
    #[serde(default, deserialize_with = "texts_field")]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "date_field")]
    created_on: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "date_field")]
    modified_on: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "text_field")]
    migration_tag: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    #[serde(default)]
    bindings: Option<Vec<ReadBinding>>,
    #[serde(default, deserialize_with = "texts_field")]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "text_field")]
    compatibility_date: Option<String>,
    #[serde(default, deserialize_with = "texts_field")]
    compatibility_flags: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct ReadBinding {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "text_field")]
    text: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    bucket_name: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    class_name: Option<String>,
}

impl From<ReadBinding> for BindingInfo {
    fn from(b: ReadBinding) -> Self {
        let value = match b.kind.as_str() {
            // An empty variable is a value, not the lack of one.
            "plain_text" => Some(b.text.unwrap_or_default()),
            "r2_bucket" => b.bucket_name,
            "durable_object_namespace" => b.class_name,
            _ => None,
        };
        Self {
            name: b.name,
            kind: b.kind,
            value,
        }
    }
}

#[derive(Debug, Deserialize)]
struct NamedSecret {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Route {
    #[serde(default)]
    enabled: bool,
}

/// What an upload or a secrets push may say of the version it made.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Versioned {
    #[serde(default, deserialize_with = "text_field")]
    tag: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    etag: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    deployment_id: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    version_id: Option<String>,
}

impl From<Versioned> for WorkerVersion {
    fn from(v: Versioned) -> Self {
        Self {
            script_tag: v.tag,
            etag: v.etag,
            version_id: v.version_id.or(v.deployment_id),
        }
    }
}

#[derive(Serialize)]
struct SecretsPatch<'a> {
    secrets: BTreeMap<&'a str, Option<SecretEntry<'a>>>,
}

#[derive(Serialize)]
struct SecretEntry<'a> {
    name: &'a str,
    text: Exposed<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct RouteChange {
    enabled: bool,
    previews_enabled: bool,
}

impl Client {
    pub(crate) async fn get_workers(&self, cx: CallCx) -> CloudResult<Vec<WorkerInfo>> {
        let call = Call::new("GET workers", Method::GET, Area::Workers);
        let listed: Vec<Listed> = self.get(cx, &call, &["workers", "scripts"]).await?;
        Ok(listed
            .into_iter()
            .map(|w| WorkerInfo {
                name: w.id,
                script_tag: w.tag,
                etag: w.etag,
                tags: w.tags,
                created_on: w.created_on,
                modified_on: w.modified_on,
                migration_tag: w.migration_tag,
            })
            .collect())
    }

    pub(crate) async fn get_settings(
        &self,
        cx: CallCx,
        worker: &str,
    ) -> CloudResult<WorkerSettings> {
        let call = Call::new("GET worker settings", Method::GET, Area::Workers);
        let path = ["workers", "scripts", worker, "settings"];
        let settings: Settings = self.get(cx, &call, &path).await?;
        Ok(WorkerSettings {
            bindings: settings
                .bindings
                .unwrap_or_default()
                .into_iter()
                .map(BindingInfo::from)
                .collect(),
            tags: settings.tags,
            compatibility_date: settings.compatibility_date,
            compatibility_flags: settings.compatibility_flags.unwrap_or_default(),
        })
    }

    pub(crate) async fn get_secret_names(
        &self,
        cx: CallCx,
        worker: &str,
    ) -> CloudResult<Vec<String>> {
        let call = Call::new("GET worker secrets", Method::GET, Area::Workers);
        let path = ["workers", "scripts", worker, "secrets"];
        let secrets: Vec<NamedSecret> = self.get(cx, &call, &path).await?;
        Ok(secrets.into_iter().map(|s| s.name).collect())
    }

    pub(crate) async fn get_route(&self, cx: CallCx, worker: &str) -> CloudResult<bool> {
        let call = Call::new("GET worker route", Method::GET, Area::Workers);
        let url = self.account_url(&call, &["workers", "scripts", worker, "subdomain"])?;
        let (answer, success) = self
            .read(cx.into(), &call, || {
                self.request(&call, url.clone())
                    .header(ROUTE_API_DATE.0, ROUTE_API_DATE.1)
            })
            .await?;
        Ok(typed::<Route>(&call, &answer, success.result)?.enabled)
    }

    pub(crate) async fn post_route(
        &self,
        cx: CallCx,
        worker: &str,
        enabled: bool,
    ) -> CloudResult<()> {
        let call = Call::new("POST worker route", Method::POST, Area::Workers);
        let url = self.account_url(&call, &["workers", "scripts", worker, "subdomain"])?;
        let request = self
            .request(&call, url)
            .header(ROUTE_API_DATE.0, ROUTE_API_DATE.1)
            .json(&RouteChange {
                enabled,
                previews_enabled: false,
            });
        self.write(cx.into(), &call, self.timeouts.request, &[], request)
            .await
            .map(drop)
    }

    pub(crate) async fn remove_worker(&self, cx: CallCx, worker: &str) -> CloudResult<()> {
        let call = Call::new("DELETE worker", Method::DELETE, Area::Workers);
        let mut url = self.account_url(&call, &["workers", "scripts", worker])?;
        url.query_pairs_mut().append_pair("force", "true");
        let request = self.request(&call, url);
        self.write(cx.into(), &call, self.timeouts.request, &[], request)
            .await
            .map(drop)
    }

    pub(crate) async fn patch_secrets(
        &self,
        cx: CallCx,
        worker: &str,
        changes: &[SecretChange],
    ) -> CloudResult<WorkerVersion> {
        let call = Call::new("PATCH worker secrets", Method::PATCH, Area::Workers);
        if changes.is_empty() || changes.len() > MOST_SECRETS {
            return Err(CloudError::Invalid(own(
                call.name,
                "one call changes 1 to 100 secrets; not sent",
            )));
        }
        let secrets = changes
            .iter()
            .map(|c| {
                let entry = c.value.as_ref().map(|value| SecretEntry {
                    name: &c.name,
                    text: Exposed(value),
                    kind: "secret_text",
                });
                (c.name.as_str(), entry)
            })
            .collect();
        let body = serde_json::to_vec(&SecretsPatch { secrets })
            .map_err(|_| CloudError::Invalid(own(call.name, "the body could not be built")))?;
        let url = self.account_url(&call, &["workers", "scripts", worker, "secrets-bulk"])?;
        let request = self
            .request(&call, url)
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(body);
        let carried: Vec<_> = changes.iter().filter_map(|c| c.value.as_ref()).collect();
        let (answer, success) = self
            .write(cx.into(), &call, self.timeouts.request, &carried, request)
            .await?;
        // The change is made, whatever the shape of the answer.
        Ok(typed::<Versioned>(&call, &answer, success.result)
            .unwrap_or_default()
            .into())
    }

    /// A plain read of something below the account.
    pub(crate) async fn get<T: serde::de::DeserializeOwned + Default>(
        &self,
        cx: CallCx,
        call: &Call,
        segments: &[&str],
    ) -> CloudResult<T> {
        let url = self.account_url(call, segments)?;
        let (answer, success) = self
            .read(cx.into(), call, || self.request(call, url.clone()))
            .await?;
        typed(call, &answer, success.result)
    }
}
