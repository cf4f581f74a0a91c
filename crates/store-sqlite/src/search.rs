//! Cards as the Router reads them, and the vectors of skills.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use talon_core::AgentId;
use talon_store::StoreResult;
use talon_store::search::{
    SearchStore, SkillVectors, Standing, StoredCard, VectorModel, check_vectors, gather_vectors,
    vector_bytes, vector_from_bytes,
};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::sql::{Columns, id_list, unreadable};

fn stored_card(row: &SqliteRow) -> StoreResult<StoredCard> {
    let c = Columns(row);
    Ok(StoredCard {
        agent_id: c.word("agent_id")?,
        owner: c.text("owner")?,
        hash: c.text("hash")?,
        card: serde_json::from_str(&c.text("card")?).map_err(|_| unreadable("card"))?,
    })
}

fn standing(row: &SqliteRow) -> StoreResult<Standing> {
    let c = Columns(row);
    Ok(Standing {
        name: c.text("name")?,
        agent_id: c.maybe_word("id")?,
        owner: c.text("owner")?,
        public: c.flag("public")?,
        deleting: c.flag("deleting")?,
        deployed: c.flag("deployed")?,
        connected: c.flag("connected")?,
    })
}

#[async_trait]
impl SearchStore for SqliteStore {
    async fn cards_version(&self) -> StoreResult<String> {
        let version: i64 = sqlx::query_scalar("SELECT version FROM cards_version")
            .fetch_one(&self.readers)
            .await
            .map_err(translate)?;
        Ok(version.to_string())
    }

    async fn live_cards(&self) -> StoreResult<Vec<(AgentId, String)>> {
        let rows = sqlx::query(
            "SELECT c.agent_id, c.hash FROM agent_card c JOIN agent_source s ON s.id = c.agent_id
             WHERE s.deleted_at IS NULL ORDER BY c.agent_id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter()
            .map(|row| Ok((Columns(row).word("agent_id")?, Columns(row).text("hash")?)))
            .collect()
    }

    async fn stored_cards(&self, ids: &[AgentId]) -> StoreResult<Vec<StoredCard>> {
        let rows = sqlx::query(
            "SELECT c.agent_id, s.owner, c.hash, c.card
             FROM agent_card c JOIN agent_source s ON s.id = c.agent_id
             WHERE s.deleted_at IS NULL AND c.agent_id IN (SELECT value FROM json_each(?)) ORDER BY c.agent_id",
        )
        .bind(id_list(ids))
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter().map(stored_card).collect()
    }

    async fn standings(&self, names: &[String]) -> StoreResult<Vec<Standing>> {
        Ok(self.standings_and_version(names).await?.0)
    }

    async fn standings_and_version(
        &self,
        names: &[String],
    ) -> StoreResult<(Vec<Standing>, String)> {
        let rows = sqlx::query(
            "WITH wanted AS (SELECT DISTINCT value AS name FROM json_each(?)),
             standing AS (
                 SELECT s.name, s.id, s.owner, s.visibility = 'public' AS public,
                     s.deletion_requested_at IS NOT NULL AS deleting, s.deployment_status = 'deployed' AS deployed,
                     ifnull(p.connected, 0) AS connected
                 FROM wanted w JOIN agent_source s ON s.name = w.name AND s.deleted_at IS NULL
                 LEFT JOIN agent_presence p ON p.agent_id = s.id
                 UNION ALL
                 SELECT h.name, NULL, h.owner, h.public, 0, 0, h.connected
                 FROM wanted w JOIN hosted_agent h ON h.name = w.name
                 WHERE NOT EXISTS (SELECT 1 FROM agent_source s WHERE s.name = h.name AND s.deleted_at IS NULL)
             )
             SELECT v.version, t.* FROM cards_version v LEFT JOIN standing t ON true ORDER BY t.name",
        )
        .bind(serde_json::Value::from(names).to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        let version = rows.first().ok_or_else(|| unreadable("version"))?;
        let version = Columns(version).int("version")?;
        let mut standings = Vec::new();
        for row in &rows {
            // Of no agent at all there is one line, with the version alone.
            if Columns(row).maybe_text("name")?.is_some() {
                standings.push(standing(row)?);
            }
        }
        Ok((standings, version.to_string()))
    }

    async fn skill_vectors(
        &self,
        model: &VectorModel,
        ids: &[AgentId],
    ) -> StoreResult<Vec<SkillVectors>> {
        let rows = sqlx::query(
            "SELECT e.agent_id, e.card_hash, e.skill_id, e.vector
             FROM skill_embedding e
             JOIN agent_card c ON c.agent_id = e.agent_id AND c.hash = e.card_hash
             JOIN agent_source s ON s.id = e.agent_id AND s.deleted_at IS NULL
             WHERE e.model = ? AND e.dimensions = ? AND e.agent_id IN (SELECT value FROM json_each(?))
             ORDER BY e.agent_id, e.position",
        )
        .bind(&model.id)
        .bind(dimensions(model))
        .bind(id_list(ids))
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        let read = |row: &SqliteRow| {
            let c = Columns(row);
            let vector = vector_from_bytes(&c.bytes("vector")?, model.dimensions)?;
            Ok((
                c.word("agent_id")?,
                c.text("card_hash")?,
                c.text("skill_id")?,
                vector,
            ))
        };
        Ok(gather_vectors(
            rows.iter().map(read).collect::<StoreResult<Vec<_>>>()?,
        ))
    }

    async fn put_skill_vectors(
        &self,
        model: &VectorModel,
        vectors: &SkillVectors,
    ) -> StoreResult<bool> {
        check_vectors(model, vectors)?;
        let key = vectors.agent_id.to_string();
        let mut tx = self.writing().await?;
        let current: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM agent_card c JOIN agent_source s ON s.id = c.agent_id
             WHERE c.agent_id = ? AND c.hash = ? AND s.deleted_at IS NULL)",
        )
        .bind(&key)
        .bind(&vectors.card_hash)
        .fetch_one(&mut *tx)
        .await
        .map_err(translate)?;
        if !current {
            return Ok(false);
        }
        sqlx::query("DELETE FROM skill_embedding WHERE agent_id = ? AND model = ?")
            .bind(&key)
            .bind(&model.id)
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        for (position, (skill, vector)) in (0_i64..).zip(&vectors.skills) {
            sqlx::query(
                "INSERT INTO skill_embedding (agent_id, model, position, skill_id, card_hash, dimensions, vector)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&key)
            .bind(&model.id)
            .bind(position)
            .bind(skill)
            .bind(&vectors.card_hash)
            .bind(dimensions(model))
            .bind(vector_bytes(vector))
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        }
        done(tx).await?;
        Ok(true)
    }

    async fn drop_other_vectors(&self, keep: &VectorModel) -> StoreResult<u64> {
        let mut tx = self.writing().await?;
        let gone = sqlx::query("DELETE FROM skill_embedding WHERE model <> ?")
            .bind(&keep.id)
            .execute(&mut *tx)
            .await
            .map_err(translate)?
            .rows_affected();
        done(tx).await?;
        Ok(gone)
    }
}

fn dimensions(model: &VectorModel) -> i64 {
    i64::try_from(model.dimensions).unwrap_or(i64::MAX)
}
