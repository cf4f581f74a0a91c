//! What must hold: at each write, and when faults have ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use talon_core::clock::Clock;
use talon_core::name;
use talon_core::resource::ResourceKind;
use talon_core::secret::{SecretValue, names as secret_names};
use talon_core::snapshot::{AuthTokenState, SecretRecord, SecretState};
use talon_core::spec::DeletionPolicy;
use talon_core::status::DeploymentStatus;
use talon_core::{Snapshot, card};
use talon_store::{ListFilter, Store};

use super::cloud::Account;
use super::stage::Sim;
use super::store::Check;
use super::world::{Catalog, Worker, etag};

/// How long what was done unseen may stay unknown to a pass: lists are shared by all agents until the next resync.
const UNSEEN: TimeDelta = TimeDelta::seconds(450);

/// O10: whenever a row says that a generation was observed, the account agrees, unless somebody else just changed it.
pub fn at_each_write(account: Arc<Account>) -> Check {
    Arc::new(move |before: &Snapshot, after: &Snapshot| {
        let (old, new) = (&before.agent.status, &after.agent.status);
        let observed = new.observed_generation != old.observed_generation
            && new.observed_generation == after.agent.generation;
        let newly = new.deployment_status == DeploymentStatus::Deployed
            && old.deployment_status != DeploymentStatus::Deployed;
        let latched = old.first_deployed_at.is_none() && new.first_deployed_at.is_some();
        if !observed && !newly && !latched {
            return Vec::new();
        }
        let now = account.clock.now();
        let state = account.state();
        let names = [&new.worker_name, &new.r2_bucket, &new.r2_token_id];
        let token = after.resource(ResourceKind::R2Token).map(|r| &r.name);
        let recent = |n: &String| state.disturbed.get(n).is_some_and(|t| now < *t + UNSEEN);
        if names
            .into_iter()
            .flatten()
            .chain(token)
            .chain([&after.agent.name.to_string()])
            .any(recent)
        {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        let mut say = |text: &str| wrong.push(format!("O10: {} {text}", after.agent.name));
        let worker = new.worker_name.as_ref();
        match worker.and_then(|n| state.world.now.workers.get(n)) {
            None => say("is said to be deployed, its Worker is not there"),
            Some(worker) => {
                if !worker.route {
                    say("is said to be deployed, its address is off");
                }
                let text = worker.texts.get(talon_worker::IDENTITY_MODULE);
                if latched && !is_identity(after, text) {
                    say("is fixed to an identity that its Worker does not have");
                }
                let model = worker.secrets.get(secret_names::MODEL);
                if observed && model != Some(&after.agent.spec.model) {
                    say("is said to be deployed with another model than its Worker has");
                }
            }
        }
        let bucket = new.r2_bucket.as_ref();
        if bucket.is_none_or(|b| !state.world.now.buckets.contains_key(b)) {
            say("is said to be deployed, its bucket is not there");
        }
        wrong
    })
}

/// O13: the text of the Worker is the recorded one, of the row's persona and instructions.
pub fn is_identity(snapshot: &Snapshot, text: Option<&String>) -> bool {
    let (spec, status) = (&snapshot.agent.spec, &snapshot.agent.status);
    text.is_some_and(|text| {
        let sha256 = SecretValue::new(text.clone()).sha256_hex();
        status.identity_md.as_ref() == Some(text)
            && status.identity_sha256.as_ref() == Some(&sha256)
            && text.contains(spec.persona.trim())
            && text.contains(spec.instructions.trim())
    })
}

/// Everything that is not as it should be, when the rows are right and nothing goes wrong any more.
pub async fn wrong(sim: &Sim) -> Vec<String> {
    let filter = ListFilter {
        include_archived: true,
        ..ListFilter::default()
    };
    let all = sim.database.rows.list(&filter).await.unwrap_or_default();
    let mut wrong = Vec::new();
    let catalog = sim.account.state().world.now.clone();
    let mut expected = Expected::default();
    for snapshot in &all {
        let name = &snapshot.agent.name;
        if snapshot.agent.is_archived() {
            kept(snapshot, &mut expected);
            continue;
        }
        if snapshot.agent.is_deleting() {
            wrong.push(format!("O1: {name} is still being deleted"));
            continue;
        }
        let card = sim.database.rows.card(snapshot.agent.id).await;
        let hash = snapshot.agent.status.auth_token_hash.clone();
        let a = &snapshot.agent;
        let wanted = card::build(
            &a.name,
            &a.owner,
            &a.spec,
            a.generation,
            &hash.unwrap_or_default(),
        );
        if card.ok().flatten().map(|c| c.hash()) != Some(wanted.hash()) {
            wrong.push(format!("O1: {name}: the card is not the one of its row"));
        }
        let more = of_agent(sim, snapshot, &catalog, &mut expected);
        wrong.extend(more.into_iter().map(|w| format!("{name}: {w}")));
    }
    wrong.extend(leaks(sim, &catalog, &expected));
    wrong
}

#[derive(Default)]
struct Expected {
    workers: BTreeSet<String>,
    buckets: BTreeSet<String>,
    tokens: BTreeSet<String>,
}

fn kept(snapshot: &Snapshot, expected: &mut Expected) {
    if snapshot.agent.spec.deletion_policy == DeletionPolicy::KeepBucket {
        expected.buckets.extend(
            snapshot
                .resource(ResourceKind::R2Bucket)
                .map(|r| r.name.clone()),
        );
    }
}

fn of_agent(
    sim: &Sim,
    snapshot: &Snapshot,
    catalog: &Catalog,
    expected: &mut Expected,
) -> Vec<String> {
    let (agent, status) = (&snapshot.agent, &snapshot.agent.status);
    let mut wrong = Vec::new();
    if status.deployment_status != DeploymentStatus::Deployed {
        wrong.push(format!(
            "O1: {} rather than deployed: {:?}",
            status.deployment_status, status.deployment_error
        ));
    }
    if status.observed_generation != agent.generation {
        wrong.push(format!(
            "O1: at generation {}, observed {}",
            agent.generation, status.observed_generation
        ));
    }
    if snapshot.work.lease_owner.is_some() || snapshot.work.next_due_at.is_some() {
        wrong.push("O1: still worked on".to_owned());
    }
    expected.workers.extend(status.worker_name.clone());
    expected.buckets.extend(status.r2_bucket.clone());
    let bucket = status.r2_bucket.as_ref();
    if bucket.is_none_or(|b| !catalog.buckets.contains_key(b)) {
        wrong.push("O1: no bucket".to_owned());
    }
    let token_name = name::token_name(&sim.install, agent.id);
    let tokens: Vec<_> = catalog
        .tokens
        .iter()
        .filter(|t| t.name == token_name)
        .collect();
    expected.tokens.extend(tokens.iter().map(|t| t.id.clone()));
    if tokens.len() != 1 {
        wrong.push(format!("O4: {} tokens rather than one", tokens.len()));
    }
    let record = snapshot.resource(ResourceKind::R2Token);
    let recorded = record.and_then(|r| r.external_id.clone());
    if recorded != status.r2_token_id {
        wrong.push(format!(
            "O4: the row names token {:?}, the record {recorded:?}",
            status.r2_token_id
        ));
    }
    let worker = status.worker_name.as_ref();
    match worker.and_then(|w| catalog.workers.get(w)) {
        None => wrong.push("O1: no Worker".to_owned()),
        Some(worker) => {
            let value = tokens
                .iter()
                .find(|t| Some(&t.id) == recorded.as_ref())
                .map(|t| t.value.as_str());
            wrong.extend(of_worker(sim, snapshot, worker, value));
        }
    }
    wrong.extend(of_contact(sim, snapshot));
    let current = snapshot
        .auth_tokens
        .iter()
        .filter(|t| t.state == AuthTokenState::Current)
        .count();
    let open = snapshot
        .auth_tokens
        .iter()
        .filter(|t| t.state == AuthTokenState::Candidate)
        .count();
    if current != 1 || open != 0 {
        wrong.push(format!("O6: {current} current and {open} candidate tokens"));
    }
    wrong
}

/// O12: where Workers can be spoken to, each was, and what it confirmed is recorded.
fn of_contact(sim: &Sim, snapshot: &Snapshot) -> Option<String> {
    sim.door.as_ref()?;
    let Some(contact) = &snapshot.contact else {
        return Some("O12: nobody has spoken to its Worker".to_owned());
    };
    let verified = |s: &SecretRecord| s.state == SecretState::Verified;
    let all = snapshot.secrets.iter().all(verified);
    (contact.problem.is_none() && !all).then(|| {
        format!(
            "O12: what it confirmed is not recorded: {:?}",
            snapshot.secrets
        )
    })
}

/// O6: what the Worker holds is what works.
fn of_worker(sim: &Sim, snapshot: &Snapshot, worker: &Worker, token: Option<&str>) -> Vec<String> {
    let (agent, status) = (&snapshot.agent, &snapshot.agent.status);
    let mut wrong = Vec::new();
    let sha = |s: &str| SecretValue::new(s.to_owned()).sha256_hex();
    let has = |n: &str| worker.secrets.get(n).cloned();
    let mut same = |what: &str, have: Option<String>, want: Option<String>| {
        if have != want {
            wrong.push(format!("O6: {what} is {have:?}, should be {want:?}"));
        }
    };
    same(
        "the auth token's hash",
        has(secret_names::AUTH_TOKEN).map(|v| sha(&v)),
        status.auth_token_hash.clone(),
    );
    same(
        "the R2 key id",
        has(secret_names::R2_ACCESS_KEY_ID),
        status.r2_token_id.clone(),
    );
    same(
        "the R2 secret",
        has(secret_names::R2_SECRET_ACCESS_KEY),
        token.map(sha),
    );
    same(
        "the model",
        has(secret_names::MODEL),
        Some(agent.spec.model.clone()),
    );
    let alive = agent.spec.keep_alive.to_string();
    same("keep-alive", has(secret_names::KEEP_ALIVE), Some(alive));
    let control = sim.key.control_token(agent.id).expose().to_owned();
    same(
        "the control token",
        has(secret_names::CONTROL_TOKEN),
        Some(control),
    );
    for (provider, reference) in &agent.spec.api_key_refs {
        let secret = provider.secret_name();
        same(&secret, has(&secret), sim.secrets.get(&reference.0));
    }
    for (secret, value) in &sim.handed_in {
        same(secret, has(secret), Some(value.clone()));
    }
    for secret in worker.secrets.keys().filter(|s| s.ends_with("_API_KEY")) {
        let wanted = agent.spec.api_key_refs.keys();
        if !sim.handed_in.contains_key(secret)
            && !wanted.into_iter().any(|p| p.secret_name() == *secret)
        {
            wrong.push(format!("O6: {secret} is still on the Worker"));
        }
    }
    let identity = worker.texts.get(talon_worker::IDENTITY_MODULE).cloned();
    let mut same = |what: &str, same: bool| {
        if !same {
            wrong.push(format!("O1: {what} is not as it should be"));
        }
    };
    same("IDENTITY.md", is_identity(snapshot, identity.as_ref()));
    same("the address", worker.route);
    same("the bound bucket", worker.bucket == status.r2_bucket);
    let code = sim
        .bundle
        .modules(status.identity_md.as_deref().unwrap_or_default());
    same("the code", worker.etag == etag(&code));
    let marks = name::WorkerMarks::from_tags(&worker.tags);
    let record = snapshot.resource(ResourceKind::Worker);
    same(
        "the mark",
        marks.is_some_and(|m| m.agent == agent.id && m.install == sim.install),
    );
    same(
        "the record of the Worker",
        record.is_some_and(|r| {
            let tag = format!("code-{}", r.desired_hash.as_deref().unwrap_or_default());
            worker.tags.contains(&tag)
        }),
    );
    wrong
}

/// O2: what is ours and of no row.
fn leaks(sim: &Sim, catalog: &Catalog, expected: &Expected) -> Vec<String> {
    let mut wrong = Vec::new();
    for (worker, w) in &catalog.workers {
        let ours = name::WorkerMarks::from_tags(&w.tags).is_some_and(|m| m.install == sim.install);
        if ours && !expected.workers.contains(worker) {
            wrong.push(format!("O2: Worker {worker} is left over"));
        }
    }
    for bucket in catalog.buckets.keys() {
        if name::bucket_looks_ours(&sim.install, bucket) && !expected.buckets.contains(bucket) {
            wrong.push(format!("O2: bucket {bucket} is left over"));
        }
    }
    for token in &catalog.tokens {
        if name::agent_of_token(&sim.install, &token.name).is_some()
            && !expected.tokens.contains(&token.id)
        {
            wrong.push(format!("O2: token {} is left over", token.name));
        }
    }
    wrong
}

/// O3: what is not ours, as it is.
pub fn foreign(catalog: &Catalog, sim: &Sim) -> Catalog {
    let mut rest = catalog.clone();
    rest.workers.retain(|_, w| {
        name::WorkerMarks::from_tags(&w.tags).is_none_or(|m| m.install != sim.install)
    });
    rest.buckets
        .retain(|b, _| !name::bucket_looks_ours(&sim.install, b));
    rest.tokens
        .retain(|t| name::agent_of_token(&sim.install, &t.name).is_none());
    rest
}
