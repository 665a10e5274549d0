//! The protocol of Redis (RESP2) over a stream that somebody else opened.
//!
//! Commands go out one at a time and answers are read whole. What an answer means is decided above; an error
//! here says whether any byte of the command had been handed to the network.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout_at};

use super::Stream;

/// A longer answer is refused.
const MAX_BYTES: usize = 16 << 20;
/// No answer to our commands nests deeper.
const MAX_DEPTH: usize = 8;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisReply {
    Status(String),
    /// Such as `READONLY You can't write against a read only replica.`
    Error(String),
    Number(i64),
    Text(Vec<u8>),
    List(Vec<RedisReply>),
    Nothing,
}

/// Why there was no answer. The connection is spent after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RedisError {
    /// Whether bytes of the command may have reached the service.
    pub sent: bool,
    pub message: String,
}

pub struct RedisConnection {
    stream: BufReader<Box<dyn Stream>>,
    /// What is left of the answer's allowance.
    left: usize,
}

impl RedisConnection {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        RedisConnection { stream: BufReader::new(stream), left: 0 }
    }

    /// Sends one command and reads its answer before `deadline`. After an error the connection must be
    /// dropped: a late answer would be taken for that of the next command.
    pub async fn command(&mut self, words: &[&str], deadline: Instant) -> Result<RedisReply, RedisError> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        let mut sent = false;
        let exchange = async {
            sent = true;
            self.stream.get_mut().write_all(&bytes).await.map_err(|error| error.to_string())?;
            self.stream.get_mut().flush().await.map_err(|error| error.to_string())?;
            self.left = MAX_BYTES;
            self.reply(0).await
        };
        match timeout_at(deadline, exchange).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(message)) => Err(RedisError { sent, message }),
            Err(_) => Err(RedisError { sent, message: "no answer before the deadline".to_owned() }),
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        loop {
            let some = self.stream.fill_buf().await.map_err(|error| error.to_string())?;
            if some.is_empty() {
                return Err("connection closed".to_owned());
            }
            let (used, ended) = match some.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (some.len(), false),
            };
            line.extend_from_slice(some.get(..used).unwrap_or_default());
            self.stream.consume(used);
            self.spend(used)?;
            if ended {
                let text = String::from_utf8_lossy(&line);
                return text.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| foreign(&text));
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or_else(|| format!("the answer is longer than {MAX_BYTES} bytes"))?;
        Ok(())
    }

    async fn reply(&mut self, depth: usize) -> Result<RedisReply, String> {
        let line = self.line().await?;
        let mut chars = line.chars();
        let (sort, rest) = (chars.next(), chars.as_str());
        let number = || rest.parse::<i64>().map_err(|_| foreign(&line));
        Ok(match sort {
            Some('+') => RedisReply::Status(rest.to_owned()),
            Some('-') => RedisReply::Error(rest.to_owned()),
            Some(':') => RedisReply::Number(number()?),
            Some('$' | '*') if number()? < 0 => RedisReply::Nothing,
            Some('$') => {
                let length = usize::try_from(number()?).map_err(|_| foreign(&line))?;
                self.spend(length)?;
                let mut text = vec![0; length];
                let mut end = [0; 2];
                self.stream.read_exact(&mut text).await.map_err(|error| error.to_string())?;
                self.stream.read_exact(&mut end).await.map_err(|error| error.to_string())?;
                if end != *b"\r\n" {
                    return Err(foreign(&line));
                }
                RedisReply::Text(text)
            }
            Some('*') if depth < MAX_DEPTH => {
                let mut items = Vec::new();
                for _ in 0..number()? {
                    items.push(Box::pin(self.reply(depth + 1)).await?);
                }
                RedisReply::List(items)
            }
            _ => return Err(foreign(&line)),
        })
    }
}

fn foreign(line: &str) -> String {
    let shown: String = line.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("the answer is not the protocol of Redis: `{shown}`")
}

impl RedisReply {
    /// The text of an answer that is one word; `None` for anything else.
    pub fn text(&self) -> Option<String> {
        match self {
            RedisReply::Status(text) => Some(text.clone()),
            RedisReply::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            RedisReply::Number(number) => Some(number.to_string()),
            RedisReply::Error(_) | RedisReply::List(_) | RedisReply::Nothing => None,
        }
    }

    pub fn items(&self) -> &[RedisReply] {
        match self {
            RedisReply::List(items) => items,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn answered(bytes: &[u8]) -> Result<RedisReply, RedisError> {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        server.write_all(bytes).await.unwrap();
        server.shutdown().await.unwrap();
        let mut connection = RedisConnection::new(Box::new(client));
        connection.command(&["GET", "a"], Instant::now() + Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn every_sort_of_answer_is_read() {
        let text = |text: &str| RedisReply::Text(text.as_bytes().to_vec());
        for (bytes, wanted) in [
            ("+OK\r\n", RedisReply::Status("OK".to_owned())),
            ("-READONLY no\r\n", RedisReply::Error("READONLY no".to_owned())),
            (":-7\r\n", RedisReply::Number(-7)),
            ("$-1\r\n", RedisReply::Nothing),
            ("$0\r\n\r\n", text("")),
            ("$2\r\n\r\n\r\n", text("\r\n")),
            ("*2\r\n$1\r\na\r\n:1\r\n", RedisReply::List(vec![text("a"), RedisReply::Number(1)])),
            ("*0\r\n", RedisReply::List(Vec::new())),
        ] {
            assert_eq!(answered(bytes.as_bytes()).await.unwrap(), wanted, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn half_answers_and_foreign_ones_are_errors_after_sending() {
        for bytes in
            ["", "+OK", "$5\r\nab\r\n", "*2\r\n:1\r\n", "HTTP/1.1 200 OK\r\n", "$99999999999\r\n", ":x\r\n"]
        {
            let error = answered(bytes.as_bytes()).await.unwrap_err();
            assert!(error.sent, "{bytes:?}: {error}");
        }
        let deep = "*1\r\n".repeat(100);
        assert!(answered(deep.as_bytes()).await.is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _ = runtime.block_on(answered(&bytes));
        }
    }
}
