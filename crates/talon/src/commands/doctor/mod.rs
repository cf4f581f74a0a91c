//! `talon doctor`: looks at everything Talon depends on, and says what to do about what is wrong.

mod check;
mod cloud;
mod server;

use chrono::{TimeDelta, Utc};
use talon_core::event::EventReason;
use talon_store::{CONTROLLER, ListFilter};
use talon_store_sqlite::SqliteStore;

use check::{Check, Verdict, tell};

use super::run::{malformed_hub, unreachable_hub};
use crate::client;
use crate::database::{self, Database, Opened};
use crate::exit::{Exit, Failure};
use crate::fleet::{Events, Fleet, Rows};
use crate::install_key;
use crate::output::{self, age, safe};
use crate::runtime::{self, Wanted};
use crate::session::Session;
use crate::sql;
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all well (warnings included), 1 something must be done, 4 Cloudflare (or the \
daemon) refuses the token, 9 the database (or the daemon) cannot be reached.\n\
With --server it tells what can be seen from here: the daemon, its Hub, what the token may do, holds, agents."
)]
pub struct Args {
    /// Do not ask Cloudflare
    #[arg(long)]
    offline: bool,
}

/// Checks everything, and prints all of it whatever fails.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let mut checks = Vec::new();
    configuration(&session, &mut checks);
    if session.server_named().is_some() {
        server::checks(&session, &mut checks).await;
        return tell(&session, &checks);
    }
    checks.push(runtime(&session));
    database_checks(&session, &mut checks).await;
    if args.offline {
        checks.push(Check::new("hub", Verdict::Skipped, "not asked (--offline)"));
        checks.push(Check::new(
            "cloudflare",
            Verdict::Skipped,
            "not asked (--offline)",
        ));
    } else {
        checks.push(hub(&session).await);
        cloud::checks(&session, &mut checks).await;
    }
    tell(&session, &checks)
}

fn configuration(session: &Session, checks: &mut Vec<Check>) {
    let unknown = &session.config.unknown_variables;
    checks.push(if unknown.is_empty() {
        Check::new("configuration", Verdict::Ok, "read")
    } else {
        Check::new(
            "configuration",
            Verdict::Warning,
            format!(
                "these variables are no keys of talon: {}",
                safe(&unknown.join(", "))
            ),
        )
        .next("correct or unset them; talon config show lists what is in effect")
    });
}

/// What would be deployed; nothing is built for the answer.
fn runtime(session: &Session) -> Check {
    let wanted = Wanted::parse(session.config.settings.runtime_bundle.as_deref());
    match wanted.at_hand() {
        Ok(Some(bundle)) if bundle.is_placeholder() => Check::new(
            "runtime",
            Verdict::Warning,
            "a placeholder is deployed: agents get everything they need, and never answer",
        )
        .next("unset runtimeBundle (TALON_RUNTIME_BUNDLE) to deploy the agents' runtime"),
        Ok(Some(bundle)) => Check::new("runtime", Verdict::Ok, runtime::shown(&bundle)),
        Ok(None) => match talon_worker::workshop::check_tools() {
            Ok(()) => Check::new(
                "runtime",
                Verdict::Ok,
                "not built yet: talon run builds it from pinned npm packages when it starts",
            ),
            Err(error) => Check::failed("runtime", runtime::unobtainable(&error)),
        },
        Err(failure) => Check::failed("runtime", failure),
    }
}

/// Whether deployed Workers reach a Hub at the address that they are told.
async fn hub(session: &Session) -> Check {
    let settings = &session.config.settings;
    if let Some(failure) = malformed_hub(settings) {
        return Check::failed("hub", failure);
    }
    let account = &settings.cloudflare;
    let to_be_used = account.account_id.is_some() || account.api_token.is_some();
    if let Some(failure) = unreachable_hub(settings).filter(|_| to_be_used) {
        return Check::failed("hub", failure);
    }
    let address = settings.hub.address(settings.listen);
    let shown = safe(&address);
    match client::look_for_hub(&address).await {
        Ok(()) => Check::new("hub", Verdict::Ok, format!("answers at {shown}, as Workers are told")),
        Err(why) if settings.hub.embedded && settings.hub.url.is_none() => Check::new(
            "hub",
            Verdict::Warning,
            format!("at {shown}: {why}"),
        )
        .next("start the daemon that is the Hub: talon run (talon dev listens elsewhere)"),
        Err(why) => Check::new(
            "hub",
            Verdict::Warning,
            format!("at {shown}, where Workers look for it: {why}"),
        )
        .next("see that the daemon runs and that hub.url leads to it (proxy, tunnel, DNS, certificate)"),
    }
}

