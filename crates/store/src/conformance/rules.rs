//! The contract's rules about what never changes.

use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::resource::ResourceState;
use talon_core::spec::Jurisdiction;
use talon_core::status::DeploymentStatus;
use talon_core::{AgentSpec, Generation};

use super::support::{Bench, assert_code, bucket, name, quiet, spec};
use crate::{ApplyOutcome, codes};

pub(super) async fn persona_and_instructions_freeze(bench: Bench) {
    let id = bench.create("research-pro").await;
    let mut wanted = spec();
    wanted.persona = "Changed before the first deployment.".to_owned();
    bench.put("research-pro", &wanted).await.unwrap();
    bench.claim(id).await;
    let claim = crate::Claim {
        agent_id: id,
        epoch: bench.snap(id).await.work.lease_epoch,
    };
    let latch = Mutation::Latch {
        generation: Generation(2),
    };
    assert!(bench.write(&claim, latch).await.latched);

    let breakers: [fn(&mut AgentSpec); 2] = [
        |s| s.persona = "another".to_owned(),
        |s| s.instructions = "another".to_owned(),
    ];
    for broken in breakers {
        let mut other = wanted.clone();
        broken(&mut other);
        other.keep_alive = true;
        assert_code(bench.put("research-pro", &other).await, codes::IMMUTABLE);
    }
    assert_eq!(
        bench.snap(id).await.agent.spec,
        wanted,
        "nothing of a refused write stays"
    );
    wanted.keep_alive = true;
    let passed = bench.put("research-pro", &wanted).await.unwrap();
    assert_eq!(passed.outcome, ApplyOutcome::Updated);
}

pub(super) async fn latch_compares_and_sets(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let loaded = bench.snap(id).await;
    // The persona is edited while the first upload is under way.
    let mut wanted = spec();
    wanted.persona = "Edited in flight.".to_owned();
    bench.put("research-pro", &wanted).await.unwrap();

    let latch = |generation| Mutation::Latch { generation };
    assert!(
        !bench
            .write(&claim, latch(loaded.agent.generation))
            .await
            .latched
    );
    let snap = bench.snap(id).await;
    assert_eq!(snap.agent.status.first_deployed_at, None);
    bench.finish(&claim, &quiet(&loaded)).await.unwrap();

    // The newer persona is deployed first; then it freezes.
    let claim = bench.claim(id).await;
    assert!(bench.write(&claim, latch(Generation(2))).await.latched);
    let at = bench.snap(id).await.agent.status.first_deployed_at;
    assert!(at.is_some());
    assert!(
        bench.write(&claim, latch(Generation(1))).await.latched,
        "it is in effect already"
    );
    assert_eq!(bench.snap(id).await.agent.status.first_deployed_at, at);
    assert!(
        !bench.commit(&claim, &[]).await.unwrap().latched,
        "no latch asked for"
    );
}

pub(super) async fn identity_freezes(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let identity = |text: &str| Mutation::Identity {
        markdown: text.to_owned(),
        sha256: format!("sha of {text}"),
    };
    bench.write(&claim, identity("one")).await;
    bench.write(&claim, identity("two")).await;
    let latch = Mutation::Latch {
        generation: Generation(1),
    };
    bench.write(&claim, latch).await;
    bench.write(&claim, identity("two")).await;
    let status = Mutation::Status(StatusWrite {
        deployment_status: Some(DeploymentStatus::Deployed),
        ..Default::default()
    });
    let result = bench.commit(&claim, &[status, identity("three")]).await;
    assert_code(result, codes::IDENTITY_FIXED);
    let status = bench.snap(id).await.agent.status;
    assert_eq!(status.identity_md.as_deref(), Some("two"));
    assert_eq!(status.identity_sha256.as_deref(), Some("sha of two"));
    assert_eq!(status.deployment_status, DeploymentStatus::Pending);
}

pub(super) async fn r2_freezes_with_the_bucket(bench: Bench) {
    let id = bench.create("research-pro").await;
    let mut wanted = spec();
    wanted.r2.jurisdiction = Jurisdiction::Eu;
    bench.put("research-pro", &wanted).await.unwrap();
    let claim = bench.claim(id).await;
    bench.resource(&claim, bucket(ResourceState::Absent)).await;
    wanted.r2.jurisdiction = Jurisdiction::Default;
    bench.put("research-pro", &wanted).await.unwrap();
    for state in [ResourceState::Unknown, ResourceState::Present] {
        bench.resource(&claim, bucket(state)).await;
        let mut other = wanted.clone();
        other.r2.jurisdiction = Jurisdiction::Fedramp;
        assert_code(bench.put("research-pro", &other).await, codes::BUCKET_FIXED);
        other.r2 = wanted.r2;
        other.keep_alive = state == ResourceState::Present;
        bench.put("research-pro", &other).await.unwrap();
    }
}

