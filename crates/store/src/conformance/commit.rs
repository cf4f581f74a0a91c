//! What a pass writes under way.

use serde_json::json;
use talon_core::card::{AgentCard, CardAuthentication, CardCapabilities, CardProvider};
use talon_core::condition::{Condition, ConditionType, Reason, Truth};
use talon_core::contact::ContactWrite;
use talon_core::mutation::{Mutation, SecretWrite, StatusWrite};
use talon_core::resource::ResourceState;
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, Epoch, Generation};

use super::support::{Bench, assert_code, bucket, try_id, worker};
use crate::{Claim, ListFilter, StoreError, codes};

fn condition(status: Truth, reason: Reason, message: &str) -> Condition {
    Condition {
        kind: ConditionType::Ready,
        status,
        reason,
        message: message.to_owned(),
        observed_generation: Generation(1),
    }
}

pub(super) async fn is_one_transaction(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let seq = bench.last_change().await.unwrap();
    let mutations = [
        Mutation::Resource(worker(ResourceState::Unknown)),
        Mutation::Condition(condition(Truth::False, Reason::NotDeployed, "x")),
        Mutation::AuthTokenCandidate {
            try_id: try_id(1),
            sha256: "aa".to_owned(),
        },
        // Nobody asked for deletion, so this is refused, and all of it with it.
        Mutation::Archive,
    ];
    assert_code(bench.commit(&claim, &mutations).await, codes::ARCHIVE);
    let snap = bench.snap(id).await;
    assert!(snap.resources.is_empty() && snap.conditions.is_empty() && snap.auth_tokens.is_empty());
    assert_eq!(bench.last_change().await.unwrap(), seq);
    bench.commit(&claim, &mutations[..3]).await.unwrap();
    let snap = bench.snap(id).await;
    assert_eq!(
        (
            snap.resources.len(),
            snap.conditions.len(),
            snap.auth_tokens.len()
        ),
        (1, 1, 1)
    );
}

pub(super) async fn names_and_status(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let write = StatusWrite {
        deployment_status: Some(DeploymentStatus::Failed),
        deployment_error: Some(Some("it's \"bad\"\u{1f642}".to_owned())),
        observed_generation: Some(Generation(1)),
        worker_url: Some(Some("https://w.example.workers.dev".to_owned())),
        r2_token_id: Some(Some("token-1".to_owned())),
        has_anthropic_key: Some(true),
        has_openai_key: None,
    };
    bench.write(&claim, Mutation::Status(write)).await;
    let status = bench.snap(id).await.agent.status;
    assert_eq!(status.deployment_status, DeploymentStatus::Failed);
    assert_eq!(
        status.deployment_error.as_deref(),
        Some("it's \"bad\"\u{1f642}")
    );
    assert_eq!(status.observed_generation, Generation(1));
    assert_eq!(
        status.worker_url.as_deref(),
        Some("https://w.example.workers.dev")
    );
    assert_eq!(status.r2_token_id.as_deref(), Some("token-1"));
    assert!(status.has_anthropic_key && !status.has_openai_key);
    let clear = StatusWrite {
        deployment_error: Some(None),
        has_openai_key: Some(true),
        ..Default::default()
    };
    bench.write(&claim, Mutation::Status(clear)).await;
    let after = bench.snap(id).await.agent.status;
    assert_eq!(after.deployment_error, None);
    assert_eq!(
        after.deployment_status,
        DeploymentStatus::Failed,
        "unnamed columns stay"
    );
    assert_eq!(after.r2_token_id.as_deref(), Some("token-1"));
    assert!(after.has_anthropic_key && after.has_openai_key);
}

pub(super) async fn conditions_keep_their_transition(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let stored = async |c: Condition| {
        bench.write(&claim, Mutation::Condition(c.clone())).await;
        let snap = bench.snap(id).await;
        assert_eq!(snap.conditions.len(), 1);
        assert_eq!(snap.conditions[0].condition, c);
        snap.conditions[0].last_transition_at
    };
    let first = stored(condition(Truth::False, Reason::NotDeployed, "a")).await;
    bench.tick(id).await;
    let other_words = stored(condition(Truth::False, Reason::OutOfDate, "b")).await;
    assert_eq!(other_words, first);
    let newer = Condition {
        observed_generation: Generation(2),
        ..condition(Truth::False, Reason::OutOfDate, "b")
    };
    assert_eq!(stored(newer).await, first);
    let flipped = stored(condition(Truth::True, Reason::Deployed, "c")).await;
    assert!(flipped > first);
    bench.tick(id).await;
    assert!(stored(condition(Truth::Unknown, Reason::NotObserved, "d")).await > flipped);
}

