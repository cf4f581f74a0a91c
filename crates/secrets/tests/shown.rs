//! Whatever holds a value, or was made from one, shows none of it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use talon_core::Owner;
use talon_core::secret::{SecretRef, SecretValue};
use talon_secrets::scope::Scope;
use talon_secrets::{InstallKey, Redactor, ScopedReader, Scopes, SecretReader, Vault, VaultConfig};

const REFERENCE: &str = "env:TALON_SECRET_X";

fn read_error(reader: &ScopedReader, reference: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let reference = SecretRef(reference.to_owned());
    let read = runtime.block_on(reader.read(&Owner::default(), &reference));
    match read {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error} {error:?}"),
    }
}

fn vault(token: String) -> Vault {
    Vault::new(VaultConfig {
        address: "http://127.0.0.1:1/".parse().expect("a URL"),
        token: Box::new(move || Ok(SecretValue::new(token.clone()))),
        namespace: None,
        mount: None,
        ca_file: None,
        timeout: std::time::Duration::from_millis(50),
    })
    .expect("a client")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_shows_a_value(value in "[!-~]{12,80}", hex in "[0-9a-f]{64}") {
        prop_assume!(SecretRef(value.clone()).parse().is_none());
        let environment: BTreeMap<String, SecretValue> =
            [("TALON_SECRET_X".to_owned(), SecretValue::new(value.clone()))].into();
        let scope = Scope {
            env: vec!["TALON_SECRET_*".to_owned()],
            vault: vec!["kv/*".to_owned()],
            ..Scope::default()
        };
        let scopes = Scopes([(Owner::default(), scope)].into());
        let reader = ScopedReader::with_environment(scopes, environment)
            .with_vault(Some(vault(value.clone())));
        let mut redactor = Redactor::new();
        redactor.add(&SecretValue::new(value.clone()));
        let key = InstallKey::from_hex(&hex).expect("a key");
        let escaped = format!("{value:?}");
        for text in [
            format!("{reader:?}"),
            read_error(&reader, REFERENCE),
            // A key where a reference belongs, and a Vault that does not answer.
            read_error(&reader, &value),
            read_error(&reader, "vault:kv/a#b"),
            format!("{redactor:?}"),
            redactor.redact(&format!("it says {value} and more")),
        ] {
            prop_assert!(!text.contains(&value), "{text}");
            prop_assert!(!text.contains(escaped.trim_matches('"')), "{text}");
        }
        let shown = format!("{key:?}");
        prop_assert!(!shown.contains(&hex));
    }
}
