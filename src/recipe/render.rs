//! Tera as recipes use it: no escaping, undefined variables are errors, one filter of our own.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;
use tera::{Context, ErrorKind, Kwargs, State, Tera};

use crate::diagnostic::{BadFile, Position, closest};

/// The name under which the one template of an instance of Tera is known.
const NAME: &str = "text";

/// Renders `text`, the content of the file at `path`.
pub fn render(path: &Path, text: &str, vars: &BTreeMap<String, Value>) -> Result<String, BadFile> {
    let tera = prepare(path, text)?;
    let mut context = Context::new();
    for (name, value) in vars {
        context.insert(name.clone(), value);
    }
    tera.render(NAME, &context).map_err(|error| explain(path, text, &error, vars.keys().map(String::as_str)))
}

/// Checks a template that will be rendered later, when `known` will be in scope.
pub fn check(path: &Path, text: &str, known: &[&str]) -> Result<(), BadFile> {
    let tera = prepare(path, text)?;
    let used: HashSet<&str> = tera
        .get_template_variables(NAME)
        .map_err(|error| explain(path, text, &error, known.iter().copied()))?;
    let mut unknown: Vec<&str> = used.into_iter().filter(|name| !known.contains(name)).collect();
    unknown.sort_unstable();
    let Some(name) = unknown.first() else { return Ok(()) };
    Err(BadFile::at(path, text, first_word(text, name), format!("`{name}` is not defined here"))
        .suggest(name, known.iter().copied())
        .help(format!("an instance's file knows `{}`", known.join("` and `"))))
}

fn prepare(path: &Path, text: &str) -> Result<Tera, BadFile> {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    tera.register_filter("sh", shell_quote);
    tera.add_raw_template(NAME, text).map_err(|error| explain(path, text, &error, []))?;
    Ok(tera)
}

/// `{{ value | sh }}`: one word for a shell, whatever is in it.
fn shell_quote(value: &str, _: Kwargs, _: &State<'_>) -> tera::TeraResult<String> {
    match shlex::try_quote(value) {
        Ok(quoted) => Ok(quoted.into_owned()),
        Err(_) => Err(tera::Error::message("a NUL character cannot be passed to a shell")),
    }
}

fn explain<'a>(
    path: &Path,
    text: &str,
    error: &tera::Error,
    known: impl IntoIterator<Item = &'a str>,
) -> BadFile {
    let report = match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => report,
        other => return explain_printed(path, text, &other.to_string()),
    };
    let span = report.span();
    let at = Position { line: span.start_line.max(1), column: span.start_col + 1 };
    let bad = BadFile::at(path, text, Some(at), report.message().trim_end_matches('.'));
    let word = text.get(span.range.clone()).unwrap_or_default();
    let known: Vec<&str> = known.into_iter().collect();
    match closest(word, known.iter().copied()) {
        Some(best) if best != word => bad.help(format!("did you mean `{best}`?")),
        _ if report.message().contains("not defined") && !known.is_empty() => {
            bad.help(format!("defined are `{}`", known.join("`, `")))
        }
        _ => bad,
    }
}

/// Tera finds unknown filters, tests and functions of all templates at once and gives them as printed text,
/// with the place as `--> text:LINE:COLUMN`.
fn explain_printed(path: &Path, text: &str, printed: &str) -> BadFile {
    let mut lines = printed.lines();
    let message = lines.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let place = lines.find_map(|line| line.trim().strip_prefix("--> ")).and_then(|place| {
        let mut numbers = place.rsplit(':').map(|number| number.parse().ok());
        let (column, line) = (numbers.next()??, numbers.next()??);
        Some(Position { line, column })
    });
    BadFile::at(path, text, place, message)
}

/// Where `word` first stands alone in `text`.
fn first_word(text: &str, word: &str) -> Option<Position> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().enumerate().find_map(|(index, line)| {
        let (column, _) = line.match_indices(word).find(|(start, found)| {
            !line[..*start].ends_with(is_part) && !line[start + found.len()..].starts_with(is_part)
        })?;
        Some(Position { line: index + 1, column: line[..column].chars().count() + 1 })
    })
}
