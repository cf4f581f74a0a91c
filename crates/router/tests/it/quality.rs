//! How good the search is, on two sets of labelled searches over the same skills, written for this project before any ranking
//! was run on them. `asked.tsv` is what a person or another agent would really ask; `labelled.tsv` says it in other words, so
//! that nearly no search shares a word with its skill. Nothing is tuned on either. `*minilm.tsv` is what all-MiniLM-L6-v2 itself
//! makes of them (`model/distil.py rank`).

use std::collections::HashMap;

use serde_json::json;
use talon_core::search::AgentSearch;
use talon_router::{Router, StaticModel};

use crate::world::{World, person};

const IN_OTHER_WORDS: &str = include_str!("../quality/labelled.tsv");
const IN_OTHER_WORDS_MINILM: &str = include_str!("../quality/minilm.tsv");
const AS_ASKED: &str = include_str!("../quality/asked.tsv");
const AS_ASKED_MINILM: &str = include_str!("../quality/asked-minilm.tsv");

/// How far below MiniLM the search may be on what people ask, in points.
const BELOW_MINILM: f64 = 5.0;

struct Skill {
    id: &'static str,
    name: &'static str,
    description: &'static str,
}

/// Recall@5 in percent.
struct Recall {
    words: f64,
    vectors: f64,
    fused: f64,
    minilm: f64,
}

/// The fields of each line after the first.
fn table(file: &'static str) -> Vec<Vec<&'static str>> {
    let lines = file.lines().skip(1);
    lines.map(|line| line.split('\t').collect()).collect()
}

/// First and last field of each line.
fn by_id(file: &'static str) -> HashMap<&'static str, &'static str> {
    let table = table(file).into_iter();
    table.map(|line| (line[0], line[line.len() - 1])).collect()
}

fn skills() -> Vec<Skill> {
    let lines = table(IN_OTHER_WORDS).into_iter();
    let skill = |line: Vec<&'static str>| Skill {
        id: line[0],
        name: line[1],
        description: line[2],
    };
    lines.map(skill).collect()
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

fn vectors_alone(skills: &[Skill], queries: &HashMap<&str, &str>) -> f64 {
    let model = StaticModel::built_in();
    let vectors: Vec<_> = skills
        .iter()
        .map(|skill| model.vector(&format!("{}. {}", skill.name, skill.description)))
        .collect();
    recall(skills.iter().enumerate().map(|(right, skill)| {
        let query = model.vector(queries[skill.id]);
        let score = |skill: &Vec<f32>| skill.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>();
        let better = vectors
            .iter()
            .filter(|skill| score(skill) > score(&vectors[right]));
        Some(better.count() + 1)
    }))
}

async fn routed(skills: &[Skill], queries: &HashMap<&str, &str>, router: &Router) -> f64 {
    let mut places = Vec::new();
    for (right, skill) in skills.iter().enumerate() {
        let query = queries[skill.id];
        let found = router.search(&person("bob"), query, 5).await.unwrap();
        let right = agent(right);
        let place = found.iter().position(|agent| agent.name == right);
        places.push(place.map(|at| at + 1));
    }
    recall(places)
}

fn agent(number: usize) -> String {
    format!("agent{number:03}")
}

async fn measure(queries: &'static str, minilm: &'static str) -> Recall {
    let skills = skills();
    let queries = by_id(queries);
    assert!(skills.len() >= 200 && queries.len() == skills.len());
    let world = World::new();
    for (number, one) in skills.iter().enumerate() {
        let skill = json!({"id": one.id, "name": one.name, "description": one.description});
        let card = json!({"skills": [skill]});
        world.host(&agent(number), "ann", true, Some(card)).await;
    }
    let places = by_id(minilm);
    let place = |skill: &Skill| Some(places[skill.id].parse().expect("a place"));
    let model = StaticModel::built_in();
    let recall = Recall {
        words: routed(&skills, &queries, &Router::new(world.store.clone(), None)).await,
        vectors: vectors_alone(&skills, &queries),
        fused: routed(
            &skills,
            &queries,
            &Router::new(world.store.clone(), Some(model)),
        )
        .await,
        minilm: recall(skills.iter().map(place)),
    };
    println!(
        "recall@5 of {} searches: full text {:.1} %, vectors {:.1} %, both {:.1} %, MiniLM {:.1} %",
        skills.len(),
        recall.words,
        recall.vectors,
        recall.fused,
        recall.minilm
    );
    recall
}

#[tokio::test]
async fn what_people_ask_is_found_nearly_as_often_as_by_minilm() {
    let recall = measure(AS_ASKED, AS_ASKED_MINILM).await;
    assert!(recall.minilm > 98.0, "{:.1}", recall.minilm);
    assert!(recall.vectors >= 95.0, "{:.1}", recall.vectors);
    assert!(recall.words >= 80.0, "{:.1}", recall.words);
    assert!(
        recall.fused >= recall.minilm - BELOW_MINILM,
        "{:.1}",
        recall.fused
    );
}

#[tokio::test]
async fn other_words_than_the_skills_are_found_by_what_they_mean() {
    let recall = measure(IN_OTHER_WORDS, IN_OTHER_WORDS_MINILM).await;
    assert!(recall.minilm > 80.0, "{:.1}", recall.minilm);
    assert!(recall.vectors >= 62.0, "{:.1}", recall.vectors);
    assert!(recall.fused >= 62.0, "{:.1}", recall.fused);
    assert!(recall.fused > recall.words);
}
