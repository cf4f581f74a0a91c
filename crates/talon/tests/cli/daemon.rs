//! The HTTP API of a daemon over a bench's own database, without the controller: what is there stays as it is, so that a
//! command can be asked both ways and must say the same.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_factory::{FactoryConfig, FactoryParts, OperatorToken, Rate};
use talon_secrets::InstallKey;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, Ran, command, run};

/// One that serves.
pub struct Daemon {
    address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Daemon {
    /// Serves the bench's database.
    pub fn over(b: &Bench) -> Self {
        Self::at(b, "127.0.0.1:0".parse().expect("an address"))
    }

    /// The same, where one caller may ask once a second.
    pub fn that_is_slow(b: &Bench) -> Self {
        let config = FactoryConfig {
            rate: Rate {
                per_second: 1,
                burst: 1,
            },
            ..FactoryConfig::default()
        };
        Self::with(b, "127.0.0.1:0".parse().expect("an address"), config)
    }

    /// The same at this address.
    pub fn at(b: &Bench, address: std::net::SocketAddr) -> Self {
        Self::with(b, address, FactoryConfig::default())
    }

    fn with(b: &Bench, address: std::net::SocketAddr, config: FactoryConfig) -> Self {
        let key = InstallKey::load(&b.folder().join("talon.db.key")).expect("the install key");
        let stop = CancellationToken::new();
        let parts = FactoryParts {
            store: Arc::new(b.store.clone()),
            hub: None,
            search: None,
            deliver: None,
            logs: None,
            callbacks: None,
            secrets: None,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(OsRandom),
            operator: OperatorToken::of(&key.operator_token()),
            stopping: stop.clone(),
        };
        let router = talon_factory::routes(parts, config.clone());
        let address = b.with(async {
            let listener = tokio::net::TcpListener::bind(address)
                .await
                .expect("a port");
            let address = listener.local_addr().expect("an address");
            let stopping = stop.clone();
            tokio::spawn(async move {
                talon_factory::serve(listener, router, &config, stopping).await;
            });
            address
        });
        Self { address, stop }
    }

    /// Its address, for `--server`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Runs the binary, which asks this daemon.
    pub fn talon(&self, b: &Bench, args: &[&str]) -> Ran {
        self.talon_reading(b, args, "")
    }

    /// The same, with something on its standard input.
    pub fn talon_reading(&self, b: &Bench, args: &[&str], input: &str) -> Ran {
        let mut command = command(b.folder());
        command.args(args).args(["--server", &self.url()]);
        run(&mut command, Some(input))
    }

    /// Runs the binary as somebody who has nothing but a token.
    pub fn talon_with(&self, b: &Bench, token: &str, args: &[&str], input: &str) -> Ran {
        let elsewhere = b.folder().join("elsewhere");
        std::fs::create_dir_all(&elsewhere).expect("a folder");
        let mut command = command(&elsewhere);
        command
            .args(args)
            .env("TALON_SERVER", self.url())
            .env("TALON_TOKEN", token);
        run(&mut command, Some(input))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a command said, without what differs from one moment to the next: times, ages, ids.
pub fn timeless(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || (!word.is_empty() && "-:.+".contains(c)) {
            word.push(c);
        } else {
            out.push_str(&said(&word));
            word.clear();
            // Widths follow what stands in a column.
            if !(c == ' ' && out.ends_with(' ')) {
                out.push(c);
            }
        }
    }
    out + &said(&word)
}

fn said(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ':', '-']);
    let is_time = chrono::DateTime::parse_from_rfc3339(bare).is_ok();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
    let is_id = (bare.len() == 36 && bare.bytes().filter(|b| *b == b'-').count() == 4)
        || (bare.len() >= 16 && hex(bare));
    let rest = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let is_age = !rest.is_empty()
        && rest.len() < bare.len()
        && rest
            .bytes()
            .all(|b| b.is_ascii_digit() || b"smhd.".contains(&b))
        && matches!(bare.trim_start_matches(rest), "ms" | "s" | "m" | "h" | "d");
    match (is_time, is_id, is_age) {
        (true, _, _) => "TIME".to_owned() + &word[bare.len()..],
        (_, true, _) => "ID".to_owned() + &word[bare.len()..],
        (_, _, true) => "AGE".to_owned() + &word[bare.len()..],
        _ => word.to_owned(),
    }
}

/// All published schemas, as the binary prints them.
fn schemas(b: &Bench) -> &'static Value {
    static SCHEMAS: OnceLock<Value> = OnceLock::new();
    SCHEMAS.get_or_init(|| b.talon(&["schema", "output"]).ends(0).json())
}

/// Checks a document against the published schema of this name.
#[track_caller]
pub fn fits(b: &Bench, schema: &str, document: &Value) {
    let all = schemas(b);
    assert!(all["$defs"].get(schema).is_some(), "no schema {schema}");
    let one = serde_json::json!({ "$ref": format!("#/$defs/{schema}"), "$defs": all["$defs"] });
    let validator = jsonschema::validator_for(&one).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|e| format!("{}: {e}", e.instance_path))
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:#?} in {document:#}");
}
