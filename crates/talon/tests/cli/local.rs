//! `demo`, `dev`, `simulate`, `run`: the daemon in the same binary.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use talon_core::mutation::Mutation;

use crate::bench::{Bench, MANIFEST, command, run};

/// A process that is told to stop when the test ends, whatever happens.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(bench: &Bench, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = command(bench.folder())
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Self(child, out)
    }

    /// Reads up to a line that contains `sign`, and gives that line.
    fn says(&mut self, sign: &str) -> String {
        let mut line = String::new();
        while !line.contains(sign) {
            line.clear();
            assert_ne!(
                self.1.read_line(&mut line).expect("a line"),
                0,
                "it never said {sign}"
            );
        }
        line
    }

    fn stop(mut self) -> Option<i32> {
        terminate(self.0.id());
        self.0.wait().expect("its end").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn terminate(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
}

/// Without npm, that is; with it: `tests/tests/binary`.
#[test]
fn the_demo_plays_the_whole_life_of_their_resources_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let temp = tempfile::tempdir().expect("a folder");
    let ran = run(
        command(folder.path())
            .args(["demo", "--latency", "10ms"])
            .args(["--runtime-bundle", "placeholder"])
            .env("TMPDIR", temp.path()),
        None,
    )
    .ends(0);
    for expected in [
        "No agent is asked anything",
        "agent/research-pro created",
        "8 changed something: 4 for each agent",
        "deployment_status = deployed",
        "ws-agent://research-pro",
        "deleted",
        "Done in",
    ] {
        assert!(
            ran.out.contains(expected),
            "{expected} in {}\n{}",
            ran.out,
            ran.err
        );
    }
    assert!(!ran.out.contains("credentials\""), "{}", ran.out);
    assert_eq!(
        std::fs::read_dir(temp.path()).expect("the folder").count(),
        0
    );
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("the folder")
            .count(),
        0
    );
}

/// The binary where it finds no bundle that was built before: a second name of the file, outside of cargo's folder.
fn elsewhere(b: &Bench) -> std::process::Command {
    let binary = b.folder().join("talon");
    if !binary.exists() {
        let built = env!("CARGO_BIN_EXE_talon");
        if std::fs::hard_link(built, &binary).is_err() {
            std::fs::copy(built, &binary).expect("a copy");
        }
    }
    let mut command = std::process::Command::new(binary);
    command
        .current_dir(b.folder())
        .env_clear()
        // Without it, the system's own folders are looked into.
        .env("PATH", b.folder().join("nothing"))
        .env("XDG_CACHE_HOME", b.folder().join("cache"));
    command
}

