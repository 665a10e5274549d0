//! The PostgreSQL client: finds a server that takes writes, and turns operations into statements.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Load;
use crate::diagnostic::BadFile;
use crate::guest::postgres::{PostgresAnswer, PostgresConnection, PostgresLogin, literal};
use crate::verify::Target;
use crate::verify::workload::client::{Answer, Client, ClientKind, Site};
use crate::verify::workload::operation::{Request, scalar};
use crate::verify::workload::{WorkloadKind, WorkloadSpec};

/// A PostgreSQL server, or several of which one takes writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresClientSpec {
    #[serde(default = "default_port")]
    pub port: u16,
    #[serde(default = "postgres")]
    pub user: String,
    #[serde(default = "postgres")]
    pub database: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Which servers will do.
    #[serde(default)]
    pub target_session_attrs: Attributes,
    /// Isolation of every statement; the server's own default when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
}

/// Which servers will do for a session, as libpq calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attributes {
    /// The first of the role's instances that takes writes; the search begins where the client is.
    #[default]
    ReadWrite,
    /// The one where the client is.
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

fn default_port() -> u16 {
    5432
}

fn postgres() -> String {
    "postgres".to_owned()
}

impl Load for PostgresClientSpec {
    fn load(&self, _: &WorkloadSpec, _: &Path, _: &str) -> Result<Arc<dyn ClientKind>, BadFile> {
        Ok(Arc::new(PostgresKind { spec: Arc::new(self.clone()) }))
    }
}

/// SQLSTATE.
const NO_SUCH_TABLE: &str = "42P01";

struct PostgresKind {
    spec: Arc<PostgresClientSpec>,
}

impl ClientKind for PostgresKind {
    fn can(&self, kind: WorkloadKind, _: &str) -> bool {
        kind != WorkloadKind::Custom
    }

    fn client(&self, kind: WorkloadKind) -> Box<dyn Client> {
        Box::new(PostgresClient { spec: Arc::clone(&self.spec), kind, connection: None })
    }
}

struct PostgresClient {
    spec: Arc<PostgresClientSpec>,
    kind: WorkloadKind,
    /// To the node of this name.
    connection: Option<(String, PostgresConnection)>,
}

