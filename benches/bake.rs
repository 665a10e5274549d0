//! How long a bake takes, against those who do the same: Packer's QEMU builder for a change to an image that is there,
//! mmdebstrap and mkfs.ext4 for one from nothing. Prints a table; `--json FILE` writes the same as JSON. Numbers to
//! compare, never a test.
//!
//! Its parts are `change` and `nothing`; with the name of one, only that is measured.
//!
//! It runs the tool itself on a home of its own below `OVENPROOF_TEST_HOME`, whose downloaded packages both sides use.
//! Packer is on its best terms: it starts from an export of our base, boots the kernel directly,
//! writes to a disk that is never flushed, and leaves out compaction. What it has done once it does again, whatever
//! changed: one build of the same recipe stands against all changes.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints, and one that cannot run has nothing better to do than to say where"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ovenproof::hypervisor::accel::Accelerator;
use serde_json::{Value, json};

/// What takes long is done so often, and the best time counts.
const ROUNDS: usize = 2;
/// What does not is the median of so many.
const TIMES: usize = 3;

const INSTALL: &str =
    "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nginx-light";

struct Row {
    what: &'static str,
    against: &'static str,
    ours: Duration,
    theirs: Duration,
    bar: &'static str,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.theirs.as_secs_f64() / self.ours.as_secs_f64()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let asked = |part: &str| arguments.iter().any(|argument| argument == part);
    let all = !asked("change") && !asked("nothing");
    let bench = Bench::new();
    // Downloads what is missing, for both.
    bench.recipe("before");
    bench.bake("base");
    bench.bake("served");

    let mut rows = Vec::new();
    if all || asked("change") {
        rows.extend(bench.change());
    }
    if all || asked("nothing") {
        rows.push(bench.nothing());
    }
    println!("{:18} {:>9}  {:22} {:>9} {:>9}  bar", "bake", "ours", "against", "theirs", "faster");
    for row in &rows {
        let (ours, theirs) = (row.ours.as_secs_f64(), row.theirs.as_secs_f64());
        let Row { what, against, bar, .. } = row;
        println!("{what:18} {ours:>8.3}s  {against:22} {theirs:>8.1}s {:>8.2}x  {bar}", row.ratio());
    }
    if let Some(file) = after("--json") {
        let found: Value = rows.iter().map(Row::document).collect();
        fs::write(file, format!("{found:#}\n")).expect("the JSON file");
    }
}

impl Row {
    fn document(&self) -> Value {
        json!({
            "what": self.what,
            "against": self.against,
            "ours_seconds": self.ours.as_secs_f64(),
            "theirs_seconds": self.theirs.as_secs_f64(),
            "ratio": self.ratio(),
            "bar": self.bar,
        })
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(run: impl FnMut(usize) -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..TIMES).map(run).collect();
    times.sort();
    times[TIMES / 2]
}

/// Runs a program that has to end well, and gives what it printed.
fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}:\n{said}\n{printed}");
    output.stdout
}