pub(super) async fn what_differs_not_is_not_written(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let mutations = [
        Mutation::Names {
            worker: "w".to_owned(),
            bucket: "b".to_owned(),
            account: "a".to_owned(),
        },
        Mutation::Identity {
            markdown: "# x".to_owned(),
            sha256: "ab".to_owned(),
        },
        Mutation::Status(StatusWrite {
            deployment_status: Some(DeploymentStatus::Deploying),
            deployment_error: Some(None),
            observed_generation: Some(Generation(1)),
            ..Default::default()
        }),
        Mutation::Condition(condition(Truth::False, Reason::NotDeployed, "a")),
        Mutation::Resource(bucket(ResourceState::Present)),
        Mutation::AuthTokenCandidate {
            try_id: try_id(1),
            sha256: "aa".to_owned(),
        },
        Mutation::AuthTokenState {
            try_id: try_id(1),
            state: AuthTokenState::Current,
        },
        Mutation::Latch {
            generation: Generation(1),
        },
        Mutation::Card(Box::new(card("research-pro"))),
        Mutation::SecretGone {
            name: "NOT_THERE".to_owned(),
        },
    ];
    bench.commit(&claim, &mutations).await.unwrap();
    let seq = bench.last_change().await.unwrap();
    let before = bench.snap(id).await;
    bench.tick(id).await;
    bench.commit(&claim, &mutations).await.unwrap();
    bench
        .commit(&claim, &[Mutation::Status(StatusWrite::default())])
        .await
        .unwrap();
    let mut after = bench.snap(id).await;
    after.now = before.now;
    assert_eq!(after, before);
    assert_eq!(bench.last_change().await.unwrap(), seq);
}

pub(super) async fn secrets(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let write = |state, fingerprint: Option<&str>| {
        Mutation::Secret(SecretWrite {
            name: "ANTHROPIC_API_KEY".to_owned(),
            provider: Some("anthropic".to_owned()),
            source: SecretSource::Reference,
            reference: Some("env:TALON_SECRET_ANTHROPIC".to_owned()),
            state,
            fingerprint: fingerprint.map(str::to_owned),
        })
    };
    let stored = async || bench.snap(id).await.secret("ANTHROPIC_API_KEY").cloned();
    bench.write(&claim, write(SecretState::Pushing, None)).await;
    let pushing = stored().await.unwrap();
    assert_eq!(
        (pushing.state, pushing.pushed_at),
        (SecretState::Pushing, None)
    );
    bench
        .write(&claim, write(SecretState::Pushed, Some("f1")))
        .await;
    let pushed = stored().await.unwrap();
    assert_eq!(pushed.provider.as_deref(), Some("anthropic"));
    assert_eq!(
        pushed.reference.as_deref(),
        Some("env:TALON_SECRET_ANTHROPIC")
    );
    assert_eq!(pushed.fingerprint.as_deref(), Some("f1"));
    assert!(pushed.pushed_at.is_some());
    bench.tick(id).await;
    bench
        .write(&claim, write(SecretState::Verified, Some("f1")))
        .await;
    let verified = stored().await.unwrap();
    assert_eq!(verified.pushed_at, pushed.pushed_at, "verifying is no push");
    bench
        .write(&claim, write(SecretState::Pushed, Some("f2")))
        .await;
    assert!(stored().await.unwrap().pushed_at > pushed.pushed_at);
    let gone = Mutation::SecretGone {
        name: "ANTHROPIC_API_KEY".to_owned(),
    };
    bench.write(&claim, gone).await;
    assert_eq!(stored().await, None);
}

pub(super) async fn contacts(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    assert_eq!(bench.snap(id).await.contact, None);
    let heard = ContactWrite {
        mark: "m1".to_owned(),
        tries: 0,
        answered: true,
        problem: None,
        repairs: 1,
        try_id: Some(try_id(7)),
        runtime: Some("ab".repeat(32)),
    };
    bench.write(&claim, Mutation::Contact(heard.clone())).await;
    let first = bench.snap(id).await.contact.expect("kept");
    assert_eq!(first.answered_at, Some(first.tried_at));
    assert_eq!(first, heard.over(None, first.tried_at));
    assert!(first.woke());
    bench.tick(id).await;
    let silent = ContactWrite {
        mark: "m2".to_owned(),
        tries: 3,
        answered: false,
        problem: Some("no answer".to_owned()),
        ..heard
    };
    bench.write(&claim, Mutation::Contact(silent.clone())).await;
    let second = bench.snap(id).await.contact.expect("kept");
    assert!(second.tried_at > first.tried_at && !second.woke());
    assert_eq!(second, silent.over(Some(&first), second.tried_at));
    assert_eq!(
        second.answered_at, first.answered_at,
        "the last answer stays"
    );
    for list in [
        bench.list(&ListFilter::default()).await.unwrap(),
        bench.load_page(None, 10).await.unwrap(),
    ] {
        assert_eq!(list[0].contact.as_ref(), Some(&second));
    }
}

