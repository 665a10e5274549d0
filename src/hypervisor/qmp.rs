//! QEMU's control protocol: one JSON object a line, answers matched to questions by id, events in between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("QEMU has ended")]
    Closed,
    #[error("QEMU did not answer `{0}` in time")]
    TimedOut(String),
    #[error("QEMU refused `{command}`: {reason}")]
    Refused { command: String, reason: String },
}

/// Something that happened in the machine, such as `RESET` or `STOP`.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub name: String,
    pub data: Value,
    /// On QEMU's clock.
    pub at: Duration,
}

#[derive(Deserialize)]
struct Message {
    id: Option<u64>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Timestamp {
    seconds: u64,
    microseconds: u64,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

type Answer = oneshot::Sender<Result<Value, String>>;

/// Questions under way; `None` once the connection has ended.
type Pending = Arc<Mutex<Option<HashMap<u64, Answer>>>>;

/// A connection to one QEMU.
pub(crate) struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Pending,
    events: broadcast::Sender<Event>,
    next: AtomicU64,
}

impl Qmp {
    /// Takes over a fresh connection; returns once QEMU accepts commands.
    pub(crate) async fn start(stream: UnixStream, limit: Duration) -> Result<Self, QmpError> {
        let (reader, writer) = stream.into_split();
        let pending: Pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let (events, _) = broadcast::channel(64);
        tokio::spawn(read(BufReader::new(reader), pending.clone(), events.clone()));
        let writer = tokio::sync::Mutex::new(writer);
        let qmp = Qmp { writer, pending, events, next: AtomicU64::new(1) };
        // QEMU greets first, but takes the command that ends the greeting at any time.
        qmp.execute_within("qmp_capabilities", Value::Null, limit).await?;
        Ok(qmp)
    }

    /// Events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        // Generous: on a machine with more VMs than processors QEMU's main loop may have to wait.
        self.execute_within(command, arguments, Duration::from_secs(20)).await
    }

    async fn execute_within(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut request = json!({ "execute": command, "id": id });
        if let (Some(request), false) = (request.as_object_mut(), arguments.is_null()) {
            request.insert("arguments".to_owned(), arguments);
        }
        let (sender, receiver) = oneshot::channel();
        match lock(&self.pending).as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(QmpError::Closed),
        };
        let exchange = async {
            let line = format!("{request}\n");
            self.writer.lock().await.write_all(line.as_bytes()).await.map_err(|_| QmpError::Closed)?;
            receiver.await.map_err(|_| QmpError::Closed)
        };
        let answer = timeout(limit, exchange).await;
        if let Some(pending) = lock(&self.pending).as_mut() {
            pending.remove(&id);
        }
        match answer {
            Err(_) => Err(QmpError::TimedOut(command.to_owned())),
            Ok(Err(error)) => Err(error),
            Ok(Ok(answer)) => {
                answer.map_err(|reason| QmpError::Refused { command: command.to_owned(), reason })
            }
        }
    }
}

fn lock(pending: &Pending) -> std::sync::MutexGuard<'_, Option<HashMap<u64, Answer>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(mut reader: BufReader<OwnedReadHalf>, pending: Pending, events: broadcast::Sender<Event>) {
    let mut line = String::new();
    while reader.read_line(&mut line).await.is_ok_and(|count| count > 0) {
        // What we do not know, such as the greeting, is not for us.
        if let Ok(message) = serde_json::from_str::<Message>(&line) {
            dispatch(message, &pending, &events);
        }
        line.clear();
    }
    // Whoever still waits learns that no answer will come.
    lock(&pending).take();
}

fn dispatch(message: Message, pending: &Pending, events: &broadcast::Sender<Event>) {
    if let Some(name) = message.event {
        let at = message.timestamp.map_or(Duration::ZERO, |at| {
            Duration::from_secs(at.seconds) + Duration::from_micros(at.microseconds)
        });
        // Nobody needs to listen.
        let _ = events.send(Event { name, data: message.data, at });
        return;
    }
    let Some(id) = message.id else { return };
    let answer = match message.error {
        Some(refusal) => Err(refusal.desc),
        None => Ok(message.value.unwrap_or(Value::Null)),
    };
    if let Some(waiting) = lock(pending).as_mut().and_then(|pending| pending.remove(&id)) {
        // The asker may have given up.
        let _ = waiting.send(answer);
    }
}

/// Reads the table of QEMU's `info usernet`, such as
/// `  TCP[HOST_FORWARD]  12  127.0.0.1 35041  10.0.2.15    22     0     0`.
pub(crate) fn forwarded_port(table: &str) -> Option<u16> {
    let line = table.lines().find(|line| line.trim_start().starts_with("TCP[HOST_FORWARD]"))?;
    line.split_whitespace().nth(3)?.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each command by what `answers` says; sends an event before each answer.
    async fn fake(stream: UnixStream, answers: fn(&str) -> Option<Value>) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(b"{\"QMP\": {\"version\": {}}}\nnot json\n").await.unwrap();
        while let Ok(Some(line)) = lines.next_line().await {
            let request: Value = serde_json::from_str(&line).unwrap();
            let Some(mut answer) = answers(request["execute"].as_str().unwrap()) else { continue };
            if answer.is_null() {
                return;
            }
            answer["id"] = request["id"].clone();
            let text = format!(
                "{{\"event\": \"RESET\", \"timestamp\": {{\"seconds\": 7, \"microseconds\": 5}}}}\n{answer}\n"
            );
            writer.write_all(text.as_bytes()).await.unwrap();
        }
    }

    async fn connected(answers: fn(&str) -> Option<Value>) -> Qmp {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(fake(theirs, answers));
        Qmp::start(ours, Duration::from_secs(5)).await.unwrap()
    }

    #[tokio::test]
    async fn answers_refusals_and_events_find_who_waits_for_them() {
        let qmp = connected(|command| {
            Some(match command {
                "query-status" => json!({ "return": { "status": "paused" } }),
                "dance" => json!({ "error": { "class": "GenericError", "desc": "no legs" } }),
                _ => json!({ "return": {} }),
            })
        })
        .await;
        let mut events = qmp.events();
        let (status, dance) =
            tokio::join!(qmp.execute("query-status", Value::Null), qmp.execute("dance", json!({ "a": 1 })));
        assert_eq!(status.unwrap()["status"], "paused");
        assert_eq!(dance.unwrap_err().to_string(), "QEMU refused `dance`: no legs");
        let event = events.recv().await.unwrap();
        assert_eq!((event.name.as_str(), event.at), ("RESET", Duration::from_micros(7_000_005)));
    }

    #[tokio::test]
    async fn a_qemu_that_ends_or_falls_silent_keeps_nobody_waiting() {
        let qmp = connected(|command| match command {
            "quit" => Some(Value::Null),
            "hang" => None,
            _ => Some(json!({ "return": {} })),
        })
        .await;
        let hang = qmp.execute_within("hang", Value::Null, Duration::from_millis(50)).await;
        assert_eq!(hang.unwrap_err(), QmpError::TimedOut("hang".to_owned()));
        assert_eq!(qmp.execute("quit", Value::Null).await.unwrap_err(), QmpError::Closed);
        assert_eq!(qmp.execute("stop", Value::Null).await.unwrap_err(), QmpError::Closed);
    }

    #[test]
    fn the_forwarded_port_is_read_from_qemus_table() {
        let table = "Hub -1 (mgmt):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  TCP[HOST_FORWARD]  13       127.0.0.1 40123       10.0.2.15    22     0     0\n";
        assert_eq!(forwarded_port(table), Some(40123));
        assert_eq!(forwarded_port("nothing"), None);
    }
}
