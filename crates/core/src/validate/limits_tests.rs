//! Every limit, met exactly and passed by one; and every text that is looked through for keys.

use super::*;
use crate::fixtures::{full, name};
use crate::secret::Provider;

fn found(change: impl FnOnce(&mut AgentSpec)) -> Vec<Violation> {
    let mut spec = full();
    change(&mut spec);
    validate(&name(), &spec)
}

/// Puts a text where it belongs.
type Set = fn(&mut AgentSpec, String);

#[test]
fn what_just_fits_is_taken_and_one_more_is_not() {
    type Limit = (&'static str, usize, fn(&mut AgentSpec, usize));
    let limits: [Limit; 14] = [
        ("/spec/displayName", 100, |s, n| {
            s.display_name = Some("x".repeat(n))
        }),
        ("/spec/description", 2_000, |s, n| {
            s.description = Some("x".repeat(n))
        }),
        ("/spec/displayDescription", 10_000, |s, n| {
            s.display_description = Some("x".repeat(n));
        }),
        ("/spec/model", 200, |s, n| {
            s.model = format!("a/{}", "m".repeat(n - 2))
        }),
        ("/spec/apiKeyRefs", 32, |s, n| {
            let entry = |i| (Provider(format!("p{i}")), SecretRef("env:A".to_owned()));
            s.api_key_refs = (0..n).map(entry).collect();
        }),
        ("/spec/avatarUrl", 2_048, |s, n| {
            let start = "https://example.com/";
            s.avatar_url = Some(format!("{start}{}", "x".repeat(n - start.len())));
        }),
        ("/spec/skills", 50, |s, n| {
            let skill = s.skills[1].clone();
            s.skills = (0..n).map(|_| skill.clone()).collect();
            for (i, skill) in s.skills.iter_mut().enumerate() {
                skill.id = format!("s{i}");
            }
        }),
        ("/spec/skills/0/id", 63, |s, n| {
            s.skills[0].id = "x".repeat(n)
        }),
        ("/spec/skills/0/name", 100, |s, n| {
            s.skills[0].name = "x".repeat(n)
        }),
        ("/spec/skills/0/description", 2_000, |s, n| {
            s.skills[0].description = "x".repeat(n);
        }),
        ("/spec/skills/0/tags", 20, |s, n| {
            s.skills[0].tags = vec!["x".to_owned(); n]
        }),
        ("/spec/skills/0/tags/0", 50, |s, n| {
            s.skills[0].tags = vec!["x".repeat(n)]
        }),
        ("/spec/skills/0/examples", 20, |s, n| {
            s.skills[0].examples = vec!["x".to_owned(); n];
        }),
        ("/spec/skills/0/examples/0", 500, |s, n| {
            s.skills[0].examples = vec!["x".repeat(n)];
        }),
    ];
    for (pointer, most, set) in limits {
        assert_eq!(found(|s| set(s, most)), [], "{pointer}");
        let over = found(|s| set(s, most + 1));
        let pointers: Vec<&str> = over.iter().map(|v| v.pointer.as_str()).collect();
        assert_eq!(pointers, [pointer], "{over:?}");
    }
}

#[test]
fn a_price_is_taken_up_to_its_limit() {
    assert_eq!(found(|s| s.skills[0].price_usd = Some(10_000.0)), []);
    let over = found(|s| s.skills[0].price_usd = Some(10_000.01));
    assert_eq!(over[0].pointer, "/spec/skills/0/priceUsd");
}

#[test]
fn a_prompt_that_is_too_long_is_told_by_how_much() {
    let over = found(|s| s.persona = "x".repeat(MAX_PROMPT_BYTES + 3));
    assert!(over[0].detail.starts_with("has 3 bytes more"), "{over:?}");
}

#[test]
fn revisions_of_secrets_count_from_one() {
    assert_eq!(found(|s| s.secrets_version = 1), []);
    for low in [0, -1] {
        let low = found(|s| s.secrets_version = low);
        assert_eq!(low.len(), 1);
        assert_eq!(low[0].pointer, "/spec/secretsVersion");
    }
}

#[test]
fn what_is_empty_and_what_is_wrong_are_told_apart() {
    let detail = |change: fn(&mut AgentSpec)| {
        let all = found(change);
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].detail.clone()
    };
    assert!(detail(|s| s.display_name = Some(" ".into())).starts_with("is empty"));
    assert!(detail(|s| s.display_name = Some("a\tb".into())).starts_with("must be one line"));
    assert!(detail(|s| s.model = String::new()).starts_with("is required"));
    assert!(detail(|s| s.model = "claude".into()).starts_with("must be provider/model"));
    assert!(detail(|s| s.skills[0].name = " ".into()).starts_with("is required"));
    assert!(detail(|s| s.skills[0].name = "a\nb".into()).starts_with("must be one line"));
    assert!(detail(|s| s.skills[0].description = " ".into()).starts_with("is required"));
}

