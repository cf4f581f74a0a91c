//! Applying, reading and the small requests of people.

use std::collections::BTreeMap;

use talon_core::secret::{Provider, SecretRef};
use talon_core::spec::{
    DeletionPolicy, Jurisdiction, LocationHint, PricingModel, Skill, StorageClass, Theme,
    Visibility,
};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentSpec, Generation, Owner};

use super::support::{Bench, assert_code, name, spec};
use crate::{ApplyOptions, ApplyOutcome, ListFilter, StoreError, codes};

pub(super) async fn creates_updates_and_leaves_alone(bench: Bench) {
    let mut wanted = spec();
    let made = bench.put("research-pro", &wanted).await.unwrap();
    assert_eq!(made.outcome, ApplyOutcome::Created);
    assert_eq!(made.generation, Generation(1));

    let before = bench.snap(made.id).await;
    let seq = bench.last_change().await.unwrap();
    let same = bench.put("research-pro", &wanted).await.unwrap();
    assert_eq!(same.outcome, ApplyOutcome::Unchanged);
    assert_eq!((same.id, same.generation), (made.id, Generation(1)));
    assert_eq!(bench.snap(made.id).await.agent, before.agent);
    assert_eq!(bench.last_change().await.unwrap(), seq);

    wanted.model = "openai/gpt-5".to_owned();
    let changed = bench.put("research-pro", &wanted).await.unwrap();
    assert_eq!(changed.outcome, ApplyOutcome::Updated);
    assert_eq!((changed.id, changed.generation), (made.id, Generation(2)));
    assert_eq!(bench.snap(made.id).await.agent.spec, wanted);
}

fn full() -> AgentSpec {
    AgentSpec {
        display_name: Some("Research Pro".to_owned()),
        description: Some("Line one.\nLine 'two' — \"quoted\" \u{1f642}".to_owned()),
        display_description: Some(String::new()),
        keep_alive: true,
        visibility: Visibility::Public,
        api_key_refs: BTreeMap::from([
            (
                Provider("anthropic".to_owned()),
                SecretRef("env:TALON_SECRET_A".to_owned()),
            ),
            (
                Provider("openai".to_owned()),
                SecretRef("file:openai.key".to_owned()),
            ),
            (
                Provider("x_ai".to_owned()),
                SecretRef("vault:kv/agents/rp#x".to_owned()),
            ),
            (
                Provider("mistral".to_owned()),
                SecretRef("discarded".to_owned()),
            ),
        ]),
        secrets_version: 7,
        skills: vec![Skill {
            id: "research".to_owned(),
            name: "Research".to_owned(),
            description: "Any topic, with sources.".to_owned(),
            pricing_model: PricingModel::PerRequest,
            price_usd: Some(0.05),
            tags: vec!["a".to_owned(), "b".to_owned()],
            examples: vec!["What is new?".to_owned()],
        }],
        wallet_address: Some("0x0000000000000000000000000000000000000001".to_owned()),
        theme: Some(Theme::default()),
        avatar_url: Some("https://example.com/a.png".to_owned()),
        cover_url: Some("https://example.com/c.png".to_owned()),
        r2: talon_core::spec::R2Spec {
            location_hint: Some(LocationHint::Weur),
            jurisdiction: Jurisdiction::Eu,
            storage_class: StorageClass::InfrequentAccess,
        },
        suspend: true,
        deletion_policy: DeletionPolicy::KeepBucket,
        deletion_protected: true,
        ..spec()
    }
}

pub(super) async fn keeps_every_field(bench: Bench) {
    let owner = Owner("team.a_1".to_owned());
    let wanted = full();
    let made = bench
        .apply(&name("full-one"), &owner, &wanted, ApplyOptions::default())
        .await
        .unwrap();
    let agent = bench.snap(made.id).await.agent;
    assert_eq!(agent.spec, wanted);
    assert_eq!(agent.violations, []);
    assert_eq!(agent.owner, owner);
    assert_eq!(agent.name, name("full-one"));
    assert_eq!(agent.status.deployment_status, DeploymentStatus::Pending);
    assert_eq!(agent.status.observed_generation, Generation(0));
    assert_eq!(agent.created_at, agent.updated_at);
    let again = bench
        .apply(&name("full-one"), &owner, &wanted, ApplyOptions::default())
        .await
        .unwrap();
    assert_eq!(again.outcome, ApplyOutcome::Unchanged);
    let emptied = bench
        .apply(&name("full-one"), &owner, &spec(), ApplyOptions::default())
        .await
        .unwrap();
    assert_eq!(emptied.outcome, ApplyOutcome::Updated);
    assert_eq!(bench.snap(made.id).await.agent.spec, spec());
}

