//! The agent that the tests speak of, and what must be true of it in the end.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeZone, Utc};
use talon_core::agent::Agent;
use talon_core::bundle::BundleManifest;
use talon_core::condition::{ConditionType, Reason};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::secret::{Provider, SecretRef, names as secret_names};
use talon_core::snapshot::{SecretSource, SecretState};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, AgentName, AgentSpec, Epoch, InstallId, Owner, Snapshot};
use talon_plan::{Input, R2Endpoint, Subdomain, Timing, World};

use crate::reality::{Bucket, Token, Worker, sha};
use crate::stage::{End, Stage};

pub fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

pub fn world() -> World {
    World {
        knocks: false,
        install: InstallId::parse("abcdefghijklmnop").unwrap(),
        account_id: "acc".to_owned(),
        subdomain: Subdomain::Known("sub".to_owned()),
        hub_url: "wss://hub.example".to_owned(),
        r2_endpoint: R2Endpoint::Cloudflare,
        bundle: BundleManifest {
            sha256: "b1".repeat(32),
            engine: "placeholder".to_owned(),
            main_module: "worker.js".to_owned(),
            compatibility_date: "2026-11-01".to_owned(),
            compatibility_flags: vec!["nodejs_compat".to_owned()],
            durable_object_class: "OpenClawAgent".to_owned(),
            migration_tag: "v1".to_owned(),
        },
        timing: Timing::default(),
        held: None,
    }
}

pub fn spec() -> AgentSpec {
    serde_json::from_value(serde_json::json!({
        "persona": "You are a careful research analyst.",
        "instructions": "Cite every claim.",
        "model": "anthropic/claude-sonnet-4-6",
        "apiKeyRefs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"},
    }))
    .unwrap()
}

pub fn snapshot(spec: AgentSpec) -> Snapshot {
    let id = AgentId(uuid::Uuid::from_u128(7));
    let name = AgentName::parse("research-pro").unwrap();
    let agent = Agent::new(id, name, Owner::default(), spec, start());
    let mut claimed = Snapshot::new(agent, start());
    claimed.work.next_due_at = None;
    claimed.work.lease_epoch = Epoch(1);
    claimed
}

/// A new row, and a world that holds other people's things only.
pub fn new_agent() -> Stage {
    let mut stage = Stage::new(start(), world(), snapshot(spec()));
    let now = stage.now;
    stage
        .reality
        .workers
        .insert("somebody-else".to_owned(), foreign_worker(now));
    stage
        .reality
        .buckets
        .insert("photos".to_owned(), foreign_bucket(now));
    stage.reality.tokens.push(foreign_token(now));
    stage.reality.remember(now);
    stage
}

/// An agent that is deployed and left in peace, its call log empty.
pub fn deployed() -> Stage {
    let mut stage = new_agent();
    stage.converge();
    settle(&mut stage);
    assert_deployed(&mut stage);
    stage.calls.clear();
    stage.db.events.clear();
    (stage.list_reads, stage.settings_reads) = (0, 0);
    stage
}

/// Lets lists catch up and the baseline be adopted.
pub fn settle(stage: &mut Stage) {
    for _ in 0..2 {
        stage.resync();
        stage.converge();
    }
}

pub fn foreign_worker(now: DateTime<Utc>) -> Worker {
    Worker {
        script_tag: "their-script".to_owned(),
        tags: Some(vec!["team-x".to_owned()]),
        content: "export default {}".to_owned(),
        plain: BTreeMap::new(),
        bucket: "photos".to_owned(),
        secrets: [("K".to_owned(), "V".to_owned())].into(),
        route: true,
        migrated: false,
        created_on: now,
        modified_on: now,
        flags: Vec::new(),
    }
}

pub fn foreign_bucket(now: DateTime<Utc>) -> Bucket {
    Bucket {
        created: now - chrono::TimeDelta::days(90),
        jurisdiction: talon_core::spec::Jurisdiction::Default,
        objects: 12,
    }
}

pub fn foreign_token(now: DateTime<Utc>) -> Token {
    Token {
        id: "their-token".to_owned(),
        name: "openclaw/zzzzzzzzzzzzzzzz/00000000-0000-0000-0000-000000000007".to_owned(),
        value: "theirs".to_owned(),
        issued: now,
    }
}

/// Other people's things are byte for byte as they were.
pub fn assert_foreign_untouched(stage: &Stage) {
    assert_eq!(
        stage.reality.workers.get("somebody-else"),
        Some(&foreign_worker(start()))
    );
    assert_eq!(
        stage.reality.buckets.get("photos"),
        Some(&foreign_bucket(start()))
    );
    let token = stage.reality.tokens.iter().find(|t| t.id == "their-token");
    assert_eq!(token, Some(&foreign_token(start())));
}

