//! How good the search is, on labelled searches that were written for this project before any result was seen: a skill and
//! what somebody would type who needs it, mostly in other words. `minilm.tsv` is what all-MiniLM-L6-v2 itself makes of them
//! (`model/distil.py rank`).

use std::collections::HashMap;

use serde_json::json;
use talon_core::search::AgentSearch;
use talon_router::{Router, StaticModel};

use crate::world::{World, person};

const LABELLED: &str = include_str!("../quality/labelled.tsv");
/// Wanted is what MiniLM finds less five points. The built-in table of word pieces, which knows no order of words and costs
/// microseconds, does not get there on searches that share hardly a word with the skill: these are what it must not fall below.
const VECTORS: f64 = 62.0;
const FUSED: f64 = 62.0;

const MINILM: &str = include_str!("../quality/minilm.tsv");

struct Labelled {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    query: &'static str,
}

fn labelled() -> Vec<Labelled> {
    let read = |line: &'static str| {
        let mut fields = line.split('\t');
        let mut field = || fields.next().expect("four fields");
        Labelled {
            id: field(),
            name: field(),
            description: field(),
            query: field(),
        }
    };
    LABELLED.lines().skip(1).map(read).collect()
}

/// Share of the searches whose skill is among the first five, in percent.
fn recall(places: impl IntoIterator<Item = Option<usize>>) -> f64 {
    let places: Vec<_> = places.into_iter().collect();
    let hits = places
        .iter()
        .filter(|place| place.is_some_and(|place| place <= 5))
        .count();
    100.0 * hits as f64 / places.len() as f64
}

fn minilm(all: &[Labelled]) -> f64 {
    let places: HashMap<_, usize> = MINILM
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once('\t'))
        .map(|(id, place)| (id, place.parse().expect("a place")))
        .collect();
    recall(all.iter().map(|one| Some(places[one.id])))
}

fn vectors_alone(all: &[Labelled]) -> f64 {
    let model = StaticModel::built_in();
    let vector = |text: &str| model.vector(text);
    let skills: Vec<_> = all
        .iter()
        .map(|one| vector(&format!("{}. {}", one.name, one.description)))
        .collect();
    recall(all.iter().enumerate().map(|(right, one)| {
        let query = vector(one.query);
        let score = |skill: &Vec<f32>| skill.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>();
        let better = skills
            .iter()
            .filter(|skill| score(skill) > score(&skills[right]));
        Some(better.count() + 1)
    }))
}

async fn routed(all: &[Labelled], router: &Router) -> f64 {
    let mut places = Vec::new();
    for (right, one) in all.iter().enumerate() {
        let found = router.search(&person("bob"), one.query, 5).await.unwrap();
        let right = agent(right);
        places.push(
            found
                .iter()
                .position(|agent| agent.name == right)
                .map(|at| at + 1),
        );
    }
    recall(places)
}

fn agent(number: usize) -> String {
    format!("agent{number:03}")
}

#[tokio::test]
async fn the_search_is_as_good_as_it_was() {
    let all = labelled();
    assert!(all.len() >= 200);
    let world = World::new();
    for (number, one) in all.iter().enumerate() {
        let skill = json!({"id": one.id, "name": one.name, "description": one.description});
        let card = json!({"skills": [skill]});
        world.host(&agent(number), "ann", true, Some(card)).await;
    }
    let words = routed(&all, &Router::new(world.store.clone(), None)).await;
    let vectors = vectors_alone(&all);
    let model = StaticModel::built_in();
    let fused = routed(&all, &Router::new(world.store.clone(), Some(model))).await;
    let minilm = minilm(&all);
    println!(
        "recall@5 of {} searches: full text {words:.1} %, vectors {vectors:.1} %, both {fused:.1} %, MiniLM {minilm:.1} %",
        all.len()
    );
    assert!(
        minilm > 80.0,
        "the teacher's places are those of these searches"
    );
    assert!(vectors >= VECTORS, "{vectors:.1}");
    assert!(fused >= FUSED, "{fused:.1}");
    assert!(fused > words, "{fused:.1} {words:.1}");
}
