use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

const CANARY: &str = "canary-value-4711";

fn owner(s: &str) -> Owner {
    Owner(s.to_owned())
}

/// A place with one directory per owner, and secrets outside of both.
struct Place {
    root: tempfile::TempDir,
    reader: ScopedReader,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["alice", "bob", "alice/sub"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("alice/key"), "alice-value\n").unwrap();
        fs::write(root.path().join("alice/sub/inner"), "inner-value").unwrap();
        fs::write(root.path().join("bob/bobs"), CANARY).unwrap();
        fs::write(root.path().join("outside"), CANARY).unwrap();
        let scope = |env: &str, dir: &str| Scope {
            env: vec![env.to_owned()],
            files: Some(root.path().join(dir)),
            vault: vec![format!("kv/{dir}/*")],
        };
        let scopes = Scopes(BTreeMap::from([
            (owner("alice"), scope("ALICE_*", "alice")),
            (owner("bob"), scope("BOB_ONLY", "bob")),
        ]));
        let environment = [
            ("ALICE_KEY", "a-value"),
            ("BOB_ONLY", CANARY),
            ("HOME_TOKEN", CANARY),
        ]
        .map(|(k, v)| (k.to_owned(), SecretValue::new(v.to_owned())));
        let reader = ScopedReader::with_environment(scopes, BTreeMap::from(environment));
        Self { root, reader }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn read_as(&self, who: &str, reference: &str) -> Result<String, SecretReadError> {
        let (who, reference) = (owner(who), SecretRef(reference.to_owned()));
        let read = self.reader.read(&who, &reference);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(read).map(|v| v.expose().to_owned())
    }

    fn read(&self, reference: &str) -> Result<String, SecretReadError> {
        self.read_as("alice", reference)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }
}

#[test]
fn values_inside_the_scope_are_read() {
    let place = Place::new();
    assert_eq!(place.read("env:ALICE_KEY").unwrap(), "a-value");
    assert_eq!(place.read("file:key").unwrap(), "alice-value");
    assert_eq!(place.read_as("bob", "file:bobs").unwrap(), CANARY);
}

#[test]
fn the_process_environment_is_read_by_the_ordinary_reader() {
    let scope = Scope {
        env: vec!["PATH".to_owned(), "TALON_SECRET_NOT_THERE".to_owned()],
        ..Scope::default()
    };
    let reader = ScopedReader::new(Scopes(BTreeMap::from([(Owner::default(), scope)])));
    let read = |r: &str| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(reader.read(&Owner::default(), &SecretRef(r.to_owned())))
    };
    assert!(read("env:PATH").is_ok());
    assert!(matches!(
        read("env:TALON_SECRET_NOT_THERE"),
        Err(SecretReadError::Missing(m)) if m.contains("env:TALON_SECRET_NOT_THERE is not set")
    ));
    assert!(matches!(
        read("env:HOME"),
        Err(SecretReadError::OutOfScope(_))
    ));
}

#[test]
fn what_belongs_to_others_is_out_of_scope() {
    let place = Place::new();
    for reference in ["env:BOB_ONLY", "env:HOME_TOKEN", "env:ALICE"] {
        let e = place.read(reference).unwrap_err();
        assert!(
            matches!(e, SecretReadError::OutOfScope(_)),
            "{reference}: {e}"
        );
        assert!(e.to_string().contains("secretScopes.alice.env"), "{e}");
    }
    assert!(matches!(
        place.read("file:bobs"),
        Err(SecretReadError::Missing(_))
    ));
    for reference in ["env:ALICE_KEY", "file:key"] {
        let e = place.read_as("mallory", reference).unwrap_err();
        assert!(
            matches!(e, SecretReadError::OutOfScope(_)),
            "{reference}: {e}"
        );
    }
}

