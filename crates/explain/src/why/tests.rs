use super::*;
use crate::fixtures;
use talon_core::presence::Presence;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::validate::Violation;

fn stalled(reason: Reason) -> Explanation {
    let mut s = fixtures::pending("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Stalled,
        Truth::True,
        reason,
        "what happened",
    );
    explain(&s, None)
}

#[test]
fn every_reason_has_a_place_and_something_to_do() {
    for reason in Reason::ALL {
        let e = stalled(*reason);
        assert!(e.blocked_at.is_some_and(|p| !p.is_empty()), "{reason}");
        assert!(
            !e.do_this.is_empty() && e.do_this.iter().all(|l| !l.is_empty()),
            "{reason}"
        );
        assert!(
            !e.do_this
                .iter()
                .any(|l| l.contains("{agent}") || l.contains("talon reconcile NAME")),
            "{reason}"
        );
        assert_eq!(e.reason, reason.as_str());
    }
}

#[test]
fn a_stalled_agent_says_since_when_and_where() {
    let e = stalled(Reason::SecretValueMissing);
    assert_eq!(
        e.headline,
        "legal-bot is pending and will not move without you (Stalled, since 2026-11-23T02:40:01Z, 1h ago)."
    );
    assert_eq!(e.blocked_at.as_deref(), Some("Secrets › ANTHROPIC_API_KEY"));
    assert_eq!(e.what, "what happened");
    assert_eq!(
        e.waiting,
        ["R2 bucket", "R2 token", "Deploy", "Secrets", "Register"]
    );
}

#[test]
fn the_plan_knows_the_place_best() {
    let mut s = fixtures::pending("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Stalled,
        Truth::True,
        Reason::SecretValueMissing,
        "Secrets › OPENAI_API_KEY: no value",
    );
    s.work.plan_report = Some(serde_json::json!({
        "blocked": {"reason": "SecretValueMissing", "at": "Secrets › OPENAI_API_KEY", "message": "no value", "stalled": true},
    }));
    let e = explain(&s, None);
    assert_eq!(e.blocked_at.as_deref(), Some("Secrets › OPENAI_API_KEY"));
    assert_eq!(e.what, "no value");
}

#[test]
fn a_stall_of_an_earlier_generation_says_nothing() {
    let mut s = fixtures::pending("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Stalled,
        Truth::True,
        Reason::InvalidSpec,
        "old",
    );
    s.agent.generation.0 += 1;
    let e = explain(&s, None);
    assert!(e.headline.contains("on its way"), "{}", e.headline);
}

#[test]
fn a_hold_comes_before_everything_else() {
    let mut s = fixtures::pending("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Stalled,
        Truth::True,
        Reason::InvalidSpec,
        "x",
    );
    let hold = Hold {
        kind: HoldKind::MassChange,
        reason: "30 of 40 Workers vanished".to_owned(),
        since: fixtures::now() - chrono::TimeDelta::minutes(5),
    };
    let e = explain(&s, Some(&hold));
    assert_eq!(e.reason, "MassChange");
    assert_eq!(e.what, "30 of 40 Workers vanished");
    assert!(e.do_this.iter().any(|l| l.contains("talon release-hold")));
}

#[test]
fn nobody_at_work_is_noticed() {
    let mut s = fixtures::pending("legal-bot");
    s.work.next_due_at = Some(fixtures::now() - chrono::TimeDelta::minutes(2));
    let e = explain(&s, None);
    assert_eq!(e.reason, "NoDaemon");
    assert!(e.do_this[0].contains("talon run"));
}

#[test]
fn what_is_well_needs_nothing() {
    let e = explain(&fixtures::deployed("legal-bot"), None);
    assert_eq!(e.blocked_at, None);
    assert_eq!(e.do_this, ["nothing"]);
    assert_eq!(e.waiting, Vec::<String>::new());
}

#[test]
fn an_agent_that_should_be_connected_and_is_not_is_told() {
    let mut s = fixtures::deployed("legal-bot");
    s.agent.spec.keep_alive = true;
    s.presence = Some(Presence {
        connected: false,
        connection_id: "c-1".to_owned(),
        hub: "hub".to_owned(),
        token_sha256: String::new(),
        runtime: None,
        connected_at: s.now,
        disconnected_at: Some(s.now),
        last_seen: s.now,
    });
    fixtures::set(
        &mut s,
        ConditionType::HubConnected,
        Truth::False,
        Reason::Disconnected,
        "not connected since noon",
    );
    let e = explain(&s, None);
    assert_eq!(e.blocked_at.as_deref(), Some("Hub"));
    assert_eq!(e.what, "not connected since noon");
    s.agent.spec.keep_alive = false;
    assert_eq!(explain(&s, None).do_this, ["nothing"]);
}

#[test]
fn a_row_that_cannot_be_read_lists_every_mistake() {
    let mut s = fixtures::pending("legal-bot");
    for column in ["/spec/skills", "/spec/theme"] {
        s.agent.violations.push(Violation {
            pointer: column.to_owned(),
            detail: "is not JSON".to_owned(),
        });
    }
    let e = explain(&s, None);
    assert_eq!(
        e.what,
        "/spec/skills: is not JSON\n/spec/theme: is not JSON"
    );
}

