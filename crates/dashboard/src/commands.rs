//! Commands within sentences, set as code.

use crate::ui::{Markup, escape, icon};

/// A text with what looks like a command set as code: `talon` and what belongs to it, and what looks like a variable or a path
/// into the spec.
pub fn with_commands(text: &str) -> Markup {
    Markup::trusted(marked(text, |code| {
        format!("<code>{}</code>", escape(code))
    }))
}

/// The same, and every command can be copied. The buttons show where script runs.
pub fn with_copies(text: &str) -> Markup {
    Markup::trusted(marked(text, |code| {
        let shown = escape(code);
        if !code.starts_with("talon ") {
            return format!("<code>{shown}</code>");
        }
        format!(
            "<span class=\"copyable\"><code>{shown}</code><button type=\"button\" class=\"copy\" data-copy=\"{shown}\" \
             aria-label=\"Copy {shown}\" title=\"Copy\">{}</button></span>",
            icon("copy")
        )
    }))
}

/// Ends of a word that belong to the sentence.
const MARKS: [char; 5] = [',', ';', ')', '.', ':'];

/// Words that go on with the sentence after a command.
const GOES_ON: [&str; 11] = [
    "says", "lists", "shows", "prints", "tries", "has", "when", "looks", "takes", "and", "or",
];

/// Escapes a text, and gives its commands to `set`.
fn marked(text: &str, set: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut command = String::new();
    for (at, word) in text.split(' ').enumerate() {
        let bare = word.trim_start_matches('(');
        // What stands in brackets is about the command, not of it.
        if !command.is_empty() && (bare.len() < word.len() || GOES_ON.contains(&bare)) {
            out.push_str(&set(&std::mem::take(&mut command)));
        }
        let core = bare.trim_end_matches(MARKS);
        let goes_on = !command.is_empty();
        if !goes_on && at > 0 {
            out.push(' ');
        }
        if goes_on {
            command.push(' ');
            command.push_str(core);
        } else if core == "talon" || is_code(core) {
            out.push_str(&escape(&word[..word.len() - bare.len()]));
            core.clone_into(&mut command);
        } else {
            out.push_str(&escape(word));
            continue;
        }
        let ends = bare.len() > core.len() || (!goes_on && core != "talon");
        if ends {
            out.push_str(&set(&std::mem::take(&mut command)));
            out.push_str(&escape(&bare[core.len()..]));
        }
    }
    if !command.is_empty() {
        out.push_str(&set(&command));
    }
    out
}

fn is_code(word: &str) -> bool {
    let begins = ["spec.", "TALON_", "env:", "file:", "vault:", "--"];
    begins.iter().any(|begin| word.starts_with(begin)) && word != "--"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_out_and_text_stays_escaped() {
        let html = with_commands(
            "<b>set</b> it, then talon reconcile bot; or spec.apiKeyRefs, see (talon doctor)",
        );
        assert_eq!(
            html.to_string(),
            "&lt;b&gt;set&lt;/b&gt; it, then <code>talon reconcile bot</code>; or <code>spec.apiKeyRefs</code>, \
             see (<code>talon doctor</code>)"
        );
        assert_eq!(
            with_commands("talon resume a\"b").to_string(),
            "<code>talon resume a&quot;b</code>"
        );
        assert_eq!(
            with_commands("talon secrets set bot KEY (Talon keeps no copy)").to_string(),
            "<code>talon secrets set bot KEY</code> (Talon keeps no copy)"
        );
        assert_eq!(
            with_commands("talon doctor says which, or --force").to_string(),
            "<code>talon doctor</code> says which, or <code>--force</code>"
        );
        let copied = with_copies("env:A, then talon apply x\"y.").to_string();
        assert!(
            copied.contains("data-copy=\"talon apply x&quot;y\""),
            "{copied}"
        );
        assert_eq!(copied.matches("data-copy").count(), 1, "{copied}");
        assert_eq!(with_commands("nothing").to_string(), "nothing");
    }
}
