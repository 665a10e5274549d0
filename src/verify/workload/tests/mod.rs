//! Workloads against services that live in the test: an honest one, and ones that are not.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client, Site};
use super::operation::Request;
use super::*;

mod pace;
mod servers;
use crate::diagnostic::parse_yaml;
use crate::guest::fake::{FakeNode, Reply, Service};
use crate::journal::{Entry, Event, OpOutcome, OpRecord, Verdict};
use crate::seed::Seed;
use crate::verify::{Budget, Clock, Expectation, Target, judge};

const ETCD: &str = r#"
kind: register
clients: 4
keys: 3
rate: 2000/s
ops_per_key: 40
timeout: 200ms
client:
  http:
    port: 2379
    read:
      method: POST
      path: /v3/kv/range
      body: '{"key": "{{ key | b64 }}"}'
      value: /kvs/0/value
      decode: base64
    write:
      method: POST
      path: /v3/kv/put
      body: '{"key": "{{ key | b64 }}", "value": "{{ value | b64 }}"}'
    cas:
      method: POST
      path: /v3/kv/txn
      body: '{"key": "{{ key | b64 }}", "expected": "{{ expected | b64 }}", "value": "{{ value | b64 }}"}'
      success: /succeeded
    fail_status: [503]
"#;

fn load(text: &str) -> Result<Workload, String> {
    let path = Path::new("s.yaml");
    let spec: WorkloadSpec = parse_yaml(path, text).map_err(|bad| bad.to_string())?;
    Workload::load(&spec, path, text).map_err(|bad| bad.to_string())
}

type Store = Arc<Mutex<HashMap<String, String>>>;

