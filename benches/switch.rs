//! How fast the switch moves frames, and how precisely it delays them. Prints tables; `--json FILE` writes the
//! same as JSON. Numbers to compare, never a test.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ovenproof::network::{Impairment, LinkRule, PortSpec, RuleSet, Switch, SwitchSpec};
use serde_json::json;

const RUN: Duration = Duration::from_secs(3);
/// Frames that the sender writes at once.
const BATCH: usize = 32;
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

fn main() {
    let mut arguments = std::env::args().skip(1);
    let json_file = arguments.find(|argument| argument == "--json").and_then(|_| arguments.next());
    let folder = tempfile::tempdir().expect("a folder");
    println!("profile: {PROFILE}\n");

    println!("{:>7} {:>14} {:>20} {:>10}", "bytes", "frames/s", "frames/s a core", "lost");
    let mut speeds = Vec::new();
    for bytes in [64, 1_500] {
        let speed = throughput(folder.path(), bytes);
        println!("{bytes:>7} {:>14.0} {:>20.0} {:>10}", speed.wall, speed.core, speed.lost);
        speeds.push(json!({ "bytes": bytes, "frames_per_second": speed.wall, "frames_per_core_second": speed.core, "lost": speed.lost }));
    }

    println!("\n{:>9} {:>14} {:>16} {:>13}", "asked ms", "median seen ms", "median error ms", "p99 error ms");
    let mut delays = Vec::new();
    for asked in [0, 1, 5, 20, 100] {
        let seen = precision(folder.path(), Duration::from_millis(asked));
        let asked = asked as f64;
        let mut errors: Vec<f64> = seen.iter().map(|seen| (seen - asked).abs()).collect();
        errors.sort_by(f64::total_cmp);
        let (median, p99) = (errors[errors.len() / 2], errors[errors.len() * 99 / 100]);
        let middle = seen[seen.len() / 2];
        println!("{asked:>9} {middle:>14.3} {median:>16.3} {p99:>13.3}");
        delays.push(json!({ "asked_ms": asked, "median_seen_ms": middle, "median_error_ms": median, "p99_error_ms": p99 }));
    }

    if let Some(file) = json_file {
        let all = json!({ "profile": PROFILE, "throughput": speeds, "delay": delays });
        std::fs::write(&file, format!("{all:#}\n")).expect("the JSON file");
    }
}

struct Speed {
    /// Delivered frames a second of wall time, with a sender and a receiver on the same machine.
    wall: f64,
    /// Delivered frames a second of the switch thread's processor time.
    core: f64,
    lost: u64,
}

fn throughput(folder: &Path, bytes: usize) -> Speed {
    let (switch, ports) = start(folder);
    let mut sender = UnixStream::connect(&ports[0].socket).expect("a running switch");
    let mut receiver = UnixStream::connect(&ports[1].socket).expect("a running switch");
    receiver.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");

    let batch = on_the_wire(&frame(bytes)).repeat(BATCH);
    let done = Arc::new(AtomicBool::new(false));
    let receiving = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut buffer = vec![0_u8; 256 << 10];
            let mut count = 0_u64;
            loop {
                match receiver.read(&mut buffer) {
                    Ok(read) => count += read as u64,
                    Err(_) if done.load(Ordering::Relaxed) => return count / (4 + bytes) as u64,
                    Err(_) => {}
                }
            }
        }
    });
    let cpu_before = switch_cpu_time();
    let begun = Instant::now();
    let mut sent = 0_u64;
    while begun.elapsed() < RUN {
        sender.write_all(&batch).expect("a running switch");
        sent += BATCH as u64;
    }
    let wall = begun.elapsed();
    done.store(true, Ordering::Relaxed);
    let received = receiving.join().expect("a receiver");
    // Only now has the switch done all that the frames counted cost it.
    let cpu = switch_cpu_time() - cpu_before;
    drop(switch);
    Speed {
        wall: received as f64 / wall.as_secs_f64(),
        core: received as f64 / cpu.as_secs_f64(),
        lost: sent - received,
    }
}

/// Milliseconds from sending to receiving, one for each frame, in no particular order but sorted.
fn precision(folder: &Path, delay: Duration) -> Vec<f64> {
    let (switch, ports) = start(folder);
    let mut sender = UnixStream::connect(&ports[0].socket).expect("a running switch");
    let mut receiver = UnixStream::connect(&ports[1].socket).expect("a running switch");
    let rule = LinkRule {
        from: ports[0].name.clone(),
        to: ports[1].name.clone(),
        impairment: Impairment { delay, ..Impairment::default() },
    };
    switch.install(RuleSet { fault: "delay".to_owned(), seed: 1, rules: vec![rule] }).expect("rules");

    // Over six seconds, so that one short stall of the host is not yet one frame in a hundred.
    let count: u32 = 10_000;
    let begun = Instant::now();
    let sending = std::thread::spawn(move || {
        for index in 0..count {
            // Off any beat that the timers may have.
            std::thread::sleep(Duration::from_micros(300 + u64::from(index * 37 % 701)));
            let mut frame = frame(64);
            frame[16..24].copy_from_slice(&(begun.elapsed().as_nanos() as u64).to_be_bytes());
            sender.write_all(&on_the_wire(&frame)).expect("a running switch");
        }
    });
    let mut seen = Vec::new();
    let mut buffer = [0; 4 + 64];
    for _ in 0..count {
        receiver.read_exact(&mut buffer).expect("a frame");
        let sent = Duration::from_nanos(u64::from_be_bytes(buffer[20..28].try_into().unwrap()));
        seen.push((begun.elapsed() - sent).as_secs_f64() * 1_000.0);
    }
    sending.join().expect("a sender");
    drop(switch);
    seen.sort_by(f64::total_cmp);
    seen
}

fn start(folder: &Path) -> (Switch, Vec<PortSpec>) {
    let path = |name: String| -> PathBuf { folder.join(name) };
    let ports: Vec<PortSpec> = (1..=2)
        .map(|index| PortSpec {
            name: format!("n{index}"),
            mac: [2, 0, 0, 0, 0, index],
            address: Ipv4Addr::new(10, 77, 0, 10 + index),
            socket: path(format!("{index}.sock")),
        })
        .collect();
    let switch = Switch::start(SwitchSpec { ports: ports.clone(), pcap: None }).expect("a switch");
    // It answers, so its thread runs and has its name.
    switch.faults();
    (switch, ports)
}

/// From the first node to the second.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0; bytes];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame
}

/// As it travels: behind its length.
fn on_the_wire(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

/// Processor time that the switch's thread has used so far, user and system.
fn switch_cpu_time() -> Duration {
    for task in std::fs::read_dir("/proc/self/task").expect("/proc") {
        let task = task.expect("/proc").path();
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "switch") {
            let statistics = std::fs::read_to_string(task.join("schedstat")).expect("schedstat");
            let nanos = statistics.split(' ').next().and_then(|first| first.parse().ok());
            return Duration::from_nanos(nanos.expect("nanoseconds"));
        }
    }
    panic!("the switch has no thread");
}
