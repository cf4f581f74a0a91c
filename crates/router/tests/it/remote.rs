//! The client of a Router elsewhere, against a server that keeps the contract of its module, and against odd ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use talon_core::card::AgentCard;
use talon_core::registry::{Registry, RegistryError};
use talon_core::secret::SecretValue;
use talon_core::{AgentId, Epoch};
use talon_router::{RemoteConfig, RemoteError, RemoteRegistry};
use talon_store::conformance::support::spec;

use crate::world::card_of;

const KEY: &str = "service-key-CANARY-7731";

type Cards = Arc<Mutex<BTreeMap<String, (i64, Option<AgentCard>)>>>;

fn stale() -> Response {
    (StatusCode::CONFLICT, Json(json!({"code": "stale_epoch"}))).into_response()
}

async fn put(
    State(cards): State<Cards>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let epoch = body["epoch"].as_i64().unwrap();
    let mut cards = cards.lock().unwrap();
    if cards.get(&id).is_some_and(|(seen, _)| *seen > epoch) {
        return stale();
    }
    let card: AgentCard = serde_json::from_value(body["card"].clone()).unwrap();
    if card.description == "bad" {
        let why = format!("the description\nis bad, and your key {KEY} too");
        let problem = Json(json!({"title": "refused", "detail": why}));
        return (StatusCode::UNPROCESSABLE_ENTITY, problem).into_response();
    }
    cards.insert(id, (epoch, Some(card)));
    StatusCode::NO_CONTENT.into_response()
}

