use chrono::TimeDelta;
use talon_core::AgentId;

use super::*;

const QUARTER: Duration = Duration::from_secs(900);

fn holder() -> Holder {
    Holder {
        owner: "acme".to_owned(),
        key: "k1".to_owned(),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn shown(token: &str) -> Presented {
    Presented::new(token.to_owned()).unwrap()
}

#[test]
fn a_token_is_good_until_it_expires() {
    let key = SigningKey::new([1; 32]);
    let token = key.sign(&holder(), now(), QUARTER);
    assert!(shown(&token).is_jwt() && !shown(&token).is_api_key());
    assert_eq!(key.verify(&shown(&token), now()), Ok(holder()));
    let late = |seconds| key.verify(&shown(&token), now() + TimeDelta::seconds(seconds));
    assert_eq!(late(899), Ok(holder()));
    assert_eq!(late(900), Err(BadToken::Expired));
}

#[test]
fn nobody_else_can_make_or_change_one() {
    let key = SigningKey::new([1; 32]);
    let token = key.sign(&holder(), now(), QUARTER);
    let other = SigningKey::new([2; 32]).sign(&holder(), now(), QUARTER);
    assert_eq!(key.verify(&shown(&other), now()), Err(BadToken::Forged));
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(
            key.verify(&shown(&changed), now()),
            Err(BadToken::Forged),
            "byte {at}"
        );
    }
}

#[test]
fn no_other_algorithm_is_taken() {
    let key = SigningKey::new([1; 32]);
    let claims = BASE64URL_NOPAD
        .encode(br#"{"iss":"talon-hub","sub":"acme","key":"k","iat":0,"exp":9999999999}"#);
    let none = BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"JWT"}"#);
    let unsigned = format!("{none}.{claims}.");
    assert_eq!(key.verify(&shown(&unsigned), now()), Err(BadToken::Forged));
    // Rightly signed, but not as we would.
    let signed = format!("{none}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&key.mac(&signed).finalize().into_bytes());
    let odd = format!("{signed}.{signature}");
    assert_eq!(key.verify(&shown(&odd), now()), Err(BadToken::Forged));
    for junk in ["a", "..", "a.b.c", "eyJ.eyJ.", "ä.ö.ü"] {
        assert_eq!(key.verify(&shown(junk), now()), Err(BadToken::Forged));
    }
}

#[test]
fn candidates_and_the_current_token_are_accepted() {
    let hash = |text| sha256_hex(text);
    let agent = HubAgent {
        id: AgentId(Default::default()),
        owner: "acme".to_owned(),
        deleting: false,
        keep_alive: true,
        tokens: vec![
            (hash("retired"), AuthTokenState::Retired),
            (hash("current"), AuthTokenState::Current),
            (hash("candidate"), AuthTokenState::Candidate),
        ],
    };
    assert!(accepts(&agent, &hash("current")));
    assert!(accepts(&agent, &hash("candidate")));
    assert!(!accepts(&agent, &hash("retired")));
    assert!(!accepts(&agent, &hash("other")));
    assert!(!accepts(&agent, ""));
    assert!(!accepts(&agent, &hash("current")[1..]));
}

#[test]
fn nothing_secret_is_shown() {
    assert_eq!(format!("{:?}", shown("canary")), "Presented(…)");
    assert_eq!(format!("{:?}", SigningKey::new([7; 32])), "SigningKey(…)");
    assert!(Presented::new(String::new()).is_none());
    assert!(Presented::new("x".repeat(2_049)).is_none());
}
