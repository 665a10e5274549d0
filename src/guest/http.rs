//! HTTP/1.1 over a stream that somebody else opened.
//!
//! This module never opens a socket, never retries and never follows redirects: who asks decides what an
//! answer means. What it does promise is to say, when an exchange failed, whether any byte of the request
//! had been handed to the network, because only then may the service have acted on it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::Stream;

/// A longer answer is refused: probes and workload clients never need one, and memory stays bounded.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What to ask. `host` goes into the `Host` header; a `Content-Length` is added by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: String,
    /// Path and query, starting with `/`.
    pub path: String,
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// A request without a body.
    pub fn get(host: impl Into<String>, path: impl Into<String>) -> Self {
        HttpRequest {
            method: "GET".to_owned(),
            path: path.into(),
            host: host.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// What was answered, whatever the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Why there was no answer. The connection is spent after any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct HttpError {
    /// Whether bytes of the request were handed to the network: if not, the service cannot have acted.
    pub sent: bool,
    pub kind: HttpErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpErrorKind {
    /// The method, path or a header cannot stand in an HTTP request.
    #[error("not a valid request: {0}")]
    BadRequest(String),
    #[error("no answer before the deadline")]
    TimedOut,
    /// The other side closed or reset the connection.
    #[error("connection lost: {0}")]
    Lost(String),
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    #[error("the answer is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
}

/// Sends one request over `stream` and reads the whole answer, at most 1 MiB, before `deadline`.
pub async fn exchange(
    stream: Box<dyn Stream>,
    request: HttpRequest,
    deadline: Instant,
) -> Result<HttpResponse, HttpError> {
    HttpConnection::new(stream, deadline).await?.exchange(request, deadline).await
}

type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// A connection kept for several requests, one after another.
pub struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; polled only while a request is under way. `None` once it ended.
    driver: Option<Driver>,
    wrote: Arc<AtomicBool>,
}

impl HttpConnection {
    /// Prepares `stream`; nothing is sent yet.
    pub async fn new(stream: Box<dyn Stream>, deadline: Instant) -> Result<Self, HttpError> {
        let wrote = Arc::new(AtomicBool::new(false));
        let io = TokioIo::new(Watched { stream, wrote: Arc::clone(&wrote) });
        let unsent = |kind| HttpError { sent: false, kind };
        let (sender, connection) = timeout_at(deadline, http1::handshake(io))
            .await
            .map_err(|_| unsent(HttpErrorKind::TimedOut))?
            .map_err(|error| unsent(classify(&error)))?;
        Ok(HttpConnection { sender, driver: Some(Box::pin(connection)), wrote })
    }

    /// Whether another request may be tried; a connection that the other side closed meanwhile is only
    /// noticed by the next exchange, which then fails with `sent: false`.
    pub fn is_usable(&self) -> bool {
        self.driver.is_some() && !self.sender.is_closed()
    }

    /// Sends one request and reads the whole answer before `deadline`. After an error the connection
    /// must be dropped: a late answer would be taken for that of the next request.
    pub async fn exchange(
        &mut self,
        request: HttpRequest,
        deadline: Instant,
    ) -> Result<HttpResponse, HttpError> {
        self.wrote.store(false, Ordering::Relaxed);
        let result = match timeout_at(deadline, self.drive(request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpErrorKind::TimedOut),
        };
        result.map_err(|kind| {
            self.driver = None;
            HttpError { sent: self.wrote.load(Ordering::Relaxed), kind }
        })
    }

    async fn drive(&mut self, request: HttpRequest) -> Result<HttpResponse, HttpErrorKind> {
        let mut builder =
            Request::builder().method(request.method.as_str()).uri(request.path).header("host", request.host);
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        let request = builder
            .body(Full::new(Bytes::from(request.body)))
            .map_err(|error| HttpErrorKind::BadRequest(error.to_string()))?;
        let sender = &mut self.sender;
        let answer = async {
            sender.ready().await.map_err(|error| classify(&error))?;
            let response = sender.send_request(request).await.map_err(|error| classify(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<hyper::Error>() {
                Some(error) => classify(error),
                None if error.is::<LengthLimitError>() => HttpErrorKind::TooLong,
                None => HttpErrorKind::Lost(error.to_string()),
            })?;
            Ok(HttpResponse { status, body: body.to_bytes().to_vec() })
        };
        let mut answer = std::pin::pin!(answer);
        let Some(driver) = self.driver.as_mut() else {
            return Err(HttpErrorKind::Lost("closed before the request".to_owned()));
        };
        tokio::select! {
            biased;
            result = &mut answer => return result,
            _ = driver => {}
        }
        // The connection ended; whatever it had received is still to be read, or the error to be told.
        self.driver = None;
        answer.await
    }
}

fn classify(error: &hyper::Error) -> HttpErrorKind {
    // The outer text is only a category; the cause says what happened.
    let text = match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    };
    match error {
        e if e.is_parse() || e.is_parse_status() => HttpErrorKind::NotHttp(text),
        e if e.is_user() => HttpErrorKind::BadRequest(text),
        _ => HttpErrorKind::Lost(text),
    }
}

/// A stream that remembers whether anything was written to it.
struct Watched {
    stream: Box<dyn Stream>,
    wrote: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.wrote.store(true, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    async fn read_request(server: &mut DuplexStream) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(server.read_u8().await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_and_the_connection_serves_again() {
        let (client, mut server) = tokio::io::duplex(64);
        let service = tokio::spawn(async move {
            let first = read_request(&mut server).await;
            server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
            let second = read_request(&mut server).await;
            server.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            (first, second)
        });
        let mut connection = HttpConnection::new(Box::new(client), soon()).await.unwrap();
        let answer = connection.exchange(HttpRequest::get("etcd-1", "/health"), soon()).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));
        let answer = connection.exchange(HttpRequest::get("etcd-1", "/again"), soon()).await.unwrap();
        assert_eq!(answer.status, 503);
        let (first, second) = service.await.unwrap();
        assert!(first.starts_with("GET /health HTTP/1.1\r\nhost: etcd-1\r\n"), "{first}");
        assert!(second.starts_with("GET /again "), "{second}");
    }

    #[tokio::test]
    async fn errors_tell_whether_the_service_may_have_acted() {
        // Closed before anything was written.
        let (client, server) = tokio::io::duplex(4096);
        drop(server);
        let error = exchange(Box::new(client), HttpRequest::get("a", "/"), soon()).await.unwrap_err();
        assert!(!error.sent, "{error:?}");

        // Read the request, then died.
        let (client, mut server) = tokio::io::duplex(4096);
        let service = tokio::spawn(async move { read_request(&mut server).await });
        let error = exchange(Box::new(client), HttpRequest::get("a", "/"), soon()).await.unwrap_err();
        assert!(error.sent && matches!(error.kind, HttpErrorKind::Lost(_)), "{error:?}");
        service.await.unwrap();

        // Never answers.
        let (client, _server) = tokio::io::duplex(4096);
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = exchange(Box::new(client), HttpRequest::get("a", "/"), deadline).await.unwrap_err();
        assert_eq!(error, HttpError { sent: true, kind: HttpErrorKind::TimedOut });

        // Cannot even be written down.
        let (client, _server) = tokio::io::duplex(4096);
        let error = exchange(Box::new(client), HttpRequest::get("a\n", "/"), soon()).await.unwrap_err();
        assert!(!error.sent && matches!(error.kind, HttpErrorKind::BadRequest(_)), "{error:?}");
    }

    #[tokio::test]
    async fn endless_and_foreign_answers_are_refused() {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let service = tokio::spawn(async move {
            read_request(&mut server).await;
            server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while server.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
        });
        let error = exchange(Box::new(client), HttpRequest::get("a", "/"), soon()).await.unwrap_err();
        assert_eq!(error.kind, HttpErrorKind::TooLong);
        service.await.unwrap();

        let (client, mut server) = tokio::io::duplex(4096);
        server.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        let error = exchange(Box::new(client), HttpRequest::get("a", "/"), soon()).await.unwrap_err();
        assert!(matches!(error.kind, HttpErrorKind::NotHttp(_) | HttpErrorKind::Lost(_)), "{error:?}");
    }
}
