//! What people type beside a running daemon: tasks, searches, who is online, and what is said when it does not work.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::running::Dev;

const MANIFEST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/examples/note-taker.yaml"
);

#[test]
fn an_agent_gets_tasks_by_name_and_by_search_remembers_and_is_seen_online() {
    let dev = Dev::start(&[]);
    let applied = dev.talon(&["apply", "-f", MANIFEST, "--wait=connected"], 0);
    assert!(applied.out.contains("deployed connected"), "{applied:?}");
    dev.talon(&["wait", "note-taker", "--for=connected"], 0);

    let save = "Save a note: the kettle is blue";
    let first = dev.talon(&["task", "note-taker", save, "--session", "s-1"], 0);
    assert_eq!(
        first.out,
        "Done. Wrote notes/the-kettle-is-blue.md (19 characters).\n"
    );
    let question = "What did I tell you before?";
    let streamed = dev.talon(
        &[
            "task",
            "agent/note-taker",
            question,
            "--session",
            "s-1",
            "--stream",
        ],
        0,
    );
    assert!(
        streamed
            .out
            .contains("1. Save a note: the kettle is blue\n"),
        "{streamed:?}"
    );
    assert!(
        streamed
            .out
            .ends_with("I wrote: notes/the-kettle-is-blue.md.\n"),
        "{streamed:?}"
    );
    let other = dev.talon(&["task", "note-taker", question], 0);
    assert!(other.out.starts_with("Nothing yet"), "{other:?}");

    let task = |text: &str| {
        let arguments = [
            "task",
            "note-taker",
            text,
            "--id",
            "t-1",
            "--session",
            "s-2",
            "-o",
            "json",
        ];
        dev.talon(&arguments, 0).json()
    };
    let once = task("hello");
    assert_eq!(once["state"], "completed");
    assert_eq!(once["answer"], "Echo: hello");
    assert_eq!(task("hello"), once, "given twice, it is one task");
    let taken = [
        "task",
        "note-taker",
        "bye",
        "--id",
        "t-1",
        "--session",
        "s-2",
    ];
    assert!(dev.talon(&taken, 5).err.contains("taken by another task"));
    let pieces = dev.talon(&["task", "note-taker", "hi", "--stream", "-o", "json"], 0);
    let last: serde_json::Value =
        serde_json::from_str(pieces.out.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["state"], "completed");
    assert_eq!(last["text"], "Echo: hi");

    let need = "write down what I am told";
    let found = dev.talon(&["search", need, "-o", "name"], 0);
    assert_eq!(found.out, "agent/note-taker\n");
    let found = dev.talon(&["search", need, "-o", "json"], 0).json();
    assert_eq!(found["items"][0]["best_skill_id"], "notes");
    let by_search = dev.talon(&["task", "--search", need, "hello"], 0);
    assert_eq!(by_search.out, "Echo: hello\n");
    let online = dev.talon(&["agents", "online", "-o", "json"], 0).json();
    assert_eq!(online["items"][0]["name"], "note-taker");
    assert_eq!(
        dev.talon(&["agents", "online", "-o", "name"], 0).out,
        "agent/note-taker\n"
    );

    dev.fits("task", &once);
    dev.document(&["search", need], "search");
    dev.document(&["agents", "online"], "agents-online");
    dev.document(&["doctor"], "doctor");
    for (command, schema) in [
        (&["get"][..], "get-list"),
        (&["get", "note-taker"], "get"),
        (&["describe", "note-taker"], "describe"),
        (&["tree", "note-taker"], "tree"),
        (&["why", "note-taker"], "why"),
        (&["events"], "events"),
        (&["history", "note-taker"], "history"),
        (&["export", "note-taker"], "export"),
        (&["diff", "note-taker"], "diff-live"),
        (&["wait", "note-taker", "--for=connected"], "wait"),
        (&["secrets", "list", "note-taker"], "secrets-list"),
        (&["plan", "-f", MANIFEST], "plan"),
        (&["diff", "-f", MANIFEST], "diff"),
        (&["apply", "-f", MANIFEST], "apply"),
    ] {
        dev.same_both_ways(command, schema);
    }
    let doctor = dev.talon(&["doctor"], 0).out;
    assert!(
        doctor.contains("/ws/agents") && doctor.contains("role admin"),
        "{doctor}"
    );

    let page = dev.talon(&["describe", "note-taker"], 0);
    for expected in ["openclaw 2026", "sha256", "connected since", "t-1", "s-2"] {
        assert!(page.out.contains(expected), "{expected} in {}", page.out);
    }
    let document = dev
        .talon(&["describe", "note-taker", "-o", "json"], 0)
        .json();
    assert_eq!(document["status"]["connection"]["connected"], true);
    assert_eq!(
        document["status"]["runtimeSha256"].as_str().map(str::len),
        Some(64)
    );
    assert!(
        document["tasks"]
            .as_array()
            .is_some_and(|tasks| tasks.len() == 5),
        "{document}"
    );
    let tasks = document["tasks"].to_string();
    assert!(
        !tasks.contains("kettle"),
        "what was asked is the asker's business: {tasks}"
    );

    dev.talon(&["delete", "note-taker", "--wait", "--yes"], 0);
    assert_eq!(
        dev.talon(&["agents", "online", "-o", "json"], 0).json(),
        json!({"items": []})
    );
    assert_eq!(
        dev.talon(&["search", need, "-o", "json"], 0).json(),
        json!({"items": []})
    );
    dev.talon(&["task", "note-taker", "hello"], 3);
    assert_eq!(dev.end_with(Signal::SIGTERM), Some(0));
}

