//! A table of texts, as Markdown or as aligned plain text.

/// Rows under a head; every row has as many cells as the head.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: String,
    numeric: bool,
}

impl Table {
    /// A table without rows. A title that starts with `#` heads a column of numbers, which are
    /// aligned right; the sign is not shown.
    pub(super) fn new<T: AsRef<str>>(titles: impl IntoIterator<Item = T>) -> Self {
        let columns = titles
            .into_iter()
            .map(|title| match title.as_ref().strip_prefix('#') {
                Some(title) => Column { title: title.to_owned(), numeric: true },
                None => Column { title: title.as_ref().to_owned(), numeric: false },
            })
            .collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// GitHub's Markdown, with a final line feed.
    pub(super) fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let titles = self.columns.iter().map(|column| escape(&column.title)).collect();
        let rules = self.columns.iter().map(|column| if column.numeric { "---:" } else { "---" }.to_owned());
        let mut text = line(titles) + &line(rules.collect());
        for row in &self.rows {
            text += &line(row.iter().map(|cell| escape(cell)).collect());
        }
        text
    }

    /// Columns aligned by spaces, two between them, with a final line feed.
    pub(super) fn to_text(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.clone()).collect();
        let lines = || std::iter::once(&titles).chain(&self.rows);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| lines().map(|cells| cells[index].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for cells in lines() {
            let padded: Vec<String> = cells
                .iter()
                .zip(self.columns.iter().zip(&widths))
                .map(|(cell, (column, &width))| match column.numeric {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                })
                .collect();
            text += padded.join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

/// A cell is one line, and its bars, stars and angle brackets are text.
pub(super) fn escape(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for character in cell.chars() {
        match character {
            '|' | '*' | '<' | '>' | '\\' | '`' => text.extend(['\\', character]),
            '\n' | '\r' => text.push(' '),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_has_two_forms() {
        let mut table = Table::new(["name", "#count"]);
        table.row(["a|b".to_owned(), "7".to_owned()]);
        table.row(["line\nbreak".to_owned(), "1,000".to_owned()]);
        assert_eq!(
            table.to_markdown(),
            "| name | count |\n| --- | ---: |\n| a\\|b | 7 |\n| line break | 1,000 |\n"
        );
        let mut table = Table::new(["name", "#count", "text"]);
        table.row(["long name".to_owned(), "7".to_owned(), String::new()]);
        assert_eq!(table.to_text(), "name       count  text\nlong name      7\n");
    }
}
