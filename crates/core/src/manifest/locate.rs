//! Finds the line of a place in a document, by reading the file again up to there. Only errors pay for it.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::secret::Provider;
use crate::validate::key_ref_pointer;

/// One step on the way into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The entry of this key; of several, the one with this number (from 0).
    Key(String, usize),
    /// The element at this index.
    Index(usize),
}

impl Step {
    pub(super) fn key(name: &str) -> Self {
        Self::Key(name.to_owned(), 0)
    }

    /// A segment of a JSON pointer. No key of a manifest is a number.
    pub(super) fn parse(segment: &str) -> Self {
        segment
            .parse()
            .map_or_else(|_| Self::key(segment), Self::Index)
    }
}

/// The path as a JSON pointer. Of an entry under `apiKeyRefs` only a name that cannot be a key is shown.
pub(super) fn pointer(path: &[Step]) -> String {
    if let [
        Step::Key(spec, _),
        Step::Key(refs, _),
        Step::Key(provider, _),
        ..,
    ] = path
        && spec == "spec"
        && (refs == "apiKeyRefs" || refs == "api_key_refs")
    {
        return key_ref_pointer(&Provider(provider.clone()));
    }
    path.iter()
        .map(|step| match step {
            Step::Key(k, _) => format!("/{}", k.replace('~', "~0").replace('/', "~1")),
            Step::Index(i) => format!("/{i}"),
        })
        .collect()
}

/// The line (from 1) of the path's last step in a document (from 1), or of the last part of the path that is there.
pub(super) fn line(text: &str, document: usize, path: &[Step]) -> Option<usize> {
    let nth = |path: &[Step]| {
        let document = serde_yaml::Deserializer::from_str(text).nth(document - 1)?;
        let error = Walk(path).deserialize(document).err()?;
        Some(error.location()?.line())
    };
    (0..=path.len()).rev().find_map(|n| nth(&path[..n]))
}

/// Fails, on purpose, at the place it looks for: the error then carries the line.
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

/// What is not visited here is a dead end; the default of serde refuses it as well, but only an empty path may fail.
impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place that is looked for")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        let Step::Key(wanted, number) = step else {
            return skip_map(map);
        };
        let mut seen = 0;
        loop {
            let key = KeySeed {
                wanted,
                fail: rest.is_empty() && seen == *number,
            };
            let Some(matches) = map.next_key_seed(key)? else {
                return Ok(());
            };
            if matches && seen == *number {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            seen += usize::from(matches);
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            return Err(de::Error::custom("here"));
        };
        let mut index = 0;
        loop {
            let more = if *step == Step::Index(index) {
                seq.next_element_seed(Walk(rest))?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

impl Walk<'_> {
    fn scalar<E: de::Error>(&self) -> Result<(), E> {
        if self.0.is_empty() {
            Err(E::custom("here"))
        } else {
            Ok(())
        }
    }
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Compares a key, and fails on it if it is the end of the path.
struct KeySeed<'k> {
    wanted: &'k str,
    fail: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<bool, E> {
        match (v == self.wanted, self.fail) {
            (true, true) => Err(E::custom("here")),
            (matches, _) => Ok(matches),
        }
    }
}
