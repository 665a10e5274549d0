//! Making one layer in its workspace: what each kind of work means.
//!
//! The workspace holds `layer/tree`, which becomes the layer, and beside it whatever is needed on the way.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::Options;
use super::error::{At, BakeError};
use super::inventory;
use super::process::{self, Ended};
use super::sandbox::{Access, EPOCH, Stack, inherit};
use super::seal::{self, Sealed};
use super::secret::{self, Secrets};
use crate::home::{Home, create_private_dir};
use crate::recipe::plan::Source;
use crate::recipe::{Layer, Plan, PlannedFile, Services, Step, User, Work};

/// Where a layer's tree comes to be, in its workspace.
pub(super) const TREE: &str = "layer/tree";

/// Nothing that a bake does by itself takes longer, on the slowest line.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);

/// Five arguments a file: the number it is staged under, or what kind of directory it is; mode, user, group,
/// where it goes.
pub(super) const PLACE: &str = r#"
while [ $# -gt 0 ]; do
    case $1 in
    directory) install -d -m "$2" -o "$3" -g "$4" -- "$5" ;;
    folder) [ -d "$5" ] || install -d -m "$2" -o "$3" -g "$4" -- "$5" ;;
    *) install -D -T -m "$2" -o "$3" -g "$4" -- "/run/stage/$1" "$5" ;;
    esac
    touch --no-dereference --date="@$SOURCE_DATE_EPOCH" -- "$5"
    shift 5
done
"#;

const FILES_AT_ONCE: usize = 200;

/// Seven arguments a user: name, number, first group, further groups, shell, home, whether of the system.
pub(super) const USERS: &str = r#"
while [ $# -gt 0 ]; do
    name=$1 id=$2 group=$3 groups=$4 shell=$5 home=$6 system=$7
    shift 7
    own=$id
    [ "$group" = "$name" ] || own=
    getent group "$group" > /dev/null || groupadd ${system:+--system} ${own:+--gid "$own"} "$group"
    make=--create-home
    [ -z "$system" ] || make=--no-create-home
    useradd ${system:+--system} ${id:+--uid "$id"} --gid "$group" ${groups:+--groups "$groups"} \
        --shell "${shell:-/usr/sbin/nologin}" ${home:+--home-dir "$home"} $make "$name"
done
"#;

/// Files that hold any of the lines of the open file whose number is the argument, or are called so; the programs
/// are the host's.
const SEARCH: &str = r#"
{ grep --recursive --files-with-matches --text --fixed-strings --devices=skip --file "/dev/fd/$1" layer || [ $? = 1 ]
  find layer -printf '%p %l\n' | grep --text --fixed-strings --file "/dev/fd/$1" || [ $? = 1 ]
} > found
"#;

/// The command of the failed step, for the person who is let in.
const SHELL: &str = r#"
printf 'In the sandbox of the failed step; what is changed here is thrown away. The step was:\n%s\n' "$1"
if [ -x /bin/bash ]; then exec bash --norc; else exec sh -i; fi
"#;

/// A verb of systemctl, then units.
pub(super) const SYSTEMCTL: &str = r#"exec systemctl --quiet "$@""#;

/// One layer being made.
#[derive(Debug)]
pub(super) struct Oven<'a> {
    pub layer: &'a Layer,
    pub suite: &'a str,
    pub stack: Stack<'a>,
    pub home: &'a Home,
    pub log: PathBuf,
    pub secrets: &'a Secrets,
    pub shell: bool,
}

impl<'a> Oven<'a> {
    pub(super) fn prepare(
        plan: &'a Plan,
        layer: &'a Layer,
        work: &'a Path,
        lower: &'a [PathBuf],
        home: &'a Home,
        options: &'a Options,
    ) -> Result<Self, BakeError> {
        let suite = match plan.layers.first().map(|layer| &layer.work) {
            Some(Work::Base(debian)) => debian.suite.as_str(),
            Some(Work::Disk(_)) => "",
            _ => return Err(BakeError::Incomplete("base")),
        };
        let part = work.join("layer");
        fs::create_dir(&part).at(&part)?;
        let log = log_path(home, &layer.recipe, layer.work.kind(), layer.id.as_str());
        process::fresh_log(&log).at(&log)?;
        let (secrets, shell) = (&options.secrets, options.shell);
        Ok(Oven { layer, suite, stack: Stack { work, lower }, home, log, secrets, shell })
    }

