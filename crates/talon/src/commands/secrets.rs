//! `talon secrets`: the keys on an agent's Worker. A value comes by prompt, standard input or file, never by a flag, and
//! goes to the Worker alone.

use std::io::{IsTerminal, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use talon_core::secret::{MAX_VALUE_BYTES, SecretValue};
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter};
use talon_core::snapshot::SecretSource;
use talon_core::{AgentId, AgentName, Snapshot};
use talon_router::EmbeddedRegistry;
use talon_secrets::{ScopedReader, Scopes};
use talon_store::WholeStore;
use talon_worker::Bundle;

use super::DryRunFlag;
use crate::cli::Format;
use crate::client::Server;
use crate::daemon::{self, Wiring};
use crate::database::{self, Database};
use crate::exit::{Exit, Failure};
use crate::output::{age, safe, table};
use crate::session::{Session, agent_name};
use crate::{cloudflare, install_key, view};

/// How long the daemon may take: it may have to make a Worker first.
const PATIENCE: Duration = Duration::from_secs(150);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --server (or TALON_SERVER) the daemon there does it, with the token of TALON_TOKEN; else this process does it \
itself, under the agent's lease, if a Cloudflare token is configured here. Nothing is queued: when the command ends, the \
key is on the Worker, or is not, or it says that nobody can tell yet; then run it again.\n\
Examples:\n  talon secrets set research-pro ANTHROPIC_API_KEY\n  pass show anthropic | talon secrets set research-pro ANTHROPIC_API_KEY"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// What is known of each secret; there is no way to read a value
    List {
        /// Which agent
        name: String,
    },
    /// Put a key on the agent's Worker; its value is asked for, or read from standard input
    Set {
        /// Which agent
        name: String,
        /// Which key: ANTHROPIC_API_KEY, OPENAI_API_KEY, …
        key: String,
        /// Read the value from this file
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[command(flatten)]
        dry_run: DryRunFlag,
    },
    /// Take a key away that came this way
    Unset {
        /// Which agent
        name: String,
        /// Which key
        key: String,
        #[command(flatten)]
        dry_run: DryRunFlag,
    },
    /// Print the secret that deployment callbacks of this agent are signed with (whsec_…): derived from the install key of
    /// this machine, stored nowhere
    Callback {
        /// Which agent
        name: String,
    },
    /// Give the agent another token for the Hub
    RotateAuth {
        /// Which agent
        name: String,
        #[command(flatten)]
        dry_run: DryRunFlag,
    },
}

/// Works on the Worker, by way of the daemon or by itself.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    match args.what {
        What::List { name } => list(&session, &name).await,
        What::Set {
            name,
            key,
            from_file,
            dry_run,
        } => {
            let (agent, key) = (agent_name(&name)?, key_name(&key)?);
            if dry_run.is_set() {
                return rehearse(&session, &agent, &format!("{key} would be set")).await;
            }
            let value = read_value(&key, from_file.as_deref())?;
            match Way::of(&session).await? {
                Way::Server(server) => {
                    server
                        .put_key(agent.as_str(), &key, &value, PATIENCE)
                        .await?
                }
                Way::Here(here) => {
                    let id = here.id(&agent).await?;
                    let set = here.writer.set_keys(id, vec![(key.clone(), value)]).await;
                    set.map(drop).map_err(|e| failure(e, "not stored"))?;
                }
            }
            told(
                &session,
                &agent,
                json!({ "key": key.to_string(), "stored": true }),
                &format!("{key} is on the Worker"),
            )
        }
        What::Unset { name, key, dry_run } => {
            let (agent, key) = (agent_name(&name)?, key_name(&key)?);
            if dry_run.is_set() {
                return rehearse(&session, &agent, &format!("{key} would be taken away")).await;
            }
            let none = || {
                let text = format!("agent/{agent} has no key {key} that came this way");
                Failure::new(
                    Exit::NotFound,
                    text,
                    "talon secrets list NAME shows what it has",
                )
            };
            match Way::of(&session).await? {
                Way::Server(server) => server.delete_key(agent.as_str(), &key, PATIENCE).await?,
                Way::Here(here) => {
                    let id = here.id(&agent).await?;
                    let gone = here.writer.unset_key(id, &key).await;
                    if !gone.map_err(|e| failure(e, "not taken away"))? {
                        return Err(none());
                    }
                }
            }
            told(
                &session,
                &agent,
                json!({ "key": key.to_string(), "stored": false }),
                &format!("{key} is gone"),
            )
        }
        What::Callback { name } => {
            session.refuse_server(Some("secrets callback"))?;
            let agent = agent_name(&name)?;
            let database = session.database()?;
            let store = database::open(&database).await?.store;
            let found = store.get(agent.as_str(), false).await?;
            let found = found.ok_or_else(|| Failure::not_found(agent.as_str()))?;
            let file = install_key::path(&session.config, &database);
            let key = install_key::matching(&*store, &file).await?;
            show_callback(&session, &key.callback_secret(found.agent.id));
            Ok(Exit::Success)
        }
        What::RotateAuth { name, dry_run } => {
            let agent = agent_name(&name)?;
            if dry_run.is_set() {
                return rehearse(&session, &agent, "its auth token would be replaced").await;
            }
            match Way::of(&session).await? {
                Way::Server(server) => server.rotate_auth(agent.as_str(), PATIENCE).await?,
                Way::Here(here) => {
                    let id = here.id(&agent).await?;
                    let rotated = here.writer.rotate_auth(id).await;
                    rotated.map_err(|e| failure(e, "not replaced"))?;
                }
            }
            told(
                &session,
                &agent,
                json!({ "rotated": true }),
                "another auth token is on the Worker",
            )
        }
    }
}

