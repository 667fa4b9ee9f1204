//! Tables of the page. Cells are HTML; whoever makes one escapes what it holds.

use super::escape;

/// A table whose first column names its rows; a title that starts with `#` heads a column of numbers.
pub(super) fn table(caption: &str, titles: &[&str], rows: &[Vec<String>]) -> String {
    let class = |index: usize| {
        if titles.get(index).is_some_and(|title| title.starts_with('#')) { " class=\"number\"" } else { "" }
    };
    let mut text = format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\">\n<table>\n<caption>{0}</caption>\n<thead><tr>",
        escape::text(caption)
    );
    for (index, title) in titles.iter().enumerate() {
        let title = escape::text(title.trim_start_matches('#'));
        text += &format!("<th scope=\"col\"{}>{title}</th>", class(index));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += "<tr>";
        for (index, cell) in row.iter().enumerate() {
            let (open, close) = if index == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            text += &format!("<{open}{}>{cell}</{close}>", class(index));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table>\n</div>\n"
}
