use proptest::prelude::*;

use super::*;
use crate::cloud::{Binding, CreatedToken, SecretChange, WorkerUpload};

fn value() -> impl Strategy<Value = String> {
    "[A-Za-z0-9/+_=.-]{8,80}"
}

#[test]
fn a_reference_points_where_it_says() {
    let parse = |s: &str| SecretRef(s.into()).parse().map(|t| format!("{t:?}"));
    assert_eq!(parse("env:A_1").unwrap(), "Env(\"A_1\")");
    assert_eq!(parse("file:a.key").unwrap(), "File(\"a.key\")");
    assert_eq!(
        parse("vault:kv/a/b#c").unwrap(),
        "Vault { path: \"kv/a/b\", field: \"c\" }"
    );
    assert_eq!(parse("discarded").unwrap(), "Discarded");
}

#[test]
fn a_provider_names_its_secret() {
    assert_eq!(
        Provider("anthropic".into()).secret_name(),
        "ANTHROPIC_API_KEY"
    );
    for good in ["a", "openai", "a1_b", &"a".repeat(32)] {
        assert!(Provider(good.into()).is_well_formed(), "{good}");
    }
    for bad in [
        "",
        "A",
        "1a",
        "_a",
        "a-b",
        "a b",
        "sk_live_1",
        "gsk_abc",
        &"a".repeat(33),
        "ä",
    ] {
        assert!(!Provider(bad.into()).is_well_formed(), "{bad}");
    }
}

#[test]
fn hashes_are_the_documented_ones() {
    let v = SecretValue::new("value".into());
    assert_eq!(
        v.sha256_hex(),
        "cd42404d52ad55ccfa9aca4adc828aa5800ad9d385a0671fbcbf724118320619"
    );
    // RFC 4231, test case 2.
    assert_eq!(
        keyed_hex(b"Jefe", &[b"what do ya want ", b"for nothing?"]),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

proptest! {
    #[test]
    fn nothing_that_holds_a_value_shows_it(text in value()) {
        let secret = || SecretValue::new(text.clone());
        let upload = WorkerUpload {
            main_module: "m".into(),
            modules: vec![],
            bindings: vec![Binding::SecretText { name: "K".into(), value: secret() }],
            compatibility_date: String::new(),
            compatibility_flags: vec![],
            migration: None,
            tags: vec![],
        };
        let shown = [
            format!("{:?} {:#?}", secret(), secret()),
            format!("{:?} {:#?}", Some(secret()), vec![secret().duplicate()]),
            format!("{upload:?}"),
            format!("{:?}", SecretChange { name: "K".into(), value: Some(secret()) }),
            format!("{:?}", CreatedToken { id: "i".into(), value: secret() }),
        ];
        for s in shown {
            prop_assert!(!s.contains(&text), "{}", s);
        }
    }

    #[test]
    fn a_text_that_is_no_reference_is_not_shown(text in any::<String>()) {
        let shown = format!("{:?}", SecretRef(text.clone()));
        if SecretRef(text.clone()).parse().is_none() {
            prop_assert_eq!(shown, "SecretRef(not a reference)");
        } else {
            prop_assert_eq!(shown, text);
        }
    }

    #[test]
    fn no_reference_leads_out_of_its_directory(text in "(env|file|vault):[ -~\u{0}ä/.#\\\\-]{0,40}") {
        if let Some(RefTarget::File(name)) = SecretRef(text.clone()).parse() {
            prop_assert!(!name.contains(['/', '\\', '\0']) && name != ".." && name != ".");
            prop_assert!(!looks_like_key(name));
        }
    }

    #[test]
    fn fingerprints_tell_names_values_and_keys_apart(a in value(), b in value(), key in value()) {
        let (va, vb, k) = (SecretValue::new(a.clone()), SecretValue::new(b.clone()), SecretValue::new(key));
        prop_assert_eq!(va.fingerprint(&k, "N") == vb.fingerprint(&k, "N"), a == b);
        prop_assert_ne!(va.fingerprint(&k, "N"), va.fingerprint(&k, "M"));
        prop_assert_ne!(va.fingerprint(&k, "N"), va.fingerprint(&SecretValue::new("other".into()), "N"));
    }
}