/// Shown to whoever can read the install key, and stored nowhere.
#[allow(clippy::disallowed_methods)]
fn show_callback(session: &Session, secret: &SecretValue) {
    session.output.line(secret.expose());
}

fn key_name(text: &str) -> Result<KeyName, Failure> {
    KeyName::parse(text).ok_or_else(|| {
        Failure::usage(
            "that is not the name of a provider's key",
            "write ANTHROPIC_API_KEY, OPENAI_API_KEY or the like; the value is asked for, never given as an argument",
        )
    })
}

/// Who does it.
enum Way {
    Server(Server),
    Here(Here),
}

/// Without a daemon: on the database itself.
struct Here {
    writer: Arc<dyn SecretWriter>,
    store: Arc<dyn WholeStore>,
}

impl Here {
    async fn id(&self, agent: &AgentName) -> Result<AgentId, Failure> {
        let found = self.store.get(agent.as_str(), false).await?;
        found
            .map(|s| s.agent.id)
            .ok_or_else(|| Failure::not_found(agent.as_str()))
    }
}

impl Way {
    async fn of(session: &Session) -> Result<Self, Failure> {
        if session.server_named().is_some() {
            return session.server().map(Self::Server);
        }
        let settings = &session.config.settings;
        if settings.cloudflare.account_id.is_none() || settings.cloudflare.api_token.is_none() {
            return Err(Failure::usage(
                "a key goes to Cloudflare at once, and no Cloudflare account and token are configured here",
                "use --server URL (or TALON_SERVER): the daemon there has them; or set TALON_CLOUDFLARE_ACCOUNT_ID and \
                 TALON_CLOUDFLARE_API_TOKEN",
            ));
        }
        let cloudflare = cloudflare::client_config(&settings.cloudflare)?;
        let database = session.database()?;
        let store = database::open(&database).await?.store;
        let key_file = install_key::path(&session.config, &database);
        install_key::check(&*store, &key_file).await?;
        let keyed = install_key::ensure(&*store, &key_file).await?;
        let mut config = settings.controller();
        config.budget_shared = matches!(database, Database::Postgres(_));
        let budget = Arc::new(daemon::budget(
            &config,
            store.clone(),
            cloudflare.account_id.clone(),
        ));
        let made = daemon::build(Wiring {
            registry: Arc::new(EmbeddedRegistry::new(store.clone())),
            store: store.clone(),
            cloudflare,
            // Neither references nor the runtime have a part in it: the daemon that runs comes after.
            secrets: Arc::new(ScopedReader::new(Scopes::default())),
            bundle: Bundle::placeholder(),
            install: keyed.install.id,
            key: Arc::new(keyed.key),
            door: None,
            budget,
            config,
        })?;
        let writer = made.daemon.secret_writer();
        Ok(Self::Here(Here { writer, store }))
    }
}

/// The value: from a file, from standard input, or by a prompt that shows nothing.
fn read_value(key: &KeyName, file: Option<&Path>) -> Result<SecretValue, Failure> {
    let text = match file {
        Some(path) => {
            let name = safe(&path.display().to_string());
            let file = std::fs::File::open(path).map_err(|e| Failure::io(&name, &e))?;
            bounded(file).map_err(|e| Failure::io(&name, &e))?
        }
        None if std::io::stdin().is_terminal() => {
            let mut err = std::io::stderr().lock();
            // A prompt that nobody sees is no reason not to read.
            let _ = write!(err, "{key} (not shown): ");
            let _ = err.flush();
            let term = console::Term::stderr();
            term.read_secure_line()
                .map_err(|e| Failure::io("the value cannot be read", &e))?
        }
        None => bounded(std::io::stdin().lock()).map_err(|e| Failure::io("standard input", &e))?,
    };
    let bare = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text);
    let value = SecretValue::new(bare.to_owned());
    match value.unusable() {
        None => Ok(value),
        Some(why) => Err(Failure::rejected(
            format!("the value of {key} {why}"),
            "hand in the bare key: by the prompt, by standard input, or with --from-file",
        )),
    }
}

