//! The account itself: its workers.dev subdomain, and how our own token stands.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use talon_core::cloud::{CallCx, CloudError, CloudResult, TokenCheck};

use crate::client::{Client, Terms};
use crate::envelope::{incomplete, typed};
use crate::lenient::{date_field, text_field};
use crate::taxonomy::{Area, Call};

#[derive(Debug, Default, Deserialize)]
struct Subdomain {
    // The documentation once said `name`; the API says `subdomain`.
    #[serde(default, deserialize_with = "text_field")]
    subdomain: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Verified {
    #[serde(default, deserialize_with = "text_field")]
    id: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    status: Option<String>,
}

/// A token as `GET …/tokens/{id}` shows it.
#[derive(Debug, Default, Deserialize)]
struct Shown {
    #[serde(default, deserialize_with = "date_field")]
    expires_on: Option<DateTime<Utc>>,
    #[serde(default)]
    policies: Vec<ShownPolicy>,
}

#[derive(Debug, Default, Deserialize)]
struct ShownPolicy {
    #[serde(default, deserialize_with = "text_field")]
    effect: Option<String>,
    #[serde(default)]
    permission_groups: Vec<ShownGroup>,
}

#[derive(Debug, Default, Deserialize)]
struct ShownGroup {
    #[serde(default, deserialize_with = "text_field")]
    name: Option<String>,
}

/// The permissions that Talon's token needs, by the names of their groups.
pub const NEEDED_PERMISSIONS: [&str; 3] = [
    "Workers Scripts Write",
    "Workers R2 Storage Write",
    "Account API Tokens Write",
];

/// What a token says of itself, beyond that it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTerms {
    /// When it ends, if ever.
    pub expires_on: Option<DateTime<Utc>>,
    /// Names of the permissions that its policies allow, in alphabetical order, each once. `None` if Cloudflare names them by
    /// id only.
    pub permissions: Option<Vec<String>>,
}

impl Client {
    /// When our own token ends and what it allows. An account's token may read itself with "Account API Tokens"; a user's is
    /// not there.
    ///
    /// # Errors
    /// Those of any read; `Auth` or `NotFound` where it may not look at itself.
    pub async fn token_terms(&self, cx: CallCx) -> CloudResult<TokenTerms> {
        let id = self.token_id(cx).await?;
        let call = Call::new("GET token", Method::GET, Area::Tokens);
        let url = self.account_url(&call, &["tokens", &id])?;
        let (answer, success) = self
            .read(cx.into(), &call, || self.request(&call, url.clone()))
            .await?;
        let shown: Shown = typed(&call, &answer, success.result)?;
        let allowed = shown
            .policies
            .into_iter()
            .filter(|policy| policy.effect.as_deref() == Some("allow"))
            .flat_map(|policy| policy.permission_groups);
        let names: Option<std::collections::BTreeSet<String>> =
            allowed.map(|group| group.name).collect();
        Ok(TokenTerms {
            expires_on: shown.expires_on,
            permissions: names.map(|names| names.into_iter().collect()),
        })
    }

    pub(crate) async fn get_account_subdomain(&self, cx: CallCx) -> CloudResult<Option<String>> {
        let call = Call::new("GET account subdomain", Method::GET, Area::Workers);
        let url = self.account_url(&call, &["workers", "subdomain"])?;
        let read = self
            .read(cx.into(), &call, || self.request(&call, url.clone()))
            .await;
        match read {
            Ok((answer, success)) => {
                Ok(typed::<Subdomain>(&call, &answer, success.result)?.subdomain)
            }
            Err(CloudError::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Asks as an account's token first, then as a user's: either kind is refused at the other's address.
    pub(crate) async fn check_token(&self, cx: CallCx) -> CloudResult<TokenCheck> {
        let terms = Terms::from(cx);
        let first = self
            .verify_at(terms, &["accounts", &self.account_id, "tokens", "verify"])
            .await;
        match first {
            Err(
                refused @ (CloudError::Auth(_) | CloudError::Invalid(_) | CloudError::NotFound(_)),
            ) => match self.verify_at(terms, &["user", "tokens", "verify"]).await {
                Err(CloudError::Auth(_) | CloudError::Invalid(_) | CloudError::NotFound(_)) => {
                    Err(refused)
                }
                other => other,
            },
            other => other,
        }
    }

    async fn verify_at(&self, terms: Terms, segments: &[&str]) -> CloudResult<TokenCheck> {
        let call = Call::new("GET token verify", Method::GET, Area::Tokens);
        let url = self.url(&call, segments)?;
        let (answer, success) = self
            .read(terms, &call, || self.request(&call, url.clone()))
            .await?;
        let verified: Verified = typed(&call, &answer, success.result)?;
        let id = verified
            .id
            .ok_or_else(|| incomplete(&call, "the answer names no token id"))?;
        // The id never changes, so the first answer is as good as any.
        let _known = self.token_id.set(id.clone());
        Ok(TokenCheck {
            id,
            status: verified.status.unwrap_or_else(|| "unknown".to_owned()),
        })
    }

    /// Id of the controller's own token, which is its S3 access key id. Asked once, then remembered.
    ///
    /// # Errors
    /// Those of [`verify_token`](talon_core::cloud::Cloud::verify_token).
    pub async fn token_id(&self, cx: CallCx) -> CloudResult<String> {
        match self.token_id.get() {
            Some(id) => Ok(id.clone()),
            None => Ok(self.check_token(cx).await?.id),
        }
    }
}