pub(super) async fn honours_if_generation(bench: Bench) {
    let at = |g| ApplyOptions {
        if_generation: Some(g),
        ..ApplyOptions::default()
    };
    let owner = Owner::default();
    let n = name("research-pro");
    let stale = |r, e, a| {
        assert!(
            matches!(r, Err(StoreError::Stale { expected, actual }) if (expected, actual) == (e, a)),
            "{r:?}"
        );
    };
    stale(bench.apply(&n, &owner, &spec(), at(3)).await, 3, 0);
    bench.apply(&n, &owner, &spec(), at(0)).await.unwrap();
    stale(bench.apply(&n, &owner, &spec(), at(0)).await, 0, 1);
    stale(bench.apply(&n, &owner, &spec(), at(2)).await, 2, 1);
    let mut wanted = spec();
    wanted.keep_alive = true;
    let done = bench.apply(&n, &owner, &wanted, at(1)).await.unwrap();
    assert_eq!(done.generation, Generation(2));
    stale(bench.apply(&n, &owner, &wanted, at(1)).await, 1, 2);
}

pub(super) async fn dry_run_leaves_nothing(bench: Bench) {
    let dry = ApplyOptions {
        dry_run: true,
        ..ApplyOptions::default()
    };
    let owner = Owner::default();
    let n = name("research-pro");
    let made = bench.apply(&n, &owner, &spec(), dry).await.unwrap();
    assert_eq!(
        (made.outcome, made.generation),
        (ApplyOutcome::Created, Generation(1))
    );
    assert!(bench.get("research-pro", true).await.unwrap().is_none());
    assert_eq!(bench.last_change().await.unwrap(), 0);

    let id = bench.deployed("research-pro").await;
    let before = bench.snap(id).await;
    let mut wanted = spec();
    wanted.keep_alive = true;
    let done = bench.apply(&n, &owner, &wanted, dry).await.unwrap();
    assert_eq!(
        (done.outcome, done.generation),
        (ApplyOutcome::Updated, Generation(2))
    );
    let after = bench.snap(id).await;
    assert_eq!((after.agent, after.work), (before.agent, before.work));

    wanted.persona = "another".to_owned();
    assert_code(
        bench.apply(&n, &owner, &wanted, dry).await,
        codes::IMMUTABLE,
    );
}

pub(super) async fn refuses_another_owner(bench: Bench) {
    let id = bench.create("research-pro").await;
    let other = Owner("other".to_owned());
    let result = bench
        .apply(
            &name("research-pro"),
            &other,
            &spec(),
            ApplyOptions::default(),
        )
        .await;
    assert_code(result, codes::FIXED);
    assert_eq!(bench.snap(id).await.agent.owner, Owner::default());
}

pub(super) async fn refuses_what_is_no_reference(bench: Bench) {
    for bad in [
        "sk-ant-api03-canary",
        "env:lower",
        "file:../x",
        "file:sk-canary",
        "vault:kv/x",
        "",
    ] {
        let mut wanted = spec();
        wanted
            .api_key_refs
            .insert(Provider("openai".to_owned()), SecretRef(bad.to_owned()));
        let result = bench.put("research-pro", &wanted).await;
        if let Err(e) = &result {
            assert!(!e.to_string().contains("canary") && !format!("{e:?}").contains("canary"));
        }
        assert_code(result, codes::NOT_A_REFERENCE);
    }
    assert!(bench.get("research-pro", true).await.unwrap().is_none());
}

