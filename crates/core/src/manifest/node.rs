//! A YAML document as a tree that keeps duplicate keys, so that they can be reported.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

/// More entries than any manifest has; what repeated aliases reach first.
const MAX_NODES: usize = 100_000;

const TOO_LARGE: &str = "too many entries";
const TAGGED: &str = "a tag";
const COMPLEX_KEY: &str = "a key that is no text";

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// As JSON; later duplicates win (they are reported before anybody converts). Numbers JSON cannot hold become null.
    pub(super) fn into_json(self) -> serde_json::Value {
        use serde_json::{Number, Value};
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Integer(i) => i64::try_from(i).map_or(Value::Null, |i| Value::Number(i.into())),
            Self::Float(f) => Number::from_f64(f).map_or(Value::Null, Value::Number),
            Self::Text(s) => Value::String(s),
            Self::List(l) => Value::Array(l.into_iter().map(Self::into_json).collect()),
            Self::Map(m) => Value::Object(m.into_iter().map(|(k, v)| (k, v.into_json())).collect()),
        }
    }
}

impl From<&serde_json::Value> for Node {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Integer(i.into()),
                (None, Some(u)) => Self::Integer(u.into()),
                (None, None) => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(s) => Self::Text(s.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(map) => Self::Map(
                map.iter()
                    .map(|(k, v)| (k.clone(), Self::from(v)))
                    .collect(),
            ),
        }
    }
}

/// Reads one document. The tree is at most a small multiple of the file, however often aliases repeat its parts.
pub(super) fn read(
    document: serde_yaml::Deserializer<'_>,
    file_bytes: usize,
) -> Result<Node, serde_yaml::Error> {
    let budget = Budget {
        nodes: Cell::new(MAX_NODES),
        bytes: Cell::new(file_bytes.saturating_mul(2)),
    };
    Seed(&budget).deserialize(document)
}

/// Says in our words what the parser did not like. The parser's own texts are constants; none quotes the document.
pub(super) fn explain(e: &serde_yaml::Error, text: &str, line: Option<usize>) -> String {
    let message = e.to_string();
    let tab_indented = |n: usize| {
        text.lines().nth(n.saturating_sub(1)).is_some_and(|l| {
            let indent = &l[..l.len() - l.trim_start().len()];
            indent.contains('\t')
        })
    };
    if line.is_some_and(|n| tab_indented(n) || tab_indented(n + 1)) {
        return "is indented with a tab: YAML wants spaces".to_owned();
    }
    if message.contains(TOO_LARGE) || message.contains("repetition limit") {
        return "holds too much (perhaps through aliases): write the values out".to_owned();
    }
    if message.contains("recursion limit") {
        return "is nested too deeply: a manifest needs no more than six levels".to_owned();
    }
    if message.contains(TAGGED) {
        return "uses a YAML tag (!…): leave tags out".to_owned();
    }
    if message.contains(COMPLEX_KEY) {
        return "has a key that is no text: write `key: value`".to_owned();
    }
    let plain = message.split(" at ").next().unwrap_or_default();
    format!("is not YAML ({plain}): check indentation, quotes and colons around this line")
}

struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

impl Budget {
    fn take<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.nodes.get().checked_sub(1);
        let (Some(nodes), Some(bytes)) = (left, self.bytes.get().checked_sub(bytes)) else {
            return Err(E::custom(TOO_LARGE));
        };
        self.nodes.set(nodes);
        self.bytes.set(bytes);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Seed<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Node, E> {
        self.0.take(1).map(|()| Node::Bool(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Node, E> {
        self.visit_i128(v.into())
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Node, E> {
        self.visit_i128(v.into())
    }

    fn visit_i128<E: de::Error>(self, v: i128) -> Result<Node, E> {
        self.0.take(1).map(|()| Node::Integer(v))
    }

    fn visit_u128<E: de::Error>(self, v: u128) -> Result<Node, E> {
        self.visit_i128(i128::try_from(v).unwrap_or(i128::MAX))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Node, E> {
        self.0.take(1).map(|()| Node::Float(v))
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Node, E> {
        self.0.take(v.len()).map(|()| Node::Text(v.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.0.take(0).map(|()| Node::Null)
    }

    /// A file without any document.
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        self.0.take(0)?;
        let mut list = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        self.0.take(0)?;
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(self)? {
            let key = match key {
                Node::Text(s) => s,
                Node::Null => "null".to_owned(),
                Node::Bool(b) => b.to_string(),
                Node::Integer(i) => i.to_string(),
                Node::Float(f) => f.to_string(),
                Node::List(_) | Node::Map(_) => return Err(de::Error::custom(COMPLEX_KEY)),
            };
            entries.push((key, map.next_value_seed(self)?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(de::Error::custom(TAGGED))
    }
}
