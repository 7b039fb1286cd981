//! Paths that code names: `crate::a::B`, `super::c`, and those of `use`.

/// A path by its parts, with the line that it is named in.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    pub parts: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Below,
    Mark(char),
}

/// Paths that the code of a file names, its tests left out: those of `use`, and elsewhere those that
/// begin with `crate`, `super` or `self`.
pub fn named(text: &str) -> Vec<Named> {
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let tokens = tokens(code.unwrap_or_default());
    let mut paths = Vec::new();
    let mut at = 0;
    while let Some((line, token)) = tokens.get(at) {
        let Token::Word(word) = token else {
            at += 1;
            continue;
        };
        let is_begun = at > 0 && tokens[at - 1].1 == Token::Below;
        let is_path = tokens
            .get(at + 1)
            .is_some_and(|next| next.1 == Token::Below);
        match word.as_str() {
            "use" => at = tree(&tokens, at + 1, *line, &[], &mut paths),
            "crate" | "super" | "self" if is_path && !is_begun => {
                at = tree(&tokens, at, *line, &[], &mut paths);
            }
            _ => at += 1,
        }
    }
    paths
}

/// Reads a path with its branches in braces; returns the place after it.
fn tree(
    tokens: &[(usize, Token)],
    mut at: usize,
    line: usize,
    before: &[String],
    paths: &mut Vec<Named>,
) -> usize {
    let mut parts = before.to_vec();
    loop {
        match tokens.get(at).map(|(_, token)| token) {
            Some(Token::Word(word)) => parts.push(word.clone()),
            Some(Token::Mark('{')) => {
                at += 1;
                while let Some((line, token)) = tokens.get(at) {
                    match token {
                        Token::Mark('}') => break,
                        Token::Mark(',') => at += 1,
                        _ => at = tree(tokens, at, *line, &parts, paths).max(at + 1),
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        if tokens.get(at).map(|(_, token)| token) != Some(&Token::Below) {
            break;
        }
        at += 1;
    }
    // `self` at the end of a branch is what stands before it.
    if parts.len() > 1 && parts.last().is_some_and(|last| last == "self") {
        parts.pop();
    }
    paths.push(Named { line, parts });
    // A name given with `as` is no path.
    match tokens.get(at).map(|(_, token)| token) {
        Some(Token::Word(word)) if word == "as" => at + 2,
        _ => at,
    }
}

/// Words and marks of code by line, without comments and texts.
fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut rest = code;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let n = if is_word(first) {
            let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push((line, Token::Word(rest[..word].to_owned())));
            word
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            tokens.push((line, Token::Below));
            2
        } else if first == '"' {
            text(rest, &tokens)
        } else if first == '\'' {
            character(rest)
        } else {
            if !first.is_whitespace() {
                tokens.push((line, Token::Mark(first)));
            }
            first.len_utf8()
        };
        let (read, unread) = rest.split_at(n);
        line += read.matches('\n').count();
        rest = unread;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a text in quotes.
fn text(rest: &str, before: &[(usize, Token)]) -> usize {
    let marks = before
        .iter()
        .rev()
        .take_while(|(_, token)| *token == Token::Mark('#'));
    let n_marks = marks.count();
    let word = before.iter().rev().nth(n_marks).map(|(_, token)| token);
    if matches!(word, Some(Token::Word(word)) if word == "r" || word == "br") {
        let end = format!("\"{}", "#".repeat(n_marks));
        return rest[1..]
            .find(&end)
            .map_or(rest.len(), |at| 1 + at + end.len());
    }
    let mut is_escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        is_end
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

/// Length of a character in quotes, or of the mark of a lifetime.
fn character(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some(_)) => rest[3..].find('\'').map_or(1, |at| at + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(usize, String)> {
        let paths = named(text).into_iter();
        paths
            .map(|path| (path.line, path.parts.join("::")))
            .collect()
    }

    #[test]
    fn branches_are_paths_of_their_own() {
        let text =
            "use crate::{\n    a::{self, B},\n    c as d,\n};\npub use e::*;\npub(crate) use f;\n";
        let wanted = [
            (2, "crate::a"),
            (2, "crate::a::B"),
            (3, "crate::c"),
            (5, "e"),
            (6, "f"),
        ];
        assert_eq!(
            all(text),
            wanted.map(|(line, path)| (line, path.to_owned()))
        );
    }

    #[test]
    fn code_names_paths_and_comments_texts_and_tests_do_not() {
        let text = "// crate::a\nlet x: &'a str = \"crate::b \\\" crate::c\"; /// [`super::d`]\n\
                    let y = r#\"crate::e \" \"#; let z = ('\"', '\\'', crate::f::G { h: 1 });\n\
                    #[cfg(test)]\nmod tests {\n    use crate::i;\n";
        assert_eq!(all(text), [(3, "crate::f::G".to_owned())]);
    }
}
