//! JSON as it must be: no duplicate keys, no deep nesting, nothing behind it. What is said about a body repeats nothing
//! of it.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep a body may be nested.
pub const MAX_DEPTH: usize = 32;

const TOO_DEEP: &str = "nested too deeply";
const DUPLICATE: &str = "duplicate key";
const NO_NUMBER: &str = "number out of range";

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is no JSON text.
    Syntax {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// An object has a key twice.
    Duplicate {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column } => {
                write!(f, "the body is no JSON (line {line}, column {column})")
            }
            Self::Duplicate { line, column } => write!(
                f,
                "a key stands twice in the same object (line {line}, column {column}): keep one of them"
            ),
            Self::TooDeep => write!(f, "the body is nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

/// Reads one JSON text.
pub fn parse(bytes: &[u8]) -> Result<Value, Refused> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Level(0)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|e| {
        let (line, column) = (e.line(), e.column());
        // The texts are our own constants; whatever else the parser says is bad syntax.
        let said = e.to_string();
        if said.starts_with(TOO_DEEP) || said.starts_with("recursion limit") {
            Refused::TooDeep
        } else if said.starts_with(DUPLICATE) {
            Refused::Duplicate { line, column }
        } else {
            Refused::Syntax { line, column }
        }
    })
}

/// Reads a value that stands so deep.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if self.0 >= MAX_DEPTH {
            return Err(E::custom(TOO_DEEP));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v)
            .map(Value::Number)
            .ok_or_else(|| E::custom(NO_NUMBER))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E: de::Error>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(DUPLICATE));
            }
            let value = map.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_json_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,3.5,"x\u00e4",null,true],"b":{"a":{}}}"#;
        let expected: Value = serde_json::from_str(text).expect("json");
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_duplicate_key_is_refused_wherever_it_stands() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"c":2,"a":3}}]"#,
            r#"{"\u0061":1,"a":1}"#,
        ] {
            let refused = parse(text.as_bytes());
            assert!(matches!(refused, Err(Refused::Duplicate { .. })), "{text}");
        }
    }

    #[test]
    fn thirty_two_levels_are_read_and_no_more() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert_eq!(parse(nested(33).as_bytes()), Err(Refused::TooDeep));
        assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(Refused::TooDeep));
    }

    #[test]
    fn what_is_no_json_is_refused_without_a_word_of_it() {
        for text in [
            "",
            "sk-canary",
            r#"{"a":1} sk-canary"#,
            r#"{"a":1e999}"#,
            "{\"a\"",
            "\u{0}",
        ] {
            let refused = parse(text.as_bytes()).expect_err("refused");
            assert!(matches!(refused, Refused::Syntax { .. }), "{text}");
            assert!(!refused.to_string().contains("canary"));
        }
    }
}
