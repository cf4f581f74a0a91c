//! API tokens of the account.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use talon_core::secret::SecretValue;

use super::World;
use super::permission::{Effect, GROUPS, Policy};
use super::view::time;
use crate::reply::{ApiError, Handled};

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The account's.
    Account,
    /// A person's.
    User,
}

/// How a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Expired,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// A token's value with its hash, which is both what calls are checked against and the S3 secret.
#[derive(Debug, Clone)]
pub(crate) struct TokenValue {
    secret: Arc<SecretValue>,
    sha256: String,
}

impl TokenValue {
    pub(crate) fn new(value: String) -> Self {
        let secret = SecretValue::new(value);
        Self {
            sha256: secret.sha256_hex(),
            secret: Arc::new(secret),
        }
    }

    /// Lower-case hex SHA-256: the S3 secret.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(crate) fn duplicate(&self) -> SecretValue {
        self.secret.duplicate()
    }

    /// For the two answers in which Cloudflare shows a value: create and roll.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the side that hands values out"
    )]
    pub(crate) fn show(&self) -> Value {
        json!(self.secret.expose())
    }
}

/// A token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) value: TokenValue,
    pub(crate) owner: Owner,
    pub(crate) policies: Vec<Policy>,
    pub(crate) status: Status,
    pub(crate) issued_on: DateTime<Utc>,
    pub(crate) modified_on: DateTime<Utc>,
    /// When it was made or last rolled.
    pub(crate) value_set_on: DateTime<Utc>,
    pub(crate) not_before: Option<DateTime<Utc>>,
    pub(crate) expires_on: Option<DateTime<Utc>>,
}

impl Token {
    /// How it stands at a moment.
    pub(crate) fn status_at(&self, now: DateTime<Utc>) -> Status {
        if self.expires_on.is_some_and(|t| t <= now) {
            return Status::Expired;
        }
        self.status
    }

    /// Whether it is accepted at a moment.
    pub(crate) fn usable(&self, now: DateTime<Utc>) -> bool {
        self.status_at(now) == Status::Active && self.not_before.is_none_or(|t| t <= now)
    }

    /// As the API shows it; the value is never part of it.
    pub(crate) fn show(&self, now: DateTime<Utc>) -> Value {
        let mut shown = json!({
            "id": self.id,
            "name": self.name,
            "status": self.status_at(now).as_str(),
            "policies": self.policies.iter().map(Policy::show).collect::<Vec<_>>(),
            "issued_on": whole_second(self.issued_on),
            "modified_on": whole_second(self.modified_on),
        });
        for (key, at) in [
            ("not_before", self.not_before),
            ("expires_on", self.expires_on),
        ] {
            if let Some(at) = at {
                shown[key] = json!(whole_second(at));
            }
        }
        shown
    }
}

