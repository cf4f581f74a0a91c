//! What a KV v2 engine answers. Errors of the parser are never passed on: they quote what they stumbled over.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use talon_core::secret::SecretValue;
use zeroize::Zeroize;

use crate::reader::SecretReadError;

/// The fields of one entry: text, or something that is no key.
#[derive(Debug)]
pub struct Entry(BTreeMap<String, Option<SecretValue>>);

impl Entry {
    /// A field's value.
    pub fn field(&self, name: &str, what: &str) -> Result<SecretValue, SecretReadError> {
        match self.0.get(name) {
            Some(Some(value)) => Ok(value.duplicate()),
            Some(None) => Err(SecretReadError::Empty(format!(
                "{what} is not text: put the bare key there"
            ))),
            None => Err(SecretReadError::Missing(format!(
                "{what}: the entry has no such field: write the key into it"
            ))),
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    data: Inner,
}

#[derive(Deserialize)]
struct Inner {
    /// `null` where the last version was deleted.
    data: Option<BTreeMap<String, Leaf>>,
}

/// Text goes straight into keeping; everything else is passed over.
struct Leaf(Option<SecretValue>);

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LeafVisitor)
    }
}

struct LeafVisitor;

impl<'de> Visitor<'de> for LeafVisitor {
    type Value = Leaf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_str<E>(self, text: &str) -> Result<Leaf, E> {
        Ok(Leaf(Some(SecretValue::new(text.to_owned()))))
    }

    fn visit_string<E>(self, text: String) -> Result<Leaf, E> {
        Ok(Leaf(Some(SecretValue::new(text))))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Leaf, E> {
        Ok(Leaf(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Leaf, E> {
        Ok(Leaf(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Leaf, E> {
        Ok(Leaf(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Leaf, E> {
        Ok(Leaf(None))
    }

    fn visit_unit<E>(self) -> Result<Leaf, E> {
        Ok(Leaf(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Leaf, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Leaf(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Leaf, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Leaf(None))
    }
}

/// Reads an answer and wipes it.
pub(super) fn entry(mut body: Vec<u8>, what: &str) -> Result<Entry, SecretReadError> {
    let read = serde_json::from_slice::<Envelope>(&body);
    body.zeroize();
    let Ok(envelope) = read else {
        return Err(SecretReadError::Unsupported(format!(
            "{what}: the answer is not one of a KV engine of version 2"
        )));
    };
    let Some(fields) = envelope.data.data else {
        return Err(SecretReadError::Missing(format!(
            "{what}: the entry's last version was deleted: write the key there"
        )));
    };
    let fields = fields.into_iter().map(|(name, leaf)| (name, leaf.0));
    Ok(Entry(fields.collect()))
}
