//! The lines of progress, laid out for a terminal.

use talon_explain::steps::{Mark, Step};
pub use talon_explain::steps::{deleting, deploying};

use super::{Colour, age};

/// Lays the lines out in columns, two spaces in.
pub fn render(steps: &[Step], colour: Colour) -> String {
    let width = |f: fn(&Step) -> &str| {
        steps
            .iter()
            .map(|s| console::measure_text_width(f(s)))
            .max()
            .unwrap_or(0)
    };
    let (label, detail, word) = (
        width(|s| s.label),
        width(|s| &s.detail).min(64),
        width(|s| &s.word).min(24),
    );
    steps
        .iter()
        .map(|s| {
            let took = s.took.map(age::seconds).unwrap_or_default();
            let line = format!(
                "  {} {}  {}  {}  {took}",
                paint(s.mark, colour),
                pad(s.label, label),
                pad(&s.detail, detail),
                pad(&s.word, word),
            );
            format!("{}\n", line.trim_end())
        })
        .collect()
}

fn pad(text: &str, width: usize) -> String {
    console::pad_str(text, width, console::Alignment::Left, None).into_owned()
}

fn paint(mark: Mark, colour: Colour) -> String {
    match mark {
        Mark::Done => colour.good(mark.glyph()),
        Mark::Working => colour.notable(mark.glyph()),
        Mark::Waiting => colour.dim(mark.glyph()),
        Mark::Failed => colour.bad(mark.glyph()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};

    fn rendered(steps: &[Step]) -> String {
        render(steps, Colour::none())
    }

    #[test]
    fn what_has_not_begun_says_what_it_waits_for() {
        let mut s = fixtures::pending("bot");
        s.agent.status.identity_sha256 = Some("9be1000000000000000004ac".to_owned());
        s.resources.push(fixtures::record(
            ResourceKind::R2Bucket,
            ResourceState::Present,
        ));
        s.resources.push(fixtures::record(
            ResourceKind::R2Token,
            ResourceState::Unknown,
        ));
        let text = rendered(&deploying(&s, fixtures::now()));
        assert!(text.contains("✓ R2 bucket    bot-r2_bucket"), "{text}");
        assert!(text.contains("created"), "{text}");
        assert!(text.contains("0.8s"), "{text}");
        assert!(text.contains("⟳ R2 token"), "{text}");
        assert!(text.contains("waiting for R2 token"), "{text}");
    }

    #[test]
    fn what_was_there_before_is_in_place() {
        let s = fixtures::deployed("bot");
        let text = rendered(&deploying(
            &s,
            fixtures::now() + chrono::TimeDelta::hours(1),
        ));
        assert!(
            text.contains("in place") && !text.contains("created"),
            "{text}"
        );
    }

    #[test]
    fn each_result_of_cleanup_has_its_word() {
        let mut s = fixtures::deployed("bot");
        s.agent.deletion_requested_at = Some(fixtures::now());
        s.agent.status.deleted_at = Some(fixtures::now());
        let results = [
            CleanupResult::Deleted,
            CleanupResult::Failed,
            CleanupResult::Kept,
            CleanupResult::AlreadyAbsent,
        ];
        for (record, result) in s.resources.iter_mut().zip(results) {
            record.cleanup_result = Some(result);
        }
        s.resources[1].cleanup_error = Some("BucketNotEmpty".to_owned());
        let text = rendered(&deleting(&s));
        for expected in [
            "deleted",
            "✗ R2 bucket",
            "FAILED  BucketNotEmpty",
            "kept on request",
            "already gone",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
