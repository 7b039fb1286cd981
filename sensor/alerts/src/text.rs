//! Text of others: words, pairs, and what may be shown of them.

/// Characters of a name that are kept.
const MAX_NAME: usize = 160;
/// Pairs of a message that are looked at.
const MAX_PAIRS: usize = 256;

/// A name without control characters, of bounded length.
pub fn clean(text: &str) -> String {
    let plain = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_NAME).collect()
}

/// True where the text begins with one of the words, whatever their case.
pub fn begins(text: &str, words: &[&str]) -> bool {
    let begins = |word: &&str| {
        let head = text.as_bytes().get(..word.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    words.iter().any(begins)
}

/// True where one of the words, in small letters, is in the text.
pub fn has(text: &str, words: &[&str]) -> bool {
    let lower = text.to_ascii_lowercase();
    words.iter().any(|word| lower.contains(word))
}

/// Pairs `key=value` and `key="value"`, apart by spaces.
pub struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Pairs<'a> {
    pub fn of(mut text: &'a str) -> Self {
        let mut found = Vec::new();
        while found.len() < MAX_PAIRS
            && let Some((before, rest)) = text.split_once('=')
        {
            let key = before
                .rsplit(char::is_whitespace)
                .next()
                .unwrap_or_default();
            let (value, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
            };
            found.push((key, value));
            text = after;
        }
        Self(found)
    }

    pub fn get(&self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }
}

/// Fields apart by commas, quoted or not.
pub fn fields(text: &str) -> Vec<&str> {
    let (mut found, mut is_quoted, mut start) = (Vec::new(), false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                found.push(text.get(start..at).unwrap_or_default().trim_matches('"'));
                start = at + 1;
                if found.len() >= MAX_PAIRS {
                    return found;
                }
            }
            _ => {}
        }
    }
    found.push(text.get(start..).unwrap_or_default().trim_matches('"'));
    found
}