/// The statement of an operation; one message, so that it takes effect as a whole or not at all.
fn statement(kind: WorkloadKind, request: &Request) -> Option<String> {
    let key = literal(&request.key);
    // Inputs are numbers, or lists and objects of numbers.
    let (input, part) = (&request.input, |name: &str| request.input.get(name).cloned().unwrap_or_default());
    let nth = |index: usize| request.input.get(index).cloned().unwrap_or_default();
    Some(match (kind, request.f()) {
        (WorkloadKind::Register | WorkloadKind::KeyValue | WorkloadKind::Counter, "setup") => {
            "CREATE TABLE IF NOT EXISTS ovenproof_register (key text PRIMARY KEY, value bigint NOT NULL)".to_owned()
        }
        (WorkloadKind::Register | WorkloadKind::KeyValue | WorkloadKind::Counter, "read") => {
            format!("SELECT value FROM ovenproof_register WHERE key = {key}")
        }
        (WorkloadKind::Register | WorkloadKind::KeyValue, "write") => format!(
            "INSERT INTO ovenproof_register VALUES ({key}, {input}) \
             ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value"
        ),
        (WorkloadKind::Register | WorkloadKind::KeyValue, "cas") => format!(
            "UPDATE ovenproof_register SET value = {} WHERE key = {key} AND value = {}",
            nth(1),
            nth(0)
        ),
        (WorkloadKind::KeyValue, "delete") => format!("DELETE FROM ovenproof_register WHERE key = {key}"),
        (WorkloadKind::Counter, "add") => format!(
            "INSERT INTO ovenproof_register AS r VALUES ({key}, {input}) \
             ON CONFLICT (key) DO UPDATE SET value = r.value + EXCLUDED.value"
        ),
        (WorkloadKind::Set, "setup") => {
            // No uniqueness: an element that is there twice shall be seen.
            "CREATE TABLE IF NOT EXISTS ovenproof_set (key text NOT NULL, element bigint NOT NULL); \
             CREATE INDEX IF NOT EXISTS ovenproof_set_key ON ovenproof_set (key)"
                .to_owned()
        }
        (WorkloadKind::Set, "add") => format!("INSERT INTO ovenproof_set VALUES ({key}, {input})"),
        (WorkloadKind::Set, "read") => format!("SELECT element FROM ovenproof_set WHERE key = {key}"),
        (WorkloadKind::Append, "setup") => {
            "CREATE TABLE IF NOT EXISTS ovenproof_list (key text PRIMARY KEY, elements bigint[] NOT NULL)".to_owned()
        }
        (WorkloadKind::Append, "append") => format!(
            "INSERT INTO ovenproof_list AS l VALUES ({key}, ARRAY[{input}]) \
             ON CONFLICT (key) DO UPDATE SET elements = l.elements || EXCLUDED.elements"
        ),
        (WorkloadKind::Append, "read") => {
            format!("SELECT unnest(elements) FROM ovenproof_list WHERE key = {key}")
        }
        (WorkloadKind::UniqueIds, "setup") => "CREATE SEQUENCE IF NOT EXISTS ovenproof_ids".to_owned(),
        (WorkloadKind::UniqueIds, "generate") => "SELECT nextval('ovenproof_ids')".to_owned(),
        (WorkloadKind::Queue, "setup") => "CREATE TABLE IF NOT EXISTS ovenproof_queue \
                                           (id bigserial PRIMARY KEY, key text NOT NULL, value bigint NOT NULL)"
            .to_owned(),
        (WorkloadKind::Queue, "enqueue") => {
            format!("INSERT INTO ovenproof_queue (key, value) VALUES ({key}, {input})")
        }
        (WorkloadKind::Queue, "dequeue") => format!(
            "DELETE FROM ovenproof_queue WHERE id = (SELECT id FROM ovenproof_queue WHERE key = {key} \
             ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING value"
        ),
        (WorkloadKind::Bank, "setup") => {
            let accounts = part("accounts");
            let rows: Vec<String> = accounts
                .as_array()?
                .iter()
                .map(|account| format!("({key}, {account}, {})", part("balance")))
                .collect();
            format!(
                "CREATE TABLE IF NOT EXISTS ovenproof_bank (bank text NOT NULL, account bigint NOT NULL, \
                 balance bigint NOT NULL, PRIMARY KEY (bank, account)); \
                 INSERT INTO ovenproof_bank VALUES {} ON CONFLICT DO NOTHING",
                rows.join(", ")
            )
        }
        (WorkloadKind::Bank, "read") => {
            format!("SELECT account, balance FROM ovenproof_bank WHERE bank = {key}")
        }
        (WorkloadKind::Bank, "transfer") => format!(
            "WITH taken AS (UPDATE ovenproof_bank SET balance = balance - {amount} WHERE bank = {key} \
             AND account = {} AND balance >= {amount} RETURNING 1) \
             UPDATE ovenproof_bank SET balance = balance + {amount} WHERE bank = {key} AND account = {} \
             AND EXISTS (SELECT 1 FROM taken)",
            part("from"),
            part("to"),
            amount = part("amount"),
        ),
        _ => return None,
    })
}

/// What the answer means.
fn read(kind: WorkloadKind, request: &Request, answer: &PostgresAnswer) -> Answer {
    let cell = |row: &Vec<Option<String>>, column: usize| {
        row.get(column).cloned().flatten().map_or(Value::Null, |text| scalar(&text))
    };
    let first = || answer.rows.first().map_or(Value::Null, |row| cell(row, 0));
    match (kind, request.f()) {
        (_, "cas") => Answer::ok(json!(answer.affected > 0)),
        (WorkloadKind::Bank, "transfer") if answer.affected == 0 => Answer::fail("too little in the account"),
        (WorkloadKind::Bank, "read") => {
            let pairs = answer.rows.iter().map(|row| (cell(row, 0).to_string(), cell(row, 1)));
            Answer::ok(pairs.collect::<Map<_, _>>().into())
        }
        (WorkloadKind::Set | WorkloadKind::Append, "read") => {
            Answer::ok(answer.rows.iter().map(|row| cell(row, 0)).collect())
        }
        (_, "read" | "dequeue" | "generate") => Answer::ok(first()),
        _ => Answer::ok(Value::Null),
    }
}