#[test]
fn leftovers_of_a_deleted_agent_are_named() {
    let mut s = fixtures::deployed("legal-bot");
    s.agent.status.deleted_at = Some(fixtures::now());
    let mut bucket = fixtures::record(ResourceKind::R2Bucket, ResourceState::Present);
    bucket.cleanup_result = Some(CleanupResult::Failed);
    bucket.cleanup_error = Some("not empty".to_owned());
    s.resources = vec![bucket];
    let e = explain(&s, None);
    assert_eq!(e.reason, "LeftOver");
    assert_eq!(
        e.what,
        "R2 bucket bot-r2_bucket could not be removed: not empty"
    );
}

#[test]
fn a_part_that_resists_deletion_is_named_with_what_tries_it_again() {
    let mut s = fixtures::deployed("bot");
    s.agent.deletion_requested_at = Some(fixtures::now());
    s.agent.status.deployment_status = DeploymentStatus::Deleting;
    s.work.next_due_at = Some(fixtures::now() + chrono::TimeDelta::minutes(5));
    let bucket = &mut s.resources[1];
    bucket.cleanup_result = Some(CleanupResult::Failed);
    bucket.cleanup_error = Some("BucketNotEmpty: an upload arrived late".to_owned());
    let told = explain(&s, None);
    assert_eq!(told.blocked_at.as_deref(), Some("R2 bucket"));
    assert!(
        told.what.contains("an upload arrived late"),
        "{}",
        told.what
    );
    let retry = "talon cleanup retry bot --resource r2_bucket";
    assert!(told.do_this.iter().any(|line| line.contains(retry)));
    let parts = crate::tree::nodes(&s);
    assert_eq!((parts[0].good, parts[1].good), (Some(true), Some(false)));
}

#[test]
fn what_cloudflare_says_cannot_move_the_cursor() {
    let mut s = fixtures::pending("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Stalled,
        Truth::True,
        Reason::CloudflareRejected,
        "\u{1b}[2Jgone\u{202e}",
    );
    let e = explain(&s, None);
    assert!(
        !e.what.contains('\u{1b}') && !e.what.contains('\u{202e}'),
        "{:?}",
        e.what
    );
}

#[test]
fn a_lacking_key_is_asked_for() {
    let mut s = fixtures::pending("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Reconciling,
        Truth::False,
        Reason::AwaitingKeys,
        "the model's provider openai has no key",
    );
    let e = explain(&s, None);
    assert_eq!(e.headline, "legal-bot is pending and waits for a key.");
    let advice = e.do_this.join("; ");
    assert!(
        advice.contains("talon secrets set legal-bot ANTHROPIC_API_KEY"),
        "{advice}"
    );
    assert!(advice.contains("env:TALON_SECRET_ANTHROPIC"), "{advice}");
    assert!(!advice.contains("PROVIDER"), "{advice}");
    assert_eq!(e.reason, "AwaitingKeys");
    assert_eq!(
        view::message(&s),
        "AwaitingKeys: the model's provider openai has no key"
    );
    s.agent.generation = talon_core::Generation(s.agent.generation.0 + 1);
    assert!(view::awaiting_keys(&s).is_none(), "the edit may be the key");
}

#[test]
fn a_live_agent_whose_reference_was_discarded_is_told() {
    let mut s = fixtures::deployed("research-pro");
    let message = "ANTHROPIC_API_KEY: something that was not a reference was thrown away";
    let kind = ConditionType::SecretsReady;
    fixtures::set(
        &mut s,
        kind,
        Truth::False,
        Reason::SecretRefDiscarded,
        message,
    );
    let told = explain(&s, None);
    assert_eq!(told.reason, "SecretRefDiscarded");
    assert_eq!(
        told.blocked_at.as_deref(),
        Some("Secrets › ANTHROPIC_API_KEY")
    );
    assert!(told.do_this[0].contains("rotate"), "{:?}", told.do_this);
}

#[test]
fn drift_says_what_was_changed() {
    let mut s = fixtures::deployed("legal-bot");
    fixtures::set(
        &mut s,
        ConditionType::Drifted,
        Truth::True,
        Reason::Missing,
        "the R2 token is gone from the account",
    );
    let e = explain(&s, None);
    assert_eq!(e.what, "the R2 token is gone from the account");
    assert_eq!(e.reason, "InProgress");
}

#[test]
fn a_key_that_came_over_http_is_asked_for_by_its_name() {
    let mut s = fixtures::pending("legal-bot");
    s.agent.spec.api_key_refs.clear();
    let mut lost = talon_core::snapshot::SecretRecord {
        name: "ANTHROPIC_API_KEY".to_owned(),
        provider: Some("anthropic".to_owned()),
        source: SecretSource::WriteThrough,
        reference: None,
        state: talon_core::snapshot::SecretState::Pushed,
        fingerprint: None,
        pushed_at: None,
    };
    let missing = Reason::SecretValueMissing;
    fixtures::set(&mut s, ConditionType::Stalled, Truth::True, missing, "gone");
    s.secrets = vec![lost.clone()];
    let asked = explain(&s, None).do_this;
    assert!(
        asked[0].starts_with("talon secrets set legal-bot ANTHROPIC_API_KEY"),
        "{asked:?}"
    );
    // What is read through a reference heals where the reference points.
    lost.source = SecretSource::Reference;
    s.secrets = vec![lost];
    assert!(explain(&s, None).do_this[0].starts_with("put a value where the reference points"));
}