/// One byte more than allowed tells a text that is too long.
fn bounded(source: impl Read) -> std::io::Result<String> {
    let mut text = String::with_capacity(MAX_VALUE_BYTES + 3);
    source
        .take(MAX_VALUE_BYTES as u64 + 3)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn failure(error: SecretWriteError, what: &str) -> Failure {
    let message = format!("{what}: {error}");
    match error {
        SecretWriteError::NotFound => Failure::new(
            Exit::NotFound,
            message,
            "talon list shows which agents there are",
        ),
        SecretWriteError::Invalid(_) => Failure::rejected(
            message,
            "hand in the bare key: by the prompt, by standard input, or with --from-file",
        ),
        SecretWriteError::Conflict(_) => {
            Failure::rejected(message, "talon describe NAME shows how the agent is")
        }
        SecretWriteError::Busy { .. } => {
            Failure::new(Exit::Unavailable, message, "try again in a moment")
        }
        SecretWriteError::Failed {
            retry_after: Some(_),
            ..
        } => Failure::new(
            Exit::Unavailable,
            message,
            "the Worker has what it had before: try again in a moment",
        ),
        SecretWriteError::Failed { .. } => Failure::new(
            Exit::Failure,
            message,
            "the Worker has what it had before; talon doctor says what the token lacks",
        ),
        SecretWriteError::Unknown(text) => Failure::new(
            Exit::Unavailable,
            format!("not known whether it arrived: {text}"),
            "run the same command again: that is safe",
        ),
    }
}

async fn rehearse(session: &Session, agent: &AgentName, what: &str) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    session.agent(&*fleet, agent.as_str()).await?;
    if session.output.is_machine() {
        let document = json!({ "dryRun": true, "name": agent, "would": what });
        session.output.document(&document)?;
    } else {
        session
            .output
            .line(&format!("agent/{agent}: {what} (dry run)"));
    }
    Ok(Exit::Success)
}

fn told(
    session: &Session,
    agent: &AgentName,
    mut document: Value,
    text: &str,
) -> Result<Exit, Failure> {
    if session.output.is_machine() {
        document["name"] = json!(agent);
        session.output.document(&document)?;
    } else {
        session.output.line(&format!("agent/{agent}: {text}"));
    }
    Ok(Exit::Success)
}

async fn list(session: &Session, name: &str) -> Result<Exit, Failure> {
    let agent = agent_name(name)?;
    let fleet = session.fleet().await?;
    let items = described(&session.agent(&*fleet, name).await?);
    let out = &session.output;
    if out.is_machine() {
        out.document(&json!({ "name": agent, "items": items }))?;
        return Ok(Exit::Success);
    }
    let text = |item: &Value, field: &str| {
        safe(item.get(field).and_then(Value::as_str).unwrap_or_default())
    };
    if out.format == Format::Name {
        items.iter().for_each(|i| out.line(&text(i, "name")));
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let fingerprint = text(item, "fingerprint");
            let source = match text(item, "reference") {
                reference if reference.is_empty() => text(item, "source"),
                reference => reference,
            };
            vec![
                text(item, "name"),
                if fingerprint.is_empty() {
                    String::new()
                } else {
                    format!("····{fingerprint}")
                },
                source,
                text(item, "state"),
                text(item, "pushed_at"),
            ]
        })
        .collect();
    let headings = ["NAME", "FINGERPRINT", "SOURCE", "STATE", "PUSHED"];
    out.write(&table::render(&headings, &rows, None));
    Ok(Exit::Success)
}

/// As the HTTP API tells it.
fn described(snapshot: &Snapshot) -> Vec<Value> {
    let records = snapshot.secrets.iter();
    records
        .map(|r| {
            let shown = r.fingerprint.as_deref().map(view::last_four);
            json!({
                "name": r.name,
                "source": match r.source {
                    SecretSource::Reference => "reference",
                    SecretSource::WriteThrough => "write_through",
                    SecretSource::Generated => "generated",
                },
                "reference": r.reference,
                "state": r.state.as_str(),
                "fingerprint": shown,
                "pushed_at": r.pushed_at.map(age::stamp),
            })
        })
        .collect()
}
