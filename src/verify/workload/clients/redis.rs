//! The Redis client: finds the master, by Sentinel if there is one, and turns operations into commands.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Load;
use crate::diagnostic::BadFile;
use crate::guest::redis::{RedisConnection, RedisReply};
use crate::units::Span;
use crate::verify::workload::client::{Answer, Client, ClientKind, Site};
use crate::verify::workload::operation::{Request, scalar};
use crate::verify::workload::{WorkloadKind, WorkloadSpec};
use crate::verify::{Target, of_role};

/// A Redis server, or several of which one is the master.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisClientSpec {
    #[serde(default = "default_port")]
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Ask these who the master is. Without it a client uses the node that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<Sentinel>,
    /// Every change counts as acknowledged only when so many replicas have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitFor>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sentinel {
    /// The name under which the sentinels know the master.
    pub master: String,
    #[serde(default = "sentinel_port")]
    pub port: u16,
    /// The role whose instances run sentinels; that of the workload when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    pub replicas: u16,
    /// After this, nobody knows whether they have it.
    pub within: Span,
}

fn default_port() -> u16 {
    6379
}

fn sentinel_port() -> u16 {
    26379
}

impl Load for RedisClientSpec {
    fn load(&self, _: &WorkloadSpec, _: &Path, _: &str) -> Result<Arc<dyn ClientKind>, BadFile> {
        Ok(Arc::new(RedisKind { spec: Arc::new(self.clone()) }))
    }
}

struct RedisKind {
    spec: Arc<RedisClientSpec>,
}

/// The commands of an operation: none of it needs more than one, so each takes effect at one instant.
fn command(kind: WorkloadKind, request: &Request) -> Option<Vec<String>> {
    let key = request.key.as_str();
    let part = |name: &str| match request.input.get(name) {
        Some(value) => value.to_string(),
        None => request.input.to_string(),
    };
    let pair = |index: usize| request.input.get(index).map(Value::to_string).unwrap_or_default();
    let words: Vec<String> = match (kind, request.f()) {
        (WorkloadKind::Register | WorkloadKind::KeyValue, "read") => vec!["GET".into(), key.into()],
        (WorkloadKind::Register | WorkloadKind::KeyValue, "write") => {
            vec!["SET".into(), key.into(), part("")]
        }
        (WorkloadKind::KeyValue, "delete") => vec!["DEL".into(), key.into()],
        (WorkloadKind::Register | WorkloadKind::KeyValue, "cas") => {
            vec!["EVAL".into(), CAS.into(), "1".into(), key.into(), pair(0), pair(1)]
        }
        (WorkloadKind::Set, "add") => vec!["SADD".into(), key.into(), part("")],
        (WorkloadKind::Set, "read") => vec!["SMEMBERS".into(), key.into()],
        (WorkloadKind::Append, "append") => vec!["RPUSH".into(), key.into(), part("")],
        (WorkloadKind::Append, "read") => vec!["LRANGE".into(), key.into(), "0".into(), "-1".into()],
        (WorkloadKind::Counter, "add") => vec!["INCRBY".into(), key.into(), part("")],
        (WorkloadKind::Counter, "read") => vec!["GET".into(), key.into()],
        (WorkloadKind::UniqueIds, "generate") => vec!["INCR".into(), key.into()],
        (WorkloadKind::Queue, "enqueue") => vec!["RPUSH".into(), key.into(), part("")],
        (WorkloadKind::Queue, "dequeue") => vec!["LPOP".into(), key.into()],
        (WorkloadKind::Bank, "read") => vec!["HGETALL".into(), key.into()],
        (WorkloadKind::Bank, "transfer") => {
            let words = ["EVAL", TRANSFER, "1", key].map(str::to_owned);
            words.into_iter().chain(["from", "to", "amount"].map(part)).collect()
        }
        (WorkloadKind::Bank, "setup") => {
            let accounts = request.input.get("accounts").and_then(Value::as_array);
            let words = ["EVAL", OPEN_ACCOUNTS, "1", key].map(str::to_owned).into_iter();
            words.chain([part("balance")]).chain(accounts?.iter().map(Value::to_string)).collect()
        }
        _ => return None,
    };
    Some(words)
}

const CAS: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 \
                   else return 0 end";
