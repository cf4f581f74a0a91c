use proptest::prelude::*;

use super::*;

fn install() -> InstallId {
    InstallId::from_random([7; 10])
}

#[test]
fn agent_names_follow_the_networks_rule() {
    for good in [
        "abc",
        "a1b",
        "research-pro",
        "a-b-c",
        "123",
        &"a".repeat(30),
    ] {
        assert!(AgentName::parse(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", NameError::Length),
        ("ab", NameError::Length),
        (&"a".repeat(31) as &str, NameError::Length),
        ("-ab", NameError::Shape),
        ("ab-", NameError::Shape),
        ("a--b", NameError::Shape),
        ("Abc", NameError::Shape),
        ("a_b", NameError::Shape),
        ("a.b", NameError::Shape),
        ("äöü", NameError::Shape),
        ("abc\n", NameError::Shape),
        ("admin", NameError::Reserved),
        ("system", NameError::Reserved),
    ] {
        assert_eq!(AgentName::parse(bad), Err(why), "{bad:?}");
    }
}

#[test]
fn owners_have_one_shape() {
    for good in ["a", "default", "team-a.b_c", &"x".repeat(64)] {
        assert_eq!(Owner::parse(good), Some(Owner(good.into())));
    }
    for bad in ["", "A", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert_eq!(Owner::parse(bad), None, "{bad}");
    }
}

#[test]
fn names_read_from_elsewhere_are_checked() {
    assert!(serde_json::from_str::<AgentName>("\"research-pro\"").is_ok());
    assert!(serde_json::from_str::<AgentName>("\"No\"").is_err());
}

#[test]
fn a_bucket_looks_ours_only_with_our_install() {
    let other = InstallId::from_random([9; 10]);
    let bucket = bucket_name(&install(), "w-abc");
    assert!(bucket_looks_ours(&install(), &bucket));
    assert!(!bucket_looks_ours(&other, &bucket));
    assert!(!bucket_looks_ours(&install(), "openclaw"));
    assert!(!bucket_looks_ours(
        &install(),
        &format!("openclaw-{}", install().short())
    ));
}

#[test]
fn an_agent_of_the_same_name_has_a_worker_of_another_name() {
    let name = AgentName::parse("research-pro").unwrap();
    let worker = |n| worker_name(&install(), AgentId(uuid::Uuid::from_u128(n)), &name);
    assert_ne!(worker(1), worker(2));
    // The rule is for ever: what was deployed is found again under it.
    assert_eq!(worker(1), "research-pro-4j5urztzmy");
}

fn agent_name() -> impl Strategy<Value = AgentName> {
    "[a-z0-9]([a-z0-9]|-[a-z0-9]){1,14}[a-z0-9]"
        .prop_filter_map("reserved or too long", |s| AgentName::parse(&s).ok())
}

proptest! {
    #[test]
    fn derived_names_fit_and_are_stable(name in agent_name(), id: u128, install: [u8; 10]) {
        let install = InstallId::from_random(install);
        let id = AgentId(uuid::Uuid::from_u128(id));
        let worker = worker_name(&install, id, &name);
        prop_assert!(worker.len() <= 54);
        prop_assert!(worker.starts_with(name.as_str()));
        prop_assert_eq!(&worker, &worker_name(&install, id, &name));
        let bucket = bucket_name(&install, &worker);
        prop_assert!((3..=63).contains(&bucket.len()));
        prop_assert!(bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        prop_assert!(bucket_looks_ours(&install, &bucket));
        prop_assert_eq!(agent_of_token(&install, &token_name(&install, id)), Some(id));
        let other = InstallId::from_random([0xEE; 10]);
        if other != install {
            prop_assert_eq!(agent_of_token(&other, &token_name(&install, id)), None);
            prop_assert_ne!(worker_name(&other, id, &name), worker);
        }
    }

    #[test]
    fn marks_survive_the_round_trip_and_foreign_tags(
        id: u128, install: [u8; 10], ms in 0u64..(1 << 48), chance: u128, code in "[0-9a-f]{16}",
        foreign in proptest::collection::vec("[a-z]{1,8}", 0..3),
    ) {
        let marks = WorkerMarks {
            install: InstallId::from_random(install),
            agent: AgentId(uuid::Uuid::from_u128(id)),
            code,
            try_id: TryId::new(ms, chance),
        };
        let mut tags = marks.to_tags();
        prop_assert!(tags.len() <= 8 && tags.iter().all(|t| !t.contains([',', '&', ':'])));
        tags.extend(foreign);
        tags.reverse();
        prop_assert_eq!(WorkerMarks::from_tags(&tags), Some(marks.clone()));
        for missing in marks.to_tags() {
            let rest: Vec<String> = tags.iter().filter(|t| **t != missing).cloned().collect();
            prop_assert_eq!(WorkerMarks::from_tags(&rest), None);
        }
    }

    #[test]
    fn a_name_is_accepted_exactly_by_the_rule(s in "[a-c-]{0,6}|[a-z0-9-]{0,33}|.{0,8}") {
        let b = s.as_bytes();
        let inner = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-';
        let rule = (3..=30).contains(&b.len()) && b.iter().all(inner)
            && b[0] != b'-' && b[b.len() - 1] != b'-' && !s.contains("--") && !RESERVED.contains(&s.as_str());
        prop_assert_eq!(AgentName::parse(&s).is_ok(), rule);
    }
}
