//! Checks of one recipe file beyond its shape: names, paths, modes, and what contradicts itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::form::{InstanceFileForm, InstanceForm, RecipeFile, ServicesForm, StepForm};
use super::instance::{InstanceFile, Readiness, VolumeSpec};
use super::plan::{PlannedFile, Root, Services, Step, User};
use super::{render, source};
use crate::diagnostic::{BadFile, Located, Position, read_text};
use crate::units::Size;

/// A recipe file as it lies on disk and as it was rendered: what every complaint needs.
#[derive(Debug)]
pub struct Rendered<'a> {
    pub path: &'a Path,
    /// What was parsed.
    pub text: String,
    /// Whether rendering added or removed lines, so that positions are those of the rendered text.
    pub moved: bool,
    pub vars: &'a BTreeMap<String, Value>,
}

/// Secrets are named as files are and as environment variables are.
pub fn is_secret_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Directories whose content does not survive into a running instance.
const VOLATILE: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// What one recipe file of a chain contributes.
#[derive(Debug)]
pub struct Contribution {
    pub packages: Vec<String>,
    pub users: Vec<User>,
    pub files: Vec<PlannedFile>,
    pub run: Vec<Step>,
    pub services: Services,
    pub tests: Vec<String>,
    pub kernel_cmdline: Vec<String>,
    pub root: Option<Root>,
    pub instance: InstancePart,
}

/// What one recipe says of instances; `None` leaves it to the recipe it stands on.
#[derive(Debug, Default)]
pub struct InstancePart {
    pub memory: Option<Size>,
    pub cpus: Option<u8>,
    pub disk: Option<Size>,
    pub ready: Option<Readiness>,
    pub ports: Option<Vec<u16>>,
    pub files: Vec<InstanceFile>,
    pub volumes: BTreeMap<String, VolumeSpec>,
}