#[test]
fn without_npm_dev_runs_no_workers_and_run_refuses_rather_than_deploy_a_placeholder() {
    let b = Bench::new();
    let mut dev = elsewhere(&b)
        .args(["dev", "--examples"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let out = BufReader::new(dev.stdout.take().expect("its output"));
    let said: Vec<String> = out
        .lines()
        .map(|line| line.expect("a line"))
        .take_while(|line| !line.contains("Ctrl-C ends it"))
        .collect();
    let said = said.join("\n");
    assert!(
        said.contains("do not run, so that no agent answers"),
        "{said}"
    );
    terminate(dev.id());
    let ended = dev.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(0));
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(
        errors.contains("node was not found") && errors.contains("next: install node and npm"),
        "{errors}"
    );
    let run = run(
        elsewhere(&b)
            .arg("run")
            .env("TALON_LISTEN", "127.0.0.1:0")
            .env("TALON_CLOUDFLARE_ACCOUNT_ID", "ab".repeat(16))
            .env("TALON_CLOUDFLARE_API_TOKEN", "a-token")
            .env("TALON_CLOUDFLARE_API_BASE", "http://127.0.0.1:9/"),
        None,
    )
    .ends(1);
    for what_to_do in ["install node and npm", "--runtime-bundle", "released talon"] {
        assert!(run.err.contains(what_to_do), "{}", run.err);
    }
}

#[test]
fn a_hub_that_cloudflare_cannot_reach_is_refused_before_anything_is_done() {
    let b = Bench::new();
    let account = "ab".repeat(16);
    let env = [
        ("TALON_CLOUDFLARE_ACCOUNT_ID", account.as_str()),
        ("TALON_CLOUDFLARE_API_TOKEN", "a-token"),
        ("TALON_RUNTIME_BUNDLE", "placeholder"),
    ];
    for (url, said) in [
        ("", "cannot reach the Hub at ws://127.0.0.1:8790/ws/agents"),
        ("ws://hub.example/ws/agents", "cannot reach the Hub"),
        ("hub.example", "not the address of a Hub"),
    ] {
        let mut talon = command(b.folder());
        talon.arg("run").envs(env).env("TALON_HUB_URL", url);
        let refused = run(&mut talon, None).ends(2);
        assert!(refused.err.contains(said), "{}", refused.err);
        let mut talon = command(b.folder());
        talon.args(["doctor", "-o", "json"]).envs(env);
        let looked = run(
            talon
                .env("TALON_HUB_URL", url)
                .env("TALON_CLOUDFLARE_API_TOKEN", ""),
            None,
        );
        assert!(looked.out.contains(said), "{}", looked.out);
    }
}

#[test]
fn dev_serves_a_second_terminal() {
    let b = Bench::new();
    let env = [
        ("TALON_DATABASE_URL", "sqlite://talon.db"),
        ("TALON_RUNTIME_BUNDLE", "placeholder"),
    ];
    let mut dev = Running::start(&b, &["dev"], &env);
    dev.says("Ctrl-C ends it");
    b.talon_reading(
        &["apply", "-f", "-", "--wait", "--timeout", "60s"],
        MANIFEST,
    )
    .ends(0);
    let page = b.talon(&["describe", "research-pro"]).ends(0);
    assert!(
        page.out.contains("deployed  (Ready, in sync"),
        "{}",
        page.out
    );
    let second = b
        .talon(&["dev", "--database-url", "sqlite://talon.db"])
        .ends(9);
    assert!(second.err.contains("another talon"), "{}", second.err);
    b.talon(&[
        "delete",
        "research-pro",
        "--yes",
        "--wait",
        "--timeout",
        "90s",
    ])
    .ends(0);
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn dev_that_starts_again_in_its_folder_deploys_every_agent_again() {
    let b = Bench::new();
    let names: Vec<String> = (0..6).map(|n| format!("agent-{n}")).collect();
    let fleet: Vec<String> = names
        .iter()
        .map(|name| MANIFEST.replace("research-pro", name))
        .collect();
    let env = [("TALON_RUNTIME_BUNDLE", "placeholder")];
    let mut first = Running::start(&b, &["dev", "."], &env);
    first.says("The database stays");
    let wait = ["apply", "-f", "-", "--wait", "--timeout", "60s"];
    b.talon_reading(&wait, &fleet.join("---\n")).ends(0);
    assert_eq!(first.stop(), Some(0));
    let token = |b: &Bench, name: &str| b.snapshot(name).agent.status.r2_token_id;
    let before: Vec<_> = names.iter().map(|name| token(&b, name)).collect();
    let mut second = Running::start(&b, &["dev", "."], &env);
    second.says("The database stays");
    b.until("every agent has a token of the new Cloudflare", |b| {
        let now = names.iter().map(|name| token(b, name));
        now.zip(&before)
            .all(|(now, old)| now.is_some() && now != *old)
    });
    assert_eq!(second.stop(), Some(0));
}

#[test]
fn the_daemon_runs_on_a_simulated_account_and_stops_when_told() {
    let b = Bench::new();
    let mut cloud = Running::start(&b, &["simulate", "--listen", "127.0.0.1:0"], &[]);
    let value = |line: String| {
        line.split_once('=')
            .map(|(_, v)| v.trim().to_owned())
            .unwrap_or_default()
    };
    let base = value(cloud.says("TALON_CLOUDFLARE_API_BASE="));
    let s3 = value(cloud.says("TALON_CLOUDFLARE_S3_ENDPOINT="));
    let account = value(cloud.says("TALON_CLOUDFLARE_ACCOUNT_ID="));
    let token = value(cloud.says("TALON_CLOUDFLARE_API_TOKEN="));
    let env = |token| {
        [
            ("TALON_CLOUDFLARE_API_BASE", base.as_str()),
            ("TALON_CLOUDFLARE_S3_ENDPOINT", s3.as_str()),
            ("TALON_CLOUDFLARE_ACCOUNT_ID", account.as_str()),
            ("TALON_CLOUDFLARE_API_TOKEN", token),
            ("TALON_SECRET_ANTHROPIC", "a-key"),
            ("TALON_LISTEN", "127.0.0.1:0"),
            ("TALON_RUNTIME_BUNDLE", "placeholder"),
        ]
    };
    run(command(b.folder()).arg("doctor").envs(env(&token)), None).ends(0);
    let refused = run(
        command(b.folder())
            .arg("doctor")
            .envs(env("canary-wrong-token")),
        None,
    )
    .ends(4);
    assert!(!refused.err.contains("canary"), "{}", refused.err);
    assert!(
        refused
            .err
            .contains("next: check that TALON_CLOUDFLARE_API_TOKEN"),
        "{}",
        refused.err
    );
    let mut unknown = command(b.folder())
        .arg("run")
        .envs(env("canary-wrong-token"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut log = BufReader::new(unknown.stderr.take().expect("its log")).lines();
    let said = log
        .by_ref()
        .map(|line| line.expect("a line"))
        .find(|line| line.contains("does not take the token"))
        .expect("a word about the token");
    assert!(!said.contains("canary"), "{said}");
    // A log that nobody reads any more is no reason to die.
    drop(log);
    terminate(unknown.id());
    assert_eq!(unknown.wait().expect("its end").code(), Some(0));
    let other = run(
        command(b.folder())
            .arg("run")
            .envs(env(&token))
            .env("TALON_CLOUDFLARE_ACCOUNT_ID", "my account"),
        None,
    )
    .ends(2);
    assert!(other.err.contains("32 hex digits"), "{}", other.err);
    let daemon = Running::start(&b, &["run"], &env(&token));
    b.talon_reading(
        &["apply", "-f", "-", "--wait", "--timeout", "60s"],
        MANIFEST,
    )
    .ends(0);
    let second = run(command(b.folder()).arg("run").envs(env(&token)), None).ends(9);
    assert!(second.err.contains("another talon"), "{}", second.err);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn dev_does_not_touch_agents_of_a_real_account() {
    let b = Bench::new();
    b.applied();
    b.pass(
        "research-pro",
        vec![Mutation::Names {
            worker: "research-pro-abcdefghij".to_owned(),
            bucket: "openclaw-abcdef-research-pro-abcdefghij".to_owned(),
            account: "a-real-account".to_owned(),
        }],
    );
    let ran = b
        .talon(&["dev", "--database-url", "sqlite://talon.db"])
        .ends(5);
    assert!(ran.err.contains("agent/research-pro is one"), "{}", ran.err);
}
