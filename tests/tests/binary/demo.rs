//! `talon demo` from the first line to the last, and cut short.

use std::ffi::OsString;

use nix::sys::signal::Signal;

use crate::running::{Running, entries, gone, talon};

fn demo(temporary: &std::path::Path, folder: &std::path::Path) -> Running {
    let mut command = talon(folder);
    command
        .args(["demo", "--latency", "10ms"])
        .env("TMPDIR", temporary);
    Running::start(&mut command, &folder.join("demo.err"))
}

#[test]
fn the_demo_deploys_agents_that_are_found_answer_write_and_remember_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let temporary = tempfile::tempdir().expect("a folder");
    let mut demo = demo(temporary.path(), folder.path());
    let (code, said) = demo.end();
    let errors = std::fs::read_to_string(folder.path().join("demo.err")).expect("its errors");
    assert_eq!(code, Some(0), "{said}\n{errors}");
    for expected in [
        "4 for each agent",
        "deployment_status = deployed",
        "agent/news-digest connected",
        "agent/research-pro connected",
        "agent/research-pro  skill fact-check",
        "Done. Wrote notes/",
        "workspace/artifacts/notes/the-bridge-over-the-elbe-was.md: the bridge over the Elbe was opened in 1893",
        "1. Save a note: the bridge over the Elbe was opened in 1893",
        "✓ Record",
        "Done in",
    ] {
        assert!(said.contains(expected), "{expected} in {said}\n{errors}");
    }
    gone(demo.session());
    assert_eq!(entries(temporary.path()), Vec::<OsString>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing_either() {
    for sign in ["2. The controller", "7. Tasks over the Hub"] {
        let folder = tempfile::tempdir().expect("a folder");
        let temporary = tempfile::tempdir().expect("a folder");
        let mut demo = demo(temporary.path(), folder.path());
        demo.says(sign);
        let session = demo.session();
        let (code, said) = demo.end_with(Signal::SIGINT);
        assert_eq!(code, Some(130), "{said}");
        gone(session);
        assert_eq!(entries(temporary.path()), Vec::<OsString>::new());
        let errors = std::fs::read_to_string(folder.path().join("demo.err")).expect("its errors");
        assert!(errors.contains("\nnext: start it again"), "{errors}");
    }
}
