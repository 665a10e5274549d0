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
use tera::Context;
use tokio::time::Instant;

use super::template::{Templates, variables};
use super::{Load, with_operations};
use crate::diagnostic::{BadFile, Located};
use crate::guest::http::{HttpConnection, HttpRequest, HttpResponse};
use crate::verify::workload::client::{Answer, Client, ClientKind, Site};
use crate::verify::workload::operation::{Operation, Request, Shape};
use crate::verify::workload::{WorkloadKind, WorkloadSpec};

with_operations! {
    /// A service that is used over HTTP.
    ///
    /// Paths, headers and bodies are Tera templates with the variables `key`, `node`, and those of the
    /// operation: `value`; for `cas` also `expected`; for `transfer` `from`, `to` and `amount`; for the `setup`
    /// of a bank `accounts` and `balance`. The filter `b64` encodes text in base64.
    pub struct HttpClientSpec of HttpOperation {
        pub port: u16,
        /// Statuses by which the service promises that it did nothing. Any other that is not 2xx leaves open
        /// whether an operation happened.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub fail_status: Vec<u16>,
    }
}

/// How one operation is done; a 2xx status acknowledges it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpOperation {
    /// GET for what only reads, otherwise PUT, when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    pub path: Located<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Located<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Located<String>>,
    /// JSON pointer to what was asked for in the answer, such as `/kvs/0/value`; nothing there means that
    /// there is none. Without it, it is the whole body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where the answer is a list: JSON pointer to the value in each of its items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    #[serde(default, skip_serializing_if = "Decode::is_plain")]
    pub decode: Decode,
    /// Statuses that say that what was asked for does not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent_status: Vec<u16>,
    /// JSON pointer to a boolean: whether `cas` found what was expected; nothing there means no. Without it
    /// every 2xx status means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<String>,
    /// Statuses that say that `cas` found something else, such as 412.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatch_status: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
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

