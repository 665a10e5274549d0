//! From YAML text to a typed value, and from the parser's words to plain ones.
//!
//! The parser speaks to programmers ("expected sequence start", "invalid u8"); whoever wrote the file gets
//! what stands there and what could stand there instead.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

use super::{BadFile, Position, position};

/// How deep lists and blocks may stand in each other.
const MAX_DEPTH: usize = 64;

/// Parses `text`, the content of the file at `path`, as one strict YAML document.
///
/// Keys may not repeat, aliases and nesting are bounded, and only `true` and `false` are booleans.
pub fn parse_yaml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, BadFile> {
    let says_nothing = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
    if text.lines().all(|line| says_nothing(line.trim())) {
        return Err(BadFile::whole(path, "is empty"));
    }
    if let Some(bad) = unprintable(path, text) {
        return Err(bad);
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 100_000,
            max_aliases: 1_000,
            max_depth: MAX_DEPTH,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| explain(path, text, error.without_snippet()))
}

/// NUL and its like: not in a file that a person wrote, and the parser would stop at them in silence.
fn unprintable(path: &Path, text: &str) -> Option<BadFile> {
    let strange = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    text.lines().enumerate().find_map(|(index, line)| {
        let column = line.chars().position(strange)?;
        let found = u32::from(line.chars().nth(column)?);
        let at = Position { line: index + 1, column: column + 1 };
        Some(
            BadFile::at(
                path,
                text,
                Some(at),
                format!("the control character U+{found:04X} cannot stand here"),
            )
            .help("is this a text file?"),
        )
    })
}

