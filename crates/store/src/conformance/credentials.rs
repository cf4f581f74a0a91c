//! Who may connect.

use std::time::Duration;

use serde_json::json;
use talon_core::TryId;
use talon_core::mutation::{Finish, Mutation};
use talon_core::snapshot::AuthTokenState;

use super::support::{Bench, LONG, assert_code, name, quiet, spec};
use crate::codes;
use crate::network::HostedConnection;

pub(super) async fn managed_agents_by_their_tokens(bench: Bench) {
    assert_eq!(bench.hub_agent("research-pro").await.unwrap(), None);
    let mut wanted = spec();
    wanted.keep_alive = true;
    let id = bench.put("research-pro", &wanted).await.unwrap().id;
    let claim = bench.claim(id).await;
    for (n, state) in (1..).zip([
        AuthTokenState::Retired,
        AuthTokenState::Current,
        AuthTokenState::Candidate,
    ]) {
        let try_id = TryId::new(n, 0);
        let sha256 = format!("h{n}");
        bench
            .write(
                &claim,
                Mutation::AuthTokenCandidate {
                    try_id: try_id.clone(),
                    sha256,
                },
            )
            .await;
        bench
            .write(&claim, Mutation::AuthTokenState { try_id, state })
            .await;
    }
    let agent = bench.hub_agent("research-pro").await.unwrap().unwrap();
    assert_eq!((agent.id, agent.owner.as_str()), (id, "default"));
    assert!(agent.keep_alive && !agent.deleting);
    assert_eq!(
        agent.tokens,
        [
            ("h2".to_owned(), AuthTokenState::Current),
            ("h3".to_owned(), AuthTokenState::Candidate)
        ],
        "retired ones let nobody in"
    );
    bench
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
    let agent = bench.hub_agent("research-pro").await.unwrap().unwrap();
    assert!(agent.deleting);
    let loaded = bench.snap(id).await;
    let archive = Finish {
        mutations: vec![Mutation::Archive],
        ..quiet(&loaded)
    };
    bench.finish(&claim, &archive).await.unwrap();
    assert_eq!(bench.hub_agent("research-pro").await.unwrap(), None);
    let next = bench.create("research-pro").await;
    let agent = bench.hub_agent("research-pro").await.unwrap().unwrap();
    assert_eq!(
        (agent.id, agent.tokens.len(), agent.keep_alive),
        (next, 0, false)
    );
}

pub(super) async fn api_keys_live_until_revoked(bench: Bench) {
    assert!(bench.api_keys(None).await.unwrap().is_empty());
    let ann = bench
        .create_api_key("ann", "laptop", "hash-1", None)
        .await
        .unwrap();
    let bob = bench
        .create_api_key("bob", "", "hash-2", Some(LONG))
        .await
        .unwrap();
    let again = bench
        .create_api_key("ann", "server", "hash-3", None)
        .await
        .unwrap();
    assert_eq!((ann.owner.as_str(), ann.label.as_str()), ("ann", "laptop"));
    assert_eq!((ann.expires_at, ann.revoked_at), (None, None));
    assert_eq!(
        (bob.expires_at.unwrap() - bob.created_at).to_std().unwrap(),
        LONG
    );
    assert!(ann.id != bob.id && bob.id != again.id && ann.id.len() >= 8);
    assert_code(
        bench.create_api_key("eve", "", "hash-1", None).await,
        codes::INVALID,
    );
    assert_code(
        bench.create_api_key("eve", "a\0b", "hash-9", None).await,
        codes::INVALID,
    );

    assert_eq!(bench.api_key("hash-1").await.unwrap(), Some(ann.clone()));
    assert_eq!(bench.api_key("hash-9").await.unwrap(), None);
    assert_eq!(
        bench.api_keys(None).await.unwrap(),
        [again.clone(), bob.clone(), ann.clone()]
    );
    assert_eq!(
        bench.api_keys(Some("ann")).await.unwrap(),
        [again, ann.clone()]
    );
    assert!(bench.api_keys(Some("eve")).await.unwrap().is_empty());

    assert!(!bench.revoke_api_key("nobody").await.unwrap());
    assert!(bench.revoke_api_key(&ann.id).await.unwrap());
    assert!(!bench.revoke_api_key(&ann.id).await.unwrap(), "once");
    assert_eq!(bench.api_key("hash-1").await.unwrap(), None);
    assert_eq!(bench.api_key("hash-2").await.unwrap(), Some(bob));
    let listed = bench.api_keys(Some("ann")).await.unwrap();
    assert!(listed[1].revoked_at.is_some_and(|at| at >= ann.created_at));
}

