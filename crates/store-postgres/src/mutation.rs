//! Each mutation as SQL. Nothing is written where nothing differs.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use talon_core::agent::AgentStatus;
use talon_core::card::AgentCard;
use talon_core::condition::Condition;
use talon_core::contact::ContactWrite;
use talon_core::mutation::{Mutation, ResourceWrite, SecretWrite, StatusWrite};
use talon_core::snapshot::{AuthTokenState, SecretState};
use talon_core::{AgentId, Generation};
use talon_store::{StoreError, writes};

use crate::error::Work;
use crate::events;
use crate::snapshot::{resource, status, status_columns};

/// Writes to one locked agent.
pub(crate) struct Writer<'c> {
    connection: &'c mut PgConnection,
    id: AgentId,
    now: DateTime<Utc>,
}

impl<'c> Writer<'c> {
    /// For an agent that this transaction has locked. Reads the database's clock once, after the lock.
    pub(crate) async fn new(connection: &'c mut PgConnection, id: AgentId) -> Work<Self> {
        let now = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(&mut *connection)
            .await?;
        Ok(Self {
            connection,
            id,
            now,
        })
    }

    /// Writes one. `Some` only for a latch: whether it is in effect.
    pub(crate) async fn write(&mut self, mutation: &Mutation) -> Work<Option<bool>> {
        match mutation {
            Mutation::Resource(write) => self.resource(write).await?,
            Mutation::Secret(write) => self.secret(write).await?,
            Mutation::SecretGone { name } => self.secret_gone(name).await?,
            Mutation::AuthTokenCandidate { try_id, sha256 } => {
                self.candidate(try_id.as_str(), sha256).await?
            }
            Mutation::AuthTokenState { try_id, state } => {
                self.auth_token(try_id.as_str(), *state).await?
            }
            Mutation::Names {
                worker,
                bucket,
                account,
            } => self.names(worker, bucket, account).await?,
            Mutation::Identity { markdown, sha256 } => self.identity(markdown, sha256).await?,
            Mutation::Latch { generation } => return Ok(Some(self.latch(*generation).await?)),
            Mutation::Status(write) => self.status(write).await?,
            Mutation::Contact(write) => self.contact(write).await?,
            Mutation::Condition(condition) => self.condition(condition).await?,
            Mutation::Event(event) => {
                events::record(&mut *self.connection, Some(self.id), event).await?
            }
            Mutation::Card(card) => self.card(card).await?,
            Mutation::CardGone => self.card_gone().await?,
            Mutation::Archive => self.archive().await?,
        }
        Ok(None)
    }

