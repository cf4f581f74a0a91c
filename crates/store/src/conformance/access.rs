//! Tokens, the audit log, requests that may come twice.

use std::time::Duration;

use talon_core::{AgentId, Owner};

use super::support::{Bench, LONG, assert_code, name, spec};
use crate::access::{Attempt, Attempted, NewAudit, NewToken, Outcome, Role};
use crate::fleet::{Actor, Decided};
use crate::{ApplyOptions, HoldKind, StoreError, codes};

fn new(label: &str, role: Role, owner: Option<&str>, expires_in: Option<Duration>) -> NewToken {
    NewToken {
        label: label.to_owned(),
        role,
        owner: owner.map(|owner| Owner(owner.to_owned())),
        sha256: format!("hash of {label}"),
        expires_in,
    }
}

pub(super) async fn tokens_live_until_revoked(bench: Bench) {
    let ann = new("ann", Role::Operator, Some("ann"), Some(LONG));
    let ann = bench.create_token(&ann).await.unwrap();
    let all = bench
        .create_token(&new("all", Role::Admin, None, None))
        .await
        .unwrap();
    assert_eq!(
        (ann.role, ann.owner.as_ref().unwrap().0.as_str()),
        (Role::Operator, "ann")
    );
    assert_eq!(
        (ann.expires_at.unwrap() - ann.created_at).to_std().unwrap(),
        LONG
    );
    assert_eq!((all.owner.as_ref(), all.expires_at), (None, None));
    assert!(ann.id != all.id && ann.id.len() >= 8);
    assert_code(
        bench
            .create_token(&new("all", Role::Viewer, None, None))
            .await,
        codes::INVALID,
    );
    assert_code(
        bench
            .create_token(&new("a\0b", Role::Viewer, None, None))
            .await,
        codes::INVALID,
    );
    assert_eq!(bench.token("hash of ann").await.unwrap(), Some(ann.clone()));
    assert_eq!(bench.token("ann").await.unwrap(), None);
    assert_eq!(
        bench.tokens(None).await.unwrap(),
        [all.clone(), ann.clone()]
    );
    assert_eq!(
        bench.tokens(ann.owner.as_ref()).await.unwrap(),
        std::slice::from_ref(&ann)
    );
    bench.token_used(&ann.id).await.unwrap();
    let used = bench.token("hash of ann").await.unwrap().unwrap();
    assert!(used.last_used_at.is_some_and(|at| at >= ann.created_at));
    assert!(!bench.revoke_token("nobody").await.unwrap());
    assert!(bench.revoke_token(&ann.id).await.unwrap());
    assert!(!bench.revoke_token(&ann.id).await.unwrap(), "once");
    assert_eq!(bench.token("hash of ann").await.unwrap(), None);
    assert!(bench.tokens(None).await.unwrap()[1].revoked_at.is_some());
    for role in Role::ALL {
        let made = bench
            .create_token(&new(role.as_str(), role, None, None))
            .await
            .unwrap();
        assert_eq!(made.role, role);
    }
}

pub(super) async fn tokens_expire(bench: Bench) {
    let token = new("brief", Role::Viewer, None, Some(Duration::ZERO));
    bench.create_token(&token).await.unwrap();
    assert_eq!(bench.token("hash of brief").await.unwrap(), None);
    assert_eq!(bench.tokens(None).await.unwrap().len(), 1);
}

fn attempt(caller: &str, request: &str) -> Attempt {
    Attempt {
        caller: caller.to_owned(),
        key: "key-1".to_owned(),
        request: request.to_owned(),
    }
}

pub(super) async fn an_attempt_is_made_once(bench: Bench) {
    let first = attempt("ann", "r1");
    assert_eq!(bench.attempt(&first, LONG).await.unwrap(), Attempted::First);
    assert_eq!(
        bench.attempt(&first, LONG).await.unwrap(),
        Attempted::Running
    );
    assert_eq!(
        bench.attempt(&attempt("ann", "r2"), LONG).await.unwrap(),
        Attempted::Another
    );
    assert_eq!(
        bench.attempt(&attempt("bob", "r2"), LONG).await.unwrap(),
        Attempted::First
    );
    let outcome = Outcome {
        status: 201,
        agent: "research-pro".to_owned(),
    };
    bench.attempted(&first, Some(&outcome)).await.unwrap();
    assert_eq!(
        bench.attempt(&first, LONG).await.unwrap(),
        Attempted::Done(outcome)
    );
    assert_eq!(
        bench.attempt(&attempt("ann", "r2"), LONG).await.unwrap(),
        Attempted::Another
    );
    bench.attempted(&attempt("bob", "r2"), None).await.unwrap();
    assert_eq!(
        bench.attempt(&attempt("bob", "r3"), LONG).await.unwrap(),
        Attempted::First
    );
}

pub(super) async fn an_attempt_that_was_given_up_may_come_again(bench: Bench) {
    let first = attempt("ann", "r1");
    assert_eq!(bench.attempt(&first, LONG).await.unwrap(), Attempted::First);
    assert_eq!(
        bench.attempt(&first, Duration::ZERO).await.unwrap(),
        Attempted::First
    );
    assert_eq!(
        bench.attempt(&first, LONG).await.unwrap(),
        Attempted::Running
    );
}

pub(super) async fn racing_attempts_are_one(bench: Bench) {
    let mut running = Vec::new();
    for _ in 0..6 {
        let bench = bench.clone();
        running.push(tokio::spawn(async move {
            bench.attempt(&attempt("ann", "r"), LONG).await.unwrap()
        }));
    }
    let mut first = 0;
    for one in running {
        first += usize::from(one.await.unwrap() == Attempted::First);
    }
    assert_eq!(first, 1);
}

