//! Every command, by way of the database and by way of a daemon: the same words, the same documents, the same codes; and
//! every document as its published schema says.

use talon_core::Owner;
use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Cleanup, Mutation, ResourceWrite, SecretWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::snapshot::{SecretSource, SecretState};
use talon_factory::wire::left_over;
use talon_store::Store;

use crate::bench::{Bench, MANIFEST};
use crate::daemon::{Daemon, fits, timeless};

fn named(name: &str) -> String {
    MANIFEST.replace("research-pro", name)
}

/// Agents in every state: live, stalled, being deleted, archived with something left over, untouched.
fn fleet() -> Bench {
    let b = Bench::new();
    for name in [
        "research-pro",
        "legal-bot",
        "old-bot",
        "gone-bot",
        "new-bot",
    ] {
        b.talon_reading(&["apply", "-f", "-"], &named(name)).ends(0);
    }
    b.deployed("research-pro");
    let mut bucket =
        ResourceWrite::new(ResourceKind::R2Bucket, "openclaw-1", ResourceState::Present);
    bucket.confirmed = true;
    b.pass(
        "research-pro",
        vec![
            Mutation::Resource(bucket),
            Mutation::Secret(SecretWrite {
                name: "ANTHROPIC_API_KEY".into(),
                provider: Some("anthropic".into()),
                source: SecretSource::Reference,
                reference: Some("env:TALON_SECRET_ANTHROPIC".into()),
                state: SecretState::Verified,
                fingerprint: Some("0123456789abcdef".repeat(4)),
            }),
            b.condition(
                "research-pro",
                ConditionType::HubConnected,
                Truth::False,
                Reason::Asleep,
                "sleeps",
            ),
            Mutation::Event(NewEvent {
                severity: Severity::Warning,
                reason: EventReason::DriftDetected,
                object: "worker/openclaw-1".into(),
                message: "somebody edited \u{1b}[31mit".into(),
            }),
        ],
    );
    b.stalled(
        "legal-bot",
        Reason::SecretValueMissing,
        "ANTHROPIC_API_KEY has no value",
    );
    for name in ["old-bot", "gone-bot"] {
        b.deployed(name);
        b.talon(&["delete", name, "--yes"]).ends(0);
    }
    b.archived("gone-bot", CleanupResult::Failed);
    let mut stubborn =
        ResourceWrite::new(ResourceKind::R2Bucket, "openclaw-2", ResourceState::Present);
    stubborn.cleanup = Some(Cleanup {
        result: CleanupResult::Failed,
        error: Some("not empty".to_owned()),
    });
    b.pass("old-bot", vec![Mutation::Resource(stubborn)]);
    b.talon(&["suspend", "new-bot"]).ends(0);
    // Nothing is due: what nobody takes up is told otherwise after a while.
    b.pass("new-bot", Vec::new());
    b
}