    /// Makes the layer's tree; says what is in the image when the layer is the seal.
    pub(super) fn make(&self) -> Result<Sealed, BakeError> {
        match &self.layer.work {
            Work::Base(debian) => self.base(debian)?,
            Work::Packages(names) => self.packages(names)?,
            Work::Users(users) => self.users(users)?,
            Work::Files(files) => self.files(files)?,
            Work::Run(step) => self.step(step)?,
            Work::Services(services) => self.services(services)?,
            Work::Seal { tests, root, .. } => {
                for test in tests {
                    self.test(test)?;
                }
                return seal::seal(self, *root);
            }
            Work::Disk(_) | Work::Root { .. } => return Err(BakeError::Incomplete("machine")),
        }
        Ok(Sealed::default())
    }

    fn users(&self, users: &[User]) -> Result<(), BakeError> {
        let words = user_words(users);
        let mut argv = vec!["sh", "-eu", "-c", USERS, "users"];
        argv.extend(words.iter().map(String::as_str));
        self.sandboxed(TREE, Access::default(), &argv, PATIENCE)
    }

    fn files(&self, files: &[PlannedFile]) -> Result<(), BakeError> {
        let (stage, arguments) = self.stage_files(files)?;
        for some in arguments {
            let access = Access { binds: vec![(stage.clone(), "/run/stage", false)], ..Access::default() };
            let mut argv = vec!["sh", "-eu", "-c", PLACE, "place"];
            argv.extend(some.iter().map(String::as_str));
            self.sandboxed(TREE, access, &argv, PATIENCE)?;
        }
        Ok(())
    }

