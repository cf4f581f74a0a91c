//! Who is found, and who is not.

use serde_json::json;
use talon_core::mutation::Mutation;
use talon_core::registry::Registry;
use talon_core::search::{AgentSearch, Asker, SearchError};
use talon_core::spec::Visibility;

use crate::world::{World, finds, names, person, public, skill};

fn translator() -> talon_core::AgentSpec {
    public(vec![
        skill("greet", "Greeting", "Says hello in the morning."),
        skill(
            "translate",
            "Translation",
            "Translate contracts from German to English.",
        ),
    ])
}

fn cook() -> talon_core::AgentSpec {
    public(vec![skill(
        "recipes",
        "Recipes",
        "Suggest dinners from what is in the fridge.",
    )])
}

#[tokio::test]
async fn the_best_skill_is_named_and_the_best_agent_comes_first() {
    let world = World::new();
    world.agent("translator", &translator()).await;
    world.agent("cook", &cook()).await;
    let router = world.router();
    let found = router
        .search(&person("bob"), "translating a German contract", 10)
        .await
        .unwrap();
    assert_eq!(names(&found), ["translator"]);
    assert_eq!(found[0].best_skill_id.as_deref(), Some("translate"));
    assert_eq!(found[0].skills.len(), 2);
    assert!((0.0..=1.0).contains(&found[0].score));
    assert_eq!(
        finds(&router, "bob", "dinner recipes from a contract").await,
        ["cook", "translator"]
    );
    assert!(finds(&router, "bob", "volcano").await.is_empty());
}

#[tokio::test]
async fn private_agents_are_there_for_their_owner_and_nobody_finds_itself() {
    let world = World::new();
    let private = talon_core::AgentSpec {
        visibility: Visibility::Private,
        ..cook()
    };
    world.agent("secret-cook", &private).await;
    world.agent("cook", &cook()).await;
    let router = world.router();
    assert_eq!(finds(&router, "bob", "recipes").await, ["cook"]);
    assert_eq!(
        finds(&router, "ann", "recipes").await,
        ["cook", "secret-cook"]
    );
    let itself = Asker {
        agent: Some("cook".to_owned()),
        owner: "ann".to_owned(),
    };
    let found = router.search(&itself, "recipes", 10).await.unwrap();
    assert_eq!(names(&found), ["secret-cook"]);
    assert!(
        router
            .is_visible(&person("ann"), "secret-cook")
            .await
            .unwrap()
    );
    assert!(
        !router
            .is_visible(&person("bob"), "secret-cook")
            .await
            .unwrap()
    );
    assert!(router.is_visible(&person("bob"), "cook").await.unwrap());
    assert!(!router.is_visible(&person("bob"), "nobody").await.unwrap());
}

#[tokio::test]
async fn what_was_just_made_private_is_private_before_its_card_is_registered_again() {
    let world = World::new();
    world.agent("cook", &cook()).await;
    let router = world.router();
    assert_eq!(finds(&router, "bob", "recipes").await, ["cook"]);
    let private = talon_core::AgentSpec {
        visibility: Visibility::Private,
        ..cook()
    };
    world.row("cook", "ann", &private).await;
    assert!(finds(&router, "bob", "recipes").await.is_empty());
    assert!(!router.is_visible(&person("bob"), "cook").await.unwrap());
    assert_eq!(finds(&router, "ann", "recipes").await, ["cook"]);
}

#[tokio::test]
async fn an_agent_is_found_once_registered_by_anybody_and_skipped_once_deletion_is_asked_for() {
    let world = World::new();
    let router = world.router();
    assert!(finds(&router, "bob", "recipes").await.is_empty());
    // By another process: the Router is not told.
    let id = world.agent("cook", &cook()).await;
    assert_eq!(finds(&router, "bob", "recipes").await, ["cook"]);
    world.register("cook", id, &translator()).await;
    assert!(finds(&router, "bob", "recipes").await.is_empty());
    assert_eq!(finds(&router, "bob", "translation").await, ["cook"]);
    world.delete("cook").await;
    assert!(finds(&router, "bob", "translation").await.is_empty());
    let again = world.agent("other-cook", &cook()).await;
    assert_eq!(finds(&router, "bob", "recipes").await, ["other-cook"]);
    let epoch = world.epoch(again).await;
    assert!(world.registry.deregister(again, epoch).await.unwrap());
    assert!(!world.registry.deregister(again, epoch).await.unwrap());
    assert!(finds(&router, "bob", "recipes").await.is_empty());
}

