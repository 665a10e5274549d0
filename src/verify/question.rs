//! Questions that expectations put to instances: what a replica holds, what its files are.
//!
//! Answers are written down and not judged here: an expectation reads them back from the journal.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Expectation, Target, of_role};
use crate::guest::http::{HttpRequest, exchange};
use crate::journal::Event;

/// Longer answers are cut and count as none: journals are kept in memory.
const MAX_ANSWER: usize = 256 << 10;
/// Pause between two rounds of a question that is repeated.
const LOOK: Duration = Duration::from_millis(250);

/// What an expectation wants to know from every instance of a role.
pub struct Question<'a> {
    pub role: Option<&'a str>,
    pub ask: Ask,
    /// Limit for one answer.
    pub timeout: Duration,
    pub when: When,
}

/// When it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the first fault and once more at the end.
    BeforeAndAfter,
    /// At the end, again and again until all have answered the same, at most for so long.
    UntilEqual(Duration),
}

/// How one instance is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// A command in the instance, run with `sh -c`; its standard output is the answer if it exits with 0.
    Exec(String),
    /// An HTTP request from the side of the clients; the body is the answer if the status is 200.
    Http(HttpAsk),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpAsk {
    pub port: u16,
    #[serde(default = "root_path")]
    pub path: String,
}

fn root_path() -> String {
    "/".to_owned()
}

/// Takes every answer.
pub type Record = Arc<dyn Fn(Event) + Send + Sync>;

/// Asks, before the first fault, what must be known from then.
pub async fn ask_before(expectations: &[Expectation], targets: &[Target], record: Record) {
    for expectation in expectations {
        let Some(question) = expectation.question().filter(|q| q.when == When::BeforeAndAfter) else {
            continue;
        };
        round(&expectation.title(), &question, targets, 0, &record).await;
    }
}

/// Asks everything when every fault is over.
pub async fn ask_after(expectations: &[Expectation], targets: &[Target], record: Record) {
    for expectation in expectations {
        let Some(question) = expectation.question() else { continue };
        let title = expectation.title();
        let limit = match question.when {
            When::BeforeAndAfter => {
                round(&title, &question, targets, 1, &record).await;
                continue;
            }
            When::UntilEqual(limit) => Instant::now() + limit,
        };
        let mut number = 0;
        loop {
            let next = Instant::now() + LOOK;
            let answers = round(&title, &question, targets, number, &record).await;
            let first = answers.first().cloned().flatten();
            let agree = first.is_some() && answers.iter().all(|answer| *answer == first);
            if agree || next >= limit {
                break;
            }
            sleep_until(next).await;
            number += 1;
        }
    }
}

/// Asks every instance once, all at the same time; the answers in the order of the instances.
async fn round(
    title: &str,
    question: &Question<'_>,
    targets: &[Target],
    round: u32,
    record: &Record,
) -> Vec<Option<String>> {
    let mut asking = JoinSet::new();
    let deadline = Instant::now() + question.timeout;
    for (index, target) in of_role(targets, question.role).enumerate() {
        let (title, ask, record, target) =
            (title.to_owned(), question.ask.clone(), Arc::clone(record), target.clone());
        asking.spawn(async move {
            let (answer, detail) = match ask.of(&target, deadline).await {
                Ok(answer) => (Some(answer), String::new()),
                Err(why) => (None, why),
            };
            record(Event::Said {
                expectation: title,
                node: target.node,
                round,
                answer: answer.clone(),
                detail,
            });
            (index, answer)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

impl Ask {
    async fn of(&self, target: &Target, deadline: Instant) -> Result<String, String> {
        let bytes = match self {
            Ask::Exec(command) => {
                let output = target.session.exec(command, deadline).await.map_err(|e| e.to_string())?;
                if !output.success() {
                    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    return Err(format!("{}: {complaint}", output.status));
                }
                output.stdout
            }
            Ask::Http(ask) => {
                let stream = target.dialer.dial(ask.port, deadline).await.map_err(|e| e.to_string())?;
                let host = format!("{}:{}", target.node, ask.port);
                let request = HttpRequest::get(host, ask.path.as_str());
                let answer = exchange(stream, request, deadline).await.map_err(|e| e.to_string())?;
                if answer.status != 200 {
                    return Err(format!("status {}, expected 200", answer.status));
                }
                answer.body
            }
        };
        match bytes.len() {
            0..=MAX_ANSWER => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            long => {
                Err(format!("the answer has {long} bytes, at most {MAX_ANSWER} are kept; ask for a digest"))
            }
        }
    }
}
