//! What dead commands left in an account. Each kind of thing that can be left says how it is found, whether someone still
//! works on it, and how it is removed; what is common is here: whose it is, and whether its time is over.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use aws_sdk_ec2::types::Tag;
use jiff::Timestamp;
use serde::Serialize;

use super::tags::{OWNER, Owner, is_expired, value};
use super::{Aws, AwsError, Kind as ErrorKind};
use crate::home::Home;

/// A kind of thing that a command makes in an account.
#[async_trait]
pub trait Remains: Sync {
    /// Such as `snapshot`.
    fn name(&self) -> &'static str;

    /// All of ours in the region of `aws` that are not whole, whoever of the account made them: ids and tags.
    async fn find(&self, aws: &Aws) -> Result<Vec<(String, Vec<Tag>)>, AwsError>;

    /// Whether a process of this home works on it at this moment.
    fn is_in_work(&self, home: &Home, region: &str, tags: &[Tag]) -> io::Result<bool>;

    /// Removes it; an error if it is not there is ignored.
    async fn remove(&self, aws: &Aws, id: &str) -> Result<(), AwsError>;
}

/// One thing that can go, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    pub kind: &'static str,
    pub id: String,
    pub region: String,
    /// In words.
    pub because: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum RemainsError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What of `kinds` is left in the region of `aws`, in their order.
pub async fn find(kinds: &[&dyn Remains], aws: &Aws, home: &Home) -> Result<Vec<Leftover>, RemainsError> {
    let io = |source| RemainsError::Io { path: home.ec2(), source };
    let owner = Owner::of(home).map_err(io)?;
    let (now, mut found) = (Timestamp::now(), Vec::new());
    for kind in kinds {
        for (id, tags) in kind.find(aws).await? {
            let ours = value(&tags, OWNER) == Some(owner.as_str());
            let because = if ours && !kind.is_in_work(home, aws.region(), &tags).map_err(io)? {
                "the command that made it is dead"
            } else if !ours && is_expired(&tags, now) {
                "its time is over"
            } else {
                continue;
            };
            found.push(Leftover { kind: kind.name(), id, region: aws.region().to_owned(), because });
        }
    }
    Ok(found)
}

/// Removes what was found; what has gone by itself is gone.
pub async fn remove(kinds: &[&dyn Remains], aws: &Aws, leftovers: &[Leftover]) -> Result<(), AwsError> {
    for leftover in leftovers {
        for kind in kinds.iter().filter(|kind| kind.name() == leftover.kind) {
            match kind.remove(aws, &leftover.id).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
