//! From a recipe's path to a checked chain of recipes, base first, and from there to a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::check::{Contribution, Rendered};
use super::form::RecipeFile;
use super::instance::InstanceDefaults;
use super::plan::{Debian, Keyring, Plan, Root, SourceDisk, Work};
use super::{disk, lock, placing, render, source, vars};
use crate::diagnostic::{BadFile, Located, closest, read_text};

/// More recipes on top of each other than this are a mistake.
const MAX_CHAIN: usize = 16;
/// More layers than this cannot be stacked in one mount.
const MAX_LAYERS: usize = 200;

/// A recipe and all it stands on, read and checked.
#[derive(Debug)]
pub struct Recipe {
    pub name: String,
    pub path: PathBuf,
    /// Every file that was read as a recipe, base first.
    pub files: Vec<PathBuf>,
    plan: Plan,
}

/// The path of the recipe that a person means: a path as it is, a bare name as `images/NAME.yaml`.
pub fn locate(reference: &str) -> PathBuf {
    let path = Path::new(reference);
    match path.extension().is_some() || path.components().count() > 1 || path.exists() {
        true => path.to_owned(),
        false => Path::new("images").join(format!("{reference}.yaml")),
    }
}

/// What a recipe may stand on.
const FROM: &str = "expected `debian:SUITE`, `file:PATH` or the name of another recipe";

struct Link {
    name: String,
    path: PathBuf,
    part: Contribution,
}

enum From {
    Debian(Debian),
    Disk(SourceDisk),
    Recipe(PathBuf),
}

impl Recipe {
    /// Reads the recipe at `path` and those it stands on, with variables from `sets` (`--set NAME=VALUE`).
    pub fn load(path: &Path, sets: &[(String, String)]) -> Result<Recipe, BadFile> {
        let mut chain: Vec<Link> = Vec::new();
        let mut known: Vec<String> = Vec::new();
        let mut next = path.to_owned();
        let ground = loop {
            let text = read_text(&next)?;
            let declared = vars::declared(&next, &text)?;
            known.extend(declared.keys().cloned());
            let values = vars::values(&next, &text, &declared, sets)?;
            let rendered = render::render(&next, &text, &values)?;
            let moved = rendered.lines().count() != text.lines().count();
            let rendered = Rendered { path: &next, text: rendered, moved, vars: &values };
            let form = rendered.parse()?;
            check_name(&rendered, &form.name)?;
            let from = read_from(&rendered, &form)?;
            let part = rendered.contribution(&form)?;
            let name = form.name.value.clone();
            let misplaced = match (&from, &form.debian) {
                (From::Debian(_), _) | (_, None) => None,
                (From::Recipe(parent), Some(_)) => {
                    Some(format!("belongs in {}, on which this stands", parent.display()))
                }
                (From::Disk(_), Some(_)) => {
                    Some("is for `debian:SUITE`; a disk knows its own archive".to_owned())
                }
            };
            if let Some(why) = misplaced {
                return Err(rendered.bad(form.from.at, format!("`debian` {why}")));
            }
            if let From::Recipe(parent) = &from {
                refuse_cycle(&rendered, &form.from, &chain, &name, parent)?;
            }
            chain.push(Link { name, path: next.clone(), part });
            match from {
                From::Debian(debian) => break Work::Base(debian),
                From::Disk(disk) => break Work::Disk(disk),
                From::Recipe(parent) => next = parent,
            }
        };
        known.sort();
        known.dedup();
        vars::refuse_unknown(path, &known, sets)?;
        chain.reverse();
        resolve(path, ground, chain)
    }

