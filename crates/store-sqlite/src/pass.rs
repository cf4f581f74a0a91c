//! What a pass writes: commits under way and its end.

use talon_core::mutation::{Finish, Progress};
use talon_store::{Claim, Committed, StoreResult};

use crate::error::translate;
use crate::installation::released;
use crate::mutate::apply;
use crate::open::{SqliteStore, done};
use crate::people::moved;
use crate::schedule::fence;
use crate::sql::{now, now_plus, plus};
use talon_core::mutation::Mutation;

impl SqliteStore {
    pub(crate) async fn do_commit(
        &self,
        claim: &Claim,
        mutations: &[Mutation],
    ) -> StoreResult<Committed> {
        let mut tx = self.writing().await?;
        fence(&mut tx, claim).await?;
        let mut committed = Committed::default();
        for mutation in mutations {
            committed.latched |= apply(&mut tx, claim.agent_id, mutation).await?;
        }
        done(tx).await?;
        Ok(committed)
    }

    pub(crate) async fn do_finish(&self, claim: &Claim, finish: &Finish) -> StoreResult<()> {
        let id = claim.agent_id;
        let mut tx = self.writing().await?;
        fence(&mut tx, claim).await?;
        for mutation in &finish.mutations {
            apply(&mut tx, id, mutation).await?;
        }
        let moved = moved(
            &mut tx,
            id,
            finish.loaded_generation,
            finish.loaded_reconcile_requested_at,
        )
        .await?
            || released(&mut tx, finish.loaded_hold).await?;
        let (failed, throttled) = match finish.progress {
            Progress::Ok | Progress::Waiting => (0, 0),
            Progress::Failed => (1, 0),
            Progress::Throttled { seconds } => (0, seconds),
        };
        sqlx::query(concat!(
            "UPDATE agent_work SET lease_owner = NULL, lease_until = NULL, woken = 0,",
            " next_due_at = CASE WHEN (SELECT deleted_at FROM agent_source WHERE id = agent_id) IS NOT NULL THEN NULL",
            " WHEN ? OR woken THEN ",
            now!(),
            " ELSE ",
            now_plus!(),
            " END WHERE agent_id = ?"
        ))
        .bind(moved)
        // A NULL modifier makes the whole time NULL: nothing to come back for.
        .bind(finish.next_due_in.map(plus))
        .bind(id.to_string())
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        match finish.progress {
            Progress::Waiting => {}
            Progress::Ok => {
                sqlx::query(
                    "UPDATE agent_work SET failure_count = 0, failing_since = NULL, throttled_seconds = 0
                     WHERE agent_id = ? AND (failure_count <> 0 OR failing_since IS NOT NULL OR throttled_seconds <> 0)",
                )
                .bind(id.to_string())
                .execute(&mut *tx)
                .await
                .map_err(translate)?;
            }
            Progress::Failed | Progress::Throttled { .. } => {
                sqlx::query(concat!(
                    "UPDATE agent_work SET failure_count = failure_count + ?1,",
                    " throttled_seconds = throttled_seconds + CASE WHEN failing_since IS NULL THEN 0 ELSE ?2 END,",
                    " failing_since = CASE WHEN ?1 THEN coalesce(failing_since, ",
                    now!(),
                    ") ELSE failing_since END WHERE agent_id = ?3"
                ))
                .bind(failed)
                .bind(throttled)
                .bind(id.to_string())
                .execute(&mut *tx)
                .await
                .map_err(translate)?;
            }
        }
        if let Some(report) = &finish.plan_report {
            sqlx::query("UPDATE agent_work SET plan_report = ?1 WHERE agent_id = ?2 AND plan_report IS NOT ?1")
                .bind(report.to_string())
                .bind(id.to_string())
                .execute(&mut *tx)
                .await
                .map_err(translate)?;
        }
        done(tx).await?;
        self.watch.announce();
        Ok(())
    }
}
