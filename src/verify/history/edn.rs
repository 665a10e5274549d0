//! A small strict reader of EDN, the notation in which Jepsen writes histories.
//!
//! Reads what histories are made of: maps, vectors, lists, sets, keywords, symbols, strings, characters, numbers,
//! `nil`, booleans, tags and `#_`. Total on any bytes: whatever is not EDN is an error with its place.

use std::fmt;

/// How deep values may stand in each other.
const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Edn {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text in quotes, or a character.
    Text(String),
    /// Without the colon.
    Keyword(String),
    Symbol(String),
    /// A vector or a list.
    List(Vec<Edn>),
    /// Keys may repeat: nobody here looks them up twice.
    Map(Vec<(Edn, Edn)>),
    Set(Vec<Edn>),
}

/// Where and why a text is not EDN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadEdn {
    /// Both counted from 1, the column in characters.
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for BadEdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl Edn {
    /// The value of a keyword in a map.
    pub fn get(&self, keyword: &str) -> Option<&Edn> {
        match self {
            Edn::Map(pairs) => {
                let found =
                    pairs.iter().find(|(key, _)| matches!(key, Edn::Keyword(name) if name == keyword));
                found.map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// Reads every value of `text`, each with the line on which it begins.
pub fn read(text: &str) -> Result<Vec<(usize, Edn)>, BadEdn> {
    let mut reader = Reader { text, at: 0 };
    let (mut values, mut line, mut counted) = (Vec::new(), 1, 0);
    loop {
        reader.skip(0)?;
        if reader.peek().is_none() {
            return Ok(values);
        }
        // Counted on from the last value: from the beginning each time would take for ever.
        line += text.get(counted..reader.at).unwrap_or_default().matches('\n').count();
        counted = reader.at;
        values.push((line, reader.value(0)?));
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }

    fn bad<T>(&self, at: usize, message: impl Into<String>) -> Result<T, BadEdn> {
        let (line, column) = self.place(at);
        Err(BadEdn { line, column, message: message.into() })
    }

    /// Skips blanks, comments and values that are marked as left out.
    fn skip(&mut self, depth: usize) -> Result<(), BadEdn> {
        if depth > MAX_DEPTH {
            return self.bad(self.at, format!("values stand more than {MAX_DEPTH} deep in each other"));
        }
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',').len();
            self.at += blank;
            let rest = self.rest();
            if rest.starts_with(';') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("#_") {
                self.at += 2;
                self.skip(depth + 1)?;
                self.value(depth + 1)?;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Edn, BadEdn> {
        let start = self.at;
        if depth > MAX_DEPTH {
            return self.bad(start, format!("values stand more than {MAX_DEPTH} deep in each other"));
        }
        match self.peek() {
            None => self.bad(start, "the text ends where a value is expected"),
            Some('(') => Ok(Edn::List(self.until(')', depth)?)),
            Some('[') => Ok(Edn::List(self.until(']', depth)?)),
            Some('{') => {
                let items = self.until('}', depth)?;
                if items.len() % 2 == 1 {
                    return self.bad(start, "a map has a key without a value");
                }
                let mut pairs = Vec::with_capacity(items.len() / 2);
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    pairs.push((key, value));
                }
                Ok(Edn::Map(pairs))
            }
            Some('"') => self.string(),
            Some('\\') => {
                self.take();
                let first = self.take();
                let word = self.word();
                match first {
                    Some(first) => Ok(Edn::Text(format!("{first}{word}"))),
                    None => self.bad(start, "the text ends where a character is expected"),
                }
            }
            Some('#') if self.rest().starts_with("#{") => {
                self.take();
                Ok(Edn::Set(self.until('}', depth)?))
            }
            // A tag says what its value is to Clojure; the value is enough here.
            Some('#') => {
                self.take();
                if self.word().is_empty() {
                    return self.bad(start, "`#` is not followed by a tag");
                }
                self.skip(depth + 1)?;
                self.value(depth + 1)
            }
            Some(close @ (')' | ']' | '}')) => self.bad(start, format!("`{close}` closes nothing")),
            Some(_) => self.atom(),
        }
    }

    fn until(&mut self, close: char, depth: usize) -> Result<Vec<Edn>, BadEdn> {
        let start = self.at;
        self.take();
        let mut items = Vec::new();
        loop {
            self.skip(depth + 1)?;
            match self.peek() {
                None => return self.bad(start, format!("`{close}` is missing for this")),
                Some(found) if found == close => {
                    self.take();
                    return Ok(items);
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
        }
    }

    fn string(&mut self) -> Result<Edn, BadEdn> {
        let start = self.at;
        self.take();
        let mut text = String::new();
        loop {
            let here = self.at;
            match self.take() {
                None => return self.bad(start, "the closing quote is missing"),
                Some('"') => return Ok(Edn::Text(text)),
                Some('\\') => match self.take() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(same @ ('"' | '\\')) => text.push(same),
                    Some('u') => {
                        let digits: String = self.rest().chars().take(4).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                        self.at += if code.is_some() { 4 } else { 0 };
                        match code {
                            // Half of a pair stands for nothing by itself.
                            Some(code) => text.push(char::from_u32(code).unwrap_or('\u{fffd}')),
                            None => return self.bad(here, "`\\u` is not followed by four digits"),
                        }
                    }
                    _ => return self.bad(here, "this is not an escape, expected one such as `\\n`"),
                },
                Some(other) => text.push(other),
            }
        }
    }

    /// Everything up to a blank or a bracket.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || ",;\"()[]{}".contains(c);
        let word = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }

    fn atom(&mut self) -> Result<Edn, BadEdn> {
        let start = self.at;
        let word = self.word();
        let mut chars = word.chars();
        Ok(match chars.next() {
            Some(':') if word.len() > 1 => Edn::Keyword(chars.as_str().to_owned()),
            Some('0'..='9' | '+' | '-') if word.contains(|c: char| c.is_ascii_digit()) => {
                let whole = word.trim_end_matches('N');
                match (whole.parse(), word.trim_end_matches('M').parse()) {
                    (Ok(number), _) => Edn::Int(number),
                    (Err(_), Ok(number)) => Edn::Float(number),
                    _ => return self.bad(start, format!("`{word}` is not a number")),
                }
            }
            Some(_) => match word {
                "nil" => Edn::Nil,
                "true" => Edn::Bool(true),
                "false" => Edn::Bool(false),
                ":" => return self.bad(start, "`:` is not followed by a name"),
                other => Edn::Symbol(other.to_owned()),
            },
            None => return self.bad(start, "a value is expected here"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_histories_are_made_of_is_read() {
        let text = "; a comment\n#jepsen.history.Op{:process :nemesis, :f :start #_ :gone :value [1 -2 3.5 nil \"a\\n\\u0041\"]}\n#{1N \\a} (true)";
        let values: Vec<Edn> = read(text).unwrap().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values[0].get("process"), Some(&Edn::Keyword("nemesis".to_owned())));
        let wanted = vec![Edn::Int(1), Edn::Int(-2), Edn::Float(3.5), Edn::Nil, Edn::Text("a\nA".to_owned())];
        assert_eq!(values[0].get("value"), Some(&Edn::List(wanted)));
        assert_eq!(values[1], Edn::Set(vec![Edn::Int(1), Edn::Text("a".to_owned())]));
        assert_eq!(values[2], Edn::List(vec![Edn::Bool(true)]));
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, wanted) in [
            ("{:a 1\n :b}", "1:1: a map has a key without a value"),
            ("[1\n {:a", "2:2: `}` is missing for this"),
            ("\n  ]", "2:3: `]` closes nothing"),
            ("\"abc", "1:1: the closing quote is missing"),
            ("12x", "1:1: `12x` is not a number"),
            ("[\"\\q\"]", "1:3: this is not an escape, expected one such as `\\n`"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), wanted);
        }
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"#_".repeat(100_000)).is_err());
        assert!(read(&"#a ".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}()#_:;,\"\\\\a0-9nN. \\n-]{0,60}", other in ".{0,40}") {
            let _ = read(&text);
            let _ = read(&other);
        }
    }
}
