//! The conversation: what a decent client gets, and what a hostile one does not.

use std::io::{Read, Write};
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::client::{FLUSH, READ, WRITE, option, request};
use super::{connect, disk};
use crate::disk::nbd::converse;
use crate::disk::{Cut, Unflushed};
use crate::seed::Seed;

const DISCONNECT: u16 = 2;
const TRIM: u16 = 4;
const ZERO: u16 = 6;
const MIB: u64 = 1 << 20;

#[test]
fn what_is_written_is_read_and_what_is_trimmed_is_zero() {
    let (_folder, disk) = disk(64 * MIB);
    let (serving, mut client) = connect(&disk);
    assert_eq!(client.ask(WRITE, 4096, 4096, &[7; 4096]), 0);
    assert_eq!(client.read(3584, 1024), Ok([[0; 512], [7; 512]].concat()));
    assert_eq!(client.ask(TRIM, 4608, 512, &[]), 0);
    assert_eq!(client.ask(ZERO, 5120, 512, &[]), 0);
    assert_eq!(client.ask(FLUSH, 0, 0, &[]), 0);
    assert_eq!(client.read(4096, 2048), Ok([[7; 512], [0; 512], [0; 512], [7; 512]].concat()));
    // The whole disk at once; more than that can be neither read nor written at once.
    assert_eq!(client.ask(ZERO, 0, (64 * MIB) as u32, &[]), 0);
    assert_eq!(client.read(0, (33 * MIB) as u32), Err(22));
    assert_eq!(client.read(0, (32 * MIB) as u32), Ok(vec![0; 32 * MIB as usize]));
    client.stream.write_all(&request(DISCONNECT, 0, 1, 0, 0)).unwrap();
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    serving.end().unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_and_the_conversation_goes_on() {
    let (_folder, disk) = disk(MIB);
    let (_serving, mut client) = connect(&disk);
    for (offset, length) in [(1, 512), (0, 100), (MIB, 512), (u64::MAX - 511, 512), (MIB - 512, 1024)] {
        assert_eq!(client.read(offset, length), Err(22), "{offset} {length}");
        assert_eq!(client.ask(WRITE, offset, length, &vec![1; length as usize]), 22, "{offset} {length}");
        assert_eq!(client.ask(TRIM, offset, length, &[]), 22, "{offset} {length}");
    }
    assert_eq!(client.ask(99, 0, 512, &[]), 95);
    client.stream.write_all(&request(READ, 1 << 9, 77, 0, 512)).unwrap();
    assert_eq!(client.answer().unwrap(), (77, 22), "a flag that nobody knows");
    assert_eq!(client.read(0, 512), Ok(vec![0; 512]));
}

#[test]
fn many_requests_in_one_go_are_all_answered() {
    let (_folder, disk) = disk(MIB);
    let (_serving, mut client) = connect(&disk);
    let all: Vec<u8> = (0..500).flat_map(|handle| request(READ, 0, handle, handle * 512, 512)).collect();
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&all).unwrap());
    for handle in 0..500 {
        assert_eq!(client.answer().unwrap(), (handle, 0));
        client.stream.read_exact(&mut [0; 512]).unwrap();
    }
    sender.join().unwrap();
}

#[test]
fn who_does_not_keep_to_the_protocol_is_left() {
    let (_folder, disk) = disk(MIB);
    let too_long = request(WRITE, 0, 1, 0, u32::MAX);
    for bad in [b"not a request, but long enough for one".to_vec(), too_long] {
        let (serving, mut client) = connect(&disk);
        client.stream.write_all(&bad).unwrap();
        assert!(matches!(client.stream.read(&mut [0]), Ok(0) | Err(_)));
        assert!(serving.end().is_err());
    }
}

