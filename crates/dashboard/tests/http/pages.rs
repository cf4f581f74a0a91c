//! What pages show, to whom, and what a browser may do with them.

use reqwest::StatusCode;
use talon_core::Owner;
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_dashboard::CONTENT_SECURITY_POLICY;
use talon_store::Store;
use talon_store::access::Role;

use crate::world::World;

const TABS: [&str; 9] = [
    "",
    "/timeline",
    "/events",
    "/logs",
    "/config",
    "/secrets",
    "/history",
    "/edit",
    "/delete",
];

const MARKUP: &str =
    "</textarea></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}";

#[tokio::test]
async fn every_answer_says_what_may_be_loaded() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let browser = world.visitor(Role::Admin, None).await;
    for path in [
        "/",
        "/agents/bot",
        "/new",
        "/controller",
        "/cleanup",
        "/sign-in",
        "/agents/nobody",
        "/ui/assets/none.js",
    ] {
        let answer = browser.get(path).await;
        let header = |name: &str| answer.headers.get(name).and_then(|v| v.to_str().ok());
        assert_eq!(
            header("content-security-policy"),
            Some(CONTENT_SECURITY_POLICY),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(header("cache-control"), Some("no-store"), "{path}");
        for inline in ["style=", "<style", "onclick=", "javascript:", "<script>"] {
            assert!(!answer.text.contains(inline), "{inline} in {path}");
        }
    }
    assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
}

#[tokio::test]
async fn files_are_kept_for_long_and_named_by_their_content() {
    let world = World::new().await;
    let browser = world.visitor(Role::Viewer, None).await;
    let page = browser.get("/").await.text;
    let mut weight = 0;
    for kind in [".css", ".js"] {
        let file = page
            .split('"')
            .find(|word| word.starts_with("/ui/assets/") && word.ends_with(kind))
            .expect("a file");
        let answer = browser.get(file).await;
        let kept = answer.headers["cache-control"].to_str().expect("text");
        assert!(
            kept.contains("immutable") && kept.contains("max-age=31536000"),
            "{kept}"
        );
        weight += answer.text.len();
    }
    assert!(weight < 200 * 1024, "{weight} bytes before compression");
}

#[tokio::test]
async fn what_people_wrote_comes_out_as_text() {
    let world = World::new().await;
    let written = serde_json::json!({"persona": MARKUP, "instructions": MARKUP, "displayName": "<b>x</b>", "description": MARKUP});
    world.agent_with("bot", "default", written).await;
    let id = world
        .store
        .get("bot", false)
        .await
        .expect("read")
        .expect("a row")
        .agent
        .id;
    let event = NewEvent {
        severity: Severity::Warning,
        reason: EventReason::StepFailed,
        object: "<i>object</i>".to_owned(),
        message: format!("{MARKUP}\u{1b}[2J\u{202e}"),
    };
    world
        .store
        .record_event(Some(id), &event)
        .await
        .expect("recorded");
    let browser = world.visitor(Role::Operator, None).await;
    let mut shown = 0;
    for path in TABS
        .map(|tab| format!("/agents/bot{tab}"))
        .into_iter()
        .chain(["/".to_owned(), "/?q=%22%3E%3Cscript%3E".to_owned()])
    {
        let text = browser.get(&path).await.text;
        for raw in [
            "<script>alert",
            "<img src=x",
            "<b>x</b>",
            "<i>object",
            "</textarea></pre>",
            "\u{1b}",
            "\u{202e}",
        ] {
            assert!(!text.contains(raw), "{raw} in {path}");
        }
        shown += usize::from(
            text.contains("&#60;script&#62;alert") || text.contains("&lt;script&gt;alert"),
        );
    }
    assert!(shown >= 4, "the text is shown, as text: {shown}");
    // The same on the way back from the form.
    let answer = browser
        .post("/agents/bot/edit", &[("do", "plan-yaml"), ("yaml", MARKUP)])
        .await;
    assert!(!answer.text.contains("<script>alert"), "{}", answer.text);
}

