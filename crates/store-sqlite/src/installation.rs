//! What concerns the whole installation: its row, singletons' leases, the call budget, holds and the brake.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteConnection;
use talon_core::card::AgentCard;
use talon_core::{AgentId, InstallId};
use talon_store::budget::{self, Slot};
use talon_store::fleet::Actor;
use talon_store::{BrakeFacts, BudgetAsk, Grant, Hold, HoldKind, Install, StoreError, StoreResult};

use crate::actor::{begin_as, done_as};
use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::sql::{Columns, minus, now, now_plus, plus, unreadable};

impl SqliteStore {
    pub(crate) async fn do_card(&self, id: AgentId) -> StoreResult<Option<AgentCard>> {
        let json: Option<String> =
            sqlx::query_scalar("SELECT card FROM agent_card WHERE agent_id = ?")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await
                .map_err(translate)?;
        json.map(|json| serde_json::from_str(&json).map_err(|_| unreadable("card")))
            .transpose()
    }

    pub(crate) async fn do_card_hashes(&self) -> StoreResult<Vec<(AgentId, String)>> {
        let rows = sqlx::query("SELECT agent_id, hash FROM agent_card ORDER BY agent_id")
            .fetch_all(&self.readers)
            .await
            .map_err(translate)?;
        rows.iter()
            .map(|row| Ok((Columns(row).word("agent_id")?, Columns(row).text("hash")?)))
            .collect()
    }

    pub(crate) async fn do_install(&self) -> StoreResult<Option<Install>> {
        let row = sqlx::query("SELECT id, key_check FROM install")
            .fetch_optional(&self.readers)
            .await
            .map_err(translate)?;
        let Some(row) = row else { return Ok(None) };
        let c = Columns(&row);
        Ok(Some(Install {
            id: InstallId::parse(&c.text("id")?).ok_or_else(|| unreadable("id"))?,
            key_check: c.text("key_check")?,
        }))
    }

    pub(crate) async fn do_init_install(
        &self,
        id: &InstallId,
        key_check: &str,
    ) -> StoreResult<Install> {
        let mut tx = self.writing().await?;
        sqlx::query(concat!(
            "INSERT INTO install (one, id, key_check, created_at) VALUES (1, ?, ?, ",
            now!(),
            ") ON CONFLICT (one) DO NOTHING"
        ))
        .bind(id.as_str())
        .bind(key_check)
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        self.do_install()
            .await?
            .ok_or_else(|| StoreError::Corrupt("the install row is missing".to_owned()))
    }

    pub(crate) async fn do_try_lease(
        &self,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let rows = sqlx::query(concat!(
            "INSERT INTO controller_lease (name, holder, until) VALUES (?, ?, ",
            now_plus!(),
            ") ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until",
            " WHERE holder = excluded.holder OR until <= ",
            now!()
        ))
        .bind(name)
        .bind(holder)
        .bind(plus(ttl))
        .execute(&mut *tx)
        .await
        .map_err(translate)?
        .rows_affected();
        done(tx).await?;
        Ok(rows > 0)
    }

