use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn call(text: &str) -> (Option<Id>, Method, bool) {
    match parse(text) {
        Ok(Incoming::Call { id, method, params }) => (id, method, params.text("a").is_some()),
        other => panic!("no call: {other:?}"),
    }
}

#[test]
fn calls_are_read_leniently() {
    let (id, method, a) = call(
        r#" {"jsonrpc":"2.0","id":"msg-1","method":"heartbeat","params":{"a":"x"},"more":[]}"#,
    );
    assert_eq!(id.unwrap().to_string(), r#""msg-1""#);
    assert_eq!((method, a), (Method::Heartbeat, true));
    for odd in [
        r#"{"method":"heartbeat"}"#,
        r#"{"method":"heartbeat","id":null,"params":null}"#,
        r#"{"method":"heartbeat","params":[1,2]}"#,
        r#"{"jsonrpc":1,"method":"heartbeat","params":"x"}"#,
    ] {
        assert_eq!(call(odd), (None, Method::Heartbeat, false), "{odd}");
    }
    assert_eq!(call(r#"{"method":"task.frobnicate"}"#).1, Method::Unknown);
}

#[test]
fn an_id_is_repeated_exactly() {
    for id in ["7", "-1", "18446744073709551616", "1.50", r#""ä\n\u0000""#] {
        let text = format!(r#"{{"id":{id},"method":"heartbeat"}}"#);
        let given = call(&text).0.unwrap();
        assert_eq!(
            result(&given, json!({})),
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
        );
    }
}

#[test]
fn what_is_no_request_is_told_so() {
    let of = |text: &str| parse(text).unwrap_err();
    assert_eq!(of("{"), Malformed::Json);
    assert_eq!(of(""), Malformed::Json);
    assert_eq!(of("nonsense"), Malformed::Json);
    for no_request in [
        "[]",
        "7",
        r#"["a","b","c","d","e"]"#,
        "{}",
        r#"{"method":7}"#,
        r#"{"id":[],"method":"heartbeat"}"#,
        r#"{"result":{}}"#,
        r#"{"method":"a","method":"b"}"#,
    ] {
        assert_eq!(of(no_request), Malformed::Request(None), "{no_request}");
    }
    let with_id = of(r#"{"id":3,"method":7}"#);
    let reply: Value = serde_json::from_str(&with_id.reply()).unwrap();
    assert_eq!(reply["id"], 3);
    assert_eq!(reply["error"]["code"], code::INVALID_REQUEST);
    let reply: Value = serde_json::from_str(&Malformed::Json.reply()).unwrap();
    assert_eq!(
        (&reply["id"], &reply["error"]["code"]),
        (&Value::Null, &json!(-32700))
    );
}

#[test]
fn replies_are_told_from_calls() {
    let reply = |text: &str| match parse(text) {
        Ok(Incoming::Reply { id, outcome }) => (id.number(), outcome),
        other => panic!("no reply: {other:?}"),
    };
    assert_eq!(reply(r#"{"id":7,"result":{}}"#), (Some(7), Ok(())));
    assert_eq!(reply(r#"{"id":"7","result":0}"#), (Some(7), Ok(())));
    let refused = reply(r#"{"id":7,"error":{"code":-1,"message":"no"}}"#);
    assert_eq!(refused, (Some(7), Err("no".to_owned())));
    assert_eq!(reply(r#"{"id":"x","error":3}"#), (None, Err(String::new())));
}

/// JSON-ish text: much closer to frames than random bytes.
fn jsonish() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just("null".to_owned()),
        Just("1e999".to_owned()),
        Just(r#""id""#.to_owned()),
        Just(r#""method""#.to_owned()),
        Just(r#""params""#.to_owned()),
        Just(r#""agent.register""#.to_owned()),
        Just(r#""status""#.to_owned()),
        Just(r#""\ud800""#.to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ]
}

/// Anything where something is expected.
fn anything() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((known_word(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn known_word() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "jsonrpc",
        "id",
        "method",
        "params",
        "result",
        "error",
        "message",
        "parts",
        "type",
        "text",
        "status",
        "state",
        "task_id",
        "final",
        "agent_name",
        "auth_token",
        "limit",
        "other",
    ])
    .prop_map(str::to_owned)
}

fn read_everything(text: &str) {
    if let Ok(Incoming::Call { params, .. }) = parse(text) {
        let _ = crate::fields::Report::read(&params);
        let _ = crate::register::Request::read(&params, &crate::HubConfig::default());
        let _ = (
            params.count("limit"),
            params.message("message"),
            params.value("agent_card", 64),
        );
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in any::<String>()) {
        read_everything(&text);
    }

    #[test]
    fn nothing_like_json_makes_it_panic(text in jsonish()) {
        read_everything(&text);
    }

    #[test]
    fn odd_fields_are_never_a_parse_error(mut frame in anything()) {
        if let Some(fields) = frame.as_object_mut() {
            fields.insert("method".to_owned(), "task.status".into());
            fields.insert("id".to_owned(), 1.into());
        }
        let text = frame.to_string();
        read_everything(&text);
        prop_assert_eq!(parse(&text).is_ok(), frame.is_object());
        prop_assert!(parse(&text) .is_ok() || parse(&text).unwrap_err() != Malformed::Json);
    }

    #[test]
    fn what_the_hub_sends_is_json(message in any::<String>(), code in any::<i32>()) {
        let reply: Value = serde_json::from_str(&error(None, code, &message)).unwrap();
        prop_assert_eq!(reply["error"]["message"].as_str(), Some(&*message));
    }
}
