use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use talon_core::agent::Agent;
use talon_core::condition::{Condition, ConditionType, Reason, StoredCondition, Truth};
use talon_core::contact::Contact;
use talon_core::id::{Epoch, Generation};
use talon_core::presence::Presence;
use talon_core::resource::{CleanupResult, ResourceKind, ResourceRecord, ResourceState};
use talon_core::snapshot::{
    AuthTokenRecord, AuthTokenState, SecretRecord, SecretSource, SecretState,
};
use talon_core::status::DeploymentStatus;
use talon_core::validate::Violation;
use talon_core::{AgentId, AgentName, AgentSpec, Owner, TryId};

use super::*;

/// What must never be seen.
const HASH: &str = "canary-hash";

struct Chance(StdRng);

impl Chance {
    fn text(&mut self) -> String {
        let words = [
            "",
            "a",
            "ünï",
            "two words",
            "\u{1b}[31m",
            "\"quoted\"",
            "line\nbreak",
            "{}",
        ];
        (*words.choose(&mut self.0).expect("a word")).to_owned()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.random_bool(0.5).then(|| make(self))
    }

    fn time(&mut self) -> DateTime<Utc> {
        let micros = self.0.random_range(0..4_000_000_000_000_000i64);
        DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        *all.choose(&mut self.0).expect("one")
    }

    fn number(&mut self) -> i64 {
        self.0.random_range(0..1_000_000)
    }

    fn try_id(&mut self) -> Option<TryId> {
        self.maybe(|s| TryId::new(1, s.0.random()))
    }

    fn spec(&mut self) -> AgentSpec {
        let (text, number) = (self.text(), self.number());
        let mut spec = json!({"persona": text, "instructions": self.text(), "model": "anthropic/a",
            "secretsVersion": number, "keepAlive": self.0.random_bool(0.5), "suspend": self.0.random_bool(0.5),
            "apiKeyRefs": {"my_provider": "env:TALON_SECRET_A", "openAi": "vault:a#b"},
            "skills": [{"id": "x_y", "name": self.text(), "description": "d", "priceUsd": 0.1, "tags": ["snake_case"]}]});
        if self.0.random_bool(0.5) {
            spec["displayName"] = self.text().into();
            spec["theme"] = json!({"primaryColor": "#000000", "backgroundColor": "#ffffff"});
            spec["r2"] = json!({"locationHint": "weur", "storageClass": "InfrequentAccess"});
            spec["deletionPolicy"] = json!({"bucket": "keep"});
        }
        serde_json::from_value(spec.clone()).unwrap_or_else(|_| {
            spec.as_object_mut().map(|o| o.remove("deletionPolicy"));
            serde_json::from_value(spec).expect("a spec")
        })
    }

