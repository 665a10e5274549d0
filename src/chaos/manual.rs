//! The manual of the fault catalogue, made from the code: a page a fault, for people, for Markdown and for
//! programs.

use std::fmt::Write;

use schemars::Schema;
use serde::Serialize;
use serde_json::Value;

use super::faults::{Ec2, Entry, FaultSpec, Lasts, Takes};
use crate::diagnostic::closest;
use crate::fleet::Capability;

/// All there is to know about one fault.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    pub name: &'static str,
    pub summary: &'static str,
    pub details: &'static str,
    pub parameters: Vec<Parameter>,
    /// A line of a timeline.
    pub example: String,
    /// Whether a step with this fault needs `for`; one that ends by itself has none.
    pub has_for: bool,
    /// What it takes of an instance, in words.
    pub takes: String,
    pub needs: Capability,
    pub local: &'static str,
    /// How, or "not on EC2, because ...".
    pub ec2: String,
    pub proof: &'static str,
    pub undo: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub struct Parameter {
    pub name: String,
    /// In words: `duration`, `number`, `one of a, b`.
    pub kind: String,
    /// `None`: it must be given, unless it is `optional`.
    pub default: Option<String>,
    pub optional: bool,
    pub about: String,
}

/// The pages of all faults, in the order of the catalogue.
pub fn pages() -> Vec<Page> {
    FaultSpec::CATALOGUE.iter().filter_map(page).collect()
}

