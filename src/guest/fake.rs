//! An instance that lives in the test: an HTTP service behind an in-memory connection.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::{DialError, Dialer, ExecOutput, ExitStatus, Session, SessionError, Stream};

/// What the service does with one request.
pub(crate) enum Reply {
    Answer(u16, String),
    /// Closes the connection without an answer.
    Hang,
}

/// Takes `METHOD PATH` and the body.
pub(crate) type Service = Arc<dyn Fn(&str, &str) -> Reply + Send + Sync>;

/// A node whose ports are all served by `service`; without one, connections are refused.
#[derive(Clone, Default)]
pub(crate) struct FakeNode {
    pub(crate) service: Option<Service>,
}

#[async_trait]
impl Dialer for FakeNode {
    async fn dial(&self, _port: u16, _deadline: Instant) -> Result<Box<dyn Stream>, DialError> {
        let service = self.service.clone().ok_or(DialError::Refused)?;
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(server, service));
        Ok(Box::new(client))
    }
}

/// Answers until the other side closes. Knows just enough HTTP for our own client.
async fn serve(mut server: DuplexStream, service: Service) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(server.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        server.read_exact(&mut body).await.ok()?;
        let request = head.lines().next()?.trim_end_matches(" HTTP/1.1");
        match service(request, std::str::from_utf8(&body).ok()?) {
            Reply::Hang => return None,
            Reply::Answer(status, body) => {
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                server.write_all(answer.as_bytes()).await.ok()?;
            }
        }
    }
}

#[async_trait]
impl Session for FakeNode {
    /// Knows `echo TEXT`; everything else exits with 1 and complains.
    async fn exec(&self, command: &str, _deadline: Instant) -> Result<ExecOutput, SessionError> {
        let output = |code, stdout: &str, stderr: &str| ExecOutput {
            status: ExitStatus::Code(code),
            stdout: stdout.as_bytes().to_vec(),
            stderr: stderr.as_bytes().to_vec(),
        };
        Ok(match command.strip_prefix("echo ") {
            Some(text) => output(0, &format!("{text}\n"), ""),
            None => output(1, "", "no such command\n"),
        })
    }

    async fn put(&self, _: &str, _: &[u8], _: u32, _: Instant) -> Result<(), SessionError> {
        Err(SessionError::Connect("no files here".to_owned()))
    }

    async fn get(&self, _: &str, _: Instant) -> Result<Vec<u8>, SessionError> {
        Err(SessionError::Connect("no files here".to_owned()))
    }
}
