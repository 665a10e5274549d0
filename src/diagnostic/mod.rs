//! What is said about a file that a person wrote and we cannot use.
//!
//! Every complaint names the file, the line and the column, shows the line itself and says what was
//! expected; see [`BadFile`]. [`parse_yaml`] is the one way from text to a typed value.

mod yaml;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use yaml::parse_yaml;

/// A file bigger than this was not written by a person; refusing it early bounds every later step.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Line and column in a file, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A value together with where it stood in its file, for checks that come after parsing.
///
/// `at` is `None` when the value did not come from a file (a default, or a manifest read back).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    pub value: T,
    pub at: Option<Position>,
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Located { value, at: None }
    }
}

impl<T: fmt::Display> fmt::Display for Located<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Located { at: position(spanned.referenced), value: spanned.value })
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One complaint about one file. `Display` prints it over several lines, without a trailing newline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadFile {
    pub path: PathBuf,
    pub at: Option<Position>,
    /// The text of the line at `at`, without its line end.
    pub line_text: Option<String>,
    pub message: String,
    /// What was expected, or how to mend it; one sentence each.
    pub help: Vec<String>,
}

impl BadFile {
    /// A complaint about the file as a whole.
    pub fn whole(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        BadFile { path: path.into(), at: None, line_text: None, message: message.into(), help: Vec::new() }
    }

    /// A complaint about the place `at` in `text`, which is the content of the file.
    pub fn at(
        path: impl Into<PathBuf>,
        text: &str,
        at: Option<Position>,
        message: impl Into<String>,
    ) -> Self {
        // What is missing at the end is reported after the last line, where there is nothing to show.
        let (last, end) = text.trim_end().lines().enumerate().last().unwrap_or_default();
        let at = at.map(|at| match at.line > last + 1 {
            true => Position { line: last + 1, column: end.chars().count() + 1 },
            false => at,
        });
        let line_text = at.and_then(|at| text.lines().nth(at.line.saturating_sub(1))).map(str::to_owned);
        BadFile { path: path.into(), at, line_text, message: message.into(), help: Vec::new() }
    }

    /// A complaint about the value of the top-level `field`, or about the whole file if it is not there.
    pub fn at_field(path: impl Into<PathBuf>, text: &str, field: &str, message: impl Into<String>) -> Self {
        let names = |line: &str| line.strip_prefix(field).is_some_and(|rest| rest.starts_with(':'));
        let line = text.lines().position(names);
        Self::at(path, text, line.map(|line| Position { line: line + 1, column: 1 }), message)
    }

    /// Adds a line of help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds "did you mean ...?" when one of `known` is close to `found`.
    #[must_use]
    pub fn suggest<'a>(self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match closest(found, known) {
            Some(best) => self.help(format!("did you mean `{best}`?")),
            None => self,
        }
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(at) = self.at {
            write!(f, ":{}:{}", at.line, at.column)?;
        }
        write!(f, ": {}", self.message)?;
        let gutter = self.at.map_or(0, |at| at.line.to_string().len()).max(1);
        if let (Some(at), Some(text)) = (self.at, &self.line_text) {
            // Tabs become one space each, so that the caret stands under the column it names. A very
            // long line is cut around the column.
            let shown: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let start = (at.column.saturating_sub(1)).saturating_sub(80).min(shown.len());
            let end = (start + 140).min(shown.len());
            let window: String = shown[start..end].iter().collect();
            let caret = " ".repeat((at.column.saturating_sub(1) - start).min(window.chars().count()));
            write!(f, "\n{:gutter$} |\n{} | {window}\n{:gutter$} | {caret}^", "", at.line, "")?;
        }
        for help in &self.help {
            write!(f, "\n{:gutter$} = {help}", "")?;
        }
        Ok(())
    }
}

/// The entry of `known` nearest to `found`, if it is near enough to be a slip of the hand.
pub fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(found, candidate), candidate))
        .filter(|(distance, candidate)| {
            let longer = candidate.chars().count().max(found.chars().count());
            *distance <= (longer / 3).max(1) && *distance < longer
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Reads a text file that a person wrote: UTF-8, at most 1 MiB, a regular file.
pub fn read_text(path: &Path) -> Result<String, BadFile> {
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            BadFile::whole(path, "no such file")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            BadFile::whole(path, "is a symbolic link that leads back to itself")
        }
        std::io::ErrorKind::PermissionDenied => BadFile::whole(path, "you are not allowed to read it"),
        _ => BadFile::whole(path, format!("cannot be read: {error}")),
    };
    // Asked before it is opened: opening a pipe waits for whoever writes into it.
    let meta = std::fs::metadata(path).map_err(refused)?;
    if meta.is_dir() {
        return Err(BadFile::whole(path, "is a directory, expected a file"));
    }
    if !meta.is_file() {
        return Err(BadFile::whole(path, "is a pipe, a socket or a device, expected a file"));
    }
    // Some files are longer than they say, such as those that the kernel makes up.
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(refused)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(BadFile::whole(path, "is larger than 1 MiB, which no person writes")
            .help("is it the file that you meant?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        let text = String::from_utf8_lossy(error.as_bytes());
        BadFile::at(path, &text, Some(Position { line, column }), "is not UTF-8 text")
            .help("save the file as UTF-8")
    })
}

fn position(location: serde_saphyr::Location) -> Option<Position> {
    let (line, column) = (location.line() as usize, location.column() as usize);
    (line > 0).then_some(Position { line, column: column.max(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;
    use proptest::prelude::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    struct Step {
        #[expect(dead_code, reason = "only parsed")]
        name: String,
        #[serde(rename = "for")]
        lasts: Located<Span>,
    }

    fn complain(text: &str) -> String {
        parse_yaml::<Vec<Step>>(Path::new("a.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn complaints_name_the_place_and_the_mend() {
        insta::assert_snapshot!(complain("- name: x\n  fr: 10s\n"), @r"
        a.yaml:2:3: unknown field `fr`
          |
        2 |   fr: 10s
          |   ^
          = did you mean `for`?
          = expected one of `name`, `for`
        ");
        insta::assert_snapshot!(complain("- { name: x, for: 10 secnds }\n"), @"
        a.yaml:1:19: `10 secnds` is not a duration, expected a number and a unit such as `250ms`, `20s`, `5m` or `1h`
          |
        1 | - { name: x, for: 10 secnds }
          |                   ^
        ");
        insta::assert_snapshot!(complain("# nothing\n"), @"a.yaml: is empty");
        insta::assert_snapshot!(complain("- { name: x }\n"), @"
        a.yaml:1:5: the field `for` is missing here
          |
        1 | - { name: x }
          |     ^
        ");
    }

    #[test]
    fn located_values_know_their_place() {
        let steps: Vec<Step> = parse_yaml(Path::new("a"), "- name: x\n  for: 1s\n").unwrap();
        assert_eq!(steps[0].lasts.at, Some(Position { line: 2, column: 8 }));
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let parts = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
        }
        let result: Result<std::collections::BTreeMap<String, serde_json::Value>, _> =
            parse_yaml(Path::new("bomb.yaml"), &text);
        assert!(result.is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n\t]{0,80}", column in 0_usize..200) {
            let _ = parse_yaml::<Vec<Step>>(Path::new("a"), &text).map_err(|bad| bad.to_string());
            BadFile::at("a", &text, Some(Position { line: 1, column }), "m").to_string();
        }
    }
}
