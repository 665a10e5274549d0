//! Faults of disks as a guest meets them. They are seen on the bare device, past every cache of the guest, and in
//! a place of it that nothing else uses meanwhile.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::guest::{Guest, SOON, until};

/// Names the device below the root file system; every command here begins with it.
const DISK: &str = "disk=/dev/$(basename $(dirname $(readlink -f /sys/dev/block/$(mountpoint -d /))))";
/// Where the faults with a range are, in blocks of 4 KiB: 64 MiB from the beginning.
const PLACE: u64 = 16384;

fn place() -> Value {
    json!({ "from": "64M", "to": "65M" })
}

fn read(block: u64, count: u64) -> String {
    format!("{DISK}; dd if=$disk bs=4096 skip={block} count={count} iflag=direct 2> /dev/null")
}

fn readable(block: u64) -> String {
    format!("{} > /dev/null", read(block, 1))
}

/// Writes to the beginning of the disk what is there already.
fn rewrite() -> String {
    format!(
        "{} > /run/first && dd if=/run/first of=$disk bs=4096 oflag=direct conv=fsync,notrunc",
        read(0, 1)
    )
}

/// Milliseconds that two reads take, one after the other.
fn two_reads() -> String {
    let read = readable(PLACE);
    format!("a=$(date +%s%3N); {read}; {read}; echo $(($(date +%s%3N) - a))")
}

pub(super) async fn reads_fail_where_the_fault_is(guest: &Guest) {
    assert!(guest.run(&readable(PLACE)).await.0);
    let errors = guest.begin("disk.io_error", json!({ "on": "reads", "range": place() })).await;
    assert!(!guest.run(&readable(PLACE)).await.0, "a read succeeds where all fail");
    assert!(guest.run(&readable(PLACE - 256)).await.0, "a read fails beside the fault");
    assert!(guest.run(&rewrite()).await.0, "a write fails where only reads do");
    guest.end(errors).await;
    assert!(guest.run(&readable(PLACE)).await.0);
    let noted = guest.number("dmesg | grep -c 'I/O error'").await;
    assert!(noted > 0, "the kernel has noted no error");
}

pub(super) async fn bits_are_wrong_and_right_again(guest: &Guest) {
    let sum = format!("{} | sha256sum", read(PLACE, 256));
    let before = guest.says(&sum).await;
    let flips = guest.begin("disk.bit_flip", json!({ "range": place() })).await;
    let during = guest.says(&sum).await;
    assert_ne!(during, before);
    assert_eq!(guest.says(&sum).await, during, "other bits at each read");
    guest.end(flips).await;
    assert_eq!(guest.says(&sum).await, before, "what is stored has changed");
}

pub(super) async fn reads_are_late(guest: &Guest) {
    let late = guest.begin("disk.io_delay", json!({ "on": "reads", "delay": "2s" })).await;
    let took = guest.number(&two_reads()).await;
    assert!(took >= 4000, "two reads took {took} ms");
    guest.end(late).await;
    until("reads are quick again", async || guest.number(&two_reads()).await < 4000).await;
}

pub(super) async fn the_disk_stands_still(guest: &Guest) {
    // Both are in memory by now: nothing of the disk is needed to look.
    let start = format!("rm -f /run/read; ({}; echo $? > /run/read) > /dev/null 2>&1 &", readable(PLACE));
    assert_eq!(guest.says(&format!("{start} wait; cat /run/read")).await, "0");
    let stall = guest.begin("disk.io_stall", json!({ "on": "reads" })).await;
    guest.says(&start).await;
    assert_eq!(guest.says("sleep 2; cat /run/read 2> /dev/null").await, "", "a read was answered");
    guest.end(stall).await;
    until("the read is answered", async || guest.says("cat /run/read").await == "0").await;
}

/// The file system goes read-only with its disk and stays so until the next boot.
pub(super) async fn nothing_can_be_written(guest: &Guest) {
    assert!(guest.run(&rewrite()).await.0);
    let errors = guest.begin("disk.io_error", json!({ "on": "writes" })).await;
    assert!(!guest.run(&rewrite()).await.0, "a write succeeds where all fail");
    guest.end(errors).await;
    assert!(guest.run(&rewrite()).await.0, "the disk takes no writes again");
    let read_only = guest.begin("disk.read_only", json!({})).await;
    assert!(!guest.run(&rewrite()).await.0, "a disk that is read-only was written to");
    assert!(guest.run(&readable(PLACE)).await.0, "a disk that is read-only cannot be read");
    guest.end(read_only).await;
    assert!(guest.run(&rewrite()).await.0, "the disk takes no writes again");
}

/// A rule where the guest never reads or writes has no effect, and must not be taken for one.
pub(super) async fn what_meets_no_request_is_not_proven(guest: &Guest) {
    let beyond = json!({ "from": "512G", "to": "513G" });
    for (name, params) in [
        ("disk.io_error", json!({ "on": "writes", "range": beyond })),
        ("disk.bit_flip", json!({ "range": beyond })),
    ] {
        let mut fault = guest.arm(name, params, SOON);
        fault.inject().await.expect("injected");
        let proof = timeout(Duration::from_secs(6), fault.prove()).await;
        assert!(proof.is_err(), "{name}: {proof:?}");
        guest.end(fault).await;
    }
}

/// What was flushed is there after each power cut; what a disk has only acknowledged is there when the disk keeps
/// it, and gone when it does not: on the machine's own disk as on a volume.
pub(super) async fn the_power_is_cut(guest: &Guest, unflushed: &str, kept: bool) {
    const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
    const LOOK: &str =
        "cat /root/flushed /root/overwritten /srv/data/flushed /srv/data/overwritten | tr -d '\\0'";
    // The second write goes to blocks that the file has already, so that nothing makes the guest flush it.
    const WRITE: &str = "one() { printf $1 > /run/one && truncate -s 4096 /run/one && \
                         dd if=/run/one of=/root/$2 bs=4096 oflag=direct conv=notrunc && \
                         dd if=/run/one of=/srv/data/$2 bs=4096 oflag=direct conv=notrunc; }; \
                         mount -o remount,commit=300 / && mount -o remount,commit=300 /srv/data && \
                         one old flushed && one old overwritten && sync && \
                         one new flushed && sync && one new overwritten";
    let before = guest.says(BOOT_ID).await;
    let (wrote, said) = guest.run(WRITE).await;
    assert!(wrote, "{said}");
    let mut cut = guest.begin("instance.power_cut", json!({ "unflushed": unflushed })).await;
    let again = guest.arm("instance.power_cut", json!({}), SOON).inject().await;
    assert!(again.is_err(), "the power of a machine was cut that had none");
    cut.heal().await.expect("healed");
    println!("  {}", cut.verify_healed().await.expect("verified"));
    cut.back().await.expect("back");
    assert_ne!(guest.says(BOOT_ID).await, before);
    assert_eq!(guest.says(LOOK).await, if kept { "newnewnewnew" } else { "newoldnewold" }, "{unflushed}");
    assert!(guest.run("touch /root/more && sync").await.0, "its file system can be written to");
    assert!(guest.answers().await);
}
