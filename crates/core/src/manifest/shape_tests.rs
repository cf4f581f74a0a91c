use serde_json::json;

use super::*;

fn told(node: &Node, schema: &Value) -> String {
    let all = check(node, schema);
    all.into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn every_kind_of_value_against_every_type() {
    let values = [
        Node::Null,
        Node::Bool(true),
        Node::Integer(3),
        Node::Integer(i128::from(i64::MAX) + 1),
        Node::Float(1.5),
        Node::Float(f64::INFINITY),
        Node::Text("x".to_owned()),
        Node::List(Vec::new()),
        Node::Map(Vec::new()),
    ];
    let empty = |kind| {
        format!("is empty: it must be {kind}; write one, or leave the key out if it is optional")
    };
    for (word, kind, accepted) in [
        ("boolean", "true or false", [1].as_slice()),
        ("integer", "a whole number", &[2]),
        ("number", "a number", &[2, 3, 4]),
        ("string", "text", &[6]),
        ("array", "a list", &[7]),
        ("object", "a mapping (key: value)", &[8]),
    ] {
        for (i, value) in values.iter().enumerate() {
            let want = match i {
                _ if accepted.contains(&i) => String::new(),
                0 => empty(kind),
                1..=5 if word == "string" => "must be text: put it in quotes".to_owned(),
                _ => format!("must be {kind}"),
            };
            assert_eq!(told(value, &json!({"type": word})), want, "{word} {i}");
            let or_null = if i == 0 { String::new() } else { want };
            assert_eq!(
                told(value, &json!({"type": [word, "null"]})),
                or_null,
                "{word} {i}"
            );
            let any_of = json!({"anyOf": [{"type": word}, {"type": "null"}]});
            assert_eq!(told(value, &any_of), or_null, "{word} {i}");
        }
    }
}

#[test]
fn an_enumeration_names_its_words() {
    let schema = json!({"enum": ["a", "b"]});
    assert_eq!(told(&Node::Text("b".to_owned()), &schema), "");
    assert_eq!(told(&Node::Text("c".to_owned()), &schema), "must be a or b");
    assert_eq!(told(&Node::Integer(1), &schema), "must be a or b");
}

#[test]
fn a_key_is_repeated_only_if_it_is_no_secret() {
    for (key, shown) in [
        ("a", true),
        ("some_key-Name", true),
        (&"k".repeat(30), true),
        (&"k".repeat(31), false),
        ("", false),
        ("a1", false),
        ("sk-abc", false),
        ("a b", false),
    ] {
        assert_eq!(may_be_shown(key), shown, "{key}");
    }
}

#[test]
fn a_key_that_was_meant_is_named() {
    for (key, known, meant) in [
        ("personna", "persona", true),
        ("apikeyrefs", "apiKeyRefs", true),
        ("api_key_refs", "apiKeyRefs", true),
        ("ersona", "persona", true),
        ("perso", "persona", true),
        ("pers", "persona", false),
        ("ix", "id", false),
    ] {
        let told = unknown_key(key, &[known]);
        assert_eq!(told.contains("did you mean"), meant, "{told}");
    }
}

#[test]
fn the_distance_of_words() {
    for (a, b, far) in [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("abc", "bc", 1),
        ("bc", "abc", 1),
    ] {
        assert_eq!(distance(a, b), far, "{a} {b}");
    }
}
