//! Sessions: a token is shown once, at sign-in; the browser then keeps a signed cookie that names the token's hash.
//!
//! Guarantees: the cookie holds no token and opens nothing but these pages; scripts cannot read it, other sites cannot
//! make a browser send it; it ends with its token, after twelve hours, or at sign-out, and a copy of it ends with it.
//!
//! Stored are only sessions that somebody signed out of, in memory and until they would have ended: a restart forgets them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::RngCore;
use subtle::ConstantTimeEq;
use talon_core::secret::{SecretValue, keyed_hex};

use crate::app::App;
use crate::error::PageError;
use crate::visitor::Visitor;

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// The session's cookie where browsers come by https.
const BOUND: &str = "__Host-talon";
/// The session's cookie elsewhere.
const PLAIN: &str = "talon-session";

/// A header of our own script: it wants an answer, not the way to the sign-in page.
pub const LIVE: &str = "x-talon-live";

/// Signs and checks cookies.
pub struct Sessions {
    key: [u8; 32],
    secure: bool,
    /// The nonces of sessions that somebody signed out of, and when each would have ended.
    over: Mutex<BTreeMap<String, u64>>,
}

/// A session that was accepted.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who it is.
    pub visitor: Visitor,
    /// What forms must carry.
    pub csrf: String,
    /// SHA-256 of the token behind it.
    pub token: String,
    /// Which it is among its token's.
    pub nonce: String,
    /// When it ends, in seconds of Unix time.
    pub ends: u64,
}

/// What a cookie says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    token: String,
    csrf: String,
    nonce: String,
    ends: u64,
}

impl Sessions {
    /// `secure`: browsers reach us by https only.
    pub fn new(key: [u8; 32], secure: bool) -> Self {
        Self {
            key,
            secure,
            over: Mutex::default(),
        }
    }

    /// Whether a cookie for this request is bound to https. A browser on the server itself, or at the other end of a tunnel
    /// to it, goes past whatever speaks https for us, and not every one keeps a `Secure` cookie then: its form says that it
    /// stood on a page of plain http. The `Host` says nothing, since a proxy may write its own.
    fn is_secure(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        let is_plain = origin.is_some_and(|origin| origin.starts_with(b"http://"));
        self.secure && (!is_plain || is_forwarded(headers))
    }

    fn cookie_name(is_secure: bool) -> &'static str {
        // The prefix makes browsers refuse the cookie from anywhere but this host by https.
        if is_secure { BOUND } else { PLAIN }
    }

    fn sign(&self, what: &str, text: &str) -> String {
        keyed_hex(&self.key, &[what.as_bytes(), &[0], text.as_bytes()])
    }

    /// A cookie for whoever showed the token with this hash.
    pub fn begin(&self, headers: &HeaderMap, token_sha256: &str) -> HeaderValue {
        let mut nonce = [0u8; 16];
        rand::rng().fill_bytes(&mut nonce);
        let ends = now() + LASTS.as_secs();
        let text = format!("{token_sha256}.{ends}.{}", hex::encode(nonce));
        let mac = self.sign("session", &text);
        self.set_cookie(headers, &format!("{text}.{mac}"), LASTS)
    }

    /// Takes the cookie away, and takes no copy of it from now on.
    pub fn end(&self, headers: &HeaderMap, session: &Session) -> HeaderValue {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        over.retain(|_, ends| now < *ends);
        over.insert(session.nonce.clone(), session.ends);
        drop(over);
        self.set_cookie(headers, "", Duration::ZERO)
    }

    /// Whether it has ended: by the clock, or because somebody signed out.
    pub fn is_over(&self, nonce: &str, ends: u64) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        now() >= ends || over.contains_key(nonce)
    }

    fn set_cookie(&self, headers: &HeaderMap, value: &str, lasts: Duration) -> HeaderValue {
        let is_secure = self.is_secure(headers);
        let cookie = format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}",
            Self::cookie_name(is_secure),
            lasts.as_secs(),
            if is_secure { "; Secure" } else { "" }
        );
        // Hex digits, dots and literals are always a header.
        HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""))
    }

    /// What the cookie says, if it is one of ours and has not ended.
    fn read(&self, headers: &HeaderMap) -> Option<Said> {
        // A page that is asked for does not say by which way; both are signed by us.
        let value = cookie(headers, BOUND).or_else(|| cookie(headers, PLAIN))?;
        let (text, mac) = value.rsplit_once('.')?;
        if !same(mac, &self.sign("session", text)) {
            return None;
        }
        let mut parts = text.split('.');
        let token = parts.next()?;
        let ends: u64 = parts.next()?.parse().ok()?;
        let nonce = parts.next()?;
        (!self.is_over(nonce, ends)).then(|| Said {
            token: token.to_owned(),
            csrf: self.sign("form", text),
            nonce: nonce.to_owned(),
            ends,
        })
    }
}

/// Whether something between the browser and us says that it is there.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        *name == header::FORWARDED
            || *name == header::VIA
            || name.as_str().starts_with("x-forwarded-")
    })
}