impl Rendered<'_> {
    pub fn bad(&self, at: Option<Position>, message: impl Into<String>) -> BadFile {
        let bad = BadFile::at(self.path, &self.text, at, message);
        if self.moved && at.is_some() { bad.help("the line is that of the rendered recipe") } else { bad }
    }

    /// Parses the rendered text.
    pub fn parse(&self) -> Result<RecipeFile, BadFile> {
        crate::diagnostic::parse_yaml(self.path, &self.text).map_err(|mut bad: BadFile| {
            if self.moved && bad.at.is_some() {
                bad.help.push("the line is that of the rendered recipe".to_owned());
            }
            bad
        })
    }

    pub fn contribution(&self, form: &RecipeFile) -> Result<Contribution, BadFile> {
        Ok(Contribution {
            packages: self.packages(&form.packages)?,
            users: self.users(&form.users)?,
            files: self.files(&form.files)?,
            run: form.run.iter().map(|step| self.step(step)).collect::<Result<_, _>>()?,
            services: self.services(&form.services)?,
            tests: form.test.iter().map(|test| self.command(test)).collect::<Result<_, _>>()?,
            kernel_cmdline: self.kernel_cmdline(&form.kernel_cmdline)?,
            root: form.root,
            instance: self.instance(&form.instance)?,
        })
    }

    fn packages(&self, packages: &[Located<String>]) -> Result<Vec<String>, BadFile> {
        let mut names = Vec::new();
        for package in packages {
            let (name, version) = match package.split_once('=') {
                Some((name, version)) => (name, Some(version)),
                None => (package.as_str(), None),
            };
            let plain = |text: &str, more: &str| {
                text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            };
            let good_name = name.len() > 1 && plain(name, "+-.") && !name.contains(char::is_uppercase);
            if !good_name || version.is_some_and(|version| !plain(version, "+-.:~")) {
                return Err(self
                    .bad(package.at, format!("`{package}` is not a package"))
                    .help("expected `NAME` or `NAME=VERSION`"));
            }
            if names.iter().any(|known: &String| known.split('=').next() == Some(name)) {
                return Err(self.bad(package.at, format!("the package `{name}` is listed twice")));
            }
            names.push(package.value.clone());
        }
        // The set is what counts: the package manager decides the order.
        names.sort();
        Ok(names)
    }

    fn step(&self, form: &StepForm) -> Result<Step, BadFile> {
        let command = self.command(&form.command)?;
        let timeout = match &form.timeout {
            Some(timeout) if timeout.0.is_zero() => {
                return Err(self.bad(timeout.at, "a step needs more time than none"));
            }
            Some(timeout) => timeout.0,
            None => Duration::from_secs(600),
        };
        for name in form.env.keys() {
            let plain = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !plain {
                let message = format!("`{name}` is not the name of an environment variable");
                return Err(self.bad(form.command.at, message));
            }
        }
        let mut secrets: Vec<String> = Vec::new();
        for secret in &form.secrets {
            if !is_secret_name(secret) || secrets.contains(&secret.value) {
                return Err(self
                    .bad(secret.at, format!("`{secret}` is not the name of a secret, or listed twice"))
                    .help("expected letters, digits, underscores and hyphens"));
            }
            secrets.push(secret.value.clone());
        }
        let first_line = || command.trim().lines().next().unwrap_or_default().to_owned();
        Ok(Step {
            title: form.name.clone().unwrap_or_else(first_line),
            command,
            network: form.network,
            timeout,
            env: form.env.clone(),
            secrets,
        })
    }

    /// Words, none of which may say where the root is: that differs from provider to provider.
    fn kernel_cmdline(&self, words: &[Located<String>]) -> Result<Vec<String>, BadFile> {
        for word in words {
            let name = word.split('=').next().unwrap_or_default();
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_graphic() && !"\"'\\".contains(c)) {
                return Err(self
                    .bad(word.at, format!("`{word}` is not a word for the kernel"))
                    .help("expected one word an entry, such as `quiet` or `mitigations=off`"));
            }
            if ["root", "ro", "rw", "init", "ip"].contains(&name) || name.starts_with("ovenproof.") {
                return Err(self.bad(word.at, format!("`{name}` is said by whoever starts an instance")));
            }
        }
        Ok(words.iter().map(|word| word.value.clone()).collect())
    }

    fn services(&self, form: &ServicesForm) -> Result<Services, BadFile> {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let lists = [("enable", &form.enable), ("disable", &form.disable), ("mask", &form.mask)];
        for (verb, units) in lists {
            for unit in units {
                let known_kind = [".service", ".socket", ".timer", ".mount", ".target", ".path"]
                    .iter()
                    .any(|kind| unit.ends_with(kind));
                let plain = |c: char| c.is_ascii_alphanumeric() || "@:._-\\".contains(c);
                if !known_kind || !unit.chars().all(plain) {
                    return Err(self
                        .bad(unit.at, format!("`{unit}` is not a unit"))
                        .help("expected a name with its kind, such as `ssh.service`"));
                }
                if let Some(before) = seen.insert(&unit.value, verb) {
                    let message = format!("`{unit}` stands under both `{before}` and `{verb}`");
                    return Err(self.bad(unit.at, message));
                }
            }
        }
        let names = |units: &[Located<String>]| units.iter().map(|unit| unit.value.clone()).collect();
        Ok(Services { enable: names(&form.enable), disable: names(&form.disable), mask: names(&form.mask) })
    }

    fn instance(&self, form: &InstanceForm) -> Result<InstancePart, BadFile> {
        if let Some(memory) = form.memory.as_ref().filter(|memory| memory.0 < 64 << 20) {
            return Err(
                self.bad(memory.at, format!("{memory} of memory is too little, expected 64M or more"))
            );
        }
        if let Some(cpus) = form.cpus.as_ref().filter(|cpus| !(1..=64).contains(&cpus.value)) {
            return Err(self.bad(cpus.at, format!("{cpus} cpus are not possible, expected 1 to 64")));
        }
        if let Some(disk) = &form.disk
            && (!(1 << 30..=1 << 44).contains(&disk.0) || !disk.0.is_multiple_of(1 << 20))
        {
            let message =
                format!("a disk of {disk} is not possible, expected whole megabytes from 1G to 16T");
            return Err(self.bad(disk.at, message));
        }
        if let Some(ports) = &form.ports {
            for (index, port) in ports.iter().enumerate() {
                if port.value == 0 || ports.iter().take(index).any(|before| before.value == port.value) {
                    return Err(self.bad(port.at, format!("port {port} is not possible or listed twice")));
                }
            }
        }
        let mut files: Vec<InstanceFile> = Vec::new();
        for file in &form.files {
            let file = self.instance_file(file)?;
            files.push(file);
        }
        for (name, volume) in &form.volumes {
            volume.check(name).map_err(|message| self.bad(volume.at, message))?;
        }
        let volumes = form.volumes.iter().map(|(name, volume)| (name.clone(), volume.value.clone()));
        let volumes: BTreeMap<String, VolumeSpec> = volumes.collect();
        VolumeSpec::check_all(&volumes).map_err(|message| {
            self.bad(form.volumes.values().next().and_then(|volume| volume.at), message)
        })?;
        Ok(InstancePart {
            memory: form.memory.as_ref().map(|memory| memory.value),
            cpus: form.cpus.as_ref().map(|cpus| cpus.value),
            disk: form.disk.as_ref().map(|disk| disk.value),
            ready: form.ready.clone(),
            ports: form.ports.as_ref().map(|ports| ports.iter().map(|port| port.value).collect()),
            files,
            volumes,
        })
    }

    fn instance_file(&self, form: &InstanceFileForm) -> Result<InstanceFile, BadFile> {
        let path = self.image_path(&form.path)?;
        let known = ["node", "fleet"];
        let content = match (&form.content, &form.template) {
            (Some(content), None) => {
                // Its own lines start somewhere inside the recipe, so the place is that of the value.
                render::check(self.path, content, &known)
                    .map_err(|inner| self.bad(content.at, format!("in this text: {}", inner.message)))?;
                content.value.clone()
            }
            (None, Some(template)) => {
                let (file, text) = self.template(template)?;
                render::check(&file, &text, &known)?;
                text
            }
            _ => {
                let message = format!("`{path}` needs exactly one of `content` and `template`");
                return Err(self.bad(form.path.at, message));
            }
        };
        self.mode(form.mode.as_ref())?;
        let mode = form.mode.as_ref().map_or_else(|| "0644".to_owned(), |mode| mode.value.clone());
        Ok(InstanceFile { path, content, mode })
    }

    fn command(&self, command: &Located<String>) -> Result<String, BadFile> {
        match command.trim() {
            "" => Err(self.bad(command.at, "a command is empty")),
            _ if command.contains('\0') => Err(self.bad(command.at, "a command contains a NUL character")),
            _ => Ok(command.value.clone()),
        }
    }

    pub(super) fn image_path(&self, path: &Located<String>) -> Result<String, BadFile> {
        if !source::is_plain_absolute(path) {
            return Err(self
                .bad(path.at, format!("`{path}` is not a path in the image"))
                .help("expected an absolute path to a file, without `.` and `..`"));
        }
        let first = path.split('/').nth(1).unwrap_or_default();
        match VOLATILE.iter().find(|dir| dir.trim_start_matches('/') == first) {
            Some(dir) => Err(self.bad(path.at, format!("what lies under {dir} does not stay in an image"))),
            None => Ok(path.value.clone()),
        }
    }

    pub(super) fn mode(&self, mode: Option<&Located<String>>) -> Result<u32, BadFile> {
        let Some(mode) = mode else { return Ok(0o644) };
        let digits = (3..=4).contains(&mode.len()) && mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(mode, 8) {
            Ok(bits) if digits => Ok(bits),
            _ => Err(self
                .bad(mode.at, format!("`{mode}` is not a mode"))
                .help("expected three or four octal digits in quotes, such as \"0644\"")),
        }
    }

    pub(super) fn owner(&self, owner: Option<&Located<String>>) -> Result<(String, String), BadFile> {
        let Some(owner) = owner else { return Ok(("root".to_owned(), "root".to_owned())) };
        let plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with('-')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        match owner.split_once(':') {
            Some((user, group)) if plain(user) && plain(group) => Ok((user.to_owned(), group.to_owned())),
            _ => Err(self
                .bad(owner.at, format!("`{owner}` is not an owner"))
                .help("expected `USER:GROUP`, such as `root:root`")),
        }
    }

    pub(super) fn folder(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    pub(super) fn inside(&self, root: &Path, name: &Located<String>) -> Result<PathBuf, BadFile> {
        source::file_inside(root, name).map_err(|message| self.bad(name.at, message))
    }

    /// A file of the `templates` folder, which stands beside the recipe's folder.
    pub(super) fn template(&self, name: &Located<String>) -> Result<(PathBuf, String), BadFile> {
        let folder = self.folder();
        let root = match folder.parent().filter(|_| folder != Path::new(".")) {
            Some(above) => above.join("templates"),
            None => folder.join("../templates"),
        };
        self.inside(&root, name)?;
        // Named as the user knows it, not by its canonical path.
        let shown = root.join(&name.value);
        let text = read_text(&shown)?;
        Ok((shown, text))
    }
}