/// Commands that only look, with the schema of what they print as JSON.
const LOOKS: &[(&str, Option<&str>)] = &[
    ("get", Some("get-list")),
    ("get --status failed", Some("get-list")),
    ("get --owner nobody", Some("get-list")),
    ("get --include-deleted", Some("get-list")),
    ("get research-pro", Some("get")),
    ("get gone-bot --include-deleted", Some("get")),
    ("describe research-pro", Some("describe")),
    ("describe legal-bot", Some("describe")),
    ("describe gone-bot --include-deleted", Some("describe")),
    ("tree research-pro", Some("tree")),
    ("tree gone-bot", Some("tree")),
    ("why research-pro", Some("why")),
    ("why legal-bot", Some("why")),
    ("why old-bot", Some("why")),
    ("why gone-bot", Some("why")),
    ("why new-bot", Some("why")),
    ("events", Some("events")),
    ("events --warnings --limit 1", Some("events")),
    ("events --for agent/research-pro", Some("events")),
    ("events --owner default", Some("events")),
    ("events gone-bot", Some("events")),
    ("history research-pro", Some("history")),
    ("history new-bot", Some("history")),
    ("history gone-bot", Some("history")),
    ("export research-pro", Some("export")),
    ("export --all", None),
    ("diff research-pro", Some("diff-live")),
    ("diff legal-bot", Some("diff-live")),
    ("wait research-pro", Some("wait")),
    ("wait legal-bot", Some("wait")),
    ("wait old-bot --timeout 100ms", Some("wait")),
    ("wait gone-bot --for=delete", Some("wait")),
    ("wait new-bot --timeout 100ms", Some("wait")),
    (
        "wait research-pro --for=jsonpath={.status.deploymentStatus}=deployed",
        Some("wait"),
    ),
    ("secrets list research-pro", Some("secrets-list")),
    ("token list", Some("token-list")),
    ("keys list", Some("keys-list")),
    ("hold --dry-run=server", Some("hold")),
    ("release-hold --dry-run=server", Some("release-hold")),
    ("suspend research-pro --dry-run=server", Some("suspend")),
    ("resume new-bot --dry-run=server", Some("suspend")),
    ("reconcile research-pro --dry-run=server", Some("reconcile")),
    ("delete research-pro --dry-run=server", Some("delete")),
    (
        "cleanup retry old-bot --dry-run=server",
        Some("cleanup-retry"),
    ),
    (
        "cleanup retry old-bot --dry-run=server --resource r2_bucket",
        Some("cleanup-retry"),
    ),
    (
        "secrets set research-pro ANTHROPIC_API_KEY --dry-run=server",
        Some("secrets-change"),
    ),
    // What is refused.
    ("get nobody", None),
    ("get gone-bot", None),
    ("get research-pro --owner nobody", None),
    ("describe nobody", None),
    ("tree nobody", None),
    ("why nobody", None),
    ("events nobody", None),
    ("history nobody", None),
    ("wait nobody", None),
    ("delete nobody --yes", None),
    ("reconcile nobody", None),
    ("suspend nobody", None),
    ("resume gone-bot", None),
    ("export nobody", None),
    ("diff nobody", None),
    ("cleanup retry nobody", None),
    ("cleanup retry research-pro", None),
    ("cleanup retry gone-bot", None),
    ("cleanup retry old-bot --resource worker", None),
    ("secrets list nobody", None),
    ("token revoke nothing", None),
    ("keys revoke nothing", None),
    ("suspend old-bot", None),
];

#[test]
fn looking_says_the_same_either_way() {
    let b = fleet();
    let daemon = Daemon::over(&b);
    for (line, schema) in LOOKS {
        let args: Vec<&str> = line.split(' ').collect();
        // The other formats are other ways to print the same.
        let formats: &[&str] = match *line {
            "get" | "describe research-pro" | "events" | "history research-pro" | "token list" => {
                &["table", "wide", "name", "yaml", "json"]
            }
            _ => &["table", "json"],
        };
        for format in formats {
            let args = [&args[..], &["-o", *format]].concat();
            let (here, there) = (b.talon(&args), daemon.talon(&b, &args));
            assert_eq!(
                here.code, there.code,
                "{line} -o {format}: {here:?}\n{there:?}"
            );
            assert_eq!(
                timeless(&here.out),
                timeless(&there.out),
                "{line} -o {format}"
            );
            assert_eq!(
                timeless(&here.err),
                timeless(&there.err),
                "{line} -o {format}"
            );
            if let (Some(schema), "json") = (schema, *format) {
                fits(&b, schema, &here.json());
                fits(&b, schema, &there.json());
            }
            // Nothing that is refused or does not exist differs by its format.
            if schema.is_none() && here.code != Some(0) {
                break;
            }
        }
    }
}

