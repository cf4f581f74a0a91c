//! Cards as the Router reads them, and the vectors of skills.

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgRow};
use talon_core::AgentId;
use talon_store::search::{
    SearchStore, SkillVectors, Standing, StoredCard, VectorModel, check_vectors, gather_vectors,
    vector_bytes, vector_from_bytes,
};
use talon_store::{StoreError, StoreResult};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::{Work, retrying};
use crate::snapshot::cell;

fn stored_card(row: &PgRow) -> StoreResult<StoredCard> {
    let text: String = cell(row, "card")?;
    Ok(StoredCard {
        agent_id: AgentId(cell(row, "agent_id")?),
        owner: cell(row, "owner")?,
        hash: cell(row, "hash")?,
        card: serde_json::from_str(&text)
            .map_err(|_| StoreError::Corrupt("a stored card cannot be read".to_owned()))?,
    })
}

fn standing(row: &PgRow) -> StoreResult<Standing> {
    Ok(Standing {
        name: cell(row, "name")?,
        agent_id: cell::<Option<Uuid>>(row, "id")?.map(AgentId),
        owner: cell(row, "owner")?,
        public: cell(row, "public")?,
        deleting: cell(row, "deleting")?,
        deployed: cell(row, "deployed")?,
        connected: cell(row, "connected")?,
    })
}