async fn database_checks(session: &Session, checks: &mut Vec<Check>) {
    let database = match session.database() {
        Ok(database) => database,
        Err(failure) => return checks.push(Check::failed("database", failure)),
    };
    let opened = match database::open(&database).await {
        Ok(opened) => opened,
        Err(failure) => return checks.push(Check::failed("database", failure)),
    };
    let shown = safe(&database.shown());
    checks.push(Check::new(
        "database",
        Verdict::Ok,
        format!("{shown} reachable, schema as this program needs it"),
    ));
    match &database {
        Database::Sqlite(_) => checks.push(running_daemon(&opened)),
        Database::Postgres(url) => {
            checks.push(hardening(url).await);
            checks.push(specs(url).await);
        }
    }
    if let Some(file) = &opened.file {
        checks.push(lost_rows(file).await);
    }
    let store = opened.store;
    let key_file = install_key::path(&session.config, &database);
    checks.push(match install_key::check(&*store, &key_file).await {
        Ok(install) => Check::new(
            "install key",
            Verdict::Ok,
            format!("install {install}, key in {}", key_file.display()),
        ),
        Err(failure) if failure.is_lack_of_privilege() => Check::new(
            "install key",
            Verdict::Skipped,
            "only the daemon's role may look at it",
        ),
        Err(failure) => Check::failed("install key", failure),
    });
    let rows = Rows::own(store);
    if let Err(failure) = agents(&rows, checks).await {
        checks.push(Check::failed("agents", failure));
    }
    let resync = session.config.settings.resync_seconds;
    checks.push(orphans(&rows, resync).await);
}

/// One daemon per file: its lock tells whether there is one.
fn running_daemon(opened: &Opened) -> Check {
    match opened.lock_daemon() {
        Ok(_) => Check::new(
            "daemon",
            Verdict::Warning,
            "none is running on this database",
        )
        .next("start it: talon run (or talon dev)"),
        // Refused although the lock file can be read: somebody has it.
        Err(_)
            if opened
                .file
                .as_ref()
                .is_some_and(|f| database::sibling(f.path(), ".lock").exists()) =>
        {
            Check::new("daemon", Verdict::Ok, "one is running on this database")
        }
        Err(failure) => Check::failed("daemon", failure),
    }
}

/// Rows that somebody removed behind the triggers' back: what they had at Cloudflare has no owner any more.
async fn lost_rows(file: &SqliteStore) -> Check {
    match file.lost_rows().await {
        Ok(lost) if lost.is_empty() => {
            Check::new("rows", Verdict::Ok, "every agent ever made has its row")
        }
        Ok(lost) => {
            let names: Vec<_> = lost
                .iter()
                .map(|(id, name)| safe(name.as_deref().unwrap_or(id)))
                .collect();
            Check::new("rows", Verdict::Warning, format!("removed behind the triggers' back: {}", names.join(", ")))
                .next("look for their Workers and buckets at Cloudflare (talon events shows orphans); use DELETE FROM, with triggers on")
        }
        Err(error) => Check::failed("rows", error.into()),
    }
}

/// What is asked over HTTP, the daemon writes as `talon_writer`.
async fn specs(url: &str) -> Check {
    match sql::may_write_specs(url).await {
        Ok(true) => Check::new("specs", Verdict::Ok, "changes over HTTP can be written"),
        Ok(false) => Check::new(
            "specs",
            Verdict::Warning,
            "a daemon with this login refuses every change over HTTP: it may not become talon_writer",
        )
        .next("talon migrate, as a role that may grant it; then connect the daemon as talon_controller, or a login that it was granted to"),
        Err(failure) => Check::failed("specs", failure),
    }
}

