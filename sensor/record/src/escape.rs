//! Text from packets and persons, made safe for a terminal.
//!
//! What a host sends as its name, or what a person gives as a reason, may hold control characters
//! that move the cursor, and characters that turn the direction of writing (CVE-2021-42574) or can't
//! be seen. They are written as escapes, here and nowhere else: values keep what was sent, sentences
//! and tables pass through [`escape`], JSON through [`crate::json`].

use std::borrow::Cow;
use std::fmt::Write as _;

/// True for a character that does something to a terminal instead of being shown: the controls of
/// Unicode (C0, DEL, C1), the marks that turn the direction of writing, line separators, and
/// characters without any width.
pub const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// One line of text as a terminal may show it: hidden characters become `\n`, `\t` or `\u{1b}`. What
/// was escaped once stays as it is.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_all_but(text, &[])
}

/// Escapes as [`escape`] does, for text of several lines: their ends stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_all_but(text, &['\n'])
}

fn escape_all_but<'t>(text: &'t str, kept: &[char]) -> Cow<'t, str> {
    let is_bad = |c: char| is_hidden(c) && !kept.contains(&c);
    let Some(at) = text.find(is_bad) else {
        return Cow::Borrowed(text);
    };
    let (good, rest) = text.split_at(at);
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(good);
    for c in rest.chars() {
        if is_bad(c) {
            let _infallible = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        for (text, shown) in [
            ("plain, also ä, 漢 and \\x1b", "plain, also ä, 漢 and \\x1b"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("two\nlines\ttab", "two\\nlines\\ttab"),
            ("c1 \u{9b}31m del \x7f", "c1 \\u{9b}31m del \\u{7f}"),
            ("user\u{202e}cod.exe", "user\\u{202e}cod.exe"),
            ("no\u{200b}width", "no\\u{200b}width"),
        ] {
            assert_eq!(escape(text), shown);
            assert_eq!(escape(shown), shown, "escaped twice");
        }
        assert_eq!(escape_lines("a\n\x1bb"), "a\n\\u{1b}b");
    }
}
