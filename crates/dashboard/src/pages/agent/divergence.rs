//! Where the IDENTITY.md that was deployed differs from the one that the row would give now: what the Router shows of the agent
//! follows the row, what the agent believes of itself does not.

use talon_core::{Snapshot, identity};
use talon_explain::safe;

/// Texts that differ in more lines than this are not laid side by side.
const MOST_LINES: usize = 300;

/// A line that only one of the two has.
pub struct Line {
    /// Deployed, and not in the row any more.
    pub deployed: bool,
    pub text: String,
}

/// The lines that differ; `None`: nothing was deployed yet, or they agree.
pub fn of(s: &Snapshot) -> Option<Vec<Line>> {
    let status = &s.agent.status;
    status.first_deployed_at?;
    let deployed = status.identity_md.as_deref()?;
    let now = identity::compile(&s.agent.name, &s.agent.spec).markdown;
    (deployed != now).then(|| lines(deployed, &now))
}

fn line(deployed: bool, text: &str) -> Line {
    Line {
        deployed,
        text: safe(text),
    }
}

/// A longest common subsequence stays, the rest is told. Blank lines say nothing.
fn lines(old: &str, new: &str) -> Vec<Line> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let tail = old.iter().rev().zip(new.iter().rev());
    let same = tail.take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - same], &new[..new.len() - same]);
    let mut found = Vec::new();
    if old.len().max(new.len()) > MOST_LINES {
        found.push(line(true, &format!("{} lines as deployed", old.len())));
        found.push(line(
            false,
            &format!("{} lines as the row has it now", new.len()),
        ));
        return found;
    }
    // common[i][j]: of what comes after these places.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            found.push(line(true, old[i]));
            i += 1;
        } else {
            found.push(line(false, new[j]));
            j += 1;
        }
    }
    found.retain(|line| !line.text.trim().is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &str, new: &str) -> Vec<String> {
        let mark = |l: Line| format!("{}{}", if l.deployed { '-' } else { '+' }, l.text);
        lines(old, new).into_iter().map(mark).collect()
    }

    #[test]
    fn only_what_differs_is_told() {
        let old = "# Who\n\n- **Name:** Ada\n- **Theme:** Sums\n\n## Persona\n\nCalm.\n";
        let new = "# Who\n\n- **Name:** Grace\n\n## Persona\n\nCalm.\n\n## Skills\n";
        assert_eq!(
            told(old, new),
            [
                "-- **Name:** Ada",
                "-- **Theme:** Sums",
                "+- **Name:** Grace",
                "+## Skills"
            ]
        );
        assert!(told(old, old).is_empty());
    }

    #[test]
    fn what_is_too_long_is_counted() {
        let long: String = (0..400).map(|n| format!("{n}\n")).collect();
        assert_eq!(
            told(&long, "other\n"),
            ["-400 lines as deployed", "+1 lines as the row has it now"]
        );
    }
}
