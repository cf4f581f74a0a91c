//! Single decisions that whole histories pass by: what is said, rebuilt, inherited or waited for, and when.

use std::time::Duration;

use chrono::TimeDelta;
use talon_core::card::AgentCard;
use talon_core::condition::Reason;
use talon_core::mutation::Mutation;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::secret::names as secret_names;
use talon_core::snapshot::{AuthTokenState, SecretRecord, SecretSource, SecretState};
use talon_core::status::DeploymentStatus::{Deploying, Failed};
use talon_plan::desired;
use talon_plan::effect::{self, Failure, StepCx};
use talon_plan::know::Known;
use talon_plan::{Action, Input, Look, Need, Plan, StepKind};

use crate::database::blank;
use crate::fixture::{assert_deployed, deployed, new_agent, refs, settle, start};
use crate::reality::{Token, Worker, sha};
use crate::stage::{End, Fault, Stage};

fn steps(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|s| s.kind.name()).collect()
}

fn verdict(plan: &Plan, kind: ResourceKind) -> (Action, &str) {
    let of = |v: &&talon_plan::Verdict| v.resource == kind;
    let found: Vec<_> = plan.verdicts.iter().filter(of).collect();
    assert_eq!(found.len(), 1, "{kind}: {:?}", plan.verdicts);
    (found[0].action, &found[0].why)
}

fn rebuilds(plan: &Plan, name: &str) -> bool {
    let found = plan.steps.iter().find(|s| s.kind.name() == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {:?}", steps(plan)))
        .rebuilds
}

fn secrets(stage: &mut Stage) -> desired::Secrets {
    let (snapshot, observed) = stage.observe();
    desired::secrets(&Input {
        snapshot: &snapshot,
        observed: &observed,
        world: &stage.world,
    })
}

#[test]
fn a_look_is_younger_than_what_it_began_after_and_not_than_its_own_moment() {
    let look = Look::<()> {
        as_of: Some(start()),
        seen: None,
    };
    assert!(look.after(start() - TimeDelta::milliseconds(1)));
    assert!(!look.after(start()));
}

#[test]
fn three_violations_are_named_and_the_rest_is_counted() {
    let message = |change: fn(&mut talon_core::AgentSpec)| {
        let mut stage = new_agent();
        stage.edit(change);
        stage.plan().block.expect("invalid").message
    };
    let three = message(|s| {
        s.model = "nonsense".to_owned();
        s.persona = String::new();
        s.instructions = String::new();
    });
    assert_eq!(three.matches("/spec/").count(), 3, "{three}");
    assert!(!three.contains("more"), "{three}");
    let five = message(|s| {
        s.model = "nonsense".to_owned();
        s.persona = String::new();
        s.instructions = String::new();
        s.wallet_address = Some("nonsense".to_owned());
        s.avatar_url = Some("nonsense".to_owned());
    });
    assert!(five.ends_with("; and 2 more"), "{five}");
}

#[test]
fn the_stand_in_model_needs_no_key() {
    let mut stage = new_agent();
    stage.edit(|s| {
        s.model = "dev/echo".to_owned();
        s.api_key_refs.clear();
    });
    stage.converge();
    assert!(stage.db.row.agent.status.first_deployed_at.is_some());
}

#[test]
fn the_recorded_hash_of_the_identity_is_its_hash() {
    let stage = deployed();
    let status = &stage.db.row.agent.status;
    let text = status.identity_md.as_deref().unwrap();
    assert_eq!(status.identity_sha256.as_deref(), Some(sha(text).as_str()));
}

#[test]
fn the_revision_of_the_secrets_tells_apart_what_differs() {
    let revision = |change: fn(&mut Stage)| {
        let mut stage = deployed();
        change(&mut stage);
        let all = secrets(&mut stage).known;
        let found = all.iter().find(|s| s.name == secret_names::SECRETS_REV);
        found.unwrap().fingerprint.clone().unwrap()
    };
    let seen = [
        revision(|_| {}),
        revision(|s| s.edit(|spec| spec.secrets_version += 1)),
        revision(|s| s.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned())),
        // The same value under another name.
        revision(|s| {
            let value = "sk of ANTHROPIC_API_KEY".to_owned();
            s.keys.insert("OPENAI_API_KEY".to_owned(), Ok(value));
            s.edit(|spec| spec.api_key_refs = refs(&[("openai", "env:TALON_SECRET_OPENAI")]));
        }),
    ];
    for (i, a) in seen.iter().enumerate() {
        assert!(!seen[i + 1..].contains(a), "{seen:?}");
    }
}

