//! Agents that look for other agents and give them tasks.

use std::time::Duration;

use serde_json::{Value, json};
use talon_core::deliver::Deliver;
use talon_core::task::{TaskId, TaskState};
use talon_hub::HubConfig;

use crate::client::Client;
use crate::tokens::trade;
use crate::world::{World, config};

fn result_of(frame: &Value) -> (&str, &str, &str) {
    let params = &frame["params"];
    (
        params["original_id"].as_str().unwrap(),
        params["status"]["state"].as_str().unwrap(),
        params["status"]["message"]["parts"][0]["text"]
            .as_str()
            .unwrap(),
    )
}

#[tokio::test]
async fn an_agent_searches() {
    let world = World::new();
    world.agent("asker", "acme").await;
    let hub = world.hub(config()).await;
    let mut asker = hub.agent("asker").await;
    let reply = asker
        .call("agent.search", json!({"query": "writes poems"}))
        .await;
    assert_eq!(
        reply["result"],
        json!({"items": [{"name": "writer", "description": "for asker of acme: writes poems", "score": 0.5,
            "best_skill_id": "10", "skills": [{"id": "10", "name": "Write", "description": "Writes"}]}]})
    );
    for (limit, taken) in [
        (json!(3), "3"),
        (json!(500), "50"),
        (json!(0), "1"),
        (json!("x"), "10"),
    ] {
        let reply = asker
            .call("agent.search", json!({"query": "q", "limit": limit}))
            .await;
        assert_eq!(reply["result"]["items"][0]["best_skill_id"], taken);
    }
    for params in [
        json!({}),
        json!({"query": " "}),
        json!({"query": "x".repeat(3_000)}),
    ] {
        assert_eq!(
            asker.call("agent.search", params).await["error"]["code"],
            -32602
        );
    }
    let down = asker.call("agent.search", json!({"query": "down"})).await;
    assert_eq!(down["error"]["code"], -32603);
    assert!(!down.to_string().contains("canary-internal"));
}

#[tokio::test]
async fn a_slow_search_keeps_nobody_waiting_and_too_many_are_refused() {
    let world = World::new();
    world.agent("asker", "acme").await;
    let max_side_jobs = 2;
    let hub = world
        .hub(HubConfig {
            max_side_jobs,
            ..config()
        })
        .await;
    let mut asker = hub.agent("asker").await;
    for n in 0..2 {
        asker
            .send(json!({"id": n, "method": "agent.search", "params": {"query": "slow"}}))
            .await;
    }
    asker.heartbeat().await;
    let busy = asker.call("agent.search", json!({"query": "q"})).await;
    assert_eq!(busy["error"]["code"], -32003);
}

#[tokio::test]
async fn an_agent_delegates() {
    let world = World::new();
    world.agent("asker", "acme").await;
    world.agent("writer", "acme").await;
    let hub = world.hub(config()).await;
    let (mut asker, mut writer) = (hub.agent("asker").await, hub.agent("writer").await);
    let wish = json!({"agent_id": "writer", "message": "a poem", "skill_id": "write", "task_id": "d1", "session_id": "s1"});
    let ack = asker.call("agent.send_task", wish.clone()).await;
    assert_eq!(ack["result"]["accepted"], true);
    assert_eq!(
        (&ack["result"]["task_id"], &ack["result"]["session_id"]),
        (&json!("d1"), &json!("s1"))
    );
    let frame = writer.notification("task.execute").await;
    assert_eq!(
        frame["params"]["metadata"],
        json!({"delegated_by": "asker", "skill_id": "write"})
    );
    assert_eq!(frame["params"]["message"]["parts"][0]["text"], "a poem");
    writer.status("acme:d1", "working", "O").await;
    writer.complete("acme:d1", "completed", "O rose").await;
    let result = asker.notification("delegation.result").await;
    assert_eq!(
        result_of(&result),
        (ack["id"].as_str().unwrap(), "completed", "O rose")
    );
    assert!(result.get("id").is_none());
    // Asked again, the same task gives the same answer, to the new request.
    let again = asker.call("agent.send_task", wish).await;
    let result = asker.notification("delegation.result").await;
    assert_eq!(
        result_of(&result),
        (again["id"].as_str().unwrap(), "completed", "O rose")
    );
    assert!(writer.quiet(Duration::from_millis(50)).await.is_empty());

    let failing = json!({"agent_id": "writer", "message": {"role": "user", "parts": [{"type": "text", "text": "x"}]}});
    asker.call("agent.send_task", failing).await;
    let id = writer.task().await;
    writer.complete(&id, "failed", "no").await;
    let result = asker.notification("delegation.result").await;
    assert_eq!(
        (result_of(&result).1, result_of(&result).2),
        ("failed", "no")
    );
}

#[tokio::test]
async fn a_delegation_times_out() {
    let world = World::new();
    world.agent("asker", "acme").await;
    world.agent("writer", "acme").await;
    let delegation_timeout = Duration::from_millis(600);
    let hub = world
        .hub(HubConfig {
            delegation_timeout,
            ..config()
        })
        .await;
    let (mut asker, mut writer) = (hub.agent("asker").await, hub.agent("writer").await);
    let ack = asker
        .call(
            "agent.send_task",
            json!({"agent_id": "writer", "message": "m"}),
        )
        .await;
    let id = writer.task().await;
    let result = asker.notification("delegation.result").await;
    let text = "no answer before the deadline";
    assert_eq!(
        result_of(&result),
        (ack["id"].as_str().unwrap(), "failed", text)
    );
    assert_eq!(
        writer.notification("task.cancel").await["params"]["id"],
        *id
    );
    assert_eq!(writer.complete(&id, "completed", "late").await, false);
}

