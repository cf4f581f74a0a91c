//! What an agent consists of, as a tree.

use talon_explain::tree::Node;

use crate::ui::{Markup, escape, icon};

/// The tree as a list of lists; what failed stands out.
pub fn branches(nodes: &[Node], top: bool) -> Markup {
    let mut html = String::new();
    for (at, node) in nodes.iter().enumerate() {
        let (tone, image, said) = match node.good {
            Some(true) => ("good", "check", "in place"),
            Some(false) => ("bad", "cross", "failed"),
            None => ("idle", "dots", "not there, or not known"),
        };
        let class = if node.good == Some(false) {
            " class=\"blocker\""
        } else {
            ""
        };
        let expanded = if node.children.is_empty() {
            ""
        } else {
            " aria-expanded=\"true\""
        };
        let focus = if top && at == 0 { "0" } else { "-1" };
        html.push_str(&format!(
            "<li role=\"treeitem\"{class}{expanded} tabindex=\"{focus}\" aria-selected=\"false\"><div class=\"node\"><span class=\"mark {tone}\">{}</span>\
             <span><span class=\"label\">{}</span> <span class=\"id\">{}</span></span><span class=\"word\"><span class=\"sr\">{said}: </span>{}</span></div>",
            icon(image),
            escape(&node.label),
            escape(&node.name),
            escape(&node.word),
        ));
        if !node.children.is_empty() {
            html.push_str(&format!(
                "<ul role=\"group\">{}</ul>",
                branches(&node.children, false)
            ));
        }
        html.push_str("</li>");
    }
    Markup::trusted(html)
}