#[test]
fn an_older_value_counts_only_once_it_was_pushed() {
    for (state, kept) in [(SecretState::Pushed, true), (SecretState::Pushing, false)] {
        let mut stage = deployed();
        for secret in &mut stage.db.row.secrets {
            secret.state = state;
        }
        let problem = talon_plan::SecretProblem {
            reason: Reason::SecretValueMissing,
            message: "not set".to_owned(),
            transient: false,
        };
        stage
            .keys
            .insert("ANTHROPIC_API_KEY".to_owned(), Err(problem));
        let missing = secrets(&mut stage).missing;
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].kept, kept, "{state}");
    }
}

#[test]
fn a_key_that_came_over_http_and_has_a_reference_by_now_is_the_references() {
    let mut stage = deployed();
    for secret in &mut stage.db.row.secrets {
        if secret.name == "ANTHROPIC_API_KEY" {
            secret.source = SecretSource::WriteThrough;
        }
    }
    assert_eq!(secrets(&mut stage).write_through, [""; 0]);
    stage.edit(|s| s.api_key_refs.clear());
    assert_eq!(secrets(&mut stage).write_through, ["ANTHROPIC_API_KEY"]);
}

#[test]
fn new_code_inherits_what_it_does_not_supply_and_rotates_no_token_that_works() {
    let mut stage = deployed();
    let token = stage.names().token;
    stage.world.bundle.sha256 = "c2".repeat(32);
    stage.outside(|r, _| r.tokens.retain(|t| t.name != token));
    stage.resync();
    let plan = stage.plan();
    let upload = plan.steps.iter().find_map(|s| match &s.kind {
        StepKind::Upload(upload) => Some(upload),
        _ => None,
    });
    let upload = upload.expect("an upload");
    let supplied: Vec<&str> = upload.supply.iter().map(|s| s.name.as_str()).collect();
    let r2 = [
        secret_names::R2_ACCESS_KEY_ID,
        secret_names::R2_SECRET_ACCESS_KEY,
    ];
    assert_eq!(supplied, r2, "the new token's two, and no auth token");
    let mut all: Vec<&str> = supplied;
    all.extend(upload.inherit.iter().map(String::as_str));
    all.sort_unstable();
    let mut recorded: Vec<&str> = stage
        .db
        .row
        .secrets
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    recorded.sort_unstable();
    assert_eq!(all, recorded, "each once");
}

#[test]
fn what_was_there_before_is_rebuilt_whether_the_row_was_deployed_or_the_thing_vanished() {
    // Gone before the first deployment.
    let mut stage = new_agent();
    stage.faults.insert(2, Fault::Refused);
    stage.one_pass();
    let names = stage.names();
    stage.outside(|r, _| {
        r.lose_bucket(&names.bucket);
        r.tokens.retain(|t| t.name != names.token);
    });
    stage.resync();
    let plan = stage.plan();
    assert!(rebuilds(&plan, "create-bucket"));
    assert!(rebuilds(&plan, "create-token"));
    // Known as gone, of an agent that was deployed.
    let mut stage = deployed();
    stage.outside(|r, _| {
        r.lose_bucket(&names.bucket);
        r.tokens.retain(|t| t.name != names.token);
    });
    for record in &mut stage.db.row.resources {
        if matches!(record.kind, ResourceKind::R2Bucket | ResourceKind::R2Token) {
            record.state = ResourceState::Absent;
        }
    }
    stage.resync();
    let plan = stage.plan();
    assert!(rebuilds(&plan, "create-bucket"));
    assert!(rebuilds(&plan, "create-token"));
    // A first creation is none.
    let plan = new_agent().plan();
    assert!(plan.steps.iter().all(|s| !s.rebuilds));
}

