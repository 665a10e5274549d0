//! The Redis probe: one command and its answer; it speaks to sentinels as well.

use tokio::time::Instant;

use super::{RedisProbe, excerpt};
use crate::guest::Dialer;
use crate::guest::redis::{RedisConnection, RedisReply};

/// Asks once; the error says in words what was wrong.
pub(super) async fn check(probe: &RedisProbe, dialer: &dyn Dialer, deadline: Instant) -> Result<(), String> {
    let stream = dialer.dial(probe.port, deadline).await.map_err(|error| error.to_string())?;
    let mut connection = RedisConnection::new(stream);
    if let Some(password) = &probe.password {
        let reply = connection.command(&["AUTH", password], deadline).await;
        said(&reply.map_err(|error| error.to_string())?)?;
    }
    let words: Vec<&str> = probe.command.iter().map(String::as_str).collect();
    let reply = connection.command(&words, deadline).await.map_err(|error| error.to_string())?;
    let found = said(&reply)?;
    match (&probe.expect, &probe.contains) {
        (Some(wanted), _) if found != *wanted => {
            Err(format!("the answer is `{}`, expected `{wanted}`", excerpt(&found)))
        }
        (_, Some(part)) if !found.contains(part) => {
            Err(format!("the answer is `{}`, expected it to contain `{part}`", excerpt(&found)))
        }
        _ => probe.number.map_or(Ok(()), |limits| limits.judge("the answer", &found)),
    }
}

/// The answer as text, the items of a list a line each; an error that Redis answers is one.
fn said(reply: &RedisReply) -> Result<String, String> {
    match reply {
        RedisReply::Error(error) => Err(excerpt(error)),
        RedisReply::Nothing => Ok(String::new()),
        RedisReply::List(items) => {
            let lines: Result<Vec<String>, String> = items.iter().map(said).collect();
            Ok(lines?.join("\n"))
        }
        one => Ok(one.text().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_text_and_errors_stay_errors() {
        let text = |text: &str| RedisReply::Text(text.as_bytes().to_vec());
        assert_eq!(said(&RedisReply::Status("PONG".to_owned())), Ok("PONG".to_owned()));
        assert_eq!(said(&RedisReply::Nothing), Ok(String::new()));
        let list = RedisReply::List(vec![text("10.77.0.11"), RedisReply::Number(6379)]);
        assert_eq!(said(&list), Ok("10.77.0.11\n6379".to_owned()));
        let error = RedisReply::Error("LOADING Redis is loading".to_owned());
        assert_eq!(said(&error), Err("LOADING Redis is loading".to_owned()));
        assert!(said(&RedisReply::List(vec![text("a"), error])).is_err());
    }
}
