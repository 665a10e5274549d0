//! The HTTP client: requests made from templates, answers read by JSON pointers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tera::{Context, Kwargs, State, Tera};
use tokio::time::Instant;

use super::client::{Answer, Client, ClientKind, RegisterOp};
use crate::diagnostic::{BadFile, Located, Position};
use crate::guest::Dialer;
use crate::guest::http::{HttpConnection, HttpRequest, HttpResponse};

/// A service that is used over HTTP.
///
/// Paths, headers and bodies are Tera templates with the variables `key`, `node`, and, where there is one,
/// `value` and `expected`; the filter `b64` encodes text in base64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpClientSpec {
    pub port: u16,
    pub read: HttpRead,
    pub write: HttpWrite,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<HttpCas>,
    /// Statuses by which the service promises that it did nothing. Any other that is not 2xx leaves open
    /// whether a write happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fail_status: Vec<u16>,
}

/// How a register is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpRead {
    #[serde(default)]
    pub method: HttpMethod,
    pub path: Located<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Located<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Located<String>>,
    /// JSON pointer to the value in the answer, such as `/kvs/0/value`; nothing there means that the
    /// register does not exist. Without it the whole body is the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Decode::is_plain")]
    pub decode: Decode,
    /// Statuses that say that the register does not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent_status: Vec<u16>,
}

/// How a register is written; a 2xx status acknowledges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpWrite {
    #[serde(default = "put")]
    pub method: HttpMethod,
    pub path: Located<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Located<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Located<String>>,
}

/// How a register is set to `value` if it holds `expected`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpCas {
    #[serde(default = "put")]
    pub method: HttpMethod,
    pub path: Located<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Located<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Located<String>>,
    /// JSON pointer to a boolean: whether the register held what was expected; nothing there means no.
    /// Without it every 2xx status means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// Statuses that say that the register held something else, such as 412.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatch_status: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    #[default]
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl HttpMethod {
    fn name(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Put => "PUT",
            HttpMethod::Post => "POST",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
        }
    }
}

fn put() -> HttpMethod {
    HttpMethod::Put
}

/// How the value is encoded in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    #[default]
    Plain,
    Base64,
}

impl Decode {
    fn is_plain(&self) -> bool {
        *self == Decode::Plain
    }
}

/// The client made ready: one compiled template for each text of each request.
#[derive(Clone)]
pub(super) struct HttpKind {
    shared: Arc<Shared>,
}

struct Shared {
    spec: HttpClientSpec,
    templates: Tera,
}

/// The templates of one request, whichever operation it is for.
struct Parts<'a> {
    name: &'static str,
    method: HttpMethod,
    path: &'a Located<String>,
    headers: &'a BTreeMap<String, Located<String>>,
    body: Option<&'a Located<String>>,
}

impl HttpClientSpec {
    fn parts(&self, op: RegisterOp) -> Option<Parts<'_>> {
        Some(match op {
            RegisterOp::Read => {
                let HttpRead { method, path, headers, body, .. } = &self.read;
                Parts { name: "read", method: *method, path, headers, body: body.as_ref() }
            }
            RegisterOp::Write(_) => {
                let HttpWrite { method, path, headers, body } = &self.write;
                Parts { name: "write", method: *method, path, headers, body: body.as_ref() }
            }
            RegisterOp::Cas { .. } => {
                let HttpCas { method, path, headers, body, .. } = self.cas.as_ref()?;
                Parts { name: "cas", method: *method, path, headers, body: body.as_ref() }
            }
        })
    }
}

impl Parts<'_> {
    /// Every template with its name; the names have no file suffix, so nothing is escaped as HTML.
    fn templates(&self) -> impl Iterator<Item = (String, &Located<String>)> {
        let fixed = [("path", Some(self.path)), ("body", self.body)];
        let fixed = fixed.into_iter().filter_map(|(part, text)| Some((self.template(part), text?)));
        fixed.chain(self.headers.iter().map(|(name, text)| (self.template(&format!("headers/{name}")), text)))
    }

    fn template(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }

    fn render(&self, templates: &Tera, context: &Context, host: String) -> Result<HttpRequest, tera::Error> {
        let render = |part: &str| templates.render(&self.template(part), context);
        let headers = self
            .headers
            .keys()
            .map(|name| Ok((name.clone(), render(&format!("headers/{name}"))?)))
            .collect::<Result<_, tera::Error>>()?;
        let body = self.body.map(|_| render("body")).transpose()?.unwrap_or_default().into_bytes();
        Ok(HttpRequest { method: self.method.name().to_owned(), path: render("path")?, host, headers, body })
    }
}

impl HttpKind {
    pub(super) fn load(spec: &HttpClientSpec, path: &Path, text: &str) -> Result<Self, BadFile> {
        let mut templates = Tera::new();
        templates.register_filter("b64", |value: tera::Value, _: Kwargs, _: &State<'_>| {
            // A filter is the one place where Tera lets a variable pass that does not exist.
            match value.is_undefined() {
                true => Err(tera::Error::message("`b64` was given a variable that does not exist")),
                false => Ok(STANDARD.encode(value.to_string())),
            }
        });
        let samples = [RegisterOp::Read, RegisterOp::Write(1), RegisterOp::Cas { expected: 1, value: 2 }];
        for op in samples {
            let Some(parts) = spec.parts(op) else { continue };
            for (name, template) in parts.templates() {
                // Rendered once with sample values: an unknown variable is found now and not in the run.
                templates
                    .add_raw_template(&name, template)
                    .and_then(|()| templates.render(&name, &context("key", "node", op)))
                    .map_err(|error| bad_template(path, text, template.at, &error))?;
            }
        }
        Ok(HttpKind { shared: Arc::new(Shared { spec: spec.clone(), templates }) })
    }
}