    async fn resource(&mut self, write: &ResourceWrite) -> Work<()> {
        let old = sqlx::query("SELECT * FROM agent_resource WHERE agent_id = $1 AND kind = $2")
            .bind(self.id.0)
            .bind(write.kind.as_str())
            .fetch_optional(&mut *self.connection)
            .await?
            .map(|row| resource(&row))
            .transpose()?;
        let Some(row) = writes::resource(old.as_ref(), write) else {
            return Ok(());
        };
        let new = &row.record;
        sqlx::query(
            "INSERT INTO agent_resource (agent_id, kind, name, external_id, try, state, desired_hash, observed_hash,
                 version_id, attempts, last_error, intent_at, settle_until, confirmed_at, cleanup_result, cleanup_error,
                 cleaned_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT (agent_id, kind) DO UPDATE SET
                 name = EXCLUDED.name, external_id = EXCLUDED.external_id, try = EXCLUDED.try,
                 state = EXCLUDED.state, desired_hash = EXCLUDED.desired_hash, observed_hash = EXCLUDED.observed_hash,
                 version_id = EXCLUDED.version_id, attempts = EXCLUDED.attempts, last_error = EXCLUDED.last_error,
                 intent_at = EXCLUDED.intent_at, settle_until = EXCLUDED.settle_until,
                 confirmed_at = EXCLUDED.confirmed_at, cleanup_result = EXCLUDED.cleanup_result,
                 cleanup_error = EXCLUDED.cleanup_error, cleaned_at = EXCLUDED.cleaned_at",
        )
        .bind(self.id.0)
        .bind(new.kind.as_str())
        .bind(&new.name)
        .bind(&new.external_id)
        .bind(new.try_id.as_ref().map(|t| t.as_str()))
        .bind(new.state.as_str())
        .bind(&new.desired_hash)
        .bind(&new.observed_hash)
        .bind(&new.version_id)
        .bind(new.attempts)
        .bind(&new.last_error)
        .bind(row.intent_at.apply(new.intent_at, self.now))
        .bind(row.settle_until.apply(new.settle_until, self.now))
        .bind(row.confirmed_at.apply(new.confirmed_at, self.now))
        .bind(new.cleanup_result.map(|r| r.as_str()))
        .bind(&new.cleanup_error)
        .bind(row.cleaned_at.apply(new.cleaned_at, self.now))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn secret(&mut self, write: &SecretWrite) -> Work<()> {
        sqlx::query(
            "INSERT INTO agent_secret AS old (agent_id, name, provider, source, reference, state, fingerprint, pushed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8 THEN clock_timestamp() END)
             ON CONFLICT (agent_id, name) DO UPDATE SET
                 provider = EXCLUDED.provider, source = EXCLUDED.source, reference = EXCLUDED.reference,
                 state = EXCLUDED.state, fingerprint = EXCLUDED.fingerprint,
                 pushed_at = coalesce(EXCLUDED.pushed_at, old.pushed_at)
             WHERE $8 OR (old.provider, old.source, old.reference, old.state, old.fingerprint) IS DISTINCT FROM
                 (EXCLUDED.provider, EXCLUDED.source, EXCLUDED.reference, EXCLUDED.state, EXCLUDED.fingerprint)",
        )
        .bind(self.id.0)
        .bind(&write.name)
        .bind(&write.provider)
        .bind(write.source.as_str())
        .bind(&write.reference)
        .bind(write.state.as_str())
        .bind(&write.fingerprint)
        .bind(write.state == SecretState::Pushed)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn secret_gone(&mut self, name: &str) -> Work<()> {
        sqlx::query("DELETE FROM agent_secret WHERE agent_id = $1 AND name = $2")
            .bind(self.id.0)
            .bind(name)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn candidate(&mut self, try_id: &str, sha256: &str) -> Work<()> {
        sqlx::query(
            "INSERT INTO agent_auth_token (agent_id, try, sha256, state, created_at)
             VALUES ($1, $2, $3, 'candidate', clock_timestamp()) ON CONFLICT (agent_id, try) DO NOTHING",
        )
        .bind(self.id.0)
        .bind(try_id)
        .bind(sha256)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// `auth_token_hash` is always the current token's, or NULL if there is none.
    async fn auth_token(&mut self, try_id: &str, state: AuthTokenState) -> Work<()> {
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM agent_auth_token WHERE agent_id = $1 AND try = $2)",
        )
        .bind(self.id.0)
        .bind(try_id)
        .fetch_one(&mut *self.connection)
        .await?;
        if !known {
            return Ok(());
        }
        if state == AuthTokenState::Current {
            sqlx::query(
                "UPDATE agent_auth_token SET state = 'retired'
                 WHERE agent_id = $1 AND try <> $2 AND state = 'current'",
            )
            .bind(self.id.0)
            .bind(try_id)
            .execute(&mut *self.connection)
            .await?;
        }
        sqlx::query(
            "UPDATE agent_auth_token SET state = $3
             WHERE agent_id = $1 AND try = $2 AND state <> $3",
        )
        .bind(self.id.0)
        .bind(try_id)
        .bind(state.as_str())
        .execute(&mut *self.connection)
        .await?;
        sqlx::query(
            "UPDATE agent_source s SET auth_token_hash = c.sha256
             FROM (SELECT (SELECT sha256 FROM agent_auth_token WHERE agent_id = $1 AND state = 'current')) c (sha256)
             WHERE s.id = $1 AND s.auth_token_hash IS DISTINCT FROM c.sha256",
        )
        .bind(self.id.0)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn names(&mut self, worker: &str, bucket: &str, account: &str) -> Work<()> {
        sqlx::query(
            "UPDATE agent_source SET worker_name = $2, r2_bucket = $3, cloudflare_account = $4
             WHERE id = $1 AND (worker_name, r2_bucket, cloudflare_account) IS DISTINCT FROM ($2, $3, $4)",
        )
        .bind(self.id.0)
        .bind(worker)
        .bind(bucket)
        .bind(account)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn identity(&mut self, markdown: &str, sha256: &str) -> Work<()> {
        sqlx::query(
            "UPDATE agent_source SET identity_md = $2, identity_sha256 = $3
             WHERE id = $1 AND (identity_md, identity_sha256) IS DISTINCT FROM ($2, $3)",
        )
        .bind(self.id.0)
        .bind(markdown)
        .bind(sha256)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn latch(&mut self, generation: Generation) -> Work<bool> {
        sqlx::query(
            "UPDATE agent_source SET first_deployed_at = clock_timestamp()
             WHERE id = $1 AND generation = $2 AND first_deployed_at IS NULL",
        )
        .bind(self.id.0)
        .bind(generation.0)
        .execute(&mut *self.connection)
        .await?;
        Ok(sqlx::query_scalar(
            "SELECT first_deployed_at IS NOT NULL FROM agent_source WHERE id = $1",
        )
        .bind(self.id.0)
        .fetch_one(&mut *self.connection)
        .await?)
    }

    async fn status(&mut self, write: &StatusWrite) -> Work<()> {
        let write = writes::status(&self.stored_status().await?, write);
        if write.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE agent_source SET
                 deployment_status = coalesce($2, deployment_status),
                 deployment_error = CASE WHEN $3 THEN $4 ELSE deployment_error END,
                 observed_generation = coalesce($5, observed_generation),
                 worker_url = CASE WHEN $6 THEN $7 ELSE worker_url END,
                 r2_token_id = CASE WHEN $8 THEN $9 ELSE r2_token_id END,
                 has_anthropic_key = coalesce($10, has_anthropic_key),
                 has_openai_key = coalesce($11, has_openai_key)
             WHERE id = $1",
        )
        .bind(self.id.0)
        .bind(write.deployment_status.map(|s| s.as_str()))
        .bind(write.deployment_error.is_some())
        .bind(write.deployment_error.flatten())
        .bind(write.observed_generation.map(|g| g.0))
        .bind(write.worker_url.is_some())
        .bind(write.worker_url.flatten())
        .bind(write.r2_token_id.is_some())
        .bind(write.r2_token_id.flatten())
        .bind(write.has_anthropic_key)
        .bind(write.has_openai_key)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn stored_status(&mut self) -> Work<AgentStatus> {
        let row = sqlx::query(concat!(
            "SELECT ",
            status_columns!(),
            " FROM agent_source s WHERE s.id = $1"
        ))
        .bind(self.id.0)
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(status(&row)?)
    }

    async fn contact(&mut self, write: &ContactWrite) -> Work<()> {
        sqlx::query(
            "INSERT INTO agent_contact AS old
                 (agent_id, mark, tries, tried_at, answered_at, problem, repairs, try, runtime)
             VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN $4 END, $6, $7, $8, $9)
             ON CONFLICT (agent_id) DO UPDATE SET
                 mark = EXCLUDED.mark, tries = EXCLUDED.tries, tried_at = EXCLUDED.tried_at,
                 answered_at = coalesce(EXCLUDED.answered_at, old.answered_at), problem = EXCLUDED.problem,
                 repairs = EXCLUDED.repairs, try = EXCLUDED.try, runtime = EXCLUDED.runtime",
        )
        .bind(self.id.0)
        .bind(&write.mark)
        .bind(write.tries)
        .bind(self.now)
        .bind(write.answered)
        .bind(&write.problem)
        .bind(write.repairs)
        .bind(write.try_id.as_ref().map(|t| t.as_str()))
        .bind(&write.runtime)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn condition(&mut self, condition: &Condition) -> Work<()> {
        sqlx::query(
            "INSERT INTO agent_condition AS old
                 (agent_id, type, status, reason, message, observed_generation, last_transition_at)
             VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
             ON CONFLICT (agent_id, type) DO UPDATE SET
                 status = EXCLUDED.status, reason = EXCLUDED.reason, message = EXCLUDED.message,
                 observed_generation = EXCLUDED.observed_generation,
                 last_transition_at = CASE WHEN old.status = EXCLUDED.status THEN old.last_transition_at
                                           ELSE EXCLUDED.last_transition_at END
             WHERE (old.status, old.reason, old.message, old.observed_generation) IS DISTINCT FROM
                 (EXCLUDED.status, EXCLUDED.reason, EXCLUDED.message, EXCLUDED.observed_generation)",
        )
        .bind(self.id.0)
        .bind(condition.kind.as_str())
        .bind(condition.status.as_str())
        .bind(condition.reason.as_str())
        .bind(&condition.message)
        .bind(condition.observed_generation.0)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn card(&mut self, card: &AgentCard) -> Work<()> {
        let text = serde_json::to_string(card)
            .map_err(|_| StoreError::Corrupt("the card is not JSON".to_owned()))?;
        sqlx::query(
            "INSERT INTO agent_card AS old (agent_id, card, hash, updated_at)
             VALUES ($1, $2::json, $3, clock_timestamp())
             ON CONFLICT (agent_id) DO UPDATE SET
                 card = EXCLUDED.card, hash = EXCLUDED.hash, updated_at = EXCLUDED.updated_at
             WHERE old.card::text <> EXCLUDED.card::text",
        )
        .bind(self.id.0)
        .bind(text)
        .bind(card.hash())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn card_gone(&mut self) -> Work<()> {
        sqlx::query("DELETE FROM agent_card WHERE agent_id = $1")
            .bind(self.id.0)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn archive(&mut self) -> Work<()> {
        sqlx::query("UPDATE agent_source SET deleted_at = clock_timestamp() WHERE id = $1 AND deleted_at IS NULL")
            .bind(self.id.0)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query("UPDATE agent_work SET next_due_at = NULL WHERE agent_id = $1 AND next_due_at IS NOT NULL")
            .bind(self.id.0)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }
}
