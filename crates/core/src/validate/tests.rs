use proptest::prelude::*;

use super::*;
use crate::fixtures::{any_spec, full, minimal, name, refs};
use crate::spec::{PricingModel, Theme};

fn pointers(spec: &AgentSpec) -> Vec<String> {
    validate(&name(), spec)
        .into_iter()
        .map(|v| v.pointer)
        .collect()
}

fn refused(change: impl FnOnce(&mut AgentSpec)) -> Vec<String> {
    let mut spec = full();
    change(&mut spec);
    pointers(&spec)
}

#[test]
fn minimal_and_full_specs_are_valid() {
    assert_eq!(validate(&name(), &minimal()), vec![]);
    assert_eq!(validate(&name(), &full()), vec![]);
    assert_eq!(warnings(&full()), vec![]);
}

#[test]
fn everything_wrong_is_said_at_once() {
    let mut spec = full();
    spec.persona = " ".into();
    spec.model = "claude".into();
    spec.skills[1].id = "research".into();
    spec.skills[0].price_usd = None;
    spec.wallet_address = Some("0x12".into());
    spec.theme = Some(Theme {
        primary_color: "red".into(),
        background_color: "#12345g".into(),
    });
    spec.avatar_url = Some("http://example.com".into());
    insta::assert_json_snapshot!(validate(&name(), &spec));
}

#[test]
fn prompts_are_limited_in_bytes_and_the_identity_in_characters() {
    assert_eq!(
        refused(|s| s.persona = "ä".repeat(MAX_PROMPT_BYTES / 2)),
        ["/spec"]
    );
    let both = refused(|s| s.persona = "a".repeat(MAX_PROMPT_BYTES + 1));
    assert_eq!(both, ["/spec/persona", "/spec"]);
}

#[test]
fn the_identity_limit_is_exact_and_says_by_how_much() {
    let mut spec = minimal();
    let frame = identity::compile(&name(), &spec).markdown.chars().count() - spec.persona.len();
    spec.persona = "ü".repeat(identity::MAX_CHARS - frame);
    assert_eq!(validate(&name(), &spec), vec![]);
    spec.persona.push_str("üüü");
    let found = validate(&name(), &spec);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .detail
            .contains("has 3 characters more than the 20000"),
        "{}",
        found[0].detail
    );
}

#[test]
fn texts_are_bounded_and_clean() {
    assert_eq!(
        refused(|s| s.display_name = Some("x".repeat(101))),
        ["/spec/displayName"]
    );
    assert_eq!(
        refused(|s| s.display_name = Some("a\nb".into())),
        ["/spec/displayName"]
    );
    assert_eq!(
        refused(|s| s.display_name = Some("a\u{202e}b".into())),
        ["/spec/displayName"]
    );
    assert_eq!(
        refused(|s| s.description = Some("x".repeat(2001))),
        ["/spec/description"]
    );
    assert_eq!(
        refused(|s| s.display_description = Some("x".repeat(10_001))),
        ["/spec/displayDescription"]
    );
    assert_eq!(
        refused(|s| s.instructions = "a\0b".into()),
        ["/spec/instructions"]
    );
    assert_eq!(
        refused(|s| s.display_name = Some("❤\u{fe0f} Bot".into())),
        [""; 0]
    );
}

#[test]
fn invisible_text_is_no_text() {
    assert_eq!(
        refused(|s| s.persona = "\u{200b}\n \u{feff}".into()),
        ["/spec/persona"]
    );
}

#[test]
fn skills_follow_the_networks_rules() {
    let skill = |change: &dyn Fn(&mut crate::spec::Skill)| refused(|s| change(&mut s.skills[1]));
    for bad in ["", "-a", ".a", "a b", "ä", &"x".repeat(64)] {
        assert_eq!(
            skill(&|s| s.id = bad.into()),
            ["/spec/skills/1/id"],
            "{bad}"
        );
    }
    assert_eq!(skill(&|s| s.id = "x".repeat(63)), [""; 0]);
    assert_eq!(skill(&|s| s.name = " ".into()), ["/spec/skills/1/name"]);
    assert_eq!(
        skill(&|s| s.description = String::new()),
        ["/spec/skills/1/description"]
    );
    for bad in [f64::NAN, f64::INFINITY, -0.01, 1e9] {
        let found = skill(&|s| {
            s.pricing_model = PricingModel::PerRequest;
            s.price_usd = Some(bad);
        });
        assert_eq!(found, ["/spec/skills/1/priceUsd"]);
    }
    assert_eq!(
        skill(&|s| s.price_usd = Some(1.0)),
        ["/spec/skills/1/priceUsd"]
    );
    assert_eq!(skill(&|s| s.price_usd = Some(0.0)), [""; 0]);
    assert_eq!(
        skill(&|s| s.tags = vec!["t".into(); 21]),
        ["/spec/skills/1/tags"]
    );
    assert_eq!(
        skill(&|s| s.examples = vec!["ok".into(), "x".repeat(501)]),
        ["/spec/skills/1/examples/1"]
    );
    let many = refused(|s| {
        s.skills = (0..51)
            .map(|i| crate::spec::Skill {
                id: format!("s{i}"),
                ..s.skills[1].clone()
            })
            .collect();
    });
    assert_eq!(many, ["/spec/skills"]);
}

