//! Troubles as a guest meets them.

use std::io::{Read, Write};
use std::time::Duration;

use super::client::{FLUSH, READ, WRITE, request};
use super::{connect, disk};
use crate::disk::{DiskCounters, Effect, Requests, Trouble};
use crate::seed::Seed;

const MIB: u64 = 1 << 20;
const EIO: u32 = 5;

fn trouble(effect: Effect, concerns: Requests) -> Trouble {
    Trouble { effect, concerns, range: None, chance: 1.0 }
}

#[test]
fn errors_hit_what_they_concern_and_end_with_the_fault() {
    let (_folder, disk) = disk(MIB);
    let (_serving, mut client) = connect(&disk);
    let writes = trouble(Effect::Error, Requests::Writes);
    disk.troubles().install("w", Seed(7), "root", writes.clone());
    assert_eq!(client.ask(WRITE, 0, 512, &[1; 512]), EIO);
    assert_eq!(client.ask(FLUSH, 0, 0, &[]), EIO);
    assert_eq!(client.read(0, 512), Ok(vec![0; 512]), "it did nothing");
    disk.troubles().install(
        "r",
        Seed(7),
        "root",
        Trouble { range: Some(4096..8192), ..trouble(Effect::Error, Requests::Reads) },
    );
    assert_eq!(client.read(0, 4096), Ok(vec![0; 4096]));
    assert_eq!(client.read(0, 4608), Err(EIO));
    assert_eq!(client.read(8192, 512), Ok(vec![0; 512]));
    let counters = DiskCounters { failed_writes: 2, ..Default::default() };
    assert_eq!(
        (disk.troubles().counters("w"), disk.troubles().remove("w")),
        (Some(counters), Some(counters))
    );
    assert_eq!((disk.troubles().counters("w"), disk.troubles().remove("w")), (None, None));
    assert_eq!(client.ask(WRITE, 0, 512, &[1; 512]), 0);
    assert_eq!(disk.troubles().remove("r").unwrap().failed_reads, 1);

    // By chance, and by the same chance again.
    let mut half = || {
        disk.troubles().install("half", Seed(3), "root", Trouble { chance: 0.5, ..writes.clone() });
        let answers: Vec<u32> = (0..64).map(|_| client.ask(FLUSH, 0, 0, &[])).collect();
        let failed = answers.iter().filter(|error| **error == EIO).count();
        assert_eq!(disk.troubles().remove("half").unwrap().failed_writes, failed as u64);
        assert!((16..48).contains(&failed), "{failed}");
        answers
    };
    assert_eq!(half(), half());
}

#[test]
fn who_is_delayed_does_not_hold_up_the_others() {
    let (_folder, disk) = disk(MIB);
    let (_serving, mut client) = connect(&disk);
    let delay = Effect::Delay { delay: Duration::from_millis(100), jitter: Duration::from_millis(10) };
    disk.troubles().install("late", Seed(7), "root", trouble(delay, Requests::Writes));
    client.send(WRITE, 1, 0, 512, &[1; 512]).unwrap();
    client.send(READ, 2, 0, 512, &[]).unwrap();
    assert_eq!(client.answer().unwrap(), (2, 0));
    let mut sector = [0; 512];
    client.stream.read_exact(&mut sector).unwrap();
    assert_eq!(sector, [1; 512]);
    assert_eq!(client.answer().unwrap(), (1, 0));
    assert_eq!(disk.troubles().remove("late").unwrap().delayed, 1);
}

#[test]
fn a_stall_ends_with_its_fault_and_holds_up_nobody_else() {
    let (_folder, disk) = disk(MIB);
    let (_serving, mut client) = connect(&disk);
    disk.troubles().install("stall", Seed(7), "root", trouble(Effect::Stall, Requests::Reads));
    client.send(READ, 1, 0, 512, &[]).unwrap();
    client.send(WRITE, 2, 512, 512, &[1; 512]).unwrap();
    assert_eq!(client.answer().unwrap(), (2, 0));
    assert_eq!(disk.troubles().remove("stall").unwrap().stalled, 1);
    assert_eq!(client.answer().unwrap(), (1, 0));
}

#[test]
fn a_machine_that_dies_over_a_stalled_disk_leaves_nobody_waiting() {
    let (_folder, disk) = disk(MIB);
    let (serving, mut client) = connect(&disk);
    disk.troubles().install("stall", Seed(7), "root", trouble(Effect::Stall, Requests::All));
    // More than is held: the rest waits for room.
    let all: Vec<u8> = (0..1000).flat_map(|handle| request(FLUSH, 0, handle, 0, 0)).collect();
    client.stream.write_all(&all).unwrap();
    drop(client);
    serving.end().unwrap();
    assert!(disk.troubles().remove("stall").unwrap().stalled > 200);
    let (_serving, mut client) = connect(&disk);
    assert_eq!(client.ask(FLUSH, 0, 0, &[]), 0);
}

#[test]
fn flipped_bits_are_the_same_at_each_read_and_never_stored() {
    let (_folder, disk) = disk(MIB);
    let (_serving, mut client) = connect(&disk);
    let range = Some(8192..MIB);
    disk.troubles().install(
        "flip",
        Seed(7),
        "root",
        Trouble { range, chance: 0.25, ..trouble(Effect::BitFlip, Requests::All) },
    );
    let first = client.read(0, MIB as u32).unwrap();
    assert_eq!(client.read(0, MIB as u32).unwrap(), first);
    assert!(first[..8192].iter().all(|byte| *byte == 0));
    let ones: u32 = first.iter().map(|byte| byte.count_ones()).sum();
    assert!((400..600).contains(&ones), "{ones} of 2032 sectors");
    assert_eq!(disk.troubles().remove("flip").unwrap().flipped, u64::from(ones) * 2);
    assert_eq!(client.read(0, MIB as u32).unwrap(), vec![0; MIB as usize]);
}