#[tokio::test]
async fn what_is_anothers_does_not_exist() {
    let world = World::new().await;
    world.agent("mine", "acme").await;
    world.agent("theirs", "default").await;
    let id = world
        .store
        .get("theirs", false)
        .await
        .expect("read")
        .expect("a row")
        .agent
        .id;
    for (agent, message) in [(Some(id), "their-secret-event"), (None, "everybodys-event")] {
        let event = NewEvent {
            severity: Severity::Normal,
            reason: EventReason::Created,
            object: "worker/x".to_owned(),
            message: message.to_owned(),
        };
        world
            .store
            .record_event(agent, &event)
            .await
            .expect("recorded");
    }
    world
        .store
        .set_hold(
            talon_store::HoldKind::MassChange,
            "30 of 40 Workers vanished",
        )
        .await
        .expect("held");
    let browser = world.visitor(Role::Operator, Some("acme")).await;
    for path in [
        "/",
        "/?q=their",
        "/?status=pending",
        "/?after=a",
        "/cleanup",
        "/agents/mine",
    ] {
        let text = browser.get(path).await.text;
        for not in ["theirs", "their-secret-event", "everybodys-event"] {
            assert!(!text.contains(not), "{not} in {path}");
        }
    }
    assert!(browser.get("/").await.text.contains("/agents/mine"));
    // Why everything waits concerns everybody whose agents wait.
    let told = browser.get("/agents/mine").await.text;
    assert!(told.contains("30 of 40 Workers vanished"));
    for tab in TABS {
        assert_eq!(
            browser.get(&format!("/agents/theirs{tab}")).await.status,
            StatusCode::NOT_FOUND,
            "{tab}"
        );
    }
    for action in ["reconcile", "suspend", "resume", "retry", "delete", "edit"] {
        let answer = browser
            .post(
                &format!("/agents/theirs/{action}"),
                &[("confirm", "theirs")],
            )
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{action}");
    }
    assert_eq!(
        browser.get("/controller").await.status,
        StatusCode::FORBIDDEN
    );
    let theirs = world
        .store
        .get("theirs", false)
        .await
        .expect("read")
        .expect("a row");
    assert!(!theirs.agent.is_deleting() && !theirs.agent.spec.suspend);
}

#[tokio::test]
async fn a_name_that_comes_back_brings_no_other_owners_past() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let old = world
        .store
        .get("bot", false)
        .await
        .expect("read")
        .expect("a row")
        .agent;
    let event = NewEvent {
        severity: Severity::Normal,
        reason: EventReason::Created,
        object: "worker/x".to_owned(),
        message: "of the first owner".to_owned(),
    };
    world
        .store
        .record_event(Some(old.id), &event)
        .await
        .expect("recorded");
    world
        .store
        .request_deletion(&old.name, false)
        .await
        .expect("asked");
    let claim = world
        .store
        .claim_due("test", std::time::Duration::from_secs(60), 1)
        .await
        .expect("claims")
        .remove(0);
    world
        .store
        .commit(&claim, &[talon_core::mutation::Mutation::Archive])
        .await
        .expect("archived");
    let browser = world.visitor(Role::Viewer, Some("acme")).await;
    assert_eq!(
        browser.get("/agents/bot/events").await.status,
        StatusCode::NOT_FOUND
    );
    world.agent("bot", "acme").await;
    let answer = browser.get("/agents/bot/events").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.text.contains("of the first owner"));
    assert_eq!(
        world
            .store
            .get("bot", false)
            .await
            .expect("read")
            .expect("a row")
            .agent
            .owner,
        Owner("acme".to_owned())
    );
}

#[tokio::test]
async fn pages_lead_through_a_large_fleet() {
    let world = World::new().await;
    for n in 0..120 {
        world.agent(&format!("agent-{n:03}"), "default").await;
    }
    let browser = world.visitor(Role::Viewer, None).await;
    let (mut path, mut seen) = ("/".to_owned(), Vec::new());
    for _ in 0..3 {
        let text = browser.get(&path).await.text;
        let rows = text.split("<tr data-key=\"").skip(1);
        seen.extend(rows.filter_map(|row| Some(row.split_once('"')?.0.to_owned())));
        let next = text
            .split_once("rel=\"next\" href=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        path = next
            .map(|(href, _)| href.replace("&amp;", "&").replace("&#38;", "&"))
            .unwrap_or_default();
    }
    let expected: Vec<_> = (0..120).map(|n| format!("agent-{n:03}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(path, "", "there is no page after the last");
}

#[tokio::test]
async fn the_stream_tells_that_something_changed_and_no_more() {
    let world = World::new().await;
    world.agent("bot", "default").await;
    let browser = world.visitor(Role::Viewer, Some("acme")).await;
    let mut stream = browser
        .request(reqwest::Method::GET, "/ui/stream")
        .send()
        .await
        .expect("a stream");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut heard = String::new();
    let mut changed = false;
    while heard.matches("event: change").count() < 2 || !changed {
        let chunk = stream.chunk().await.expect("more").expect("no end");
        heard.push_str(&String::from_utf8_lossy(&chunk));
        if !changed {
            world.agent("another-bot", "default").await;
            changed = true;
        }
    }
    assert!(heard.contains("\nid: "), "{heard}");
    assert!(!heard.contains("bot"), "{heard}");
}
