//! Texts with variables: what a client sends or runs, made from the key, the node and the input.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tera::{Context, Kwargs, State, Tera};

use crate::diagnostic::{BadFile, Located, Position};
use crate::verify::workload::operation::{Operation, Request};

/// Compiled templates by name.
pub(super) struct Templates(Tera);

impl Templates {
    pub(super) fn new() -> Self {
        let mut tera = Tera::new();
        tera.register_filter("b64", |value: tera::Value, _: Kwargs, _: &State<'_>| {
            // A filter is the one place where Tera lets a variable pass that does not exist.
            match value.is_undefined() {
                true => Err(tera::Error::message("`b64` was given a variable that does not exist")),
                false => Ok(STANDARD.encode(value.to_string())),
            }
        });
        tera.register_filter("quote", |value: tera::Value, _: Kwargs, _: &State<'_>| {
            if value.is_undefined() {
                return Err(tera::Error::message("`quote` was given a variable that does not exist"));
            }
            let text = value.to_string();
            shlex::try_quote(&text).map(|quoted| quoted.into_owned()).map_err(tera::Error::message)
        });
        Templates(tera)
    }

    /// Adds a template of `operation` and renders it once with sample values: an unknown variable is found
    /// now and not in the run. Names have no file suffix, so nothing is escaped as HTML.
    pub(super) fn add(
        &mut self,
        name: &str,
        template: &Located<String>,
        operation: &Operation,
        path: &Path,
        text: &str,
    ) -> Result<(), BadFile> {
        self.0
            .add_raw_template(name, template)
            .and_then(|()| self.0.render(name, &context(operation, "key", "node", &operation.sample())))
            .map(|_| ())
            .map_err(|error| bad_template(path, text, template.at, operation, &error))
    }

    pub(super) fn render(&self, name: &str, context: &Context) -> Result<String, tera::Error> {
        self.0.render(name, context)
    }
}

/// The variables of one request.
pub(super) fn variables(request: &Request, node: &str) -> Context {
    context(&request.operation, &request.key, node, &request.input)
}

fn context(operation: &Operation, key: &str, node: &str, input: &serde_json::Value) -> Context {
    let mut context = Context::new();
    context.insert("key", key);
    context.insert("node", node);
    for (name, value) in operation.parts(input) {
        context.insert(name, &value);
    }
    context
}

fn bad_template(
    path: &Path,
    text: &str,
    at: Option<Position>,
    operation: &Operation,
    error: &tera::Error,
) -> BadFile {
    let message = match error.kind() {
        tera::ErrorKind::SyntaxError(report) | tera::ErrorKind::RenderingError(report) => {
            format!("template: {} (column {} of the template)", report.message(), report.span().start_col + 1)
        }
        _ => {
            // Some kinds print the template as well; the file's own line is shown anyway.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            format!("template: {}", line.trim_start_matches("error: "))
        }
    };
    let variables: Vec<String> =
        ["key", "node"].iter().chain(operation.arguments).map(|name| format!("`{name}`")).collect();
    BadFile::at(path, text, at, message).help(format!(
        "`{}` has {}; the filters are `b64` and `quote`",
        operation.f,
        variables.join(", ")
    ))
}