#[test]
fn without_configuration_only_talons_own_variables_may_be_used() {
    let scopes = Scopes::default();
    let scope = scopes.of(&Owner::default()).unwrap();
    assert!(scope.allows_env("TALON_SECRET_ANTHROPIC"));
    assert!(!scope.allows_env("TALON_DATABASE_URL"));
    assert!(!scope.allows_env("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(scope.files, None);
    assert_eq!(scopes.of(&owner("other")), None);
    let star = Scope {
        env: vec!["*".to_owned()],
        ..Scope::default()
    };
    assert!(!star.allows_env("ANYTHING"));
}

#[test]
fn scopes_are_read_strictly() {
    let json = r#"{"default": {"env": ["A_*"], "files": "/secrets"}, "b": {}}"#;
    let scopes: Scopes = serde_json::from_str(json).unwrap();
    assert!(scopes.of(&Owner::default()).unwrap().allows_env("A_1"));
    let back: Scopes = serde_json::from_str(&serde_json::to_string(&scopes).unwrap()).unwrap();
    assert_eq!(back, scopes);
    assert!(serde_json::from_str::<Scopes>(r#"{"default": {"environ": []}}"#).is_err());
}

#[test]
fn symlinks_out_of_the_directory_are_refused() {
    let place = Place::new();
    let link = |target: &Path, name: &str| symlink(target, place.path("alice").join(name)).unwrap();
    link(&place.path("outside"), "absolute");
    link(Path::new("../outside"), "relative");
    link(Path::new("../bob/bobs"), "neighbour");
    link(Path::new("relative"), "chain");
    link(Path::new("../bob"), "directory");
    link(Path::new("/proc/self/environ"), "environ");
    for name in [
        "absolute",
        "relative",
        "neighbour",
        "chain",
        "directory",
        "environ",
    ] {
        let e = place.read(&format!("file:{name}")).unwrap_err();
        assert!(matches!(e, SecretReadError::OutOfScope(_)), "{name}: {e}");
        assert!(!format!("{e:?}").contains(CANARY));
    }
    link(Path::new("loop"), "loop");
    assert!(place.read("file:loop").is_err());
    link(Path::new("nowhere"), "dangling");
    assert!(matches!(
        place.read("file:dangling"),
        Err(SecretReadError::Missing(_))
    ));
}

#[test]
fn symlinks_inside_the_directory_are_followed_as_kubernetes_needs() {
    let place = Place::new();
    fs::create_dir(place.path("alice/..2026_11_23")).unwrap();
    place.write("alice/..2026_11_23/token", "mounted");
    symlink("..2026_11_23", place.path("alice/..data")).unwrap();
    symlink("..data/token", place.path("alice/token")).unwrap();
    assert_eq!(place.read("file:token").unwrap(), "mounted");
    // The owner's directory itself may be reached through a link.
    symlink(place.path("alice"), place.path("alias")).unwrap();
    let scope = Scope {
        env: vec![],
        files: Some(place.path("alias")),
        ..Scope::default()
    };
    let aliased = Place {
        reader: ScopedReader::new(Scopes(BTreeMap::from([(owner("alice"), scope)]))),
        root: place.root,
    };
    assert_eq!(aliased.read("file:key").unwrap(), "alice-value");
    assert_eq!(aliased.read("file:token").unwrap(), "mounted");
}

#[test]
fn only_regular_files_are_read_and_nothing_blocks() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.path("alice/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("alice/socket")).unwrap();
    for name in ["sub", "pipe", "socket"] {
        let e = place.read(&format!("file:{name}")).unwrap_err();
        assert!(matches!(e, SecretReadError::Unsupported(_)), "{name}: {e}");
    }
}

#[test]
fn only_one_line_of_text_can_be_a_secret() {
    let place = Place::new();
    for (content, ok) in [
        (b"value".to_vec(), true),
        (b"value\n".to_vec(), true),
        (b"value\r\n".to_vec(), true),
        (b"v\xc3\xa4lue".to_vec(), true),
        (vec![b'x'; MAX_VALUE_BYTES], true),
        (
            [vec![b'x'; MAX_VALUE_BYTES], b"\r\n".to_vec()].concat(),
            true,
        ),
        (vec![b'x'; MAX_VALUE_BYTES + 1], false),
        (vec![b'x'; MAX_VALUE_BYTES * 3], false),
        (b"".to_vec(), false),
        (b"\n".to_vec(), false),
        (b" \t \n".to_vec(), false),
        (b"a\nb".to_vec(), false),
        (b"value\n\n".to_vec(), false),
        (b"a\0b".to_vec(), false),
        (b"a\x1bb".to_vec(), false),
        (b"a\xffb".to_vec(), false),
    ] {
        place.write("alice/v", &content);
        let read = place.read("file:v");
        assert_eq!(
            read.is_ok(),
            ok,
            "{:?}",
            String::from_utf8_lossy(&content[..content.len().min(20)])
        );
        if let Err(e) = read {
            assert!(matches!(e, SecretReadError::Empty(_)), "{e}");
        }
    }
}

#[test]
fn other_kinds_of_references_say_what_to_do() {
    let place = Place::new();
    let unset = place.read("vault:kv/alice/a#b").unwrap_err();
    assert!(matches!(unset, SecretReadError::Unsupported(_)), "{unset}");
    assert!(unset.to_string().contains("vault.address"), "{unset}");
    let another = place.read("vault:kv/bob/a#b").unwrap_err();
    assert!(
        matches!(another, SecretReadError::OutOfScope(_)),
        "{another}"
    );
    assert!(
        another.to_string().contains("secretScopes.alice.vault"),
        "{another}"
    );
    assert!(matches!(
        place.read("discarded"),
        Err(SecretReadError::Missing(_))
    ));
    let e = place.read("sk-ant-api03-secret").unwrap_err();
    assert!(matches!(e, SecretReadError::OutOfScope(_)));
    assert!(!e.to_string().contains("sk-ant"));
    let missing = place.read("file:nothing").unwrap_err().to_string();
    assert!(missing.contains("file:nothing does not exist"), "{missing}");
    fs::remove_dir_all(place.path("bob")).unwrap();
    assert!(matches!(
        place.read_as("bob", "file:bobs"),
        Err(SecretReadError::Missing(_))
    ));
}

#[test]
fn the_reader_shows_no_value() {
    let place = Place::new();
    assert!(!format!("{:?} {:#?}", place.reader, place.reader).contains(CANARY));
}

/// Names made of what leads elsewhere.
fn crooked() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "..", ".", "/", "\\", "\0", "%2e", "%2f", "outside", "bob", "bobs", "alice", "sub",
            "inner", "key", "\u{ff0e}", "\u{2215}", "\u{202e}", "~", "$HOME", " ", "\n", "*",
            "proc", "self", "environ",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..7).prop_map(|v| v.concat())
}

proptest! {
    #[test]
    fn nothing_outside_the_scope_is_ever_read(
        name in crooked(),
        scheme in proptest::sample::select(vec!["file:", "env:", "", "FILE:", "file:/", "file:../"]),
    ) {
        let place = Place::new();
        // A link with the very name that is asked for, where that is one plain name.
        if !name.contains('/') && !matches!(name.as_str(), "" | "." | "..") {
            let _ = symlink(place.path("outside"), place.path("alice").join(&name));
        }
        let reference = format!("{scheme}{name}");
        match place.read(&reference) {
            Ok(v) => prop_assert!(v == "alice-value" || v == "a-value", "{}", v),
            Err(e) => {
                let shown = format!("{e:?} {e}");
                prop_assert!(!shown.contains(CANARY));
            }
        }
        // The last gate alone holds as well.
        if let Ok(bytes) = file::read(&place.path("alice"), &name, "x") {
            prop_assert_eq!(bytes, b"alice-value\n");
        }
    }
}