    pub(crate) async fn do_release_lease(&self, name: &str, holder: &str) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        sqlx::query("DELETE FROM controller_lease WHERE name = ? AND holder = ?")
            .bind(name)
            .bind(holder)
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        done(tx).await
    }

    pub(crate) async fn do_take_budget(&self, account: &str, ask: BudgetAsk) -> StoreResult<Grant> {
        let mut tx = self.writing().await?;
        let row = sqlx::query(
            "SELECT CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) AS now_ms,
             CAST((julianday((SELECT until FROM api_pause WHERE account = ?)) - julianday('now')) * 86400000.0 AS INTEGER)
             AS pause_ms",
        )
        .bind(account)
        .fetch_one(&mut *tx)
        .await
        .map_err(translate)?;
        let c = Columns(&row);
        let pause_ms: Option<i64> = sqlx::Row::try_get(&row, "pause_ms").map_err(translate)?;
        if let Some(ms) = pause_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .filter(|ms| *ms > 0)
        {
            tx.rollback().await.map_err(translate)?;
            return Ok(Grant::paused(Duration::from_millis(ms)));
        }
        let slots = slots(&mut tx, account).await?;
        let decision = budget::decide(&slots, c.int("now_ms")?, ask);
        if decision.grant.calls == 0 {
            tx.rollback().await.map_err(translate)?;
            return Ok(decision.grant);
        }
        sqlx::query("DELETE FROM api_budget WHERE account = ? AND slot_ms <= ?")
            .bind(account)
            .bind(decision.forget_before_ms)
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        sqlx::query(
            "INSERT INTO api_budget (account, slot_ms, used) VALUES (?, ?, ?)
             ON CONFLICT (account, slot_ms) DO UPDATE SET used = used + excluded.used",
        )
        .bind(account)
        .bind(decision.slot_ms)
        .bind(i64::from(decision.grant.calls))
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        Ok(decision.grant)
    }

    pub(crate) async fn do_pause_budget(&self, account: &str, pause: Duration) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        sqlx::query(concat!(
            "INSERT INTO api_pause (account, until) VALUES (?, ",
            now_plus!(),
            ") ON CONFLICT (account) DO UPDATE SET until = excluded.until WHERE until < excluded.until"
        ))
        .bind(account)
        .bind(plus(pause))
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await
    }

    pub(crate) async fn do_hold(&self) -> StoreResult<Option<Hold>> {
        let mut tx = self.reading().await?;
        let hold = hold(&mut tx).await?;
        done(tx).await?;
        Ok(hold)
    }

    pub(crate) async fn do_set_hold(
        &self,
        actor: Option<&Actor>,
        kind: HoldKind,
        reason: &str,
    ) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        begin_as(&mut tx, actor).await?;
        let rows = sqlx::query(concat!(
            "UPDATE controller_hold SET kind = ?, reason = ?, since = ",
            now!(),
            " WHERE kind IS NULL"
        ))
        .bind(kind.as_str())
        .bind(reason)
        .execute(&mut *tx)
        .await
        .map_err(translate)?
        .rows_affected();
        done_as(tx).await?;
        Ok(rows > 0)
    }

    pub(crate) async fn do_release_hold(&self, actor: Option<&Actor>) -> StoreResult<Option<Hold>> {
        let mut tx = self.writing().await?;
        begin_as(&mut tx, actor).await?;
        let Some(hold) = hold(&mut tx).await? else {
            tx.rollback().await.map_err(translate)?;
            return Ok(None);
        };
        for release in [
            concat!(
                "UPDATE controller_hold SET kind = NULL, reason = NULL, since = NULL, last_release = ",
                now!()
            ),
            concat!(
                "UPDATE agent_work SET next_due_at = ",
                now!(),
                " WHERE (next_due_at IS NULL OR next_due_at > ",
                now!(),
                ") AND agent_id IN (SELECT id FROM agent_source WHERE deleted_at IS NULL)"
            ),
        ] {
            sqlx::query(release)
                .execute(&mut *tx)
                .await
                .map_err(translate)?;
        }
        done_as(tx).await?;
        self.watch.announce();
        Ok(Some(hold))
    }

    pub(crate) async fn do_brake_facts(&self, window: Duration) -> StoreResult<BrakeFacts> {
        let row = sqlx::query(concat!(
            "SELECT (SELECT last_release FROM controller_hold) AS last_release,",
            " (SELECT count(*) FROM agent_source WHERE deleted_at IS NULL AND deletion_requested_at > ",
            now_plus!(),
            " AND deletion_requested_at > ifnull((SELECT last_release FROM controller_hold), '')) AS recent"
        ))
        .bind(minus(window))
        .fetch_one(&self.readers)
        .await
        .map_err(translate)?;
        let c = Columns(&row);
        Ok(BrakeFacts {
            recent_deletions: u64::try_from(c.int("recent")?).unwrap_or(0),
            last_release: c.maybe_time("last_release")?,
        })
    }
}

async fn slots(db: &mut SqliteConnection, account: &str) -> StoreResult<Vec<Slot>> {
    let rows = sqlx::query("SELECT slot_ms, used FROM api_budget WHERE account = ?")
        .bind(account)
        .fetch_all(db)
        .await
        .map_err(translate)?;
    rows.iter()
        .map(|row| {
            let c = Columns(row);
            Ok(Slot {
                start_ms: c.int("slot_ms")?,
                used: u32::try_from(c.int("used")?).unwrap_or(u32::MAX),
            })
        })
        .collect()
}

/// Whether the hold that began then is no longer in force. Without one, nothing was released.
pub(crate) async fn released(
    db: &mut SqliteConnection,
    since: Option<DateTime<Utc>>,
) -> StoreResult<bool> {
    Ok(since.is_some() && hold(db).await?.map(|hold| hold.since) != since)
}

async fn hold(db: &mut SqliteConnection) -> StoreResult<Option<Hold>> {
    let row = sqlx::query("SELECT kind, reason, since FROM controller_hold WHERE kind IS NOT NULL")
        .fetch_optional(db)
        .await
        .map_err(translate)?;
    let Some(row) = row else { return Ok(None) };
    let c = Columns(&row);
    Ok(Some(Hold {
        kind: HoldKind::parse(&c.text("kind")?).ok_or_else(|| unreadable("kind"))?,
        reason: c.maybe_text("reason")?.unwrap_or_default(),
        since: c.time("since")?,
    }))
}
