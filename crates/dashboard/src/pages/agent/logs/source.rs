//! Whose lines are wanted.

use std::fmt;

/// Whose lines, as addresses name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The controller's.
    Controller,
    /// The Worker's.
    Worker,
    /// Both.
    Both,
}

impl Wanted {
    /// All there are, with what they are called.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Controller, "Controller"),
        (Self::Worker, "Worker"),
        (Self::Both, "Both"),
    ];

    /// Reads a word, in either order. The controller's, unless something else is said: nobody opens a Worker's lines by
    /// merely coming by.
    pub fn read(text: &str) -> Self {
        match text {
            "worker" => Self::Worker,
            "controller,worker" | "worker,controller" => Self::Both,
            _ => Self::Controller,
        }
    }

    /// Whether the controller's are among them.
    pub fn controller(self) -> bool {
        self != Self::Worker
    }

    /// Whether the Worker's are among them.
    pub fn worker(self) -> bool {
        self != Self::Controller
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller => "controller",
            Self::Worker => "worker",
            Self::Both => "controller,worker",
        })
    }
}

impl askama::FastWritable for Wanted {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(write!(dest, "{self}")?)
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    #[test]
    fn what_is_written_is_read_again() {
        for (wanted, _) in Wanted::ALL {
            assert_eq!(Wanted::read(&wanted.to_string()), wanted);
        }
        assert_eq!(Wanted::read("everything"), Wanted::Controller);
    }
}
