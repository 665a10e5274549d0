//! One disk boots everywhere: by its kernel directly and by firmware, from a virtio disk and from an NVMe one; and a
//! read-only root is one.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machines::{assert_nothing_runs, baked, copy_base, run};

/// A service that tells the console what was booted, and powers the machine off.
const PROBE: &str = r#"
files:
  - path: /usr/share/marker
    copy: files/marker
  - path: /usr/local/sbin/probe
    mode: "0755"
    content: |
      #!/bin/sh
      able() { if "$@" > /dev/null 2>&1; then echo yes; else echo no; fi; }
      echo "PROBE root=$(findmnt -n -o FSTYPE /) usr=$(able touch /usr/new) var=$(able touch /var/lib/new)" \
        "root-home=$(stat -c %a /root) marker=$(able cat /usr/share/marker)" > /dev/console
      if grep -q probe=poweroff /proc/cmdline || [ -d /sys/firmware/efi ]; then systemctl poweroff; fi
  - path: /etc/systemd/system/probe.service
    content: |
      [Service]
      Type=oneshot
      ExecStart=/usr/local/sbin/probe

      [Install]
      WantedBy=multi-user.target
services:
  enable: [probe.service]
"#;

/// What is looked for on the disk to be changed there: no compression makes it smaller.
fn marker() -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    blake3::Hasher::new().update(b"marker").finalize_xof().fill(&mut bytes);
    bytes
}

struct Image {
    dir: PathBuf,
    cmdline: String,
}

impl Image {
    fn bake(folder: &Path, name: &str, more: &str) -> Self {
        let path = folder.join(format!("{name}.yaml"));
        fs::write(&path, format!("name: {name}\nfrom: base\n{more}{PROBE}")).expect("a recipe");
        run(&["bake", path.to_str().expect("a plain path")]).exits(0);
        let said = run(&["--json", "images", "show", name]).exits(0);
        let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
        let cmdline = said["manifest"]["kernel_cmdline"].as_str().expect("a command line").to_owned();
        Image { dir: PathBuf::from(said["dir"].as_str().expect("a folder")), cmdline }
    }
}

#[derive(Clone, Copy)]
enum By<'a> {
    Firmware,
    /// With an initial RAM disk or without.
    Kernel(&'a Image, bool),
}

/// Boots `disk` and waits for the machine to power itself off; what the probe said.
fn boot(folder: &Path, disk: &Path, by: By<'_>, device: &str) -> String {
    let mut qemu = Command::new("timeout");
    qemu.args(["--kill-after=5", "240", "qemu-system-x86_64", "-machine", "q35", "-m", "512M"]);
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-display", "none", "-serial", "stdio"]);
    qemu.args(["-nodefaults", "-no-reboot", "-device", "virtio-rng-pci"]);
    match by {
        By::Firmware => {
            let variables = folder.join("variables.fd");
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).expect("the package ovmf");
            let code = "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
            qemu.args(["-drive", code, "-drive"]);
            qemu.arg(format!("if=pflash,format=raw,file={}", variables.display()));
        }
        By::Kernel(image, initrd) => {
            qemu.arg("-kernel").arg(image.dir.join("vmlinuz"));
            qemu.arg("-append").arg(format!("{} console=ttyS0 probe=poweroff", image.cmdline));
            if initrd {
                qemu.arg("-initrd").arg(image.dir.join("initrd.img"));
            }
        }
    }
    // What it writes is thrown away.
    qemu.arg("-drive").arg(format!("if=none,id=root,format=raw,snapshot=on,file={}", disk.display()));
    qemu.args(["-device", device]).stdin(Stdio::null());
    let said = qemu.output().expect("qemu");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find_map(|line| Some(line.split_once("PROBE ")?.1.trim().to_owned()));
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(line.is_some(), "{device}: the probe is missing in\n{text}\n{errors}");
    line.unwrap_or_default()
}

