//! The second serial port, over which a guest that stood still is told what it cannot know: what time it
//! is, and that others may have the same memory and must not have the same random numbers.
//!
//! In the guest a resident service answers, so that this takes milliseconds where a login takes seconds.
//! Never asks an image without that service twice: a snapshot records how its guests are woken.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// A guest that took its time to answer set its clock late by up to as much, and is told once more.
const PRECISE: Duration = Duration::from_millis(50);
/// On a machine so busy that no answer comes fast, the clock of the last is as good as it gets.
const ATTEMPTS: usize = 5;

/// How the guests of a fleet are woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WakeBy {
    Port,
    /// The image has no service that answers on the port.
    Ssh,
}

/// Our end of the port. What is written while nobody in the guest listens is lost.
#[derive(Debug)]
pub(crate) struct WakePort {
    stream: tokio::sync::Mutex<BufReader<UnixStream>>,
}

impl WakePort {
    pub(crate) fn new(stream: UnixStream) -> Self {
        WakePort { stream: tokio::sync::Mutex::new(BufReader::new(stream)) }
    }

    /// Returns when the guest has the time and random numbers of its own; without a guest that answers,
    /// never.
    pub(crate) async fn wake(&self) -> io::Result<()> {
        let mut stream = self.stream.lock().await;
        for _ in 0..ATTEMPTS {
            let asked = Instant::now();
            exchange(&mut stream).await?;
            if asked.elapsed() < PRECISE {
                break;
            }
        }
        Ok(())
    }
}

async fn exchange(stream: &mut BufReader<UnixStream>) -> io::Result<()> {
    let now = jiff::Timestamp::now().as_duration();
    let time = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let seed = blake3::Hash::from_bytes(rand::random()).to_hex();
    stream.write_all(format!("wake {time} {seed}\n").as_bytes()).await?;
    let expected = format!("awake {time}");
    let mut line = Vec::new();
    // Before the answer there may be those to questions that somebody gave up on.
    while String::from_utf8_lossy(&line).trim_end() != expected {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Answers with a delay for each question, then leaves; returns the questions.
    async fn guest(stream: UnixStream, delays: &[u64]) -> Vec<String> {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let mut asked = Vec::new();
        for delay in delays {
            let Some(line) = lines.next_line().await.unwrap() else { break };
            tokio::time::sleep(Duration::from_millis(*delay)).await;
            let time = line.split(' ').nth(1).unwrap();
            writer.write_all(format!("awake 1.000000000\r\nawake {time}\r\n").as_bytes()).await.unwrap();
            asked.push(line);
        }
        asked
    }

    #[tokio::test]
    async fn a_guest_is_asked_until_it_answers_fast_and_gets_a_new_seed_each_time() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let port = WakePort::new(ours);
        let wake = async move { port.wake().await };
        let (woken, asked) = tokio::join!(wake, guest(theirs, &[80, 0, 0]));
        woken.unwrap();
        assert_eq!(asked.len(), 2);
        assert_ne!(asked[0].split(' ').nth(2), asked[1].split(' ').nth(2));
    }

    #[tokio::test]
    async fn a_slow_guest_is_woken_all_the_same_and_one_that_ends_is_noticed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let port = WakePort::new(ours);
        let (woken, asked) = tokio::join!(port.wake(), guest(theirs, &[60; ATTEMPTS]));
        woken.unwrap();
        assert_eq!(asked.len(), ATTEMPTS);
        assert!(port.wake().await.is_err());
    }
}