fn bad_template(path: &Path, text: &str, at: Option<Position>, error: &tera::Error) -> BadFile {
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
    BadFile::at(path, text, at, message).help(
        "a request has `key` and `node`, a write also `value`, a cas also `expected`; the filter is `b64`",
    )
}

fn context(key: &str, node: &str, op: RegisterOp) -> Context {
    let mut context = Context::new();
    context.insert("key", key);
    context.insert("node", node);
    match op {
        RegisterOp::Read => {}
        RegisterOp::Write(value) => context.insert("value", &value),
        RegisterOp::Cas { expected, value } => {
            context.insert("expected", &expected);
            context.insert("value", &value);
        }
    }
    context
}

impl ClientKind for HttpKind {
    fn has_cas(&self) -> bool {
        self.shared.spec.cas.is_some()
    }

    fn client(&self) -> Box<dyn Client> {
        Box::new(HttpClient { shared: Arc::clone(&self.shared), connection: None })
    }
}

struct HttpClient {
    shared: Arc<Shared>,
    /// Kept alive to the node of this name.
    connection: Option<(String, HttpConnection)>,
}

#[async_trait]
impl Client for HttpClient {
    async fn invoke(
        &mut self,
        node: &str,
        dialer: &dyn Dialer,
        key: &str,
        op: RegisterOp,
        deadline: Instant,
    ) -> Answer {
        let spec = &self.shared.spec;
        let Some(parts) = spec.parts(op) else { return Answer::fail("the client has no cas") };
        let host = format!("{node}:{}", spec.port);
        let request = match parts.render(&self.shared.templates, &context(key, node, op), host) {
            Ok(request) => request,
            Err(error) => return Answer::fail(format!("template: {error}")),
        };
        let kept = self.connection.take().filter(|(to, connection)| to == node && connection.is_usable());
        let mut connection = match kept {
            Some((_, connection)) => connection,
            None => {
                let stream = match dialer.dial(spec.port, deadline).await {
                    Ok(stream) => stream,
                    Err(error) => return Answer::fail(error.to_string()),
                };
                match HttpConnection::new(stream, deadline).await {
                    Ok(connection) => connection,
                    Err(error) => return Answer::fail(error.to_string()),
                }
            }
        };
        match connection.exchange(request, deadline).await {
            Ok(response) => {
                self.connection = Some((node.to_owned(), connection));
                read_answer(&self.shared.spec, op, &response)
            }
            Err(error) if error.sent => Answer::lost(op, error.to_string()),
            Err(error) => Answer::fail(error.to_string()),
        }
    }
}

/// What the service's answer means for `op`.
fn read_answer(spec: &HttpClientSpec, op: RegisterOp, response: &HttpResponse) -> Answer {
    let status = response.status;
    match (op, &spec.cas) {
        (RegisterOp::Read, _) if spec.read.absent_status.contains(&status) => {
            return Answer::ok(Value::Null);
        }
        (RegisterOp::Cas { .. }, Some(cas)) if cas.mismatch_status.contains(&status) => {
            return Answer::ok(json!(false));
        }
        _ => {}
    }
    if spec.fail_status.contains(&status) {
        return Answer::fail(format!("status {status}"));
    }
    if !(200..300).contains(&status) {
        return Answer::lost(op, format!("status {status}"));
    }
    let read = match op {
        RegisterOp::Write(_) => Ok(Value::Null),
        RegisterOp::Read => value_read(&spec.read, &response.body),
        RegisterOp::Cas { .. } => {
            cas_succeeded(spec.cas.as_ref().and_then(|cas| cas.success.as_deref()), &response.body)
                .map(Value::Bool)
        }
    };
    match read {
        Ok(output) => Answer::ok(output),
        Err(why) => Answer::lost(op, why),
    }
}

/// The value in the answer to a read: null when absent, a number when it reads as one, otherwise text,
/// which no client ever wrote and the checker will say so.
fn value_read(read: &HttpRead, body: &[u8]) -> Result<Value, String> {
    let raw = match &read.value {
        None => String::from_utf8_lossy(body).trim().to_owned(),
        Some(pointer) => match parse(body)?.pointer(pointer) {
            None | Some(Value::Null) => return Ok(Value::Null),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        },
    };
    let text = match read.decode {
        Decode::Plain => raw,
        Decode::Base64 => {
            let bytes = STANDARD.decode(&raw).map_err(|_| format!("the value `{raw}` is not base64"))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    };
    Ok(text.parse::<i64>().map_or(Value::String(text), |number| json!(number)))
}

fn cas_succeeded(pointer: Option<&str>, body: &[u8]) -> Result<bool, String> {
    let Some(pointer) = pointer else { return Ok(true) };
    match parse(body)?.pointer(pointer) {
        // Encoders of protobuf leave out what is false.
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(success)) => Ok(*success),
        Some(other) => Err(format!("`{pointer}` is {other}, expected true or false")),
    }
}

fn parse(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))
}
