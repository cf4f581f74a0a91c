//! The update classes of architecture §6: each makes exactly the calls named there, and no other.

use talon_core::condition::Reason;
use talon_core::spec::{PricingModel, Skill, Theme, Visibility};
use talon_core::{AgentSpec, Snapshot};
use talon_plan::{Held, HeldScope, SecretProblem, StepKind};

use crate::fixture::{assert_deployed, deployed, refs};
use crate::stage::{End, Stage};

/// What somebody changes in the row.
type Edit = fn(&mut AgentSpec);

fn after(change: impl FnOnce(&mut AgentSpec)) -> Stage {
    let mut stage = deployed();
    stage.edit(change);
    stage.converge();
    stage
}

fn skill(text: &str) -> Skill {
    Skill {
        id: "research".to_owned(),
        name: "Research".to_owned(),
        description: text.to_owned(),
        pricing_model: PricingModel::PerRequest,
        price_usd: Some(0.05),
        tags: Vec::new(),
        examples: Vec::new(),
    }
}

#[test]
fn what_only_the_router_knows_costs_no_cloudflare_call() {
    let changes: [(&str, Edit); 9] = [
        ("display name", |s| s.display_name = Some("R".to_owned())),
        ("description", |s| s.description = Some("D".to_owned())),
        ("display description", |s| {
            s.display_description = Some("D".to_owned())
        }),
        ("skills and pricing", |s| {
            s.skills = vec![skill("Research anything.")]
        }),
        ("visibility", |s| s.visibility = Visibility::Public),
        ("wallet", |s| {
            s.wallet_address = Some(format!("0x{}", "ab".repeat(20)))
        }),
        ("theme", |s| {
            s.theme = Some(Theme {
                primary_color: "#123456".to_owned(),
                ..Theme::default()
            })
        }),
        ("avatar", |s| {
            s.avatar_url = Some("https://example.com/a.png".to_owned())
        }),
        ("cover", |s| {
            s.cover_url = Some("https://example.com/c.png".to_owned())
        }),
    ];
    for (name, change) in changes {
        let mut stage = after(change);
        assert_eq!(stage.calls, ["register-card"], "{name}");
        let frozen = stage.db.row.agent.status.identity_md.clone();
        assert_deployed(&mut stage);
        assert_eq!(
            stage.db.row.agent.status.identity_md, frozen,
            "{name}: the identity is frozen"
        );
    }
}

#[test]
fn model_keys_and_keep_alive_cost_one_secrets_call() {
    let changes: [(&str, Edit); 4] = [
        ("model", |s| {
            s.model = "anthropic/claude-opus-4-6".to_owned()
        }),
        ("keep-alive", |s| s.keep_alive = true),
        ("another key", |s| {
            s.api_key_refs = refs(&[
                ("anthropic", "env:TALON_SECRET_ANTHROPIC"),
                ("openai", "env:TALON_SECRET_OPENAI"),
            ]);
        }),
        ("version", |s| s.secrets_version = 2),
    ];
    for (name, change) in changes {
        let mut stage = after(change);
        assert_eq!(stage.calls, ["push-secrets"], "{name}");
        assert_deployed(&mut stage);
    }
    let mut rotated = deployed();
    rotated.keys.insert(
        "ANTHROPIC_API_KEY".to_owned(),
        Ok("another value".to_owned()),
    );
    rotated.converge();
    assert_eq!(rotated.calls, ["push-secrets"]);
    assert_deployed(&mut rotated);
}

#[test]
fn raising_the_version_pushes_every_key_again_and_nothing_that_was_not_asked_for() {
    let mut stage = deployed();
    stage.edit(|s| s.secrets_version = 2);
    let plan = stage.plan();
    let [step] = plan.steps.as_slice() else {
        panic!("{plan:#?}")
    };
    let StepKind::PushSecrets { set, unset, .. } = &step.kind else {
        panic!("{step:?}")
    };
    let names: Vec<_> = set.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["ANTHROPIC_API_KEY", "TALON_SECRETS_REV"]);
    assert!(unset.is_empty());
}

#[test]
fn a_key_no_longer_referenced_is_taken_off_the_worker() {
    let mut stage = after(|s| {
        s.api_key_refs = refs(&[("openai", "env:TALON_SECRET_OPENAI")]);
        s.model = "openai/gpt-6".to_owned();
    });
    assert_eq!(stage.calls, ["push-secrets"]);
    let status = &stage.db.row.agent.status;
    assert_eq!(
        (status.has_anthropic_key, status.has_openai_key),
        (false, true)
    );
    assert_deployed(&mut stage);
}

#[test]
fn a_new_bundle_costs_one_upload_that_inherits_every_secret() {
    let mut stage = deployed();
    let worker = stage.names().worker;
    let before = stage.reality.workers[&worker].secrets.clone();
    stage.world.bundle.sha256 = "c2".repeat(32);
    let plan = stage.plan();
    let StepKind::Upload(upload) = &plan.steps[0].kind else {
        panic!("{plan:#?}")
    };
    assert!(upload.supply.is_empty(), "{:?}", upload.supply);
    assert_eq!(upload.inherit.len(), before.len());
    assert!(upload.inherit_version.is_some() && !upload.migrate && !upload.fresh);
    stage.converge();
    assert_eq!(stage.calls, ["upload"]);
    assert_eq!(stage.reality.workers[&worker].secrets, before);
    assert_deployed(&mut stage);
}

