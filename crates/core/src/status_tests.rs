use std::fmt::Debug;

use super::*;
use crate::condition::{ConditionType, Reason, Truth};
use crate::event::{EventReason, Severity};
use crate::resource::{CleanupResult, ResourceKind, ResourceState};
use crate::snapshot::{AuthTokenState, SecretSource, SecretState};

/// The stored word, the JSON word and the shown word are one, and lead back.
fn one_word<T>(all: &[T], as_str: fn(T) -> &'static str)
where
    T: Copy + PartialEq + Debug + FromStr + Serialize + for<'de> Deserialize<'de>,
{
    for v in all.iter().copied() {
        let word = as_str(v);
        assert_eq!(word.parse::<T>().ok(), Some(v));
        let json = format!("\"{word}\"");
        assert_eq!(serde_json::to_string(&v).unwrap(), json);
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), v);
        assert!(word.to_uppercase().parse::<T>().is_err());
    }
    let mut words: Vec<_> = all.iter().copied().map(as_str).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), all.len());
}

#[test]
fn every_stored_word_leads_back() {
    one_word(&DeploymentStatus::ALL, DeploymentStatus::as_str);
    one_word(ConditionType::ALL, ConditionType::as_str);
    one_word(Reason::ALL, Reason::as_str);
    one_word(&[Truth::True, Truth::False, Truth::Unknown], Truth::as_str);
    one_word(EventReason::ALL, EventReason::as_str);
    one_word(Severity::ALL, Severity::as_str);
    one_word(ResourceKind::ALL, ResourceKind::as_str);
    one_word(ResourceState::ALL, ResourceState::as_str);
    one_word(CleanupResult::ALL, CleanupResult::as_str);
    one_word(SecretSource::ALL, SecretSource::as_str);
    one_word(SecretState::ALL, SecretState::as_str);
    one_word(AuthTokenState::ALL, AuthTokenState::as_str);
}

#[test]
fn the_published_statuses_are_these() {
    let words: Vec<String> = DeploymentStatus::ALL
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        words,
        ["pending", "deploying", "deployed", "failed", "deleting"]
    );
}