    fn resource(&mut self, kind: ResourceKind) -> ResourceRecord {
        ResourceRecord {
            kind,
            name: self.text(),
            external_id: self.maybe(Self::text),
            try_id: self.try_id(),
            state: self.of(ResourceState::ALL),
            desired_hash: self.maybe(Self::text),
            observed_hash: self.maybe(Self::text),
            version_id: self.maybe(Self::text),
            attempts: self.number(),
            last_error: self.maybe(Self::text),
            intent_at: self.maybe(Self::time),
            settle_until: self.maybe(Self::time),
            confirmed_at: self.maybe(Self::time),
            cleanup_result: self.maybe(|s| s.of(CleanupResult::ALL)),
            cleanup_error: self.maybe(Self::text),
            cleaned_at: self.maybe(Self::time),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let (id, made) = (self.0.random::<u128>(), self.time());
        let name = AgentName::parse("research-pro").expect("a name");
        let id = AgentId(
            format!("{:08x}-0000-4000-8000-{:012x}", id as u32, id >> 80)
                .parse()
                .expect("an id"),
        );
        let spec = self.spec();
        let mut agent = Agent::new(id, name, Owner("ann".to_owned()), spec, made);
        agent.generation = Generation(self.number());
        agent.deletion_requested_at = self.maybe(Self::time);
        agent.reconcile_requested_at = self.maybe(Self::time);
        agent.secret_ref_discarded_at = self.maybe(Self::time);
        agent.violations = self
            .maybe(|s| {
                vec![Violation {
                    pointer: "/spec/skills".into(),
                    detail: s.text(),
                }]
            })
            .unwrap_or_default();
        let status = &mut agent.status;
        status.deployment_status = self.of(&DeploymentStatus::ALL);
        status.deployment_error = self.maybe(Self::text);
        status.worker_url = self.maybe(Self::text);
        status.identity_md = self.maybe(Self::text);
        status.identity_sha256 = self.maybe(Self::text);
        status.first_deployed_at = self.maybe(Self::time);
        status.deleted_at = self.maybe(Self::time);
        status.auth_token_hash = Some(HASH.to_owned());
        let mut s = Snapshot::new(agent, self.time());
        s.work.next_due_at = self.maybe(Self::time);
        s.work.lease_owner = self.maybe(Self::text);
        s.work.lease_epoch = Epoch(self.number());
        s.work.plan_report = self.maybe(|s| json!({"snake_case": {"camelCase": s.text()}}));
        s.resources = ResourceKind::ALL
            .iter()
            .map(|kind| self.resource(*kind))
            .collect();
        s.secrets = vec![SecretRecord {
            name: self.text(),
            provider: self.maybe(Self::text),
            source: self.of(SecretSource::ALL),
            reference: self.maybe(Self::text),
            state: self.of(SecretState::ALL),
            fingerprint: self.maybe(|_| format!("{HASH}-0123")),
            pushed_at: self.maybe(Self::time),
        }];
        s.auth_tokens = vec![AuthTokenRecord {
            try_id: TryId::new(1, 1),
            sha256: HASH.to_owned(),
            state: AuthTokenState::Current,
            created_at: made,
        }];
        s.conditions = ConditionType::ALL
            .iter()
            .map(|kind| StoredCondition {
                condition: Condition {
                    kind: *kind,
                    status: self.of(&[Truth::True, Truth::False, Truth::Unknown]),
                    reason: self.of(Reason::ALL),
                    message: self.text(),
                    observed_generation: Generation(self.number()),
                },
                last_transition_at: self.time(),
            })
            .collect();
        s.presence = self.maybe(|s| Presence {
            connected: s.0.random_bool(0.5),
            connection_id: s.text(),
            hub: s.text(),
            token_sha256: HASH.to_owned(),
            runtime: s.maybe(Self::text),
            connected_at: s.time(),
            last_seen: s.time(),
            disconnected_at: s.maybe(Self::time),
        });
        s.contact = self.maybe(|s| Contact {
            mark: s.text(),
            tries: s.number(),
            tried_at: s.time(),
            answered_at: s.maybe(Self::time),
            problem: s.maybe(Self::text),
            repairs: s.number(),
            try_id: s.try_id(),
            runtime: s.maybe(Self::text),
        });
        s
    }
}

/// What may be seen of a snapshot.
fn shown(mut s: Snapshot) -> Snapshot {
    s.agent.status.auth_token_hash = None;
    s.auth_tokens.clear();
    if let Some(presence) = &mut s.presence {
        presence.token_sha256.clear();
    }
    for secret in &mut s.secrets {
        secret.fingerprint = secret.fingerprint.as_deref().map(super::super::view::tail);
    }
    s
}

#[test]
fn what_is_written_is_read_as_it_was_and_holds_no_hash_of_a_token() {
    let mut some = Chance(StdRng::seed_from_u64(7));
    for _ in 0..500 {
        let snapshot = some.snapshot();
        let text = encode(&snapshot).to_string();
        assert!(!text.contains(HASH), "{text}");
        let read = decode(serde_json::from_str(&text).expect("JSON"));
        assert_eq!(read, Some(shown(snapshot)));
    }
}

#[test]
fn what_is_written_is_as_the_document_says() {
    let document = crate::document();
    let schema = json!({
        "$ref": "#/components/schemas/FullAgent",
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut some = Chance(StdRng::seed_from_u64(8));
    for _ in 0..50 {
        let written = encode(&some.snapshot());
        let errors: Vec<_> = validator
            .iter_errors(&written)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
        // And nothing that it does not speak of.
        let known = |part: &str, value: &Value| {
            let properties = &document["components"]["schemas"][part]["properties"];
            for key in value.as_object().into_iter().flat_map(|o| o.keys()) {
                assert!(properties.get(key).is_some(), "{part}.{key}");
            }
        };
        known("FullAgent", &written);
        known("FullRow", &written["agent"]);
        known("FullStatus", &written["agent"]["status"]);
        known("FullWork", &written["work"]);
        known("FullResource", &written["resources"][0]);
        known("FullSecret", &written["secrets"][0]);
        known("FullCondition", &written["conditions"][0]);
        known("FullConditionSaid", &written["conditions"][0]["condition"]);
        known("FullPresence", &written["presence"]);
        known("FullContact", &written["contact"]);
    }
}

#[test]
fn words_of_a_newer_program_are_left_out() {
    let snapshot = Chance(StdRng::seed_from_u64(9)).snapshot();
    let mut written = encode(&snapshot);
    written["conditions"][0]["condition"]["reason"] = "Unheard".into();
    written["resources"][0]["kind"] = "unheard".into();
    written["later"] = json!({"a": 1});
    let read = decode(written).expect("read");
    assert_eq!(read.conditions.len(), snapshot.conditions.len() - 1);
    assert_eq!(read.resources.len(), snapshot.resources.len() - 1);
    assert!(decode(json!({"agent": {}})).is_none());
    assert!(decode(json!("nonsense")).is_none());
}

#[test]
fn an_entry_of_the_audit_log_is_told_with_the_generation_that_it_led_to() {
    use crate::agents::fleet::history_of;
    use talon_store::access::Audit;
    let mut snapshot = Chance(StdRng::seed_from_u64(10)).snapshot();
    snapshot.agent.generation = Generation(3);
    let made = snapshot.agent.created_at;
    let entry = |seconds: i64, action: &str, object: &str| Audit {
        at: made + TimeDelta::seconds(seconds),
        actor: "sql".into(),
        source: None,
        action: action.into(),
        object: object.into(),
        fields: Vec::new(),
    };
    // Newest first, as the log is read.
    let log = vec![
        entry(5, "update", "research-pro"),
        entry(4, "secret_set", "agent/research-pro"),
        entry(3, "hold", "controller"),
        entry(2, "update", "research-pro"),
        entry(0, "insert", "research-pro"),
    ];
    let told: Vec<_> = history_of(&snapshot, log.clone())
        .into_iter()
        .map(|e| (e.action, e.generation))
        .collect();
    let expected = [
        ("insert", Some(1)),
        ("update", Some(2)),
        ("secret_set", None),
        ("update", Some(3)),
    ];
    assert_eq!(
        told,
        expected.map(|(action, generation)| (action.to_owned(), generation))
    );
    // What was pruned is missing; what is left still has its number.
    let told = history_of(&snapshot, log[..2].to_vec());
    assert_eq!(told.last().map(|e| e.generation), Some(Some(3)));
}
