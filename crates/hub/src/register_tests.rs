use serde_json::json;

use super::*;

#[test]
fn agent_ids() {
    let long = "a".repeat(63);
    for good in ["a", "0", "research-pro", "a.b_c-d", &*long] {
        assert!(is_agent_id(good), "{good}");
    }
    let too_long = "a".repeat(64);
    for bad in ["", "-a", ".a", "A", "a b", "ä", "a/b", "a\n", &*too_long] {
        assert!(!is_agent_id(bad), "{bad:?}");
    }
}

#[test]
fn refusals_say_the_words_that_clients_look_for() {
    let owned = Refusal::OwnedByAnother("a".to_owned()).to_string();
    assert!(owned.contains("owned by another user"));
    let mismatch = Refusal::RoutingIdMismatch("b".to_owned()).to_string();
    assert!(mismatch.contains("routing id mismatch"));
    assert_eq!(Refusal::AlreadyConnected.to_string(), "already connected");
    for transient in [
        Refusal::AlreadyConnected,
        Refusal::Unauthenticated("unknown token"),
        Refusal::Deleting,
        Refusal::Unavailable,
    ] {
        let text = transient.to_string();
        assert!(!text.contains("owned by another user") && !text.contains("routing id mismatch"));
    }
}

#[test]
fn a_request_takes_what_it_can_use() {
    let read = |params: serde_json::Value| {
        let raw = serde_json::value::to_raw_value(&params).unwrap();
        Request::read(&Fields::read(&raw), &HubConfig::default())
    };
    let request = read(json!({
        "agent_name": "a", "auth_token": "t", "visibility": "public", "agent_card": {"name": "a"},
        "framework": "open\u{1b}claw", "framework_version": "1".repeat(300), "adapter_version": 7,
    }));
    assert!(request.public && request.token.is_some() && request.card.is_some());
    let runtime = request.runtime.unwrap();
    assert!(runtime.starts_with("open\\u{1b}claw 111") && runtime.chars().count() == MAX_RUNTIME);
    let bare = read(json!({"agent_name": 7, "visibility": "everybody", "agent_card": "x"}));
    assert!(!bare.public && bare.name.is_empty());
    assert!(bare.token.is_none() && bare.card.is_none() && bare.runtime.is_none());
    let big = read(json!({"agent_card": {"a": "x".repeat(100_000)}}));
    assert!(big.card.is_none());
}
