//! Rows into snapshots.

use std::collections::HashMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Sqlite};
use talon_core::agent::{Agent, AgentStatus};
use talon_core::condition::{Condition, StoredCondition};
use talon_core::contact::Contact;
use talon_core::resource::ResourceRecord;
use talon_core::snapshot::{AuthTokenRecord, SecretRecord, Snapshot, Work};
use talon_core::validate::Violation;
use talon_core::{AgentId, AgentName, Epoch, Generation, Owner, TryId};
use talon_store::StoreResult;
use talon_store::columns::{self, RawSpec};

use crate::error::translate;
use crate::presence::{self, presence_columns};
use crate::sql::{Columns, id_list, now, unreadable};

/// Every column of an agent, its work and its last connection. Add a WHERE clause; `s` is `agent_source`, `w` is
/// `agent_work`, `p` is `agent_presence`.
pub(crate) const SELECT: &str = concat!(
    "SELECT ",
    now!(),
    " AS now, s.*, w.next_due_at, w.failure_count, w.failing_since, w.throttled_seconds, w.lease_owner, w.lease_epoch,",
    " w.lease_until, w.unclean_until, w.plan_report, ",
    presence_columns!(),
    " FROM agent_source s JOIN agent_work w ON w.agent_id = s.id LEFT JOIN agent_presence p ON p.agent_id = s.id "
);

/// Reads the snapshots a query (one that begins with [`SELECT`]) finds, in its order. The connection must be in a
/// transaction. A row that this program cannot read is an error in its own place.
pub(crate) async fn snapshots(
    connection: &mut SqliteConnection,
    mut query: QueryBuilder<Sqlite>,
) -> StoreResult<Vec<StoreResult<Snapshot>>> {
    let rows = query
        .build()
        .fetch_all(&mut *connection)
        .await
        .map_err(translate)?;
    let mut found: Vec<StoreResult<Snapshot>> = rows.iter().map(snapshot).collect();
    let places: HashMap<AgentId, usize> = found
        .iter()
        .enumerate()
        .filter_map(|(at, s)| Some((s.as_ref().ok()?.agent.id, at)))
        .collect();
    if places.is_empty() {
        return Ok(found);
    }
    let ids = id_list(places.keys());
    for child in CHILDREN {
        let rows = sqlx::query(child.select)
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(translate)?;
        for row in &rows {
            let id: AgentId = Columns(row).word("agent_id")?;
            let Some(place) = places.get(&id).and_then(|at| found.get_mut(*at)) else {
                continue;
            };
            if let Ok(snapshot) = place
                && let Err(e) = (child.add)(snapshot, &Columns(row))
            {
                *place = Err(e);
            }
        }
    }
    for snapshot in found.iter_mut().flatten() {
        columns::arrange(snapshot);
    }
    Ok(found)
}

/// Keeps what could be read; says in the log which row could not, and goes on without it.
pub(crate) fn readable(found: Vec<StoreResult<Snapshot>>) -> Vec<Snapshot> {
    found
        .into_iter()
        .filter_map(|snapshot| match snapshot {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                tracing::error!(%error, "an agent's row cannot be read and is passed over");
                None
            }
        })
        .collect()
}

