//! `ovenproof faults`: the manual of the fault catalogue.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, Printer, fleets::table};
use crate::chaos::manual::{self, Page};

/// List the faults that a scenario can inject, or explain one: parameters, mechanism, proof, undo.
#[derive(Debug, Args)]
pub struct FaultsArgs {
    /// A fault such as `network.partition`, or a family such as `network`.
    #[arg(conflicts_with = "markdown")]
    name: Option<String>,

    /// Print the whole catalogue as a page of Markdown.
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: &FaultsArgs, printer: &Printer) -> Result<ExitCode, Failure> {
    if args.markdown && !printer.is_json() {
        printer.raw(manual::markdown().as_bytes(), &[]);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(name) = &args.name else {
        let pages = manual::pages();
        let rows: Vec<Vec<String>> =
            pages.iter().map(|page| vec![page.name.to_owned(), page.summary.to_owned()]).collect();
        printer.line(table(&rows).join("\n"));
        printer.json(&pages);
        return Ok(ExitCode::SUCCESS);
    };
    let pages =
        manual::find(name).map_err(|hint| Failure::user(format!("there is no fault `{name}`")).hint(hint))?;
    let told: Vec<String> = pages.iter().map(|page| tell(page, printer.width())).collect();
    printer.line(told.join("\n\n"));
    printer.json(&pages);
    Ok(ExitCode::SUCCESS)
}

fn tell(page: &Page, width: usize) -> String {
    let lasts = if page.has_for { "as long as the step's `for` says" } else { "a moment: no `for`" };
    let mut parts = vec![
        page.name.to_owned(),
        paragraph("  ", &format!("{} {}", page.summary, page.details), width),
        format!("  timeline:\n    - {}", page.example),
        "  parameters:".to_owned(),
    ];
    for parameter in &page.parameters {
        let text =
            format!("{}: {}, {}. {}", parameter.name, parameter.kind, parameter.otherwise(), parameter.about);
        parts.push(paragraph("    ", &text, width));
    }
    for (title, words) in [
        ("lasts", lasts),
        ("overlap", &page.takes),
        ("on this machine", page.local),
        ("on EC2", &page.ec2),
        ("proof", page.proof),
        ("undo", page.undo),
    ] {
        parts.push(paragraph("  ", &format!("{title}: {words}"), width));
    }
    parts.join("\n")
}

/// Fills lines of `width` columns; all but the first are indented deeper.
fn paragraph(indent: &str, text: &str, width: usize) -> String {
    let mut lines = vec![indent.to_owned()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.trim().is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("{indent}  {word}"));
        }
    }
    lines.join("\n")
}