#[test]
fn an_agents_history_and_an_owners_events_are_told_however_much_else_happened() {
    let b = Bench::new();
    for (name, owner) in [("research-pro", "ann"), ("legal-bot", "bob")] {
        let args = ["apply", "-f", "-", "--owner", owner];
        b.talon_reading(&args, &named(name)).ends(0);
        let event = NewEvent {
            severity: Severity::Warning,
            reason: EventReason::DriftDetected,
            object: "worker/openclaw-1".into(),
            message: format!("of {owner}"),
        };
        b.pass(name, vec![Mutation::Event(event)]);
    }
    b.sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= 10000)
         INSERT INTO audit_log (at, actor, action, object)
         SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'somebody', 'update', 'another' FROM n",
    );
    // As some actions were written before.
    b.sql(
        "INSERT INTO audit_log (at, actor, action, object)
         VALUES (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'somebody', 'set_secret', 'agent/research-pro')",
    );
    let daemon = Daemon::over(&b);
    let both = |args: &[&str]| {
        let args = [args, &["-o", "json"]].concat();
        let said = [b.talon(&args), daemon.talon(&b, &args)].map(|ran| ran.ends(0).json());
        assert_eq!(said[0], said[1], "{args:?}");
        said[0]["items"].as_array().expect("items").clone()
    };
    let history = both(&["history", "research-pro"]);
    let actions: Vec<_> = history.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["insert", "set_secret"]);
    for owner in ["ann", "bob"] {
        let events = both(&["events", "--owner", owner, "--limit", "1"]);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["message"], format!("of {owner}"));
    }
}

#[test]
fn what_is_left_over_is_told_by_owner() {
    let b = Bench::new();
    let owned = ["apply", "-f", "-", "--owner", "bob"];
    b.talon_reading(&owned, MANIFEST).ends(0);
    b.deployed("research-pro");
    b.talon(&["delete", "research-pro", "--yes"]).ends(0);
    b.archived("research-pro", CleanupResult::Failed);
    let all = b.with(b.store.leftovers()).expect("what is left");
    assert!(!all.is_empty());
    let of = |owner: Option<&str>| {
        let owner = owner.map(|owner| Owner(owner.to_owned()));
        b.with(left_over(&b.store, owner.as_ref()))
            .expect("what is left")
    };
    assert_eq!(of(None), all);
    assert_eq!(of(Some("bob")), all);
    assert_eq!(of(Some("ann")), []);
}

/// Commands that read manifests, on a fleet that stands.
#[test]
fn plans_and_rehearsals_say_the_same_either_way() {
    let b = fleet();
    let daemon = Daemon::over(&b);
    let changed = MANIFEST.replace("claude-sonnet-4-6", "claude-opus-4-6");
    let persona = MANIFEST.replace("careful", "careless");
    let other = MANIFEST.replace("{name: research-pro}", "{name: research-pro, owner: other}");
    let several = format!("{}---\n{changed}", named("brand-new"));
    let invalid = MANIFEST.replace("  model:", "  modle:");
    for manifest in [
        MANIFEST,
        &changed,
        &persona,
        &other,
        &several,
        &invalid,
        &named("old-bot"),
        &named("brand-new"),
    ] {
        for (line, schema) in [
            ("plan -f -", "plan"),
            ("diff -f -", "diff"),
            ("apply -f - --dry-run=server", "apply"),
            ("apply -f - --dry-run=server --if-generation 7", "apply"),
            ("apply -f - --dry-run=server --if-generation 0", "apply"),
        ] {
            for format in ["table", "json"] {
                let args: Vec<&str> = line.split(' ').chain(["-o", format]).collect();
                let here = b.talon_reading(&args, manifest);
                let there = daemon.talon_reading(&b, &args, manifest);
                assert_eq!(
                    here.code, there.code,
                    "{line}: {here:?}\n{there:?}\n{manifest}"
                );
                assert_eq!(timeless(&here.out), timeless(&there.out), "{line}");
                assert_eq!(timeless(&here.err), timeless(&there.err), "{line}");
                if format == "json" && !here.out.is_empty() {
                    fits(&b, schema, &here.json());
                    fits(&b, schema, &there.json());
                }
            }
        }
    }
    assert_eq!(
        b.snapshot("research-pro").agent.generation.0,
        1,
        "nothing was written"
    );
}

