//! The machine that a disk is baked in, as QEMU's command line.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::error::{At, BakeError};
use super::super::process::command;
use super::seed::{OUR_ADDRESS, OUR_MAC, WORLD, WORLD_MAC};
use crate::hypervisor::accel::Accelerator;
use crate::recipe::disk::DiskFormat;

/// Room for whatever tools of a foreign disk need.
const MEMORY: &str = "1024M";
/// More would be of no use to what installs software.
const CPUS: usize = 4;
/// The serial number of the disk on which the root file system comes out.
pub(super) const EXPORT: &str = "export";
/// The line to the world.
pub(super) const WORLD_LINE: &str = "world";

/// The firmware of the package ovmf: its code, and the variables that each machine has a copy of.
const FIRMWARE: [[&str; 2]; 2] = [
    ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
    ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"],
];

/// The type of an EFI system partition, as it stands on a disk.
const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// The sectors of a disk in which its table of partitions stands.
const TABLE_SECTORS: &str = "34";

/// One of the files that make up a disk, each but the first continuing the one before.
#[derive(Debug, Clone)]
pub(in crate::bake) struct Part {
    pub path: PathBuf,
    pub format: DiskFormat,
}

/// What QEMU calls the part of a disk with this number.
pub(super) fn part_name(number: usize) -> String {
    format!("disk{number}")
}

/// How QEMU is told to open the part `number` of a disk, over what it continues.
pub(super) fn part(number: usize, part: &Part, writable: bool) -> Value {
    let mut node = json!({
        "driver": part.format.name(),
        "node-name": part_name(number),
        "read-only": !writable,
        "discard": "unmap",
        // A layer counts only after it was synced as a whole.
        "file": { "driver": "file", "filename": part.path, "cache": { "direct": false, "no-flush": writable } },
    });
    if let Some(node) = node.as_object_mut()
        && number > 0
    {
        node.insert("backing".to_owned(), json!(part_name(number - 1)));
    }
    node
}

/// The options for the firmware that the disk `ground` is made for; the copy of its variables goes into `folder`.
pub(super) fn firmware(ground: &Part, folder: &Path) -> Result<Vec<OsString>, BakeError> {
    let table = folder.join("table");
    let argument = |name: &str, path: &Path| {
        let mut argument = OsString::from(format!("{name}="));
        argument.push(path);
        argument
    };
    let mut copy = command("qemu-img");
    copy.args(["dd", "-f", ground.format.name(), "-O", "raw", "bs=512"])
        .arg(format!("count={TABLE_SECTORS}"));
    copy.arg(argument("if", &ground.path)).arg(argument("of", &table));
    let said = copy.output().at(&ground.path)?;
    if !said.status.success() {
        let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
        return Err(std::io::Error::other(said)).at(&ground.path);
    }
    if !has_esp(&fs::read(&table).at(&table)?) {
        return Ok(Vec::new());
    }
    let Some([code, variables]) = FIRMWARE.iter().find(|[code, _]| Path::new(code).is_file()) else {
        return Err(BakeError::MissingTool { tool: "OVMF_CODE.fd", package: "ovmf" });
    };
    let own = folder.join("variables.fd");
    fs::copy(variables, &own).at(&own)?;
    let flash = |name: &str, path: &Path, writable: bool| {
        json!({
            "driver": "raw", "node-name": name, "read-only": !writable,
            "file": { "driver": "file", "filename": path },
        })
        .to_string()
    };
    let options = [
        "-blockdev".to_owned(),
        flash("code", Path::new(code), false),
        "-blockdev".to_owned(),
        flash("variables", &own, true),
        "-machine".to_owned(),
        "pflash0=code,pflash1=variables".to_owned(),
    ];
    Ok(options.into_iter().map(OsString::from).collect())
}

fn has_esp(table: &[u8]) -> bool {
    table.get(512..520) == Some(b"EFI PART")
        && table.get(1024..).unwrap_or_default().chunks_exact(128).any(|entry| entry.starts_with(&ESP))
}