#[test]
fn an_edit_that_changes_nothing_of_reality_makes_nothing() {
    let mut stage = after(|s| s.deletion_protected = true);
    assert!(stage.calls.is_empty());
    assert_deployed(&mut stage);
}

fn no_steps(stage: &mut Stage, reason: Reason) -> Snapshot {
    let plan = stage.plan();
    assert!(
        plan.steps.is_empty() && plan.opening.is_empty(),
        "{plan:#?}"
    );
    assert_eq!(plan.block.map(|b| b.reason), Some(reason));
    assert_eq!(stage.one_pass(), End::Stuck);
    assert!(stage.calls.is_empty());
    stage.db.row.clone()
}

#[test]
fn suspended_invalid_and_keyless_rows_have_no_steps() {
    use crate::fixture::new_agent;
    for (new, make) in [(true, new_agent as fn() -> Stage), (false, deployed)] {
        let mut stage = make();
        stage.edit(|s| s.suspend = true);
        no_steps(&mut stage, Reason::Suspended);
        let mut stage = make();
        stage.edit(|s| s.model = "nonsense".to_owned());
        no_steps(&mut stage, Reason::InvalidSpec);
        let mut stage = make();
        stage.edit(|s| s.api_key_refs.clear());
        no_steps(&mut stage, Reason::AwaitingKeys);
        let mut stage = make();
        let problem = SecretProblem {
            reason: Reason::SecretOutOfScope,
            message: "not yours".to_owned(),
            transient: false,
        };
        stage
            .keys
            .insert("ANTHROPIC_API_KEY".to_owned(), Err(problem));
        // What the Worker has already stays good.
        if new {
            no_steps(&mut stage, Reason::SecretOutOfScope);
        }
        let mut stage = make();
        stage.world.subdomain = talon_plan::Subdomain::Missing;
        stage.edit(|s| s.keep_alive = true);
        no_steps(&mut stage, Reason::NoSubdomain);
    }
}

fn hold(stage: &mut Stage, scope: HeldScope) {
    let message = "11 Workers vanished at once".to_owned();
    stage.world.held = Some(Held {
        reason: Reason::MassChange,
        message,
        scope,
        since: None,
    });
}

#[test]
fn a_full_hold_lets_nothing_through() {
    for scenario in crate::scenario::all() {
        let mut stage = scenario.stage;
        hold(&mut stage, HeldScope::All);
        let plan = stage.plan();
        assert!(
            plan.steps.iter().all(|s| !s.kind.has_effect()),
            "{}: {plan:#?}",
            scenario.name
        );
        let looks_first = plan.steps.is_empty() && !plan.needs.is_empty();
        assert!(plan.held.is_some() || looks_first, "{}", scenario.name);
        assert!(plan.opening.is_empty(), "{}", scenario.name);
        assert_eq!(stage.one_pass(), End::Stuck);
        assert!(stage.calls.is_empty(), "{}", scenario.name);
        stage.world.held = None;
        stage.converge();
    }
}

#[test]
fn a_hold_on_risk_lets_updates_and_first_creations_through_only() {
    for scenario in crate::scenario::all() {
        let (mut free, mut stage) = (scenario.stage.clone(), scenario.stage);
        free.converge();
        hold(&mut stage, HeldScope::Risky);
        let (mut last, mut ends) = (End::Quiet, 0);
        while ends < 5 {
            last = stage.one_pass();
            ends += 1;
        }
        match scenario.name {
            "create"
            | "model"
            | "key"
            | "provider"
            | "card"
            | "bundle"
            | "bundle and model"
            | "card removed outside"
            | "worker edited outside"
            | "code edited outside" => {
                assert_eq!(stage.calls, free.calls, "{}", scenario.name);
                assert_eq!(last, End::Quiet, "{}", scenario.name);
            }
            _ => {
                let risky = [
                    "create-bucket",
                    "create-token",
                    "upload",
                    "enable-route",
                    "push-secrets",
                ];
                let of = |c: &&&str| {
                    risky.contains(*c)
                        || c.starts_with("delete")
                        || c.starts_with("empty")
                        || c.starts_with("dereg")
                };
                assert_eq!(
                    stage.calls.iter().filter(of).count(),
                    0,
                    "{}: {:?}",
                    scenario.name,
                    stage.calls
                );
                assert_eq!(last, End::Stuck, "{}", scenario.name);
            }
        }
    }
}

#[test]
fn a_frozen_identity_whose_hash_was_lost_is_hashed_again() {
    let mut stage = deployed();
    let hash = stage.db.row.agent.status.identity_sha256.take();
    let (snapshot, observed) = stage.observe();
    let code = talon_plan::desired::code(
        &talon_plan::Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &stage.world,
        },
        &stage.names(),
    );
    assert_eq!(Some(code.identity_sha256), hash);
}