#[test]
fn no_text_of_people_holds_a_nul() {
    let set: [(&str, Set); 5] = [
        ("/spec/persona", |s, t| s.persona = t),
        ("/spec/instructions", |s, t| s.instructions = t),
        ("/spec/description", |s, t| s.description = Some(t)),
        ("/spec/displayDescription", |s, t| {
            s.display_description = Some(t)
        }),
        ("/spec/skills/0/description", |s, t| {
            s.skills[0].description = t
        }),
    ];
    for (pointer, set) in set {
        let all = found(|s| set(s, "a\0b".to_owned()));
        assert_eq!(all.len(), 1, "{pointer}: {all:?}");
        assert_eq!(all[0].pointer, pointer);
        assert!(all[0].detail.contains("NUL"));
    }
}

#[test]
fn a_providers_name_is_repeated_only_where_it_is_too_short_to_be_a_key() {
    let pointer = |n: usize| key_ref_pointer(&Provider("p".repeat(n)));
    assert_eq!(pointer(24), format!("/spec/apiKeyRefs/{}", "p".repeat(24)));
    assert_eq!(pointer(25), "/spec/apiKeyRefs");
    assert_eq!(
        key_ref_pointer(&Provider("No".to_owned())),
        "/spec/apiKeyRefs"
    );
}

#[test]
fn every_text_is_looked_through_for_keys() {
    const KEY: &str = "sk-0123456789abcdefg";
    let set: [(&str, Set); 12] = [
        ("/spec/persona", |s, t| s.persona = t),
        ("/spec/instructions", |s, t| s.instructions = t),
        ("/spec/displayName", |s, t| s.display_name = Some(t)),
        ("/spec/description", |s, t| s.description = Some(t)),
        ("/spec/displayDescription", |s, t| {
            s.display_description = Some(t)
        }),
        ("/spec/avatarUrl", |s, t| s.avatar_url = Some(t)),
        ("/spec/coverUrl", |s, t| s.cover_url = Some(t)),
        ("/spec/skills/1/id", |s, t| s.skills[1].id = t),
        ("/spec/skills/1/name", |s, t| s.skills[1].name = t),
        ("/spec/skills/1/description", |s, t| {
            s.skills[1].description = t
        }),
        ("/spec/skills/1/tags/1", |s, t| {
            s.skills[1].tags = vec![String::new(), t]
        }),
        ("/spec/skills/1/examples/1", |s, t| {
            s.skills[1].examples = vec![String::new(), t]
        }),
    ];
    for (pointer, set) in set {
        let at = |text: &str| {
            let mut spec = full();
            set(&mut spec, text.to_owned());
            warnings(&spec)
        };
        let told = at(KEY);
        assert_eq!(told.len(), 1, "{pointer}");
        assert_eq!(told[0].pointer, pointer);
        assert!(
            told[0].detail.starts_with("line 1, column 1 "),
            "{}",
            told[0].detail
        );
    }
    for (text, key) in [
        (KEY, true),
        // Too short by one; no digit; no known beginning.
        (&KEY[..19], false),
        ("sk-abcdefghijklmnopqrstuvwxyz", false),
        ("zz-0123456789abcdefghijkl", false),
    ] {
        let mut spec = full();
        spec.persona = text.to_owned();
        assert_eq!(!warnings(&spec).is_empty(), key, "{text}");
    }
}