const VIRTIO: &str = "virtio-blk-pci,drive=root";
const NVME: &str = "nvme,drive=root,serial=root";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy_base(folder.path());
    fs::write(folder.path().join("files/marker"), marker()).expect("a file");
    folder
}

#[test]
fn a_disk_boots_by_firmware_and_directly_from_either_kind_of_disk() {
    baked(&["base"]);
    let folder = folder();
    let image = Image::bake(folder.path(), "booted", "");
    let disk = image.dir.join("disk.raw");
    // That its kernel boots directly from a virtio disk is what every fleet shows.
    for (by, device) in [(By::Firmware, VIRTIO), (By::Firmware, NVME), (By::Kernel(&image, false), NVME)] {
        let said = boot(folder.path(), &disk, by, device);
        assert_eq!(said, "root=ext4 usr=yes var=yes root-home=700 marker=yes");
    }
    run(&["images", "remove", "booted"]).exits(0);
}

#[test]
fn a_readonly_root_cannot_be_written_to_and_a_changed_bit_is_found() {
    baked(&["base"]);
    let folder = folder();
    let directory =
        "run: [{ name: a place for data, command: install -d -o games -g games -m 2750 /var/lib/kept }]";
    let recipe = format!("root: readonly\npackages: [dmsetup]\n{directory}\n");
    let image = Image::bake(folder.path(), "fixed", &recipe);
    assert!(image.cmdline.contains(" ro ovenproof.verity="), "{}", image.cmdline);
    let said = boot(folder.path(), &image.dir.join("disk.raw"), By::Firmware, NVME);
    assert_eq!(said, "root=erofs usr=no var=yes root-home=700 marker=yes");

    let disk = folder.path().join("disk.raw");
    let copied =
        Command::new("cp").arg("--sparse=always").arg(image.dir.join("disk.raw")).arg(&disk).status();
    assert!(copied.expect("cp").success());
    let bytes = fs::read(&disk).expect("the disk");
    let piece = &marker()[32 << 10..][..64];
    let at = bytes.windows(64).position(|window| window == piece).expect("the marker on the disk");
    let file = fs::File::options().write(true).open(&disk).expect("the disk");
    file.write_all_at(&[piece[0] ^ 1], at as u64).expect("a changed bit");
    let said = boot(folder.path(), &disk, By::Kernel(&image, true), VIRTIO);
    assert_eq!(said, "root=erofs usr=no var=yes root-home=700 marker=no");

    // As a server, with the keys and addresses that every instance gets, and with data that stay.
    let file = folder.path().join("fleet.yaml");
    let volume = "volumes: { data: { size: 16M, mount: /var/lib/kept } }";
    fs::write(&file, format!("name: fixed\nfleet:\n  fixed: {{ image: fixed, {volume} }}\n"))
        .expect("a file");
    run(&["up", file.to_str().expect("a path"), "--cold"]).exits(0);
    let ask = "mountpoint -q /var/lib/kept && stat -c '%U %G %a' /var/lib/kept";
    let said = run(&["exec", "fixed/fixed-1", "--", "sh", "-c", ask]).exits(0).stdout;
    assert_eq!(said, "games games 2750\n", "it belongs to whom it belongs in the image");
    run(&["exec", "fixed/fixed-1", "--", "touch", "/etc/new", "/var/new", "/root/new", "/home/new"]).exits(0);
    let refused = run(&["exec", "fixed/fixed-1", "--", "touch", "/usr/new"]);
    assert_ne!(refused.code, Some(0));
    // The disk behind it all can be told from the others, by whoever wants to read from it.
    let read = "disk=$(grep -l '^root *$' /sys/block/*/serial | cut -d / -f 4) && \
                dd if=/dev/$disk of=/dev/null bs=4096 count=1 iflag=direct";
    run(&["exec", "fixed/fixed-1", "--", "sh", "-c", read]).exits(0);
    run(&["images", "remove", "fixed"]).exits(2);
    run(&["down", "fixed", "--volumes"]).exits(0);
    assert_nothing_runs();
    run(&["images", "remove", "fixed"]).exits(0);
}
