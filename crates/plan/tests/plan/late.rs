//! Uploads that land when nobody expects them any more, and keys that cannot be supplied twice.

use std::time::Duration;

use talon_core::condition::Reason;
use talon_core::event::EventReason;
use talon_core::mutation::{Mutation, SecretWrite};
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};

use crate::fixture::{assert_deployed, deployed, new_agent, settle};
use crate::stage::{End, Fault, Stage};

#[test]
fn an_upload_that_lands_after_the_next_try_gets_new_credentials() {
    let mut stage = new_agent();
    stage.reality.repeats_migrations = true;
    // Far beyond the time it may take: the second try is live by then.
    stage
        .faults
        .insert(2, Fault::Late(Duration::from_secs(400)));
    stage.converge();
    settle(&mut stage);
    let told = stage.db.told(EventReason::DriftDetected);
    assert_eq!(
        told,
        ["another upload than the last one is live; its credentials are replaced"]
    );
    assert_eq!(stage.calls.iter().filter(|c| **c == "upload").count(), 2);
    assert_eq!(*stage.calls.last().unwrap(), "register-card");
    assert!(stage.calls.contains(&"push-secrets"));
    assert_deployed(&mut stage);
}

#[test]
fn no_second_upload_is_sent_while_the_first_may_land() {
    let mut stage = new_agent();
    stage.faults.insert(2, Fault::LostNotDone);
    let sent = stage.now;
    let uploads = |s: &Stage| s.calls.iter().filter(|c| **c == "upload").count();
    while uploads(&stage) < 2 {
        if let End::Again(after) = stage.one_pass() {
            stage.advance(after);
        }
    }
    let waited = stage.now - sent;
    assert!(waited >= chrono::TimeDelta::seconds(90), "{waited}");
    assert!(waited <= chrono::TimeDelta::seconds(150), "{waited}");
    assert!(stage.list_reads <= 30, "{} lists", stage.list_reads);
}

#[test]
fn the_hub_accepts_the_open_try_and_the_current_one_until_it_is_known() {
    let mut stage = deployed();
    let name = stage.names().worker;
    stage.outside(|r, now| {
        let worker = r.workers.get_mut(&name).unwrap();
        worker.content = "edited".to_owned();
        worker.modified_on = now;
    });
    stage.resync();
    // The roll, then the upload.
    stage.faults.insert(1, Fault::LostDone);
    stage.one_pass();
    let states = |s: &Stage| {
        s.db.row
            .auth_tokens
            .iter()
            .map(|t| t.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states(&stage),
        [AuthTokenState::Current, AuthTokenState::Candidate]
    );
    stage.converge();
    assert_eq!(
        states(&stage),
        [AuthTokenState::Retired, AuthTokenState::Current]
    );
    assert_deployed(&mut stage);
}

/// A key that came over HTTP: on the Worker and in the records, nowhere else.
fn with_write_through() -> Stage {
    let mut stage = deployed();
    let name = stage.names().worker;
    stage.outside(|r, now| {
        let worker = r.workers.get_mut(&name).unwrap();
        worker
            .secrets
            .insert("OPENAI_API_KEY".to_owned(), "came over HTTP".to_owned());
        worker.modified_on = now;
    });
    let write = SecretWrite {
        name: "OPENAI_API_KEY".to_owned(),
        provider: Some("openai".to_owned()),
        source: SecretSource::WriteThrough,
        reference: None,
        state: SecretState::Pushed,
        fingerprint: Some("f".repeat(64)),
    };
    stage.db.commit(stage.now, &[Mutation::Secret(write)]);
    settle(&mut stage);
    stage.calls.clear();
    stage.db.events.clear();
    stage
}

#[test]
fn keys_that_came_over_http_outlive_every_update_and_every_lost_answer() {
    let histories: [fn(&mut Stage); 4] = [
        |s| s.world.bundle.sha256 = "c2".repeat(32),
        |s| s.edit(|spec| spec.model = "openai/gpt-6".to_owned()),
        |s| s.edit(|spec| spec.api_key_refs.clear()),
        |s| {
            let name = s.names().worker;
            s.outside(|r, now| {
                let worker = r.workers.get_mut(&name).unwrap();
                worker.content = "edited".to_owned();
                worker.modified_on = now;
            });
            s.resync();
        },
    ];
    for (i, change) in histories.iter().enumerate() {
        for fault in [
            None,
            Some(Fault::LostDone),
            Some(Fault::LostNotDone),
            Some(Fault::Late(Duration::from_secs(400))),
        ] {
            let mut stage = with_write_through();
            if i == 2 {
                stage.edit(|spec| spec.model = "openai/gpt-6".to_owned());
            }
            change(&mut stage);
            let upload = usize::from(i == 3);
            if let Some(fault) =
                fault.filter(|f| matches!(i, 0 | 3) || !matches!(f, Fault::Late(_)))
            {
                stage.faults.insert(upload, fault);
            }
            stage.converge();
            settle(&mut stage);
            let worker = &stage.reality.workers[&stage.names().worker];
            assert_eq!(
                worker.secrets["OPENAI_API_KEY"], "came over HTTP",
                "{i} {fault:?}"
            );
            assert_deployed(&mut stage);
        }
    }
}

#[test]
fn a_key_that_came_over_http_and_went_with_the_worker_is_asked_for() {
    let mut stage = with_write_through();
    let name = stage.names().worker;
    stage.outside(|r, _| r.lose_worker(&name));
    stage.resync();
    assert_eq!(stage.one_pass(), End::Stuck);
    assert!(
        stage.calls.is_empty(),
        "never deployed without a key the agent had: {:?}",
        stage.calls
    );
    assert_eq!(
        stage.last_plan.opening,
        [],
        "nothing is told as if it were done"
    );
    let block = stage.last_plan.block.clone().unwrap();
    assert_eq!(
        (block.reason, block.stalled),
        (Reason::SecretValueMissing, true)
    );
    assert!(block.message.contains("OPENAI_API_KEY"));
}

#[test]
fn an_upload_that_lands_after_the_worker_was_deleted_outside_gets_an_address() {
    let mut stage = deployed();
    let name = stage.names().worker;
    let ghost = stage.reality.workers[&name].clone();
    stage.outside(|r, now| {
        // The same upload once more, from a holder that was frozen: another script, without an address.
        let script_tag = "another".to_owned();
        let worker = crate::reality::Worker {
            script_tag,
            route: false,
            created_on: now,
            modified_on: now,
            ..ghost
        };
        r.lose_worker(&name);
        let mut tags = worker.tags.clone().unwrap();
        tags.last_mut().unwrap().replace_range(4..6, "7z");
        let tags = Some(tags);
        r.workers
            .insert(name.clone(), crate::reality::Worker { tags, ..worker });
    });
    stage.resync();
    stage.converge();
    assert!(stage.calls.contains(&"enable-route"), "{:?}", stage.calls);
    assert_deployed(&mut stage);
}
