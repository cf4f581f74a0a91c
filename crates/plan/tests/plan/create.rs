//! Creating an agent: from nothing, and from every subset of what an earlier life may have left.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use talon_core::name::WorkerMarks;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::{AgentId, TryId};

use crate::database::blank;
use crate::fixture::{assert_deployed, new_agent, settle};
use crate::reality::{Bucket, Token, Worker};
use crate::stage::Stage;

#[test]
fn four_mutating_calls_and_no_read_of_its_own_make_an_agent() {
    let mut stage = new_agent();
    stage.converge();
    assert_eq!(
        stage.calls,
        [
            "create-bucket",
            "create-token",
            "upload",
            "enable-route",
            "register-card"
        ]
    );
    assert_eq!(stage.settings_reads, 0);
    assert_eq!(stage.list_reads, 1);
    assert_deployed(&mut stage);
    assert_eq!(stage.settings_reads, 0);
}

#[test]
fn planning_on_the_planned_result_plans_nothing_but_one_baseline() {
    for scenario in crate::scenario::all() {
        let mut stage = scenario.stage;
        stage.converge();
        let plan = stage.plan();
        assert!(plan.is_converged(), "{}: {plan:#?}", scenario.name);
        stage.resync();
        let plan = stage.plan();
        assert!(plan.steps.len() <= 1, "{}: {plan:#?}", scenario.name);
        assert!(
            plan.steps.iter().all(|s| !s.kind.has_effect()),
            "{}: {plan:#?}",
            scenario.name
        );
        stage.converge();
        stage.resync();
        let plan = stage.plan();
        assert!(plan.is_converged(), "{}: {plan:#?}", scenario.name);
    }
}

fn our_worker(stage: &Stage, agent: AgentId) -> Worker {
    let marks = WorkerMarks {
        install: stage.world.install.clone(),
        agent,
        code: "0123456789abcdef".to_owned(),
        try_id: TryId::new(1, 99),
    };
    Worker {
        script_tag: "old-script".to_owned(),
        tags: Some(marks.to_tags()),
        content: "an earlier life".to_owned(),
        plain: BTreeMap::new(),
        bucket: stage.names().bucket,
        secrets: [(
            "SOCIETY_AI_AUTH_TOKEN".to_owned(),
            "nobody knows".to_owned(),
        )]
        .into(),
        route: false,
        migrated: true,
        created_on: stage.now,
        modified_on: stage.now,
        flags: Vec::new(),
    }
}

/// What stands already, by bits: Worker, its record, bucket (with its intent), one token, a second token, a card.
fn with_leftovers(bits: u8) -> Stage {
    let mut stage = new_agent();
    let has = |bit: u8| bits & (1 << bit) != 0;
    let names = stage.names();
    let (now, id) = (stage.now, stage.db.row.agent.id);
    let worker = our_worker(&stage, id);
    if has(1) {
        let mut record = blank(ResourceKind::Worker, &names.worker);
        record.state = ResourceState::Unknown;
        record.intent_at = Some(now - TimeDelta::seconds(200));
        record.settle_until = Some(now - TimeDelta::seconds(110));
        record.try_id = Some(TryId::new(1, 98));
        stage.db.row.resources.push(record);
    }
    if has(2) {
        let mut record = blank(ResourceKind::R2Bucket, &names.bucket);
        record.state = ResourceState::Unknown;
        record.intent_at = Some(now - TimeDelta::seconds(1));
        stage.db.row.resources.push(record);
    }
    let card = {
        let (snapshot, observed) = stage.observe();
        let input = talon_plan::Input {
            snapshot: &snapshot,
            observed: &observed,
            world: &stage.world,
        };
        talon_plan::desired::agent_card(&input, None)
    };
    stage.outside(|r, now| {
        if has(0) {
            r.workers.insert(names.worker.clone(), worker);
        }
        if has(2) {
            let bucket = Bucket {
                created: now,
                jurisdiction: Default::default(),
                objects: 4,
            };
            r.buckets.insert(names.bucket.clone(), bucket);
        }
        for (bit, id) in [(3, "old-1"), (4, "old-2")] {
            if has(bit) {
                let (id, name, value) =
                    (id.to_owned(), names.token.clone(), "lost value".to_owned());
                r.tokens.push(Token {
                    id,
                    name,
                    value,
                    issued: now,
                });
            }
        }
        if has(5) {
            r.card = Some(card);
        }
    });
    stage.resync();
    stage
}

#[test]
fn every_subset_of_what_stands_already_converges_without_a_duplicate() {
    for bits in 0u8..64 {
        let mut stage = with_leftovers(bits);
        stage.converge();
        settle(&mut stage);
        let has = |bit: u8| bits & (1 << bit) != 0;
        let count = |call: &str| stage.calls.iter().filter(|c| **c == call).count();
        assert_eq!(
            count("create-bucket"),
            usize::from(!has(2)),
            "{bits:06b} {:?}",
            stage.calls
        );
        assert_eq!(
            count("create-token"),
            usize::from(!has(3) && !has(4)),
            "{bits:06b} {:?}",
            stage.calls
        );
        assert_eq!(
            count("drop-token"),
            usize::from(has(3) && has(4)),
            "{bits:06b} {:?}",
            stage.calls
        );
        assert_eq!(count("upload"), 1, "{bits:06b} {:?}", stage.calls);
        assert_deployed(&mut stage);
    }
}

#[test]
fn every_subset_of_what_stands_already_is_deleted_completely() {
    for bits in 0u8..64 {
        let mut stage = with_leftovers(bits);
        let names = stage.names();
        let account = stage.world.account_id.clone();
        // Whatever was made had its names written first.
        let status = &mut stage.db.row.agent.status;
        status.worker_name = Some(names.worker);
        status.r2_bucket = Some(names.bucket);
        status.cloudflare_account = Some(account);
        stage.delete();
        stage.converge();
        crate::fixture::assert_gone(&mut stage);
    }
}
