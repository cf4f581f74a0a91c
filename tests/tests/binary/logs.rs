//! `talon logs` beside a running daemon: the controller's steps, and what the Worker prints while it is followed.

use nix::sys::signal::Signal;

use crate::running::{Dev, Running};

const MANIFEST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/examples/note-taker.yaml"
);

#[test]
fn the_controllers_steps_and_what_the_worker_prints_are_followed() {
    let dev = Dev::start(&[]);
    dev.talon(&["logs", "note-taker"], 3);
    dev.talon(&["logs", "note-taker", "--source", "worker"], 2);
    dev.talon(&["logs", "note-taker", "--source", "all"], 2);
    dev.talon(&["apply", "-f", MANIFEST, "--wait=connected"], 0);

    let past = dev.talon(&["logs", "note-taker"], 0).out;
    let upload = past.lines().find(|line| line.contains("step=upload "));
    let upload = upload.unwrap_or_else(|| panic!("no upload in {past}"));
    for part in [
        "Z controller note-taker gen=1 ",
        "attempt=1",
        "http=200",
        "dur=",
        "ray=",
    ] {
        assert!(upload.contains(part), "{part} in {upload}");
    }
    assert!(past.contains("deploying -> deployed"), "{past}");
    let document = dev.talon(&["logs", "note-taker", "-o", "json"], 0).json();
    assert_eq!(document["dropped"], 0);
    assert_eq!(document["items"][0]["source"], "controller");

    let mut command = dev.command(&["logs", "note-taker", "-f"]);
    let mut follower = Running::start(&mut command, &dev.folder().join("logs.err"));
    follower.says("step=upload ");
    // Its tail is open when something is heard of it: the Worker is asked until then.
    let asked = |n: usize| {
        let text = format!("Save a note: number {n}");
        dev.talon(&["task", "note-taker", &text], 0);
    };
    asked(1);
    let printed = follower.says("console=");
    assert!(printed.contains("Z worker     note-taker "), "{printed}");
    assert!(!printed.contains('\u{1b}'), "{printed}");
    dev.talon(&["reconcile", "note-taker"], 0);
    let (code, _) = follower.end_with(Signal::SIGINT);
    assert_eq!(code, Some(130));
    // What a Worker prints is shown to whoever follows, and kept nowhere.
    let said = printed.split_once("console=").expect("its text").1;
    assert!(!dev.errors().contains(said.trim()), "{}", dev.errors());

    let secret = dev.talon(&["secrets", "callback", "note-taker"], 0).out;
    assert!(secret.starts_with("whsec_"), "the form of it");
    let nobody = ["logs", "nobody", "-f"];
    dev.talon(&nobody, 3);
    let mut command = dev.command(&["logs", "note-taker"]);
    let output = command
        .env_remove("TALON_SERVER")
        .env("TALON_LISTEN", "127.0.0.1:9")
        .output()
        .expect("the binary");
    let errors = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("use --server"), "{errors}");
    assert_eq!(dev.end_with(Signal::SIGTERM), Some(0));
}
