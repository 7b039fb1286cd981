//! Text within a limit of the far side: cut where a character ends, with a mark.

/// Mark of a cut, in itself one character of three bytes.
const MARK: char = '…';

/// Text of at most so many characters.
pub fn characters(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain([MARK]).take(most).collect()
}

/// Text of at most so many bytes in UTF-8.
pub fn bytes(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(MARK.len_utf8());
    let mut kept = text
        .get(..text.floor_char_boundary(room))
        .unwrap_or_default()
        .to_owned();
    if most >= MARK.len_utf8() {
        kept.push(MARK);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_ends_with_a_character_and_a_mark() {
        assert_eq!(characters("häuser", 6), "häuser");
        assert_eq!(characters("häuser", 4), "häu…");
        assert_eq!(characters("häuser", 0), "");
        assert_eq!(bytes("häuser", 7), "häuser");
        // Half of the ä is none of it.
        assert_eq!(bytes("häuser", 5), "h…");
        assert_eq!(bytes("häuser", 2), "");
        for most in 0..40 {
            assert!(bytes("日本語の長い説明文", most).len() <= most);
            assert!(characters("日本語の長い説明文", most).chars().count() <= most);
        }
    }
}