#[test]
fn what_cannot_be_done_says_why_and_what_to_do() {
    let dev = Dev::start(&[("TALON_RUNTIME_BUNDLE", "placeholder")]);
    let unknown = dev.talon(&["task", "nobody", "hello"], 3);
    assert!(unknown.err.contains("there is no agent"), "{unknown:?}");
    dev.talon(&["task", "nobody"], 2);
    dev.talon(&["task", "--search", "x", "nobody", "hello"], 2);
    dev.talon(&["task", "nobody", "hello", "--id", "a b"], 2);
    dev.talon(&["search", ""], 5);

    let run = |arguments: &[&str], name: &str, value: &str| {
        let mut command = dev.command(arguments);
        let output = command.env(name, value).output().expect("the binary");
        let errors = String::from_utf8(output.stderr).expect("text");
        assert!(errors.contains("\nnext: "), "{errors}");
        (output.status.code(), errors)
    };
    let (code, errors) = run(&["agents", "online"], "TALON_TOKEN", "talon_op_canary");
    assert_eq!(code, Some(4), "{errors}");
    assert!(!errors.contains("canary"), "{errors}");
    let (code, errors) = run(
        &["search", "x"],
        "TALON_DATABASE_URL",
        "sqlite://elsewhere.db",
    );
    assert_eq!(code, Some(4), "{errors}");
    assert!(errors.contains("TALON_TOKEN"), "{errors}");
    // Nobody listens on the port of somebody who has gone.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let (code, errors) = run(&["task", "x", "hello"], "TALON_SERVER", &nobody);
    assert_eq!(code, Some(9), "{errors}");
    assert!(errors.contains("talon dev"), "{errors}");
    let (code, _) = run(&["search", "x"], "TALON_SERVER", "http://talon.example");
    assert_eq!(code, Some(2), "a token goes nowhere unencrypted");

    let key = dev
        .talon(&["keys", "create", "--label", "laptop", "-o", "json"], 0)
        .json();
    assert!(
        key["key"].as_str().is_some_and(|k| k.starts_with("sai_")),
        "{key}"
    );
    let id = key["id"].as_str().expect("an id");
    let list = dev.talon(&["keys", "list"], 0).out;
    assert!(list.contains(id) && !list.contains("sai_"), "{list}");
    dev.talon(&["keys", "revoke", id], 0);
    let again = dev.talon(&["keys", "revoke", id], 0).out;
    assert!(again.contains("revoked already"), "{again}");
    dev.talon(&["keys", "revoke", "nothing"], 3);
    assert!(dev.errors().is_empty(), "{}", dev.errors());
    assert_eq!(dev.end_with(Signal::SIGINT), Some(0));
}
