//! The clients of databases against real servers on this machine.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::*;
use crate::guest::postgres::{PostgresConnection, PostgresLogin};
use crate::guest::redis::{RedisConnection, RedisReply};
use crate::guest::{DialError, Dialer, Stream};

/// Instances that are this machine.
struct Loopback;

#[async_trait]
impl Dialer for Loopback {
    async fn dial(&self, port: u16, deadline: Instant) -> Result<Box<dyn Stream>, DialError> {
        match timeout_at(deadline, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(_)) => Err(DialError::Refused),
            Err(_) => Err(DialError::TimedOut),
        }
    }
}

fn here() -> Target {
    Target {
        node: "db-1".to_owned(),
        role: "db".to_owned(),
        address: Ipv4Addr::LOCALHOST,
        dialer: Arc::new(Loopback),
        session: Arc::new(FakeNode::default()),
        further: Arc::new(|| Arc::new(FakeNode::default())),
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A server that dies with the test.
struct Server {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that the user `nobody` owns if we are root: PostgreSQL refuses to run as root.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    }
    dir
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn postgres() -> Server {
    let programs = std::fs::read_dir("/usr/lib/postgresql").expect("the package postgresql is installed");
    let mut versions: Vec<PathBuf> = programs.flatten().map(|version| version.path().join("bin")).collect();
    versions.sort();
    let bin = versions.pop().expect("a version of PostgreSQL is installed");
    let (dir, port) = (folder(), free_port());
    let data = dir.path().join("data");
    let made = as_nobody(&bin.join("initdb"))
        .args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"])
        .arg(&data)
        .current_dir("/")
        .status();
    assert!(made.unwrap().success());
    let socket = format!("unix_socket_directories={}", dir.path().display());
    let child = as_nobody(&bin.join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-c", "fsync=off", "-c", &socket])
        .current_dir("/")
        .spawn()
        .unwrap();
    Server { child, port, _dir: dir }
}

fn login() -> PostgresLogin {
    PostgresLogin { user: "postgres".to_owned(), database: "postgres".to_owned(), password: None }
}

async fn connected(server: &Server) -> PostgresConnection {
    let deadline = soon();
    loop {
        let stream = Loopback.dial(server.port, deadline).await;
        if let Ok(stream) = stream
            && let Ok(connection) = PostgresConnection::connect(stream, &login(), deadline).await
        {
            return connection;
        }
        assert!(Instant::now() < deadline, "the server does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// With the name of a server to watch, a sentinel.
fn redis(watched: Option<u16>) -> Server {
    let (dir, port) = (folder(), free_port());
    let config = dir.path().join("redis.conf");
    let own = match watched {
        Some(master) => format!("sentinel monitor main 127.0.0.1 {master} 1"),
        None => "save \"\"".to_owned(),
    };
    let text = format!("port {port}\nbind 127.0.0.1\ndir {}\n{own}\n", dir.path().display());
    std::fs::write(&config, text).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&config, Some(65534), Some(65534)).unwrap();
    }
    let mut command = as_nobody(Path::new("/usr/bin/redis-server"));
    command.arg(&config).args(watched.map(|_| "--sentinel"));
    Server { child: command.spawn().expect("the package redis-server is installed"), port, _dir: dir }
}

async fn answering(server: &Server) -> RedisConnection {
    let deadline = soon();
    loop {
        if let Ok(stream) = Loopback.dial(server.port, deadline).await {
            let mut connection = RedisConnection::new(stream);
            if connection.command(&["PING"], deadline).await == Ok(RedisReply::Status("PONG".to_owned())) {
                return connection;
            }
        }
        assert!(Instant::now() < deadline, "the server does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every kind that a database client knows, with what is expected of each.
const KINDS: &[(&str, &str)] = &[
    ("register", "linearizable"),
    ("key_value", "linearizable"),
    ("set", "set"),
    ("append", "append"),
    ("bank", "bank"),
    ("counter", "counter"),
    ("unique_ids", "unique_ids"),
    ("queue", "queue"),
];

/// Runs a workload of `kind` with some 200 operations and judges it.
async fn story(
    kind: &str,
    client: &str,
    expectation: &str,
) -> (Vec<Entry>, Vec<crate::journal::event::Judged>) {
    let text = format!(
        "kind: {kind}\nclients: 4\nkeys: 3\nrate: 2000/s\nops_per_key: 60\ntimeout: 20s\nclient: {{ {client} }}\n"
    );
    let workload = load(&text).unwrap_or_else(|bad| panic!("{bad}"));
    let targets = [here()];
    let entries = Arc::new(Mutex::new(Vec::new()));
    let prepared = prepare(&workload, &targets, soon()).await.unwrap();
    entries.lock().unwrap().push(Entry { at_us: 0, event: prepared });
    let (stop, start) = (CancellationToken::new(), Instant::now());
    let clock: Clock = Arc::new(move || start.elapsed().as_micros() as u64);
    let (into, enough) = (Arc::clone(&entries), stop.clone());
    let sink: Sink = Arc::new(move |op: OpRecord| {
        let mut entries = into.lock().unwrap();
        entries.push(Entry { at_us: op.completed_us, event: Event::Op(op) });
        if entries.len() > 200 {
            enough.cancel();
        }
    });
    let used = run_workload(&workload, &targets, Seed(7), clock.clone(), sink.clone(), stop).await;
    close(&workload, &targets, &used, clock, sink, soon()).await.unwrap();
    let entries = std::mem::take(&mut *entries.lock().unwrap());
    let expectations: Vec<Expectation> = parse_yaml(Path::new("e"), &format!("- {expectation}\n")).unwrap();
    let judged = judge(&expectations, &entries, Budget::default());
    (entries, judged)
}

async fn every_kind_passes(client: &str) {
    for (kind, expectation) in KINDS {
        let (entries, judged) = story(kind, client, expectation).await;
        assert_eq!(judged[0].verdict, Verdict::Pass, "{kind}: {judged:?}");
        let refused = entries.iter().filter_map(|entry| match &entry.event {
            Event::Op(op) if op.outcome != OpOutcome::Ok => Some(op),
            _ => None,
        });
        let odd: Vec<&OpRecord> = refused.filter(|op| !op.detail.contains("too little")).collect();
        assert!(odd.is_empty(), "{kind}: {odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_does_every_kind_and_its_errors_say_what_is_certain() {
    let server = postgres();
    let mut connection = connected(&server).await;
    every_kind_passes(&format!("postgres: {{ port: {} }}", server.port)).await;

    let refused = connection.query("SELECT nonsense", soon()).await.unwrap_err();
    assert!(refused.definite && refused.usable, "{refused:?}");
    connection.query("SET default_transaction_read_only = on", soon()).await.unwrap();
    let read_only = connection.query("CREATE TABLE x ()", soon()).await.unwrap_err();
    assert_eq!((read_only.definite, read_only.code.as_deref()), (true, Some("25006")), "{read_only:?}");

    let mut other = connected(&server).await;
    let late =
        other.query("SELECT pg_sleep(60)", Instant::now() + Duration::from_millis(100)).await.unwrap_err();
    assert!(!late.definite, "{late:?}");
    let mut third = connected(&server).await;
    let ended = third.query("SELECT pg_terminate_backend(pg_backend_pid())", soon()).await.unwrap_err();
    assert_eq!((ended.definite, ended.code.as_deref()), (false, Some("57P01")), "{ended:?}");

    // Nobody takes writes: certainly nothing happened.
    connection.query("ALTER SYSTEM SET default_transaction_read_only = on", soon()).await.unwrap();
    connection.query("SELECT pg_reload_conf()", soon()).await.unwrap();
    let text = format!("kind: set\nclient: {{ postgres: {{ port: {} }} }}\n", server.port);
    let refusal = prepare(&load(&text).unwrap(), &[here()], Instant::now()).await.unwrap_err();
    assert!(refusal.contains("takes no writes") || refusal.contains("deadline"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_does_every_kind_through_a_sentinel_and_a_replica_refuses() {
    let server = redis(None);
    let mut connection = answering(&server).await;
    let sentinel = redis(Some(server.port));
    answering(&sentinel).await;
    every_kind_passes(&format!(
        "redis: {{ port: 1, sentinel: {{ port: {}, master: main }} }}",
        sentinel.port
    ))
    .await;

    // Without a replica, nothing that waits for one is acknowledged.
    let client = format!("redis: {{ port: {}, wait: {{ replicas: 1, within: 10ms }} }}", server.port);
    let text =
        format!("kind: set\nclients: 1\nrate: 1000/s\nmix: {{ add: 1, read: 1 }}\nclient: {{ {client} }}\n");
    let records = some_records(&text, 10).await;
    assert!(
        records.iter().filter(|op| op.f == "add").all(|op| op.outcome == OpOutcome::Indeterminate),
        "{records:?}"
    );

    connection.command(&["REPLICAOF", "127.0.0.1", "1"], soon()).await.unwrap();
    let text =
        format!("kind: set\nclients: 1\nrate: 1000/s\nclient: {{ redis: {{ port: {} }} }}\n", server.port);
    let records = some_records(&text, 10).await;
    let adds: Vec<&OpRecord> = records.iter().filter(|op| op.f == "add").collect();
    assert!(!adds.is_empty() && adds.iter().all(|op| op.outcome == OpOutcome::Fail), "{adds:?}");
    assert!(adds[0].detail.starts_with("READONLY"), "{adds:?}");
}

async fn some_records(text: &str, count: usize) -> Vec<OpRecord> {
    let workload = load(text).unwrap_or_else(|bad| panic!("{bad}"));
    let records = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let (into, enough) = (Arc::clone(&records), stop.clone());
    let sink: Sink = Arc::new(move |op: OpRecord| {
        let mut records = into.lock().unwrap();
        records.push(op);
        if records.len() >= count {
            enough.cancel();
        }
    });
    let start = Instant::now();
    let clock: Clock = Arc::new(move || start.elapsed().as_micros() as u64);
    run_workload(&workload, &[here()], Seed(1), clock, sink, stop).await;
    let records = records.lock().unwrap();
    records.clone()
}

#[tokio::test]
async fn commands_tell_by_their_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let client = format!(
        "exec: {{ on: host, fail_exit: [9], add: {{ command: 'echo {{{{ value }}}} >> {0}/{{{{ key | quote }}}}' }}, \
         read: {{ command: 'cat {0}/{{{{ key }}}} || exit 9' }} }}",
        dir.path().display()
    );
    let (_, judged) = story("set", &client, "set").await;
    assert_eq!(judged[0].verdict, Verdict::Pass, "{judged:?}");

    let text = "kind: custom\nclients: 1\nrate: 1000/s\ntimeout: 100ms\nmix: { good: 1, bad: 1, open: 1, slow: 1 }\nclient:\n  exec:\n    on: host\n    fail_exit: [9]\n    operations:\n      good: { command: echo 5 }\n      bad: { command: exit 9 }\n      open: { command: exit 7 }\n      slow: { command: sleep 60 }\n";
    for op in some_records(text, 30).await {
        let wanted = match op.f.as_str() {
            "good" => OpOutcome::Ok,
            "bad" => OpOutcome::Fail,
            _ => OpOutcome::Indeterminate,
        };
        assert!(op.outcome == wanted || op.detail.contains("deadline"), "{op:?}");
        assert!(op.f != "good" || op.outcome != OpOutcome::Ok || op.output == json!(5), "{op:?}");
    }
}