fn explain(path: &Path, text: &str, error: &Error) -> BadFile {
    let at = error.location().and_then(position);
    let bad = |message: String| BadFile::at(path, text, at, message);
    match error {
        Error::AliasError { error, .. } => explain(path, text, error.without_snippet()),
        Error::SerdeUnknownField { field, expected, .. } => bad(format!("unknown field `{field}`"))
            .suggest(field, expected.iter().copied())
            .help(one_of(expected)),
        Error::SerdeUnknownVariant { variant, expected, .. }
            if matches!(variant.as_str(), "~" | "null" | "") =>
        {
            bad("nothing stands here".to_owned()).help(one_of(expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => bad(format!("unknown name `{variant}`"))
            .suggest(variant, expected.iter().copied())
            .help(one_of(expected)),
        Error::SerdeMissingField { field, .. } => bad(format!("the field `{field}` is missing here")),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            bad(format!("found {}, expected {}", found(unexpected), wanted(expected)))
        }
        Error::SerdeInvalidLength { len, expected, .. } => {
            bad(format!("found {len} values, expected {}", wanted(expected)))
        }
        Error::InvalidScalar { ty, .. } => match word(text, at) {
            Some(word) => bad(format!("`{word}` is not {}", wanted(ty))),
            None => bad(format!("expected {}", wanted(ty))),
        },
        Error::Unexpected { expected, .. } => {
            let (here, wanted) = (here(text, at), wanted(expected));
            // A value that is missing is noticed only at the next key.
            match here == "found fields, " && wanted.starts_with("fields") {
                true => bad(format!("nothing stands before this, expected {wanted}")),
                false => bad(format!("{here}expected {wanted}")),
            }
        }
        Error::InvalidBooleanStrict { .. } => match word(text, at) {
            Some(word) => bad(format!("`{word}` is not `true` or `false`")),
            None => bad("expected `true` or `false`".to_owned()),
        },
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => bad(format!("the field `{key}` stands here a second time")),
            None => bad("this field stands here a second time".to_owned()),
        }
        .help("each field can be given only once"),
        Error::MultipleDocuments { .. } => bad("a second document starts here".to_owned())
            .help("expected one document: remove the line `---` and what does not belong"),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            bad("`<<` takes fields from elsewhere, such as `<<: *name`".to_owned())
        }
        Error::NullIntoString { .. } => bad("nothing stands here, expected text".to_owned()),
        Error::Eof { .. } => bad("the file ends too early".to_owned()),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => {
            bad(format!("{}expected a name, or a name with its settings", here(text, at)))
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            bad("a second name stands here, expected only one".to_owned())
                .help("give each its own `- ` in the list, or indent this line if it is a setting")
        }
        Error::UnexpectedValueForUnit { .. } | Error::UnexpectedValueForUnitEnumVariant { .. } => {
            bad("this name takes no value".to_owned()).help("write the name alone")
        }
        Error::UnknownAnchor { .. } => {
            bad("`*` refers to a name that is not marked with `&` before".to_owned())
                .help("quote the text if it only starts with `*`")
        }
        Error::Budget { breach, .. } => bad(budget(breach)),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => bad("aliases (`*name`) make this too large".to_owned()),
        Error::UnsupportedTag { tag, .. } => bad(format!("the tag `{tag}` means nothing here")),
        Error::ExternalMessage { msg, .. } => syntax(path, text, at, msg),
        other => {
            // The crate appends its own "at line x, column y", which we say in our own way.
            let message = other.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).trim();
            let message = message.strip_prefix("error: ").unwrap_or(message);
            bad(message.lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// What is not even YAML.
fn syntax(path: &Path, text: &str, at: Option<Position>, message: &str) -> BadFile {
    let bad = |message: &str| BadFile::at(path, text, at, message);
    // The parser says first what it was doing, which nobody asked.
    let message = message.to_lowercase();
    let message = match message.strip_prefix("while ").and_then(|doing| doing.split_once(", ")) {
        Some((_, problem)) if !problem.contains("expected ',' or") => problem,
        _ => message.as_str(),
    };
    let line = at.and_then(|at| text.lines().nth(at.line - 1)).unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    if message.contains("found a tab")
        || message.contains("tab") && message.contains("indent")
        || indent.contains('\t')
    {
        return bad("a tab cannot indent a line").help("use spaces");
    }
    let bracket = message.contains("bracket") || message.contains("flow") || message.contains("']'");
    if bracket && (message.contains("unclosed") || message.contains("expected") || message.contains("eof")) {
        return bad("a bracket or brace is not closed, or a comma is missing")
            .help("look from `[` or `{` on");
    }
    if message.contains("quote") || message.contains("scalar") && message.contains("end of stream") {
        return bad("a quoted text is not closed").help("look for the missing quotation mark");
    }
    if message.contains("mapping values are not allowed") {
        return bad("a `: ` cannot stand here").help("quote the text if the colon belongs to it");
    }
    if message.contains("expected '-' indicator") || message.contains("expected <block end>") {
        return bad("this line is indented differently from those above it");
    }
    if message.contains("unexpected character") {
        return bad("this character cannot begin a value").help("quote the text");
    }
    if message.contains("simple key") || message.contains("could not find expected ':'") {
        return bad("this line is neither `key: value` nor `- item`");
    }
    bad(&format!("this is not YAML: {}", message.replace("scalar", "text")))
}

fn budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => format!("this is nested more than {MAX_DEPTH} levels deep"),
        BudgetBreach::Aliases { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            "there are too many aliases (`*name`)".to_owned()
        }
        BudgetBreach::SequenceUnbalanced => "a bracket or brace is closed that was never opened".to_owned(),
        BudgetBreach::Documents { .. } => "there are too many documents".to_owned(),
        _ => "the file holds more than a person writes".to_owned(),
    }
}

/// Serde's and the parser's names for what a type takes, as a noun for a person.
fn wanted(expected: &str) -> String {
    let number = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => number(u8::MAX.into()),
        "u16" => number(u16::MAX.into()),
        "u32" => number(u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" | "an integer" => "a whole number".to_owned(),
        "f32" | "f64" | "floating point" => "a number".to_owned(),
        "boolean" | "a boolean" => "`true` or `false`".to_owned(),
        "map" | "a map" | "mapping start" => "fields (`name: value`)".to_owned(),
        "seq" | "a sequence" | "sequence start" => {
            "a list (`[a, b]`, or lines that start with `- `)".to_owned()
        }
        "string" | "a string" | "a borrowed string" | "scalar" | "string scalar" | "value" => {
            "text".to_owned()
        }
        "mapping end" | "empty mapping end" => "nothing more".to_owned(),
        "single YAML node" => "one value".to_owned(),
        other if other.starts_with("struct ") => "fields (`name: value`)".to_owned(),
        other => other.to_owned(),
    }
}

/// Serde's names for what stands in the file.
fn found(unexpected: &str) -> String {
    match unexpected {
        "map" => "fields (`name: value`)".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" | "Option value" => "nothing".to_owned(),
        other => match other.split_once(' ') {
            Some(("string", text)) => format!("the text {text}"),
            Some(("integer", number)) => format!("the number {number}"),
            Some(("boolean", truth)) => truth.to_owned(),
            _ => match other.strip_prefix("floating point ") {
                Some(number) => format!("the number {number}"),
                None => other.to_owned(),
            },
        },
    }
}

/// "found ..., " for what stands at `at`.
fn here(text: &str, at: Option<Position>) -> String {
    let Some(rest) = rest(text, at) else { return "nothing stands here, ".to_owned() };
    let fields = rest.starts_with('{') || rest.contains(": ") || rest.ends_with(':');
    match rest.trim_start().chars().next() {
        None | Some('#' | ':' | '}' | ']' | ',') => "nothing stands here, ".to_owned(),
        Some('[') => "found a list, ".to_owned(),
        Some('-') if rest.starts_with("- ") => "found a list, ".to_owned(),
        Some('"' | '\'') => "found text, ".to_owned(),
        Some('|' | '>') => "found text, ".to_owned(),
        _ if rest.starts_with('{') => "found fields, ".to_owned(),
        _ => match word(text, at) {
            Some(word) if !fields || !word.contains(':') => format!("found `{word}`, "),
            _ => "found fields, ".to_owned(),
        },
    }
}

fn rest(text: &str, at: Option<Position>) -> Option<&str> {
    let at = at?;
    let line = text.lines().nth(at.line - 1)?;
    let (start, _) = line.char_indices().nth(at.column - 1)?;
    line.get(start..).map(str::trim_end)
}

/// The plain value that stands at `at`, as far as the line tells.
fn word(text: &str, at: Option<Position>) -> Option<&str> {
    let rest = rest(text, at)?;
    let end = rest.find([',', '}', ']', '{', '[']).unwrap_or(rest.len());
    let word = rest.get(..end)?.split(" #").next()?.trim_end();
    let word = word.split_once(": ").map_or(word, |(key, _)| key);
    (!word.is_empty() && word.chars().count() <= 60).then_some(word)
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("expected one of {}", quoted.join(", "))
}
