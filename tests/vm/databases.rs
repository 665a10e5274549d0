//! Known truths about power cuts: what a database that syncs has promised is there after each of them, what
//! one that does not sync has promised is not, and the file system below comes back.
//!
//! A guest of its own, without a fleet: a kernel, the host's SQLite, and a disk. It writes to as many disks
//! as there are seeds at once, and each of them then loses its power in its own way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ovenproof::disk::{Cut, Disk, Keeping, Layer, Serving, Unflushed};
use ovenproof::home::Home;
use ovenproof::seed::Seed;
use ovenproof::store::Store;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::initramfs::initramfs;
use crate::machines::{baked, home};

const SEEDS: u64 = 20;
const DISK: u64 = 32 << 20;
/// As a fleet's machines have them, and how the guest calls them.
const VIRTIO: (&str, &str) = ("virtio-blk-pci", "vda");
const NVME: (&str, &str) = ("nvme,serial=root,write-cache=off", "nvme0n1");
/// Acknowledged rows after which the plug is pulled; more of them may come until it is out.
const ROWS: u64 = 60;
/// The plug may be pulled in the moment after a flush, when there is nothing to take: then it is pulled again.
const TRIES: usize = 5;
/// Each of them for every fifth seed.
const KEPT: [Unflushed; 5] =
    [Unflushed::None, Unflushed::All, Unflushed::Prefix, Unflushed::Subset, Unflushed::Torn];

/// The first process of the guest. A row is acknowledged when its number is on the console. Something else
/// writes meanwhile and flushes nothing, so that there is something to lose. If it ends, so does the guest.
const START: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
exec > /dev/ttyS0 2>&1
$b mount -t proc none /proc
$b modprobe -a virtio_pci virtio_blk
while [ ! -e /dev/DISK ]; do $b usleep 20000; done
$b mount -t ext4 /dev/DISK /data || exit 1
cd /data
while :; do $b dd if=/dev/zero of=noise bs=4k count=256 conv=notrunc oflag=direct 2> /dev/null; done &
{
  echo "PRAGMA synchronous=MODE;"
  n=0
  while :; do
    n=$((n + 1))
    echo "INSERT INTO rows VALUES ($n, hex(randomblob(300))); SELECT 'row $n';"
  done
} | $b timeout 240 sqlite3 -bail rows.db
"#;

