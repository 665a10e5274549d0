//! Proof that a recipe bakes to the same bytes: it is baked twice from nothing, in two places, and compared.
//!
//! Only downloaded packages serve both. The store is neither read nor changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::disk::{ROOT_START, part_of};
use super::error::{At, BakeError};
use super::process::{self, Ended, command};
use super::{Options, Progress, bake};
use crate::home::{Home, create_private_dir};
use crate::recipe::Plan;
use crate::store::digest::differing_blocks;
use crate::store::{Image, ImageId, Store, diff};

/// So many blocks of a disk are looked at to name the files that they belong to.
const BLOCKS: usize = 64;

/// What came of baking twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reproduction {
    pub id: ImageId,
    /// How long each bake took, in milliseconds.
    pub took_ms: [u64; 2],
    /// What is not the same, in words; empty when every byte is.
    pub differences: Vec<String>,
}

/// Bakes `plan` twice from nothing and compares disk, kernel and initial RAM disk byte for byte.
pub fn reproduce(
    plan: &Plan,
    options: &Options,
    store: &Store,
    home: &Home,
    progress: &mut dyn Progress,
) -> Result<Reproduction, BakeError> {
    let work = store.begin_scratch("reproduce")?;
    let mut images = Vec::new();
    let mut took_ms = [0; 2];
    // Names of different lengths: a path that got into an image would show.
    for (name, took) in ["one", "another"].into_iter().zip(&mut took_ms) {
        let elsewhere = Home::at(work.dir().join(name));
        create_private_dir(elsewhere.root()).at(elsewhere.root())?;
        let cache = home.cache();
        create_private_dir(&cache).at(&cache)?;
        symlink(&cache, elsewhere.cache()).at(elsewhere.root())?;
        let begun = Instant::now();
        let baked = bake(plan, options, &Store::open(&elsewhere)?, &elsewhere, progress)?;
        *took = super::millis(begun.elapsed());
        images.push(baked.image);
    }
    let differences = match images.as_slice() {
        [one, another] => compare(one, another, &work.dir().join("log"))?,
        _ => Vec::new(),
    };
    Ok(Reproduction { id: ImageId::from_hash(plan.image), took_ms, differences })
}

/// What is not the same in two images: the files in them, then what else of their disks and kernels.
fn compare(one: &Image, another: &Image, log: &Path) -> Result<Vec<String>, BakeError> {
    let mut found = Vec::new();
    let files = diff::files(one.files()?, another.files()?);
    found.extend(files.removed.iter().map(|file| format!("{} is in the first image only", file.path)));
    found.extend(files.added.iter().map(|file| format!("{} is in the second image only", file.path)));
    found.extend(
        files
            .changed
            .iter()
            .map(|file| format!("{} differs in {}", file.after.path, file.differs.join(", "))),
    );
    let blocks = |name: &str, limit| {
        let (one, another) = (one.dir.join(name), another.dir.join(name));
        match (one.exists(), another.exists()) {
            (false, false) => Ok(Vec::new()),
            (true, true) => differing_blocks(&one, &another, limit).at(&one),
            _ => Ok(vec![0]),
        }
    };
    for (name, what) in [("vmlinuz", "the kernel"), ("initrd.img", "the initial RAM disk")] {
        if let [at, ..] = blocks(name, 1)?.as_slice() {
            found.push(format!("{what} differs from byte {at} on"));
        }
    }
    // Files that differ account for blocks that do.
    if found.is_empty() {
        let differing = blocks("disk.raw", BLOCKS)?;
        for (part, first) in parts(&differing) {
            found.push(format!("{part} of the disk differs, first in the 4096 bytes from {first} on"));
        }
        for path in owners(&another.disk(), &differing, log)? {
            found.push(format!("{path} lies otherwise on the disk, or says otherwise of its times"));
        }
    }
    Ok(found)
}

/// The parts of a disk in which blocks lie, each with its first.
fn parts(blocks: &[u64]) -> Vec<(&'static str, u64)> {
    let mut parts: Vec<(&str, u64)> = Vec::new();
    for at in blocks {
        let part = part_of(*at);
        if parts.last().is_none_or(|(last, _)| *last != part) {
            parts.push((part, *at));
        }
    }
    parts
}

