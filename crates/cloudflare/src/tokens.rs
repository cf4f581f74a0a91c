//! API tokens of the account: one per agent, opening one bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use talon_core::cloud::{CallCx, CloudError, CloudResult, CreatedToken, NewToken, TokenInfo};
use talon_core::secret::SecretValue;

use crate::client::{Client, Terms};
use crate::envelope::{incomplete, typed};
use crate::lenient::{date_field, text_field};
use crate::s3::sign::canonical_query;
use crate::taxonomy::{Area, Call};

/// Name of the permission to read, write and list the objects of one bucket.
pub(crate) const WRITE_GROUP: &str = "Workers R2 Storage Bucket Item Write";
/// Its id in public use, for the case that the names cannot be looked up.
const WRITE_GROUP_ID: &str = "2efd5506f9c8494dacb1fa10a3e7d5b6";
/// Page asked for first. The account endpoint documents no maximum; a server that refuses is asked for [`SAFE_PAGE`].
pub(crate) const PER_PAGE: u64 = 100;
/// The documented maximum of the user endpoint.
const SAFE_PAGE: u64 = 50;
/// An account has at most 500 tokens; ten times that is a list that runs in circles.
const MOST_PAGES: u64 = 100;
/// How often the list is read again when tokens came or went between its pages.
const LIST_TRIES: u32 = 3;

#[derive(Debug, Deserialize)]
struct ReadToken {
    id: String,
    #[serde(default, deserialize_with = "text_field")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text_field")]
    status: Option<String>,
    #[serde(default, deserialize_with = "date_field")]
    issued_on: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
struct Group {
    id: String,
    #[serde(default, deserialize_with = "text_field")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Create<'a> {
    name: &'a str,
    policies: [Policy<'a>; 1],
}

#[derive(Serialize)]
struct Policy<'a> {
    effect: &'static str,
    resources: BTreeMap<String, &'static str>,
    permission_groups: [GroupRef<'a>; 1],
}

#[derive(Serialize)]
struct GroupRef<'a> {
    id: &'a str,
}

/// One reading of the whole list.
struct Listing {
    tokens: Vec<TokenInfo>,
    /// Whether the total stayed the same from the first page to the last.
    steady: bool,
}

impl Client {
    /// Pages shift when a token goes away while they are read, and one that is still there can fall between two of
    /// them; a changed total betrays that, and the list is read again.
    pub(crate) async fn get_tokens(&self, cx: CallCx) -> CloudResult<Vec<TokenInfo>> {
        let terms = Terms::from(cx);
        let mut n = 1;
        loop {
            let per_page = self.token_page.load(Ordering::Relaxed);
            let listing = match self.read_token_pages(terms, per_page).await {
                Err(CloudError::Invalid(_)) if per_page > SAFE_PAGE => {
                    self.token_page.store(SAFE_PAGE, Ordering::Relaxed);
                    continue;
                }
                listing => listing?,
            };
            if listing.steady || n >= LIST_TRIES {
                return Ok(listing.tokens);
            }
            n += 1;
        }
    }

    async fn read_token_pages(&self, terms: Terms, per_page: u64) -> CloudResult<Listing> {
        let call = Call::new("GET tokens", Method::GET, Area::Tokens);
        let mut seen = BTreeSet::new();
        let mut tokens = Vec::new();
        let mut totals = BTreeSet::new();
        for page in 1..=MOST_PAGES {
            let mut url = self.account_url(&call, &["tokens"])?;
            url.query_pairs_mut()
                .append_pair("page", &page.to_string())
                .append_pair("per_page", &per_page.to_string())
                // The oldest first, so that a new one comes last.
                .append_pair("direction", "asc");
            let (answer, success) = self
                .read(terms, &call, || self.request(&call, url.clone()))
                .await?;
            let info = success.info;
            let listed: Vec<ReadToken> = typed(&call, &answer, success.result)?;
            let count = listed.len() as u64;
            totals.extend(info.total_count);
            for token in listed {
                if seen.insert(token.id.clone()) {
                    tokens.push(TokenInfo {
                        id: token.id,
                        name: token.name.unwrap_or_default(),
                        status: token.status.unwrap_or_else(|| "unknown".to_owned()),
                        issued_on: token.issued_on,
                    });
                }
            }
            // A server may give smaller pages than asked for, so a short page alone ends nothing.
            let last = match (info.total_pages, info.total_count) {
                (Some(pages), _) => page >= pages,
                (None, Some(total)) => tokens.len() as u64 >= total,
                // Nor does a full page of a server that quietly gives fewer than it was asked for.
                (None, None) => count < per_page.min(SAFE_PAGE),
            };
            if last || count == 0 {
                return Ok(Listing {
                    tokens,
                    steady: totals.len() <= 1,
                });
            }
        }
        Err(incomplete(&call, "the list of tokens does not end"))
    }