/// The life of an agent, told once here and once there.
#[test]
fn writing_says_the_same_either_way() {
    let b = Bench::new();
    let daemon = Daemon::over(&b);
    let (here, there) = ("by-rows", "by-http");
    let both = |line: &str, manifest: &str, schema: Option<&str>, code: i32| {
        let mut said = Vec::new();
        for name in [here, there] {
            let line = line.replace("NAME", name);
            let args: Vec<&str> = line.split(' ').collect();
            let manifest = manifest.replace("research-pro", name);
            let ran = match name {
                "by-rows" => b.talon_reading(&args, &manifest),
                _ => daemon.talon_reading(&b, &args, &manifest),
            };
            let ran = ran.ends(code);
            if let Some(schema) = schema {
                fits(&b, schema, &ran.json());
            }
            let text = format!("{}\n{}", timeless(&ran.out), timeless(&ran.err));
            said.push(text.replace(name, "NAME"));
        }
        assert_eq!(said[0], said[1], "{line}");
    };
    let changed = MANIFEST.replace("claude-sonnet-4-6", "claude-opus-4-6");
    let persona = MANIFEST.replace("careful", "careless");
    both("apply -f -", MANIFEST, None, 0);
    both("apply -f -", MANIFEST, None, 0);
    both("apply -f - -o json", &changed, Some("apply"), 0);
    both("apply -f - --if-generation 1", MANIFEST, None, 5);
    both("apply -f - --if-generation 2", MANIFEST, None, 0);
    both("apply -f - --owner other", MANIFEST, None, 5);
    for name in [here, there] {
        b.deployed(name);
    }
    both("apply -f -", &persona, None, 5);
    both("apply -f - --wait", MANIFEST, None, 0);
    both("apply -f - --wait -o json", MANIFEST, Some("apply"), 0);
    both("wait NAME", "", None, 0);
    both("suspend NAME", "", None, 0);
    both("suspend NAME", "", None, 0);
    both("resume NAME -o json", "", Some("suspend"), 0);
    both("reconcile NAME -o json", "", Some("reconcile"), 0);
    for name in [here, there] {
        b.pass(name, Vec::new());
    }
    both("reconcile NAME --wait --timeout 200ms", "", None, 7);
    let protected = format!("{MANIFEST}  deletionProtected: true\n");
    both("apply -f -", &protected, None, 0);
    both("delete NAME --yes", "", None, 5);
    both("delete NAME", "", None, 5);
    both("apply -f -", MANIFEST, None, 0);
    both("delete NAME", "", None, 2);
    both("delete NAME --yes -o json", "", Some("delete"), 0);
    both("delete NAME --yes", "", None, 0);
    both("apply -f -", MANIFEST, None, 5);
    for name in [here, there] {
        b.pass(name, Vec::new());
    }
    both("wait NAME --for=delete --timeout 200ms", "", None, 7);
    for name in [here, there] {
        b.archived(name, CleanupResult::Failed);
    }
    both("get NAME --include-deleted -o json", "", Some("get"), 0);
    both("delete NAME --yes", "", None, 3);
}

