//! In whose name a transaction writes, for the triggers of the audit log.

use std::sync::OnceLock;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};
use talon_store::StoreResult;
use talon_store::fleet::Actor;

use crate::error::translate;
use crate::open::done;

/// Longest name of an operating system's user that is shown.
const LONGEST: usize = 64;

/// Whoever runs this program, as the operating system's environment calls them: whoever can write the file could as well
/// write the log. `None`: it does not say.
fn os_user() -> Option<&'static str> {
    static USER: OnceLock<Option<String>> = OnceLock::new();
    USER.get_or_init(|| {
        let said = ["USER", "LOGNAME"]
            .into_iter()
            .find_map(|variable| std::env::var(variable).ok())?;
        named(&said)
    })
    .as_deref()
}

fn named(user: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = (1..=LONGEST).contains(&user.len()) && user.chars().all(plain);
    is_name.then(|| format!("sqlite:{user}"))
}

/// From here to [`done_as`], the triggers know who writes: the actor, else the operating system's user.
pub(crate) async fn begin_as(
    connection: &mut SqliteConnection,
    actor: Option<&Actor>,
) -> StoreResult<()> {
    let (name, source) = match actor {
        Some(actor) => (actor.name.as_str(), Some(actor.source.as_str())),
        None => match os_user() {
            Some(user) => (user, None),
            None => return Ok(()),
        },
    };
    sqlx::query("UPDATE talon_actor SET name = ?, source = ?")
        .bind(name)
        .bind(source)
        .execute(connection)
        .await
        .map_err(translate)?;
    Ok(())
}

/// Commits, and leaves no name for whoever writes next.
pub(crate) async fn done_as(mut transaction: Transaction<'static, Sqlite>) -> StoreResult<()> {
    sqlx::query("UPDATE talon_actor SET name = 'sql', source = NULL")
        .execute(&mut *transaction)
        .await
        .map_err(translate)?;
    done(transaction).await
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn only_what_can_be_a_name_is_one() {
        assert_eq!(named("ann.b-1").as_deref(), Some("sqlite:ann.b-1"));
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(65)] {
            assert_eq!(named(bad), None, "{bad:?}");
        }
    }
}
