//! Which crate may lean on which, and that planning cannot reach the world. `cargo metadata` tells what is really
//! linked, so that a dependency of a dependency counts as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Every crate of the workspace and the ones it may link, from the bottom up: each names only crates that stand before it,
/// so that there is no way round. A new crate must be given its place.
const LAYERS: [(&str, &[&str]); 18] = [
    ("talon-wiping-alloc", &[]),
    ("talon-core", &[]),
    ("talon-secrets", &["talon-core"]),
    ("talon-plan", &["talon-core"]),
    ("talon-explain", &["talon-core"]),
    ("talon-worker", &["talon-core"]),
    ("talon-store", &["talon-core"]),
    ("talon-store-sqlite", &["talon-core", "talon-store"]),
    ("talon-store-postgres", &["talon-core", "talon-store"]),
    ("talon-cloudflare", &["talon-core", "talon-secrets"]),
    ("talon-simulator", &["talon-core", "talon-cloudflare"]),
    ("talon-router", &["talon-core", "talon-store"]),
    ("talon-hub", &["talon-core", "talon-store"]),
    (
        "talon-factory",
        &[
            "talon-core",
            "talon-plan",
            "talon-store",
            "talon-router",
            "talon-hub",
        ],
    ),
    (
        "talon-dashboard",
        &["talon-core", "talon-plan", "talon-explain", "talon-store"],
    ),
    (
        "talon-controller",
        &[
            "talon-core",
            "talon-plan",
            "talon-store",
            "talon-cloudflare",
            "talon-secrets",
            "talon-worker",
        ],
    ),
    (
        "talon",
        &[
            "talon-wiping-alloc",
            "talon-core",
            "talon-secrets",
            "talon-plan",
            "talon-explain",
            "talon-worker",
            "talon-store",
            "talon-store-sqlite",
            "talon-store-postgres",
            "talon-cloudflare",
            "talon-simulator",
            "talon-router",
            "talon-hub",
            "talon-factory",
            "talon-dashboard",
            "talon-controller",
        ],
    ),
    ("xtask", &["talon-core", "talon-worker", "talon-cloudflare"]),
];

/// The end-to-end tests look at everything; nothing links them.
const TESTS: &str = "talon-tests";

/// The crates that hold no I/O.
const PURE: [&str; 3] = ["talon-core", "talon-plan", "talon-explain"];

/// How the names of crates begin that do I/O or bring a runtime for it.
const WORLDLY: [&str; 21] = [
    "tokio",
    "async-io",
    "async-std",
    "smol",
    "mio",
    "polling",
    "socket2",
    "hyper",
    "reqwest",
    "ureq",
    "curl",
    "axum",
    "tower",
    "rustls",
    "native-tls",
    "openssl",
    "sqlx",
    "rusqlite",
    "libsqlite3",
    "postgres",
    "nix",
];

/// What the standard library and chrono offer for reaching the world, its clock and chance included.
const REACHES: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::io",
    "std::os",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    // Would hide the ones above from this list.
    "std::{",
    "std::time::{",
    "Utc::now",
    "Ulid::new",
    "Uuid::new_v",
];

struct Workspace {
    /// Id and name of each package.
    names: BTreeMap<String, String>,
    /// What each package links: neither its tests' nor its build script's dependencies.
    links: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// The platform that the tests are built for.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("a host")
        .to_owned()
}

impl Workspace {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            // What only other platforms need was never downloaded.
            .args(["--filter-platform", &host()])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let read: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let linked = |node: &Value| {
            let normal = |d: &&Value| list(&d["dep_kinds"]).iter().any(|k| k["kind"].is_null());
            list(&node["deps"])
                .iter()
                .filter(normal)
                .map(|d| text(&d["pkg"]))
                .collect()
        };
        Self {
            names: list(&read["packages"])
                .iter()
                .map(|p| (text(&p["id"]), text(&p["name"])))
                .collect(),
            links: list(&read["resolve"]["nodes"])
                .iter()
                .map(|n| (text(&n["id"]), linked(n)))
                .collect(),
            members: list(&read["workspace_members"]).iter().map(text).collect(),
        }
    }

    fn member(&self, name: &str) -> &str {
        let found = self.members.iter().find(|id| self.names[*id] == name);
        found.unwrap_or_else(|| panic!("{name} is a crate of the workspace"))
    }

    /// All that comes with a package, by name.
    fn everything_below(&self, id: &str) -> BTreeSet<&str> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![id]);
        while let Some(id) = next.pop() {
            for link in &self.links[id] {
                if seen.insert(link.as_str()) {
                    next.push(link);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn arrows_point_down_only() {
    let workspace = Workspace::read();
    for id in &workspace.members {
        let name = workspace.names[id].as_str();
        if name == TESTS {
            continue;
        }
        let layer = LAYERS.iter().find(|(n, _)| *n == name);
        let (_, allowed) = layer.unwrap_or_else(|| panic!("{name} has no place among the layers"));
        for link in workspace.links[id]
            .iter()
            .filter(|l| workspace.members.contains(*l))
        {
            let link = workspace.names[link].as_str();
            assert!(allowed.contains(&link), "{name} must not depend on {link}");
        }
    }
}

#[test]
fn the_layers_themselves_have_no_way_round() {
    for (at, (name, allowed)) in LAYERS.iter().enumerate() {
        for below in *allowed {
            assert!(
                LAYERS[..at].iter().any(|(n, _)| n == below),
                "{below} must stand before {name}"
            );
        }
    }
}

#[test]
fn nothing_that_does_io_comes_with_the_pure_crates() {
    let workspace = Workspace::read();
    for name in PURE {
        let all = workspace.everything_below(workspace.member(name));
        assert!(all.contains("serde"), "{name}'s dependencies were read");
        let worldly: Vec<_> = all
            .iter()
            .filter(|n| WORLDLY.iter().any(|w| n.starts_with(w)))
            .collect();
        assert!(worldly.is_empty(), "{name} brings {worldly:?}");
    }
    // The list does recognise what it is for.
    let controller = workspace.everything_below(workspace.member("talon-controller"));
    assert!(controller.iter().any(|n| n.starts_with("tokio")));
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_pure_crates_use_nothing_of_the_standard_library_that_reaches_the_world() {
    let mut found = Vec::new();
    for name in PURE {
        let folder = name.trim_start_matches("talon-");
        sources(&root().join("crates").join(folder).join("src"), &mut found);
    }
    assert!(found.len() > 30, "{} files", found.len());
    for path in found {
        let source = std::fs::read_to_string(&path).expect("a source file");
        for reach in REACHES {
            assert!(!source.contains(reach), "{} uses {reach}", path.display());
        }
    }
}