pub(super) async fn refuses_what_does_not_fit(bench: Bench) {
    let breakers: [fn(&mut AgentSpec); 5] = [
        |s| s.persona.clear(),
        |s| s.persona = "x".repeat(65_537),
        |s| s.instructions.clear(),
        |s| s.instructions = "x".repeat(262_145),
        |s| s.model.clear(),
    ];
    for broken in breakers {
        let mut wanted = spec();
        broken(&mut wanted);
        assert_code(bench.put("research-pro", &wanted).await, codes::INVALID);
    }
    let long = Owner("x".repeat(65));
    for owner in [Owner(String::new()), Owner("UPPER".to_owned()), long] {
        let result = bench
            .apply(
                &name("research-pro"),
                &owner,
                &spec(),
                ApplyOptions::default(),
            )
            .await;
        assert_code(result, codes::INVALID);
    }
    assert!(bench.get("research-pro", true).await.unwrap().is_none());
}

pub(super) async fn lists_in_name_order(bench: Bench) {
    for n in ["ccc", "aaa", "bbb"] {
        bench.create(n).await;
    }
    let owner = Owner("other".to_owned());
    bench
        .apply(&name("abc"), &owner, &spec(), ApplyOptions::default())
        .await
        .unwrap();
    bench.archived("zzz", None).await;
    let names = async |filter: ListFilter| {
        let found = bench.list(&filter).await.unwrap();
        found
            .iter()
            .map(|s| s.agent.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(ListFilter::default()).await,
        ["aaa", "abc", "bbb", "ccc"]
    );
    let of_other = ListFilter {
        owner: Some(owner),
        ..Default::default()
    };
    assert_eq!(names(of_other).await, ["abc"]);
    let all = ListFilter {
        include_archived: true,
        ..Default::default()
    };
    assert_eq!(names(all).await, ["aaa", "abc", "bbb", "ccc", "zzz"]);
    let deployed = ListFilter {
        status: Some(DeploymentStatus::Deployed),
        ..Default::default()
    };
    assert!(names(deployed).await.is_empty());
    let one = bench.get("bbb", false).await.unwrap().unwrap();
    assert_eq!(one.agent.name, name("bbb"));
    assert!(bench.get("zzz", false).await.unwrap().is_none());
    assert!(bench.get("no such name; --", true).await.unwrap().is_none());
}

pub(super) async fn loads_pages_in_id_order(bench: Bench) {
    for i in 0..7 {
        bench.create(&format!("agent-{i}")).await;
    }
    bench.archived("gone", None).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = bench.load_page(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.agent.id);
        seen.extend(page.iter().map(|s| s.agent.id));
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
}

pub(super) async fn suspends(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let n = name("research-pro");
    assert!(bench.set_suspend(&n, true).await.unwrap());
    assert!(!bench.set_suspend(&n, true).await.unwrap());
    let snap = bench.snap(id).await;
    assert!(snap.agent.spec.suspend);
    assert_eq!(snap.agent.generation, Generation(2));
    assert!(snap.work.next_due_at.is_some_and(|due| due <= snap.now));
    assert!(bench.set_suspend(&n, false).await.unwrap());
    assert_eq!(bench.snap(id).await.agent.generation, Generation(3));
}

pub(super) async fn asks_for_a_pass(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let n = name("research-pro");
    assert_eq!(bench.snap(id).await.work.next_due_at, None);
    bench.request_reconcile(&n).await.unwrap();
    let first = bench.snap(id).await;
    let at = first.agent.reconcile_requested_at.unwrap();
    assert!(first.work.next_due_at.is_some_and(|due| due <= first.now));
    assert_eq!(first.agent.generation, Generation(1));
    bench.request_reconcile(&n).await.unwrap();
    let again = bench.snap(id).await.agent.reconcile_requested_at.unwrap();
    assert!(
        again > at,
        "two requests in one tick of the clock are two requests"
    );
}

pub(super) async fn does_not_find_what_is_not_there(bench: Bench) {
    let n = name("nobody");
    assert!(matches!(
        bench.request_deletion(&n, false).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        bench.request_reconcile(&n).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        bench.set_suspend(&n, true).await,
        Err(StoreError::NotFound)
    ));
    assert!(bench.get("nobody", true).await.unwrap().is_none());
    let id = bench.archived("nobody", None).await;
    assert!(matches!(
        bench.request_deletion(&n, false).await,
        Err(StoreError::NotFound)
    ));
    assert!(
        bench.load(id).await.unwrap().is_some(),
        "load finds archived rows"
    );
}