/// Compares without telling where two texts differ.
pub fn same(a: &str, b: &str) -> bool {
    bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

/// The hash by which a token is known.
pub fn hash_of(token: &str) -> String {
    SecretValue::new(token.to_owned()).sha256_hex()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// One cookie of a request.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Who asks, or nothing.
pub async fn identify(app: &App, headers: &HeaderMap) -> Result<Option<Session>, PageError> {
    let Some(said) = app.sessions().read(headers) else {
        return Ok(None);
    };
    let Some(visitor) = app.admit(&said.token).await? else {
        return Ok(None);
    };
    if let Some(turns) = app.turns() {
        turns.ask(&visitor.counted_as())?;
    }
    Ok(Some(Session {
        visitor,
        csrf: said.csrf,
        token: said.token,
        nonce: said.nonce,
        ends: said.ends,
    }))
}

/// Why a request is not carried out: no session, or the database cannot say.
pub enum NoSession {
    /// Sign in, then come back here.
    SignIn(String),
    /// Our script asked: it tells the person.
    Unauthorized,
    /// The database cannot be asked.
    Error(PageError),
}

impl IntoResponse for NoSession {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(back) => {
                let query: String = form_urlencoded::Serializer::new(String::new())
                    .append_pair("back", &back)
                    .finish();
                Redirect::to(&format!("/sign-in?{query}")).into_response()
            }
            Self::Unauthorized => StatusCode::UNAUTHORIZED.into_response(),
            Self::Error(error) => error.into_response(),
        }
    }
}

impl FromRequestParts<App> for Session {
    type Rejection = NoSession;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, NoSession> {
        match identify(app, &parts.headers).await {
            Ok(Some(mut session)) => {
                session.visitor.from = parts.extensions.get().copied();
                Ok(session)
            }
            Ok(None) if parts.headers.contains_key(LIVE) => Err(NoSession::Unauthorized),
            Ok(None) => {
                let back = match parts.uri.path_and_query() {
                    Some(path) if parts.method == http::Method::GET => path.as_str(),
                    _ => "/",
                };
                Err(NoSession::SignIn(back.to_owned()))
            }
            Err(error) => Err(NoSession::Error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_with(cookie: &HeaderValue) -> HeaderMap {
        let value = cookie.to_str().expect("text");
        let pair = value.split(';').next().expect("a pair");
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            HeaderValue::from_str(&format!("theme=dark; {pair}")).expect("a header"),
        );
        headers
    }

    #[test]
    fn a_cookie_is_known_again_and_a_changed_one_is_not() {
        let sessions = Sessions::new([7; 32], true);
        let cookie = sessions.begin(&at("talon.example.com"), "ab12");
        let text = cookie.to_str().expect("text").to_owned();
        for flag in [
            "__Host-talon=",
            "HttpOnly",
            "SameSite=Strict",
            "; Secure",
            "Path=/",
        ] {
            assert!(text.contains(flag), "{flag} in {text}");
        }
        assert_eq!(
            sessions.read(&asked_with(&cookie)).expect("known").token,
            "ab12"
        );
        let forged = HeaderValue::from_str(&text.replace("ab12", "ab13")).expect("a header");
        assert_eq!(sessions.read(&asked_with(&forged)), None);
        assert_eq!(
            Sessions::new([8; 32], true).read(&asked_with(&cookie)),
            None
        );
    }

    fn at(host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).expect("a header"));
        headers
    }

    #[test]
    fn whoever_goes_past_https_has_a_plain_cookie_whatever_the_host_says() {
        let sessions = Sessions::new([7; 32], true);
        for (told, is_secure) in [
            (&[("origin", "http://localhost:8790")][..], false),
            (&[("origin", "http://127.0.0.1:8790")], false),
            (&[("origin", "https://talon.example.com")], true),
            (&[("origin", "null")], true),
            (&[], true),
            (
                &[
                    ("origin", "http://talon.example.com"),
                    ("x-forwarded-for", "198.51.100.7"),
                ],
                true,
            ),
            (&[("origin", "http://x"), ("forwarded", "for=x")], true),
            (&[("origin", "http://x"), ("via", "1.1 x")], true),
        ] {
            // As a proxy on the same machine writes it.
            let mut headers = at("localhost:8790");
            for (name, value) in told {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let cookie = sessions.begin(&headers, "ab12");
            let text = cookie.to_str().expect("text");
            assert_eq!(text.starts_with("__Host-talon="), is_secure, "{told:?}");
            assert_eq!(text.contains("; Secure"), is_secure, "{told:?}");
            assert!(sessions.read(&asked_with(&cookie)).is_some(), "{told:?}");
        }
    }

    #[test]
    fn the_cookie_that_is_bound_to_https_goes_first() {
        let sessions = Sessions::new([7; 32], true);
        let bound = sessions.begin(&at("x"), "ab");
        let mut plain = at("x");
        plain.insert(header::ORIGIN, HeaderValue::from_static("http://x"));
        let plain = sessions.begin(&plain, "cd");
        let mut both = asked_with(&plain);
        both.append(header::COOKIE, asked_with(&bound)[header::COOKIE].clone());
        assert_eq!(sessions.read(&both).expect("known").token, "ab");
    }

    #[test]
    fn every_session_has_a_form_token_of_its_own() {
        let sessions = Sessions::new([7; 32], false);
        let read = |cookie| sessions.read(&asked_with(&cookie)).expect("known").csrf;
        assert_ne!(
            read(sessions.begin(&at("x"), "ab")),
            read(sessions.begin(&at("x"), "ab"))
        );
    }

    #[test]
    fn what_has_ended_is_not_known() {
        let sessions = Sessions::new([7; 32], false);
        let text = format!("ab.{}.00", now() - 1);
        let cookie = sessions.set_cookie(
            &at("x"),
            &format!("{text}.{}", sessions.sign("session", &text)),
            LASTS,
        );
        assert_eq!(sessions.read(&asked_with(&cookie)), None);
    }
}
