//! From a finished stack to a bootable disk: GPT, EFI system partition, root.
//!
//! Every part is written at its place inside the one sparse file by tools that work on plain files, so no
//! loop device, no vfat module and no second copy is needed. All identities come from the seal's id.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{EFI, LINUX_ROOT_X64, Type};
use uuid::Uuid;

use super::error::{At, BakeError};
use super::layer::execute;
use super::process::{self, command};
use super::sandbox::{EPOCH, EPOCH_SECONDS, Stack};
use super::{inodes, inventory, verity};
use crate::recipe::plan::Root;
use crate::store::digest::sparse_digest;
use crate::store::{Digests, Image, Manifest};
use crate::units::Size;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// First byte and length of the EFI system partition: room for three kernels with all they need.
const ESP_START: u64 = MIB;
const ESP_BYTES: u64 = 64 * MIB;
pub(super) const ROOT_START: u64 = ESP_START + ESP_BYTES;
/// Left for the second partition table at the end.
const TAIL_BYTES: u64 = MIB;
const LIMIT: Duration = Duration::from_secs(1800);

/// The part of a disk in which a byte lies.
pub(super) fn part_of(at: u64) -> &'static str {
    match at {
        ..ESP_START => "the partition table",
        ESP_START..ROOT_START => "the EFI system partition",
        _ => "the root file system",
    }
}

/// The identities of a disk.
#[derive(Debug)]
pub(super) struct Names {
    disk: Uuid,
    esp: Uuid,
    pub(super) root: Uuid,
    pub(super) filesystem: Uuid,
    hash_seed: Uuid,
    /// What the recipe adds to the kernel's command line.
    words: Vec<String>,
}

impl Names {
    /// Derived from the id of the seal: the same content gives the same names.
    pub(super) fn of(seal: &str, words: &[String]) -> Self {
        let name = |label: &str| {
            let mut hasher = blake3::Hasher::new_derive_key("ovenproof disk names v1");
            hasher.update(seal.as_bytes()).update(label.as_bytes());
            let mut bytes = [0; 16];
            hasher.finalize_xof().fill(&mut bytes);
            uuid::Builder::from_random_bytes(bytes).into_uuid()
        };
        Names {
            disk: name("disk"),
            esp: name("esp"),
            root: name("root"),
            filesystem: name("filesystem"),
            hash_seed: name("hash seed"),
            words: words.to_vec(),
        }
    }

    /// What the kernel must be told: how the root is mounted, then what the recipe adds. The root is found by its
    /// partition, so that it does not matter whether the disk is NVMe, virtio or Xen.
    pub(super) fn kernel_cmdline(&self, root: &str) -> String {
        let mut words = vec![format!("root=PARTUUID={}", self.root), root.to_owned()];
        words.extend(self.words.iter().cloned());
        words.join(" ")
    }
}

/// A disk to be made.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    pub size: Size,
    pub names: &'a Names,
    /// The directory of the seal layer, which holds the kernel and the boot loader.
    pub seal: &'a Path,
    pub recipe: &'a str,
    pub root: Root,
}

/// What came of making a disk.
#[derive(Debug)]
pub(super) struct Made {
    /// Bytes of the disk that are not holes.
    pub stored_bytes: u64,
    pub digests: Digests,
    pub kernel_cmdline: String,
}

