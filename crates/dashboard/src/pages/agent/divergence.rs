//! Where the IDENTITY.md that was deployed differs from the one that the row would give now: what the Router shows of the agent
//! follows the row, what the agent believes of itself does not.

use talon_core::Snapshot;
use talon_explain::identity::{Difference, differences};

/// What one of the two says, where the other says something else or nothing.
pub struct Line {
    /// Deployed, and not in the row any more.
    pub deployed: bool,
    pub text: String,
}

/// Part by part; `None`: nothing was deployed yet, or they agree.
pub fn of(s: &Snapshot) -> Option<Vec<Line>> {
    let found: Vec<Line> = differences(s).into_iter().flat_map(lines).collect();
    (!found.is_empty()).then_some(found)
}

fn lines(difference: Difference) -> impl Iterator<Item = Line> {
    let Difference {
        part,
        deployed,
        now,
    } = difference;
    let sides = [(true, deployed), (false, now)];
    sides.into_iter().filter_map(move |(deployed, said)| {
        Some(Line {
            deployed,
            text: format!("{part}: {}", said?),
        })
    })
}
