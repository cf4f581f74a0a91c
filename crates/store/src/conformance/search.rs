//! What the Router reads and keeps.

use serde_json::json;
use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::spec::Visibility;
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, AgentName, Generation, Owner};

use super::support::{Bench, assert_code, name, spec};
use crate::network::{HostedConnection, Registration};
use crate::search::{SkillVectors, Standing, VectorModel};
use crate::{ApplyOptions, Claim, codes};

fn card(agent: &str, description: &str) -> talon_core::card::AgentCard {
    let mut spec = spec();
    spec.description = Some(description.to_owned());
    let agent = AgentName::parse(agent).expect("a name");
    talon_core::card::build(&agent, &Owner::default(), &spec, Generation(1), "aa")
}

fn model(id: &str) -> VectorModel {
    VectorModel {
        id: id.to_owned(),
        dimensions: 3,
    }
}

fn connection(id: &str) -> HostedConnection {
    HostedConnection {
        connection_id: id.to_owned(),
        hub: "hub-1".to_owned(),
    }
}

impl Bench {
    /// Creates an agent and registers a card for it.
    async fn registered(&self, agent: &str) -> (AgentId, Claim, String) {
        let id = self.create(agent).await;
        let claim = self.claim(id).await;
        let hash = self.card_of(&claim, agent, "first").await;
        (id, claim, hash)
    }

    async fn card_of(&self, claim: &Claim, agent: &str, description: &str) -> String {
        let card = card(agent, description);
        let hash = card.hash();
        self.write(claim, Mutation::Card(Box::new(card))).await;
        hash
    }

    async fn version(&self) -> String {
        self.cards_version().await.expect("a version")
    }

    async fn host(&self, agent: &str, public: bool, card: Option<serde_json::Value>, id: &str) {
        self.hosted_connected(agent, "ann", public, card.as_ref(), &connection(id))
            .await
            .expect("stored")
            .expect("free");
    }
}

fn vectors(agent_id: AgentId, card_hash: &str, numbers: [f32; 3]) -> SkillVectors {
    SkillVectors {
        agent_id,
        card_hash: card_hash.to_owned(),
        skills: vec![
            ("one".to_owned(), numbers.to_vec()),
            ("another".to_owned(), vec![0.5, -1.25, 1.0e-7]),
        ],
    }
}

pub(super) async fn cards_are_read_with_their_owners(bench: Bench) {
    let owner = Owner::parse("ann").expect("an owner");
    let theirs = bench
        .apply(&name("theirs"), &owner, &spec(), ApplyOptions::default())
        .await
        .unwrap()
        .id;
    let (ours, claim, hash) = bench.registered("ours").await;
    let their_claim = Claim {
        agent_id: theirs,
        epoch: bench.snap(theirs).await.work.lease_epoch,
    };
    let their_hash = bench.card_of(&their_claim, "theirs", "second").await;
    bench.create("without-card").await;
    let mut wanted = vec![(ours, hash), (theirs, their_hash)];
    wanted.sort_by_key(|(id, _)| id.0);
    assert_eq!(bench.live_cards().await.unwrap(), wanted);
    let cards = bench.stored_cards(&[theirs, ours]).await.unwrap();
    let read: Vec<_> = cards.iter().map(|c| (c.agent_id, c.hash.clone())).collect();
    assert_eq!(read, wanted);
    let found = cards.iter().find(|c| c.agent_id == theirs).unwrap();
    assert_eq!(found.owner, "ann");
    assert_eq!(found.card, card("theirs", "second"));
    assert!(bench.stored_cards(&[]).await.unwrap().is_empty());
    bench.release(&claim).await.unwrap();
    bench.archive("ours", ours, None).await;
    assert_eq!(bench.live_cards().await.unwrap().len(), 1);
    assert!(bench.stored_cards(&[ours]).await.unwrap().is_empty());
}