impl Disk<'_> {
    /// Writes the disk, the kernel, the initial RAM disk if there is one, and the list of files into `part`, a
    /// directory of the workspace `work`.
    pub(super) fn make(
        &self,
        work: &Path,
        lower: &[PathBuf],
        part: &Path,
        log: &Path,
    ) -> Result<Made, BakeError> {
        process::fresh_log(log).at(log)?;
        let kernel = self.seal.join("boot/vmlinuz");
        let own_kernel = part.join("vmlinuz");
        // Two names for one file: what is in the store never changes.
        fs::hard_link(&kernel, &own_kernel).at(&own_kernel)?;
        let initrd = self.seal.join("boot/initrd.img");
        if initrd.is_file() {
            let own_initrd = part.join("initrd.img");
            fs::hard_link(&initrd, &own_initrd).at(&own_initrd)?;
        }
        let disk = part.join("disk.raw");
        File::create_new(&disk).and_then(|file| file.set_len(self.size.0)).at(&disk)?;
        let kernel_cmdline = match self.root {
            Root::Writable => {
                self.ext4(work, lower, log)?;
                inodes::settle(&disk, ROOT_START, EPOCH_SECONDS).at(&disk)?;
                self.names.kernel_cmdline("rw")
            }
            Root::Readonly => {
                let root = verity::Root { names: self.names, recipe: self.recipe, log };
                root.make(&Stack { work, lower }, &disk, self.root_bytes())?
            }
        };
        self.esp(&disk, &kernel_cmdline, work, log)?;
        self.table(&disk)?;
        self.list(work, lower, log)?;
        let stored_bytes = fs::metadata(&disk).at(&disk)?.blocks() * 512;
        Ok(Made { stored_bytes, digests: digests(part)?, kernel_cmdline })
    }

    /// Like [`Disk::make`], from an image that has the same disk already.
    pub(super) fn link(&self, twin: &Image, part: &Path) -> Result<Made, BakeError> {
        let initrd = twin.initrd().map(|initrd| (initrd, "initrd.img"));
        let files =
            [(twin.disk(), "disk.raw"), (twin.kernel(), "vmlinuz"), (twin.files_path(), "files.jsonl")];
        for (from, name) in files.into_iter().chain(initrd) {
            let to = part.join(name);
            fs::hard_link(&from, &to).at(&to)?;
        }
        let Manifest { stored_bytes, digests, kernel_cmdline, .. } = twin.manifest.clone();
        Ok(Made { stored_bytes, digests, kernel_cmdline })
    }

    /// Lists all that lies in the image.
    fn list(&self, work: &Path, lower: &[PathBuf], log: &Path) -> Result<(), BakeError> {
        let mut list = Stack { work, lower }.read_only()?;
        list.args(inventory::command_line("merged", "image/files.jsonl").at(work)?);
        self.execute(&mut list, log)
    }

    fn root_bytes(&self) -> u64 {
        self.size.0 - ROOT_START - TAIL_BYTES
    }

    fn ext4(&self, work: &Path, lower: &[PathBuf], log: &Path) -> Result<(), BakeError> {
        let stack = Stack { work, lower };
        let mut mkfs = stack.read_only()?;
        mkfs.env("E2FSPROGS_FAKE_TIME", EPOCH).env("SOURCE_DATE_EPOCH", EPOCH);
        mkfs.args(["mkfs.ext4", "-q", "-F", "-d", "merged", "-L", "root", "-m", "1", "-b", "4096"]);
        // A small journal: it is written again and again, and every instance has its own copy of it.
        mkfs.args(["-J", "size=16", "-U"]).arg(self.names.filesystem.to_string());
        // The inode tables count as zeroed, which in a new sparse file they are; else every instance would
        // write them out in the background.
        mkfs.arg("-E").arg(format!(
            "offset={ROOT_START},hash_seed={},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1,nodiscard",
            self.names.hash_seed
        ));
        let kib = self.root_bytes() / 1024;
        mkfs.arg("image/disk.raw").arg(format!("{kib}k"));
        self.execute(&mut mkfs, log)
    }

    fn esp(&self, disk: &Path, cmdline: &str, work: &Path, log: &Path) -> Result<(), BakeError> {
        let mut serial = [0; 4];
        serial.iter_mut().zip(self.names.esp.as_bytes()).for_each(|(to, from)| *to = *from);
        let mut mkfs = command("mkfs.fat");
        mkfs.args(["-F", "32", "-n", "ESP", "--invariant", "-i"]);
        mkfs.arg(format!("{:08x}", u32::from_be_bytes(serial)));
        mkfs.args(["-s", "1", "--offset"]).arg((ESP_START / SECTOR).to_string());
        mkfs.arg(disk).arg((ESP_BYTES / 1024).to_string());
        self.execute(&mut mkfs, log)?;
        let loader = work.join("loader.conf");
        fs::write(&loader, "timeout 0\neditor no\n").at(&loader)?;
        let entry = work.join("entry.conf");
        let initrd = Some(self.seal.join("boot/initrd.img")).filter(|initrd| initrd.is_file());
        let initrd_line = if initrd.is_some() { "initrd /initrd.img\n" } else { "" };
        let text = format!(
            "title Linux\nlinux /vmlinuz\n{initrd_line}options {cmdline} console=tty0 console=ttyS0\n"
        );
        fs::write(&entry, text).at(&entry)?;
        let target = {
            let mut target = disk.as_os_str().to_owned();
            target.push(format!("@@{ESP_START}"));
            target
        };
        let mtool = |program: &str| {
            let mut tool = command(program);
            // The rest of the image is none of its business.
            tool.env("MTOOLS_SKIP_CHECK", "1").env("SOURCE_DATE_EPOCH", EPOCH).env("TZ", "UTC");
            tool.arg("-i").arg(&target);
            tool
        };
        let mut mmd = mtool("mmd");
        mmd.args(["::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries"]);
        self.execute(&mut mmd, log)?;
        let boot_loader = self.seal.join("boot/boot.efi");
        let kernel = self.seal.join("boot/vmlinuz");
        let files: [(&Path, &str); 4] = [
            (&boot_loader, "::/EFI/BOOT/BOOTX64.EFI"),
            (&loader, "::/loader/loader.conf"),
            (&entry, "::/loader/entries/ovenproof.conf"),
            (&kernel, "::/vmlinuz"),
        ];
        let initrd = initrd.as_deref().map(|initrd| (initrd, "::/initrd.img"));
        for (from, to) in files.into_iter().chain(initrd) {
            let mut mcopy = mtool("mcopy");
            mcopy.arg(from).arg(to);
            self.execute(&mut mcopy, log)?;
        }
        Ok(())
    }

    fn table(&self, disk: &Path) -> Result<(), BakeError> {
        let write = || -> io::Result<()> {
            let mut file = File::options().read(true).write(true).open(disk)?;
            let sectors = u32::try_from(self.size.0 / SECTOR - 1).unwrap_or(u32::MAX);
            ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file).map_err(io::Error::other)?;
            let mut table = gpt::GptConfig::new()
                .writable(true)
                .create_from_device(file, Some(self.names.disk))
                .map_err(io::Error::other)?;
            let partition = |name: &str, kind: Type, guid, start: u64, bytes: u64| Partition {
                part_type_guid: kind,
                part_guid: guid,
                first_lba: start / SECTOR,
                last_lba: (start + bytes) / SECTOR - 1,
                flags: 0,
                name: name.to_owned(),
            };
            // The first process finds it by its name, which is all that the kernel tells of it.
            let root_name = self.names.root.to_string();
            let partitions = [
                (1, partition("esp", EFI, self.names.esp, ESP_START, ESP_BYTES)),
                (2, partition(&root_name, LINUX_ROOT_X64, self.names.root, ROOT_START, self.root_bytes())),
            ];
            table.update_partitions(partitions.into()).map_err(io::Error::other)?;
            table.write().map_err(io::Error::other)?.sync_all()
        };
        write().at(disk)
    }

    fn execute(&self, command: &mut std::process::Command, log: &Path) -> Result<(), BakeError> {
        execute(command, log, LIMIT, self.recipe, "disk", &[])
    }
}

/// What the files in `part` are.
fn digests(part: &Path) -> Result<Digests, BakeError> {
    let plain = |name: &str| {
        let path = part.join(name);
        let bytes = fs::read(&path).at(&path)?;
        Ok::<_, BakeError>(blake3::hash(&bytes).to_hex().to_string())
    };
    let disk = part.join("disk.raw");
    Ok(Digests {
        disk: sparse_digest(&disk).at(&disk)?,
        kernel: plain("vmlinuz")?,
        initrd: part.join("initrd.img").is_file().then(|| plain("initrd.img")).transpose()?,
        files: plain("files.jsonl")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_follow_the_content() {
        let names = Names::of("aa", &[]);
        assert_eq!(names.kernel_cmdline("rw"), Names::of("aa", &[]).kernel_cmdline("rw"));
        assert_ne!(names.kernel_cmdline("rw"), Names::of("ab", &[]).kernel_cmdline("rw"));
        assert_ne!(names.root, names.esp);
    }
}