    pub(crate) async fn post_token(
        &self,
        cx: CallCx,
        token: &NewToken,
    ) -> CloudResult<CreatedToken> {
        let call = Call::new("POST token", Method::POST, Area::Tokens);
        let terms = Terms::from(cx);
        let group = self.write_group(terms).await?;
        let resource = format!(
            "com.cloudflare.edge.r2.bucket.{}_{}_{}",
            self.account_id,
            token.jurisdiction.as_str(),
            token.bucket
        );
        let url = self.account_url(&call, &["tokens"])?;
        let request = self.request(&call, url).json(&Create {
            name: &token.name,
            policies: [Policy {
                effect: "allow",
                resources: BTreeMap::from([(resource, "*")]),
                permission_groups: [GroupRef { id: &group }],
            }],
        });
        let (_, success) = self
            .write(terms, &call, self.timeouts.request, &[], request)
            .await?;
        let Value::Object(mut result) = success.result else {
            return Err(incomplete(&call, "the answer holds no token"));
        };
        match (result.remove("id"), result.remove("value")) {
            (Some(Value::String(id)), Some(Value::String(value))) if !value.is_empty() => {
                Ok(CreatedToken {
                    id,
                    value: SecretValue::new(value),
                })
            }
            _ => Err(incomplete(&call, "the answer holds no id or no value")),
        }
    }

    pub(crate) async fn put_token_value(&self, cx: CallCx, id: &str) -> CloudResult<SecretValue> {
        let call = Call::new("PUT token value", Method::PUT, Area::Tokens);
        let url = self.account_url(&call, &["tokens", id, "value"])?;
        let request = self.request(&call, url).json(&serde_json::json!({}));
        let (_, success) = self
            .write(cx.into(), &call, self.timeouts.request, &[], request)
            .await?;
        match success.result {
            Value::String(value) if !value.is_empty() => Ok(SecretValue::new(value)),
            _ => Err(incomplete(&call, "the answer holds no value")),
        }
    }

    pub(crate) async fn remove_token(&self, cx: CallCx, id: &str) -> CloudResult<()> {
        let call = Call::new("DELETE token", Method::DELETE, Area::Tokens);
        let url = self.account_url(&call, &["tokens", id])?;
        let request = self.request(&call, url);
        self.write(cx.into(), &call, self.timeouts.request, &[], request)
            .await
            .map(drop)
    }

    /// Looked up by name once per process; where the token may not read the names, the id in public use.
    async fn write_group(&self, terms: Terms) -> CloudResult<String> {
        if let Some(id) = self.write_group.get() {
            return Ok(id.clone());
        }
        let call = Call::new("GET permission groups", Method::GET, Area::Tokens);
        let mut url = self.account_url(&call, &["tokens", "permission_groups"])?;
        // `%20` for a space, which every server understands; a form would write `+`.
        url.set_query(Some(&canonical_query(&[("name", WRITE_GROUP)])));
        let groups = match self
            .read(terms, &call, || self.request(&call, url.clone()))
            .await
        {
            Ok((answer, success)) => typed::<Vec<Group>>(&call, &answer, success.result)?,
            Err(CloudError::Auth(_) | CloudError::NotFound(_) | CloudError::Invalid(_)) => {
                return Ok(WRITE_GROUP_ID.to_owned());
            }
            Err(other) => return Err(other),
        };
        // The filter may be ignored, so the name is compared here as well.
        let found = groups
            .into_iter()
            .find(|g| g.name.as_deref() == Some(WRITE_GROUP));
        let id = found.map_or_else(|| WRITE_GROUP_ID.to_owned(), |g| g.id);
        Ok(self.write_group.get_or_init(|| id).clone())
    }
}