#[test]
fn a_hold_and_tokens_and_keys_are_made_and_ended_either_way() {
    let b = Bench::new();
    let daemon = Daemon::over(&b);
    type Way<'a> = &'a dyn Fn(&[&str]) -> crate::bench::Ran;
    let ways: [Way<'_>; 2] = [&|args| b.talon(args), &|args| daemon.talon(&b, args)];
    for (way, other) in [(ways[0], ways[1]), (ways[1], ways[0])] {
        let held = way(&["hold", "--reason", "maintenance", "-o", "json"])
            .ends(0)
            .json();
        fits(&b, "hold", &held);
        assert_eq!(
            (&held["new"], &held["hold"]["reason"]),
            (&true.into(), &"maintenance".into())
        );
        let again = other(&["hold", "--reason", "another"]).ends(0);
        assert!(again.out.contains("maintenance"), "{}", again.out);
        let released = other(&["release-hold", "-o", "json"]).ends(0).json();
        fits(&b, "release-hold", &released);
        assert_eq!(released["released"]["kind"], "operator");
        assert_eq!(way(&["release-hold"]).ends(0).out, "no hold is in force\n");

        for (what, create, list, secret) in [
            ("token", "token-create", "token-list", "token"),
            ("keys", "keys-create", "keys-list", "key"),
        ] {
            let mut args = vec![
                what,
                "create",
                "--label",
                "ci",
                "--expires",
                "12h",
                "--owner",
                "ann",
                "-o",
                "json",
            ];
            if what == "token" {
                args.extend(["--role", "viewer"]);
            }
            let made = way(&args).ends(0).json();
            fits(&b, create, &made);
            let id = made["id"].as_str().expect("an id");
            assert!(made[secret].as_str().is_some_and(|s| s.len() > 40));
            let lists = [way, other].map(|way| way(&[what, "list", "-o", "json"]).ends(0).json());
            assert_eq!(lists[0], lists[1]);
            fits(&b, list, &lists[0]);
            let listed = lists[0]["items"].to_string();
            assert!(listed.contains(id) && !listed.contains(made[secret].as_str().expect("text")));
            let nobodys = other(&[what, "list", "--owner", "bob", "-o", "json"])
                .ends(0)
                .json();
            assert_eq!(nobodys["items"], serde_json::json!([]));
            other(&[what, "revoke", id, "--owner", "bob"]).ends(3);
            let revoked = other(&[what, "revoke", id, "-o", "json"]).ends(0).json();
            fits(&b, "token-revoke", &revoked);
            for way in [way, other] {
                let again = way(&[what, "revoke", id]).ends(0).out;
                assert!(again.contains("revoked already"), "{again}");
            }
        }
    }
}

#[test]
fn a_token_sees_and_does_what_its_role_and_owner_allow() {
    let b = fleet();
    let daemon = Daemon::over(&b);
    let token = |role: &str, owner: &[&str]| {
        let args = [
            &["token", "create", "--role", role, "--label", role, "-q"],
            owner,
        ]
        .concat();
        b.talon(&args).ends(0).out.trim().to_owned()
    };
    let viewer = token("viewer", &[]);
    let see = |token: &str, args: &[&str]| daemon.talon_with(&b, token, args, MANIFEST);
    let all = b.talon(&["get", "-o", "json"]).ends(0).json();
    assert_eq!(see(&viewer, &["get", "-o", "json"]).ends(0).json(), all);
    see(&viewer, &["describe", "research-pro"]).ends(0);
    for refused in [
        &["apply", "-f", "-"][..],
        &["delete", "research-pro", "--yes"],
        &["suspend", "research-pro"],
        &["reconcile", "research-pro"],
        &["history", "research-pro"],
        &["hold"],
        &["token", "list"],
        &["keys", "create", "--label", "x"],
    ] {
        see(&viewer, refused).ends(4);
    }
    let ann = token("admin", &["--owner", "ann"]);
    let nothing = see(&ann, &["get", "-o", "json"]).ends(0).json();
    assert_eq!(nothing["items"], serde_json::json!([]));
    see(&ann, &["get", "research-pro"]).ends(3);
    let events = see(&ann, &["events", "-o", "json"]).ends(0).json();
    assert_eq!(
        events["items"],
        serde_json::json!([]),
        "others' events are others'"
    );
    see(&ann, &["delete", "research-pro", "--yes"]).ends(3);
    see(&ann, &["hold"]).ends(4);
    let taken = see(&ann, &["apply", "-f", "-"]).ends(5);
    assert!(taken.err.contains("the name is taken"), "{}", taken.err);
    let mine = named("ann-bot");
    daemon
        .talon_with(&b, &ann, &["apply", "-f", "-"], &mine)
        .ends(0);
    assert_eq!(
        b.snapshot("ann-bot").agent.owner.0,
        "ann",
        "whose it is was not said"
    );
    see(&ann, &["history", "ann-bot"]).ends(0);
    see(&ann, &["events", "ann-bot"]).ends(0);
    let doctor = see(&ann, &["doctor", "-o", "json"]).ends(0).json();
    fits(&b, "doctor", &doctor);
    assert!(
        doctor.to_string().contains("for the agents of ann"),
        "{doctor}"
    );
    see("talon_at_nothing", &["get"]).ends(4);
}

#[test]
fn a_daemon_that_says_to_slow_down_is_asked_again() {
    let b = Bench::new();
    b.applied();
    let daemon = Daemon::that_is_slow(&b);
    for _ in 0..2 {
        daemon.talon(&b, &["get"]).ends(0);
    }
}

#[test]
fn a_command_goes_where_it_is_told() {
    let b = Bench::new();
    b.applied();
    let daemon = Daemon::over(&b);
    let with = |args: &[&str], server: &str| {
        let mut command = crate::bench::command(b.folder());
        command.args(args).env("TALON_SERVER", server);
        crate::bench::run(&mut command, None)
    };
    let nobody = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", free.local_addr().expect("an address"))
    };
    let database = format!("sqlite://{}", b.folder().join("talon.db").display());
    // The variable, unless a flag says otherwise.
    let refused = with(&["get"], &nobody).ends(9);
    assert!(refused.err.contains(&nobody), "{}", refused.err);
    with(&["get", "--server", &daemon.url()], &nobody).ends(0);
    with(&["get", "--database-url", &database], &nobody).ends(0);
    with(&["get"], "").ends(0);
    // What concerns this machine does not mind the variable, and refuses the flag.
    for args in [
        &["migrate"][..],
        &["schema"],
        &["completion", "bash"],
        &["config", "show"],
    ] {
        with(args, &nobody).ends(0);
        let refused = b.talon(&[args, &["--server", &nobody]].concat()).ends(2);
        assert!(
            refused.err.contains("works on this machine"),
            "{}",
            refused.err
        );
    }
    let doctor = with(&["doctor", "-o", "json"], &daemon.url())
        .ends(0)
        .json();
    fits(&b, "doctor", &doctor);
    assert!(doctor.to_string().contains("role admin"), "{doctor}");
    fits(
        &b,
        "doctor",
        &b.talon(&["doctor", "--offline", "-o", "json"])
            .ends(0)
            .json(),
    );
    let config = with(&["config", "show", "-o", "json"], &nobody)
        .ends(0)
        .json();
    fits(&b, "config-show", &config);
    assert_eq!(config["server"]["value"], nobody);
}

