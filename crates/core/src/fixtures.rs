//! Specs that the tests of this crate share.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::name::AgentName;
use crate::secret::{Provider, SecretRef};
use crate::spec::{
    AgentSpec, DeletionPolicy, Jurisdiction, LocationHint, PricingModel, R2Spec, Skill,
    StorageClass, Theme, Visibility,
};

pub(crate) fn name() -> AgentName {
    AgentName::parse("research-pro").unwrap()
}

/// Only what is required.
pub(crate) fn minimal() -> AgentSpec {
    serde_json::from_value(serde_json::json!({
        "persona": "You are a careful research analyst.",
        "instructions": "Cite every claim.",
        "model": "anthropic/claude-sonnet-4-6",
    }))
    .unwrap()
}

/// Everything that can be said, and valid.
pub(crate) fn full() -> AgentSpec {
    AgentSpec {
        display_name: Some("Research Pro".into()),
        description: Some("Researches any topic.\nWith sources.".into()),
        display_description: Some("A longer text.".into()),
        keep_alive: true,
        visibility: Visibility::Public,
        api_key_refs: refs(&[
            ("anthropic", "env:TALON_SECRET_ANTHROPIC"),
            ("openai", "file:openai.key"),
        ]),
        secrets_version: 3,
        skills: vec![
            Skill {
                id: "research".into(),
                name: "Research".into(),
                description: "Research any topic with sources.".into(),
                pricing_model: PricingModel::PerRequest,
                price_usd: Some(0.05),
                tags: vec!["science".into(), "news".into()],
                examples: vec!["Who discovered insulin?".into()],
            },
            Skill {
                id: "summary".into(),
                name: "Summary".into(),
                description: "Summarise a text.".into(),
                pricing_model: PricingModel::Free,
                price_usd: None,
                tags: vec![],
                examples: vec![],
            },
        ],
        wallet_address: Some(format!("0x{}", "aB".repeat(20))),
        theme: Some(Theme {
            primary_color: "#123456".into(),
            background_color: "#abcdef".into(),
        }),
        avatar_url: Some("https://example.com/a.png".into()),
        cover_url: Some("https://example.com:8443/c.png?x=1".into()),
        r2: R2Spec {
            location_hint: Some(LocationHint::Weur),
            jurisdiction: Jurisdiction::Eu,
            storage_class: StorageClass::InfrequentAccess,
        },
        suspend: true,
        deletion_policy: DeletionPolicy::KeepBucket,
        deletion_protected: true,
        ..minimal()
    }
}

pub(crate) fn refs(entries: &[(&str, &str)]) -> BTreeMap<Provider, SecretRef> {
    entries
        .iter()
        .map(|(p, r)| (Provider((*p).into()), SecretRef((*r).into())))
        .collect()
}

/// Text made of what is special in Markdown and YAML, mixed with anything.
pub(crate) fn nasty_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "#",
            "# Skills",
            "## Persona",
            "===",
            "---",
            "\n",
            "\r\n",
            "\r",
            "\u{2028}",
            "\u{85}",
            "\t",
            " ",
            "    ",
            "\u{a0}",
            "\u{3000}",
            "\u{200b}",
            "\u{202e}",
            "\u{feff}",
            "\u{0}",
            "\u{1b}[31m",
            "```",
            "~~~",
            "````x",
            "<!--",
            "-->",
            "<pre>",
            "<script",
            "<?",
            "<![CDATA[",
            "- ",
            "> ",
            "* ",
            "1. ",
            "word",
            "'",
            "\"",
            ": ",
            "\\",
            "&a",
            "*a",
            "!t",
            "|",
            "[",
            "{",
            "]",
            "}",
            ",",
            "%",
            "@",
            "`",
            "null",
            "true",
            "1e3",
            "~",
            "\u{b}",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|v| v.concat())
}

/// Any spec that the manifest can express; not always a valid one.
pub(crate) fn any_spec() -> impl Strategy<Value = AgentSpec> {
    let text = || nasty_text();
    let some = || proptest::option::of(nasty_text());
    let skill = (
        text(),
        text(),
        text(),
        any::<bool>(),
        proptest::option::of(0.0f64..1e6),
        proptest::collection::vec(text(), 0..3),
        proptest::collection::vec(text(), 0..3),
    )
        .prop_map(
            |(id, name, description, paid, price_usd, tags, examples)| Skill {
                id,
                name,
                description,
                pricing_model: if paid {
                    PricingModel::PerRequest
                } else {
                    PricingModel::Free
                },
                price_usd,
                tags,
                examples,
            },
        );
    (
        (text(), text(), text()),
        (some(), some(), some(), some(), some(), some()),
        proptest::collection::vec(skill, 0..4),
        proptest::collection::btree_map(
            text().prop_map(Provider),
            text().prop_map(SecretRef),
            0..3,
        ),
        any::<i64>(),
        any::<[bool; 5]>(),
    )
        .prop_map(
            |((persona, instructions, model), o, skills, refs, version, b)| AgentSpec {
                persona,
                instructions,
                model,
                display_name: o.0,
                description: o.1,
                display_description: o.2,
                wallet_address: o.3,
                avatar_url: o.4,
                cover_url: o.5,
                skills,
                api_key_refs: refs,
                secrets_version: version,
                keep_alive: b[0],
                suspend: b[1],
                deletion_protected: b[2],
                ..if b[3] { full() } else { minimal() }
            },
        )
}
