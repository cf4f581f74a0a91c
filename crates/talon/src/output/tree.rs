//! `talon tree`: what an agent consists of, drawn.

use talon_core::Snapshot;
use talon_explain::tree::{Node, nodes};

use super::Colour;
use crate::view;

/// The tree, drawn.
pub fn render(s: &Snapshot, colour: Colour) -> String {
    let mut text = format!(
        "agent/{}  {}  {}\n",
        s.agent.name,
        s.agent.status.deployment_status,
        view::agreement(s).as_str()
    );
    draw(&nodes(s), "", colour, &mut text);
    text
}

fn draw(nodes: &[Node], indent: &str, colour: Colour, into: &mut String) {
    for (i, node) in nodes.iter().enumerate() {
        let last = i + 1 == nodes.len();
        let mark = match node.good {
            Some(true) => colour.good("✓"),
            Some(false) => colour.bad("✗"),
            None => colour.dim("·"),
        };
        into.push_str(&format!(
            "{indent}{} {mark} {}\n",
            if last { "└──" } else { "├──" },
            node.text()
        ));
        let deeper = format!("{indent}{}", if last { "    " } else { "│   " });
        draw(&node.children, &deeper, colour, into);
    }
}
