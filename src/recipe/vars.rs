//! Variables of a recipe: declared with a type, given by `--set`, used by Tera.
//!
//! They are read before the recipe is rendered: [`declared`] blanks every line outside the top-level `vars:`
//! block and parses what is left, so that lines and columns stay true. The block reaches from the line that
//! starts with `vars:` to the next line that starts in the first column and is no comment.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::diagnostic::{BadFile, Located, Position, closest, parse_yaml};
use crate::units::{Size, Span};

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VarType {
    String,
    Int,
    Bool,
    /// A size such as `512M`.
    Size,
    /// A duration such as `20s`.
    Duration,
}

/// A variable of a recipe.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VarForm {
    #[serde(rename = "type")]
    pub kind: Located<VarType>,
    /// Without it, `--set` must give a value.
    pub default: Option<Located<Value>>,
    pub description: Option<String>,
}

#[derive(Deserialize)]
struct OnlyVars {
    vars: BTreeMap<String, VarForm>,
}

/// The variables that a recipe declares.
pub type Declared = BTreeMap<String, VarForm>;

/// Reads the `vars:` block of a recipe that is not rendered yet.
pub fn declared(path: &Path, text: &str) -> Result<Declared, BadFile> {
    let mut inside = false;
    let mut block = String::new();
    for (index, line) in text.lines().enumerate() {
        let starts_key = line.starts_with(|first: char| !first.is_whitespace() && first != '#');
        if starts_key {
            inside = line.starts_with("vars:");
        }
        if inside {
            if let Some(column) = line.find("{{").or_else(|| line.find("{%")) {
                let at = Position { line: index + 1, column: line[..column].chars().count() + 1 };
                let message = "`vars` is read before the recipe is rendered and cannot be templated";
                return Err(BadFile::at(path, text, Some(at), message));
            }
            block.push_str(line);
        }
        block.push('\n');
    }
    if block.trim().is_empty() {
        return Ok(Declared::new());
    }
    let vars = parse_yaml::<OnlyVars>(path, &block)?.vars;
    for (name, var) in &vars {
        let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !plain {
            return Err(BadFile::at(path, text, var.kind.at, format!("`{name}` is not a variable name"))
                .help("expected lower-case letters, digits and underscores, a letter first"));
        }
    }
    Ok(vars)
}

/// The value of every declared variable: what `sets` says, else its default.
///
/// Names in `sets` that this recipe does not declare are passed over: another recipe of the chain may.
pub fn values(
    path: &Path,
    text: &str,
    declared: &Declared,
    sets: &[(String, String)],
) -> Result<BTreeMap<String, Value>, BadFile> {
    let mut values = BTreeMap::new();
    for (name, var) in declared {
        let given = sets.iter().rev().find(|(set, _)| set == name);
        let value = match (given, &var.default) {
            (Some((_, given)), _) => from_text(var.kind.value, given).map_err(|expected| {
                BadFile::at(
                    path,
                    text,
                    var.kind.at,
                    format!("`--set {name}={given}` does not fit: {expected}"),
                )
            })?,
            (None, Some(default)) => from_yaml(var.kind.value, &default.value)
                .map_err(|expected| BadFile::at(path, text, default.at, expected))?,
            (None, None) => {
                let message = format!("the variable `{name}` has no default and was not set");
                return Err(BadFile::at(path, text, var.kind.at, message)
                    .help(format!("give it with `--set {name}=VALUE`")));
            }
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Refuses a `--set` that no recipe of the chain declares.
pub fn refuse_unknown(path: &Path, known: &[String], sets: &[(String, String)]) -> Result<(), BadFile> {
    let Some((name, _)) = sets.iter().find(|(name, _)| !known.contains(name)) else {
        return Ok(());
    };
    let bad = BadFile::whole(path, format!("has no variable `{name}`"));
    let names = known.iter().map(String::as_str);
    Err(match closest(name, names) {
        Some(best) => bad.help(format!("did you mean `{best}`?")),
        None if known.is_empty() => bad.help("it declares no variables"),
        None => bad.help(format!("it declares `{}`", known.join("`, `"))),
    })
}

fn from_text(kind: VarType, text: &str) -> Result<Value, String> {
    match kind {
        VarType::String => Ok(text.into()),
        VarType::Int => {
            text.parse::<i64>().map(Into::into).map_err(|_| format!("`{text}` is not a whole number"))
        }
        VarType::Bool => {
            text.parse::<bool>().map(Into::into).map_err(|_| format!("`{text}` is not `true` or `false`"))
        }
        VarType::Size => {
            text.parse::<Size>().map(|size| size.to_string().into()).map_err(|bad| bad.to_string())
        }
        VarType::Duration => {
            text.parse::<Span>().map(|span| span.to_string().into()).map_err(|bad| bad.to_string())
        }
    }
}

fn from_yaml(kind: VarType, value: &Value) -> Result<Value, String> {
    match (kind, value) {
        (VarType::Int, Value::Number(number)) if number.is_i64() => Ok(value.clone()),
        (VarType::Bool, Value::Bool(_)) => Ok(value.clone()),
        (VarType::Int, _) => Err(format!("the default {value} is not a whole number")),
        (VarType::Bool, _) => Err(format!("the default {value} is not `true` or `false`")),
        (_, Value::String(text)) => from_text(kind, text),
        (VarType::String, _) => Err(format!("the default {value} is not text; quote it")),
        (VarType::Size, _) => Err(format!("the default {value} is not a size such as `512M`")),
        (VarType::Duration, _) => Err(format!("the default {value} is not a duration such as `20s`")),
    }
}
