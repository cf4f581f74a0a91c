//! The ordered change feed.

use std::time::Duration;

use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::status::DeploymentStatus;

use super::support::{Bench, name, spec};
use crate::ChangeKind;

fn status(word: DeploymentStatus) -> Mutation {
    Mutation::Status(StatusWrite {
        deployment_status: Some(word),
        ..Default::default()
    })
}

pub(super) async fn grows_in_order(bench: Bench) {
    assert_eq!(bench.last_change().await.unwrap(), 0);
    let id = bench.create("research-pro").await;
    let other = bench.create("other").await;
    let claim = bench.claim(id).await;
    bench
        .write(&claim, status(DeploymentStatus::Deploying))
        .await;
    let mut wanted = spec();
    wanted.keep_alive = true;
    bench.put("research-pro", &wanted).await.unwrap();
    bench.request_reconcile(&name("other")).await.unwrap();
    bench
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
    let feed = bench.changes_after(0, 100).await.unwrap();
    assert!(feed.is_sorted_by(|a, b| a.seq < b.seq));
    let said: Vec<_> = feed.iter().map(|c| (c.agent_id, c.kind)).collect();
    assert_eq!(
        said,
        [
            (id, ChangeKind::Spec),
            (other, ChangeKind::Spec),
            (id, ChangeKind::Status),
            (id, ChangeKind::Spec),
            (other, ChangeKind::Spec),
            (id, ChangeKind::Spec),
        ]
    );
    assert_eq!(bench.last_change().await.unwrap(), feed[5].seq);
}

pub(super) async fn pages(bench: Bench) {
    for i in 0..5 {
        bench.create(&format!("agent-{i}")).await;
    }
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        let page = bench.changes_after(after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.seq;
        seen.extend(page.into_iter().map(|c| c.agent_id));
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(after, bench.last_change().await.unwrap());
}

pub(super) async fn prune_never_turns_it_back(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    bench
        .write(&claim, status(DeploymentStatus::Deploying))
        .await;
    bench.write(&claim, status(DeploymentStatus::Failed)).await;
    let last = bench.last_change().await.unwrap();
    bench.tick(id).await;
    assert!(bench.prune(Duration::ZERO).await.unwrap() >= 1);
    assert_eq!(bench.last_change().await.unwrap(), last);
    bench
        .write(&claim, status(DeploymentStatus::Deployed))
        .await;
    let after = bench.changes_after(last, 10).await.unwrap();
    assert_eq!(after.len(), 1);
    assert!(after[0].seq > last);
}
