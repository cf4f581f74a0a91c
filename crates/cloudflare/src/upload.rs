//! The upload of a Worker: `PUT …/workers/scripts/{name}` as a multipart form, one part `metadata` and one part per
//! module, whose field name and file name are the module's name.

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde::Serialize;
use talon_core::cloud::{
    Binding, CallCx, CloudError, CloudResult, Migration, Module, WorkerUpload, WorkerVersion,
};
use talon_core::secret::SecretValue;

use crate::client::Client;
use crate::envelope::typed;
use crate::exposed::Exposed;
use crate::message::own;
use crate::taxonomy::{Area, Call};
use crate::workers::Versioned;

/// Cloudflare takes no more.
const MOST_TAGS: usize = 8;

#[derive(Serialize)]
struct Metadata<'a> {
    main_module: &'a str,
    compatibility_date: &'a str,
    compatibility_flags: &'a [String],
    bindings: Vec<SentBinding<'a>>,
    /// Without it an upload drops every secret that it does not name.
    keep_bindings: [&'static str; 1],
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    migrations: Option<SentMigration<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SentBinding<'a> {
    PlainText {
        name: &'a str,
        text: &'a str,
    },
    SecretText {
        name: &'a str,
        text: Exposed<'a>,
    },
    Inherit {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        version_id: Option<&'a str>,
    },
    R2Bucket {
        name: &'a str,
        bucket_name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        jurisdiction: Option<&'static str>,
    },
    DurableObjectNamespace {
        name: &'a str,
        class_name: &'a str,
    },
}

/// One step; `old_tag` is left out, as it must be while the Worker has none.
#[derive(Serialize)]
struct SentMigration<'a> {
    new_tag: &'a str,
    new_sqlite_classes: &'a [String],
}

impl<'a> From<&'a Binding> for SentBinding<'a> {
    fn from(b: &'a Binding) -> Self {
        match b {
            Binding::PlainText { name, text } => Self::PlainText { name, text },
            Binding::SecretText { name, value } => Self::SecretText {
                name,
                text: Exposed(value),
            },
            Binding::Inherit { name, version_id } => Self::Inherit {
                name,
                version_id: version_id.as_deref(),
            },
            Binding::R2Bucket {
                name,
                bucket,
                jurisdiction,
            } => Self::R2Bucket {
                name,
                bucket_name: bucket,
                jurisdiction: (!jurisdiction.is_default()).then(|| jurisdiction.as_str()),
            },
            Binding::DurableObject { name, class_name } => {
                Self::DurableObjectNamespace { name, class_name }
            }
        }
    }
}

impl<'a> From<&'a Migration> for SentMigration<'a> {
    fn from(m: &'a Migration) -> Self {
        Self {
            new_tag: &m.new_tag,
            new_sqlite_classes: &m.new_sqlite_classes,
        }
    }
}

/// What is wrong with an upload before it is sent; each of these would be refused, or worse, understood differently.
fn check(upload: &WorkerUpload) -> Result<(), &'static str> {
    let named = |m: &Module| m.name == upload.main_module;
    if !upload.modules.iter().any(named) {
        return Err("the main module is not among the modules; not sent");
    }
    let breaks_a_header = |c: char| c.is_control() || matches!(c, '"' | '\\');
    if upload
        .modules
        .iter()
        .any(|m| m.name.is_empty() || m.name == "metadata" || m.name.contains(breaks_a_header))
    {
        return Err("a module has a name that no part can carry; not sent");
    }
    if upload.tags.len() > MOST_TAGS || upload.tags.iter().any(|t| t.contains([',', '&', ':'])) {
        return Err("at most 8 tags, without ',', '&' and ':'; not sent");
    }
    Ok(())
}

fn form(upload: &WorkerUpload) -> Result<Form, &'static str> {
    check(upload)?;
    let metadata = Metadata {
        main_module: &upload.main_module,
        compatibility_date: &upload.compatibility_date,
        compatibility_flags: &upload.compatibility_flags,
        bindings: upload.bindings.iter().map(SentBinding::from).collect(),
        keep_bindings: ["secret_text"],
        tags: &upload.tags,
        migrations: upload.migration.as_ref().map(SentMigration::from),
    };
    let metadata =
        serde_json::to_string(&metadata).map_err(|_| "the metadata could not be built")?;
    let part = Part::text(metadata)
        .mime_str("application/json")
        .map_err(|_| "the metadata could not be built")?;
    // Names go out as they are: an encoded name would not be the module that the code imports.
    let mut form = Form::new().percent_encode_noop().part("metadata", part);
    for module in &upload.modules {
        let part = Part::bytes(module.body.clone())
            .file_name(module.name.clone())
            .mime_str(module.content_type)
            .map_err(|_| "a module has no proper content type; not sent")?;
        form = form.part(module.name.clone(), part);
    }
    Ok(form)
}

impl Client {
    pub(crate) async fn put_worker(
        &self,
        cx: CallCx,
        worker: &str,
        upload: &WorkerUpload,
    ) -> CloudResult<WorkerVersion> {
        let call = Call::new("PUT worker", Method::PUT, Area::Workers);
        let form = form(upload).map_err(|why| CloudError::Invalid(own(call.name, why)))?;
        let mut url = self.account_url(&call, &["workers", "scripts", worker])?;
        url.query_pairs_mut()
            .append_pair("excludeScript", "true")
            .append_pair("bindings_inherit", "strict");
        let request = self.request(&call, url).multipart(form);
        let carried: Vec<&SecretValue> = upload
            .bindings
            .iter()
            .filter_map(|b| match b {
                Binding::SecretText { value, .. } => Some(value),
                Binding::PlainText { .. }
                | Binding::Inherit { .. }
                | Binding::R2Bucket { .. }
                | Binding::DurableObject { .. } => None,
            })
            .collect();
        let (answer, success) = self
            .write(cx.into(), &call, self.timeouts.upload, &carried, request)
            .await?;
        // The Worker is live, whatever the shape of the answer.
        Ok(typed::<Versioned>(&call, &answer, success.result)
            .unwrap_or_default()
            .into())
    }
}