#[test]
fn a_router_that_was_not_asked_is_waited_for() {
    let mut stage = deployed();
    let (snapshot, mut observed) = stage.observe();
    observed.card = None;
    let plan = talon_plan::plan(&Input {
        snapshot: &snapshot,
        observed: &observed,
        world: &stage.world,
    });
    assert_eq!(steps(&plan), [""; 0]);
    let (action, why) = verdict(&plan, ResourceKind::AgentCard);
    assert_eq!((action, why), (Action::Wait, "the Router was not asked"));
}

#[test]
fn a_push_that_brings_an_auth_token_registers_the_card_with_it() {
    let mut stage = deployed();
    for token in &mut stage.db.row.auth_tokens {
        token.state = AuthTokenState::Retired;
    }
    let plan = stage.plan();
    assert_eq!(steps(&plan), ["push-secrets", "register-card"]);
    let card = |kind: &StepKind| match kind {
        StepKind::RegisterCard(card) => Some(AgentCard::hash(card)),
        _ => None,
    };
    assert!(card(&plan.steps[1].kind).is_some());
    stage.converge();
    assert_deployed(&mut stage);
}

#[test]
fn a_second_token_goes_once_a_list_can_be_trusted() {
    let mut stage = deployed();
    let name = stage.names().token;
    let second = |now| Token {
        id: "token-second".to_owned(),
        name: name.clone(),
        value: "v".to_owned(),
        issued: now,
    };
    stage.outside(|r, now| r.tokens.push(second(now)));
    stage.resync();
    // Our own last answer about tokens is as old as the list.
    let listed = stage.observe().1.tokens.as_of.unwrap();
    let plan_with = |stage: &mut Stage, confirmed| {
        for record in &mut stage.db.row.resources {
            if record.kind == ResourceKind::R2Token {
                record.confirmed_at = Some(confirmed);
            }
        }
        stage.plan()
    };
    let lag = TimeDelta::from_std(stage.world.timing.list_lag).unwrap();
    let wait = (Action::Wait, "a second token of our name");
    let plan = plan_with(&mut stage, listed);
    assert_eq!(verdict(&plan, ResourceKind::R2Token), wait);
    assert_eq!(steps(&plan), [""; 0]);
    assert!(
        plan.needs.is_empty() && plan.recheck_in.is_some(),
        "{plan:#?}"
    );
    stage.advance(stage.world.timing.list_lag + Duration::from_secs(1));
    let plan = stage.plan();
    assert_eq!(verdict(&plan, ResourceKind::R2Token), wait);
    assert_eq!(plan.needs, [Need::ListsAfter(listed + lag)]);
    let plan = plan_with(&mut stage, listed - lag - TimeDelta::seconds(1));
    let gone = (Action::Delete, "a second token of our name");
    assert_eq!(verdict(&plan, ResourceKind::R2Token), gone);
    assert_eq!(steps(&plan), ["drop-token"]);
}

#[test]
fn a_token_whose_answer_is_lost_is_looked_for() {
    let mut stage = new_agent();
    stage.faults.insert(1, Fault::LostDone);
    stage.one_pass();
    let plan = stage.plan();
    let (action, why) = verdict(&plan, ResourceKind::R2Token);
    assert_eq!(action, Action::Wait);
    assert_eq!(why, "the outcome of the last call for the R2 token is open");
    assert!(!plan.needs.is_empty() || plan.recheck_in.is_some());
}

#[test]
fn a_token_that_no_list_has_shown_under_our_name_is_looked_for_before_it_is_rolled() {
    let mut stage = new_agent();
    stage.faults.insert(2, Fault::Refused);
    stage.one_pass();
    // Past the refused upload, whose own wait comes first.
    for record in &mut stage.db.row.resources {
        if record.kind == ResourceKind::Worker {
            record.attempts = 0;
        }
    }
    let plan = stage.plan();
    assert_eq!(steps(&plan), [""; 0], "{plan:#?}");
    assert!(!plan.needs.is_empty() || plan.recheck_in.is_some());
    let (action, why) = verdict(&plan, ResourceKind::R2Token);
    assert_eq!(action, Action::Wait);
    assert!(why.contains("bears our name"), "{why}");
}