/// The faults that `name` means: itself, or a family such as `network`. The error says what there is.
pub fn find(name: &str) -> Result<Vec<Page>, String> {
    let found: Vec<Page> = pages()
        .into_iter()
        .filter(|page| {
            page.name == name || page.name.split_once('.').is_some_and(|(family, _)| family == name)
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names = FaultSpec::CATALOGUE.iter().map(|entry| entry.name);
    Err(match closest(name, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`ovenproof faults` lists all of them".to_owned(),
    })
}

/// `None` only for an example that cannot be read, which a test rules out.
fn page(entry: &Entry) -> Option<Page> {
    let spec: FaultSpec =
        crate::diagnostic::parse_yaml(std::path::Path::new(entry.name), entry.about.example).ok()?;
    let kind = spec.kind();
    let has_for = kind.lasts() == Lasts::While;
    let lasts = if has_for { ", for: 20s" } else { "" };
    let takes = match kind.takes() {
        Takes::Nothing => "Goes together with every other fault.".to_owned(),
        Takes::Part(part) => format!(
            "Takes the {part} of an instance: another fault of it must wait, all others may overlap. It cannot \
             begin while the instance is down; if the instance goes down later, it ends with that boot."
        ),
        Takes::Instance => "Takes the whole instance: no other such fault can have it meanwhile.".to_owned(),
    };
    let ec2 = match entry.about.ec2 {
        Ec2::By(how) => how.to_owned(),
        Ec2::Not(why) => format!("Not on EC2, because {why}."),
    };
    Some(Page {
        name: entry.name,
        summary: entry.summary,
        details: entry.about.details,
        parameters: parameters(&(entry.schema)()),
        example: format!("{{ at: 10s{lasts}, inject: {{ {} }} }}", entry.about.example),
        has_for,
        takes,
        needs: kind.needs(),
        local: entry.about.local,
        ec2,
        proof: entry.about.proof,
        undo: entry.about.undo,
    })
}

fn parameters(schema: &Schema) -> Vec<Parameter> {
    let root = schema.as_value();
    let required: Vec<&str> = list(root, "required").iter().filter_map(Value::as_str).collect();
    let properties = root.get("properties").and_then(Value::as_object);
    let mut found: Vec<Parameter> = (properties.into_iter().flatten())
        .map(|(name, property)| {
            let default = property.get("default").filter(|default| !default.is_null());
            let value = resolve(property, root);
            let mut about = match text(property, "description") {
                none if none.is_empty() => text(value, "description"),
                given => given,
            };
            // Whom a fault hits is said once for all of them.
            if name != "target" {
                let choices = list(value, "oneOf").iter().filter_map(choice);
                let told: Vec<String> = choices
                    .filter(|(_, about)| !about.is_empty())
                    .map(|(name, about)| format!("`{name}`: {about}"))
                    .collect();
                about = [vec![about], told].concat().join(" ");
            }
            Parameter {
                name: name.clone(),
                kind: words(property, root),
                default: default.map(|default| match default {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }),
                optional: !required.contains(&name.as_str()),
                about,
            }
        })
        .collect();
    // Whom it hits first, then what must be said, then the rest as it stands in the code.
    found.sort_by_key(|parameter| (parameter.name != "target", parameter.optional));
    found
}

/// A text of the schema as one line.
fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The name of one of several choices, and what is said of it. One that takes a value of its own is an object
/// with one field.
fn choice(choice: &Value) -> Option<(&str, String)> {
    let name = choice.get("const").or(list(choice, "required").first())?;
    Some((name.as_str()?, text(choice, "description")))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What a reference refers to; of something or nothing, the something.
fn resolve<'a>(value: &'a Value, root: &'a Value) -> &'a Value {
    let something =
        list(value, "anyOf").iter().find(|choice| choice.get("type") != Some(&Value::from("null")));
    let value = something.unwrap_or(value);
    let target = value.get("$ref").and_then(Value::as_str);
    target.and_then(|path| root.pointer(path.trim_start_matches('#'))).unwrap_or(value)
}

/// The type of a parameter, for a person.
fn words(property: &Value, root: &Value) -> String {
    let something = list(property, "anyOf").iter().find(|choice| choice.get("$ref").is_some());
    let reference = something.unwrap_or(property).get("$ref").and_then(Value::as_str);
    let value = resolve(property, root);
    let named = list(value, "oneOf").iter().filter_map(choice).map(|(name, _)| name);
    let choices: Vec<&str> = named.chain(list(value, "enum").iter().filter_map(Value::as_str)).collect();
    if !choices.is_empty() {
        return format!("one of `{}`", choices.join("`, `"));
    }
    if let Some(name) = reference.and_then(|path| path.rsplit('/').next()) {
        return name.to_lowercase();
    }
    let kind = match value.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().find(|kind| **kind != "null").and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("integer") => "whole number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("string") => "text".to_owned(),
        Some("array") => match value.get("items") {
            Some(items) => format!("list of {}", words(items, root)),
            None => "list".to_owned(),
        },
        other => other.unwrap_or("value").to_owned(),
    }
}

impl Parameter {
    /// Whether it must be given, or what it is without being given.
    pub fn otherwise(&self) -> String {
        match (&self.default, self.optional) {
            (Some(default), _) => format!("default {default}"),
            (None, true) => "may be left out".to_owned(),
            (None, false) => "needed".to_owned(),
        }
    }
}

/// The whole catalogue as one page of Markdown.
pub fn markdown() -> String {
    let pages = pages();
    let mut text = String::from(
        "# Faults\n\nEvery fault that a scenario can inject. Made by `ovenproof faults --markdown`.\n\n\
         In every timeline: `at` says when it begins, `for` how long it lasts, `target` whom it hits. A fault that \
         does not leave its proof makes the run an `error`, never a pass; so does one that cannot be seen to have \
         ended.\n\n| fault | what happens |\n|---|---|\n",
    );
    for page in &pages {
        let _ =
            writeln!(text, "| [`{0}`](#{1}) | {2} |", page.name, page.name.replace('.', ""), page.summary);
    }
    text.push_str("\n## Whom a fault hits\n\n| target | whom |\n|---|---|\n");
    let target = schemars::schema_for!(super::target::Target);
    for (name, about) in list(target.as_value(), "oneOf").iter().filter_map(choice) {
        let _ = writeln!(text, "| `{name}` | {about} |");
    }
    for page in &pages {
        let _ = write!(text, "\n## `{}`\n\n{} {}\n\n", page.name, page.summary, page.details);
        let _ = write!(text, "```yaml\n- {}\n```\n\n", page.example);
        let _ = write!(text, "| parameter | type | without it | meaning |\n|---|---|---|---|\n");
        for parameter in &page.parameters {
            let Parameter { name, kind, about, .. } = parameter;
            let _ = writeln!(text, "| `{name}` | {kind} | {} | {about} |", parameter.otherwise());
        }
        let lasts = if page.has_for {
            "For as long as the step's `for` says."
        } else {
            "It has only a moment: no `for`."
        };
        for (title, words) in [
            ("How long", lasts),
            ("Overlap", page.takes.as_str()),
            ("On this machine", page.local),
            ("On EC2", page.ec2.as_str()),
            ("Proof", page.proof),
            ("Undo", page.undo),
        ] {
            let _ = write!(text, "\n- **{title}.** {words}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_page_whose_example_is_right() {
        for entry in FaultSpec::CATALOGUE {
            let yaml = entry.about.example;
            let spec = crate::diagnostic::parse_yaml::<FaultSpec>(std::path::Path::new("example"), yaml);
            let spec = spec.unwrap_or_else(|bad| panic!("{}: {bad}", entry.name));
            assert_eq!(spec.name(), entry.name);
            let general = !yaml.contains("target");
            assert!(general || yaml.contains("web"), "{}: an example is about the role `web`", entry.name);
            let about = entry.about;
            let (Ec2::By(ec2) | Ec2::Not(ec2)) = about.ec2;
            for words in [entry.summary, about.details, about.local, ec2, about.proof, about.undo] {
                assert!(words.len() > 10 && !words.contains('\n'), "{}: `{words}`", entry.name);
            }
        }
        assert_eq!(pages().len(), FaultSpec::CATALOGUE.len());
        for page in pages() {
            for parameter in &page.parameters {
                assert!(!parameter.about.is_empty(), "{}: `{}` is not explained", page.name, parameter.name);
            }
        }
    }

    #[test]
    fn the_checked_in_reference_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/FAULTS.md");
        if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
            std::fs::write(path, markdown()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(there == markdown(), "write it anew: ovenproof faults --markdown > scenarios/FAULTS.md");
    }

    #[test]
    fn families_and_slips_are_found() {
        assert!(find("network").unwrap().len() > 2);
        assert_eq!(find("instance.kill").unwrap().len(), 1);
        assert_eq!(find("instance.kil").unwrap_err(), "did you mean `instance.kill`?");
        assert_eq!(find("x").unwrap_err(), "`ovenproof faults` lists all of them");
    }
}
