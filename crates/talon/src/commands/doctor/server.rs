//! What can be seen by way of a daemon.

use super::check::{Check, Verdict};
use super::{agents, orphans};
use crate::client;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::output::safe;
use crate::session::Session;

/// What can be seen of an installation from afar: its daemon, its agents, its Hub, and what the token may do.
pub async fn checks(session: &Session, checks: &mut Vec<Check>) {
    let remote = match session.remote() {
        Ok(remote) => remote,
        Err(failure) => return checks.push(Check::failed("server", failure)),
    };
    let shown = remote.server().shown();
    match remote.standing().await {
        Ok(me) => {
            checks.push(Check::new(
                "server",
                Verdict::Ok,
                format!("{shown} answers"),
            ));
            let whose = me.owner.map_or("everybody's agents".to_owned(), |o| {
                format!("the agents of {o}")
            });
            let detail = format!("{}, role {}, for {whose}", me.name, me.role);
            checks.push(Check::new("token", Verdict::Ok, detail));
        }
        Err(failure) if failure.exit == Exit::NotAllowed => {
            checks.push(Check::new(
                "server",
                Verdict::Ok,
                format!("{shown} answers"),
            ));
            return checks.push(Check::failed("token", failure));
        }
        Err(failure) => return checks.push(Check::failed("server", failure)),
    }
    checks.push(match remote.is_ready().await {
        Ok(()) => Check::new("readiness", Verdict::Ok, "its database answers"),
        Err(failure) => Check::failed("readiness", failure),
    });
    let address = remote.server().hub();
    checks.push(match client::look_for_hub(&address).await {
        Ok(()) => Check::new("hub", Verdict::Ok, format!("answers at {}", safe(&address))),
        Err(why) => Check::new(
            "hub",
            Verdict::Warning,
            format!("at {}: {why}", safe(&address)),
        )
        .next("ask the daemon that is the Hub (hub.embedded), or see what stands between"),
    });
    if let Err(failure) = agents(&remote, checks).await {
        checks.push(Check::failed("agents", failure));
    }
    match remote.own().await {
        Ok(None) => checks.push(orphans(&remote, session.config.settings.resync_seconds).await),
        Ok(Some(_)) => checks.push(Check::new(
            "orphans",
            Verdict::Skipped,
            "only a token without an owner is told",
        )),
        Err(failure) => checks.push(Check::failed("orphans", failure)),
    }
    checks.push(Check::new(
        "installation",
        Verdict::Skipped,
        "database, install key and Cloudflare account are checked where the daemon runs: talon doctor without --server",
    ));
}
