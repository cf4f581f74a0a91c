use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures::{any_spec, full, minimal};

#[test]
fn defaults_are_not_written() {
    assert_eq!(
        serde_json::to_value(minimal()).unwrap(),
        json!({
            "persona": "You are a careful research analyst.",
            "instructions": "Cite every claim.",
            "model": "anthropic/claude-sonnet-4-6",
            "keepAlive": false,
            "visibility": "private",
        })
    );
}

#[test]
fn a_full_spec_in_json() {
    insta::assert_json_snapshot!(full());
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    let whole = serde_json::to_value(full()).unwrap();
    for pointer in ["", "/skills/0", "/theme", "/r2"] {
        let mut spec = whole.clone();
        spec.pointer_mut(pointer).unwrap()["extra"] = json!(1);
        assert!(
            serde_json::from_value::<AgentSpec>(spec).is_err(),
            "{pointer}"
        );
    }
}

#[test]
fn columns_of_the_database_may_write_snake_case() {
    let skill: Skill = serde_json::from_value(json!({
        "id": "a", "name": "A", "description": "d", "pricing_model": "per_request", "price_usd": 1.5,
    }))
    .unwrap();
    assert_eq!(
        (skill.pricing_model, skill.price_usd),
        (PricingModel::PerRequest, Some(1.5))
    );
    let theme: Theme = serde_json::from_value(json!({"primary_color": "#000000"})).unwrap();
    assert_eq!(
        (
            theme.primary_color.as_str(),
            theme.background_color.as_str()
        ),
        ("#000000", "#FFFFFF")
    );
    let r2: R2Spec =
        serde_json::from_value(json!({"location_hint": "apac", "storage_class": "Standard"}))
            .unwrap();
    assert_eq!(r2.location_hint, Some(LocationHint::Apac));
}

#[test]
fn words_for_cloudflare_are_the_words_of_the_manifest() {
    use LocationHint::*;
    for hint in [Apac, Eeur, Enam, Weur, Wnam, Oc] {
        assert_eq!(serde_json::to_value(hint).unwrap(), hint.as_str());
    }
    for j in [
        Jurisdiction::Default,
        Jurisdiction::Eu,
        Jurisdiction::Fedramp,
    ] {
        assert_eq!(serde_json::to_value(j).unwrap(), j.as_str());
    }
    for s in [StorageClass::Standard, StorageClass::InfrequentAccess] {
        assert_eq!(serde_json::to_value(s).unwrap(), s.as_str());
    }
}

proptest! {
    #[test]
    fn a_spec_survives_json(spec in any_spec()) {
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<AgentSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn debug_of_a_spec_shows_no_pasted_key(key in "sk-ant-[A-Za-z0-9]{20,40}") {
        let mut spec = full();
        spec.api_key_refs = crate::fixtures::refs(&[("anthropic", &key)]);
        let shown = format!("{spec:?} {spec:#?}");
        prop_assert!(!shown.contains(&key));
    }
}
