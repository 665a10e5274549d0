//! A disk becomes a snapshot, block by block, many at a time.

use std::path::Path;
use std::time::Duration;

use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::blocks::{self, BLOCK, Block};
use super::state::UploadState;
use super::{AmiError, Watch};
use crate::aws::tags::Tags;
use crate::aws::{Answer, Aws, AwsError, Kind, wait};

/// Blocks under way at once: 16 MiB of memory.
const LANES: usize = 32;
/// Blocks read ahead.
const AHEAD: usize = 8;
/// A snapshot that nobody writes to is given up by EBS after so many minutes.
const IDLE_MINUTES: i32 = 60;
const SEALED_WITHIN: Duration = Duration::from_secs(30 * 60);
const GIB: u64 = 1 << 30;
const COMPLETE: &str = "ebs:CompleteSnapshot";

/// Uploads `disk`, going on with what `state` knows, and waits until the snapshot is whole. Gives its id. What was begun
/// is left for the caller to remove on error.
pub(super) async fn upload(
    aws: &Aws,
    disk: &Path,
    tags: &Tags,
    key: Option<&str>,
    state: &mut UploadState,
    watch: &dyn Watch,
) -> Result<String, AmiError> {
    let snapshot = match still_open(aws, state.snapshot.as_deref()).await? {
        Some(Stage::Whole(snapshot)) => return Ok(snapshot),
        Some(Stage::Open(snapshot)) => snapshot,
        None => {
            if state.snapshot.is_some() {
                state.restart()?;
            }
            let snapshot = start(aws, disk, tags, key, &state.token).await?;
            state.started(&snapshot)?;
            snapshot
        }
    };
    let sum = put_all(aws, disk, &snapshot, state, watch).await?;
    seal(aws, &snapshot, sum, state).await?;
    watch.say("waiting for the snapshot to be whole");
    wait::until(&format!("the snapshot {snapshot}"), SEALED_WITHIN, 3, || async {
        Ok(match look(aws, &snapshot).await?.as_deref() {
            Some("completed") => wait::State::Ready,
            Some("error") => wait::State::Failed("EBS says `error`".into()),
            state => wait::State::Not(state.unwrap_or("not known yet").to_owned()),
        })
    })
    .await?;
    Ok(snapshot)
}

/// Says that all blocks are there. EBS may refuse to be told twice, and both a lost answer and a kill make us tell it
/// twice, while `pending` is its word for a snapshot that is open as well as for one that is being sealed. So a refusal
/// counts only of the first time; of any later one, what becomes of the snapshot decides.
async fn seal(
    aws: &Aws,
    snapshot: &str,
    sum: blocks::Summary,
    state: &mut UploadState,
) -> Result<(), AmiError> {
    let before = aws.calls().count_of(COMPLETE);
    let again = state.sealing;
    state.seal()?;
    let call = aws.ebs().complete_snapshot().snapshot_id(snapshot).changed_blocks_count(sum.blocks);
    let call = call
        .checksum(STANDARD.encode(sum.sha256))
        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
        .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear);
    match call.send().await.answer("CompleteSnapshot") {
        Err(AwsError::Refused { kind: Kind::Other | Kind::NotFound, .. })
            if again || aws.calls().count_of(COMPLETE) > before + 1 =>
        {
            Ok(())
        }
        answer => Ok(answer.map(drop)?),
    }
}

/// How far a snapshot has come.
enum Stage {
    Open(String),
    Whole(String),
}

/// What has become of a snapshot that an earlier process began.
async fn still_open(aws: &Aws, snapshot: Option<&str>) -> Result<Option<Stage>, AmiError> {
    let Some(snapshot) = snapshot else { return Ok(None) };
    match look(aws, snapshot).await {
        Ok(Some(state)) if state == "completed" => Ok(Some(Stage::Whole(snapshot.to_owned()))),
        Ok(Some(state)) if state == "pending" => Ok(Some(Stage::Open(snapshot.to_owned()))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn look(aws: &Aws, snapshot: &str) -> Result<Option<String>, AwsError> {
    let page =
        aws.ec2().describe_snapshots().snapshot_ids(snapshot).send().await.answer("DescribeSnapshots")?;
    Ok(page.snapshots().first().and_then(|found| found.state()).map(|state| state.as_str().to_owned()))
}

async fn start(
    aws: &Aws,
    disk: &Path,
    tags: &Tags,
    key: Option<&str>,
    token: &str,
) -> Result<String, AmiError> {
    let length = std::fs::metadata(disk).map_err(|source| AmiError::io(disk, source))?.len();
    let size = i64::try_from(length.div_ceil(GIB)).unwrap_or(i64::MAX);
    let mut call = aws.ebs().start_snapshot().volume_size(size).client_token(token).timeout(IDLE_MINUTES);
    call = call.set_tags(Some(tags.ebs())).description("an image of ovenproof");
    if let Some(key) = key {
        call = call.encrypted(true).kms_key_arn(key);
    }
    let started = call.send().await.answer("StartSnapshot")?;
    started.snapshot_id().map(str::to_owned).ok_or(AmiError::Silent("StartSnapshot"))
}

/// Uploads what the snapshot does not have yet; sums up all of it.
async fn put_all(
    aws: &Aws,
    disk: &Path,
    snapshot: &str,
    state: &mut UploadState,
    watch: &dyn Watch,
) -> Result<blocks::Summary, AmiError> {
    let (to, mut from) = mpsc::channel(AHEAD);
    let path = disk.to_owned();
    let reader = tokio::task::spawn_blocking(move || blocks::read(&path, &to));
    // Dropped on the way out, it ends what is under way.
    let mut under_way = JoinSet::new();
    while let Some(block) = from.recv().await {
        if state.has(block.index) {
            watch.block(BLOCK as u64);
            continue;
        }
        if under_way.len() >= LANES {
            landed(under_way.join_next().await, state, watch)?;
        }
        under_way.spawn(put(aws.clone(), snapshot.to_owned(), block));
    }
    while let Some(done) = under_way.join_next().await {
        landed(Some(done), state, watch)?;
    }
    Ok(reader.await.map_err(|error| AmiError::io(disk, error.into()))??)
}

type Landed = Option<Result<Result<i32, AwsError>, tokio::task::JoinError>>;

fn landed(done: Landed, state: &mut UploadState, watch: &dyn Watch) -> Result<(), AmiError> {
    let Some(done) = done else { return Ok(()) };
    let index = done.map_err(|_| AmiError::Silent("PutSnapshotBlock"))??;
    state.put(index)?;
    watch.block(BLOCK as u64);
    Ok(())
}

async fn put(aws: Aws, snapshot: String, block: Block) -> Result<i32, AwsError> {
    let length = i32::try_from(BLOCK).unwrap_or(i32::MAX);
    let call =
        aws.ebs().put_snapshot_block().snapshot_id(snapshot).block_index(block.index).data_length(length);
    let call = call
        .checksum(STANDARD.encode(block.sha256))
        .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
        .block_data(ByteStream::from(block.data));
    call.send().await.answer("PutSnapshotBlock")?;
    Ok(block.index)
}
