//! An image of the store as an AMI: the very disk that was tested here, uploaded, registered, and found again by the
//! image's id in its tags.
//!
//! Until an AMI is whole, it and its snapshot carry a time at which anyone may remove them; one call takes that away from
//! both. So what a killed command leaves is told apart from what is meant to stay by its tags alone.

mod blocks;
pub mod leftovers;
mod register;
mod state;
mod upload;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::register::{Found, Wanted};
use self::state::UploadState;
use super::BakeError;
use crate::aws::tags::{IMAGE, KEY, Owner, Tags};
use crate::aws::{Aws, AwsError};
use crate::home::Home;
use crate::store::Image;

/// How long something in the making is left alone by other homes.
const MAKING: Duration = Duration::from_secs(24 * 3600);

/// Told what is done while an AMI is made.
pub trait Watch: Sync {
    /// That much of the disk is there.
    fn block(&self, bytes: u64);
    fn say(&self, what: &str);
}

/// How an image is published.
#[derive(Debug, Clone, Default)]
pub struct Publishing {
    /// The AMI is made in the first and copied to the others; none is the region of the environment.
    pub regions: Vec<String>,
    /// Accounts that may launch it.
    pub accounts: Vec<String>,
    /// The key that its snapshot is encrypted with.
    pub key: Option<String>,
    /// When EC2 stops showing it to others.
    pub deprecate_in: Option<Duration>,
}

/// An AMI that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    pub region: String,
    pub ami: String,
    pub snapshots: Vec<String>,
    /// It was there already.
    pub reused: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AmiError {
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Bake(#[from] BakeError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} was answered without what was asked for")]
    Silent(&'static str),
    #[error("{error}\nand what was begun could not be removed: {cleanup}")]
    Left { error: Box<AmiError>, cleanup: AwsError },
}

impl AmiError {
    fn io(path: &Path, source: io::Error) -> Self {
        AmiError::Io { path: path.to_owned(), source }
    }

    /// The error of a call behind it, if there is one.
    pub fn aws(&self) -> Option<&AwsError> {
        match self {
            AmiError::Aws(error) => Some(error),
            AmiError::Left { error, .. } => error.aws(),
            _ => None,
        }
    }
}

/// Makes `image` an AMI in all regions that are asked for, or finds it there. On an error, what was begun is removed;
/// after a kill, the next call goes on with it, and `gc --ec2` removes it.
pub async fn publish(
    image: &Image,
    publishing: &Publishing,
    home: &Home,
    watch: &dyn Watch,
) -> Result<Vec<Published>, AmiError> {
    let owner = Owner::of(home).map_err(|source| AmiError::io(&home.ec2(), source))?;
    let mut regions = publishing.regions.iter();
    let aws = Aws::connect(regions.next().map(String::as_str)).await?;
    let wanted = Wanted::new(image, publishing, &owner);
    let first = make(&aws, image, &wanted, home, watch).await?;
    register::grant(&aws, &first.ami, publishing).await?;
    let mut done = vec![first];
    for region in regions {
        let there = Aws::connect(Some(region)).await?;
        let from = (aws.region(), done.first().map(|first| first.ami.as_str()).unwrap_or_default());
        let copy = copy(&there, from, image, &wanted, home, watch).await?;
        register::grant(&there, &copy.ami, publishing).await?;
        done.push(copy);
    }
    Ok(done)
}

async fn make(
    aws: &Aws,
    image: &Image,
    wanted: &Wanted<'_>,
    home: &Home,
    watch: &dyn Watch,
) -> Result<Published, AmiError> {
    let mut state = UploadState::open(home, aws.region(), image.id(), wanted.key_name())?;
    if let Some(found) = register::find(aws, wanted).await? {
        state.end()?;
        return finish(aws, found, true, watch).await;
    }
    let made = async {
        let snapshot =
            upload::upload(aws, &image.disk(), &wanted.tags(), wanted.key(), &mut state, watch).await?;
        register::register(aws, wanted, &snapshot).await
    };
    match made.await {
        Ok(ami) => {
            state.end()?;
            let snapshots = state.snapshot.iter().cloned().collect();
            finish(aws, Found { ami, snapshots, whole: false }, false, watch).await
        }
        Err(error) => {
            if let Some(snapshot) = &state.snapshot
                && let Err(cleanup) = leftovers::delete_snapshot(aws, snapshot).await
            {
                return Err(AmiError::Left { error: Box::new(error), cleanup });
            }
            state.end()?;
            Err(error)
        }
    }
}

async fn copy(
    aws: &Aws,
    (region, ami): (&str, &str),
    image: &Image,
    wanted: &Wanted<'_>,
    home: &Home,
    watch: &dyn Watch,
) -> Result<Published, AmiError> {
    let state = UploadState::open(home, aws.region(), image.id(), wanted.key_name())?;
    let found = match register::find(aws, wanted).await? {
        Some(found) => {
            state.end()?;
            return finish(aws, found, true, watch).await;
        }
        None => {
            watch.say(&format!("copying {ami} from {region} to {}", aws.region()));
            register::copy(aws, wanted, region, ami, &state.token).await?
        }
    };
    state.end()?;
    finish(aws, found, false, watch).await
}

/// Waits until an AMI can be launched, and takes the time of its removal away from it.
async fn finish(aws: &Aws, found: Found, reused: bool, watch: &dyn Watch) -> Result<Published, AmiError> {
    let (ami, snapshots) = (found.ami, found.snapshots);
    if found.whole {
        return Ok(Published { region: aws.region().to_owned(), ami, snapshots, reused });
    }
    watch.say(&format!("waiting for {ami} in {}", aws.region()));
    let backing = register::available(aws, &ami).await?;
    let snapshots = if snapshots.is_empty() { backing } else { snapshots };
    register::keep(aws, &ami, &snapshots).await?;
    Ok(Published { region: aws.region().to_owned(), ami, snapshots, reused })
}

impl<'a> Wanted<'a> {
    fn new(image: &'a Image, publishing: &'a Publishing, owner: &'a Owner) -> Self {
        Wanted { image, key: publishing.key.as_deref(), owner }
    }

    fn key(&self) -> Option<&'a str> {
        self.key
    }

    fn key_name(&self) -> &'a str {
        self.key.unwrap_or("none")
    }

    fn tags(&self) -> Tags {
        Tags::making(self.owner, MAKING)
            .with(IMAGE, self.image.id().as_str())
            .with(KEY, self.key_name())
            .with("Name", &self.image.manifest.name)
    }
}