/// The arguments of QEMU, but for those of the firmware. `parts` make up the disk; the last of them is written to. The
/// machine waits to be started, is controlled on the socket with the number `control`, and has its other files in
/// `folder`.
pub(super) fn arguments(parts: &[Part], folder: &Path, console: &Path, control: i32) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: &str| {
        arguments.extend([format!("-{name}"), value.to_owned()].map(OsString::from))
    };
    option("machine", "q35,usb=off,vmport=off");
    option("m", MEMORY);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from).min(CPUS);
    option("smp", &cpus.to_string());
    option("display", "none");
    option("chardev", &format!("socket,id=control,fd={control}"));
    option("mon", "chardev=control,mode=control");
    option(
        "chardev",
        &format!("file,id=console,append=on,path={}", console.display().to_string().replace(',', ",,")),
    );
    option("serial", "chardev:console");
    for (number, one) in parts.iter().enumerate() {
        option("blockdev", &part(number, one, number + 1 == parts.len()).to_string());
    }
    let top = part_name(parts.len().saturating_sub(1));
    option("device", &format!("virtio-blk-pci,drive={top},bootindex=0"));
    for (name, writable) in [("seed", false), (EXPORT, true)] {
        let file = json!({ "driver": "file", "filename": folder.join(format!("{name}.img")) });
        let node = json!({ "driver": "raw", "node-name": name, "read-only": !writable, "file": file });
        option("blockdev", &node.to_string());
        option("device", &format!("virtio-blk-pci,drive={name},serial={name}"));
    }
    // Port 0: the host picks one that is free, and QEMU says which.
    option("netdev", &format!("user,id=ours,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-{OUR_ADDRESS}:22"));
    option("device", &format!("virtio-net-pci,netdev=ours,mac={OUR_MAC},romfile="));
    option("netdev", &format!("user,id={WORLD_LINE},ipv6=off,net={WORLD}.0/24"));
    option("device", &format!("virtio-net-pci,netdev={WORLD_LINE},mac={WORLD_MAC},romfile="));
    option("device", "virtio-rng-pci");
    arguments.extend(["-S", "-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
    arguments.extend(Accelerator::detect().0.options().map(OsString::from));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_efi_system_partition_is_found_in_the_table() {
        let mut table = vec![0; 34 * 512];
        assert!(!has_esp(&table));
        table[512..520].copy_from_slice(b"EFI PART");
        assert!(!has_esp(&table));
        table[1024 + 14 * 128..][..16].copy_from_slice(&ESP);
        assert!(has_esp(&table));
        assert!(!has_esp(&table[..600]));
    }

    #[test]
    fn each_part_stands_on_the_one_before() {
        let part = |number, name: &str| {
            part(number, &Part { path: PathBuf::from(name), format: DiskFormat::Qcow2 }, number == 1)
        };
        assert_eq!(part(0, "/a").get("backing"), None);
        assert_eq!(part(0, "/a")["read-only"], true);
        assert_eq!(part(1, "/b,c")["backing"], "disk0");
        assert_eq!(part(1, "/b,c")["file"]["filename"], "/b,c");
    }

    /// QEMU knows its disks by names, of which none may come twice, nor that of the part which is added later.
    #[test]
    fn no_name_is_given_twice() {
        let parts: Vec<Part> = ["/base", "/users", "/top"]
            .map(|path| Part { path: PathBuf::from(path), format: DiskFormat::Qcow2 })
            .to_vec();
        let arguments = arguments(&parts, Path::new("/work"), Path::new("/console"), 3);
        let mut names: Vec<String> = arguments
            .windows(2)
            .filter(|pair| pair[0] == "-blockdev")
            .filter_map(|pair| serde_json::from_str::<Value>(pair[1].to_str()?).ok())
            .filter_map(|node| node["node-name"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(names.len(), parts.len() + 2, "{names:?}");
        names.push(part(parts.len(), &parts[0], true)["node-name"].as_str().unwrap().to_owned());
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }
}
