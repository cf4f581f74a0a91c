//! Vectors: kept with cards, made again for another model, and done without when the model is away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use talon_core::manifest;
use talon_core::registry::Registry;
use talon_router::{EmbedError, EmbeddedRegistry, Embedder, Router, StaticModel};
use talon_store::WholeStore;
use talon_store::search::VectorModel;
use talon_store_sqlite::SqliteStore;

use crate::world::{World, card_of, finds, public, skill};

/// A model that knows three topics.
struct Topics {
    model: VectorModel,
    away: AtomicBool,
    texts: AtomicUsize,
}

impl Topics {
    fn new(id: &str) -> Arc<Self> {
        Arc::new(Self {
            model: VectorModel {
                id: id.to_owned(),
                dimensions: 3,
            },
            away: AtomicBool::new(false),
            texts: AtomicUsize::new(0),
        })
    }

    fn texts(&self) -> usize {
        self.texts.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Embedder for Topics {
    fn model(&self) -> &VectorModel {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(EmbedError::Unavailable("away".to_owned()));
        }
        self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        let topic = |text: &String| {
            let about =
                |words: &[&str]| words.iter().any(|word| text.to_lowercase().contains(word));
            if about(&["recipe", "hungry"]) {
                vec![1.0, 0.0, 0.0]
            } else if about(&["translat", "foreign"]) {
                vec![0.0, 1.0, 0.0]
            } else {
                vec![0.0, 0.0, 1.0]
            }
        };
        Ok(texts.iter().map(topic).collect())
    }
}

fn cook() -> talon_core::AgentSpec {
    public(vec![skill("recipes", "Recipes", "Suggest dinners.")])
}

fn translator() -> talon_core::AgentSpec {
    public(vec![
        skill("translate", "Translation", "Letters."),
        skill("other", "Calculation", "Sums."),
    ])
}

/// A database on disk, as it is used.
async fn on_disk(folder: &tempfile::TempDir) -> Arc<dyn WholeStore> {
    let url = format!("sqlite://{}", folder.path().join("talon.db").display());
    SqliteStore::migrate(&url).await.unwrap();
    Arc::new(SqliteStore::open(&url).await.unwrap())
}

#[tokio::test]
async fn meaning_is_found_without_a_common_word_and_vectors_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder).await);
    let id = world.agent("cook", &cook()).await;
    world.agent("translator", &translator()).await;
    let topics = Topics::new("topics-1");
    let router = Router::new(world.store.clone(), Some(topics.clone()));
    assert_eq!(finds(&router, "bob", "I am hungry").await, ["cook"]);
    assert_eq!(finds(&router, "bob", "foreign words").await, ["translator"]);
    assert_eq!(topics.texts(), 3 + 2, "each skill once, each query once");
    let kept = world
        .store
        .skill_vectors(topics.model(), &[id])
        .await
        .unwrap();
    assert_eq!(
        kept[0].skills,
        [("recipes".to_owned(), vec![1.0, 0.0, 0.0])]
    );

    // Another process finds them made.
    let later = Topics::new("topics-1");
    let router = Router::new(world.store.clone(), Some(later.clone()));
    assert_eq!(finds(&router, "bob", "I am hungry").await, ["cook"]);
    assert_eq!(later.texts(), 1, "the query alone");
}

#[tokio::test]
async fn a_registration_stores_the_vectors_of_its_skills() {
    let world = World::new();
    let id = world.row("translator", "ann", &translator()).await;
    let topics = Topics::new("topics-1");
    let registry = EmbeddedRegistry::new(world.store.clone())
        .with_vectors(world.store.clone(), topics.clone());
    let claim = world.claim(id).await;
    let card = card_of("translator", &translator());
    registry.register(id, claim.epoch, &card).await.unwrap();
    let kept = world
        .store
        .skill_vectors(topics.model(), &[id])
        .await
        .unwrap();
    assert_eq!(kept[0].card_hash, card.hash());
    let ids: Vec<_> = kept[0].skills.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["translate", "other"]);
    // Without its model the card is registered all the same.
    topics.away.store(true, Ordering::Relaxed);
    let changed = card_of("translator", &cook());
    registry.register(id, claim.epoch, &changed).await.unwrap();
    assert_eq!(registry.lookup(id).await.unwrap(), Some(changed));
    assert!(
        world
            .store
            .skill_vectors(topics.model(), &[id])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn another_model_makes_all_vectors_anew_and_never_reads_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::on(on_disk(&folder).await);
    let id = world.agent("cook", &cook()).await;
    let old = Topics::new("topics-1");
    Router::new(world.store.clone(), Some(old.clone()))
        .prepare()
        .await
        .unwrap();
    let new = Topics::new("topics-2");
    let router = Router::new(world.store.clone(), Some(new.clone()));
    assert!(
        world
            .store
            .skill_vectors(new.model(), &[id])
            .await
            .unwrap()
            .is_empty()
    );
    router.prepare().await.unwrap();
    assert_eq!(new.texts(), 1);
    assert_eq!(
        world
            .store
            .skill_vectors(new.model(), &[id])
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        world
            .store
            .skill_vectors(old.model(), &[id])
            .await
            .unwrap()
            .is_empty()
    );
    router.prepare().await.unwrap();
    assert_eq!(new.texts(), 1, "once is enough");
    assert_eq!(finds(&router, "bob", "I am hungry").await, ["cook"]);
}

#[tokio::test]
async fn while_the_model_is_away_words_are_enough() {
    let world = World::new();
    world.agent("cook", &cook()).await;
    let topics = Topics::new("topics-1");
    topics.away.store(true, Ordering::Relaxed);
    let router = Router::new(world.store.clone(), Some(topics.clone()));
    assert!(router.prepare().await.is_err());
    assert_eq!(finds(&router, "bob", "dinners").await, ["cook"]);
    assert!(finds(&router, "bob", "I am hungry").await.is_empty());
}

/// What `talon demo` shows: the manifests in `deploy/examples`, and sentences that share no word with what they say of their
/// skills.
#[tokio::test]
async fn the_examples_are_found_by_sentences_that_share_no_word_with_their_skills() {
    let manifests = [
        include_str!("../../../../deploy/examples/research-pro.yaml"),
        include_str!("../../../../deploy/examples/news-digest.yaml"),
    ];
    let world = World::new();
    let mut said = String::new();
    for manifest in manifests {
        let manifest = manifest::parse_valid(manifest, "example")
            .unwrap()
            .remove(0);
        world.agent(manifest.name.as_str(), &manifest.spec).await;
        said.push_str(&format!(
            "{:?} {:?}",
            manifest.spec.skills, manifest.spec.description
        ));
    }
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let router = Router::new(world.store.clone(), Some(StaticModel::built_in()));
    for (sentence, agent) in [
        (
            "let somebody confirm claims made by politicians",
            "research-pro",
        ),
        (
            "investigate scientific literature carefully",
            "research-pro",
        ),
        ("brief me about current headlines", "news-digest"),
        ("recap recent journalism briefly", "news-digest"),
    ] {
        let common: Vec<_> = words(sentence)
            .intersection(&words(&said))
            .cloned()
            .collect();
        assert!(common.is_empty(), "{sentence}: {common:?}");
        let found = finds(&router, "bob", sentence).await;
        assert_eq!(found.first().map(String::as_str), Some(agent), "{sentence}");
    }
}
