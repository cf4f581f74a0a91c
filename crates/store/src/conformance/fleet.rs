//! Pages of the fleet.

use talon_core::Owner;
use talon_core::status::DeploymentStatus;

use super::support::{Bench, name, spec};
use crate::fleet::{Actor, Decided, PageFilter, PagePlace};
use crate::{ApplyOptions, StoreError};

async fn names(bench: &Bench, filter: &PageFilter, size: i64) -> Vec<String> {
    let mut all = Vec::new();
    let mut after: Option<PagePlace> = None;
    loop {
        let page = bench.page(filter, after.as_ref(), size).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(PagePlace {
            name: last.agent.name.to_string(),
            id: last.agent.id,
        });
        all.extend(page.iter().map(|s| s.agent.name.to_string()));
    }
    assert_eq!(bench.count(filter).await.unwrap(), all.len() as i64);
    all
}

pub(super) async fn pages_show_every_agent_once(bench: Bench) {
    bench.archived("agent-b", None).await;
    bench.archived("agent-b", None).await;
    for agent in ["agent-b", "agent-a", "agent-b-c", "zebra"] {
        bench.create(agent).await;
    }
    for size in [1, 2, 3, 100] {
        let live = names(&bench, &PageFilter::default(), size).await;
        assert_eq!(live, ["agent-a", "agent-b", "agent-b-c", "zebra"], "{size}");
        let archived = PageFilter {
            include_archived: true,
            ..PageFilter::default()
        };
        let all = names(&bench, &archived, size).await;
        assert_eq!(
            all,
            [
                "agent-a",
                "agent-b",
                "agent-b",
                "agent-b",
                "agent-b-c",
                "zebra"
            ]
        );
    }
}

pub(super) async fn filters_are_joined_by_and(bench: Bench) {
    let options = ApplyOptions::default();
    for (agent, owner, display) in [
        ("first", "ann", Some("The ÄRGER 100%")),
        ("second", "ann", None),
        ("third", "bob", Some("First of all")),
    ] {
        let mut wanted = spec();
        wanted.display_name = display.map(str::to_owned);
        let owner = Owner(owner.to_owned());
        bench
            .apply(&name(agent), &owner, &wanted, options)
            .await
            .unwrap();
    }
    let filter = |owner: Option<&str>, text: Option<&str>, status| PageFilter {
        owner: owner.map(|o| Owner(o.to_owned())),
        text: text.map(str::to_owned),
        status,
        include_archived: false,
    };
    for (filter, expected) in [
        (filter(Some("ann"), None, None), vec!["first", "second"]),
        (filter(None, Some("FIRST"), None), vec!["first", "third"]),
        (filter(Some("bob"), Some("first"), None), vec!["third"]),
        // No wildcards, and only ASCII letters are folded.
        (filter(None, Some("100%"), None), vec!["first"]),
        (filter(None, Some("%"), None), vec!["first"]),
        (filter(None, Some("_"), None), vec![]),
        (filter(None, Some("Är"), None), vec!["first"]),
        (filter(None, Some("är"), None), vec![]),
        (
            filter(None, None, Some(DeploymentStatus::Pending)),
            vec!["first", "second", "third"],
        ),
        (filter(None, None, Some(DeploymentStatus::Failed)), vec![]),
    ] {
        assert_eq!(names(&bench, &filter, 2).await, expected, "{filter:?}");
    }
}

pub(super) async fn the_feed_tells_where_it_begins(bench: Bench) {
    assert!(bench.first_change().await.unwrap() <= 1);
    bench.create("agent-a").await;
    let last = bench.last_change().await.unwrap();
    let first = bench.first_change().await.unwrap();
    assert!(first <= last);
    bench.create("agent-b").await;
    // What is numbered only when somebody reads it counts as well.
    let last = bench.last_change().await.unwrap();
    bench.prune(std::time::Duration::ZERO).await.unwrap();
    assert!(bench.first_change().await.unwrap() >= last);
}