async fn hardening(url: &str) -> Check {
    match sql::missing_hardening(url).await {
        Ok(missing) if missing.is_empty() => Check::new(
            "hardening",
            Verdict::Ok,
            "the server's log keeps neither failed statements nor their values",
        ),
        Ok(missing) => Check::new(
            "hardening",
            Verdict::Warning,
            format!(
                "a failed statement may stand in the server's log, values and all: {}",
                missing.join(", ")
            ),
        )
        .next("talon migrate --hardening, as a role that may set these"),
        Err(failure) => Check::failed("hardening", failure),
    }
}

async fn agents(fleet: &dyn Fleet, checks: &mut Vec<Check>) -> Result<(), Failure> {
    checks.push(match fleet.hold().await? {
        None => Check::new("hold", Verdict::Ok, "none in force"),
        Some(hold) => Check::new(
            "hold",
            Verdict::Warning,
            format!(
                "{} since {}: {}",
                hold.kind.as_str(),
                age::stamp(hold.since),
                safe(&hold.reason)
            ),
        )
        .next("make sure that what happened is meant, then talon release-hold"),
    });
    let list = fleet.list(&ListFilter::default()).await?;
    if let Some(now) = list.first().map(|s| s.now) {
        checks.push(clock("clock (database)", (Utc::now() - now).num_seconds()));
    }
    let stalled: Vec<_> = list
        .iter()
        .filter(|s| view::holds_now(s, talon_core::condition::ConditionType::Stalled).is_some())
        .map(|s| s.agent.name.to_string())
        .collect();
    let waiting = list.iter().filter(|s| view::nobody_home(s)).count();
    let mut check = Check::new("agents", Verdict::Ok, output::agents(list.len()));
    if !stalled.is_empty() {
        check = Check::new(
            "agents",
            Verdict::Warning,
            format!("stalled: {}", stalled.join(", ")),
        )
        .next(format!("talon why {}", stalled[0]));
    } else if waiting > 0 {
        check = Check::new(
            "agents",
            Verdict::Warning,
            format!("{waiting} due, and no daemon takes them up"),
        )
        .next("start one: talon run");
    }
    checks.push(check);
    let left = fleet.leftovers().await?;
    checks.push(if left.is_empty() {
        Check::new("leftovers", Verdict::Ok, "none")
    } else {
        let names: Vec<_> = left
            .iter()
            .map(|l| format!("{} {}", safe(&l.kind), safe(&l.name)))
            .collect();
        Check::new("leftovers", Verdict::Warning, names.join(", "))
            .next("the sweep goes on trying; they may cost money meanwhile")
    });
    Ok(())
}

/// What the last sweeps found that carries this install's mark and belongs to no row; each sweep says so anew.
async fn orphans(fleet: &dyn Fleet, resync_seconds: f64) -> Check {
    let recent = TimeDelta::try_seconds((2.0 * resync_seconds + 60.0) as i64);
    let ask = Events {
        agent: Some(CONTROLLER.to_owned()),
        after: recent.and_then(|recent| Utc::now().checked_sub_signed(recent)),
        limit: MOST_EVENTS,
        ..Events::default()
    };
    let events = match fleet.events(&ask).await {
        Ok(events) => events,
        Err(failure) => return Check::failed("orphans", failure),
    };
    let found: Vec<_> = events
        .iter()
        .filter(|e| e.event.reason == EventReason::OrphanFound)
        .map(|e| safe(&e.event.object))
        .collect();
    if found.is_empty() {
        return Check::new("orphans", Verdict::Ok, "none seen lately");
    }
    Check::new(
        "orphans",
        Verdict::Warning,
        format!("at Cloudflare, but of no row: {}", found.join(", ")),
    )
    .next("talon never deletes these; if no newer backup of the database knows them, remove them in the Cloudflare dashboard")
}

/// Events of the controller that are looked through.
const MOST_EVENTS: i64 = 1_000;

/// Leases bear a few seconds; signatures of S3 requests bear fifteen minutes.
const SKEW_SECONDS: i64 = 5;

fn clock(check: &'static str, skew: i64) -> Check {
    if skew.abs() <= SKEW_SECONDS {
        Check::new(
            check,
            Verdict::Ok,
            format!("within {SKEW_SECONDS} s of this machine's"),
        )
    } else {
        Check::new(
            check,
            Verdict::Warning,
            format!("differs by {skew} s from this machine's"),
        )
        .next("let both machines keep time (NTP)")
    }
}
