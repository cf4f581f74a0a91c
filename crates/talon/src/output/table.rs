//! Tables in the manner of kubectl: no borders, two spaces between columns, upper-case headings.

use comfy_table::{ContentArrangement, Row, Table};

/// Lays out rows under headings. With a `width`, rows keep to one line each and the longest cells are cut.
pub fn render(headings: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(headings.iter().copied());
    match width.and_then(|w| u16::try_from(w).ok()) {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width);
            table.set_truncation_indicator("…");
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    for row in rows {
        let mut row = Row::from(row.iter().map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell.clone()
            }
        }));
        row.max_height(1);
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Shortens the cells of one column so that every row fits into `width`, if that leaves enough of them to be read; the other
/// columns stay whole.
pub fn shorten(headings: &[&str], rows: &mut [Vec<String>], column: usize, width: usize) {
    let widest = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let cells = cells.map(|cell| console::measure_text_width(cell));
        cells.chain([headings[at].len()]).max().unwrap_or(0)
    };
    let others: usize = (0..headings.len())
        .filter(|at| *at != column)
        .map(|at| widest(at) + 2)
        .sum();
    let room = width.saturating_sub(others).max(ENOUGH);
    for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
        *cell = console::truncate_str(cell, room, "…").into_owned();
    }
}

/// Fewer characters of a text say nothing.
const ENOUGH: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_long_column_is_shortened() {
        let headings = ["NAME", "MESSAGE", "AGE"];
        let long = "a long message ".repeat(10);
        let mut rows = vec![
            vec!["research-pro".to_owned(), long.clone(), "4d".to_owned()],
            vec!["bot".to_owned(), "short".to_owned(), "1m".to_owned()],
        ];
        shorten(&headings, &mut rows, 1, 60);
        let text = render(&headings, &rows, None);
        assert!(text.lines().all(|l| l.chars().count() <= 60), "{text}");
        assert!(text.contains("research-pro") && text.contains("4d") && text.contains("short"));
        rows[0][1] = long;
        shorten(&headings, &mut rows, 1, 10);
        assert_eq!(rows[0][1].chars().count(), ENOUGH, "it can still be read");
    }

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let rows = vec![
            vec!["research-pro".to_owned(), "deployed".to_owned()],
            vec!["bot".to_owned(), String::new()],
        ];
        assert_eq!(
            render(&["NAME", "STATUS"], &rows, None),
            "NAME          STATUS\nresearch-pro  deployed\nbot           -\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_rather_than_wraps() {
        let rows = vec![vec!["bot".to_owned(), "a long message ".repeat(10)]];
        let text = render(&["NAME", "MESSAGE"], &rows, Some(40));
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|l| l.chars().count() <= 40));
        assert!(text.contains('…'));
    }
}