pub(super) async fn auth_tokens(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let candidate = |n: u128, sha256: &str| Mutation::AuthTokenCandidate {
        try_id: try_id(n),
        sha256: sha256.to_owned(),
    };
    let set = |n: u128, state| Mutation::AuthTokenState {
        try_id: try_id(n),
        state,
    };
    let stored = async || {
        let snap = bench.snap(id).await;
        let mut states: Vec<_> = snap
            .auth_tokens
            .iter()
            .map(|t| (t.try_id.clone(), t.sha256.clone(), t.state))
            .collect();
        states.sort();
        (states, snap.agent.status.auth_token_hash)
    };
    bench.write(&claim, candidate(1, "h1")).await;
    bench.write(&claim, candidate(2, "h2")).await;
    bench.write(&claim, candidate(1, "other")).await;
    let (states, hash) = stored().await;
    assert_eq!(
        states,
        [
            (try_id(1), "h1".to_owned(), AuthTokenState::Candidate),
            (try_id(2), "h2".to_owned(), AuthTokenState::Candidate)
        ]
    );
    assert_eq!(hash, None);
    bench.write(&claim, set(1, AuthTokenState::Current)).await;
    assert_eq!(stored().await.1.as_deref(), Some("h1"));
    bench.write(&claim, set(2, AuthTokenState::Current)).await;
    let (states, hash) = stored().await;
    assert_eq!(
        (states[0].2, states[1].2),
        (AuthTokenState::Retired, AuthTokenState::Current)
    );
    assert_eq!(hash.as_deref(), Some("h2"));
    bench.write(&claim, set(9, AuthTokenState::Current)).await;
    let (states, hash) = stored().await;
    assert_eq!(states.len(), 2, "a try nobody has heard of changes nothing");
    assert_eq!(
        (states[1].2, hash.as_deref()),
        (AuthTokenState::Current, Some("h2"))
    );
}

fn card(name: &str) -> AgentCard {
    AgentCard {
        name: name.to_owned(),
        description: "d".to_owned(),
        url: format!("ws-agent://{name}"),
        version: "1".to_owned(),
        provider: CardProvider {
            organization: "default".to_owned(),
            url: "https://example.com".to_owned(),
        },
        capabilities: CardCapabilities {
            streaming: true,
            push_notifications: false,
            state_transition_history: false,
        },
        default_input_modes: vec!["text".to_owned()],
        default_output_modes: vec!["text".to_owned()],
        skills: Vec::new(),
        metadata: json!({"display": {"name": "X"}}),
        authentication: Some(CardAuthentication {
            schemes: vec!["bearer".to_owned()],
            credentials: "aa".to_owned(),
        }),
    }
}

pub(super) async fn cards(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    assert_eq!(bench.card(id).await.unwrap(), None);
    bench.write(&claim, Mutation::CardGone).await;
    let mut wanted = card("research-pro");
    bench
        .write(&claim, Mutation::Card(Box::new(wanted.clone())))
        .await;
    assert_eq!(bench.card(id).await.unwrap().as_ref(), Some(&wanted));
    assert_eq!(bench.card_hashes().await.unwrap(), [(id, wanted.hash())]);
    wanted.version = "2".to_owned();
    wanted.description = "e".to_owned();
    bench
        .write(&claim, Mutation::Card(Box::new(wanted.clone())))
        .await;
    assert_eq!(bench.card(id).await.unwrap().as_ref(), Some(&wanted));
    assert_eq!(bench.card_hashes().await.unwrap(), [(id, wanted.hash())]);
    bench.write(&claim, Mutation::CardGone).await;
    assert_eq!(bench.card(id).await.unwrap(), None);
    assert!(bench.card_hashes().await.unwrap().is_empty());
}

pub(super) async fn unknown_agents(bench: Bench) {
    let nobody = Claim {
        agent_id: AgentId(uuid::Uuid::nil()),
        epoch: Epoch(1),
    };
    assert!(matches!(
        bench.commit(&nobody, &[]).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        bench.release(&nobody).await,
        Err(StoreError::NotFound)
    ));
    assert_eq!(
        bench
            .renew(std::slice::from_ref(&nobody), super::support::LONG)
            .await
            .unwrap(),
        [nobody.agent_id]
    );
    assert!(bench.load(nobody.agent_id).await.unwrap().is_none());
    assert!(bench.card(nobody.agent_id).await.unwrap().is_none());
}
