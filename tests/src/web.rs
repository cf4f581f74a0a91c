//! The HTTP faces of a running daemon, as a client and as a browser meet them.

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Method, StatusCode, header, redirect};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::site::Site;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`, as far as there is one.
    pub kind: String,
    /// `Location`, as far as there is one.
    pub location: Option<String>,
    /// The body.
    pub text: String,
    cookie: Option<String>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let header = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Ok(Self {
            status: response.status(),
            kind: header(header::CONTENT_TYPE).unwrap_or_default(),
            location: header(header::LOCATION),
            cookie: header(header::SET_COOKIE),
            text: response.text().await?,
        })
    }
}

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Api {
    /// `http://127.0.0.1:PORT`.
    pub server: String,
    /// What it may do everything with.
    pub token: String,
    client: Client,
}

/// Nothing follows redirects: they are answers, too.
fn client() -> Result<Client> {
    // A second installation is refused, which is as good: the first one stays.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let never = redirect::Policy::none();
    Ok(Client::builder().redirect(never).build()?)
}

impl Api {
    /// A client of the daemon that listens there, with a new token that may do everything.
    pub fn of(site: &Site<'_>, server: &str) -> Result<Self> {
        let made = ["token", "create", "--role", "admin", "--label", "tests"];
        Ok(Self {
            server: server.to_owned(),
            token: site.talon(&made)?.trim().to_owned(),
            client: client()?,
        })
    }

    /// A request with the token.
    pub fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.server));
        request.bearer_auth(&self.token)
    }

    /// Sends a request.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        Answer::read(request).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.ask(Method::GET, path)).await
    }
}

/// Somebody who is signed in to the dashboard.
#[derive(Debug, Clone)]
pub struct Browser {
    server: String,
    client: Client,
    cookie: String,
    csrf: String,
}

impl Browser {
    /// Signs in with the client's token.
    pub async fn of(api: &Api) -> Result<Self> {
        let mut browser = Self {
            server: api.server.clone(),
            client: client()?,
            cookie: String::new(),
            csrf: String::new(),
        };
        let answer = browser
            .send("/sign-in", &[("token", &api.token), ("back", "/")])
            .await?;
        let cookie = answer.cookie.context("a session")?;
        browser.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let page = browser.get("/cleanup").await?.text;
        let mark = "name=\"csrf\" value=\"";
        let found = page.split_once(mark).and_then(|(_, at)| at.split_once('"'));
        found.context("a form")?.0.clone_into(&mut browser.csrf);
        Ok(browser)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.server));
        request.header(header::COOKIE, &self.cookie)
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        let body: String = Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = "application/x-www-form-urlencoded";
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, form)
            .body(body);
        Answer::read(request).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        Answer::read(self.request(Method::GET, path)).await
    }

    /// Sends a form as one of the pages would.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        let mut all = vec![("csrf", self.csrf.as_str())];
        all.extend(fields);
        self.send(path, &all).await
    }

    /// Every page that answers there, wherever it leads on within the site.
    pub async fn page(&self, path: &str) -> Result<Answer> {
        let mut path = path.to_owned();
        for _ in 0..4 {
            let answer = self.get(&path).await?;
            match answer.location {
                Some(on) if answer.status.is_redirection() => path = on,
                _ => {
                    ensure!(answer.status.is_success(), "{path}: {}", answer.status);
                    return Ok(answer);
                }
            }
        }
        bail!("{path} leads round and round")
    }
}

/// The text of a page as people read it: entities taken back.
pub fn plain(html: &str) -> String {
    let entities = [
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#60;", "<"),
        ("&lt;", "<"),
        ("&#62;", ">"),
        ("&gt;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    let mut text = html.to_owned();
    for (entity, char) in entities {
        text = text.replace(entity, char);
    }
    text
}

/// `http://` and the address that the daemon's log names.
pub async fn address(site: &Site<'_>, log: &str, patience: std::time::Duration) -> Result<String> {
    site.until("the daemon listens", patience, async || {
        let log = std::fs::read_to_string(site.log_file(log)).unwrap_or_default();
        // The last one that was started.
        let log = log.rsplit("---- started").next().unwrap_or_default();
        let at = log
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("address="))
            .find(|a| a.starts_with("127.0.0.1:"));
        let found = at.map(|a| format!("http://{a}"));
        Ok(found.ok_or_else(|| "not yet".to_owned()))
    })
    .await
}