#[test]
fn another_token_of_our_name_takes_the_place_of_one_that_vanished() {
    let mut stage = deployed();
    let name = stage.names().token;
    stage.outside(|r, _| {
        for token in r.tokens.iter_mut().filter(|t| t.name == name) {
            token.id = "token-other".to_owned();
        }
    });
    stage.resync();
    stage.converge();
    assert!(!stage.calls.contains(&"create-token"), "{:?}", stage.calls);
    settle(&mut stage);
    assert_deployed(&mut stage);
}

/// Whose a listed Worker is, by its tags, its script and whether a request of ours may still land.
#[test]
fn whose_a_listed_worker_is() {
    let calm = deployed();
    let name = calm.names().worker;
    let ours = calm.reality.workers[&name].tags.clone().unwrap();
    let theirs = vec!["team-x".to_owned()];
    for (tags, same_script, recently_sent, present) in [
        (Some(ours.clone()), true, false, Some(true)),
        (Some(ours), false, false, Some(true)),
        (Some(theirs.clone()), true, false, Some(true)),
        (Some(theirs.clone()), false, false, Some(false)),
        (Some(theirs), false, true, Some(false)),
        (Some(Vec::new()), true, false, Some(true)),
        (Some(Vec::new()), false, false, Some(false)),
        (Some(Vec::new()), false, true, None),
        (None, true, false, Some(true)),
        (None, false, false, Some(false)),
        (None, false, true, None),
    ] {
        let mut stage = calm.clone();
        let told = format!("{tags:?}, same script {same_script}, sent {recently_sent}");
        stage.outside(|r, _| {
            let worker: &mut Worker = r.workers.get_mut(&name).unwrap();
            worker.tags = tags;
            if !same_script {
                worker.script_tag = "another".to_owned();
            }
        });
        stage.resync();
        let now = stage.now;
        for record in &mut stage.db.row.resources {
            if record.kind == ResourceKind::Worker && recently_sent {
                record.intent_at = Some(now);
            }
        }
        match (stage.plan().facts.worker, present) {
            (Known::Present(_), Some(true)) => {}
            (Known::Foreign(_), Some(false)) => {}
            (Known::Unknown(_), None) => {}
            (other, _) => panic!("{told}: {other:?}"),
        }
    }
}

#[test]
fn a_worker_without_an_address_is_not_live() {
    let mut stage = deployed();
    for record in &mut stage.db.row.resources {
        if record.kind == ResourceKind::WorkerRoute {
            record.state = ResourceState::Absent;
        }
    }
    let (snapshot, observed) = stage.observe();
    let input = Input {
        snapshot: &snapshot,
        observed: &observed,
        world: &stage.world,
    };
    let report = talon_plan::status(&input, &talon_plan::plan(&input), None);
    assert_eq!(report.write.deployment_status, Some(Deploying));
    assert_eq!(report.write.worker_url, Some(None));
}

#[test]
fn failing_for_just_as_long_as_the_grace_is_not_failed_yet() {
    for (more, failed) in [(0, false), (1, true)] {
        let mut stage = new_agent();
        stage.faults.insert(0, Fault::Refused);
        stage.one_pass();
        let grace = TimeDelta::from_std(stage.world.timing.failing_grace).unwrap();
        stage.db.row.work.failing_since = Some(stage.now - grace - TimeDelta::milliseconds(more));
        let (snapshot, observed) = stage.observe();
        let input = Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &stage.world,
        };
        let failure = talon_plan::status::PassFailure {
            reason: Reason::CloudflareError,
            message: "m".to_owned(),
            stalled: false,
            throttled: false,
        };
        let sighted = talon_plan::status(&input, &talon_plan::plan(&input), Some(&failure));
        assert_eq!(sighted.write.deployment_status == Some(Failed), failed);
        let blind = talon_plan::blind(&snapshot, &stage.world.timing, &failure);
        let says_failed =
            |m: &Mutation| matches!(m, Mutation::Status(w) if w.deployment_status == Some(Failed));
        assert_eq!(blind.iter().any(says_failed), failed);
    }
}