pub(super) async fn every_change_of_a_spec_is_in_the_audit_log(bench: Bench) {
    let actor = Actor {
        name: "token:ann".to_owned(),
        source: "10.0.0.7".to_owned(),
    };
    let options = ApplyOptions::default();
    let (agent, owner) = (name("research-pro"), Owner::default());
    bench
        .apply_as(&actor, &agent, &owner, &spec(), options)
        .await
        .unwrap();
    let dry_run = ApplyOptions {
        dry_run: true,
        ..options
    };
    let mut wanted = spec();
    wanted.model = "openai/canary".to_owned();
    wanted.display_name = Some("canary".to_owned());
    bench
        .apply_as(&actor, &agent, &owner, &wanted, dry_run)
        .await
        .unwrap();
    // By SQL, as far as the log can know.
    bench.apply(&agent, &owner, &wanted, options).await.unwrap();
    bench
        .apply_as(&actor, &agent, &owner, &wanted, options)
        .await
        .unwrap();
    assert!(
        bench
            .set_suspend_as(&actor, &agent, None, true)
            .await
            .unwrap()
    );
    assert!(
        !bench
            .set_suspend_as(&actor, &agent, None, true)
            .await
            .unwrap()
    );
    bench
        .request_deletion_as(&actor, &agent, None, false)
        .await
        .unwrap();
    let entry = NewAudit {
        action: "token_create".to_owned(),
        object: "t1".to_owned(),
        fields: vec!["role".to_owned()],
    };
    bench.audit(&actor, &entry).await.unwrap();
    let log = bench.audit_log(100).await.unwrap();
    let said: Vec<_> = log
        .iter()
        .map(|e| {
            (
                e.action.as_str(),
                e.object.as_str(),
                e.source.as_deref(),
                e.fields.join(","),
            )
        })
        .collect();
    let ann = Some("10.0.0.7");
    assert_eq!(
        said[..5],
        [
            ("token_create", "t1", ann, "role".to_owned()),
            ("delete", "research-pro", ann, said[1].3.clone()),
            ("update", "research-pro", ann, "suspend".to_owned()),
            (
                "update",
                "research-pro",
                None,
                "display_name,model".to_owned()
            ),
            ("insert", "research-pro", ann, String::new()),
        ]
    );
    assert_eq!(log.len(), 5);
    assert!(
        log.iter()
            .all(|e| (e.actor == "token:ann") == (e.source.is_some()))
    );
    assert!(!format!("{log:?}").contains("canary"));
    assert_eq!(bench.audit_log(2).await.unwrap(), log[..2]);
    let made = bench.get("research-pro", true).await.unwrap();
    let since = made.expect("it is there").agent.created_at;
    let about = |since, limit| bench.audit_about("research-pro", since, limit);
    assert_eq!(about(since, 100).await.unwrap(), log[1..]);
    assert_eq!(about(since, 1).await.unwrap(), log[1..2]);
    let later = log[0].at + chrono::TimeDelta::seconds(1);
    assert!(about(later, 100).await.unwrap().is_empty());
}

pub(super) async fn what_is_asked_beside_a_spec_is_in_the_audit_log(bench: Bench) {
    let ann = Actor {
        name: "token:ann".to_owned(),
        source: "10.0.0.7".to_owned(),
    };
    let (agent, owner) = (name("research-pro"), Owner::default());
    let made = bench
        .apply(&agent, &owner, &spec(), ApplyOptions::default())
        .await
        .unwrap();
    let other = Decided {
        id: AgentId(uuid::Uuid::nil()),
        generation: None,
    };
    let refused = bench.request_reconcile_as(&ann, &agent, Some(other)).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    let decided = Some(Decided {
        id: made.id,
        generation: None,
    });
    bench
        .request_reconcile_as(&ann, &agent, decided)
        .await
        .unwrap();
    bench.request_reconcile(&agent).await.unwrap();
    assert!(bench.set_hold_as(&ann, "canary").await.unwrap());
    assert!(!bench.set_hold_as(&ann, "canary").await.unwrap());
    let hold = bench.hold().await.unwrap().unwrap();
    assert_eq!(
        (hold.kind, hold.reason.as_str()),
        (HoldKind::Operator, "canary")
    );
    assert!(bench.release_hold_as(&ann).await.unwrap().is_some());
    assert!(bench.release_hold_as(&ann).await.unwrap().is_none());
    assert!(
        bench
            .set_hold(HoldKind::MassChange, "canary")
            .await
            .unwrap()
    );
    assert!(bench.release_hold().await.unwrap().is_some());
    bench
        .request_deletion_as(&ann, &agent, None, false)
        .await
        .unwrap();
    bench
        .request_reconcile_as(&ann, &agent, None)
        .await
        .unwrap();
    let log = bench.audit_log(100).await.unwrap();
    let said: Vec<_> = log
        .iter()
        .rev()
        .skip(1)
        .map(|e| (e.action.as_str(), e.object.as_str(), e.source.as_deref()))
        .collect();
    let from = Some("10.0.0.7");
    assert_eq!(
        said,
        [
            ("reconcile", "research-pro", from),
            ("reconcile", "research-pro", None),
            ("hold", "controller", from),
            ("release_hold", "controller", from),
            ("hold", "controller", None),
            ("release_hold", "controller", None),
            ("delete", "research-pro", from),
            ("cleanup_retry", "research-pro", from),
        ]
    );
    let brake = log
        .iter()
        .find(|e| e.action == "hold" && e.source.is_none());
    assert_eq!(brake.unwrap().actor, "controller");
    assert!(
        log.iter()
            .all(|e| (e.actor == "token:ann") == (e.source.is_some()))
    );
    assert!(!format!("{log:?}").contains("canary"));
}