#[tokio::test]
async fn whom_an_agent_may_ask() {
    let world = World::new();
    for (name, owner) in [
        ("asker", "acme"),
        ("private", "other"),
        ("public", "other"),
        ("leaving", "acme"),
    ] {
        world.agent(name, owner).await;
    }
    world.delete("leaving").await;
    let hub = world
        .hub(HubConfig {
            max_open_tasks: 2,
            ..config()
        })
        .await;
    let mut asker = hub.agent("asker").await;
    let (key, _) = world.api_key("other").await;
    let token = trade(&hub.address, &key).await;
    let mut hosted = Vec::new();
    for (name, visibility) in [("open-house", "public"), ("closed-house", "private")] {
        let mut client = Client::connect(&hub.url).await;
        let params = json!({"agent_name": name, "auth_token": token, "visibility": visibility});
        assert_eq!(client.register_with(params).await["registered"], true);
        hosted.push(client);
    }
    let mut ask = async |agent: &str| {
        let wish = json!({"agent_id": agent, "message": "m"});
        let reply = asker.call("agent.send_task", wish).await;
        reply["error"]["code"].as_i64()
    };
    assert_eq!(ask("public").await, None);
    assert_eq!(ask("open-house").await, None);
    for hidden in ["private", "closed-house", "nobody", "leaving", ""] {
        assert_eq!(ask(hidden).await, Some(-32002), "{hidden}");
    }
    assert_eq!(ask("asker").await, Some(-32602));
    assert_eq!(ask("public").await, None);
    assert_eq!(
        ask("public").await,
        Some(-32003),
        "it has as many as it may"
    );
    let reply = asker
        .call(
            "agent.send_task",
            json!({"agent_id": "public", "message": " "}),
        )
        .await;
    assert_eq!(reply["error"]["code"], -32602);
    let bad_id = json!({"agent_id": "public", "message": "m", "task_id": "a b"});
    assert_eq!(
        asker.call("agent.send_task", bad_id).await["error"]["code"],
        -32602
    );
    // Without an id nobody would hear the result.
    asker.send(json!({"method": "agent.send_task", "params": {"agent_id": "open-house", "message": "m"}})).await;
    asker.heartbeat().await;
    assert_eq!(hosted[0].task().await.len(), "acme:task-".len() + 32);
    assert!(hosted[0].quiet(Duration::from_millis(50)).await.is_empty());
}

#[tokio::test]
async fn nobody_enters_another_owners_conversations_or_takes_their_ids() {
    let world = World::new();
    for (name, owner) in [("asker", "acme"), ("thief", "other"), ("public", "acme")] {
        world.agent(name, owner).await;
    }
    let hub = world.hub(config()).await;
    let (mut asker, mut thief) = (hub.agent("asker").await, hub.agent("thief").await);
    let mut public = hub.agent("public").await;
    let wish =
        json!({"agent_id": "public", "message": "m", "task_id": "acme:d", "session_id": "acme:s"});
    let ack = thief.call("agent.send_task", wish).await;
    assert_eq!(
        (&ack["result"]["task_id"], &ack["result"]["session_id"]),
        (&json!("acme:d"), &json!("acme:s")),
        "each knows it by what it chose"
    );
    let stolen = public.notification("task.execute").await["params"].take();
    assert_eq!(
        (&stolen["id"], &stolen["sessionId"]),
        (&json!("other:acme:d"), &json!("other:acme:s"))
    );
    public.complete("other:acme:d", "completed", "1").await;
    let result = thief.notification("delegation.result").await;
    assert_eq!(result["params"]["task_id"], "acme:d");
    // What the other one meant to take is still free.
    let wish = json!({"agent_id": "public", "message": "m", "task_id": "d", "session_id": "s"});
    let ack = asker.call("agent.send_task", wish).await;
    assert_eq!(ack["result"]["accepted"], true, "{ack}");
    let own = public.notification("task.execute").await["params"].take();
    assert_eq!(
        (&own["id"], &own["sessionId"]),
        (&json!("acme:d"), &json!("acme:s"))
    );
}

#[tokio::test]
async fn an_answer_too_long_to_be_passed_on_is_a_failure() {
    let world = World::new();
    world.agent("asker", "acme").await;
    world.agent("writer", "acme").await;
    let hub = world
        .hub(HubConfig {
            max_frame: 8_000,
            ..config()
        })
        .await;
    let (mut asker, mut writer) = (hub.agent("asker").await, hub.agent("writer").await);
    asker
        .call(
            "agent.send_task",
            json!({"agent_id": "writer", "message": "m", "task_id": "d".repeat(123)}),
        )
        .await;
    let id = writer.task().await;
    // `/` needs no escape from the Hub, `\n` from both: the envelope of the result is what is longer.
    let room = 8_000
        - json!({"id": "msg-2", "jsonrpc": "2.0", "method": "task.complete",
        "params": {"task_id": id, "message": ""}})
        .to_string()
        .len();
    let params = json!({"task_id": id, "message": "x".repeat(room)});
    writer.call("task.complete", params).await;
    let result = asker.notification("delegation.result").await;
    assert_eq!(result_of(&result).1, "failed");
    assert!(result_of(&result).2.contains("too long"));
    let kept = hub.hub.task(&TaskId::parse(&id).unwrap()).await;
    let kept = kept.unwrap().unwrap();
    assert_eq!(kept.state, TaskState::Completed, "its row has it whole");
}