/// What became of one disk.
struct Outcome {
    cut: Cut,
    /// Rows that are there, one after the other; `None` if the database cannot be read.
    rows: Option<u64>,
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was lost is worth knowing")]
fn a_database_that_syncs_keeps_its_promises_through_power_cuts_and_one_that_does_not_breaks_them() {
    baked(&["base"]);
    // A guest flushes such a disk less, and wants single writes on it at once. QEMU's NVMe does not pass that on.
    let (promised, outcomes) = crash("FULL", NVME, 1);
    let rows = outcomes.first().and_then(|outcome| outcome.rows);
    assert!(rows.is_some_and(|rows| rows >= promised), "NVMe: {rows:?} of {promised} rows");

    let (promised, lossy) =
        (0..TRIES).map(|_| kept()).find(|(_, lossy)| *lossy > 0).expect("no cut took anything");
    println!("FULL: {promised} rows promised; all there after {SEEDS} cuts, {lossy} of which lost writes");

    let (promised, outcomes) = crash("OFF", VIRTIO, SEEDS);
    let broken = outcomes.iter().filter(|outcome| outcome.rows.is_none_or(|rows| rows < promised)).count();
    let rows: Vec<Option<u64>> = outcomes.iter().map(|outcome| outcome.rows).collect();
    println!("OFF: {promised} rows promised; {broken} of {SEEDS} cuts lost some, there are {rows:?}");
    assert_eq!(broken as u64, SEEDS, "{promised} rows were promised, and there are {rows:?}");
}

/// Cuts the power of a database that syncs, which must keep its promises: how many they were, and from how many
/// disks the cut took something that was not promised.
fn kept() -> (u64, usize) {
    let (promised, outcomes) = crash("FULL", VIRTIO, SEEDS);
    for (seed, Outcome { cut, rows }) in outcomes.iter().enumerate() {
        assert!(
            rows.is_some_and(|rows| rows >= promised),
            "seed {seed}: {rows:?} of {promised} rows; {cut:?}"
        );
    }
    let lossy = outcomes.iter().filter(|outcome| outcome.cut.lost + outcome.cut.torn > 0).count();
    (promised, lossy)
}

/// Lets a guest write until it has promised enough rows, cuts the power of all its disks, and looks what is
/// left; with the number of rows that it had promised.
fn crash(synchronous: &str, (device, name): (&str, &str), seeds: u64) -> (u64, Vec<Outcome>) {
    let folder = tempfile::tempdir().expect("a folder");
    let blank = blank(folder.path());
    let mut disks = Vec::new();
    for seed in 0..seeds {
        let below = vec![Arc::new(Layer::whole(&blank).expect("a layer"))];
        let top = Layer::create(&folder.path().join(format!("top-{seed}")), DISK).expect("a layer");
        disks.push(Arc::new(Disk::new(DISK, below, top, Keeping::Guest).expect("a disk")));
    }
    let image = Store::open(&Home::at(home())).expect("a store").resolve("base").expect("the image");
    let drivers = fs::read(image.initrd().expect("an initial RAM disk")).expect("an initial RAM disk");
    let initrd = folder.path().join("initrd");
    let start = START.replace("MODE", synchronous).replace("DISK", name);
    fs::write(&initrd, initramfs(drivers, &start)).expect("an initial RAM disk");
    let (mut guest, serving) = Guest::start(device, &disks, &image.kernel(), &initrd);
    let promised = guest.promises();
    for serving in serving {
        // A machine that is killed in the middle of a sentence breaks off.
        let _ = serving.end();
    }
    let outcomes = (0..).zip(&disks).map(|(seed, disk)| {
        let cut = disk.power_cut(KEPT[seed as usize % KEPT.len()], Seed(seed)).expect("a cut");
        Outcome { cut, rows: rows_left(disk, folder.path()) }
    });
    (promised, outcomes.collect())
}

/// A file system with an empty database in it.
fn blank(folder: &Path) -> PathBuf {
    let (content, blank) = (folder.join("content"), folder.join("blank"));
    fs::create_dir(&content).expect("a folder");
    let schema = "PRAGMA journal_mode=WAL; CREATE TABLE rows (n INTEGER PRIMARY KEY, what TEXT);";
    tool("sqlite3", &[&content.join("rows.db").display().to_string(), schema], 0);
    fs::File::create(&blank).and_then(|file| file.set_len(DISK)).expect("a file");
    let (content, path) = (content.display().to_string(), blank.display().to_string());
    tool("mkfs.ext4", &["-q", "-d", &content, &path], 0);
    blank
}

/// Brings the file system back as the next boot would, and counts the rows that are in it from the first on.
fn rows_left(disk: &Disk, folder: &Path) -> Option<u64> {
    let (image, files) = (folder.join("crashed"), folder.join("files"));
    let (path, target) = (image.display().to_string(), files.display().to_string());
    copy_out(disk, &image);
    // Replays the journal, and mends nothing that a mount would stumble over.
    tool("e2fsck", &["-fp", &path], 1);
    tool("e2fsck", &["-fn", &path], 0);
    if files.exists() {
        fs::remove_dir_all(&files).expect("removed");
    }
    fs::create_dir(&files).expect("a folder");
    tool("debugfs", &["-R", &format!("rdump / {target}"), &path], 0);
    let query = "PRAGMA integrity_check; SELECT max(n) FROM rows; SELECT count(*) FROM rows;";
    let database = files.join("rows.db").display().to_string();
    let said = Command::new("sqlite3").args(["-bail", &database, query]).output().expect("sqlite3");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    match said.lines().collect::<Vec<_>>().as_slice() {
        ["ok", "", "0"] => Some(0),
        ["ok", newest, count] if newest == count => count.parse().ok(),
        _ => None,
    }
}

fn copy_out(disk: &Disk, path: &Path) {
    let file = fs::File::create(path).expect("a file");
    file.set_len(DISK).expect("a file");
    let mut buffer = vec![0; 1 << 20];
    for offset in (0..DISK).step_by(buffer.len()) {
        disk.read(offset, &mut buffer).expect("a read");
        if buffer.iter().any(|byte| *byte != 0) {
            file.write_all_at(&buffer, offset).expect("written");
        }
    }
}

/// Runs a tool of the host that must exit with `most` or less; those of file systems are not in everybody's
/// path.
#[track_caller]
fn tool(name: &str, arguments: &[&str], most: i32) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name).args(arguments).env("PATH", path).output().expect(name);
    let said = [output.stdout, output.stderr].concat();
    let good = output.status.code().is_some_and(|code| code <= most);
    assert!(good, "{name} {arguments:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}

/// The machine, which is killed when this goes.
struct Guest(Child);

impl Guest {
    fn start(device: &str, disks: &[Arc<Disk>], kernel: &Path, initrd: &Path) -> (Self, Vec<Serving>) {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-m", "256M", "-nodefaults", "-no-user-config"]);
        qemu.args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"]).arg(kernel);
        qemu.arg("-initrd").arg(initrd).args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/start"]);
        let (mut serving, mut theirs) = (Vec::new(), Vec::<OwnedFd>::new());
        let mut all = String::from("driver=quorum,node-name=all,vote-threshold=1");
        for (number, disk) in disks.iter().enumerate() {
            let (ours, other) = UnixStream::pair().expect("sockets");
            fcntl_setfd(&other, FdFlags::empty()).expect("inherited");
            let node =
                format!("driver=nbd,node-name=n{number},server.type=fd,server.str={}", other.as_raw_fd());
            qemu.arg("-blockdev").arg(node);
            all.push_str(&format!(",children.{number}=n{number}"));
            serving.push(disk.serve(ours).expect("served"));
            theirs.push(other.into());
        }
        let drive = match disks {
            [_] => "n0",
            // Not NVMe, where a guest forces single writes to the disk: QEMU, writing to several, would make a
            // write and a flush of each, and leave out flushes that it takes for needless.
            _ => {
                qemu.arg("-blockdev").arg(all);
                "all"
            }
        };
        qemu.arg("-device").arg(format!("{device},drive={drive}"));
        let child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("QEMU");
        (Guest(child), serving)
    }

    /// Kills it as soon as it has promised enough; how many rows that were in the end.
    fn promises(&mut self) -> u64 {
        let mut said = Vec::new();
        let mut promised = 0;
        for line in BufReader::new(self.0.stdout.take().expect("its output")).lines() {
            let line = line.expect("its output");
            if let Some(row) = line.trim().strip_prefix("row ").and_then(|row| row.parse().ok()) {
                promised = row;
            }
            if promised >= ROWS {
                self.0.kill().expect("killed");
            }
            said.push(line);
        }
        assert!(promised >= ROWS, "it ended too early:\n{}", said.join("\n"));
        self.0.wait().expect("its end");
        promised
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
