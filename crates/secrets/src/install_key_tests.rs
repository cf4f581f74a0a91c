use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const BYTES: [u8; 32] = [0xAB; 32];

#[test]
fn a_created_key_is_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("install.key");
    let key = InstallKey::create(&path, BYTES).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(InstallKey::load(&path).unwrap().check(), key.check());
    assert_eq!(
        InstallKey::from_hex(&format!(" {}\n", "AB".repeat(32)))
            .unwrap()
            .check(),
        key.check()
    );
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("install.key");
    InstallKey::create(&path, BYTES).unwrap();
    let before = fs::read(&path).unwrap();
    let e = InstallKey::create(&path, [1; 32]).unwrap_err();
    assert!(matches!(e, InstallKeyError::Exists(_)), "{e}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("install.key");
    InstallKey::create(&path, BYTES).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o660, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let e = InstallKey::load(&path).unwrap_err();
        assert!(
            e.to_string()
                .contains(&format!("chmod 600 {}", path.display())),
            "{e}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(InstallKey::load(&path).is_ok());
}

#[test]
fn a_file_of_another_user_is_refused_with_the_command_to_run_and_one_of_roots_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("install.key");
    InstallKey::create(&path, BYTES).unwrap();
    let me = nix::unistd::geteuid().as_raw();
    if me == 0 {
        assert!(InstallKey::load_as(&path, 4711).is_ok());
        std::os::unix::fs::chown(&path, Some(4712), None).unwrap();
        assert!(InstallKey::load_as(&path, 4712).is_ok());
        let e = InstallKey::load(&path).unwrap_err();
        assert!(
            matches!(
                e,
                InstallKeyError::NotOurs {
                    owner: 4712,
                    user: 0,
                    ..
                }
            ),
            "{e}"
        );
    }
    let e = InstallKey::load_as(&path, 4711).unwrap_err();
    let command = format!("chown 4711 {}", path.display());
    assert!(e.to_string().contains(&command), "{e}");
}

#[test]
fn what_is_no_key_is_refused_without_being_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("install.key");
    assert!(matches!(
        InstallKey::load(&path),
        Err(InstallKeyError::Missing(_))
    ));
    assert!(matches!(
        InstallKey::load(dir.path()),
        Err(InstallKeyError::NotAFile(_))
    ));
    InstallKey::create(&path, BYTES).unwrap();
    for content in [
        String::new(),
        "ab".repeat(31),
        "ab".repeat(33),
        "zz".repeat(32),
        "x".repeat(100_000),
    ] {
        fs::write(&path, &content).unwrap();
        let e = InstallKey::load(&path).unwrap_err();
        assert!(matches!(e, InstallKeyError::Malformed), "{e}");
        assert!(!format!("{e:?} {e}").contains("abab"));
    }
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(matches!(
        InstallKey::load(&path),
        Err(InstallKeyError::Malformed)
    ));
}

#[test]
fn derived_values_are_the_documented_ones() {
    let key = InstallKey::from_hex(&"ab".repeat(32)).unwrap();
    let agent: AgentId = "6f0c2a8e-1111-4222-8333-444455556666".parse().unwrap();
    assert_eq!(key.check(), keyed_hex(&BYTES, &[b"talon-check"]));
    assert_eq!(
        key.control_token(agent).expose(),
        keyed_hex(&BYTES, &[b"wake:6f0c2a8e-1111-4222-8333-444455556666"])
    );
    assert_eq!(
        hex::encode(key.hub_signing_key()),
        keyed_hex(&BYTES, &[b"hub-signing-key"])
    );
    let other: AgentId = "00000000-0000-0000-0000-000000000000".parse().unwrap();
    assert_ne!(
        key.control_token(agent).expose(),
        key.control_token(other).expose()
    );
    assert_eq!(
        key.operator_token().expose(),
        format!("talon_op_{}", keyed_hex(&BYTES, &[b"operator-token"]))
    );
    let session = key.session_key();
    assert_eq!(
        hex::encode(session),
        keyed_hex(&BYTES, &[b"dashboard-session"])
    );
    assert_eq!(format!("{key:?}"), "InstallKey(…)");
}