const TRANSFER: &str = "local has = tonumber(redis.call('HGET', KEYS[1], ARGV[1])) local sum = tonumber(ARGV[3]) \
                        if not has or has < sum then return 0 end \
                        redis.call('HINCRBY', KEYS[1], ARGV[1], -sum) \
                        redis.call('HINCRBY', KEYS[1], ARGV[2], sum) return 1";
const OPEN_ACCOUNTS: &str =
    "for i = 2, #ARGV do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[1]) end return 1";

/// Errors by which Redis says that it did not even begin.
const REFUSALS: &[&str] = &[
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "OOM",
    "MISCONF",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "NOAUTH",
    "NOPERM",
    "WRONGTYPE",
    "WRONGPASS",
    "TRYAGAIN",
    "BUSY",
];

impl ClientKind for RedisKind {
    fn can(&self, kind: WorkloadKind, f: &str) -> bool {
        match (kind, f) {
            (WorkloadKind::Bank, "setup") => true,
            (WorkloadKind::Custom, _) | (_, "setup") => false,
            // Every operation of the other kinds has its command.
            _ => true,
        }
    }

    fn client(&self, kind: WorkloadKind) -> Box<dyn Client> {
        Box::new(RedisClient { spec: Arc::clone(&self.spec), kind, connection: None })
    }
}

struct RedisClient {
    spec: Arc<RedisClientSpec>,
    kind: WorkloadKind,
    /// To the node of this name.
    connection: Option<(String, RedisConnection)>,
}

#[async_trait]
impl Client for RedisClient {
    async fn invoke(&mut self, site: Site<'_>, request: &Request, deadline: Instant) -> Answer {
        let Some(words) = command(self.kind, request) else {
            return Answer::fail(format!("the client has no {}", request.f()));
        };
        let spec = Arc::clone(&self.spec);
        let kept = self.connection.take();
        // With sentinels the master counts, not where the client happens to be.
        let kept = kept.filter(|(to, _)| spec.sentinel.is_some() || *to == site.here.node);
        let (node, mut connection) = match kept {
            Some(kept) => kept,
            None => match spec.connect(site, deadline).await {
                Ok(fresh) => fresh,
                Err(why) => return Answer::fail(why),
            },
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = match connection.command(&words, deadline).await {
            Err(error) if error.sent => Answer::lost(request, error.message),
            Err(error) => Answer::fail(error.message),
            Ok(RedisReply::Error(error)) => {
                // The master may be another by now: look again next time.
                let refused = REFUSALS.iter().any(|code| error.split(' ').next() == Some(code));
                return if refused { Answer::fail(error) } else { Answer::lost(request, error) }.from(&node);
            }
            Ok(reply) => match spec.acknowledged(&mut connection, request, deadline).await {
                Ok(()) => {
                    self.connection = Some((node.clone(), connection));
                    read(self.kind, request, &reply)
                }
                Err(why) => Answer::lost(request, why),
            },
        };
        answer.from(&node)
    }
}

impl RedisClientSpec {
    async fn connect(&self, site: Site<'_>, deadline: Instant) -> Result<(String, RedisConnection), String> {
        let Some(sentinel) = &self.sentinel else {
            let connection = self.log_in(site.here, self.port, deadline).await?;
            return Ok((site.here.node.clone(), connection));
        };
        let (target, port) = self.master(sentinel, site, deadline).await?;
        let mut connection = self.log_in(target, port, deadline).await?;
        // A sentinel may be behind: the node itself must say that it is the master.
        match connection.command(&["ROLE"], deadline).await {
            Ok(reply) if reply.items().first().and_then(RedisReply::text).as_deref() == Some("master") => {
                Ok((target.node.clone(), connection))
            }
            Ok(_) => Err(format!("{} is not the master that the sentinels say it is", target.node)),
            Err(error) => Err(error.message),
        }
    }