    /// The layers and the image that this recipe makes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

fn check_name(rendered: &Rendered, name: &Located<String>) -> Result<(), BadFile> {
    let plain = (1..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !plain {
        return Err(rendered
            .bad(name.at, format!("`{name}` is not a name for an image"))
            .help("expected lower-case letters, digits and hyphens, a letter first, at most 40"));
    }
    let stem = rendered.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    match stem == name.value {
        true => Ok(()),
        false => Err(rendered
            .bad(name.at, format!("the recipe calls itself `{name}`, but its file `{stem}`"))
            .help("the two must agree, because other recipes name it by its file")),
    }
}

fn read_from(rendered: &Rendered, form: &RecipeFile) -> Result<From, BadFile> {
    let from = &form.from;
    if let Some((distribution, suite)) = from.split_once(':') {
        let plain = !suite.is_empty() && suite.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        return match distribution {
            "debian" if plain => debian(rendered, form, suite).map(From::Debian),
            "file" => source_disk(rendered, from, suite).map(From::Disk),
            "debian" => Err(rendered
                .bad(from.at, format!("`{suite}` is not the name of a Debian release"))
                .help("expected a name such as `debian:bookworm`")),
            _ => Err(rendered
                .bad(from.at, format!("`{distribution}` is not a distribution that can be baked"))
                .help(FROM)),
        };
    }
    let folder = rendered.path.parent().unwrap_or(Path::new(""));
    let parent = folder.join(format!("{from}.yaml"));
    if !from.contains('/') && parent.is_file() {
        return Ok(From::Recipe(parent));
    }
    let bad = rendered.bad(from.at, format!("there is no recipe `{from}` beside this one"));
    let names = sibling_names(rendered.path);
    Err(match closest(from, names.iter().map(String::as_str)) {
        Some(best) => bad.help(format!("did you mean `{best}`?")),
        None => bad.help(FROM),
    })
}

/// Where a release of Debian comes from. Only what is fetched over the network: a recipe cannot read the
/// host's files.
fn debian(rendered: &Rendered, form: &RecipeFile, suite: &str) -> Result<Debian, BadFile> {
    let mut debian = Debian { suite: suite.to_owned(), ..Debian::default() };
    let Some(form) = &form.debian else { return Ok(debian) };
    let is_url = |text: &str| {
        ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme) && text.len() > scheme.len())
            && text.chars().all(|c| c.is_ascii_graphic() && !"\"'`$\\|;&<>".contains(c))
    };
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/+".contains(c))
    };
    if let Some(mirror) = &form.mirror {
        if !is_url(mirror) {
            let message = format!("`{mirror}` is not the URL of an archive");
            return Err(rendered.bad(mirror.at, message).help("expected `http://` or `https://`"));
        }
        debian.mirror = Some(mirror.value.clone());
    }
    if let Some(bad) = form.components.iter().find(|component| !is_word(component)) {
        return Err(rendered.bad(bad.at, format!("`{bad}` is not a component, such as `main`")));
    }
    debian.components = form.components.iter().map(|component| component.value.clone()).collect();
    for line in &form.sources {
        let mut words = line.split(' ').filter(|word| !word.is_empty()).peekable();
        let deb = words.next() == Some("deb");
        if words.peek().is_some_and(|word| word.starts_with('[') && word.ends_with(']')) {
            words.next();
        }
        let good = deb && words.next().is_some_and(is_url) && words.next().is_some_and(is_word);
        if !good || !words.all(is_word) || line.contains(char::is_control) {
            return Err(rendered
                .bad(line.at, format!("`{line}` is not a source of packages"))
                .help("expected `deb URL SUITE COMPONENT...`, the URL with `http://` or `https://`"));
        }
        debian.sources.push(line.value.clone());
    }
    if let Some(keyring) = &form.keyring {
        let path = rendered.inside(&rendered.folder(), keyring)?;
        let digest = placing::digest(&path)
            .map_err(|error| rendered.bad(keyring.at, format!("{}: {error}", path.display())))?;
        debian.keyring = Some(Keyring { digest, path });
    }
    Ok(debian)
}

