//! Files that are intact: what stood in them before the first fault stands there in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::known::{Complaint, Known};
use super::{Expect, Finding, count};
use crate::journal::Verdict;
use crate::units::Span;
use crate::verify::Budget;
use crate::verify::question::{Ask, Question, When};

/// So many changed files are named.
const NAMED: usize = 50;

/// Files that nothing may change are the same in the end as before the first fault, on every instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesIntact {
    /// Absolute paths of files and folders; folders are looked through, on their own file system.
    pub paths: Vec<String>,
    /// Look only at instances of this role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Limit for reading them all on one instance.
    #[serde(default = "one_minute")]
    pub timeout: Span,
}

fn one_minute() -> Span {
    Span(Duration::from_secs(60))
}

impl Expect for FilesIntact {
    fn title(&self) -> String {
        let of = self.role.as_ref().map(|role| format!(" of {role}")).unwrap_or_default();
        format!("files{of} intact: {}", self.paths.join(", "))
    }

    fn check(&self, known: &Known<'_>) -> Result<(), Complaint> {
        known.has_role(self.role.as_deref())?;
        let absolute = |path: &String| path.starts_with('/') && !path.contains('\0');
        match self.paths.iter().find(|path| !absolute(path)) {
            Some(path) => Err(Complaint::new(format!("`{path}` is not an absolute path"))),
            None if self.paths.is_empty() => Err(Complaint::new("`files_intact` names no path")),
            None => Ok(()),
        }
    }

    fn question(&self) -> Option<Question<'_>> {
        let quoted: Vec<String> = self
            .paths
            .iter()
            .map(|path| shlex::try_quote(path).map_or_else(|_| path.clone(), |quoted| quoted.into_owned()))
            .collect();
        // A name that cannot stand on one line is escaped by sha256sum itself.
        let ask =
            format!("find {} -xdev -type f -exec sha256sum {{}} + | LC_ALL=C sort -k 2", quoted.join(" "));
        Some(Question {
            role: self.role.as_deref(),
            ask: Ask::Exec(ask),
            timeout: self.timeout.0,
            when: When::BeforeAndAfter,
        })
    }

    fn judge(&self, facts: &Facts<'_>, _: Budget) -> Finding {
        let title = self.title();
        let mut nodes: BTreeMap<&str, [Option<Result<&str, &str>>; 2]> = BTreeMap::new();
        for (_, saying) in facts.said.iter().filter(|(_, saying)| saying.expectation == title) {
            if let Some(place) = nodes.entry(saying.node).or_default().get_mut(saying.round as usize) {
                *place = Some(saying.answer);
            }
        }
        let (mut files, mut changes, mut unknown, mut unread) = (0, Vec::new(), Vec::new(), Vec::new());
        for (node, answers) in &nodes {
            match answers {
                [Some(Ok(before)), Some(Ok(after))] => {
                    let (before, after) = (digests(before), digests(after));
                    files += before.len();
                    changes.extend(compare(node, &before, &after));
                }
                [Some(Ok(_)), Some(Err(why))] => {
                    unread.push(format!("{node}: cannot be read any more: {why}"))
                }
                [Some(Err(why)), _] => unknown.push(format!("{node}: could not be read before: {why}")),
                _ => unknown.push(format!("{node}: was not asked twice")),
            }
        }
        let mut finding = match (changes.len() + unread.len(), unknown.is_empty(), files) {
            (0, true, 0) => Finding::new(Verdict::Error, "nothing was learned: there were no files"),
            (0, true, some) => {
                let on = count(nodes.len(), "instance");
                Finding::new(Verdict::Pass, format!("{} on {on}, all as before", count(some, "file")))
            }
            (0, false, _) => Finding::new(Verdict::Error, unknown.join("; ")),
            (some, ..) => Finding::new(Verdict::Fail, format!("{} not as before", count(some, "file"))),
        };
        let more = changes.len().saturating_sub(NAMED);
        changes.truncate(NAMED);
        if more > 0 {
            changes.push(format!("and {more} more"));
        }
        finding.detail = [unread, changes, unknown].concat().join("\n");
        finding.measured("files", files as f64)
    }
}

/// Digest by path.
fn digests(answer: &str) -> BTreeMap<&str, &str> {
    answer.lines().filter_map(|line| line.split_once("  ")).map(|(digest, path)| (path, digest)).collect()
}

fn compare(node: &str, before: &BTreeMap<&str, &str>, after: &BTreeMap<&str, &str>) -> Vec<String> {
    let gone_or_other = before.iter().filter_map(|(path, digest)| match after.get(path) {
        None => Some(format!("{node}: {path} is gone")),
        Some(now) if now != digest => Some(format!("{node}: {path} holds something else")),
        Some(_) => None,
    });
    let new = after.keys().filter(|path| !before.contains_key(*path));
    gone_or_other.chain(new.map(|path| format!("{node}: {path} is new"))).collect()
}