#[tokio::test]
async fn an_archived_agent_leaves_its_name_to_the_next() {
    let world = World::new();
    let old = world.agent("helper", &cook()).await;
    let router = world.router();
    world.delete("helper").await;
    let claim = world.claim(old).await;
    world
        .store
        .commit(&claim, &[Mutation::Archive])
        .await
        .unwrap();
    world.agent("helper", &translator()).await;
    assert!(finds(&router, "bob", "recipes").await.is_empty());
    assert_eq!(finds(&router, "bob", "translation").await, ["helper"]);
}

#[tokio::test]
async fn self_hosted_agents_are_found_by_what_they_sent() {
    let world = World::new();
    let card = json!({"description": "Bakes bread.", "skills": [{"id": "bake", "name": "Baking", "description": "Sourdough loaves"}],
        "authentication": {"credentials": "secret"}});
    world
        .host("my.baker", "bob", true, Some(card.clone()))
        .await;
    world.host("private.baker", "bob", false, Some(card)).await;
    world.host("cardless", "bob", true, None).await;
    let router = world.router();
    let found = router
        .search(&person("ann"), "sourdough", 10)
        .await
        .unwrap();
    assert_eq!(names(&found), ["my.baker"]);
    assert_eq!(found[0].best_skill_id.as_deref(), Some("bake"));
    assert_eq!(
        finds(&router, "bob", "sourdough").await,
        ["my.baker", "private.baker"]
    );
    assert_eq!(finds(&router, "ann", "cardless").await, ["cardless"]);
    // A managed agent takes the name.
    world.agent("cardless", &cook()).await;
    assert_eq!(finds(&router, "ann", "recipes").await, ["cardless"]);
    assert!(
        finds(&router, "ann", "cardless")
            .await
            .contains(&"cardless".to_owned())
    );
}

#[tokio::test]
async fn who_cannot_answer_now_comes_after_who_is_nearly_as_good() {
    let world = World::new();
    world.agent("awake", &cook()).await;
    let id = world.row("failing", "ann", &cook()).await;
    world.register("failing", id, &cook()).await;
    let better = public(vec![skill("r", "Recipes, recipes", "Recipes")]);
    let id = world.row("away-but-better", "ann", &better).await;
    world.register("away-but-better", id, &better).await;
    let router = world.router();
    let found = finds(&router, "bob", "recipes").await;
    assert_eq!(found.last().map(String::as_str), Some("failing"));
    world.deployed(id).await;
    assert_eq!(finds(&router, "bob", "recipes").await[0], "away-but-better");
}

#[tokio::test]
async fn queries_have_no_syntax_and_a_length() {
    let world = World::new();
    let hostile = public(vec![skill(
        "x",
        "\" OR * NEAR(",
        "'); DROP TABLE agent_card; -- {}[]^:~\u{0}\u{202e}",
    )]);
    world
        .host(
            "odd",
            "bob",
            true,
            Some(json!({"skills": [{"id": "\u{0}", "name": "NEAR(", "description": "\"*"}]})),
        )
        .await;
    world.agent("hostile", &hostile).await;
    world.agent("cook", &cook()).await;
    let router = world.router();
    for query in [
        "\"",
        "*",
        "NEAR(a b)",
        "a AND",
        "col:x",
        "-- '",
        "\u{0}",
        "(((",
        "😀",
        "recipes\" OR \"a",
    ] {
        let found = router.search(&person("bob"), query, 10).await;
        assert!(found.is_ok(), "{query:?}: {found:?}");
    }
    assert_eq!(finds(&router, "bob", "recipes\" OR").await, ["cook"]);
    for query in ["", " \n\t"] {
        let refused = router.search(&person("bob"), query, 10).await;
        assert!(
            matches!(refused, Err(SearchError::Invalid(why)) if why.contains("say in a sentence"))
        );
    }
    assert!(
        router
            .search(&person("bob"), &"x".repeat(2_000), 10)
            .await
            .is_ok()
    );
    let refused = router.search(&person("bob"), &"x".repeat(2_001), 10).await;
    assert!(matches!(refused, Err(SearchError::Invalid(why)) if why.contains("2000 bytes")));
}

#[tokio::test]
async fn no_more_are_told_than_asked_for() {
    let world = World::new();
    for n in 0..70 {
        world.agent(&format!("cook-{n:02}"), &cook()).await;
    }
    for n in 0..66 {
        world.delete(&format!("cook-{n:02}")).await;
    }
    let router = world.router();
    for limit in [0, 1, 3] {
        let found = router
            .search(&person("bob"), "recipes", limit)
            .await
            .unwrap();
        assert_eq!(
            found.len(),
            limit,
            "those that stand are found behind those that do not"
        );
    }
    assert_eq!(
        router
            .search(&person("bob"), "recipes", 500)
            .await
            .unwrap()
            .len(),
        4
    );
}