fn uuids(ids: &[AgentId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

fn dimensions(model: &VectorModel) -> i32 {
    i32::try_from(model.dimensions).unwrap_or(i32::MAX)
}

async fn put(pool: &PgPool, model: &VectorModel, vectors: &SkillVectors) -> Work<bool> {
    let mut tx = pool.begin().await?;
    // The lock keeps the card as it is, so that its vectors never outlive it.
    let current = sqlx::query(
        "SELECT FROM agent_card c WHERE c.agent_id = $1 AND c.hash = $2
           AND EXISTS (SELECT FROM agent_source s WHERE s.id = c.agent_id AND s.deleted_at IS NULL)
         FOR NO KEY UPDATE OF c",
    )
    .bind(vectors.agent_id.0)
    .bind(&vectors.card_hash)
    .fetch_optional(&mut *tx)
    .await?;
    if current.is_none() {
        return Ok(false);
    }
    sqlx::query("DELETE FROM skill_embedding WHERE agent_id = $1 AND model = $2")
        .bind(vectors.agent_id.0)
        .bind(&model.id)
        .execute(&mut *tx)
        .await?;
    let (skills, bytes): (Vec<&str>, Vec<Vec<u8>>) = vectors
        .skills
        .iter()
        .map(|(skill, vector)| (skill.as_str(), vector_bytes(vector)))
        .unzip();
    sqlx::query(
        "INSERT INTO skill_embedding (agent_id, model, position, skill_id, card_hash, dimensions, vector)
         SELECT $1, $2, n, skill, $3, $4, vector
         FROM unnest($5::text[], $6::bytea[]) WITH ORDINALITY AS v (skill, vector, n)",
    )
    .bind(vectors.agent_id.0)
    .bind(&model.id)
    .bind(&vectors.card_hash)
    .bind(dimensions(model))
    .bind(&skills)
    .bind(&bytes)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

#[async_trait]
impl SearchStore for PostgresStore {
    async fn cards_version(&self) -> StoreResult<String> {
        retrying(|| async {
            Ok(sqlx::query_scalar(
                "SELECT concat_ws('-', c.count, c.sum, h.count, h.sum)
                 FROM (SELECT count(*), sum(stamp) FROM agent_card) c, (SELECT count(*), sum(stamp) FROM hosted_agent) h",
            )
            .fetch_one(&self.pool)
            .await?)
        })
        .await
    }

    async fn live_cards(&self) -> StoreResult<Vec<(AgentId, String)>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT c.agent_id, c.hash FROM agent_card c JOIN agent_source s ON s.id = c.agent_id
                 WHERE s.deleted_at IS NULL ORDER BY c.agent_id",
            )
            .fetch_all(&self.pool)
            .await?;
            let cards: StoreResult<_> = rows
                .iter()
                .map(|row| Ok((AgentId(cell(row, "agent_id")?), cell(row, "hash")?)))
                .collect();
            Ok(cards?)
        })
        .await
    }

    async fn stored_cards(&self, ids: &[AgentId]) -> StoreResult<Vec<StoredCard>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT c.agent_id, s.owner, c.hash, c.card::text AS card
                 FROM agent_card c JOIN agent_source s ON s.id = c.agent_id
                 WHERE s.deleted_at IS NULL AND c.agent_id = ANY ($1) ORDER BY c.agent_id",
            )
            .bind(uuids(ids))
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(stored_card).collect::<StoreResult<_>>()?)
        })
        .await
    }

    async fn standings(&self, names: &[String]) -> StoreResult<Vec<Standing>> {
        // No agent has such a name, and the server would refuse the whole question.
        let names: Vec<&String> = names.iter().filter(|name| !name.contains('\0')).collect();
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT * FROM (
                     SELECT s.name, s.id, s.owner, s.visibility = 'public' AS public,
                         s.deletion_requested_at IS NOT NULL AS deleting, s.deployment_status = 'deployed' AS deployed,
                         coalesce(p.connected, false) AS connected
                     FROM agent_source s LEFT JOIN agent_presence p ON p.agent_id = s.id
                     WHERE s.name = ANY ($1) AND s.deleted_at IS NULL
                     UNION ALL
                     SELECT h.name, NULL, h.owner, h.public, false, false, h.connected
                     FROM hosted_agent h
                     WHERE h.name = ANY ($1)
                       AND NOT EXISTS (SELECT FROM agent_source s WHERE s.name = h.name AND s.deleted_at IS NULL)
                 ) standing ORDER BY name COLLATE \"C\"",
            )
            .bind(&names)
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(standing).collect::<StoreResult<_>>()?)
        })
        .await
    }

    async fn skill_vectors(
        &self,
        model: &VectorModel,
        ids: &[AgentId],
    ) -> StoreResult<Vec<SkillVectors>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT e.agent_id, e.card_hash, e.skill_id, e.vector
                 FROM skill_embedding e
                 JOIN agent_card c ON c.agent_id = e.agent_id AND c.hash = e.card_hash
                 JOIN agent_source s ON s.id = e.agent_id AND s.deleted_at IS NULL
                 WHERE e.model = $1 AND e.dimensions = $2 AND e.agent_id = ANY ($3)
                 ORDER BY e.agent_id, e.position",
            )
            .bind(&model.id)
            .bind(dimensions(model))
            .bind(uuids(ids))
            .fetch_all(&self.pool)
            .await?;
            let read = |row: &PgRow| {
                let bytes: Vec<u8> = cell(row, "vector")?;
                let vector = vector_from_bytes(&bytes, model.dimensions)?;
                let agent = AgentId(cell(row, "agent_id")?);
                Ok((
                    agent,
                    cell(row, "card_hash")?,
                    cell(row, "skill_id")?,
                    vector,
                ))
            };
            let read: StoreResult<Vec<_>> = rows.iter().map(read).collect();
            Ok(gather_vectors(read?))
        })
        .await
    }

    async fn put_skill_vectors(
        &self,
        model: &VectorModel,
        vectors: &SkillVectors,
    ) -> StoreResult<bool> {
        check_vectors(model, vectors)?;
        retrying(|| put(&self.pool, model, vectors)).await
    }

    async fn drop_other_vectors(&self, keep: &VectorModel) -> StoreResult<u64> {
        retrying(|| async {
            Ok(sqlx::query("DELETE FROM skill_embedding WHERE model <> $1")
                .bind(&keep.id)
                .execute(&self.pool)
                .await?
                .rows_affected())
        })
        .await
    }
}