/// A folder with a home, recipes and whatever else is made; gone at the end.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let shared = std::env::var_os("OVENPROOF_TEST_HOME").filter(|home| !home.is_empty());
        let shared = shared.map_or_else(|| std::env::temp_dir().join("ovenproof-test-home"), PathBuf::from);
        fs::create_dir_all(shared.join("cache")).expect("a folder");
        let folder = tempfile::tempdir_in(&shared).expect("a folder");
        fs::create_dir_all(folder.path().join("home")).expect("a folder");
        std::os::unix::fs::symlink(shared.join("cache"), folder.path().join("home/cache")).expect("a link");
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        succeed(Command::new("cp").arg("--recursive").arg(images).arg(folder.path()));
        Bench { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ovenproof"));
        succeed(
            command.args(arguments).current_dir(self.folder.path()).env("OVENPROOF_HOME", self.at("home")),
        )
    }

    /// What takes Packer the same time whatever has changed.
    fn change(&self) -> [Row; 3] {
        let base = self.show("base");
        let packer = (0..ROUNDS).map(|_| self.packer(&base)).min().expect("a round");
        let package = median(|_| {
            self.tool(&["images", "remove", "served"]);
            self.tool(&["images", "gc"]);
            timed(|| self.bake("served"))
        });
        let file = median(|index| {
            self.recipe(&format!("change {index}"));
            timed(|| self.bake("served"))
        });
        let unchanged = median(|_| timed(|| self.bake("served")));
        let row = |what, ours, bar| Row { what, against: "packer, QEMU builder", ours, theirs: packer, bar };
        [
            row("nothing changed", unchanged, "500x faster"),
            row("one file changed", file, "20x faster"),
            row("one package added", package, "6x faster"),
        ]
    }

    fn nothing(&self) -> Row {
        let base = self.show("base");
        let [mut ours, mut theirs] = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            fs::remove_dir_all(self.at("home/store")).expect("the store");
            ours = ours.min(timed(|| self.bake("base")));
            theirs = theirs.min(self.mmdebstrap(&base));
        }
        Row { what: "from nothing", against: "mmdebstrap, mkfs.ext4", ours, theirs, bar: "1.2x its time" }
    }

    fn bake(&self, recipe: &str) {
        self.tool(&["bake", &format!("images/{recipe}.yaml")]);
    }

    /// A package and a file on top of the base.
    fn recipe(&self, content: &str) {
        let text = format!(
            "name: served\nfrom: base\npackages: [nginx-light]\nfiles:\n  - {{ path: /etc/motd, content: {content} }}\n"
        );
        fs::write(self.at("images/served.yaml"), text).expect("a recipe");
    }

    fn show(&self, image: &str) -> Value {
        serde_json::from_slice(&self.tool(&["--json", "images", "show", image])).expect("JSON")
    }

    /// Makes a root file system of the packages that our base holds, as one would by hand.
    fn mmdebstrap(&self, base: &Value) -> Duration {
        let inputs = base["manifest"]["inputs"].as_array().expect("inputs");
        let packages = inputs.iter().find_map(|input| input["work"].get("packages")).expect("packages");
        let names = packages.as_array().expect("a list").iter().filter_map(Value::as_str);
        let (tree, disk) = (self.at("tree"), self.at("tree.img"));
        let mut command = Command::new("mmdebstrap");
        command.args(["--mode=root", "--variant=minbase", "--format=directory"]);
        command.args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Languages \"none\""]);
        for path in ["man", "info", "groff", "lintian", "locale", "doc"] {
            command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
        command.arg(format!("--include={}", names.collect::<Vec<_>>().join(",")));
        // The manual's own way to reuse packages that are there.
        let debs = self.at("home/cache/apt/archives");
        command.args(["--skip=download/empty", "--setup-hook"]);
        command.arg(format!(
            "mkdir -p \"$1\"/var/cache/apt/archives/partial && cp {}/*.deb \"$1\"/var/cache/apt/archives/",
            debs.display()
        ));
        // As in our base: no initial RAM disk.
        command.env("INITRD", "No").arg("bookworm").arg(&tree);
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-d"]).arg(&tree).arg(&disk).arg("4G");
        let took = timed(|| {
            succeed(&mut command);
            succeed(&mut mkfs);
        });
        fs::remove_dir_all(tree).expect("the tree");
        fs::remove_file(disk).expect("the disk");
        took
    }

    /// One build: boots on top of our base, installs the package and the file over SSH, shuts down.
    fn packer(&self, base: &Value) -> Duration {
        let (source, key, file) = (self.at("base.qcow2"), self.at("key"), self.at("packer.json"));
        if !source.exists() {
            self.tool(&["images", "export", "base", "-o", source.to_str().expect("a plain path")]);
        }
        if !key.exists() {
            succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        }
        let public = STANDARD.encode(fs::read(key.with_extension("pub")).expect("the key"));
        let output = self.at("packed");
        let disk = output.join("served");
        let cmdline = base["manifest"]["kernel_cmdline"].as_str().expect("a command line");
        let kernel = format!("{}/vmlinuz", base["dir"].as_str().expect("a folder"));
        let credential =
            format!("type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root={public}");
        let template = json!({
            "builders": [{
                "type": "qemu",
                "vm_name": "served",
                "iso_url": format!("file://{}", source.display()),
                "iso_checksum": "none",
                "disk_image": true,
                "format": "qcow2",
                "skip_compaction": true,
                // What ours would take, on this machine.
                "accelerator": Accelerator::detect().0,
                "headless": true,
                "output_directory": output,
                "communicator": "ssh",
                "ssh_username": "root",
                "ssh_private_key_file": key,
                "ssh_timeout": "10m",
                "boot_wait": "1s",
                "shutdown_command": "systemctl poweroff",
                "qemuargs": [
                    ["-m", "1024M"],
                    ["-smp", "2"],
                    ["-cpu", "max"],
                    ["-kernel", kernel],
                    ["-append", format!("{cmdline} console=ttyS0")],
                    ["-smbios", credential],
                    ["-drive", format!("if=none,id=root,format=qcow2,cache=unsafe,file={}", disk.display())],
                    ["-device", "nvme,drive=root,serial=root"],
                    ["-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:{{ .SSHHostPort }}-:22"],
                    ["-device", "virtio-net-pci,netdev=net"],
                    ["-device", "virtio-rng-pci"],
                ],
            }],
            "provisioners": [
                { "type": "shell", "inline": [INSTALL] },
                { "type": "file", "source": self.at("images/served.yaml"), "destination": "/etc/motd" },
            ],
        });
        fs::write(&file, template.to_string()).expect("the template");
        let mut packer = Command::new("packer");
        packer.args(["build", "-color=false"]).arg(&file).current_dir(self.folder.path());
        packer.env("PACKER_CACHE_DIR", self.at("packer_cache")).env("CHECKPOINT_DISABLE", "1");
        let took = timed(|| drop(succeed(&mut packer)));
        fs::remove_dir_all(output).expect("what it made");
        took
    }
}
