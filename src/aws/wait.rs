//! Waiting for a state, with pauses that grow, towards a deadline.

use std::time::Duration;

use tokio::time::Instant;

use super::{AwsError, Kind};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What a look at it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Ready,
    /// Not yet; in EC2's word for the state.
    Not(String),
    /// It will never be.
    Failed(String),
}

/// Looks until `look` has said [`State::Ready`] `times` in a row: EC2 answers from many places, which do not learn of
/// a change at the same moment. Not being found is no more than a state, for the same reason.
pub async fn until<F>(
    what: &str,
    limit: Duration,
    times: u32,
    mut look: impl FnMut() -> F,
) -> Result<(), AwsError>
where
    F: Future<Output = Result<State, AwsError>>,
{
    let deadline = Instant::now() + limit;
    let (mut pause, mut seen) = (FIRST_PAUSE, 0);
    loop {
        let state = match look().await {
            Ok(State::Ready) => {
                seen += 1;
                if seen >= times {
                    return Ok(());
                }
                // The next look confirms; there is nothing to wait for.
                pause = FIRST_PAUSE;
                "only just ready".to_owned()
            }
            Ok(State::Failed(why)) => return Err(AwsError::Failed { what: what.to_owned(), why }),
            Ok(State::Not(state)) => {
                seen = 0;
                state
            }
            Err(error) if error.kind() == Kind::NotFound => {
                seen = 0;
                "not known yet".to_owned()
            }
            Err(error) => return Err(error),
        };
        if Instant::now() + pause > deadline {
            return Err(AwsError::TimedOut { what: what.to_owned(), state, limit });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn see(limit: Duration, states: &[State]) -> Result<usize, AwsError> {
        let mut seen = 0;
        until("it", limit, 2, || {
            let state = states.get(seen).cloned().unwrap_or(State::Not("pending".into()));
            seen += 1;
            async { Ok(state) }
        })
        .await?;
        Ok(seen)
    }

    #[tokio::test]
    async fn ready_counts_only_when_it_stays_so() {
        let states = [State::Ready, State::Not("pending".into()), State::Ready, State::Ready];
        assert_eq!(see(Duration::from_secs(600), &states).await.expect("ready"), 4);
    }

    #[tokio::test]
    async fn it_ends_at_the_deadline_and_when_it_can_never_be() {
        let error = see(Duration::ZERO, &[]).await.expect_err("never ready").to_string();
        assert_eq!(error, "it was not to be had within 0 s, it is pending");
        let error =
            see(Duration::ZERO, &[State::Failed("no room".into())]).await.expect_err("failed").to_string();
        assert_eq!(error, "it has failed: no room");
    }
}
