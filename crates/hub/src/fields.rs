//! The parameters of a frame, read leniently: a field that is missing or odd is absent, whatever else is there counts.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::value::RawValue;
use talon_core::task::TaskState;

/// The fields of a JSON object. Of a repeated field the last counts.
#[derive(Debug, Default)]
pub struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Reads an object; anything else has no fields.
    pub fn read(raw: &'a RawValue) -> Self {
        Self(serde_json::from_str(raw.get()).unwrap_or_default())
    }

    /// A string.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// A whole number that is not negative.
    pub fn count(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// An object.
    pub fn object(&self, name: &str) -> Option<Fields<'a>> {
        let raw = self.0.get(name)?;
        raw.get()
            .trim_start()
            .starts_with('{')
            .then(|| Fields::read(raw))
    }

    /// Any value of at most `max` bytes of JSON.
    pub fn value(&self, name: &str, max: usize) -> Option<serde_json::Value> {
        let raw = self.0.get(name)?;
        if raw.get().len() > max {
            return None;
        }
        serde_json::from_str(raw.get()).ok()
    }

    /// A message: `{role, parts:[{type:"text",text}]}`, or a bare string. The text of its text parts, joined.
    pub fn message(&self, name: &str) -> Option<String> {
        if let Some(text) = self.text(name) {
            return Some(text);
        }
        let parts: Vec<&RawValue> =
            serde_json::from_str(self.object(name)?.0.get("parts")?.get()).ok()?;
        let mut whole = String::new();
        for part in parts {
            let part = Fields::read(part);
            let kind = part.text("type").or_else(|| part.text("kind"));
            if kind.as_deref().unwrap_or("text") == "text" {
                whole.push_str(&part.text("text").unwrap_or_default());
            }
        }
        Some(whole)
    }
}

/// What `task.status` and `task.complete` say.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Which task.
    pub task: String,
    /// The state, if it is a known one.
    pub state: Option<TaskState>,
    /// The text, possibly empty.
    pub text: String,
}

impl Report {
    /// Reads it; `None` without a task id.
    pub fn read(params: &Fields<'_>) -> Option<Self> {
        let task = params.text("task_id").or_else(|| params.text("id"))?;
        let status = params.object("status");
        let state = match &status {
            Some(status) => status.text("state"),
            None => params.text("status").or_else(|| params.text("state")),
        };
        let text = status
            .as_ref()
            .and_then(|status| status.message("message"))
            .or_else(|| params.message("message"))
            .unwrap_or_default();
        Some(Self {
            task,
            state: state.as_deref().and_then(state_word),
            text,
        })
    }
}

fn state_word(word: &str) -> Option<TaskState> {
    match word {
        "cancelled" => Some(TaskState::Canceled),
        "input_required" => Some(TaskState::InputRequired),
        "rejected" => Some(TaskState::Failed),
        _ => TaskState::from_str(word).ok(),
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
