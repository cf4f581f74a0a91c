//! Small charts as SVG. Sizes are attributes: the content security policy allows no inline style.

use std::fmt::Write as _;

use crate::ui::{Markup, escape};

/// Width of a chart's own coordinates.
const WIDTH: f64 = 240.0;
/// Height of a chart's own coordinates.
const HEIGHT: f64 = 48.0;

/// A line over an area with places for so many values, the latest at the right. `said` tells those who do not see it.
pub fn line(values: &[f64], places: usize, said: &str) -> Markup {
    let top = values.iter().copied().fold(0.0, f64::max).max(1.0);
    let step = WIDTH / (places.max(values.len()).saturating_sub(1).max(1)) as f64;
    let begin = WIDTH - values.len().saturating_sub(1) as f64 * step;
    let mut path = String::new();
    for (at, value) in values.iter().enumerate() {
        let (x, y) = (
            begin + at as f64 * step,
            (HEIGHT - 2.0) * (1.0 - value / top) + 1.0,
        );
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { " L" });
    }
    let axis = format!(
        "<path class=\"axis\" d=\"M0 {0} L{WIDTH} {0}\"></path>",
        HEIGHT - 0.5
    );
    let area = match values.len() {
        0 => axis,
        _ => format!(
            "{axis}<path class=\"area\" d=\"{path} L{WIDTH} {HEIGHT} L{begin:.1} {HEIGHT} Z\"></path><path class=\"line\" d=\"{path}\"></path>"
        ),
    };
    chart("spark", said, &area)
}

/// Bars with places for so many, the latest at the right; those above `limit` stand out.
pub fn bars(values: &[f64], places: usize, limit: f64, said: &str) -> Markup {
    let top = values.iter().copied().fold(limit, f64::max).max(1.0);
    let step = WIDTH / places.max(values.len()).max(1) as f64;
    let begin = WIDTH - values.len() as f64 * step;
    let mut inner = String::new();
    for place in 0..places.saturating_sub(values.len()) {
        let _ = write!(
            inner,
            "<rect class=\"base\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"1\"></rect>",
            place as f64 * step,
            HEIGHT - 1.0,
            (step - 1.0).max(1.0),
        );
    }
    for (at, value) in values.iter().enumerate() {
        let height = (HEIGHT * value / top).max(if *value > 0.0 { 1.5 } else { 0.0 });
        let x = begin + at as f64 * step;
        let width = (step - 1.0).max(1.0);
        let _ = write!(
            inner,
            "<rect class=\"base\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"1\"></rect>\
             <rect{} x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"1\"></rect>",
            HEIGHT - 1.0,
            if *value > limit {
                " class=\"over\""
            } else {
                ""
            },
            HEIGHT - height,
        );
    }
    chart("spark", said, &inner)
}

fn chart(class: &str, said: &str, inner: &str) -> Markup {
    Markup::trusted(format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\">{inner}</svg>",
        escape(said)
    ))
}

/// How much of something is used: a bar that changes its colour when little is left.
pub fn meter(share: f64, said: &str) -> Markup {
    let share = share.clamp(0.0, 1.0);
    let tone = match share {
        s if s >= 0.95 => "fill bad",
        s if s >= 0.8 => "fill warn",
        _ => "fill",
    };
    Markup::trusted(format!(
        "<svg class=\"meter\" role=\"img\" aria-label=\"{}\"><rect class=\"bg\" width=\"100%\" height=\"100%\"></rect>\
         <rect class=\"{tone}\" width=\"{:.1}%\" height=\"100%\"></rect></svg>",
        escape(said),
        share * 100.0
    ))
}

/// A share of a whole under a number. The number says it: nothing for those who do not see it.
pub fn share(share: f64) -> Markup {
    Markup::trusted(format!(
        "<svg class=\"bar\" aria-hidden=\"true\"><rect width=\"100%\" height=\"100%\" rx=\"2\"></rect>\
         <rect width=\"{:.2}%\" height=\"100%\" rx=\"2\"></rect></svg>",
        share.clamp(0.0, 1.0) * 100.0
    ))
}

/// From when to when something ran, within a span: shares of its length.
pub fn lane(from: f64, to: f64) -> Markup {
    let (from, to) = (from.clamp(0.0, 1.0), to.clamp(0.0, 1.0));
    // What took no time that can be seen still has its place.
    let width = (to - from).max(0.006);
    Markup::trusted(format!(
        "<svg class=\"lane\" aria-hidden=\"true\"><rect class=\"bg\" width=\"100%\" height=\"100%\" rx=\"3\"></rect>\
         <rect class=\"run\" x=\"{:.2}%\" width=\"{:.2}%\" height=\"100%\" rx=\"3\"></rect></svg>",
        from.min(1.0 - width) * 100.0,
        width * 100.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_hold_for_no_values_one_and_many() {
        for values in [&[][..], &[3.0], &[0.0, 0.0], &[1.0, 4.0, 2.0]] {
            for svg in [line(values, 60, "a < b"), bars(values, 60, 2.0, "a < b")] {
                let svg = svg.to_string();
                assert!(svg.contains("aria-label=\"a &lt; b\""), "{svg}");
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn nothing_is_drawn_outside() {
        assert!(meter(7.0, "x").to_string().contains("width=\"100.0%\""));
        assert!(lane(1.0, 1.0).to_string().contains("x=\"99.40%\""));
    }

    #[test]
    fn no_style_is_inlined() {
        let all = [
            line(&[1.0], 1, ""),
            bars(&[1.0], 1, 1.0, ""),
            meter(0.5, ""),
            share(0.5),
            lane(0.0, 1.0),
        ];
        assert!(all.iter().all(|svg| !svg.to_string().contains("style=")));
    }
}
