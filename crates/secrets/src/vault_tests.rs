use std::sync::{Arc, Mutex};
use std::time::Duration;

use talon_core::Owner;
use talon_core::secret::{SecretRef, SecretValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::{Vault, VaultConfig, VaultConfigError};
use crate::reader::{ScopedReader, SecretReadError, SecretReader};
use crate::scope::{Scope, Scopes};

const TOKEN: &str = "made-up-vault-token-8c1f";
const CANARY: &str = "made-up-value-in-an-answer-77d1";
const WHAT: &str = "vault:kv/agents/rp#anthropic";

/// Answers every request with this text, or not at all; keeps what was asked.
struct Stub {
    address: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    async fn answering(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (answer, seen) = (answer.clone(), seen.clone());
                tokio::spawn(async move {
                    let mut request = vec![0; 8192];
                    let read = socket.read(&mut request).await.unwrap_or(0);
                    let text = String::from_utf8_lossy(&request[..read]).into_owned();
                    seen.lock().expect("unpoisoned").push(text);
                    match answer {
                        Some(answer) => drop(socket.write_all(answer.as_bytes()).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        let address = format!("http://127.0.0.1:{port}/");
        Self {
            address: Url::parse(&address).expect("a URL"),
            asked,
        }
    }

    fn vault(&self, mount: Option<&str>) -> Vault {
        Vault::new(VaultConfig {
            namespace: Some("team/one".to_owned()),
            mount: mount.map(str::to_owned),
            ..config(self.address.as_str())
        })
        .expect("a client")
    }
}

fn config(address: &str) -> VaultConfig {
    VaultConfig {
        address: Url::parse(address).expect("a URL"),
        token: Box::new(|| Ok(SecretValue::new(TOKEN.to_owned()))),
        namespace: None,
        mount: None,
        ca_file: None,
        timeout: Duration::from_millis(400),
    }
}

fn http(status: &str, body: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: http://127.0.0.1:9/elsewhere\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn kv(fields: &str) -> Option<String> {
    http(
        "200 OK",
        &format!(
            "{{\"request_id\":\"x\",\"data\":{{\"data\":{fields},\"metadata\":{{\"version\":1}}}}}}"
        ),
    )
}

async fn read(answer: Option<String>) -> Result<String, SecretReadError> {
    let stub = Stub::answering(answer).await;
    let entry = stub.vault(None).entry("kv/agents/rp", WHAT).await?;
    let value = entry.field("anthropic", WHAT)?;
    Ok(value.expose().to_owned())
}

#[tokio::test]
async fn an_entry_is_asked_for_once_with_token_and_namespace_in_headers_only() {
    let stub = Stub::answering(kv(&format!("{{\"anthropic\":\"{CANARY}\"}}"))).await;
    let entry = stub.vault(None).entry("kv/agents/rp", WHAT).await;
    let value = entry.expect("an entry").field("anthropic", WHAT);
    assert_eq!(value.expect("a value").expose(), CANARY);
    let asked = stub.asked.lock().expect("unpoisoned").clone();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].starts_with("GET /v1/kv/data/agents/rp HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(asked[0].contains(&format!("x-vault-token: {TOKEN}\r\n")));
    assert!(asked[0].contains("x-vault-namespace: team/one\r\n"));
    drop(asked);

    let mounted = stub.vault(Some("teams/kv/")).entry("agents/rp", WHAT).await;
    assert!(mounted.is_ok());
    let asked = stub.asked.lock().expect("unpoisoned");
    assert!(asked[1].starts_with("GET /v1/teams/kv/data/agents/rp "));
}

#[tokio::test]
async fn what_passes_by_itself_is_told_from_what_needs_a_person() {
    let transient = [
        http("500 no", CANARY),
        http("503 sealed", CANARY),
        http("429 slow down", CANARY),
        http("473 standby", CANARY),
        http("307 elsewhere", CANARY),
        http("302 elsewhere", CANARY),
        Some("garbage".to_owned()),
        Some("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"data\":".to_owned()),
        None,
    ];
    for answer in transient {
        let error = read(answer.clone()).await.expect_err("no value");
        assert!(
            matches!(error, SecretReadError::Unavailable(_)),
            "{answer:?}: {error:?}"
        );
        harmless(&error);
    }
    let permanent = [
        http("404 none", CANARY),
        http("403 forbidden", CANARY),
        http("400 no", CANARY),
        http("200 OK", CANARY),
        http(
            "200 OK",
            &format!("{{\"data\":{{\"anthropic\":\"{CANARY}\"}}}}"),
        ),
        http("200 OK", &format!("{{\"data\":\"{CANARY}\"}}")),
        http("200 OK", "{\"data\":{\"data\":null,\"metadata\":{}}}"),
        kv(&format!("{{\"openai\":\"{CANARY}\"}}")),
        kv(&format!("{{\"anthropic\":[\"{CANARY}\"]}}")),
        kv(&format!("{{\"anthropic\":{{\"key\":\"{CANARY}\"}}}}")),
        kv("{\"anthropic\":7}"),
        kv(&format!("{{\"anthropic\":\"{}\"}}", "x".repeat(600_000))),
    ];
    for answer in permanent {
        let error = read(answer).await.expect_err("no value");
        assert!(
            !matches!(error, SecretReadError::Unavailable(_)),
            "{error:?}"
        );
        harmless(&error);
    }
    let nobody = Vault::new(config("http://127.0.0.1:1/")).expect("a client");
    let error = nobody
        .entry("kv/agents/rp", WHAT)
        .await
        .expect_err("no value")
        .error;
    assert!(
        matches!(error, SecretReadError::Unavailable(_)),
        "{error:?}"
    );
}

fn harmless(error: &SecretReadError) {
    let said = format!("{error} {error:?}");
    assert!(!said.contains(CANARY) && !said.contains(TOKEN), "{said}");
    assert!(said.contains(WHAT), "{said}");
}

fn reader(stub: &Stub) -> ScopedReader {
    let scope = Scope {
        vault: vec!["kv/*".to_owned()],
        ..Scope::default()
    };
    let scopes = Scopes([(Owner::default(), scope)].into());
    ScopedReader::new(scopes).with_vault(Some(stub.vault(None)))
}

async fn through(reader: &dyn SecretReader, reference: &str) -> Result<String, SecretReadError> {
    let reference = SecretRef(reference.to_owned());
    let value = reader.read(&Owner::default(), &reference).await?;
    Ok(value.expose().to_owned())
}

#[tokio::test]
async fn a_batch_asks_for_an_entry_once_and_waits_for_a_server_that_is_down_once() {
    let stub = Stub::answering(kv("{\"anthropic\":\"one\",\"openai\":\"two\"}")).await;
    let asked = || stub.asked.lock().expect("unpoisoned").len();
    let single = reader(&stub);
    let batch = single.batch().expect("Vault is worth a batch");
    for _ in 0..3 {
        let one = through(&*batch, "vault:kv/rp#anthropic").await;
        let two = through(&*batch, "vault:kv/rp#openai").await;
        assert_eq!((one, two), (Ok("one".to_owned()), Ok("two".to_owned())));
    }
    assert_eq!(asked(), 1);
    assert!(through(&*batch, "vault:kv/rp#other").await.is_err());
    assert!(through(&*batch, "vault:kv/other#openai").await.is_ok());
    assert_eq!(asked(), 2);
    for _ in 0..2 {
        assert!(through(&single, "vault:kv/rp#anthropic").await.is_ok());
    }
    assert_eq!(asked(), 4, "outside a batch nothing is kept");

    let stub = Stub::answering(http("503 sealed", "")).await;
    let sealed = reader(&stub);
    let batch = sealed.batch().expect("a batch");
    for path in ["a", "b", "c"] {
        let error = through(&*batch, &format!("vault:kv/{path}#x")).await;
        let error = error.expect_err("sealed");
        assert!(matches!(error, SecretReadError::Unavailable(_)));
        let names_another = path != "a" && error.to_string().contains("kv/a");
        assert!(!names_another, "{error}");
    }
    assert_eq!(stub.asked.lock().expect("unpoisoned").len(), 1);
}

#[tokio::test]
async fn one_entry_that_fails_keeps_nobody_from_another() {
    for answer in ["500 broken", "429 later", "473 standby"] {
        let stub = Stub::answering(http(answer, "")).await;
        let single = reader(&stub);
        let batch = single.batch().expect("a batch");
        for path in ["a", "b", "a"] {
            let error = through(&*batch, &format!("vault:kv/{path}#x")).await;
            assert!(matches!(error, Err(SecretReadError::Unavailable(_))));
        }
        assert_eq!(stub.asked.lock().expect("unpoisoned").len(), 2, "{answer}");
    }
}

#[tokio::test]
async fn what_stands_in_a_field_must_be_able_to_be_a_key() {
    for bad in ["", "two\\nlines", "env:TALON_SECRET_X"] {
        let stub = Stub::answering(kv(&format!("{{\"anthropic\":\"{bad}\"}}"))).await;
        let error = through(&reader(&stub), "vault:kv/rp#anthropic").await;
        assert!(matches!(error, Err(SecretReadError::Empty(_))), "{bad}");
    }
}

#[tokio::test]
async fn no_path_leads_out_of_its_engine() {
    let stub = Stub::answering(kv("{}")).await;
    let vault = stub.vault(None);
    for path in ["kv/../sys", "kv/./a", "kv//a", "/kv/a", "kv/a/", "..", ""] {
        let error = vault.entry(path, WHAT).await.expect_err(path).error;
        assert!(matches!(error, SecretReadError::OutOfScope(_)), "{path}");
    }
    let error = vault.entry("kv", WHAT).await.expect_err("no entry").error;
    assert!(matches!(error, SecretReadError::Unsupported(_)));
    assert!(stub.asked.lock().expect("unpoisoned").is_empty());
}

/// Of two teams only one's paths are ever asked for, whatever a reference is made of; and what is asked for is what the
/// scope was asked about, part by part.
#[tokio::test]
async fn nothing_outside_the_scope_is_ever_asked_for() {
    let stub = Stub::answering(kv(&format!("{{\"anthropic\":\"{CANARY}\"}}"))).await;
    let (alice, bob) = (Owner("alice".to_owned()), Owner("bob".to_owned()));
    let of = |pattern: &str| Scope {
        vault: vec![pattern.to_owned()],
        ..Scope::default()
    };
    let scopes = [(alice.clone(), of("kv/alice/*")), (bob, of("kv/bob/*"))];
    let reader = ScopedReader::new(Scopes(scopes.into())).with_vault(Some(stub.vault(None)));
    let pieces = [
        "..",
        ".",
        "/",
        "\\",
        "\0",
        "%2e%2e",
        "%2f",
        "%00",
        "bob",
        "alice",
        "kv",
        "sys",
        "data",
        "\u{ff0e}\u{ff0e}",
        "\u{2215}",
        "\u{202e}",
        "?",
        "?version=1",
        "#",
        ";",
        "@",
        ":",
        "//",
        "\r\nx: y",
        " ",
        "*",
        "rp",
        "\u{0430}lice",
    ];
    let mut dice: u64 = 0x7a1e;
    let mut roll = |below: usize| {
        // Knuth's generator: the high bits are as random as is needed.
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(dice >> 33).unwrap_or_default() % below
    };
    let mut read = 0;
    for n in 0..3_000 {
        // Half of them begin well, so that what follows is looked at.
        let begins = match roll(10) {
            0 => "kv/alice",
            1 => "kv/",
            2 => "",
            3 => "/kv/alice/",
            4 => "kv/bob/",
            _ => "kv/alice/",
        };
        let rest: String = (0..roll(6)).map(|_| pieces[roll(pieces.len())]).collect();
        let reference = SecretRef(format!("vault:{begins}{rest}#anthropic"));
        let before = stub.asked.lock().expect("unpoisoned").len();
        let answer = reader.read(&alice, &reference).await;
        let asked = stub.asked.lock().expect("unpoisoned")[before..].to_vec();
        match answer {
            Ok(_) => {
                read += 1;
                assert_eq!(asked.len(), 1, "{n}: {reference:?}");
            }
            Err(error) => {
                let said = format!("{error} {error:?}");
                assert!(!said.contains(CANARY) && !said.contains(TOKEN), "{said}");
            }
        }
        for request in asked {
            let line = request.lines().next().unwrap_or_default().to_owned();
            let path = line
                .strip_prefix("GET /v1/kv/data/alice/")
                .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
            let path = path.unwrap_or_else(|| panic!("{n}: {reference:?} asks for {line}"));
            let bare = |c: char| c.is_ascii_alphanumeric() || "-._~%/:@;*".contains(c);
            assert!(path.chars().all(bare), "{n}: {line}");
            for part in path.split('/') {
                let lower = part.to_ascii_lowercase().replace("%2e", ".");
                assert!(!matches!(lower.as_str(), "" | "." | ".."), "{n}: {line}");
            }
        }
    }
    assert!(
        read > 20,
        "only {read} were read: the fuzz asks for nothing"
    );
}

#[test]
fn an_address_that_would_show_keys_to_the_network_is_refused() {
    for good in [
        "https://vault.example:8200",
        "https://vault.example/base/",
        "http://127.0.0.1:8200",
        "http://localhost:8200",
        "http://[::1]:8200",
    ] {
        assert!(Vault::new(config(good)).is_ok(), "{good}");
    }
    for bad in [
        "http://vault.example:8200",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "https://vault.example/?token=x",
    ] {
        let refused = Vault::new(config(bad)).err();
        assert_eq!(refused, Some(VaultConfigError::Address), "{bad}");
    }
    let named = |mount: &str| {
        Vault::new(VaultConfig {
            mount: Some(mount.to_owned()),
            ..config("https://vault.example")
        })
    };
    assert!(named("teams/kv").is_ok() && named("kv/").is_ok());
    for bad in ["../sys", "a b", "", "kv//x", "kv?x"] {
        assert!(named(bad).is_err(), "{bad}");
    }
    let shown = format!("{:?}", named("kv").expect("a client"));
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[test]
fn a_file_of_certificates_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let with = || {
        Vault::new(VaultConfig {
            ca_file: Some(file.clone()),
            ..config("https://vault.example")
        })
    };
    assert!(matches!(with(), Err(VaultConfigError::Ca(_))), "none there");
    std::fs::write(&file, "nothing").expect("written");
    assert!(matches!(with(), Err(VaultConfigError::Ca(_))), "none in it");
}
