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

/// An instance that is this machine; with a port, all of its ports are that one.
struct Loopback(Option<u16>);

#[async_trait]
impl Dialer for Loopback {
    async fn dial(&self, port: u16, deadline: Instant) -> Result<Box<dyn Stream>, DialError> {
        let port = self.0.unwrap_or(port);
        match timeout_at(deadline, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(_)) => Err(DialError::Refused),
            Err(_) => Err(DialError::TimedOut),
        }
    }
}

fn here() -> Target {
    instance("db-1", None)
}

fn instance(node: &str, port: Option<u16>) -> Target {
    Target {
        node: node.to_owned(),
        role: "db".to_owned(),
        address: Ipv4Addr::LOCALHOST,
        dialer: Arc::new(Loopback(port)),
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
        let stream = Loopback(None).dial(server.port, deadline).await;
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
        if let Ok(stream) = Loopback(None).dial(server.port, deadline).await {
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
    before_the_end: impl AsyncFnOnce(),
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
    before_the_end().await;
    close(&workload, &targets, &used, clock, sink, soon()).await.unwrap();
    let entries = std::mem::take(&mut *entries.lock().unwrap());
    let expectations: Vec<Expectation> = parse_yaml(Path::new("e"), &format!("- {expectation}\n")).unwrap();
    let judged = judge(&expectations, &entries, Budget::default());
    (entries, judged)
}

async fn every_kind_passes(client: &str) {
    for (kind, expectation) in KINDS {
        let (entries, judged) = story(kind, client, expectation, async || ()).await;
        assert_eq!(judged[0].verdict, Verdict::Pass, "{kind}: {judged:?}");
        let refused = entries.iter().filter_map(|entry| match &entry.event {
            Event::Op(op) if op.outcome != OpOutcome::Ok => Some(op),
            _ => None,
        });
        // Of two transfers that meet half way, PostgreSQL ends one, and says so.
        let expected = |op: &&OpRecord| ["too little", "deadlock"].iter().any(|why| op.detail.contains(why));
        let odd: Vec<&OpRecord> = refused.filter(|op| !expected(op)).collect();
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
async fn what_was_in_a_postgres_table_that_is_gone_is_lost() {
    let server = postgres();
    let mut connection = connected(&server).await;
    let client = format!("postgres: {{ port: {} }}", server.port);
    let (_, judged) = story("register", &client, "no_acknowledged_write_lost", async || {
        connection.query("DROP TABLE ovenproof_register", soon()).await.unwrap();
    })
    .await;
    assert_eq!(judged[0].verdict, Verdict::Fail, "{judged:?}");
}

/// Lets the server take writes or not, as at a failover; returns when it does so.
async fn let_write(server: &Server, takes_writes: bool) {
    let mut connection = connected(server).await;
    let value = if takes_writes { "off" } else { "on" };
    let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
    connection.query("SET transaction_read_only = off", soon()).await.unwrap();
    connection.query(&sql, soon()).await.unwrap();
    connection.query("SELECT pg_reload_conf()", soon()).await.unwrap();
    let deadline = soon();
    loop {
        let answer = connected(server).await.query("SHOW transaction_read_only", soon()).await.unwrap();
        if answer.rows[0][0].as_deref() == Some(value) {
            return;
        }
        assert!(Instant::now() < deadline, "the server does not read its settings again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_finds_the_server_that_takes_writes_and_the_next_one_after_a_failover() {
    let (one, two) = (postgres(), postgres());
    let targets = [
        instance("refusing", Some(free_port())),
        instance("one", Some(one.port)),
        instance("two", Some(two.port)),
    ];
    let text = "kind: set\nclients: 3\nrate: 1000/s\ntimeout: 20s\nclient: { postgres: {} }\n";
    let workload = load(text).unwrap();
    for (reader, writer) in [((&one, "one"), (&two, "two")), ((&two, "two"), (&one, "one"))] {
        let_write(writer.0, true).await;
        let_write(reader.0, false).await;
        prepare(&workload, &targets, soon()).await.unwrap();
        let records = records_of(text, &targets, 30).await;
        assert!(records.iter().all(|op| op.outcome == OpOutcome::Ok && op.node == writer.1), "{records:?}");
    }

    // The same client before and after: what it tries in between certainly did not happen.
    let mut client = workload.client.client(WorkloadKind::Set);
    let operation = workload.menu.get("add").unwrap();
    let add =
        |value: i64| Request { key: "k".to_owned(), operation: Arc::clone(&operation), input: json!(value) };
    let site = Site { here: &targets[0], role: &targets, all: &targets };
    let before = client.invoke(site, &add(1), soon()).await;
    assert_eq!((before.outcome, before.node.as_deref()), (OpOutcome::Ok, Some("one")), "{before:?}");
    let_write(&one, false).await;
    let_write(&two, true).await;
    let between = client.invoke(site, &add(2), soon()).await;
    assert_eq!((between.outcome, between.node.as_deref()), (OpOutcome::Fail, Some("one")), "{between:?}");
    let after = client.invoke(site, &add(3), soon()).await;
    assert_eq!((after.outcome, after.node.as_deref()), (OpOutcome::Ok, Some("two")), "{after:?}");
    // Nobody is left.
    drop(two);
    let nobody = workload.client.client(WorkloadKind::Set).invoke(site, &add(4), soon()).await;
    assert_eq!(nobody.outcome, OpOutcome::Fail);
    for part in ["refusing: connection refused", "one: takes no writes", "two: connection refused"] {
        assert!(nobody.detail.contains(part), "{nobody:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_keeps_silent_may_have_done_what_it_was_asked() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let text = format!(
        "kind: set\nclients: 2\nrate: 1000/s\ntimeout: 100ms\nclient: {{ redis: {{ port: {port} }} }}\n"
    );
    let records = some_records(&text, 12).await;
    for op in &records {
        // A read changes nothing, whether it was heard or not.
        let wanted = if op.f == "add" { OpOutcome::Indeterminate } else { OpOutcome::Fail };
        assert_eq!((op.outcome, op.detail.as_str()), (wanted, "no answer before the deadline"), "{op:?}");
    }
    assert!(records.iter().any(|op| op.f == "add"), "{records:?}");
    silent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_looks_for_the_master_again_when_the_one_that_it_was_told_is_none() {
    let server = redis(None);
    let mut connection = answering(&server).await;
    let sentinel = redis(Some(server.port));
    answering(&sentinel).await;
    let text = format!(
        "kind: set\nclient: {{ redis: {{ port: 1, sentinel: {{ port: {}, master: main }} }} }}\n",
        sentinel.port
    );
    let workload = load(&text).unwrap();
    let operation = workload.menu.get("add").unwrap();
    let add =
        |value: i64| Request { key: "k".to_owned(), operation: Arc::clone(&operation), input: json!(value) };
    let targets = [here()];
    let site = Site { here: &targets[0], role: &targets, all: &targets };
    let mut client = workload.client.client(WorkloadKind::Set);
    assert_eq!(client.invoke(site, &add(1), soon()).await.outcome, OpOutcome::Ok);

    // The master is none any more, and the sentinel does not know yet.
    connection.command(&["REPLICAOF", "127.0.0.1", "1"], soon()).await.unwrap();
    let refused = client.invoke(site, &add(2), soon()).await;
    assert_eq!(refused.outcome, OpOutcome::Fail, "{refused:?}");
    assert!(refused.detail.starts_with("READONLY"), "{refused:?}");
    let misled = client.invoke(site, &add(3), soon()).await;
    assert_eq!(misled.outcome, OpOutcome::Fail, "{misled:?}");
    assert!(misled.detail.contains("is not the master that the sentinels say it is"), "{misled:?}");

    connection.command(&["REPLICAOF", "NO", "ONE"], soon()).await.unwrap();
    assert_eq!(client.invoke(site, &add(4), soon()).await.outcome, OpOutcome::Ok);
    let members = connection.command(&["SMEMBERS", "k"], soon()).await.unwrap();
    let members: std::collections::BTreeSet<String> =
        members.items().iter().filter_map(RedisReply::text).collect();
    assert_eq!(members, ["1", "4"].map(str::to_owned).into());
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
    records_of(text, &[here()], count).await
}

async fn records_of(text: &str, targets: &[Target], count: usize) -> Vec<OpRecord> {
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
    run_workload(&workload, targets, Seed(1), clock, sink, stop).await;
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
    let (_, judged) = story("set", &client, "set", async || ()).await;
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
