//! Text of others as text of the page.

/// The text with every character that HTML or SVG would read as more than text replaced, in elements and in quoted
/// attributes alike. Control characters, which XML has not, become the replacement character.
pub(super) fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

/// As [`text`], and no longer than `most` characters: the middle gives way, as names differ at both ends.
pub(super) fn short(name: &str, most: usize) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= most {
        return text(name);
    }
    let tail = (most - 1) / 2;
    let head: String = characters[..most - 1 - tail].iter().collect();
    let end: String = characters[characters.len() - tail..].iter().collect();
    text(&format!("{head}\u{2026}{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_opens_or_closes_anything() {
        assert_eq!(text("<script>alert('1')</script>"), "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
        assert_eq!(text("a\" onload=\"b & c\0"), "a&quot; onload=&quot;b &amp; c\u{fffd}");
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        assert_eq!(short("a_very_long_name_of_a_node", 9), "a_ve\u{2026}node");
        assert_eq!(short("exactly_9", 9), "exactly_9");
        // Not in the middle of an entity.
        assert_eq!(short("<<<<<", 3), "&lt;\u{2026}&lt;");
    }
}
