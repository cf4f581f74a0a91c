//! Object keys: any UTF-8 up to 1024 bytes, of which neither a URL nor XML can carry all.

/// Whether the key can stand in a URL's path. `.` and `..` are resolved there, even percent-encoded, and the request
/// would go to another object or even to the bucket.
pub(crate) fn fits_a_path(key: &str) -> bool {
    !key.is_empty() && key.split('/').all(|s| !matches!(s, "." | ".."))
}

/// Undoes `encoding-type=url`: percent-encoding, with `+` for a space. What does not decode to UTF-8 stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = (bytes.next().and_then(digit), bytes.next().and_then(digit));
                let (Some(high), Some(low)) = pair else {
                    return text.to_owned();
                };
                out.push(high << 4 | low);
            }
            b => out.push(b),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn digit(b: u8) -> Option<u8> {
    char::from(b)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::sign::encode;

    #[test]
    fn dots_do_not_fit() {
        for key in ["", ".", "..", "a/../b", "a/.", "./a"] {
            assert!(!fits_a_path(key), "{key}");
        }
        for key in ["a", ".a", "a..b", "a//b", "...", "/a"] {
            assert!(fits_a_path(key), "{key}");
        }
    }

    #[test]
    fn both_ways_of_encoding() {
        assert_eq!(decode("a+b%20c%2Bd%2fe"), "a b c+d/e");
        assert_eq!(decode("50%"), "50%");
        assert_eq!(decode("%ff"), "%ff");
    }

    proptest! {
        #[test]
        fn decodes_what_we_encode(key in ".{0,60}") {
            prop_assert_eq!(decode(&encode(&key, true)), key);
        }
    }
}