/// A store in the manner of etcd. `misbehave` may answer instead, told how many requests came before and
/// given the means to do what was asked.
fn etcd(
    store: &Store,
    misbehave: impl Fn(usize, &dyn Fn() -> Reply) -> Reply + Send + Sync + 'static,
) -> Service {
    let store = Arc::clone(store);
    let requests = Mutex::new(0);
    Arc::new(move |request, body| {
        let body: Value = serde_json::from_str(body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let number = {
            let mut requests = requests.lock().unwrap();
            *requests += 1;
            *requests
        };
        let act = || {
            let mut store = store.lock().unwrap();
            let answer = match request.rsplit('/').next().unwrap() {
                "range" => match store.get(&text("key")) {
                    Some(value) => json!({ "kvs": [{ "key": text("key"), "value": value }] }),
                    None => json!({}),
                },
                "put" => {
                    store.insert(text("key"), text("value"));
                    json!({})
                }
                _ if store.get(&text("key")) == Some(&text("expected")) => {
                    store.insert(text("key"), text("value"));
                    json!({ "succeeded": true })
                }
                _ => json!({}),
            };
            Reply::Answer(200, answer.to_string())
        };
        misbehave(number, &act)
    })
}

fn target(index: usize, service: Option<Service>) -> Target {
    let node = FakeNode { service };
    Target {
        node: format!("etcd-{index}"),
        role: "etcd".to_owned(),
        address: [10, 77, 0, 11].into(),
        dialer: Arc::new(node.clone()),
        session: Arc::new(node.clone()),
        further: Arc::new(move || Arc::new(node.clone())),
    }
}

/// Runs the workload until `count` operations are recorded, then reads every key once more.
async fn run(targets: &[Target], count: usize) -> Vec<OpRecord> {
    let workload = load(ETCD).unwrap();
    let records = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let start = Instant::now();
    let clock: Clock = Arc::new(move || start.elapsed().as_micros() as u64);
    let (sink, enough) = (Arc::clone(&records), stop.clone());
    let sink: Sink = Arc::new(move |record| {
        let mut records = sink.lock().unwrap();
        records.push(record);
        if records.len() >= count {
            enough.cancel();
        }
    });
    let used = run_workload(&workload, targets, Seed(7), clock.clone(), sink.clone(), stop).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    close(&workload, targets, &used, clock, sink, deadline).await.unwrap();
    let records = records.lock().unwrap();
    records.clone()
}

fn verdicts(records: &[OpRecord]) -> Vec<Verdict> {
    let entries: Vec<Entry> = records
        .iter()
        .map(|record| Entry { at_us: record.completed_us, event: Event::Op(record.clone()) })
        .collect();
    let expectations = [Expectation::NoAcknowledgedWriteLost, Expectation::Linearizable];
    judge(&expectations, &entries, Budget::default()).into_iter().map(|judged| judged.verdict).collect()
}

#[tokio::test]
async fn an_honest_service_passes_and_its_history_is_well_formed() {
    let store = Store::default();
    let service = etcd(&store, |_, act| act());
    let targets: Vec<Target> = (1..=3).map(|index| target(index, Some(service.clone()))).collect();
    let records = run(&targets, 600).await;
    assert_eq!(verdicts(&records), [Verdict::Pass, Verdict::Pass]);
    assert!(records.iter().all(|record| record.outcome == OpOutcome::Ok));
    for f in ["read", "write", "cas"] {
        assert!(records.iter().filter(|record| record.f == f).count() > 50, "{f}");
    }
    assert!(records.iter().any(|record| record.f == "cas" && record.output == json!(true)));
    // Every value is written once; every register is left alone after its share of operations.
    let mut written: Vec<String> =
        records.iter().filter(|record| record.f == "write").map(|record| record.input.to_string()).collect();
    let all = written.len();
    written.sort();
    written.dedup();
    assert_eq!(written.len(), all);
    let mut per_key: HashMap<&str, usize> = HashMap::new();
    for record in &records {
        *per_key.entry(&record.key).or_default() += 1;
    }
    assert!(per_key.len() >= 600 / 40 && per_key.values().all(|ops| *ops <= 41), "{per_key:?}");
    // All nodes were used, and one process had one operation under way.
    for target in &targets {
        assert!(records.iter().any(|record| record.node == target.node));
    }
    let key = STANDARD.encode("register-0-0");
    assert!(store.lock().unwrap().contains_key(&key));
}

#[tokio::test]
async fn lost_answers_are_indeterminate_and_processes_start_anew() {
    let store = Store::default();
    // Every ninth request is carried out or not, and never answered; every tenth is refused.
    let flaky = etcd(&store, |number, act| match number {
        n if n % 9 == 0 => {
            if n % 2 == 0 {
                act();
            }
            Reply::Hang
        }
        n if n % 10 == 0 => Reply::Answer(503, String::new()),
        _ => act(),
    });
    let records = run(&[target(1, Some(flaky)), target(2, None)], 600).await;
    assert_eq!(verdicts(&records), [Verdict::Pass, Verdict::Pass]);
    let of = |outcome| records.iter().filter(move |record| record.outcome == outcome);
    assert!(of(OpOutcome::Indeterminate).count() > 10);
    assert!(of(OpOutcome::Indeterminate).all(|record| record.f != "read"));
    assert!(of(OpOutcome::Fail).any(|record| record.detail == "status 503"));
    assert!(
        of(OpOutcome::Fail).any(|record| record.detail == "connection refused" && record.node == "etcd-2")
    );
    for lost in of(OpOutcome::Indeterminate) {
        let later = records.iter().filter(|record| record.invoked_us > lost.completed_us);
        assert!(later.into_iter().all(|record| record.process != lost.process), "{lost:?}");
    }
}

#[tokio::test]
async fn a_service_that_forgets_is_found_out() {
    let store = Store::default();
    let forgetful = Arc::clone(&store);
    let service = etcd(&store, move |number, act| {
        if number % 150 == 0 {
            forgetful.lock().unwrap().clear();
        }
        act()
    });
    let records = run(&[target(1, Some(service))], 600).await;
    assert_eq!(verdicts(&records), [Verdict::Fail, Verdict::Fail]);
}

/// The real client with a bug: each one crashes at its third operation.
struct Crashing(Arc<dyn ClientKind>);

impl ClientKind for Crashing {
    fn can(&self, kind: WorkloadKind, f: &str) -> bool {
        self.0.can(kind, f)
    }

    fn client(&self, kind: WorkloadKind) -> Box<dyn Client> {
        Box::new(CrashingClient { inner: self.0.client(kind), done: 0 })
    }
}

struct CrashingClient {
    inner: Box<dyn Client>,
    done: usize,
}

#[async_trait]
impl Client for CrashingClient {
    async fn invoke(&mut self, site: Site<'_>, request: &Request, deadline: Instant) -> Answer {
        let answer = self.inner.invoke(site, request, deadline).await;
        self.done += 1;
        assert!(self.done < 3, "a bug in {}", request.f());
        answer
    }
}

#[tokio::test]
async fn a_client_that_crashes_says_so_and_its_operation_may_have_happened() {
    let store = Store::default();
    let targets = [target(1, Some(etcd(&store, |_, act| act())))];
    let mut workload =
        load(&ETCD.replacen("kind: register", "kind: register\nmix: { write: 60000, read: 1 }", 1)).unwrap();
    workload.client = Arc::new(Crashing(Arc::clone(&workload.client)));
    let records = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&records);
    let sink: Sink = Arc::new(move |record: OpRecord| into.lock().unwrap().push(record));
    let clock: Clock = Arc::new(|| 0);
    // Nobody stops them: they end when the last has crashed.
    let never = CancellationToken::new();
    let used = run_workload(&workload, &targets, Seed(7), clock.clone(), sink.clone(), never).await;
    let said = "a client of the workload register crashed: a bug in write";
    assert_eq!(used.crashed, [said]);
    let done = std::mem::take(&mut *records.lock().unwrap());
    let lost: Vec<&OpRecord> = done.iter().filter(|op| op.outcome == OpOutcome::Indeterminate).collect();
    assert_eq!((done.len(), lost.len()), (12, 4), "{done:?}");
    assert!(lost.iter().all(|op| op.detail == "the client crashed: a bug in write"), "{lost:?}");

    // The same while the last reads are taken, by processes that nobody was before.
    let deadline = Instant::now() + Duration::from_secs(60);
    workload.client = Arc::new(Crashing(load(ETCD).unwrap().client));
    let many = Used { closing: used.closing.iter().cycle().take(40).cloned().collect(), ..used };
    let closed = close(&workload, &targets, &many, clock, sink, deadline).await;
    let said = "a client of the workload register crashed: a bug in read";
    assert_eq!(closed, Err(NotClosed::Crashed(said.to_owned())));
    let looks = records.lock().unwrap();
    assert!(looks.iter().all(|look| done.iter().all(|op| op.process != look.process)), "{looks:?}");
}

