//! Rust source text as tokens and paths, just deep enough to see who names whom. Not a parser: no types, no macros.

/// A word or a sign of the source, comments and literals left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The line it stands on, from 1.
    pub(crate) line: usize,
    /// An identifier, `::`, or one other character.
    pub(crate) text: String,
}

/// A path such as `crate::time::Instant`, written out where it stood in a tree of a `use`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathUse {
    /// The line of its last segment, from 1.
    pub(crate) line: usize,
    /// Its segments; `*` for a glob.
    pub(crate) segments: Vec<String>,
    /// How many inline modules (`mod name { … }`) it stands in.
    pub(crate) depth: usize,
}

/// Cuts `source` into tokens. Comments (nested ones too), strings, characters and lifetimes are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let (mut here, mut line) = (0, 1);
    while here < chars.len() {
        let start = here;
        let end = match (at(here), at(here + 1)) {
            ('/', '/') => (here..chars.len()).find(|&i| at(i) == '\n').unwrap_or(chars.len()),
            ('/', '*') => block_comment_end(&chars, here),
            ('"', _) => string_end(&chars, here),
            ('\'', _) => quote_end(&chars, here),
            (c, _) if is_word(c) => {
                let end = (here..chars.len()).find(|&i| !is_word(at(i))).unwrap_or(chars.len());
                let word: String = chars[here..end].iter().collect();
                match (word.as_str(), at(end)) {
                    ("b" | "c", '"') => string_end(&chars, end),
                    ("b", '\'') => quote_end(&chars, end),
                    ("r" | "br" | "cr", '"' | '#') if raw_string_end(&chars, end).is_some() => {
                        raw_string_end(&chars, end).unwrap_or(end)
                    }
                    _ => {
                        tokens.push(Token { line, text: word });
                        end
                    }
                }
            }
            (':', ':') => {
                tokens.push(Token { line, text: "::".to_owned() });
                here + 2
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(Token { line, text: c.to_string() });
                }
                here + 1
            }
        };
        here = end;
        line += chars[start..end.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        match chars[i..] {
            ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
            ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn string_end(chars: &[char], quote: usize) -> usize {
    let mut i = quote + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// The end of a raw string whose `#`s or quote begin at `start`; `None` for a raw identifier.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|&&c| c == '#').count();
    if chars.get(start + hashes) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| {
        chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((start + hashes + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes))
}

/// The end of a character literal or of a lifetime.
fn quote_end(chars: &[char], quote: usize) -> usize {
    match chars[quote + 1..] {
        ['\\', _, ..] => (quote + 3..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |i| i + 1),
        [_, '\'', ..] => quote + 3,
        _ => (quote + 1..chars.len()).find(|&i| !is_word(chars[i])).unwrap_or(chars.len()),
    }
}

/// `tokens` without what stands behind `#[cfg(test)]`: an item up to its `;` or its closing brace.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i..].len() >= MARK.len()
            && tokens[i..].iter().zip(MARK).all(|(token, mark)| token.text == mark)
        {
            i = item_end(tokens, i + MARK.len());
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return i + 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// All paths of two segments and more, in the order of the text.
pub(crate) fn paths(tokens: &[Token]) -> Vec<PathUse> {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut paths = Vec::new();
    // For each open brace, whether a `mod name` opened it.
    let mut braces: Vec<bool> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        match text(i) {
            "{" => braces.push(i >= 2 && text(i - 2) == "mod"),
            "}" => drop(braces.pop()),
            word if word.starts_with(is_word) && text(i + 1) == "::" => {
                let depth = braces.iter().filter(|&&of_mod| of_mod).count();
                let mut found = Vec::new();
                i = path_tree(tokens, i, &[], &mut found);
                paths.extend(found.into_iter().map(|(line, segments)| PathUse { line, segments, depth }));
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    paths
}

/// Reads the path or tree at `start` behind `prefix`; gives where it ends.
fn path_tree(
    tokens: &[Token],
    start: usize,
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut segments = prefix.to_vec();
    let mut i = start;
    loop {
        match text(i) {
            "{" => {
                i += 1;
                while !matches!(text(i), "}" | "") {
                    let next = path_tree(tokens, i, &segments, found);
                    // An alias (`as name`), a comma, or a sign that has no business here: go on behind it.
                    i = if text(next) == "as" { next + 2 } else { next.max(i + usize::from(next == i)) };
                    i += usize::from(text(i) == ",");
                }
                return i + 1;
            }
            word if word == "*" || word.starts_with(is_word) => segments.push(word.to_owned()),
            _ => return i,
        }
        if text(i + 1) != "::" || !(text(i + 2).starts_with(is_word) || matches!(text(i + 2), "{" | "*")) {
            found.push((tokens[i].line, segments));
            return i + 1;
        }
        i += 2;
    }
}

#[test]
fn comments_and_literals_are_no_tokens() {
    let source = r####"
        //! use crate::driver;
        /* a /* nested */ comment */ fn f<'a>(c: char) { // crate::cli
            let _ = ("crate::proxy \" UdpSocket", r#"a " UdpSocket"#, b"x", 'x', '\'', '\u{1f}', b'"');
        }
        r#type
    "####;
    let words: Vec<_> = tokens(source).into_iter().filter(|token| token.text.starts_with(is_word)).collect();
    let texts: Vec<&str> = words.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(texts, ["fn", "f", "c", "char", "let", "_", "r", "type"]);
    assert_eq!(words.iter().map(|token| token.line).collect::<Vec<_>>(), [3, 3, 3, 3, 4, 4, 6, 6]);
}

#[test]
fn trees_are_written_out() {
    let found = paths(&tokens(
        "use crate::{a::{self, b as c, d::*}, e};\nmod m { fn f() { super::g::<T>(x::y, {z}); } }\nuse super::h;",
    ));
    let found: Vec<_> = found.iter().map(|path| (path.line, path.segments.join("::"), path.depth)).collect();
    let expected = [
        (1, "crate::a::self", 0),
        (1, "crate::a::b", 0),
        (1, "crate::a::d::*", 0),
        (1, "crate::e", 0),
        (2, "super::g", 1),
        (2, "x::y", 1),
        (3, "super::h", 0),
    ];
    assert_eq!(found, expected.map(|(line, path, depth)| (line, path.to_owned(), depth)));
}

#[test]
fn test_modules_are_left_out() {
    let source = "use a::b; #[cfg(test)] use c::d; #[cfg(test)]\nmod tests { use e::f; fn g() {} } use h::i; #[cfg(test)] mod t;";
    let found: Vec<_> =
        paths(&without_tests(&tokens(source))).iter().map(|path| path.segments.join("::")).collect();
    assert_eq!(found, ["a::b", "h::i"]);
}