pub(super) async fn status_writes_move_no_generation(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let before = bench.snap(id).await.agent;
    bench.tick(id).await;
    let write = StatusWrite {
        deployment_status: Some(DeploymentStatus::Deploying),
        deployment_error: Some(Some("an error".to_owned())),
        ..Default::default()
    };
    bench.write(&claim, Mutation::Status(write)).await;
    let after = bench.snap(id).await.agent;
    assert_eq!(after.generation, before.generation);
    assert_eq!(after.updated_at, before.updated_at);
    assert_eq!(after.status.deployment_status, DeploymentStatus::Deploying);
    let mut wanted = spec();
    wanted.keep_alive = true;
    bench.put("research-pro", &wanted).await.unwrap();
    let changed = bench.snap(id).await.agent;
    assert!(changed.updated_at > before.updated_at);
    assert_eq!(changed.created_at, before.created_at);
}

pub(super) async fn observed_generation_never_goes_back(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let seen = |g| {
        Mutation::Status(StatusWrite {
            observed_generation: Some(Generation(g)),
            ..Default::default()
        })
    };
    bench.write(&claim, seen(3)).await;
    bench.write(&claim, seen(2)).await;
    assert_eq!(
        bench.snap(id).await.agent.status.observed_generation,
        Generation(3)
    );
}

pub(super) async fn resources_belong_to_one_agent(bench: Bench) {
    let one = bench.create("agent-one").await;
    let two = bench.create("agent-two").await;
    let claims = bench
        .claim_due("bench", super::support::LONG, 10)
        .await
        .unwrap();
    let of = |id| claims.iter().find(|c| c.agent_id == id).unwrap();
    let names = |worker: &str, bucket: &str| Mutation::Names {
        worker: worker.to_owned(),
        bucket: bucket.to_owned(),
        account: "acc".to_owned(),
    };
    let token = |t: &str| {
        Mutation::Status(StatusWrite {
            r2_token_id: Some(Some(t.to_owned())),
            ..Default::default()
        })
    };
    bench.write(of(one), names("w1", "b1")).await;
    bench.write(of(one), token("t1")).await;
    for taken in [names("w1", "b2"), names("w2", "b1"), token("t1")] {
        assert_code(bench.commit(of(two), &[taken]).await, codes::TAKEN);
    }
    bench.write(of(two), names("w2", "b2")).await;
    bench.write(of(one), names("w1", "b1")).await;
    let status = bench.snap(one).await.agent.status;
    assert_eq!(status.worker_name.as_deref(), Some("w1"));
    assert_eq!(status.r2_bucket.as_deref(), Some("b1"));
    assert_eq!(status.cloudflare_account.as_deref(), Some("acc"));
    assert_eq!(status.r2_token_id.as_deref(), Some("t1"));
}

pub(super) async fn generation_moves_once_for_each_change(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let changes: [fn(&mut AgentSpec); 8] = [
        |s| s.display_name = Some("x".to_owned()),
        |s| s.display_name = None,
        |s| s.secrets_version = 2,
        |s| s.api_key_refs.clear(),
        |s| s.theme = Some(Default::default()),
        |s| s.avatar_url = Some("https://example.com/".to_owned()),
        |s| s.deletion_protected = true,
        |s| {
            s.deletion_protected = false;
            s.model = "openai/gpt-5".to_owned();
            s.keep_alive = true;
        },
    ];
    let mut wanted = spec();
    for (i, change) in changes.into_iter().enumerate() {
        change(&mut wanted);
        let done = bench.put("research-pro", &wanted).await.unwrap();
        assert_eq!(done.generation, Generation(2 + i as i64));
        let snap = bench.snap(id).await;
        assert_eq!(snap.agent.generation, done.generation);
        assert_eq!(snap.agent.spec, wanted);
        assert!(snap.work.next_due_at.is_some_and(|due| due <= snap.now));
    }
    assert_eq!(name("research-pro"), bench.snap(id).await.agent.name);
}