pub(super) async fn a_spec_for_one_agent_is_written_to_no_other_of_its_name(bench: Bench) {
    let actor = Actor {
        name: "token:ann".to_owned(),
        source: "10.0.0.7".to_owned(),
    };
    let (agent, owner, wanted) = (name("agent-a"), Owner::default(), spec());
    let gone = bench.archived("agent-a", None).await;
    let options = |id, generation| ApplyOptions {
        if_generation: generation,
        if_agent: Some(id),
        ..ApplyOptions::default()
    };
    let apply = async |options| {
        let applied = bench.apply_as(&actor, &agent, &owner, &wanted, options);
        let in_somebodys_name = applied.await;
        let applied = bench.apply(&agent, &owner, &wanted, options).await;
        assert_eq!(in_somebodys_name.is_ok(), applied.is_ok());
        in_somebodys_name
    };
    // Nobody has the name: nothing is made in place of the one that was meant.
    for generation in [None, Some(1)] {
        let refused = apply(options(gone, generation)).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotFound), "{refused}");
        assert!(bench.get("agent-a", false).await.unwrap().is_none());
    }
    let now = bench.create("agent-a").await;
    let mut other = wanted.clone();
    other.display_name = Some("Another".to_owned());
    let made = bench.get("agent-a", false).await.unwrap().unwrap().agent;
    // Neither at the generation of the one that was meant, nor at any, nor in a rehearsal.
    for generation in [None, Some(1), Some(7)] {
        for dry_run in [false, true] {
            let options = ApplyOptions {
                dry_run,
                ..options(gone, generation)
            };
            let refused = bench.apply_as(&actor, &agent, &owner, &other, options);
            let refused = refused.await.unwrap_err();
            assert!(matches!(refused, StoreError::NotFound), "{refused}");
        }
    }
    let found = bench.get("agent-a", false).await.unwrap().unwrap().agent;
    assert_eq!(
        (&found.spec, found.generation),
        (&made.spec, made.generation)
    );
    let refused = bench.apply_as(&actor, &agent, &owner, &other, options(now, Some(7)));
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, StoreError::Stale { .. }), "{refused}");
    let applied = bench.apply_as(&actor, &agent, &owner, &other, options(now, Some(1)));
    assert_eq!(applied.await.unwrap().id, now);
}

pub(super) async fn what_was_decided_about_one_agent_befalls_no_other(bench: Bench) {
    let actor = Actor {
        name: "token:ann".to_owned(),
        source: "10.0.0.7".to_owned(),
    };
    let agent = name("agent-a");
    let gone = bench.archived("agent-a", None).await;
    let now = bench.create("agent-a").await;
    let decided = |id, generation| Some(Decided { id, generation });
    for refused in [
        bench
            .request_deletion_as(&actor, &agent, decided(gone, None), false)
            .await
            .unwrap_err(),
        bench
            .set_suspend_as(&actor, &agent, decided(gone, None), true)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::NotFound), "{refused}");
    }
    let changed = bench.set_suspend_as(&actor, &agent, decided(now, Some(1)), true);
    assert!(changed.await.unwrap());
    let is_stale = |e: StoreError| {
        matches!(
            e,
            StoreError::Stale {
                expected: 1,
                actual: 2
            }
        )
    };
    let refused = bench.set_suspend_as(&actor, &agent, decided(now, Some(1)), false);
    assert!(is_stale(refused.await.unwrap_err()));
    let refused = bench.request_deletion_as(&actor, &agent, decided(now, Some(1)), false);
    assert!(is_stale(refused.await.unwrap_err()));
    bench
        .request_deletion_as(&actor, &agent, decided(now, Some(2)), false)
        .await
        .unwrap();
    let found = bench.load(now).await.unwrap().unwrap();
    assert!(found.agent.is_deleting());
}
