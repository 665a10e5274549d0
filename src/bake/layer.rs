//! Making one layer in its workspace: what each kind of work means.
//!
//! The workspace holds `layer/tree`, which becomes the layer, and beside it whatever is needed on the way.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::error::{At, BakeError};
use super::inventory;
use super::process::{self, Ended, proxies};
use super::sandbox::{Access, EPOCH, Stack};
use super::seal::{self, Sealed};
use crate::home::{Home, Lock, create_private_dir};
use crate::recipe::plan::Source;
use crate::recipe::{Layer, Plan, PlannedFile, Services, Step, Work};

/// Where a layer's tree comes to be, in its workspace.
pub(super) const TREE: &str = "layer/tree";

/// Nothing that a bake does by itself takes longer, on the slowest line.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);

/// Options that every Debian image is made with; they stay in force for packages added later.
const BASE_OPTIONS: [&str; 13] = [
    "--aptopt=APT::Install-Recommends \"false\"",
    "--aptopt=Acquire::Languages \"none\"",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/groff/*",
    "--dpkgopt=path-exclude=/usr/share/lintian/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    // Licences stay.
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    // Downloaded packages are copied from the cache, and new ones linked to it from where the layer comes to
    // be: see the manual on both skips.
    "--skip=download/empty,essential/unlink",
    "--setup-hook=mkdir -p \"$1\"/var/cache/apt/archives/partial && \
     find \"$OVENPROOF_DEBS\" -maxdepth 1 -name '*.deb' -exec cp -t \"$1\"/var/cache/apt/archives {} +",
    "--customize-hook=find \"$OVENPROOF_TREE\"/var/cache/apt/archives -maxdepth 1 -name '*.deb' \
     -exec cp --link --no-clobber -t \"$OVENPROOF_DEBS\" {} +",
    // The host's name servers and name must not end up in an image.
    "--customize-hook=ln -sf ../run/systemd/resolve/stub-resolv.conf \"$1\"/etc/resolv.conf; \
     echo localhost > \"$1\"/etc/hostname; chmod 644 \"$1\"/etc/hostname",
];

/// No service may start while packages are installed.
const INSTALL: &str = r#"
trap 'rm -f /usr/sbin/policy-rc.d' EXIT
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
# No binary caches of the lists: they are ten times what is installed, and gone when the image is sealed.
apt() {
    apt-get -q -y -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= "$@"
}
apt update
apt -o APT::Keep-Downloaded-Packages=true -o Dpkg::Options::=--force-unsafe-io \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"
"#;

/// Five arguments a file: where it is staged, mode, user, group, where it goes.
const PLACE: &str = r#"
while [ $# -gt 0 ]; do
    install -D -T -m "$2" -o "$3" -g "$4" -- "$1" "$5"
    touch --no-dereference --date="@$SOURCE_DATE_EPOCH" -- "$5"
    shift 5
done
"#;

/// A verb of systemctl, then units.
const SYSTEMCTL: &str = r#"exec systemctl --quiet "$@""#;

/// One layer being made.
#[derive(Debug)]
pub(super) struct Oven<'a> {
    layer: &'a Layer,
    suite: &'a str,
    stack: Stack<'a>,
    home: &'a Home,
    log: PathBuf,
}

impl<'a> Oven<'a> {
    pub(super) fn prepare(
        plan: &'a Plan,
        layer: &'a Layer,
        work: &'a Path,
        lower: &'a [PathBuf],
        home: &'a Home,
    ) -> Result<Self, BakeError> {
        let suite = match plan.layers.first().map(|layer| &layer.work) {
            Some(Work::Base { suite }) => suite.as_str(),
            _ => return Err(BakeError::Incomplete("base")),
        };
        let part = work.join("layer");
        fs::create_dir(&part).at(&part)?;
        let log = log_path(home, &layer.recipe, layer.work.kind(), layer.id.as_str());
        process::fresh_log(&log).at(&log)?;
        Ok(Oven { layer, suite, stack: Stack { work, lower }, home, log })
    }

    /// Makes the layer's tree; says what is in the image when the layer is the seal.
    pub(super) fn make(&self) -> Result<Sealed, BakeError> {
        match &self.layer.work {
            Work::Base { suite } => self.base(suite)?,
            Work::Packages(names) => self.packages(names)?,
            Work::Files(files) => self.files(files)?,
            Work::Run(step) => self.step(step)?,
            Work::Services(services) => self.services(services)?,
            Work::Seal { tests, root } => {
                for test in tests {
                    self.test(test)?;
                }
                return seal::seal(self, *root);
            }
        }
        Ok(Sealed::default())
    }

    fn base(&self, suite: &str) -> Result<(), BakeError> {
        let debs = self.apt_cache("archives")?;
        let mut command = self.stack.writable(TREE)?;
        for (name, value) in proxies() {
            command.env(name, value);
        }
        // What it writes aside goes where the next sweep finds it.
        command.env("TMPDIR", self.stack.work).env("SOURCE_DATE_EPOCH", EPOCH);
        command.env("OVENPROOF_DEBS", debs).env("OVENPROOF_TREE", self.stack.work.join(TREE));
        command.args(["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]);
        command.args(BASE_OPTIONS).args([suite, "merged"]);
        self.execute(&mut command, PATIENCE)
    }

    fn packages(&self, names: &[String]) -> Result<(), BakeError> {
        // Apt fails at once when another holds its lists or archives; we rather wait.
        let lock = self.home.cache().join("apt/lock");
        let _lock = Lock::acquire(&lock).at(&lock)?;
        let access = Access {
            network: true,
            binds: vec![
                (self.apt_cache("archives")?, "/var/cache/apt/archives", true),
                (self.apt_cache(&format!("lists-{}", self.suite))?, "/var/lib/apt/lists", true),
            ],
            env: Vec::new(),
        };
        let mut argv = vec!["sh", "-eu", "-c", INSTALL, "install"];
        argv.extend(names.iter().map(String::as_str));
        self.sandboxed(TREE, &access, &argv, PATIENCE)
    }

    fn files(&self, files: &[PlannedFile]) -> Result<(), BakeError> {
        let stage = self.stack.work.join("stage");
        create_private_dir(&stage).at(&stage)?;
        let mut arguments: Vec<String> = Vec::new();
        for (index, file) in files.iter().enumerate() {
            copy_checked(file, &stage.join(index.to_string()))?;
            let mode = format!("{:04o}", file.mode);
            let (user, group) = (file.user.clone(), file.group.clone());
            arguments.extend([format!("/run/stage/{index}"), mode, user, group, file.path.clone()]);
        }
        let access = Access { binds: vec![(stage, "/run/stage", false)], ..Access::default() };
        let mut argv = vec!["sh", "-eu", "-c", PLACE, "place"];
        argv.extend(arguments.iter().map(String::as_str));
        self.sandboxed(TREE, &access, &argv, PATIENCE)
    }

    fn step(&self, step: &Step) -> Result<(), BakeError> {
        let env = step.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let access = Access { network: step.network, binds: Vec::new(), env };
        self.sandboxed(TREE, &access, &["sh", "-eu", "-c", &step.command], step.timeout)
    }

    fn services(&self, services: &Services) -> Result<(), BakeError> {
        let verbs = [("mask", &services.mask), ("disable", &services.disable), ("enable", &services.enable)];
        for (verb, units) in verbs.into_iter().filter(|(_, units)| !units.is_empty()) {
            let mut argv = vec!["sh", "-eu", "-c", SYSTEMCTL, "systemctl", verb];
            argv.extend(units.iter().map(String::as_str));
            self.sandboxed(TREE, &Access::default(), &argv, PATIENCE)?;
        }
        Ok(())
    }

    /// Lets files and directories that came to be since `begun` say that it was at the epoch, so that the
    /// layer does not depend on when it was made. What packages say of their files' age stays.
    pub(super) fn settle(&self, begun: SystemTime) -> Result<(), BakeError> {
        // Its clock ticks coarser than ours.
        let since = begun - Duration::from_secs(1);
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut find = self.stack.beside();
        find.args(["find", TREE, "-newermt", &format!("@{since}")]);
        find.args(["-exec", "touch", "--no-dereference", &format!("--date=@{EPOCH}"), "{}", "+"]);
        self.execute(&mut find, PATIENCE)
    }

    /// The digest of all that lies in the layer.
    pub(super) fn digest(&self) -> Result<String, BakeError> {
        let list = self.stack.work.join("inventory.jsonl");
        let mut inventory = self.stack.beside();
        inventory.args(inventory::command_line("layer", "inventory.jsonl").at(&list)?);
        self.execute(&mut inventory, PATIENCE)?;
        inventory::digest_of_layer(&list).at(&list)
    }

    /// Runs a test in the finished image; what it changes is thrown away.
    fn test(&self, command: &str) -> Result<(), BakeError> {
        let title = command.trim().lines().next().unwrap_or_default();
        self.note(&format!("test: {title}"))?;
        let limit = Duration::from_secs(300);
        let mut run = self.stack.sandboxed("scratch", &Access::default(), &["sh", "-eu", "-c", command])?;
        self.execute_as(&mut run, limit, &format!("test `{title}`"))
    }

    /// Runs `argv` on the stack with changes going to `upper`.
    pub(super) fn sandboxed(
        &self,
        upper: &str,
        access: &Access<'_>,
        argv: &[&str],
        limit: Duration,
    ) -> Result<(), BakeError> {
        self.execute(&mut self.stack.sandboxed(upper, access, argv)?, limit)
    }

    pub(super) fn work(&self) -> &Path {
        self.stack.work
    }

    fn execute(&self, command: &mut Command, limit: Duration) -> Result<(), BakeError> {
        let (kind, about) = (self.layer.work.kind(), self.layer.work.about());
        let stage = if about.is_empty() { kind.to_owned() } else { format!("{kind} ({about})") };
        self.execute_as(command, limit, &stage)
    }

    fn execute_as(&self, command: &mut Command, limit: Duration, stage: &str) -> Result<(), BakeError> {
        execute(command, &self.log, limit, &self.layer.recipe, stage)
    }

    fn note(&self, line: &str) -> Result<(), BakeError> {
        let open = || File::options().create(true).append(true).open(&self.log);
        open().and_then(|mut log| writeln!(log, "+ {line}")).at(&self.log)
    }

    fn apt_cache(&self, name: &str) -> Result<PathBuf, BakeError> {
        let path = self.home.cache().join("apt").join(name);
        let partial = path.join("partial");
        create_private_dir(&partial).at(&partial)?;
        Ok(path)
    }
}

/// Runs a command of the bake; a bad end becomes an error with the tail of its log.
pub(super) fn execute(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    recipe: &str,
    stage: &str,
) -> Result<(), BakeError> {
    match process::run(command, log, limit).at(log)? {
        Ended::Well => Ok(()),
        Ended::Badly(why) => Err(BakeError::Failed {
            recipe: recipe.to_owned(),
            stage: stage.to_owned(),
            why,
            tail: process::tail(log),
            log: log.to_owned(),
        }),
    }
}

/// Where the full log of a stage is kept; tried again, it is written anew.
pub(super) fn log_path(home: &Home, recipe: &str, kind: &str, id: &str) -> PathBuf {
    let logs = home.cache().join("logs");
    // If this fails, opening the log says so.
    let _ = create_private_dir(&logs);
    logs.join(format!("{recipe}-{kind}-{}.log", id.get(..12).unwrap_or(id)))
}

/// Stages a file, and makes sure that it still is what the plan says.
fn copy_checked(file: &PlannedFile, to: &Path) -> Result<(), BakeError> {
    let from = match &file.source {
        Source::Text(text) => return fs::write(to, text).at(to),
        Source::Copy(from) => from,
    };
    let copy = || -> io::Result<blake3::Hash> {
        let (mut input, mut output) = (File::open(from)?, File::create(to)?);
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = input.read(&mut buffer)?;
            let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
            hasher.update(chunk);
            output.write_all(chunk)?;
        }
        Ok(hasher.finalize())
    };
    match copy().at(from)?.to_hex().as_str() == file.digest {
        true => Ok(()),
        false => Err(BakeError::Changed(from.clone())),
    }
}