pub(super) async fn api_keys_expire(bench: Bench) {
    let key = bench
        .create_api_key("ann", "", "hash-1", Some(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(bench.api_key("hash-1").await.unwrap(), None);
    assert_eq!(bench.api_keys(None).await.unwrap(), [key]);
}

fn connection(id: &str) -> HostedConnection {
    HostedConnection {
        connection_id: id.to_owned(),
        hub: "hub-1".to_owned(),
    }
}

pub(super) async fn self_hosted_names_belong_to_their_first_owner(bench: Bench) {
    let card = json!({
        "name": "my.agent",
        "skills": [{"id": "x", "n": 1.0}],
        "authentication": {"schemes": ["bearer"], "credentials": "secret"},
    });
    let first = bench
        .hosted_connected("my.agent", "ann", true, Some(&card), &connection("c1"))
        .await
        .unwrap()
        .expect("nobody has the name");
    assert_eq!(
        (first.name.as_str(), first.owner.as_str()),
        ("my.agent", "ann")
    );
    assert!(first.public && first.connected);
    assert_eq!(
        first.card,
        Some(json!({"name": "my.agent", "skills": [{"id": "x", "n": 1.0}]}))
    );
    let stored = bench.hosted("my.agent").await.unwrap();
    assert_eq!(stored.as_ref(), Some(&first));
    let other = bench
        .hosted_connected("my.agent", "bob", true, None, &connection("c2"))
        .await
        .unwrap();
    assert_eq!(other, None);
    assert_eq!(bench.hosted("my.agent").await.unwrap(), stored);
    let again = bench
        .hosted_connected("my.agent", "ann", false, None, &connection("c3"))
        .await
        .unwrap()
        .expect("its owner");
    assert!(!again.public);
    assert_eq!(again.card, first.card, "the card sent before stays");
    bench
        .hosted_connected("Another", "bob", false, None, &connection("c4"))
        .await
        .unwrap()
        .expect("free");
    let all = bench.hosted_agents().await.unwrap();
    let names: Vec<_> = all.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["Another", "my.agent"]);
}

pub(super) async fn self_hosted_agents_come_and_go(bench: Bench) {
    let clock = bench.create("clock").await;
    for c in ["c1", "c2"] {
        bench
            .hosted_connected("my.agent", "ann", true, None, &connection(c))
            .await
            .unwrap()
            .expect("free");
    }
    assert!(!bench.hosted_disconnected("my.agent", "c1").await.unwrap());
    assert!(!bench.hosted_disconnected("nobody", "c2").await.unwrap());
    let before = bench.hosted("my.agent").await.unwrap().unwrap();
    assert!(before.connected);
    bench.tick(clock).await;
    let seen = |c: &str| [("my.agent".to_owned(), c.to_owned())];
    bench.hosted_seen(&seen("c1")).await.unwrap();
    assert_eq!(
        bench.hosted("my.agent").await.unwrap().as_ref(),
        Some(&before)
    );
    bench.hosted_seen(&seen("c2")).await.unwrap();
    let after = bench.hosted("my.agent").await.unwrap().unwrap();
    assert!(after.last_seen > before.last_seen);
    assert!(bench.hosted_disconnected("my.agent", "c2").await.unwrap());
    assert!(!bench.hosted_disconnected("my.agent", "c2").await.unwrap());
    bench.hosted_seen(&seen("c2")).await.unwrap();
    let gone = bench.hosted("my.agent").await.unwrap().unwrap();
    assert!(!gone.connected);
    assert_eq!(gone.last_seen, after.last_seen);
}

pub(super) async fn a_managed_agent_has_its_name_alone(bench: Bench) {
    bench.create("research-pro").await;
    let refused = bench
        .hosted_connected("research-pro", "ann", true, None, &connection("c1"))
        .await
        .unwrap();
    assert_eq!(refused, None);
    // A row may take a name that somebody's own agent has; that agent is not found any more.
    bench
        .hosted_connected("my-agent", "ann", true, None, &connection("c2"))
        .await
        .unwrap()
        .expect("free");
    bench.archived("old-agent", None).await;
    bench
        .hosted_connected("old-agent", "ann", true, None, &connection("c3"))
        .await
        .unwrap()
        .expect("free again");
    bench.create("my-agent").await;
    assert_eq!(bench.hosted("my-agent").await.unwrap(), None);
    let all = bench.hosted_agents().await.unwrap();
    let names: Vec<_> = all.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["old-agent"]);
    assert!(bench.hosted_disconnected("my-agent", "c2").await.unwrap());
}

pub(super) async fn racing_owners_share_no_name(bench: Bench) {
    for round in 0..5 {
        let mut running = Vec::new();
        for n in 0..6 {
            let bench = bench.clone();
            running.push(tokio::spawn(async move {
                let (agent, owner) = (format!("agent.{round}"), format!("owner-{n}"));
                let made = bench
                    .hosted_connected(&agent, &owner, true, None, &connection("c"))
                    .await
                    .unwrap();
                made.map(|made| made.owner)
            }));
        }
        let mut owners = Vec::new();
        for one in running {
            owners.extend(one.await.unwrap());
        }
        assert_eq!(owners.len(), 1, "{owners:?}");
        let stored = bench.hosted(&format!("agent.{round}")).await.unwrap();
        assert_eq!(stored.unwrap().owner, owners[0]);
    }
}