pub(super) async fn the_version_moves_with_what_can_be_found(bench: Bench) {
    let mut seen = vec![bench.version().await];
    let mut moved = async |bench: &Bench, what: &str| {
        let now = bench.version().await;
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    };
    let (id, claim, _) = bench.registered("research-pro").await;
    moved(&bench, "a card").await;
    bench.card_of(&claim, "research-pro", "second").await;
    moved(&bench, "another card").await;
    bench.host("my.agent", false, None, "c1").await;
    moved(&bench, "a self-hosted agent").await;
    bench.host("my.agent", true, None, "c2").await;
    moved(&bench, "one made public").await;
    bench
        .host("my.agent", true, Some(json!({"name": "x"})), "c3")
        .await;
    moved(&bench, "its card").await;

    let before = bench.version().await;
    bench.card_of(&claim, "research-pro", "second").await;
    bench
        .host("my.agent", true, Some(json!({"name": "x"})), "c4")
        .await;
    bench.host("my.agent", true, None, "c5").await;
    let alive = ("my.agent".to_owned(), "c5".to_owned());
    bench.hosted_seen(&[alive]).await.unwrap();
    bench.hosted_disconnected("my.agent", "c5").await.unwrap();
    bench.create("other").await;
    assert_eq!(bench.version().await, before, "nothing to be found changed");

    bench.write(&claim, Mutation::CardGone).await;
    moved(&bench, "a card that is gone").await;
    bench.card_of(&claim, "research-pro", "second").await;
    moved(&bench, "one that is back").await;
    bench.release(&claim).await.unwrap();
    bench.archive("research-pro", id, None).await;
    moved(&bench, "an archived agent").await;
}

pub(super) async fn standings_tell_who_can_be_given_a_task(bench: Bench) {
    bench.archived("old-one", None).await;
    let id = bench.create("research-pro").await;
    bench.host("my.agent", true, None, "c1").await;
    let names: Vec<String> = [
        "research-pro",
        "nobody",
        "my.agent",
        "old-one",
        "a\0b",
        "my.agent",
    ]
    .map(str::to_owned)
    .into();
    let standings = bench.standings(&names).await.unwrap();
    let hosted = Standing {
        name: "my.agent".to_owned(),
        agent_id: None,
        owner: "ann".to_owned(),
        public: true,
        deleting: false,
        deployed: false,
        connected: true,
    };
    let managed = Standing {
        name: "research-pro".to_owned(),
        agent_id: Some(id),
        owner: Owner::default().to_string(),
        public: false,
        deleting: false,
        deployed: false,
        connected: false,
    };
    assert_eq!(standings, [hosted.clone(), managed.clone()]);
    let version = bench.version().await;
    let both = bench.standings_and_version(&names).await.unwrap();
    assert_eq!(both, (standings, version.clone()));
    let none = bench.standings_and_version(&names[1..2]).await.unwrap();
    assert_eq!(none, (Vec::new(), version.clone()));

    let mut public = spec();
    public.visibility = Visibility::Public;
    bench.put("research-pro", &public).await.unwrap();
    let claim = bench.claim(id).await;
    let deployed = StatusWrite {
        deployment_status: Some(DeploymentStatus::Deployed),
        ..Default::default()
    };
    bench.write(&claim, Mutation::Status(deployed)).await;
    let registration = Registration {
        connection_id: "c9".to_owned(),
        hub: "hub-1".to_owned(),
        token_sha256: "aa".to_owned(),
        runtime: None,
    };
    bench.agent_connected(id, &registration).await.unwrap();
    bench
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
    bench.hosted_disconnected("my.agent", "c1").await.unwrap();
    let standings = bench.standings(&names).await.unwrap();
    assert_eq!(
        standings,
        [
            Standing {
                connected: false,
                ..hosted
            },
            Standing {
                public: true,
                deleting: true,
                deployed: true,
                connected: true,
                ..managed
            },
        ]
    );
    assert!(bench.standings(&[]).await.unwrap().is_empty());
    let (_, later) = bench.standings_and_version(&[]).await.unwrap();
    assert_eq!(later, bench.version().await);
}

pub(super) async fn a_name_is_the_managed_agents(bench: Bench) {
    bench.host("my-agent", true, None, "c1").await;
    let id = bench.create("my-agent").await;
    let names = ["my-agent".to_owned()];
    let standings = bench.standings(&names).await.unwrap();
    assert_eq!(standings.len(), 1);
    assert_eq!(standings[0].agent_id, Some(id));
    let before = bench.version().await;
    bench.archive("my-agent", id, None).await;
    assert_eq!(bench.standings(&names).await.unwrap()[0].agent_id, None);
    assert_ne!(bench.version().await, before);
}