#[test]
fn a_handshake_may_look_around_first_and_use_the_oldest_way_in() {
    let (_folder, disk) = disk(MIB);
    let say = |bytes: &[u8]| {
        let mut said = Vec::new();
        let outcome = converse(&disk, &AtomicBool::new(false), bytes, &mut said);
        (outcome.map_err(|error| error.kind()), said)
    };
    // Structured replies are not there; the list has one nameless export; a look is no visit.
    let look = [1_u32.to_be_bytes().to_vec(), option(8, &[]), option(3, &[]), option(6, &[0; 6])].concat();
    let (outcome, said) = say(&[look, option(2, &[])].concat());
    assert_eq!(outcome, Ok(()));
    assert_eq!(&said[..18], b"NBDMAGICIHAVEOPT\0\x03");
    let kinds: Vec<u8> =
        said[18..].windows(8).filter(|w| w.starts_with(&[0x65, 0xa9])).map(|w| w[5]).collect();
    assert_eq!(kinds.len(), 7, "{said:02x?}");
    // Without the flag that leaves them out, 124 zeroes follow the old way in.
    let old = [1_u32.to_be_bytes().to_vec(), option(1, b"any"), request(READ, 0, 5, 0, 512)].concat();
    let (outcome, said) = say(&old);
    assert_eq!((outcome, said.len()), (Ok(()), 18 + 10 + 124 + 16 + 512));
    // No fixed newstyle, an unknown flag, an endless option, options without end.
    for flags in [0_u32, 1 | 1 << 20] {
        assert!(say(&flags.to_be_bytes()).0.is_err());
    }
    let endless = [1_u32.to_be_bytes().to_vec(), b"IHAVEOPT\0\0\0\x03\xff\xff\xff\xff".to_vec()].concat();
    assert!(say(&endless).0.is_err());
    let forever = [1_u32.to_be_bytes().to_vec(), option(99, &[]).repeat(100)].concat();
    assert!(say(&forever).0.is_err());
}

#[test]
fn a_write_that_is_forced_to_the_disk_needs_no_flush() {
    let (_folder, disk) = disk(MIB);
    let (serving, mut client) = connect(&disk);
    let mut ask = |command, flags, offset, data: &[u8]| {
        let request = request(command, flags, 1, offset, 512);
        client.stream.write_all(&[&request, data].concat()).unwrap();
        assert_eq!(client.answer().unwrap(), (1, 0));
    };
    let forced = 1;
    ask(WRITE, 0, 0, &[1; 512]);
    ask(WRITE, forced, 512, &[2; 512]);
    ask(WRITE, forced, 1024, &[3; 512]);
    ask(ZERO, forced, 1024, &[]);
    // An older write that was not forced must not come back over one that was.
    ask(WRITE, 0, 1536, &[4; 512]);
    ask(WRITE, forced, 1536, &[5; 512]);
    ask(WRITE, 0, 2048, &[6; 512]);
    serving.end().unwrap();
    let cut = disk.power_cut(Unflushed::None, Seed(7)).unwrap();
    assert_eq!(cut, Cut { unflushed: 1, lost: 1, ..Default::default() });
    let mut found = vec![0; 2560];
    disk.read(0, &mut found).unwrap();
    assert_eq!(found, [[1; 512], [2; 512], [0; 512], [5; 512], [0; 512]].concat());
}

#[test]
fn a_full_cache_keeps_the_oldest_writes_early() {
    let (_folder, disk) = disk(256 * MIB);
    for number in 0..80 {
        disk.write(number * MIB, vec![number as u8 + 1; MIB as usize], false).unwrap();
    }
    let Cut { unflushed, lost, .. } = disk.power_cut(Unflushed::None, Seed(7)).unwrap();
    assert_eq!((unflushed, lost), (32, 32));
    let mut sector = [0; 512];
    for number in 0..80 {
        disk.read(number * MIB, &mut sector).unwrap();
        assert_eq!(sector[0], if number < 48 { number as u8 + 1 } else { 0 });
    }
    // Zeroes take no memory, but no end of them is held either.
    for number in 0..100_000 {
        disk.zero(number % 1000 * 512, 512, false).unwrap();
    }
    assert_eq!(disk.power_cut(Unflushed::All, Seed(7)).unwrap().unflushed, 16 << 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..300), numbers: [u64; 4]) {
        let (_folder, disk) = disk(MIB);
        let mut bytes = [3_u32.to_be_bytes().to_vec(), option(7, &[0; 6])].concat();
        for number in numbers {
            let [a, b, ..] = number.to_be_bytes();
            let flags = u16::from(b & 3);
            bytes.extend(request(u16::from(a % 8), flags, number, number % (2 * MIB), number as u32 % 4096));
        }
        bytes.extend(tail);
        let _ = converse(&disk, &AtomicBool::new(false), bytes.as_slice(), Vec::new());
    }
}