#[test]
fn mistakes_in_a_workload_are_shown_in_their_file() {
    let complain = |from: &str, to: &str| load(&ETCD.replacen(from, to, 1)).err().unwrap_or_default();
    insta::assert_snapshot!(complain("{{ value | b64 }}", "{{ valu | b64 }}"), @r#"
        s.yaml:20:13: template: `b64` was given a variable that does not exist (column 48 of the template)
           |
        20 |       body: '{"key": "{{ key | b64 }}", "value": "{{ valu | b64 }}"}'
           |             ^
           = `write` has `key`, `node`, `value`; the filters are `b64` and `quote`
        "#);
    insta::assert_snapshot!(complain("key | b64", "key | base64"), @r#"
        s.yaml:14:13: template: Unknown filter `base64`
           |
        14 |       body: '{"key": "{{ key | base64 }}"}'
           |             ^
           = `read` has `key`, `node`; the filters are `b64` and `quote`
        "#);
    insta::assert_snapshot!(complain("kind: register", "kind: register\nname: my registers"), @r#"
        s.yaml:3:7: `my registers` cannot be part of a key
          |
        3 | name: my registers
          |       ^
          = a workload's name has only letters, digits, `-` and `_`
        "#);
    insta::assert_snapshot!(complain("kind: register", "kind: register\nmix: { read: 1 }"), @r#"
        s.yaml:3:6: a mix without `write` proves nothing
          |
        3 | mix: { read: 1 }
          |      ^
          = give `write` a weight above 0
        "#);
    assert_eq!(complain("", ""), "");
}