async fn fetch(State(cards): State<Cards>, Path(id): Path<String>) -> Response {
    match cards
        .lock()
        .unwrap()
        .get(&id)
        .and_then(|(_, card)| card.clone())
    {
        Some(card) => Json(json!({ "card": card })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn remove(
    State(cards): State<Cards>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let epoch: i64 = query["epoch"].parse().unwrap();
    let mut cards = cards.lock().unwrap();
    match cards.get_mut(&id) {
        Some((seen, _)) if *seen > epoch => stale(),
        Some((_, card @ Some(_))) => {
            *card = None;
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Two on a page, so that three need two pages.
async fn list(
    State(cards): State<Cards>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    assert_eq!(query["limit"], "1000");
    let after = query.get("after").cloned().unwrap_or_default();
    let cards = cards.lock().unwrap();
    let there = cards
        .iter()
        .filter_map(|(id, (_, card))| Some((id, card.as_ref()?)));
    let page: Vec<_> = there.filter(|(id, _)| **id > after).take(2).collect();
    let items: Vec<_> = page
        .iter()
        .map(|(id, card)| json!({"agent_id": id, "hash": card.hash()}))
        .collect();
    let next = (page.len() == 2).then(|| page[1].0.clone());
    Json(json!({"items": items, "next": next}))
}

async fn guard(headers: HeaderMap, request: Request, next: Next) -> Response {
    let wanted = format!("Bearer {KEY}");
    if headers
        .get(header::AUTHORIZATION)
        .is_some_and(|given| *given == *wanted)
    {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn a_router() -> (Cards, SocketAddr) {
    let cards = Cards::default();
    let app = Router::new()
        .route(
            "/router/v1/agents/{id}/card",
            get(fetch).put(put).delete(remove),
        )
        .route("/router/v1/cards", get(list))
        .layer(middleware::from_fn(guard))
        .with_state(cards.clone());
    (cards, serve(app).await)
}

async fn one_that_answers(status: u16, body: &'static str) -> RemoteRegistry {
    let app = Router::new().fallback(any(move || async move {
        (StatusCode::from_u16(status).unwrap(), body)
    }));
    client(&format!("http://{}", serve(app).await), KEY)
}

fn client(base: &str, key: &str) -> RemoteRegistry {
    let config = RemoteConfig {
        timeout: Duration::from_secs(5),
        ..RemoteConfig::new(base)
    };
    RemoteRegistry::new(&config, SecretValue::new(key.to_owned())).unwrap()
}

fn agent(n: u128) -> AgentId {
    AgentId(uuid::Uuid::from_u128(n))
}

fn card() -> AgentCard {
    card_of("research-pro", &spec())
}

#[tokio::test]
async fn cards_are_registered_replaced_listed_and_removed() {
    let (_cards, address) = a_router().await;
    let registry = client(&format!("http://{address}/router/"), KEY);
    assert_eq!(registry.lookup(agent(1)).await.unwrap(), None);
    assert!(!registry.deregister(agent(1), Epoch(1)).await.unwrap());
    assert!(registry.list().await.unwrap().is_empty());
    for n in 1..=3 {
        registry
            .register(agent(n), Epoch(1), &card())
            .await
            .unwrap();
    }
    let mut newer = card();
    newer.description = "newer".to_owned();
    registry.register(agent(2), Epoch(2), &newer).await.unwrap();
    assert_eq!(
        registry.lookup(agent(2)).await.unwrap(),
        Some(newer.clone())
    );
    let wanted = [
        (agent(1), card().hash()),
        (agent(2), newer.hash()),
        (agent(3), card().hash()),
    ];
    assert_eq!(registry.list().await.unwrap(), wanted);
    assert!(registry.deregister(agent(2), Epoch(2)).await.unwrap());
    assert!(!registry.deregister(agent(2), Epoch(2)).await.unwrap());
    assert_eq!(registry.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_older_epoch_is_refused_as_a_lost_lease() {
    let (_cards, address) = a_router().await;
    let registry = client(&format!("http://{address}/router"), KEY);
    registry
        .register(agent(1), Epoch(5), &card())
        .await
        .unwrap();
    let old = registry.register(agent(1), Epoch(4), &card()).await;
    assert_eq!(old, Err(RegistryError::StaleEpoch));
    assert_eq!(
        registry.deregister(agent(1), Epoch(4)).await,
        Err(RegistryError::StaleEpoch)
    );
}

#[tokio::test]
async fn a_refused_card_says_why_and_never_the_key() {
    let (_cards, address) = a_router().await;
    let registry = client(&format!("http://{address}/router"), KEY);
    let mut bad = card();
    bad.description = "bad".to_owned();
    let refused = registry
        .register(agent(1), Epoch(1), &bad)
        .await
        .unwrap_err();
    let said = "422 the description is bad, and your key [key] too".to_owned();
    assert_eq!(refused, RegistryError::Refused(said));
}

#[tokio::test]
async fn what_somebody_may_mend_is_not_held_against_the_card() {
    let (_cards, address) = a_router().await;
    let wrong_key = client(&format!("http://{address}/router"), "another-key");
    let mut registries = vec![wrong_key];
    for (status, body) in [
        (500, "oops"),
        (503, ""),
        (429, ""),
        (307, ""),
        (200, "no json"),
        (206, "{}"),
    ] {
        registries.push(one_that_answers(status, body).await);
    }
    // Nobody listens there any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    registries.push(client(&format!("http://{nobody}"), KEY));
    for registry in registries {
        let lookup = registry.lookup(agent(1)).await.unwrap_err();
        let list = registry.list().await.unwrap_err();
        for e in [lookup, list] {
            assert!(matches!(e, RegistryError::Unavailable(_)), "{e}");
            assert!(!format!("{e} {e:?}").contains("key-"), "{e}");
        }
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let app = Router::new().fallback(any(|| async { std::future::pending::<()>().await }));
    let config = RemoteConfig {
        timeout: Duration::from_millis(50),
        ..RemoteConfig::new(format!("http://{}", serve(app).await))
    };
    let registry = RemoteRegistry::new(&config, SecretValue::new(KEY.to_owned())).unwrap();
    let given_up = registry.lookup(agent(1)).await.unwrap_err();
    assert_eq!(
        given_up,
        RegistryError::Unavailable("it did not answer in time".to_owned())
    );
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_ends_the_list() {
    let registry = one_that_answers(200, r#"{"items": [], "next": "x"}"#).await;
    assert!(registry.list().await.unwrap().is_empty());
    let body = r#"{"items": [{"agent_id": "00000000-0000-0000-0000-000000000001", "hash": "h"}], "next": "x"}"#;
    let registry = one_that_answers(200, body).await;
    assert_eq!(registry.list().await.unwrap().len(), 2);
}

#[test]
fn a_key_is_sent_over_https_or_to_this_machine_and_is_one() {
    let make = |url: &str, key: &str| {
        RemoteRegistry::new(&RemoteConfig::new(url), SecretValue::new(key.to_owned())).map(|_| ())
    };
    for url in [
        "https://router.example/base",
        "http://localhost:1",
        "http://[::1]:1",
        "http://127.0.0.1",
    ] {
        assert_eq!(make(url, KEY), Ok(()), "{url}");
    }
    for url in [
        "http://router.example",
        "router",
        "ftp://x",
        "https://a:b@router.example",
        "https://x/?a=b",
        "https://x/#a",
    ] {
        assert!(matches!(make(url, KEY), Err(RemoteError::Url(_))), "{url}");
    }
    for key in ["", "a\nb", "schlüssel", "a b"] {
        assert_eq!(make("https://x", key), Err(RemoteError::Key));
    }
}
