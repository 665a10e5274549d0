//! What moto never does, done in front of it: calls refused, lost on the way there or back. Counts the calls.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// Answered with an error and never done.
    Refuse(u16, &'static str),
    /// Neither done nor answered.
    LoseCall,
    /// Done, and the answer is lost.
    LoseAnswer,
    /// Done and answered, and the test is told.
    PassAndTell,
}

/// Decides by the number of a call, from 0, and its name.
type Decide = dyn Fn(usize, &str) -> Fate + Send + Sync;

/// A proxy; it lives until the test's process ends.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// Says so when a call was lost or its fate is to be told, after what was to be done for it is done.
    pub(crate) lost: Receiver<()>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn before(
        upstream: &str,
        decide: impl Fn(usize, &str) -> Fate + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (tell, lost) = mpsc::channel();
        let proxy = Proxy { url, lost, calls: calls.clone() };
        let (upstream, decide): (_, Arc<Decide>) = (upstream.replace("http://", ""), Arc::new(decide));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (upstream, decide) = (upstream.clone(), decide.clone());
                let (calls, tell) = (calls.clone(), tell.clone());
                // A client that was killed is no error of the proxy's.
                thread::spawn(move || serve(connection, &upstream, &*decide, &calls, &tell));
            }
        });
        proxy
    }

    /// The names of all calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("calls").clone()
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.calls().iter().filter(|call| *call == name).count()
    }
}

/// One call a connection: the client is told to open another for the next.
fn serve(
    mut client: TcpStream,
    upstream: &str,
    decide: &Decide,
    calls: &Mutex<Vec<String>>,
    tell: &Sender<()>,
) -> Option<()> {
    let (head, body) = request(&mut client)?;
    let name = name(&head, &body);
    let number = {
        let mut calls = calls.lock().expect("calls");
        calls.push(name.clone());
        calls.len() - 1
    };
    let fate = decide(number, &name);
    match fate {
        Fate::LoseCall => return tell.send(()).ok(),
        Fate::Refuse(status, code) => {
            let (kind, text) = match name.contains("Snapshot")
                && head.starts_with('P')
                && !head.starts_with("POST / ")
            {
                true => ("application/json", format!("{{\"Message\":\"refused\",\"Reason\":\"{code}\"}}")),
                false => (
                    "text/xml",
                    format!(
                        "<Response><Errors><Error><Code>{code}</Code><Message>refused</Message></Error></Errors>\
                         <RequestID>1</RequestID></Response>"
                    ),
                ),
            };
            let answer = format!(
                "HTTP/1.1 {status} refused\r\nContent-Type: {kind}\r\nx-amzn-ErrorType: {code}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            return client.write_all(answer.as_bytes()).ok();
        }
        Fate::Pass | Fate::LoseAnswer | Fate::PassAndTell => {}
    }
    let mut server = TcpStream::connect(upstream).ok()?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).and_then(|()| server.write_all(&body)).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    if fate != Fate::LoseAnswer {
        client.write_all(&answer).ok()?;
    }
    if fate == Fate::Pass { Some(()) } else { tell.send(()).ok() }
}

/// The head of a request with its empty line, and the body.
fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 1 << 16]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end + 4)?).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Some((head, bytes.split_off(end + 4)));
            }
        }
        let read = client.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(piece.get(..read)?);
    }
}

fn name(head: &str, body: &[u8]) -> String {
    let line = head.lines().next().unwrap_or_default();
    let name = match line.split(' ').nth(1).unwrap_or_default() {
        "/snapshots" => "StartSnapshot",
        path if path.starts_with("/snapshots/completion/") => "CompleteSnapshot",
        path if path.starts_with("/snapshots/") => "PutSnapshotBlock",
        _ => {
            let body = String::from_utf8_lossy(body).into_owned();
            let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
            return action.unwrap_or(line).to_owned();
        }
    };
    name.to_owned()
}
