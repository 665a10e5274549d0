//! The block server against `qemu-nbd` on the same file, asked the same things by the same client and with the same
//! promise: either nothing is kept beyond the host's memory, or a flush returns when it is on the host's disk. Prints
//! a table; `--json FILE` writes the same as JSON. Numbers to compare, never a test.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ovenproof::disk::{Disk, Keeping, Layer};
use serde_json::json;

#[path = "../src/disk/tests/client.rs"]
mod client;

use client::{Client, FLUSH, READ, WRITE, request};

const BYTES: u64 = 1 << 30;
/// As many as QEMU has under way at once.
const DEPTH: u64 = 16;
const ROUNDS: usize = 3;

#[derive(Clone, Copy)]
struct Job {
    name: &'static str,
    command: u16,
    length: u32,
    requests: u64,
    random: bool,
    /// After so many requests comes a flush, and one at the end.
    flush_every: u64,
}

/// What a flush is worth, in our words and in those of `qemu-nbd`.
#[derive(Clone, Copy)]
struct Terms {
    name: &'static str,
    keeping: Keeping,
    cache: &'static str,
    jobs: &'static [Job],
}

const RANDOM_READS: Job = Job {
    name: "random reads of 4 KiB",
    command: READ,
    length: 4096,
    requests: 60_000,
    random: true,
    flush_every: u64::MAX,
};
const RANDOM_WRITES: Job = Job { name: "random writes of 4 KiB", command: WRITE, ..RANDOM_READS };
const READS: Job = Job {
    name: "reads of 1 MiB in order",
    command: READ,
    length: 1 << 20,
    requests: 1024,
    random: false,
    flush_every: u64::MAX,
};
const WRITES: Job = Job { name: "writes of 1 MiB in order", command: WRITE, ..READS };

const TERMS: [Terms; 2] = [
    // The disks of fleets.
    Terms {
        name: "memory",
        keeping: Keeping::Guest,
        cache: "unsafe",
        jobs: &[
            RANDOM_READS,
            RANDOM_WRITES,
            Job { name: "the same, a flush each 16", flush_every: 16, ..RANDOM_WRITES },
            READS,
            WRITES,
        ],
    },
    // Volumes.
    Terms {
        name: "disk",
        keeping: Keeping::Host,
        cache: "writeback",
        jobs: &[
            RANDOM_READS,
            RANDOM_WRITES,
            Job { name: "the same, a flush each 16", requests: 2_000, flush_every: 16, ..RANDOM_WRITES },
            READS,
            WRITES,
            Job { name: "the same, a flush each 16", requests: 512, flush_every: 16, ..WRITES },
        ],
    },
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let json_file = arguments.find(|argument| argument == "--json").and_then(|_| arguments.next());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk.raw");
    let piece = vec![7; 1 << 20];
    let mut raw = std::fs::File::create(&file).expect("a file");
    (0..BYTES >> 20).for_each(|_| raw.write_all(&piece).expect("room for a disk"));
    drop(raw);

    println!("{:8} {:28} {:>12} {:>12} {:>8}", "kept in", "MiB/s, best of 3", "qemu-nbd", "ours", "ratio");
    let mut results = Vec::new();
    for (terms, job) in TERMS.iter().flat_map(|terms| terms.jobs.iter().map(move |job| (*terms, *job))) {
        let (mut theirs, mut ours) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            theirs = theirs.min(theirs_once(folder.path(), &file, terms, job));
            ours = ours.min(ours_once(&file, terms, job));
        }
        let rate = |time: Duration| {
            (job.requests * u64::from(job.length)) as f64 / f64::from(1 << 20) / time.as_secs_f64()
        };
        let (ratio, theirs, ours) = (theirs.as_secs_f64() / ours.as_secs_f64(), rate(theirs), rate(ours));
        println!("{:8} {:28} {theirs:>12.0} {ours:>12.0} {ratio:>7.2}x", terms.name, job.name);
        results.push(json!({ "kept_in": terms.name, "job": job.name, "qemu_nbd": theirs, "ours": ours, "ratio": ratio }));
    }
    if let Some(file) = json_file {
        std::fs::write(&file, format!("{:#}\n", json!(results))).expect("the JSON file");
    }
}

/// What one run has left to be written must not be paid for by the next.
fn settle(file: &Path) {
    std::fs::File::open(file).and_then(|file| file.sync_all()).expect("the host's disk");
}

/// The server of QEMU on its best terms: shared cache, threads, nothing between it and the file.
fn theirs_once(folder: &Path, file: &Path, terms: Terms, job: Job) -> Duration {
    settle(file);
    let socket = folder.join("nbd.sock");
    let mut server = Command::new("qemu-nbd")
        .args(["--format=raw", "--discard=unmap", "--cache", terms.cache, "--socket"])
        .args([&socket, file])
        .stdout(Stdio::null())
        .spawn()
        .expect("qemu-nbd");
    let deadline = Instant::now() + Duration::from_secs(10);
    let stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "qemu-nbd does not listen: {error}"),
        }
        std::thread::yield_now();
    };
    let time = run(stream, job);
    // It ends with its only client.
    server.wait().expect("qemu-nbd ends");
    time
}

fn ours_once(file: &Path, terms: Terms, job: Job) -> Duration {
    settle(file);
    let layer = Layer::whole_writable(file).expect("the file");
    let disk = Arc::new(Disk::new(BYTES, Vec::new(), layer, terms.keeping).expect("a disk"));
    let (server, stream) = UnixStream::pair().expect("a socket");
    let serving = disk.serve(server).expect("a server");
    let time = run(stream, job);
    serving.end().expect("it ends well");
    time
}

/// How long it takes until all is answered and, for writes, flushed.
fn run(stream: UnixStream, job: Job) -> Duration {
    let (mut client, size) = Client::connect(stream).expect("a handshake");
    let data = vec![9; if job.command == WRITE { job.length as usize } else { 0 }];
    let mut answer = vec![0; if job.command == READ { job.length as usize } else { 0 }];
    let places = size / u64::from(job.length);
    let place = |number: u64| match job.random {
        // Any odd number spreads them, and none comes twice before all have come.
        true => number.wrapping_mul(0x9e37_79b1) % places,
        false => number % places,
    } * u64::from(job.length);
    let began = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while sent < job.requests {
        let end = sent.saturating_add(job.flush_every).min(job.requests);
        while answered < end {
            while sent < end && sent - answered < DEPTH {
                let head = request(job.command, 0, sent, place(sent), job.length);
                client.stream.write_all(&[head, data.clone()].concat()).expect("it takes requests");
                sent += 1;
            }
            let (_, error) = client.answer().expect("it answers");
            assert_eq!(error, 0);
            client.stream.read_exact(&mut answer).expect("all of it");
            answered += 1;
        }
        // As a file system does: not before all that it is about has been answered.
        client.send(FLUSH, 0, 0, 0, &[]).expect("it takes a flush");
        assert_eq!(client.answer().expect("it answers").1, 0);
    }
    let time = began.elapsed();
    client.stream.write_all(&request(2, 0, 0, 0, 0)).expect("it takes a goodbye");
    time
}