#[async_trait]
impl Client for PostgresClient {
    async fn invoke(&mut self, site: Site<'_>, request: &Request, deadline: Instant) -> Answer {
        let Some(sql) = statement(self.kind, request) else {
            return Answer::fail(format!("the client has no {}", request.f()));
        };
        let kept = self.connection.take().filter(|(to, connection)| {
            let wanted = self.spec.target_session_attrs == Attributes::ReadWrite || *to == site.here.node;
            wanted && connection.is_usable()
        });
        let (node, mut connection) = match kept {
            Some(kept) => kept,
            None => match self.connect(site, deadline).await {
                Ok(fresh) => fresh,
                Err(why) => return Answer::fail(why),
            },
        };
        let answer = match connection.query(&sql, deadline).await {
            Ok(answer) => {
                self.connection = Some((node.clone(), connection));
                read(self.kind, request, &answer)
            }
            // It was there when the workload began: what was in it is gone.
            Err(error) if request.f() == "read" && error.code.as_deref() == Some(NO_SUCH_TABLE) => {
                self.connection = Some((node.clone(), connection));
                read(self.kind, request, &PostgresAnswer::default())
            }
            Err(error) => {
                // A server that takes no writes any more is left.
                if error.usable && error.code.as_deref() != Some("25006") {
                    self.connection = Some((node.clone(), connection));
                }
                match error.definite {
                    true => Answer::fail(error.message),
                    false => Answer::lost(request, error.message),
                }
            }
        };
        answer.from(&node)
    }
}

impl PostgresClient {
    async fn connect(
        &self,
        site: Site<'_>,
        deadline: Instant,
    ) -> Result<(String, PostgresConnection), String> {
        if self.spec.target_session_attrs == Attributes::Any {
            return Ok((site.here.node.clone(), self.log_in(site.here, deadline).await?));
        }
        let first = site.role.iter().position(|target| target.node == site.here.node).unwrap_or_default();
        let mut why = Vec::new();
        for index in 0..site.role.len() {
            let Some(target) = site.role.get((first + index) % site.role.len()) else { continue };
            // One that does not answer must not use up the time of all.
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Instant::now() + left / 2;
            let session = async {
                let mut connection = self.log_in(target, limit).await?;
                let answer = connection.query("SHOW transaction_read_only", limit).await;
                let answer = answer.map_err(|error| error.message)?;
                match answer.rows.first().and_then(|row| row.first().cloned().flatten()).as_deref() {
                    Some("off") => Ok(connection),
                    _ => Err("takes no writes".to_owned()),
                }
            };
            match session.await {
                Ok(connection) => return Ok((target.node.clone(), connection)),
                Err(error) => why.push(format!("{}: {error}", target.node)),
            }
        }
        Err(why.join("; "))
    }

    async fn log_in(&self, target: &Target, deadline: Instant) -> Result<PostgresConnection, String> {
        let spec = &self.spec;
        let stream = target.dialer.dial(spec.port, deadline).await.map_err(|error| error.to_string())?;
        let login = PostgresLogin {
            user: spec.user.clone(),
            database: spec.database.clone(),
            password: spec.password.clone(),
        };
        let mut connection =
            PostgresConnection::connect(stream, &login, deadline).await.map_err(|error| error.message)?;
        let isolation = match spec.isolation {
            None => return Ok(connection),
            Some(Isolation::ReadCommitted) => "read committed",
            Some(Isolation::RepeatableRead) => "repeatable read",
            Some(Isolation::Serializable) => "serializable",
        };
        let sql = format!("SET default_transaction_isolation = {}", literal(isolation));
        connection.query(&sql, deadline).await.map_err(|error| error.message)?;
        Ok(connection)
    }
}
