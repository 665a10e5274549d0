//! What is left of publishing: AMIs and snapshots in the making that nobody works on, and AMIs whose image has gone.

use std::collections::BTreeSet;
use std::io;

use async_trait::async_trait;
use aws_sdk_ec2::types::Tag;

use super::{AmiError, register, state};
use crate::aws::remains::{Leftover, Remains};
use crate::aws::tags::{EXPIRES, IMAGE, OWNER, Owner, having, value};
use crate::aws::{Answer, Aws, AwsError, Kind};
use crate::home::Home;
use crate::store::ImageId;

/// AMIs in the making. They go before snapshots: one cannot go while an AMI stands on it.
#[derive(Debug)]
pub struct Amis;

/// Snapshots in the making.
#[derive(Debug)]
pub struct Snapshots;

fn is_in_work(home: &Home, region: &str, tags: &[Tag]) -> io::Result<bool> {
    state::is_in_work(home, region, value(tags, IMAGE).unwrap_or_default())
}

#[async_trait]
impl Remains for Amis {
    fn name(&self) -> &'static str {
        "AMI"
    }

    async fn find(&self, aws: &Aws) -> Result<Vec<(String, Vec<Tag>)>, AwsError> {
        let call = aws.ec2().describe_images().owners("self").filters(having(EXPIRES, "*"));
        let mut pages = call.filters(having(IMAGE, "*")).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.answer("DescribeImages")?;
            found.extend(
                page.images()
                    .iter()
                    .filter_map(|ami| Some((ami.image_id()?.to_owned(), ami.tags().to_vec()))),
            );
        }
        Ok(found)
    }

    fn is_in_work(&self, home: &Home, region: &str, tags: &[Tag]) -> io::Result<bool> {
        is_in_work(home, region, tags)
    }

    async fn remove(&self, aws: &Aws, id: &str) -> Result<(), AwsError> {
        aws.ec2().deregister_image().image_id(id).send().await.answer("DeregisterImage").map(drop)
    }
}

#[async_trait]
impl Remains for Snapshots {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    async fn find(&self, aws: &Aws) -> Result<Vec<(String, Vec<Tag>)>, AwsError> {
        let call = aws.ec2().describe_snapshots().owner_ids("self").filters(having(EXPIRES, "*"));
        let mut pages = call.filters(having(IMAGE, "*")).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.answer("DescribeSnapshots")?;
            let snapshots = page.snapshots().iter();
            found.extend(
                snapshots.filter_map(|one| Some((one.snapshot_id()?.to_owned(), one.tags().to_vec()))),
            );
        }
        Ok(found)
    }

    fn is_in_work(&self, home: &Home, region: &str, tags: &[Tag]) -> io::Result<bool> {
        is_in_work(home, region, tags)
    }

    async fn remove(&self, aws: &Aws, id: &str) -> Result<(), AwsError> {
        aws.ec2().delete_snapshot().snapshot_id(id).send().await.answer("DeleteSnapshot").map(drop)
    }
}

/// Deletes a snapshot; one that is not there is deleted.
pub(super) async fn delete_snapshot(aws: &Aws, snapshot: &str) -> Result<(), AwsError> {
    match Snapshots.remove(aws, snapshot).await {
        Err(error) if error.kind() != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whole AMIs of this home, and the snapshots under them, whose image is not among `kept`.
pub async fn unneeded(aws: &Aws, home: &Home, kept: &BTreeSet<ImageId>) -> Result<Vec<Leftover>, AmiError> {
    let owner = Owner::of(home).map_err(|source| AmiError::io(&home.ec2(), source))?;
    let call = aws.ec2().describe_images().owners("self").filters(having(OWNER, owner.as_str()));
    let mut pages = call.filters(having(IMAGE, "*")).into_paginator().send();
    let (mut amis, mut snapshots) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await {
        for ami in page.answer("DescribeImages")?.images() {
            let image = value(ami.tags(), IMAGE).and_then(|id| id.parse::<ImageId>().ok());
            let gone = value(ami.tags(), EXPIRES).is_none() && image.is_some_and(|id| !kept.contains(&id));
            if gone {
                amis.extend(ami.image_id().map(|id| leftover(&Amis, aws, id)));
                snapshots.extend(register::snapshots_of(ami).iter().map(|id| leftover(&Snapshots, aws, id)));
            }
        }
    }
    Ok([amis, snapshots].concat())
}

fn leftover(kind: &dyn Remains, aws: &Aws, id: &str) -> Leftover {
    let (id, region) = (id.to_owned(), aws.region().to_owned());
    Leftover { kind: kind.name(), id, region, because: "its image is no longer in the store" }
}

/// The regions in which this home ever made an AMI.
pub fn regions(home: &Home) -> Result<BTreeSet<String>, AmiError> {
    state::regions(home).map_err(|source| AmiError::io(&home.ec2(), source))
}
