//! The protocol of PostgreSQL over a stream that somebody else opened.
//!
//! Statements go out as text, one message at a time. What an answer means for an operation is decided above;
//! an error here says what is certain: whether the statement can have taken effect.

use std::fmt::Write;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::Stream;

/// Who connects, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresLogin {
    pub user: String,
    pub database: String,
    pub password: Option<String>,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PostgresError {
    /// Whether the statement certainly had no effect and never will have.
    pub definite: bool,
    /// The SQLSTATE, if the server gave one.
    pub code: Option<String>,
    /// The connection can take another statement.
    pub usable: bool,
    pub message: String,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostgresAnswer {
    /// The rows of all statements, each value as text.
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows that the last statement returned or changed.
    pub affected: u64,
}

/// A connection; the task that moves its bytes ends with it.
pub struct PostgresConnection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for PostgresConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl PostgresConnection {
    /// Logs in over `stream` before `deadline`. Every error is definite: no statement was sent.
    pub async fn connect(
        stream: Box<dyn Stream>,
        login: &PostgresLogin,
        deadline: Instant,
    ) -> Result<Self, PostgresError> {
        let mut config = tokio_postgres::Config::new();
        config.user(&login.user).dbname(&login.database).application_name("ovenproof");
        if let Some(password) = &login.password {
            config.password(password);
        }
        let unsent = |message: String| PostgresError { definite: true, code: None, usable: false, message };
        match timeout_at(deadline, config.connect_raw(stream, NoTls)).await {
            Err(_) => Err(unsent("no login before the deadline".to_owned())),
            Ok(Err(error)) => Err(PostgresError { definite: true, usable: false, ..classify(&error) }),
            Ok(Ok((client, connection))) => {
                let driver = tokio::spawn(async move {
                    // The client gets the error too.
                    let _ = connection.await;
                });
                Ok(PostgresConnection { client, driver })
            }
        }
    }

    /// Whether another statement may be tried.
    pub fn is_usable(&self) -> bool {
        !self.client.is_closed()
    }

    /// Runs `sql`, one statement or several in one message, which then take effect together or not at all.
    pub async fn query(&mut self, sql: &str, deadline: Instant) -> Result<PostgresAnswer, PostgresError> {
        if self.client.is_closed() {
            let message = "closed before the statement".to_owned();
            return Err(PostgresError { definite: true, code: None, usable: false, message });
        }
        let messages = match timeout_at(deadline, self.client.simple_query(sql)).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => return Err(classify(&error)),
            Err(_) => {
                let message = "no answer before the deadline".to_owned();
                return Err(PostgresError { definite: false, code: None, usable: false, message });
            }
        };
        let mut answer = PostgresAnswer::default();
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let values = (0..row.len()).map(|column| row.get(column).map(str::to_owned));
                    answer.rows.push(values.collect());
                }
                SimpleQueryMessage::CommandComplete(affected) => answer.affected = affected,
                _ => {}
            }
        }
        Ok(answer)
    }
}

/// What an error leaves certain.
///
/// An ERROR of the server ends the transaction without effect, with few exceptions. FATAL and PANIC end the
/// session, possibly after the commit was written: an administrator's shutdown while waiting for a synchronous
/// standby does. Without an answer of the server nothing is known.
fn classify(error: &tokio_postgres::Error) -> PostgresError {
    let Some(db) = error.as_db_error() else {
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(error) {
            // Writing to a string cannot fail.
            let _ = write!(message, ": {cause}");
        }
        return PostgresError { definite: false, code: None, usable: false, message };
    };
    let is_error = db.parsed_severity() == Some(Severity::Error);
    PostgresError {
        definite: is_error && !leaves_open(db.code().code()),
        code: Some(db.code().code().to_owned()),
        usable: is_error,
        message: describe(db),
    }
}

/// Codes by which the server itself says that it does not know, or that something went wrong inside.
fn leaves_open(code: &str) -> bool {
    // Connection exceptions, statement_completion_unknown, system and internal errors.
    ["08", "58", "XX", "40003"].iter().any(|start| code.starts_with(start))
}

fn describe(db: &DbError) -> String {
    format!("{} {}: {}", db.severity(), db.code().code(), db.message())
}

/// `text` as a literal of SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}