fn whole_second(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl World {
    /// The token with this value, if it is accepted now.
    pub(crate) fn token_by_value(&self, value: &str, now: DateTime<Utc>) -> Option<Arc<Token>> {
        let sha256 = SecretValue::new(value.to_owned()).sha256_hex();
        self.catalog()
            .tokens
            .iter()
            .find(|t| t.value.sha256() == sha256 && t.usable(now))
            .cloned()
    }

    /// Makes a token out of a create body.
    pub(crate) fn create_token(&mut self, body: &Value, now: DateTime<Utc>) -> Handled<Arc<Token>> {
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
        if !(1..=120).contains(&name.chars().count()) {
            return Err(ApiError::new(
                400,
                400,
                "name must have a length between 1 and 120",
            ));
        }
        let policies = self.policies(body.get("policies"))?;
        if self.catalog().tokens.len() >= self.max_tokens {
            return Err(ApiError::new(
                400,
                1020,
                "You have reached the maximum number of API tokens for this account.",
            ));
        }
        let moment = |key: &str| -> Handled<Option<DateTime<Utc>>> {
            match body.get(key) {
                None | Some(Value::Null) => Ok(None),
                Some(given) => given
                    .as_str()
                    .filter(|s| !s.contains('.'))
                    .and_then(|s| s.parse().ok())
                    .map(Some)
                    .ok_or_else(|| {
                        ApiError::new(
                            400,
                            400,
                            format!("{key} must be a time like 2018-07-01T05:20:00Z"),
                        )
                    }),
            }
        };
        let token = Arc::new(Token {
            id: self.chance.hex32(),
            name: name.to_owned(),
            value: TokenValue::new(self.chance.token_value()),
            owner: Owner::Account,
            policies,
            status: Status::Active,
            issued_on: now,
            modified_on: now,
            value_set_on: now,
            not_before: moment("not_before")?,
            expires_on: moment("expires_on")?,
        });
        self.change(now).tokens.push(Arc::clone(&token));
        Ok(token)
    }

    fn policies(&mut self, given: Option<&Value>) -> Handled<Vec<Policy>> {
        let bad = |what: &str| ApiError::new(400, 1001, what.to_owned());
        let list = given
            .and_then(Value::as_array)
            .filter(|l| !l.is_empty())
            .ok_or_else(|| bad("Invalid policies: at least one policy is required"))?;
        list.iter()
            .map(|policy| {
                let effect = match policy.get("effect").and_then(Value::as_str) {
                    Some("allow") => Effect::Allow,
                    Some("deny") => Effect::Deny,
                    Some(_) | None => return Err(bad("Invalid policy effect")),
                };
                let resources: Map<String, Value> = policy
                    .get("resources")
                    .and_then(Value::as_object)
                    .filter(|m| !m.is_empty() && m.keys().all(|k| k.starts_with("com.cloudflare.")))
                    .cloned()
                    .ok_or_else(|| bad("Invalid policy resources"))?;
                let groups = policy
                    .get("permission_groups")
                    .and_then(Value::as_array)
                    .filter(|l| !l.is_empty())
                    .ok_or_else(|| bad("Permission group is required"))?
                    .iter()
                    .map(|g| {
                        let id = g.get("id").and_then(Value::as_str).unwrap_or_default();
                        GROUPS
                            .iter()
                            .find(|known| known.id == id)
                            .map(|known| known.id.to_owned())
                            .ok_or_else(|| bad("Permission group not found"))
                    })
                    .collect::<Handled<Vec<_>>>()?;
                Ok(Policy {
                    id: self.chance.hex32(),
                    effect,
                    resources,
                    groups,
                })
            })
            .collect()
    }

    /// Gives a token a new value.
    pub(crate) fn roll_token(&mut self, id: &str, now: DateTime<Utc>) -> Handled<TokenValue> {
        check_id(id)?;
        let value = TokenValue::new(self.chance.token_value());
        let token = self
            .change(now)
            .tokens
            .iter_mut()
            .find(|t| t.id == id)
            .ok_or_else(not_found)?;
        let token = Arc::make_mut(token);
        token.value = value.clone();
        token.value_set_on = now;
        token.modified_on = now;
        Ok(value)
    }

    /// Removes a token.
    pub(crate) fn delete_token(&mut self, id: &str, now: DateTime<Utc>) -> Handled<()> {
        check_id(id)?;
        let name = self
            .catalog()
            .token(id)
            .map(|t| t.name.clone())
            .ok_or_else(not_found)?;
        if self.conditions.refuses_token(&name) {
            return Err(ApiError::forbidden());
        }
        self.change(now).tokens.retain(|t| t.id != id);
        Ok(())
    }
}

/// 1003: no such token.
pub(crate) fn not_found() -> ApiError {
    ApiError::new(404, 1003, "API token not found")
}

/// Token ids are 32 hexadecimal characters; others have no route.
pub(crate) fn check_id(id: &str) -> Handled<()> {
    if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut e = ApiError::new(
        404,
        7003,
        "Could not route to /tokens, perhaps your object identifier is invalid?",
    );
    e.also.push((7000, "No route for that URI".to_owned()));
    Err(e)
}

/// For people and tests: when it was made, to the microsecond.
pub(crate) fn issued(token: &Token) -> String {
    time(token.issued_on)
}