#[test]
fn a_refused_second_try_to_make_a_bucket_leaves_the_first_one_open() {
    let mut stage = new_agent();
    stage.faults.insert(0, Fault::LostNotDone);
    stage.faults.insert(1, Fault::Refused);
    while stage.calls.len() < 2 {
        if let End::Again(after) = stage.one_pass() {
            stage.advance(after);
        }
    }
    assert_eq!(stage.calls, ["create-bucket", "create-bucket"]);
    let record = stage.db.row.resource(ResourceKind::R2Bucket).unwrap();
    assert_eq!(record.state, ResourceState::Unknown);
    assert!(record.intent_at.is_some() && record.settle_until.is_some());
}

#[test]
fn a_push_to_a_worker_that_is_gone_leaves_the_secrets_as_they_were_recorded() {
    let mut stage = deployed();
    stage.edit(|s| s.model = "anthropic/claude-opus-4-6".to_owned());
    let plan = stage.plan();
    assert_eq!(steps(&plan), ["push-secrets"]);
    let push = &plan.steps[0].kind;
    let before = stage.db.load(stage.now);
    let cx = StepCx {
        snapshot: &before,
        try_id: &talon_core::TryId::new(1, 1),
        auth_sha256: None,
        token_name: &stage.names().token,
        settle: Duration::ZERO,
        cloud_now: None,
    };
    stage.db.commit(stage.now, &effect::intent(push, &cx));
    assert_ne!(stage.db.row.secrets, before.secrets);
    let failure = Failure {
        message: "no such Worker".to_owned(),
        ambiguous: false,
        throttled: false,
        not_found: true,
        exists: false,
        conflict: false,
    };
    stage
        .db
        .commit(stage.now, &effect::failed(push, &failure, &cx));
    let fingerprints = |secrets: &[SecretRecord]| {
        let of = |s: &SecretRecord| (s.name.clone(), s.state, s.fingerprint.clone());
        secrets.iter().map(of).collect::<Vec<_>>()
    };
    let (now, then) = (&stage.db.row.secrets, &before.secrets);
    assert_eq!(fingerprints(now), fingerprints(then));
    let worker = stage.db.row.resource(ResourceKind::Worker).unwrap();
    assert_eq!(worker.state, ResourceState::Absent);
}

/// Everything is cleaned up by the records; lists that are younger than that, but too young to be believed against
/// them, show one thing all the same.
#[test]
fn the_last_look_sees_each_thing() {
    let calm = deployed();
    for (shown, kept, archived) in [
        ("nothing", false, true),
        ("worker", false, false),
        ("bucket", false, false),
        ("token", false, false),
        ("bucket", true, true),
        ("token", true, false),
        ("old worker list", false, false),
        ("old bucket list", false, false),
        ("old token list", false, false),
    ] {
        let mut stage = calm.clone();
        stage.resync();
        let seen = stage.observe().1;
        stage.delete();
        let now = stage.now;
        stage
            .db
            .row
            .resources
            .push(blank(ResourceKind::R2Objects, "objects"));
        for record in &mut stage.db.row.resources {
            let of_bucket = matches!(
                record.kind,
                ResourceKind::R2Bucket | ResourceKind::R2Objects
            );
            record.state = ResourceState::Absent;
            record.confirmed_at = Some(now);
            record.cleaned_at = Some(now);
            record.cleanup_result = Some(if kept && of_bucket {
                CleanupResult::Kept
            } else {
                CleanupResult::Deleted
            });
        }
        stage.advance(Duration::from_secs(2));
        let (snapshot, mut observed) = stage.observe();
        let began = |old: &str| {
            Some(if shown == old {
                now
            } else {
                now + TimeDelta::seconds(1)
            })
        };
        observed.worker = Look {
            as_of: began("old worker list"),
            seen: seen.worker.seen.filter(|_| shown == "worker"),
        };
        observed.bucket = Look {
            as_of: began("old bucket list"),
            seen: seen.bucket.seen.filter(|_| shown == "bucket"),
        };
        observed.tokens = Look {
            as_of: began("old token list"),
            seen: seen.tokens.seen.filter(|_| shown == "token"),
        };
        let plan = talon_plan::plan(&Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &stage.world,
        });
        assert_eq!(
            plan.archiving().is_some(),
            archived,
            "{shown}, kept {kept}: {plan:#?}"
        );
        let waits = !plan.needs.is_empty() || plan.recheck_in.is_some();
        assert_eq!(waits, !archived, "{shown}, kept {kept}");
    }
}