#[test]
fn waiting_and_watching_follow_the_stream() {
    let b = Bench::new();
    b.applied();
    let daemon = Daemon::over(&b);
    let url = daemon.url();
    let waiting = b.start(
        &["wait", "research-pro", "--server", &url],
        "research-pro pending",
    );
    b.deployed("research-pro");
    let ended = waiting.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "agent/research-pro condition met: Ready=True\n"
    );
    let mut watching = Watching::start(&b, &["get", "-w", "-o", "json", "--server", &url]);
    let first = watching.line();
    assert_eq!(first["type"], "ADDED");
    fits(&b, "get-watch", &first);
    b.stalled("research-pro", Reason::SecretValueMissing, "no value");
    let mut next = watching.line();
    while next["object"]["status"]["deploymentStatus"] != "failed" {
        next = watching.line();
    }
    assert_eq!(next["type"], "MODIFIED");
    // A daemon that comes back is followed again, from where the stream broke.
    let address = daemon.address();
    drop(daemon);
    b.talon(&["suspend", "research-pro"]).ends(0);
    let _again = until_free(&b, address);
    while next["object"]["spec"]["suspend"] != true {
        next = watching.line();
    }
    watching.end();
}

fn until_free(b: &Bench, address: std::net::SocketAddr) -> Daemon {
    for _ in 0..200 {
        if std::net::TcpListener::bind(address).is_ok() {
            return Daemon::at(b, address);
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("{address} never became free");
}

/// A command that prints a document a line until it is ended.
struct Watching {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Watching {
    fn start(b: &Bench, args: &[&str]) -> Self {
        use std::io::BufRead;
        let mut child = crate::bench::command(b.folder())
            .args(args)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the binary");
        let out = child.stdout.take().expect("its standard output");
        Self {
            child,
            lines: std::io::BufReader::new(out).lines(),
        }
    }

    fn line(&mut self) -> serde_json::Value {
        let line = self.lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    }

    fn end(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("a signal");
        assert_eq!(self.child.wait().expect("its end").code(), Some(130));
    }
}