pub(super) async fn vectors_belong_to_one_card_and_model(bench: Bench) {
    let (id, claim, hash) = bench.registered("research-pro").await;
    let (small, other) = (model("small"), model("other"));
    assert!(bench.skill_vectors(&small, &[id]).await.unwrap().is_empty());
    let first = vectors(id, &hash, [1.0, 0.0, 0.25]);
    assert!(bench.put_skill_vectors(&small, &first).await.unwrap());
    let again = vectors(id, &hash, [0.0, 1.0, 0.0]);
    assert!(bench.put_skill_vectors(&other, &first).await.unwrap());
    assert!(bench.put_skill_vectors(&small, &again).await.unwrap());
    assert_eq!(bench.skill_vectors(&small, &[id]).await.unwrap(), [again]);
    assert_eq!(
        bench.skill_vectors(&other, &[id]).await.unwrap(),
        std::slice::from_ref(&first)
    );
    assert!(bench.skill_vectors(&small, &[]).await.unwrap().is_empty());

    let newer = bench.card_of(&claim, "research-pro", "second").await;
    assert!(bench.skill_vectors(&small, &[id]).await.unwrap().is_empty());
    assert!(
        !bench.put_skill_vectors(&small, &first).await.unwrap(),
        "of an earlier card"
    );
    let mut fewer = vectors(id, &newer, [1.0, 1.0, 1.0]);
    fewer.skills.truncate(1);
    assert!(bench.put_skill_vectors(&small, &fewer).await.unwrap());
    assert_eq!(bench.skill_vectors(&small, &[id]).await.unwrap(), [fewer]);
}

pub(super) async fn vectors_go_with_their_card(bench: Bench) {
    let (id, claim, hash) = bench.registered("research-pro").await;
    let given = vectors(id, &hash, [1.0, 0.0, 0.0]);
    bench
        .put_skill_vectors(&model("small"), &given)
        .await
        .unwrap();
    bench.write(&claim, Mutation::CardGone).await;
    assert!(
        !bench
            .put_skill_vectors(&model("small"), &given)
            .await
            .unwrap()
    );
    bench.card_of(&claim, "research-pro", "first").await;
    assert!(
        bench
            .skill_vectors(&model("small"), &[id])
            .await
            .unwrap()
            .is_empty()
    );
    bench
        .put_skill_vectors(&model("small"), &given)
        .await
        .unwrap();
    bench.release(&claim).await.unwrap();
    bench.archive("research-pro", id, None).await;
    assert!(
        bench
            .skill_vectors(&model("small"), &[id])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        !bench
            .put_skill_vectors(&model("small"), &given)
            .await
            .unwrap()
    );
    let nobody = vectors(AgentId(uuid::Uuid::nil()), &hash, [1.0, 0.0, 0.0]);
    assert!(
        !bench
            .put_skill_vectors(&model("small"), &nobody)
            .await
            .unwrap()
    );
}

pub(super) async fn vectors_of_other_models_are_dropped(bench: Bench) {
    let (id, _, hash) = bench.registered("research-pro").await;
    let given = vectors(id, &hash, [1.0, 0.0, 0.0]);
    for one in ["old", "older", "new"] {
        bench.put_skill_vectors(&model(one), &given).await.unwrap();
    }
    assert_eq!(bench.drop_other_vectors(&model("new")).await.unwrap(), 4);
    assert_eq!(bench.drop_other_vectors(&model("new")).await.unwrap(), 0);
    assert!(
        bench
            .skill_vectors(&model("old"), &[id])
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        bench.skill_vectors(&model("new"), &[id]).await.unwrap(),
        [given]
    );
}

pub(super) async fn vectors_fit_their_model(bench: Bench) {
    let (id, _, hash) = bench.registered("research-pro").await;
    for bad in [vec![1.0, 2.0], vec![1.0, f32::NAN, 0.0], Vec::new()] {
        let mut given = vectors(id, &hash, [1.0, 0.0, 0.0]);
        given.skills[1].1 = bad;
        assert_code(
            bench.put_skill_vectors(&model("small"), &given).await,
            codes::INVALID,
        );
    }
    assert!(
        bench
            .skill_vectors(&model("small"), &[id])
            .await
            .unwrap()
            .is_empty()
    );
}
