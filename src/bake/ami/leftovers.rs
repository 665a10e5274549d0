//! What was begun in an account and never finished, and AMIs that no image of this home stands behind any more.
//!
//! Nothing is touched that does not carry our tags.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Tag;
use jiff::Timestamp;
use serde::Serialize;

use super::{AmiError, register, state};
use crate::aws::tags::{EXPIRES, IMAGE, OWNER, Owner, having, is_expired, value};
use crate::aws::{Answer, Aws, AwsError, Kind as ErrorKind};
use crate::home::Home;
use crate::store::ImageId;

/// One thing that can go, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// `AMI` or `snapshot`.
    pub kind: &'static str,
    pub id: String,
    pub region: String,
    pub image: Option<String>,
    /// In words.
    pub because: String,
}

/// What was left in the region of `aws` by dead commands of this home, or by anyone once its time was over. AMIs first:
/// a snapshot cannot go while one stands on it.
pub async fn unfinished(aws: &Aws, home: &Home) -> Result<Vec<Leftover>, AmiError> {
    let owner = Owner::of(home).map_err(|source| AmiError::io(&home.ec2(), source))?;
    let now = Timestamp::now();
    let mut found = Vec::new();
    let judge = |kind: &'static str, id: Option<&str>, tags: &[Tag]| -> Result<Option<Leftover>, AmiError> {
        let image = value(tags, IMAGE).map(str::to_owned);
        let ours = value(tags, OWNER) == Some(owner.as_str());
        let because = if is_expired(tags, now) {
            "its time is over"
        } else if ours && !state::is_in_work(home, aws.region(), image.as_deref().unwrap_or_default())? {
            "the command that made it is dead"
        } else {
            return Ok(None);
        };
        Ok(id.map(|id| Leftover {
            kind,
            id: id.to_owned(),
            region: aws.region().to_owned(),
            image,
            because: because.to_owned(),
        }))
    };
    let call = aws.ec2().describe_images().owners("self").filters(having(EXPIRES, "*"));
    for ami in call.filters(having(IMAGE, "*")).send().await.answer("DescribeImages")?.images() {
        found.extend(judge("AMI", ami.image_id(), ami.tags())?);
    }
    let call = aws.ec2().describe_snapshots().owner_ids("self").filters(having(EXPIRES, "*"));
    let mut pages = call.filters(having(IMAGE, "*")).into_paginator().send();
    while let Some(page) = pages.next().await {
        for snapshot in page.answer("DescribeSnapshots")?.snapshots() {
            found.extend(judge("snapshot", snapshot.snapshot_id(), snapshot.tags())?);
        }
    }
    Ok(found)
}

/// Whole AMIs of this home, with their snapshots, whose image is not among `kept`.
pub async fn unneeded(aws: &Aws, home: &Home, kept: &BTreeSet<ImageId>) -> Result<Vec<Leftover>, AmiError> {
    let owner = Owner::of(home).map_err(|source| AmiError::io(&home.ec2(), source))?;
    let call = aws.ec2().describe_images().owners("self").filters(having(OWNER, owner.as_str()));
    let answer = call.filters(having(IMAGE, "*")).send().await.answer("DescribeImages")?;
    let mut found = Vec::new();
    let gone = answer.images().iter().filter(|ami| {
        let image = value(ami.tags(), IMAGE).and_then(|id| id.parse::<ImageId>().ok());
        value(ami.tags(), EXPIRES).is_none() && image.is_some_and(|id| !kept.contains(&id))
    });
    for ami in gone {
        let leftover = |kind: &'static str, id: &str| Leftover {
            kind,
            id: id.to_owned(),
            region: aws.region().to_owned(),
            image: value(ami.tags(), IMAGE).map(str::to_owned),
            because: "its image is no longer in the store".to_owned(),
        };
        found.extend(ami.image_id().map(|id| leftover("AMI", id)));
        found.extend(register::snapshots_of(ami).iter().map(|id| leftover("snapshot", id)));
    }
    Ok(found)
}

/// Removes what was found; what has gone by itself is gone.
pub async fn remove(aws: &Aws, leftover: &Leftover) -> Result<(), AwsError> {
    match leftover.kind {
        "AMI" => deregister(aws, &leftover.id).await,
        _ => delete_snapshot(aws, &leftover.id).await,
    }
}

async fn deregister(aws: &Aws, ami: &str) -> Result<(), AwsError> {
    gone(aws.ec2().deregister_image().image_id(ami).send().await.answer("DeregisterImage"))
}

pub(super) async fn delete_snapshot(aws: &Aws, snapshot: &str) -> Result<(), AwsError> {
    gone(aws.ec2().delete_snapshot().snapshot_id(snapshot).send().await.answer("DeleteSnapshot"))
}

fn gone<T>(answer: Result<T, AwsError>) -> Result<(), AwsError> {
    match answer {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