    /// Asks one sentinel after another, the one at hand first.
    async fn master<'a>(
        &self,
        sentinel: &Sentinel,
        site: Site<'a>,
        deadline: Instant,
    ) -> Result<(&'a Target, u16), String> {
        let sentinels: Vec<&Target> = match &sentinel.role {
            Some(role) => of_role(site.all, Some(role)).collect(),
            None => site.role.iter().collect(),
        };
        let first = sentinels.iter().position(|target| target.node == site.here.node).unwrap_or_default();
        let mut why = "there is no sentinel to ask".to_owned();
        for index in 0..sentinels.len() {
            let Some(asked) = sentinels.get((first + index) % sentinels.len()) else { continue };
            // One that does not answer must not use up the time of all.
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Instant::now() + left / 2;
            let found = async {
                let stream = asked.dialer.dial(sentinel.port, limit).await.map_err(|e| e.to_string())?;
                let mut connection = RedisConnection::new(stream);
                let words = ["SENTINEL", "get-master-addr-by-name", &sentinel.master];
                connection.command(&words, limit).await.map_err(|error| error.message)
            };
            let reply = match found.await {
                Ok(reply) => reply,
                Err(error) => {
                    why = format!("sentinel on {}: {error}", asked.node);
                    continue;
                }
            };
            let texts: Vec<String> = reply.items().iter().filter_map(RedisReply::text).collect();
            let [host, port] = texts.as_slice() else {
                why = format!("sentinel on {} knows no master `{}`", asked.node, sentinel.master);
                continue;
            };
            let at = |target: &&Target| target.address.to_string() == *host || target.node == *host;
            match (site.all.iter().find(at), port.parse()) {
                (Some(target), Ok(port)) => return Ok((target, port)),
                _ => why = format!("the master is at {host}:{port}, which is no instance of the fleet"),
            }
        }
        Err(why)
    }

    async fn log_in(&self, target: &Target, port: u16, deadline: Instant) -> Result<RedisConnection, String> {
        let stream = target.dialer.dial(port, deadline).await.map_err(|error| error.to_string())?;
        let mut connection = RedisConnection::new(stream);
        if let Some(password) = &self.password {
            match connection.command(&["AUTH", password], deadline).await {
                Ok(RedisReply::Error(error)) => return Err(error),
                Ok(_) => {}
                Err(error) => return Err(error.message),
            }
        }
        Ok(connection)
    }

    /// Waits for as many replicas as the scenario wants before a change counts.
    async fn acknowledged(
        &self,
        connection: &mut RedisConnection,
        request: &Request,
        deadline: Instant,
    ) -> Result<(), String> {
        let Some(wait) = self.wait.as_ref().filter(|_| !request.operation.looks) else { return Ok(()) };
        let words = ["WAIT", &wait.replicas.to_string(), &wait.within.0.as_millis().to_string()];
        match connection.command(&words, deadline).await {
            Ok(RedisReply::Number(have)) if have >= i64::from(wait.replicas) => Ok(()),
            Ok(RedisReply::Number(have)) => {
                Err(format!("{have} replicas have it, {} were waited for", wait.replicas))
            }
            Ok(other) => Err(format!("an answer to WAIT that is no number: {other:?}")),
            Err(error) => Err(error.message),
        }
    }
}

/// What the answer means.
fn read(kind: WorkloadKind, request: &Request, reply: &RedisReply) -> Answer {
    let nonsense = || Answer::lost(request, format!("an answer that makes no sense: {reply:?}"));
    let value = |reply: &RedisReply| reply.text().map_or(Value::Null, |text| scalar(&text));
    match (kind, request.f(), reply) {
        (_, "cas", RedisReply::Number(found)) => Answer::ok(json!(*found == 1)),
        (WorkloadKind::Bank, "transfer", RedisReply::Number(0)) => Answer::fail("too little in the account"),
        (WorkloadKind::Bank, "read", RedisReply::List(items)) => {
            let pairs = items.chunks(2).filter_map(|pair| Some((pair.first()?.text()?, value(pair.get(1)?))));
            Answer::ok(pairs.collect::<Map<_, _>>().into())
        }
        (WorkloadKind::Set | WorkloadKind::Append, "read", RedisReply::List(items)) => {
            Answer::ok(items.iter().map(value).collect())
        }
        (_, "read" | "dequeue" | "generate", RedisReply::Text(_) | RedisReply::Number(_)) => {
            Answer::ok(value(reply))
        }
        (_, "read" | "dequeue", RedisReply::Nothing) => Answer::ok(Value::Null),
        (_, "read" | "dequeue" | "generate", _) => nonsense(),
        (_, _, RedisReply::Status(_) | RedisReply::Number(_)) => Answer::ok(Value::Null),
        _ => nonsense(),
    }
}