#[test]
fn addresses_of_pictures_are_https() {
    for good in [
        "https://a",
        "https://a.b:443/x?y=%20#z",
        "https://a-b.example/",
    ] {
        assert_eq!(
            refused(|s| s.cover_url = Some(good.into())),
            [""; 0],
            "{good}"
        );
    }
    for bad in [
        "",
        "https://",
        "http://a",
        "HTTPS://a",
        "https://user:pw@a/",
        "https://a b",
        "https://a/\"x",
        "https://ä",
        "https://a:0/",
        "https://a:99999/",
        "https://.a/",
        "javascript:alert(1)",
        "https://a/\n",
        &format!("https://a/{}", "x".repeat(2048)),
    ] {
        assert_eq!(
            refused(|s| s.cover_url = Some(bad.into())),
            ["/spec/coverUrl"],
            "{bad}"
        );
    }
}

#[test]
fn a_pasted_key_is_refused_and_never_repeated() {
    const KEY: &str = "sk-ant-api03-verysecretverysecret1";
    let mut spec = full();
    spec.api_key_refs = refs(&[("anthropic", KEY), (KEY, "env:X"), ("sk_live_abc", "env:X")]);
    spec.model = format!("anthropic/{KEY}");
    spec.wallet_address = Some(KEY.into());
    spec.avatar_url = Some(KEY.into());
    spec.skills[0].id = format!("{KEY} ");
    let found = validate(&name(), &spec);
    assert_eq!(found.len(), 7);
    let shown = format!("{found:?} {}", serde_json::to_string(&found).unwrap());
    assert!(!shown.contains("verysecret"), "{shown}");
    assert!(!shown.contains("sk_live"), "{shown}");
}

#[test]
fn references_have_the_contracts_shapes() {
    for good in ["env:A", "file:a.key", "vault:kv/a#b", "discarded"] {
        assert_eq!(
            refused(|s| s.api_key_refs = refs(&[("openai", good)])),
            [""; 0],
            "{good}"
        );
    }
    for bad in [
        "",
        "env:",
        "env:a",
        "env:1A",
        "file:",
        "file:..",
        "file:a/b",
        "file:sk-abc",
        "vault:a",
        "vault:#a",
        "vault:a#",
        "ENV:A",
        "env:A ",
        "file:\u{0}",
        "file:ä",
    ] {
        assert_eq!(
            refused(|s| s.api_key_refs = refs(&[("openai", bad)])),
            ["/spec/apiKeyRefs/openai"],
            "{bad}"
        );
    }
}

#[test]
fn texts_that_look_like_keys_are_warned_of_by_position() {
    let mut spec = full();
    spec.persona = "Hello.\nUse ä \"sk-ant-api03-0123456789abcdef\" for all.".into();
    spec.instructions = "sk-learn is fine, sk-is-a-prefix-without-digits too".into();
    spec.skills[1].examples = vec!["-----BEGIN RSA PRIVATE KEY-----".into()];
    let found = warnings(&spec);
    let places: Vec<(&str, &str)> = found
        .iter()
        .map(|v| (v.pointer.as_str(), v.detail.split(" looks").next().unwrap()))
        .collect();
    assert_eq!(
        places,
        [
            ("/spec/persona", "line 2, column 8"),
            ("/spec/skills/1/examples/0", "line 1, column 1"),
        ]
    );
    assert!(!format!("{found:?}").contains("0123456789"));
}

proptest! {
    #[test]
    fn validation_is_total_and_repeats_no_value(mut spec in any_spec()) {
        const CANARY: &str = "Zq7CANARYx";
        for text in [&mut spec.persona, &mut spec.instructions, &mut spec.model] {
            text.push_str(CANARY);
        }
        for skill in &mut spec.skills {
            skill.id.push_str(CANARY);
            skill.name.push_str(CANARY);
        }
        spec.api_key_refs = spec
            .api_key_refs
            .into_iter()
            .map(|(p, r)| (Provider(p.0 + CANARY), SecretRef(r.0 + CANARY)))
            .collect();
        let shown = format!("{:?}{:?}", validate(&name(), &spec), warnings(&spec));
        prop_assert!(!shown.contains(CANARY));
    }
}