struct Child {
    select: &'static str,
    add: fn(&mut Snapshot, &Columns<'_>) -> StoreResult<()>,
}

const CHILDREN: [Child; 5] = [
    Child {
        select: "SELECT * FROM agent_resource WHERE agent_id IN (SELECT value FROM json_each(?))",
        add: |snapshot, row| {
            snapshot.resources.push(resource(row)?);
            Ok(())
        },
    },
    Child {
        select: "SELECT * FROM agent_secret WHERE agent_id IN (SELECT value FROM json_each(?))",
        add: |snapshot, row| {
            snapshot.secrets.push(secret(row)?);
            Ok(())
        },
    },
    Child {
        select: "SELECT * FROM agent_auth_token WHERE agent_id IN (SELECT value FROM json_each(?))",
        add: |snapshot, row| {
            snapshot.auth_tokens.push(auth_token(row)?);
            Ok(())
        },
    },
    Child {
        select: "SELECT * FROM agent_condition WHERE agent_id IN (SELECT value FROM json_each(?))",
        add: |snapshot, row| {
            // A condition that a newer program wrote says nothing to this one; the next pass writes its own.
            snapshot.conditions.extend(condition(row).ok());
            Ok(())
        },
    },
    Child {
        select: "SELECT * FROM agent_contact WHERE agent_id IN (SELECT value FROM json_each(?))",
        add: |snapshot, row| {
            snapshot.contact = Some(contact(row)?);
            Ok(())
        },
    },
];

fn snapshot(row: &SqliteRow) -> StoreResult<Snapshot> {
    let c = Columns(row);
    Ok(Snapshot {
        now: c.time("now")?,
        agent: agent(&c)?,
        work: work(&c)?,
        resources: Vec::new(),
        secrets: Vec::new(),
        auth_tokens: Vec::new(),
        conditions: Vec::new(),
        presence: match c.maybe_text("connection_id")? {
            Some(_) => Some(presence::read(&c)?),
            None => None,
        },
        contact: None,
    })
}

fn agent(c: &Columns<'_>) -> StoreResult<Agent> {
    let mut bad = Vec::new();
    let raw = raw_spec(c, &mut bad)?;
    let (spec, mut violations) = columns::decode(raw);
    violations.extend(bad.into_iter().map(|column| Violation {
        pointer: "/spec".to_owned(),
        detail: format!("column {column}: must be UTF-8 text"),
    }));
    Ok(Agent {
        id: c.word("id")?,
        name: AgentName::parse(&c.text("name")?).map_err(|_| unreadable("name"))?,
        owner: Owner(c.text("owner")?),
        generation: Generation(c.int("generation")?),
        spec,
        violations,
        deletion_requested_at: c.maybe_time("deletion_requested_at")?,
        reconcile_requested_at: c.maybe_time("reconcile_requested_at")?,
        secret_ref_discarded_at: c.maybe_time("secret_ref_discarded_at")?,
        status: status(c)?,
        created_at: c.time("created_at")?,
        updated_at: c.time("updated_at")?,
    })
}

fn raw_spec(c: &Columns<'_>, bad: &mut Vec<&'static str>) -> StoreResult<RawSpec> {
    let mut text = |column| c.lossy(column, bad);
    Ok(RawSpec {
        display_name: text("display_name")?,
        description: text("description")?,
        display_description: text("display_description")?,
        persona: text("persona")?.unwrap_or_default(),
        instructions: text("instructions")?.unwrap_or_default(),
        model: text("model")?.unwrap_or_default(),
        visibility: text("visibility")?.unwrap_or_default(),
        api_key_refs: text("api_key_refs")?.unwrap_or_default(),
        skills: text("skills")?.unwrap_or_default(),
        wallet_address: text("wallet_address")?,
        theme: text("theme")?,
        avatar_url: text("avatar_url")?,
        cover_url: text("cover_url")?,
        r2: text("r2")?.unwrap_or_default(),
        deletion_policy: text("deletion_policy")?.unwrap_or_default(),
        keep_alive: c.flag("keep_alive")?,
        secrets_version: c.int("secrets_version")?,
        suspend: c.flag("suspend")?,
        deletion_protected: c.flag("deletion_protected")?,
    })
}

/// The columns the controller writes.
pub(crate) fn status(c: &Columns<'_>) -> StoreResult<AgentStatus> {
    Ok(AgentStatus {
        deployment_status: c.word("deployment_status")?,
        deployment_error: c.maybe_text("deployment_error")?,
        observed_generation: Generation(c.int("observed_generation")?),
        worker_url: c.maybe_text("worker_url")?,
        worker_name: c.maybe_text("worker_name")?,
        r2_bucket: c.maybe_text("r2_bucket")?,
        r2_token_id: c.maybe_text("r2_token_id")?,
        auth_token_hash: c.maybe_text("auth_token_hash")?,
        has_anthropic_key: c.flag("has_anthropic_key")?,
        has_openai_key: c.flag("has_openai_key")?,
        identity_md: c.maybe_text("identity_md")?,
        identity_sha256: c.maybe_text("identity_sha256")?,
        first_deployed_at: c.maybe_time("first_deployed_at")?,
        cloudflare_account: c.maybe_text("cloudflare_account")?,
        deleted_at: c.maybe_time("deleted_at")?,
    })
}

fn work(c: &Columns<'_>) -> StoreResult<Work> {
    Ok(Work {
        next_due_at: c.maybe_time("next_due_at")?,
        failure_count: c.int("failure_count")?,
        failing_since: c.maybe_time("failing_since")?,
        throttled_seconds: c.int("throttled_seconds")?,
        lease_owner: c.maybe_text("lease_owner")?,
        lease_epoch: Epoch(c.int("lease_epoch")?),
        lease_until: c.maybe_time("lease_until")?,
        unclean_until: c.maybe_time("unclean_until")?,
        plan_report: c
            .maybe_text("plan_report")?
            .and_then(|text| serde_json::from_str(&text).ok()),
    })
}

fn parse_try(text: &str) -> StoreResult<TryId> {
    TryId::parse(text).ok_or_else(|| unreadable("try"))
}

/// One row of `agent_resource`.
pub(crate) fn resource(c: &Columns<'_>) -> StoreResult<ResourceRecord> {
    Ok(ResourceRecord {
        kind: c.word("kind")?,
        name: c.text("name")?,
        external_id: c.maybe_text("external_id")?,
        try_id: c
            .maybe_text("try")?
            .map(|text| parse_try(&text))
            .transpose()?,
        state: c.word("state")?,
        desired_hash: c.maybe_text("desired_hash")?,
        observed_hash: c.maybe_text("observed_hash")?,
        version_id: c.maybe_text("version_id")?,
        attempts: c.int("attempts")?,
        last_error: c.maybe_text("last_error")?,
        intent_at: c.maybe_time("intent_at")?,
        settle_until: c.maybe_time("settle_until")?,
        confirmed_at: c.maybe_time("confirmed_at")?,
        cleanup_result: c.maybe_word("cleanup_result")?,
        cleanup_error: c.maybe_text("cleanup_error")?,
        cleaned_at: c.maybe_time("cleaned_at")?,
    })
}

fn secret(c: &Columns<'_>) -> StoreResult<SecretRecord> {
    Ok(SecretRecord {
        name: c.text("name")?,
        provider: c.maybe_text("provider")?,
        source: c.word("source")?,
        reference: c.maybe_text("reference")?,
        state: c.word("state")?,
        fingerprint: c.maybe_text("fingerprint")?,
        pushed_at: c.maybe_time("pushed_at")?,
    })
}

fn auth_token(c: &Columns<'_>) -> StoreResult<AuthTokenRecord> {
    Ok(AuthTokenRecord {
        try_id: parse_try(&c.text("try")?)?,
        sha256: c.text("sha256")?,
        state: c.word("state")?,
        created_at: c.time("created_at")?,
    })
}

fn contact(c: &Columns<'_>) -> StoreResult<Contact> {
    Ok(Contact {
        mark: c.text("mark")?,
        tries: c.int("tries")?,
        tried_at: c.time("tried_at")?,
        answered_at: c.maybe_time("answered_at")?,
        problem: c.maybe_text("problem")?,
        repairs: c.int("repairs")?,
        // Another program's spelling is no reason to lose the agent: the next answer tells it again.
        try_id: c.maybe_text("try")?.as_deref().and_then(TryId::parse),
        runtime: c.maybe_text("runtime")?,
    })
}

fn condition(c: &Columns<'_>) -> StoreResult<StoredCondition> {
    Ok(StoredCondition {
        condition: Condition {
            kind: c.word("type")?,
            status: c.word("status")?,
            reason: c.word("reason")?,
            message: c.text("message")?,
            observed_generation: Generation(c.int("observed_generation")?),
        },
        last_transition_at: c.time("last_transition_at")?,
    })
}

/// The spec a person's write has to be compared with, and the row it belongs to.
pub(crate) async fn live(
    connection: &mut SqliteConnection,
    name: &str,
) -> StoreResult<Option<Agent>> {
    let mut query = QueryBuilder::new(SELECT);
    query
        .push("WHERE s.deleted_at IS NULL AND s.name = ")
        .push_bind(name.to_owned());
    let row = query
        .build()
        .fetch_optional(connection)
        .await
        .map_err(translate)?;
    row.as_ref().map(|row| agent(&Columns(row))).transpose()
}