/// O1–O4, O6, O10: everything is there once, with credentials that work, the status says so, and it stays so for
/// three resyncs without a write (one for the baseline allowed).
pub fn assert_deployed(stage: &mut Stage) {
    for round in 0..3 {
        stage.resync();
        let (calls, writes) = (stage.calls.len(), stage.db.writes);
        assert_eq!(stage.one_pass(), End::Quiet);
        assert_eq!(
            &stage.calls[calls..],
            &[] as &[&str],
            "a converged agent costs no call"
        );
        assert!(
            round == 0 || stage.db.writes == writes,
            "a converged agent costs no write"
        );
    }
    assert!(stage.plan().is_converged());
    assert_foreign_untouched(stage);
    let names = stage.names();
    let (snapshot, observed) = stage.observe();
    let input = Input {
        snapshot: &snapshot,
        observed: &observed,
        world: &stage.world,
    };
    let agent = &snapshot.agent;
    let status = &agent.status;

    let code = talon_plan::desired::code(&input, &names);
    let worker = &stage.reality.workers[&names.worker];
    let tags = worker.tags.clone().unwrap();
    assert!(tags.contains(&format!("code-{}", code.hash)), "{tags:?}");
    assert!(worker.content.ends_with(&code.identity_md));
    assert_eq!(
        status.identity_md.as_deref(),
        Some(code.identity_md.as_str())
    );
    assert!(worker.route, "the address is on");
    assert_eq!(worker.bucket, names.bucket);
    assert_eq!(
        stage.reality.workers.len(),
        2,
        "one Worker, and the foreign one"
    );

    let bucket = &stage.reality.buckets[&names.bucket];
    assert_eq!(bucket.jurisdiction, agent.spec.r2.jurisdiction);
    assert_eq!(stage.reality.buckets.len(), 2);

    let ours: Vec<_> = stage
        .reality
        .tokens
        .iter()
        .filter(|t| t.name == names.token)
        .collect();
    assert_eq!(ours.len(), 1, "exactly one token: {ours:?}");
    let token = ours[0];
    assert_eq!(status.r2_token_id.as_ref(), Some(&token.id));
    assert_eq!(worker.secrets[secret_names::R2_ACCESS_KEY_ID], token.id);
    assert_eq!(
        worker.secrets[secret_names::R2_SECRET_ACCESS_KEY],
        sha(&token.value),
        "R2 credentials work"
    );

    let auth = sha(&worker.secrets[secret_names::AUTH_TOKEN]);
    assert_eq!(
        status.auth_token_hash.as_ref(),
        Some(&auth),
        "the Hub knows the Worker's token"
    );
    let card = stage.reality.card.as_ref().expect("registered");
    assert_eq!(
        card.authentication.as_ref().map(|a| &a.credentials),
        Some(&auth)
    );
    let wanted = talon_plan::desired::agent_card(&input, Some(&auth));
    assert_eq!(card.hash(), wanted.hash());

    let mut secrets: BTreeSet<String> = [
        secret_names::AUTH_TOKEN,
        secret_names::R2_ACCESS_KEY_ID,
        secret_names::R2_SECRET_ACCESS_KEY,
        secret_names::MODEL,
        secret_names::KEEP_ALIVE,
        secret_names::CONTROL_TOKEN,
        secret_names::SECRETS_REV,
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(worker.secrets[secret_names::MODEL], agent.spec.model);
    assert_eq!(
        worker.secrets[secret_names::KEEP_ALIVE],
        agent.spec.keep_alive.to_string()
    );
    assert_eq!(worker.secrets[secret_names::CONTROL_TOKEN], "control");
    for provider in agent.spec.api_key_refs.keys() {
        let name = provider.secret_name();
        assert_eq!(worker.secrets[&name], stage.key(&name));
        secrets.insert(name);
    }
    let through = |s: &&talon_core::snapshot::SecretRecord| s.source == SecretSource::WriteThrough;
    secrets.extend(
        snapshot
            .secrets
            .iter()
            .filter(through)
            .map(|s| s.name.clone()),
    );
    assert_eq!(
        worker.secrets.keys().cloned().collect::<BTreeSet<_>>(),
        secrets
    );
    let recorded: BTreeSet<String> = snapshot.secrets.iter().map(|s| s.name.clone()).collect();
    assert_eq!(recorded, secrets);
    assert!(
        snapshot
            .secrets
            .iter()
            .all(|s| s.state != SecretState::Pushing)
    );

    assert_eq!(status.deployment_status, DeploymentStatus::Deployed);
    assert_eq!(status.deployment_error, None);
    assert_eq!(status.observed_generation, agent.generation);
    assert_eq!(
        status.worker_url.as_deref(),
        Some(format!("https://{}.sub.workers.dev", names.worker).as_str())
    );
    assert!(status.first_deployed_at.is_some());
    assert_eq!(stage.db.condition(ConditionType::Ready).1, Reason::Deployed);
    assert_eq!(stage.db.condition(ConditionType::Stalled).0, "False");
    assert_eq!(
        stage.db.condition(ConditionType::Reconciling).1,
        Reason::Idle
    );
}

/// Nothing that carries our mark is left, the row is archived, every kind has its result.
pub fn assert_gone(stage: &mut Stage) {
    for _ in 0..2 {
        stage.resync();
        let writes = stage.db.writes;
        assert_eq!(stage.one_pass(), End::Quiet);
        assert_eq!(stage.db.writes, writes);
    }
    assert_foreign_untouched(stage);
    let names = stage.names();
    assert!(stage.db.row.agent.is_archived());
    assert_eq!(
        stage.db.row.agent.status.deployment_status,
        DeploymentStatus::Deleting
    );
    assert!(!stage.reality.workers.contains_key(&names.worker));
    assert!(
        stage.reality.tokens.iter().all(|t| t.name != names.token),
        "{:?}",
        stage.reality.tokens
    );
    assert!(stage.reality.card.is_none());
    let kept = stage.db.cleanup(ResourceKind::R2Bucket) == Some(CleanupResult::Kept);
    assert!(
        kept || !stage.reality.buckets.contains_key(&names.bucket),
        "{:?}",
        stage.reality.buckets
    );
    let kinds = [
        ResourceKind::Worker,
        ResourceKind::R2Objects,
        ResourceKind::R2Bucket,
        ResourceKind::R2Token,
        ResourceKind::AgentCard,
    ];
    for kind in kinds {
        assert!(stage.db.cleanup(kind).is_some(), "{kind} has no result");
    }
}

pub fn refs(entries: &[(&str, &str)]) -> BTreeMap<Provider, SecretRef> {
    let entry = |(p, r): &(&str, &str)| (Provider((*p).to_owned()), SecretRef((*r).to_owned()));
    entries.iter().map(entry).collect()
}
