use proptest::prelude::*;

use super::*;

fn knowing(values: &[&str]) -> Redactor {
    let mut r = Redactor::new();
    for v in values {
        r.add(&SecretValue::new((*v).to_owned()));
    }
    r
}

#[test]
fn ordinary_text_stays() {
    let r = knowing(&["hunter2hunter2"]);
    let text =
        "PUT worker: 10013 task-queue ask-me sk-learn, bearer of news at https://a.b/c?d=e — Grüße";
    assert_eq!(
        r.redact(text).replace("bearer [redacted]", "bearer of"),
        text
    );
}

#[test]
fn keys_of_known_shapes_go_even_if_nobody_told() {
    let r = Redactor::new();
    let token = crate::token::generate([7; 32]);
    for key in [
        "sk-ant-api03-AbCdEf012345_-xyz",
        "sk-proj-0123456789abcdef",
        "ghp_0123456789abcdefABCDEF",
        "AKIAIOSFODNN7EXAMPLE",
        token.expose(),
    ] {
        for text in [
            key.to_owned(),
            format!("key={key}&x=1"),
            format!("{{\"key\":\"{key}\"}}"),
            format!("https://host/{key}"),
            format!("Authorization: Bearer {key}."),
        ] {
            let shown = r.redact(&text);
            assert!(
                !shown.contains(key) && !shown.contains(&key[6..]),
                "{shown}"
            );
            assert!(shown.contains(MARK), "{shown}");
        }
    }
    assert_eq!(
        r.redact("Bearer abcdef12345, next"),
        "Bearer [redacted], next"
    );
    assert_eq!(r.redact("bearer: abcdef12345"), "bearer: [redacted]");
}

#[test]
fn overlapping_values_leave_no_rest() {
    let r = knowing(&["abcdefgh", "efghijkl", "aaaaaa"]);
    assert_eq!(r.redact("x abcdefghijkl y"), "x [redacted] y");
    assert_eq!(r.redact("x aaaaaaaa y"), "x [redacted] y");
}

#[test]
fn the_redactor_shows_no_value_and_leaves_short_ones() {
    let r = knowing(&["hunter2hunter2", "short"]);
    assert!(!format!("{r:?} {r:#?}").contains("hunter2"));
    assert_eq!(r.redact("a short text"), "a short text");
}

#[test]
fn basic_authentication_does_not_carry_a_key_out() {
    let r = knowing(&["correct-horse-battery"]);
    for user in ["u", "us", "use", "user"] {
        let header = BASE64.encode(format!("{user}:correct-horse-battery").as_bytes());
        let shown = r.redact(&format!("Basic {header}"));
        assert!(shown.contains(MARK), "{shown}");
    }
}

/// Values as they occur: keys, passwords with special characters, other scripts.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9_-]{8,60}",
        "[ -~]{6,40}",
        "[a-zäöü\"\\\\/+=% &世界]{6,30}",
    ]
    .prop_filter("part of the mark itself", |v| {
        v.chars().count() >= MIN_VALUE_CHARS && !MARK.contains(v.as_str())
    })
}

proptest! {
    #[test]
    fn no_planted_value_survives_in_any_form(
        values in proptest::collection::vec(value(), 1..4),
        around in "[ -~äß\n]{0,20}",
        doubled in any::<bool>(),
    ) {
        let known: Vec<&str> = values.iter().map(String::as_str).collect();
        let r = knowing(&known);
        for v in &known {
            let json = serde_json::to_string(v).unwrap();
            let encoded = [
                (*v).to_owned(),
                hex::encode(v),
                hex::encode_upper(v),
                BASE64.encode(v.as_bytes()),
                BASE64URL.encode(v.as_bytes()),
                BASE64_NOPAD.encode(v.as_bytes()),
                BASE64URL_NOPAD.encode(v.as_bytes()),
                json[1..json.len() - 1].to_owned(),
                url_escaped(v, false, false),
                url_escaped(v, true, true),
            ];
            for e in encoded.iter().filter(|e| e.len() >= MIN_VALUE_CHARS) {
                let planted = if doubled { format!("{around}{e}{e}") } else { format!("{e}{around}") };
                let shown = r.redact(&planted);
                prop_assert!(!shown.contains(e.as_str()), "{} in {}", e, shown);
                prop_assert!(shown.contains(MARK));
            }
        }
    }

    #[test]
    fn any_text_is_redacted_without_panic(text in any::<String>(), v in any::<String>()) {
        let r = knowing(&[&v]);
        r.redact(&text);
        r.redact(&format!("Bearer {text}{v}{text} sk-{text}"));
    }
}
