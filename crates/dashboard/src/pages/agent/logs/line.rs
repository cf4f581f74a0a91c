//! One line, as the page shows it and as the stream brings it: the same HTML, made in one place.

use askama::Template;
use talon_core::logs::{LogLine, shown};

use crate::ui::{Markup, stamp};

/// A line. Everything in it is escaped when it is rendered.
#[derive(Template)]
#[template(path = "log_line.html")]
pub struct Line {
    moment: Markup,
    source: &'static str,
    level: &'static str,
    fields: Vec<(&'static str, String)>,
    text: String,
}

impl Line {
    /// Shows this line.
    pub fn of(line: &LogLine) -> Self {
        let fields = line.fields().iter();
        Self {
            moment: stamp(line.at()),
            source: line.source().as_str(),
            level: line.level().as_str(),
            fields: fields
                .map(|(name, value)| (*name, shown(value).into_owned()))
                .collect(),
            text: line.text().to_owned(),
        }
    }
}
