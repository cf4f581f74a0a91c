use super::*;
use crate::fixtures::{full, minimal, name};

fn card(spec: &AgentSpec, generation: i64) -> AgentCard {
    build(
        &name(),
        &Owner::default(),
        spec,
        Generation(generation),
        "hash-of-token",
    )
}

#[test]
fn a_full_card() {
    insta::assert_json_snapshot!(card(&full(), 4));
}

#[test]
fn a_minimal_card_has_one_skill_made_of_name_and_description() {
    insta::assert_json_snapshot!(card(&minimal(), 1));
    let mut spec = minimal();
    spec.display_name = Some("Shown".into());
    spec.description = Some("What it does".into());
    let skill = &card(&spec, 1).skills[0];
    assert_eq!(skill.id, "research-pro");
    assert_eq!(skill.name, "Shown");
    assert_eq!(skill.description, "What it does");
}

#[test]
fn the_public_view_has_no_authentication() {
    let public = card(&full(), 1).public_view();
    assert_eq!(public.authentication, None);
    let json = serde_json::to_string(&public).unwrap();
    assert!(!json.contains("authentication"));
    assert!(!json.contains("hash-of-token"));
}

#[test]
fn what_is_private_is_not_in_the_card() {
    let spec = full();
    let json = serde_json::to_string(&card(&spec, 1)).unwrap();
    for private in [&spec.persona, &spec.instructions, &spec.model] {
        assert!(!json.contains(private.as_str()));
    }
    assert!(!json.contains("TALON_SECRET"));
}

#[test]
fn a_generation_alone_does_not_change_the_hash() {
    assert_eq!(card(&full(), 1).hash(), card(&full(), 2).hash());
    let mut other = full();
    other.skills[0].price_usd = Some(0.06);
    assert_ne!(card(&full(), 1).hash(), card(&other, 1).hash());
    let mut unseen = full();
    unseen.model = "openai/x".into();
    unseen.keep_alive = false;
    assert_eq!(card(&full(), 1).hash(), card(&unseen, 1).hash());
}

#[test]
fn the_hash_survives_the_way_through_json() {
    let card = card(&full(), 4);
    let back: AgentCard = serde_json::from_str(&serde_json::to_string(&card).unwrap()).unwrap();
    assert_eq!(back, card);
    assert_eq!(back.hash(), card.hash());
}