/// The paths of the files to which blocks of the root file system belong, as far as they belong to any.
fn owners(disk: &Path, blocks: &[u64], log: &Path) -> Result<Vec<String>, BakeError> {
    let numbers = blocks.iter().filter_map(|at| at.checked_sub(ROOT_START)).map(|at| (at / 4096).to_string());
    let numbers: Vec<String> = numbers.collect();
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let inodes = ask(disk, &format!("icheck {}", numbers.join(" ")), log)?;
    let paths = ask(disk, &format!("ncheck {}", inodes.join(" ")), log)?;
    // What lies in the root directory begins with two slashes.
    Ok(paths.iter().map(|path| format!("/{}", path.trim_start_matches('/'))).collect())
}

/// The second column of what debugfs answers, where it is not a remark.
fn ask(disk: &Path, question: &str, log: &Path) -> Result<Vec<String>, BakeError> {
    process::fresh_log(log).at(log)?;
    let mut debugfs = command("debugfs");
    debugfs.args(["-R", question]).arg(format!("{}?offset={ROOT_START}", disk.display()));
    match process::run(&mut debugfs, log, Duration::from_secs(300), &[]).at(log)? {
        Ended::Badly(_) => Ok(Vec::new()),
        Ended::Well => {
            let text = fs::read(log).at(log)?;
            let text = String::from_utf8_lossy(&text);
            let rows = text.lines().filter_map(|line| line.split_once('\t'));
            let mut answers: Vec<String> = rows
                .filter(|(number, _)| number.parse::<u64>().is_ok())
                .map(|(_, answer)| answer.to_owned())
                .filter(|answer| !answer.starts_with('<'))
                .collect();
            answers.dedup();
            Ok(answers)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::store::Manifest;
    use crate::store::files::{FileKind, FileRecord};

    /// An image with a real root file system, to be changed by the test.
    fn image(dir: &Path, file: &str) -> Image {
        let tree = dir.join("tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("settings"), vec![b'x'; 10_000]).unwrap();
        let mut touch = std::process::Command::new("touch");
        assert!(touch.args(["-d", "@1"]).arg(tree.join("settings")).arg(&tree).status().unwrap().success());
        let disk = dir.join("disk.raw");
        fs::File::create(&disk).unwrap().set_len(ROOT_START + (32 << 20)).unwrap();
        let id = "b39a9fa4-3b0e-4c5b-8d5c-5d0c6f5b3a11";
        let mut mkfs = std::process::Command::new("mkfs.ext4");
        mkfs.env("E2FSPROGS_FAKE_TIME", "1").args(["-q", "-F", "-b", "4096", "-U", id, "-d"]).arg(&tree);
        mkfs.arg("-E").arg(format!("offset={ROOT_START},hash_seed={id}"));
        assert!(mkfs.arg(&disk).arg("32m").status().unwrap().success());
        super::super::inodes::settle(&disk, ROOT_START, 1).unwrap();
        fs::write(dir.join("vmlinuz"), "kernel").unwrap();
        let record = FileRecord {
            path: "/settings".to_owned(),
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 10_000,
            mtime_ns: 0,
            digest: Some(file.to_owned()),
            target: None,
            device: None,
            xattrs: Default::default(),
        };
        fs::write(dir.join("files.jsonl"), serde_json::to_string(&record).unwrap()).unwrap();
        Image { manifest: Manifest::blank(ImageId::from_hash(blake3::hash(b"")), "x"), dir: dir.to_owned() }
    }

    #[test]
    fn what_differs_is_named() {
        if process::command("mkfs.ext4").arg("-V").output().is_err() {
            return;
        }
        let (one, another) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = one.path().join("log");
        let first = image(one.path(), "1");
        let compare = |second: &Image| compare(&first, second, &log).unwrap();
        assert_eq!(compare(&image(another.path(), "1")), Vec::<String>::new());
        assert_eq!(compare(&image(another.path(), "2")), ["/settings differs in content"]);

        let second = image(another.path(), "1");
        fs::write(second.kernel(), "kernal").unwrap();
        assert_eq!(compare(&second), ["the kernel differs from byte 0 on"]);
        fs::write(second.kernel(), "kernel").unwrap();

        // A byte of the file's content, which no list of files tells of.
        let disk = fs::File::options().read(true).write(true).open(second.disk()).unwrap();
        let bytes = fs::read(second.disk()).unwrap();
        let at = bytes.windows(8).position(|window| window == b"xxxxxxxx").unwrap() as u64;
        disk.write_all_at(b"y", at).unwrap();
        let said = compare(&second);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("the root file system of the disk differs"), "{said:?}");
        assert!(said[1].starts_with("/settings lies otherwise"), "{said:?}");
    }
}