/// How values are encoded in the answer.
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

    fn text(self, raw: &str) -> Result<String, String> {
        match self {
            Decode::Plain => Ok(raw.to_owned()),
            Decode::Base64 => {
                let bytes = STANDARD.decode(raw).map_err(|_| format!("the value `{raw}` is not base64"))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }
}

/// The client made ready: one compiled template for each text of each request.
#[derive(Clone)]
struct HttpKind {
    shared: Arc<Shared>,
}

struct Shared {
    spec: HttpClientSpec,
    templates: Templates,
}

impl HttpOperation {
    /// Every template with its name.
    fn templates(&self, f: &str) -> impl Iterator<Item = (String, &Located<String>)> {
        let fixed = [("path", Some(&self.path)), ("body", self.body.as_ref())];
        let fixed = fixed.into_iter().filter_map(move |(part, text)| Some((format!("{f}/{part}"), text?)));
        fixed.chain(self.headers.iter().map(move |(name, text)| (format!("{f}/headers/{name}"), text)))
    }

    fn render(
        &self,
        operation: &Operation,
        templates: &Templates,
        context: &Context,
        host: String,
    ) -> Result<HttpRequest, tera::Error> {
        let render = |part: &str| templates.render(&format!("{}/{part}", operation.f), context);
        let headers = self
            .headers
            .keys()
            .map(|name| Ok((name.clone(), render(&format!("headers/{name}"))?)))
            .collect::<Result<_, tera::Error>>()?;
        let body = self.body.as_ref().map(|_| render("body")).transpose()?.unwrap_or_default().into_bytes();
        let usual = if operation.looks { HttpMethod::Get } else { HttpMethod::Put };
        let method = self.method.unwrap_or(usual).name().to_owned();
        Ok(HttpRequest { method, path: render("path")?, host, headers, body })
    }

    /// What the service's answer means for `request`.
    fn answer(&self, fail_status: &[u16], request: &Request, response: &HttpResponse) -> Answer {
        let (status, shape) = (response.status, request.operation.answer);
        // A write that found nothing to write to is not acknowledged; a removal is.
        let may_be_absent = shape != Shape::Nothing || request.f() == "delete";
        if may_be_absent && self.absent_status.contains(&status) {
            let nothing = shape.of_json(None);
            return nothing.map_or_else(|why| Answer::lost(request, why), Answer::ok);
        }
        if shape == Shape::Flag && self.mismatch_status.contains(&status) {
            return Answer::ok(json!(false));
        }
        if fail_status.contains(&status) {
            return Answer::fail(format!("status {status}"));
        }
        if !(200..300).contains(&status) {
            return Answer::lost(request, format!("status {status}"));
        }
        match self.output(shape, &response.body) {
            Ok(output) => Answer::ok(output),
            Err(why) => Answer::lost(request, why),
        }
    }

    fn output(&self, shape: Shape, body: &[u8]) -> Result<Value, String> {
        let pointer = match shape {
            Shape::Nothing => return Ok(Value::Null),
            Shape::Flag if self.success.is_none() => return Ok(json!(true)),
            Shape::Flag => self.success.as_deref(),
            Shape::Scalar | Shape::List | Shape::Balances => self.value.as_deref(),
        };
        let Some(pointer) = pointer else {
            return shape.of_text(&self.decode.text(String::from_utf8_lossy(body).trim())?);
        };
        let parsed: Value =
            serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
        match (shape, parsed.pointer(pointer)) {
            (Shape::List, Some(Value::Array(items))) => {
                let picked = items.iter().map(|item| self.item(item)).collect::<Result<Value, String>>()?;
                shape.of_json(Some(&picked))
            }
            (Shape::Scalar | Shape::List | Shape::Balances, Some(Value::String(text))) => {
                shape.of_text(&self.decode.text(text)?)
            }
            (_, found) => shape.of_json(found),
        }
    }

    fn item(&self, item: &Value) -> Result<Value, String> {
        let found = match &self.each {
            None => item,
            Some(pointer) => {
                item.pointer(pointer).ok_or_else(|| format!("an item of the list has no `{pointer}`"))?
            }
        };
        match found {
            Value::String(text) => Ok(Value::String(self.decode.text(text)?)),
            other => Ok(other.clone()),
        }
    }
}

impl Load for HttpClientSpec {
    fn load(&self, workload: &WorkloadSpec, path: &Path, text: &str) -> Result<Arc<dyn ClientKind>, BadFile> {
        let mut templates = Templates::new();
        let kind = workload.kind.kind();
        let mix = workload.mix.as_ref().map(|mix| &mix.value);
        for operation in kind.operations(mix).iter().chain([&kind.setup()]) {
            let Some(how) = self.operation(&operation.f) else { continue };
            for (name, template) in how.templates(&operation.f) {
                templates.add(&name, template, operation, path, text)?;
            }
        }
        Ok(Arc::new(HttpKind { shared: Arc::new(Shared { spec: self.clone(), templates }) }))
    }
}

impl ClientKind for HttpKind {
    fn can(&self, _: WorkloadKind, f: &str) -> bool {
        self.shared.spec.operation(f).is_some()
    }

    fn client(&self, _: WorkloadKind) -> Box<dyn Client> {
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
    async fn invoke(&mut self, site: Site<'_>, request: &Request, deadline: Instant) -> Answer {
        let Shared { spec, templates } = self.shared.as_ref();
        let Some(how) = spec.operation(request.f()) else {
            return Answer::fail(format!("the client has no {}", request.f()));
        };
        let node = site.here.node.as_str();
        let host = format!("{node}:{}", spec.port);
        let asked = how.render(&request.operation, templates, &variables(request, node), host);
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => return Answer::fail(format!("template: {error}")),
        };
        let kept = self.connection.take().filter(|(to, connection)| to == node && connection.is_usable());
        let mut connection = match kept {
            Some((_, connection)) => connection,
            None => {
                let stream = match site.here.dialer.dial(spec.port, deadline).await {
                    Ok(stream) => stream,
                    Err(error) => return Answer::fail(error.to_string()),
                };
                match HttpConnection::new(stream, deadline).await {
                    Ok(connection) => connection,
                    Err(error) => return Answer::fail(error.to_string()),
                }
            }
        };
        match connection.exchange(asked, deadline).await {
            Ok(response) => {
                self.connection = Some((node.to_owned(), connection));
                how.answer(&spec.fail_status, request, &response)
            }
            Err(error) if error.sent => Answer::lost(request, error.to_string()),
            Err(error) => Answer::fail(error.to_string()),
        }
    }
}
