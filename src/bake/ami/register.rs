//! AMIs by their tags: found, registered, copied, shared, kept.

use std::time::Duration;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, EbsBlockDevice, Image as Ami, ImageState,
    ImdsSupportValues, LaunchPermission, LaunchPermissionModifications, ResourceType, Tag, VolumeType,
};
use jiff::Timestamp;

use super::{AmiError, Publishing};
use crate::aws::tags::{EXPIRES, IMAGE, KEY, Owner, having, value};
use crate::aws::{Answer, Aws, AwsError, wait};
use crate::store::Image;

/// Copies between regions take as long as EC2 likes.
const AVAILABLE_WITHIN: Duration = Duration::from_secs(2 * 3600);
const ROOT: &str = "/dev/xvda";

/// What an AMI has to be.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) image: &'a Image,
    pub(super) key: Option<&'a str>,
    pub(super) owner: &'a Owner,
}

/// An AMI that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ami: String,
    pub(super) snapshots: Vec<String>,
    /// It is meant to stay already.
    pub(super) whole: bool,
}

/// The AMI that `wanted` describes, whoever of the account made it; a whole one before one in the making.
pub(super) async fn find(aws: &Aws, wanted: &Wanted<'_>) -> Result<Option<Found>, AmiError> {
    let call = aws.ec2().describe_images().owners("self").filters(having(IMAGE, wanted.image.id().as_str()));
    let answer = call.filters(having(KEY, wanted.key_name())).send().await.answer("DescribeImages")?;
    let usable = |ami: &&Ami| matches!(ami.state(), Some(ImageState::Available | ImageState::Pending));
    let best = answer.images().iter().filter(usable).min_by_key(|ami| value(ami.tags(), EXPIRES).is_some());
    Ok(best.and_then(|ami| {
        let whole = value(ami.tags(), EXPIRES).is_none();
        Some(Found { ami: ami.image_id()?.to_owned(), snapshots: snapshots_of(ami), whole })
    }))
}

pub(super) fn snapshots_of(ami: &Ami) -> Vec<String> {
    let devices = ami.block_device_mappings().iter();
    devices.filter_map(|device| device.ebs()?.snapshot_id().map(str::to_owned)).collect()
}

/// The name that EC2 wants to be unique in an account and region.
fn name(wanted: &Wanted<'_>) -> String {
    let plain = format!("{}-{}", wanted.image.manifest.name, wanted.image.id().short());
    match wanted.key {
        Some(key) => {
            format!("{plain}-{}", blake3::hash(key.as_bytes()).to_hex().get(..8).unwrap_or_default())
        }
        None => plain,
    }
}

pub(super) async fn register(aws: &Aws, wanted: &Wanted<'_>, snapshot: &str) -> Result<String, AmiError> {
    let disk = EbsBlockDevice::builder().snapshot_id(snapshot).volume_type(VolumeType::Gp3);
    let root = BlockDeviceMapping::builder().device_name(ROOT).ebs(disk.delete_on_termination(true).build());
    let call = aws.ec2().register_image().name(name(wanted)).root_device_name(ROOT);
    let call = call
        .block_device_mappings(root.build())
        .description(format!("ovenproof image {}", wanted.image.id()))
        .architecture(ArchitectureValues::X8664)
        .boot_mode(BootModeValues::Uefi)
        .virtualization_type("hvm")
        .ena_support(true)
        .imds_support(ImdsSupportValues::V20)
        .tag_specifications(wanted.tags().on(ResourceType::Image));
    let answer = call.send().await.answer("RegisterImage")?;
    answer.image_id().map(str::to_owned).ok_or(AmiError::Silent("RegisterImage"))
}

pub(super) async fn copy(
    aws: &Aws,
    wanted: &Wanted<'_>,
    region: &str,
    ami: &str,
    token: &str,
) -> Result<Found, AmiError> {
    let call = aws.ec2().copy_image().source_region(region).source_image_id(ami).name(name(wanted));
    let mut call = call
        .client_token(token)
        .description(format!("ovenproof image {}", wanted.image.id()))
        .tag_specifications(wanted.tags().on(ResourceType::Image))
        .tag_specifications(wanted.tags().on(ResourceType::Snapshot));
    if let Some(key) = wanted.key {
        call = call.encrypted(true).kms_key_id(key);
    }
    let answer = call.send().await.answer("CopyImage")?;
    let ami = answer.image_id().map(str::to_owned).ok_or(AmiError::Silent("CopyImage"))?;
    // Its snapshots have no names before it is available.
    Ok(Found { ami, snapshots: Vec::new(), whole: false })
}

/// Waits until the AMI can be launched; gives its snapshots.
pub(super) async fn available(aws: &Aws, ami: &str) -> Result<Vec<String>, AmiError> {
    let look = || async {
        let answer = aws.ec2().describe_images().image_ids(ami).send().await.answer("DescribeImages")?;
        Ok::<_, AwsError>(answer.images().first().cloned())
    };
    wait::until(&format!("the image {ami}"), AVAILABLE_WITHIN, 3, || async {
        let Some(image) = look().await? else { return Ok(wait::State::Not("not known yet".into())) };
        Ok(match image.state() {
            Some(ImageState::Available) => wait::State::Ready,
            Some(ImageState::Failed | ImageState::Invalid | ImageState::Error) => {
                let why =
                    image.state_reason().and_then(|reason| reason.message()).unwrap_or("EC2 says `failed`");
                wait::State::Failed(why.to_owned())
            }
            state => wait::State::Not(state.map_or("unknown", |state| state.as_str()).to_owned()),
        })
    })
    .await?;
    Ok(look().await?.map(|image| snapshots_of(&image)).unwrap_or_default())
}

/// Takes the time of removal away from an AMI and its snapshots, in one call.
pub(super) async fn keep(aws: &Aws, ami: &str, snapshots: &[String]) -> Result<(), AmiError> {
    let call = aws.ec2().delete_tags().resources(ami).tags(Tag::builder().key(EXPIRES).build());
    let call = snapshots.iter().fold(call, |call, snapshot| call.resources(snapshot));
    call.send().await.answer("DeleteTags")?;
    Ok(())
}

/// Lets other accounts launch it, and says when it is out of date.
pub(super) async fn grant(aws: &Aws, ami: &str, publishing: &Publishing) -> Result<(), AmiError> {
    if !publishing.accounts.is_empty() {
        let call = aws.ec2().modify_image_attribute().image_id(ami);
        let accounts = publishing.accounts.iter();
        let accounts = accounts.map(|account| LaunchPermission::builder().user_id(account).build());
        let add = LaunchPermissionModifications::builder().set_add(Some(accounts.collect())).build();
        call.launch_permission(add).send().await.answer("ModifyImageAttribute")?;
    }
    if let Some(after) = publishing.deprecate_in {
        let at = Timestamp::now().checked_add(after).unwrap_or(Timestamp::MAX).as_second();
        // EC2 keeps whole minutes.
        let at = DateTime::from_secs(at / 60 * 60);
        let call = aws.ec2().enable_image_deprecation().image_id(ami).deprecate_at(at);
        call.send().await.answer("EnableImageDeprecation")?;
    }
    Ok(())
}
