//! The PostgreSQL probe: a login, one statement, and the first value of its answer.

use tokio::time::Instant;

use super::{Limits, PostgresProbe, excerpt};
use crate::guest::Dialer;
use crate::guest::postgres::{PostgresConnection, PostgresLogin};

/// Asks once; the error says in words what was wrong.
pub(super) async fn check(
    probe: &PostgresProbe,
    dialer: &dyn Dialer,
    deadline: Instant,
) -> Result<(), String> {
    let stream = dialer.dial(probe.port, deadline).await.map_err(|error| error.to_string())?;
    let login = PostgresLogin {
        user: probe.user.clone(),
        database: probe.database.clone(),
        password: probe.password.clone(),
    };
    let connected = PostgresConnection::connect(stream, &login, deadline).await;
    let mut connection = connected.map_err(|error| excerpt(&error.message))?;
    let answer = connection.query(&probe.query, deadline).await.map_err(|error| excerpt(&error.message))?;
    let found = answer.rows.into_iter().next().and_then(|row| row.into_iter().next());
    judge(probe.expect.as_deref(), probe.number, found)
}

/// `found` is the first value of the first row: `None` without any row, `Some(None)` for a null.
fn judge(expect: Option<&str>, number: Option<Limits>, found: Option<Option<String>>) -> Result<(), String> {
    let wanted = match (expect, number) {
        (Some(text), _) => format!("`{text}`"),
        (None, Some(limits)) => format!("a number {limits}"),
        (None, None) => return Ok(()),
    };
    let found = match found {
        Some(Some(found)) => found,
        Some(None) => return Err(format!("the answer is null, expected {wanted}")),
        None => return Err(format!("the answer has no row, expected {wanted}")),
    };
    if expect.is_some_and(|text| text != found) {
        return Err(format!("the answer is `{}`, expected {wanted}", excerpt(&found)));
    }
    number.map_or(Ok(()), |limits| limits.judge("the answer", &found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_decides_and_is_compared_exactly() {
        let says = |expect, found: Option<Option<&str>>| {
            judge(expect, None, found.map(|value| value.map(str::to_owned))).err().unwrap_or_default()
        };
        assert_eq!(says(None, None), "");
        assert_eq!(says(Some("f"), Some(Some("f"))), "");
        assert_eq!(says(Some("f"), Some(Some("f "))), "the answer is `f`, expected `f`");
        assert_eq!(says(Some("1"), Some(Some("10"))), "the answer is `10`, expected `1`");
        assert_eq!(says(Some("f"), Some(None)), "the answer is null, expected `f`");
        assert_eq!(says(Some("f"), None), "the answer has no row, expected `f`");
    }

    #[test]
    fn a_number_must_be_there_and_within_its_limits() {
        let limits: Limits = serde_json::from_str(r#"{"at_most":10}"#).unwrap();
        let says = |found: Option<Option<&str>>| {
            judge(None, Some(limits), found.map(|value| value.map(str::to_owned))).err().unwrap_or_default()
        };
        assert_eq!(says(Some(Some("9.5"))), "");
        assert_eq!(says(Some(Some("11"))), "the answer is 11, expected a number of at most 10");
        assert_eq!(says(Some(None)), "the answer is null, expected a number of at most 10");
        assert_eq!(says(None), "the answer has no row, expected a number of at most 10");
    }
}