    /// Copies files to where they wait to be put in place; gives that directory, and what is to be said to [`PLACE`],
    /// in pieces.
    pub(super) fn stage_files(
        &self,
        files: &[PlannedFile],
    ) -> Result<(PathBuf, Vec<Vec<String>>), BakeError> {
        let stage = self.stack.work.join("stage");
        create_private_dir(&stage).at(&stage)?;
        let mut arguments: Vec<String> = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let staged = match &file.source {
                Source::Directory => file.digest.clone(),
                _ => index.to_string(),
            };
            copy_checked(file, &stage.join(&staged))?;
            let mode = format!("{:04o}", file.mode);
            arguments.extend([staged, mode, file.user.clone(), file.group.clone(), file.path.clone()]);
        }
        // What can be said to a program is limited.
        Ok((stage, arguments.chunks(5 * FILES_AT_ONCE).map(<[String]>::to_vec).collect()))
    }

    fn step(&self, step: &Step) -> Result<(), BakeError> {
        let needles = self.secrets.needles(&step.secrets);
        let argv = ["sh", "-eu", "-c", &step.command];
        let mut run = self.stack.sandboxed(TREE, self.access(step)?, &argv)?;
        let ended = self.execute_as(&mut run, step.timeout, &self.stage(), &needles);
        if self.shell && matches!(ended, Err(BakeError::Failed { .. })) {
            self.let_in(step)?;
        }
        ended?;
        match needles.is_empty() {
            true => Ok(()),
            false => self.search(&needles),
        }
    }

    fn access<'s>(&self, step: &'s Step) -> Result<Access<'s>, BakeError> {
        let mut secrets = Vec::new();
        for name in &step.secrets {
            let value = self.secrets.get(name).ok_or_else(|| BakeError::NoSecret(name.clone()))?;
            secrets.push((name.as_str(), secret::in_memory(value).at(self.stack.work)?));
        }
        let env = step.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Ok(Access { network: step.network, env, secrets, ..Access::default() })
    }

    /// Lets a person look around where a step failed, with all that the step could see.
    fn let_in(&self, step: &Step) -> Result<(), BakeError> {
        let access = Access { interactive: true, ..self.access(step)? };
        let mut shell = self.stack.sandboxed(TREE, access, &["sh", "-c", SHELL, "shell", &step.command])?;
        process::interact(&mut shell).at(self.stack.work)
    }

    /// Refuses a layer in which a secret is found.
    pub(super) fn search(&self, needles: &[Vec<u8>]) -> Result<(), BakeError> {
        let lines = secret::in_memory(&needles.join(&b'\n')).at(self.stack.work)?;
        let mut search = self.stack.beside();
        // Byte by byte, whatever they mean.
        search.env("LC_ALL", "C").args(["sh", "-euc", SEARCH, "search", &lines.as_raw_fd().to_string()]);
        inherit(&mut search, vec![lines]);
        self.execute_as(&mut search, PATIENCE, "the search for secrets", needles)?;
        let path = self.stack.work.join("found");
        let found = String::from_utf8_lossy(&fs::read(&path).at(&path)?).into_owned();
        let mut places: Vec<String> = found
            .lines()
            .map(|line| line.trim_start_matches("layer/tree").trim_start_matches("layer").trim().to_owned())
            .collect();
        places.dedup();
        match places.is_empty() {
            true => Ok(()),
            // Their names may be the secret.
            false => {
                Err(BakeError::SecretLeft { stage: self.stage(), places: secret::masked(&places, needles) })
            }
        }
    }

    fn services(&self, services: &Services) -> Result<(), BakeError> {
        for (verb, units) in services.verbs() {
            let mut argv = vec!["sh", "-eu", "-c", SYSTEMCTL, "systemctl", verb];
            argv.extend(units.iter().map(String::as_str));
            self.sandboxed(TREE, Access::default(), &argv, PATIENCE)?;
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
        let mut run = self.stack.sandboxed("scratch", Access::default(), &["sh", "-eu", "-c", command])?;
        self.execute_as(&mut run, limit, &format!("test `{title}`"), &[])
    }

    /// Runs `argv` on the stack with changes going to `upper`.
    pub(super) fn sandboxed(
        &self,
        upper: &str,
        access: Access<'_>,
        argv: &[&str],
        limit: Duration,
    ) -> Result<(), BakeError> {
        self.execute(&mut self.stack.sandboxed(upper, access, argv)?, limit)
    }

    pub(super) fn work(&self) -> &Path {
        self.stack.work
    }

    pub(super) fn execute(&self, command: &mut Command, limit: Duration) -> Result<(), BakeError> {
        self.execute_as(command, limit, &self.stage(), &[])
    }

    /// What the layer is called when something is said about it.
    pub(super) fn stage(&self) -> String {
        let (kind, about) = (self.layer.work.kind(), self.layer.work.about());
        if about.is_empty() { kind.to_owned() } else { format!("{kind} ({about})") }
    }

    fn execute_as(
        &self,
        command: &mut Command,
        limit: Duration,
        stage: &str,
        secrets: &[Vec<u8>],
    ) -> Result<(), BakeError> {
        execute(command, &self.log, limit, &self.layer.recipe, stage, secrets)
    }

    pub(super) fn note(&self, line: &str) -> Result<(), BakeError> {
        let open = || File::options().create(true).append(true).open(&self.log);
        open().and_then(|mut log| writeln!(log, "+ {line}")).at(&self.log)
    }
}

/// What is said to [`USERS`].
pub(super) fn user_words(users: &[User]) -> Vec<String> {
    let mut words = Vec::new();
    for user in users {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        words.extend([user.name.clone(), user.uid.map(|uid| uid.to_string()).unwrap_or_default()]);
        words.extend([user.group.clone().unwrap_or_else(|| user.name.clone()), user.groups.join(",")]);
        words.extend([or_none(&user.shell), or_none(&user.home)]);
        words.push(if user.system { "yes".to_owned() } else { String::new() });
    }
    words
}

/// Runs a command of the bake; a bad end becomes an error with the tail of its log.
pub(super) fn execute(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    recipe: &str,
    stage: &str,
    secrets: &[Vec<u8>],
) -> Result<(), BakeError> {
    match process::run(command, log, limit, secrets).at(log)? {
        Ended::Well => Ok(()),
        Ended::Badly(why) => Err(BakeError::Failed {
            recipe: recipe.to_owned(),
            stage: stage.to_owned(),
            // Then the log says nothing of it: it is on the same disk.
            why: if is_full(log) { format!("{why}: No space left on device") } else { why },
            tail: process::tail(log),
            log: log.to_owned(),
        }),
    }
}

pub(super) fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether the disk that holds `path` is full, but for less than anything needs.
fn is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < 1 << 20)
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
        Source::Directory => return Ok(()),
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
