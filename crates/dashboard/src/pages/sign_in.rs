//! Coming and going, and the choice of colours.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use talon_core::guesses::ClientAddress;

use crate::app::App;
use crate::assets::Addresses;
use crate::error::{PageError, show as render};
use crate::fields::{Fields, Posted, Theme, same_site};
use crate::session::hash_of;
use crate::ui::icon;

/// No token is longer.
const MAX_TOKEN: usize = 512;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    assets: Addresses,
    theme: Theme,
    back: String,
    refused: Option<String>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    back: String,
}

/// A path of ours, whatever somebody wrote into the address.
fn ours(back: &str) -> &str {
    let plain = back.starts_with('/')
        && !back.starts_with("//")
        && !back.contains(['\\', '\n', '\r', '\t'])
        && back.is_ascii();
    if plain { back } else { "/" }
}

/// `GET /sign-in`.
pub async fn ask(theme: Theme, Query(asked): Query<Asked>) -> Result<Response, PageError> {
    render(&SignIn {
        assets: Addresses,
        theme,
        back: ours(&asked.back).to_owned(),
        refused: None,
    })
}

fn signed_in(app: &App, headers: &HeaderMap, token_sha256: &str, back: &str) -> Response {
    let cookie = app.sessions().begin(headers, app.subject(token_sha256));
    ([(header::SET_COOKIE, cookie)], Redirect::to(back)).into_response()
}

/// `POST /sign-in`.
pub async fn posted(
    State(app): State<App>,
    theme: Theme,
    from: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, PageError> {
    same_site(&headers)?;
    let from = from.map(|Extension(from)| from);
    let fields = Fields::parse(&body);
    let token = fields.get("token").trim();
    let back = ours(fields.get("back")).to_owned();
    let mut wait = None;
    if !token.is_empty() && token.len() <= MAX_TOKEN {
        let hash = hash_of(token);
        match app.attempt(from, &hash) {
            Ok(attempt) if app.admit(&hash).await?.is_some() => {
                attempt.right();
                return Ok(signed_in(&app, &headers, &hash, &back));
            }
            Ok(attempt) => attempt.wrong(),
            Err(until) => wait = Some(until.as_secs() + 1),
        }
    }
    let (status, refused) = match wait {
        None => (
            StatusCode::UNAUTHORIZED,
            "This token is not accepted: it is unknown, revoked or expired.".to_owned(),
        ),
        Some(seconds) => (
            StatusCode::TOO_MANY_REQUESTS,
            format!(
                "Too many tokens from your address were wrong. Wait {seconds} seconds, then try again."
            ),
        ),
    };
    let mut response = render(&SignIn {
        assets: Addresses,
        theme,
        back,
        refused: Some(refused),
    })?;
    *response.status_mut() = status;
    if let Some(seconds) = wait {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// `GET /sign-in/{code}`.
pub async fn once(
    State(app): State<App>,
    headers: HeaderMap,
    Path(code): Path<String>,
) -> Response {
    match app.redeem(&code) {
        Some(hash) => signed_in(&app, &headers, &hash, "/"),
        None => Redirect::to("/sign-in").into_response(),
    }
}

/// `POST /sign-out`.
pub async fn out(State(app): State<App>, headers: HeaderMap, posted: Posted) -> Response {
    let cookie = app.sessions().end(&headers, &posted.session);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response()
}

/// `POST /theme`.
pub async fn theme(headers: HeaderMap, body: Bytes) -> Result<Response, PageError> {
    same_site(&headers)?;
    let fields = Fields::parse(&body);
    let cookie = match Theme::parse(fields.get("theme")).0 {
        Some("dark") => "theme=dark; Path=/; SameSite=Lax; Max-Age=31536000",
        Some(_) => "theme=light; Path=/; SameSite=Lax; Max-Age=31536000",
        None => "theme=; Path=/; SameSite=Lax; Max-Age=0",
    };
    let back = Redirect::to(ours(fields.get("back")));
    Ok((
        [(header::SET_COOKIE, HeaderValue::from_static(cookie))],
        back,
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for bad in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "/a\nb",
            "javascript:x",
            "/ä",
        ] {
            assert_eq!(ours(bad), "/", "{bad}");
        }
        assert_eq!(ours("/agents/bot?done=x"), "/agents/bot?done=x");
    }
}
