//! Who asks, and what they may do.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use talon_core::Owner;
use talon_core::guesses::ClientAddress;
use talon_core::search::Asker;
use talon_core::secret::SecretValue;
use talon_core::turns::counted_as;
pub use talon_store::access::Role;
use tokio::time::Instant;

use crate::App;
use crate::access::is_well_formed;
use crate::http::{Answer, Kind, Problem};

/// No token of ours is longer.
const MAX_TOKEN: usize = 512;

/// The operator's token as this server knows it: its SHA-256.
#[derive(Clone)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// Remembers the hash of the token that is derived from the install key.
    pub fn of(token: &SecretValue) -> Self {
        Self(token.sha256_hex())
    }

    /// A key that every replica has and nobody else.
    pub fn as_key(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Somebody whose token was accepted.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is, for the audit log.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// Whose agents they see and change; `None`: everybody's.
    pub owner: Option<Owner>,
    /// Where the request came from.
    pub source: Arc<str>,
    /// SHA-256 of the token; `None`: the operator's, which nobody can take back.
    token: Option<Arc<str>>,
}

impl Caller {
    /// Whether agents of this owner exist for the caller.
    pub fn sees(&self, owner: &Owner) -> bool {
        self.owner.as_ref().is_none_or(|own| own == owner)
    }

    /// As whom they are counted: the owner, where there is one.
    pub fn counted_as(&self) -> String {
        counted_as(self.owner.as_ref(), &self.name)
    }

    /// As the Router knows a person. Who sees everything searches as the owner `default`.
    pub fn asker(&self) -> Asker {
        let owner = self.owner.clone().unwrap_or_default();
        Asker {
            agent: None,
            owner: owner.0,
        }
    }

    fn require(self, role: Role) -> Answer<Self> {
        if self.role >= role {
            Ok(self)
        } else {
            Err(Problem::new(
                Kind::Forbidden,
                "the role of this token does not allow it",
            ))
        }
    }
}

fn guesses_too_often(wait: Duration) -> Problem {
    Problem::new(
        Kind::TooManyRequests,
        "too many tokens from this address were wrong: wait, then send the right one",
    )
    .retry_after(wait)
}

async fn identify(parts: &Parts, app: &App) -> Answer<Caller> {
    let unknown = || Problem::new(Kind::Unauthenticated, "the token is not accepted");
    let presented = parts
        .headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| {
            Problem::new(
                Kind::Unauthenticated,
                "send Authorization: Bearer and a token",
            )
        })?
        .as_bytes();
    let token = match presented.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token,
        _ => return Err(unknown()),
    };
    if token.is_empty() || token.len() > MAX_TOKEN {
        return Err(unknown());
    }
    let from = parts.extensions.get::<ClientAddress>().copied();
    let source: Arc<str> = match from {
        Some(ClientAddress(address)) => address.to_string().into(),
        None => "unknown".into(),
    };
    let sha256 = hex::encode(Sha256::digest(token));
    if bool::from(sha256.as_bytes().ct_eq(app.operator().0.as_bytes())) {
        return Ok(Caller {
            name: "operator".into(),
            role: Role::Admin,
            owner: None,
            source,
            token: None,
        });
    }
    let attempt = app.guesses().attempt(from, &sha256);
    let attempt = attempt.map_err(guesses_too_often)?;
    // Nothing is asked of the database for what nobody made.
    let known = if is_well_formed(token) {
        app.store().token(&sha256).await?
    } else {
        None
    };
    let Some(token) = known else {
        attempt.wrong();
        return Err(unknown());
    };
    attempt.right();
    app.used(&token);
    Ok(Caller {
        name: format!("token:{}", token.id).into(),
        role: token.role,
        owner: token.owner,
        source,
        token: Some(sha256.into()),
    })
}

/// How long a stream may go on: until the token of whoever asked for it is revoked or expires.
#[derive(Clone)]
pub struct Admission {
    token: Option<Arc<str>>,
    /// When the token is looked at again.
    next: Instant,
}

impl Admission {
    /// The caller's, who was let in just now.
    pub fn of(caller: &Caller, app: &App) -> Self {
        Self {
            token: caller.token.clone(),
            next: Instant::now() + app.config().heartbeat,
        }
    }

    /// Ends when [`Admission::holds`] is to be asked.
    pub async fn is_due(&self) {
        match self.token {
            Some(_) => tokio::time::sleep_until(self.next).await,
            None => std::future::pending().await,
        }
    }

    /// As [`Admission::holds`], as a problem.
    pub async fn require(&mut self, app: &App) -> Answer<()> {
        if self.holds(app).await {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Unauthenticated,
            "the token was revoked or has expired meanwhile",
        ))
    }

    /// Whether the stream may go on. Asks the database with each heartbeat; one that does not answer is asked again with
    /// the next.
    pub async fn holds(&mut self, app: &App) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        if Instant::now() < self.next {
            return true;
        }
        self.next = Instant::now() + app.config().heartbeat;
        !matches!(app.store().token(token).await, Ok(None))
    }
}

macro_rules! at_least {
    ($($(#[$doc:meta])* $name:ident;)+) => {
        $($(#[$doc])*
        #[derive(Debug)]
        pub struct $name(pub Caller);

        impl FromRequestParts<App> for $name {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
                let caller = identify(parts, app).await?;
                app.take_turn(&caller)?;
                caller.require(Role::$name).map(Self)
            }
        })+
    };
}

at_least! {
    /// A caller who may read.
    Viewer;
    /// A caller who may change agents.
    Operator;
    /// A caller who may set keys.
    SecretWriter;
    /// A caller who may do everything.
    Admin;
}
