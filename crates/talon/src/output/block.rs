//! Progress while a command waits: a block rewritten in place on a terminal, transitions line by line elsewhere.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use talon_core::condition::ConditionType;
use talon_core::{AgentId, Snapshot};

use super::{Colour, Output, age, safe, steps, transitions};
use crate::view;

/// Shows how agents come along. Everything goes to standard error.
pub struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    hint: &'static str,
    many: bool,
    edited: Vec<AgentId>,
    began: Instant,
    since: Option<DateTime<Utc>>,
    seen: BTreeMap<AgentId, Snapshot>,
}

impl Progress {
    /// Begins. `hint` tells how to re-attach, and stands at the foot of the block; `many`: more than one agent is
    /// watched, so that each line must say whose it is; `edited`: those of [`transitions::between`]'s `after_edit`.
    pub fn new(output: &Output, hint: &'static str, many: bool, edited: Vec<AgentId>) -> Self {
        let bar = output.is_interactive().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            output: output.clone(),
            bar,
            hint,
            many,
            edited,
            began: Instant::now(),
            since: None,
            seen: BTreeMap::new(),
        }
    }

    /// Takes a new look at an agent.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.since.get_or_insert(snapshot.now);
        let before = self.seen.insert(snapshot.agent.id, snapshot.clone());
        if self.bar.is_none() {
            let name = &snapshot.agent.name;
            let after_edit = self.edited.contains(&snapshot.agent.id);
            for line in transitions::between(before.as_ref(), snapshot, after_edit) {
                let named = !self.many || line.contains(&format!(" agent/{name} "));
                let which = if named {
                    String::new()
                } else {
                    format!(" agent={name}")
                };
                self.output.progress(&format!("{line}{which}"));
            }
        }
    }

    /// Draws the block anew, with the clock at its foot.
    pub fn tick(&self) {
        if let Some(since) = self.since {
            self.draw(since);
        }
    }

    /// Ends: the block stays on the screen as it is, without its foot.
    pub fn finish(self) {
        if let (Some(bar), Some(since)) = (&self.bar, self.since) {
            bar.finish_and_clear();
            let block = self.block(since);
            self.output.progress(block.trim_end_matches('\n'));
        }
    }

    fn draw(&self, since: DateTime<Utc>) {
        let (Some(bar), Some(first)) = (&self.bar, self.seen.values().next()) else {
            return;
        };
        let status = if self.seen.len() == 1 {
            first.agent.status.deployment_status.to_string()
        } else {
            super::agents(self.seen.len())
        };
        bar.set_message(format!(
            "{}{status}  {}   Ctrl-C detaches; the controller carries on ({})",
            self.block(since),
            age::short(self.began.elapsed()),
            self.hint.replace("NAME", first.agent.name.as_str())
        ));
        bar.tick();
    }

    /// Says something above the block.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.warn(text)),
            None => self.output.warn(text),
        }
    }

    fn block(&self, since: DateTime<Utc>) -> String {
        let colour = self.output.err_colour;
        match self.seen.values().next() {
            Some(one) if self.seen.len() == 1 => block_of(one, since, colour),
            _ => self.seen.values().map(|s| line_of(s, colour)).collect(),
        }
    }
}

/// The block of one agent.
pub fn block_of(snapshot: &Snapshot, since: DateTime<Utc>, colour: Colour) -> String {
    let steps = if snapshot.agent.is_deleting() {
        steps::deleting(snapshot)
    } else {
        steps::deploying(snapshot, since)
    };
    let mut text = steps::render(&steps, colour);
    for kind in [
        ConditionType::Stalled,
        ConditionType::Held,
        ConditionType::Throttled,
    ] {
        if let Some(c) = view::holds_now(snapshot, kind) {
            text.push_str(&format!(
                "  {} {kind}  {}: {}\n",
                colour.notable("!"),
                c.condition.reason,
                safe(&c.condition.message)
            ));
        }
    }
    text
}

fn line_of(snapshot: &Snapshot, colour: Colour) -> String {
    let mark = match view::agreement(snapshot) {
        view::Agreement::InSync | view::Agreement::Deleted => colour.good("✓"),
        view::Agreement::OutOfDate | view::Agreement::Drifted | view::Agreement::Deleting => {
            colour.notable("⟳")
        }
    };
    format!(
        "  {mark} {:<30}  {:<9}  {}\n",
        safe(snapshot.agent.name.as_str()),
        snapshot.agent.status.deployment_status,
        view::message(snapshot)
    )
}
