//! Which kind of file a person wrote, told by what only that kind has; for those who confuse commands.

use crate::diagnostic::{BadFile, closest, read_text};
use crate::recipe::{Recipe, locate};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Recipe,
    Scenario,
    Fleet,
}

impl Kind {
    /// The kind that the top-level fields of `text` suggest. A recipe is a template before it is YAML, so
    /// only the beginnings of lines are looked at.
    pub(crate) fn of(text: &str) -> Option<Kind> {
        let has =
            |fields: &[&str]| text.lines().any(|line| fields.iter().any(|field| line.starts_with(field)));
        match () {
            () if has(&["steady:", "timeline:", "expect:", "workload:"]) => Some(Kind::Scenario),
            () if has(&["from:", "packages:", "vars:", "services:"]) => Some(Kind::Recipe),
            () if has(&["fleet:"]) => Some(Kind::Fleet),
            () => None,
        }
    }
}

/// Adds to a complaint about `text`, which was taken for a file of the kind `wanted`, what it looks like.
pub(crate) fn explain(bad: BadFile, text: &str, wanted: Kind) -> BadFile {
    let path = bad.path.display().to_string();
    match Kind::of(text).filter(|kind| *kind != wanted) {
        Some(Kind::Recipe) => {
            bad.help(format!("this looks like a recipe, which `ovenproof bake {path}` bakes"))
        }
        Some(Kind::Scenario) => {
            bad.help(format!("this looks like a scenario, which `ovenproof run {path}` runs"))
        }
        Some(Kind::Fleet) => {
            bad.help(format!("this looks like a fleet file, which `ovenproof up {path}` starts"))
        }
        None => bad,
    }
}

/// The recipe that a person means by `reference`, with variables from `sets`.
pub(crate) fn load_recipe(reference: &str, sets: &[(String, String)]) -> Result<Recipe, BadFile> {
    let path = locate(reference);
    Recipe::load(&path, sets).map_err(|bad| {
        if bad.path == path && !path.exists() {
            return suggest(bad);
        }
        match read_text(&bad.path) {
            Ok(text) => explain(bad, &text, Kind::Recipe),
            Err(_) => bad,
        }
    })
}

/// What else is in the folder of a recipe that is not there.
fn suggest(bad: BadFile) -> BadFile {
    let stem = |path: &std::path::Path| Some(path.file_stem()?.to_str()?.to_owned());
    let entries = bad.path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "yaml"))
        .filter_map(|entry| stem(&entry.path()))
        .collect();
    names.sort();
    let wanted = stem(&bad.path).unwrap_or_default();
    match closest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => bad.help(format!("did you mean `{near}`?")),
        None => bad.help("expected the path of a recipe, or NAME for images/NAME.yaml"),
    }
}