/// A disk in the recipe's folder.
fn source_disk(rendered: &Rendered, from: &Located<String>, name: &str) -> Result<SourceDisk, BadFile> {
    let bad = |message: String| rendered.bad(from.at, message);
    let path = source::file_inside(&rendered.folder(), name).map_err(bad)?;
    let io = |error| bad(format!("{}: {error}", path.display()));
    let (format, bytes) = disk::inspect(&path).map_err(io)?.map_err(|why| bad(format!("`{name}` {why}")))?;
    let digest = placing::digest(&path).map_err(io)?;
    Ok(SourceDisk { digest, format, bytes, path })
}

/// Names of the other recipes in the folder.
fn sibling_names(path: &Path) -> Vec<String> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|file| Some(file.as_path()) != Some(path));
    let yaml = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<String> =
        yaml.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

fn refuse_cycle(
    rendered: &Rendered,
    from: &Located<String>,
    chain: &[Link],
    name: &str,
    parent: &Path,
) -> Result<(), BadFile> {
    let mut names: Vec<&str> = chain.iter().map(|link| link.name.as_str()).collect();
    names.push(name);
    if let Some(start) = names.iter().position(|before| *before == from.value) {
        let circle = names.get(start..).unwrap_or_default().join(" -> ");
        let message = format!("the recipes stand on each other in a circle: {circle} -> {from}");
        return Err(rendered.bad(from.at, message));
    }
    if chain.len() >= MAX_CHAIN {
        let message = format!("more than {MAX_CHAIN} recipes stand on each other at {}", parent.display());
        return Err(rendered.bad(from.at, message));
    }
    Ok(())
}

/// Joins the contributions of a chain, base first.
fn resolve(path: &Path, ground: Work, chain: Vec<Link>) -> Result<Recipe, BadFile> {
    let name = chain.last().map(|link| link.name.clone()).unwrap_or_default();
    let in_machine = matches!(ground, Work::Disk(_));
    let mut works = vec![(chain.first().map(|link| link.name.clone()).unwrap_or_default(), ground)];
    let mut instance = InstanceDefaults::default();
    let (mut tests, mut kernel_cmdline, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let (mut locks, mut root) = (BTreeMap::new(), Root::default());
    for Link { name, path, part } in chain {
        let mut add = |work| works.push((name.clone(), work));
        if !part.packages.is_empty() {
            add(Work::Packages(part.packages));
        }
        if !part.users.is_empty() {
            add(Work::Users(part.users));
        }
        if !part.files.is_empty() {
            add(Work::Files(part.files));
        }
        part.run.into_iter().for_each(|step| add(Work::Run(step)));
        if !part.services.is_empty() {
            add(Work::Services(part.services));
        }
        let lock = lock::path_of(&path);
        locks.insert(name.clone(), lock::read(&lock)?);
        tests.extend(part.tests);
        kernel_cmdline.extend(part.kernel_cmdline);
        root = part.root.unwrap_or(root);
        files.push(path);
        let own = part.instance;
        instance.memory = own.memory.unwrap_or(instance.memory);
        instance.cpus = own.cpus.unwrap_or(instance.cpus);
        instance.disk = own.disk.unwrap_or(instance.disk);
        instance.ready = own.ready.or(instance.ready);
        instance.ports = own.ports.unwrap_or(instance.ports);
        instance.files.retain(|inherited| own.files.iter().all(|file| file.path != inherited.path));
        instance.files.extend(own.files);
        instance.volumes.extend(own.volumes);
    }
    if in_machine {
        works.push((name.clone(), Work::Root { tests: std::mem::take(&mut tests) }));
    }
    works.push((name.clone(), Work::Seal { tests, kernel_cmdline, root }));
    if works.len() > MAX_LAYERS {
        let message = format!("makes {} layers, more than {MAX_LAYERS} cannot be stacked", works.len());
        return Err(BadFile::whole(path, message).help("join some of its steps"));
    }
    let plan = Plan::stack(name.clone(), works, &locks, instance)
        .map_err(|error| BadFile::whole(path, format!("cannot be put in words: {error}")))?;
    Ok(Recipe { name, path: path.to_owned(), files, plan })
}
