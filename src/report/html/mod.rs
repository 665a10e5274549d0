//! One self-contained HTML page: no script, no font, no picture from anywhere else.
//!
//! This module prepares texts and geometry; `templates/report.html.tera` lays them out and escapes them.
//! Every text from outside goes through `words` here and through the template's escaping there.

use std::path::Path;

use serde::Serialize;
use tera::{Context, Tera};

use super::numbers::Recovery;
use super::run::{FaultRun, FaultState, Run};
use super::{sentences, words};
use crate::journal::event::{Judged, Symptom, SymptomKind};
use crate::journal::{OpOutcome, Verdict};

mod chart;
mod scale;

const TEMPLATE: &str = include_str!("../../../templates/report.html.tera");

/// A console that never stops printing does not make a page that nobody can open.
const MOST_SYMPTOMS: usize = 200;

/// The page for one run, to be kept in the folder `dir`: links to files in that folder are relative.
///
/// Errors come from the template alone, never from the run.
pub fn page(run: &Run, dir: &Path) -> Result<String, tera::Error> {
    Tera::one_off(TEMPLATE, &Context::from_serialize(&Page::of(run, dir))?, true)
}

#[derive(Serialize)]
struct Page {
    verdict: String,
    scenario: String,
    reason: String,
    facts: Vec<Fact>,
    tiles: Vec<Tile>,
    chart: Option<chart::Chart>,
    expectations: Vec<ExpectationView>,
    faults: Vec<FaultView>,
    nodes: Vec<NodeView>,
    symptoms: Vec<SymptomView>,
    more_symptoms: usize,
    notes: Vec<String>,
    replay: Option<String>,
    files: Vec<Link>,
    tool_version: String,
}

#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
    /// In full, where the value is shortened.
    title: String,
}

#[derive(Serialize)]
struct Tile {
    name: &'static str,
    value: String,
    note: String,
}

#[derive(Serialize)]
struct ExpectationView {
    verdict: String,
    mark: &'static str,
    name: String,
    message: String,
    detail: String,
    measured: Vec<Fact>,
}

#[derive(Serialize)]
struct FaultView {
    state: &'static str,
    mark: &'static str,
    name: String,
    params: String,
    targets: Vec<String>,
    times: String,
    lasted: String,
    outage: String,
    from_injection: String,
    first_success: String,
    recovery: String,
    lost: String,
    told: Vec<String>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    changes: String,
    probes: String,
    ops: String,
}

#[derive(Serialize)]
struct SymptomView {
    class: &'static str,
    time: String,
    node: String,
    kind: &'static str,
    source: &'static str,
    line: String,
}

#[derive(Serialize)]
struct Link {
    href: String,
    name: String,
}

impl Page {
    fn of(run: &Run, dir: &Path) -> Self {
        Page {
            verdict: run.verdict.to_string(),
            scenario: words::line(&run.header.scenario),
            reason: words::line(&run.reason),
            facts: facts(run),
            tiles: tiles(run),
            chart: chart::Chart::of(run),
            expectations: run.expectations.iter().map(|it| expectation(run, it)).collect(),
            faults: run.faults.iter().map(fault).collect(),
            nodes: nodes(run),
            symptoms: run.symptoms.iter().take(MOST_SYMPTOMS).map(symptom).collect(),
            more_symptoms: run.symptoms.len().saturating_sub(MOST_SYMPTOMS),
            notes: run.notes.iter().map(|(_, text)| words::line(text)).collect(),
            replay: sentences::replay(run).map(|command| words::line(&command)),
            files: run.journal.iter().chain(&run.attachments).map(|file| link(file, dir)).collect(),
            tool_version: words::line(&run.header.tool_version),
        }
    }
}

fn facts(run: &Run) -> Vec<Fact> {
    let header = &run.header;
    let fact = |name: &str, value: &str| Fact {
        name: words::line(name),
        value: words::line(value),
        title: String::new(),
    };
    let mut facts: Vec<Fact> = Vec::new();
    for (role, id) in &header.images {
        let title = words::line(id);
        facts.push(Fact { title, ..fact(&format!("image of {role}"), words::short(id)) });
    }
    facts.extend([
        fact("seed", &header.seed.to_string()),
        fact("provider", &header.provider),
        fact("started", &header.started_at),
        fact("took", &words::span(run.duration_us)),
        fact("run", &header.run),
    ]);
    let digest = words::line(&header.scenario_digest);
    facts.push(Fact { title: digest, ..fact("scenario", &header.scenario_file) });
    facts
}

fn tiles(run: &Run) -> Vec<Tile> {
    let numbers = &run.numbers;
    if numbers.ops() == 0 {
        return Vec::new();
    }
    let span = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), words::span);
    let recovered = run.faults.iter().filter_map(|fault| match fault.recovery {
        Recovery::After(us) => Some(Ok(us)),
        Recovery::Never => Some(Err(())),
        Recovery::NotMeasured => None,
    });
    let slowest = recovered.max_by_key(|it| it.map_or(u64::MAX, |us| us));
    vec![
        Tile {
            name: "Availability",
            value: words::percent(numbers.availability.unwrap_or(0.0)),
            note: format!("{} of {} acknowledged", words::count(numbers.ok), words::count(numbers.ops())),
        },
        Tile {
            name: "Not acknowledged",
            value: words::count(numbers.failed + numbers.indeterminate),
            note: format!(
                "{} refused, {} indeterminate",
                words::count(numbers.failed),
                words::count(numbers.indeterminate)
            ),
        },
        Tile {
            name: "Longest outage",
            value: span(numbers.longest_outage_us),
            note: "clients asked, none answered".to_owned(),
        },
        Tile {
            name: "Slowest recovery",
            value: match slowest {
                Some(Ok(us)) => words::span(us),
                Some(Err(())) => "never".to_owned(),
                None => "–".to_owned(),
            },
            note: "from a fault's end until back".to_owned(),
        },
        Tile {
            name: "Lost writes",
            value: run.lost_writes().map_or_else(|| "–".to_owned(), |(lost, _)| words::count(lost as usize)),
            note: match run.lost_writes() {
                Some((_, all)) => format!("of {} acknowledged (RPO)", words::count(all as usize)),
                None => "the scenario did not ask".to_owned(),
            },
        },
        Tile {
            name: "Latency",
            value: span(numbers.p50_us),
            note: format!("median; p99 {}", span(numbers.p99_us)),
        },
    ]
}

fn expectation(run: &Run, expectation: &super::run::Expectation) -> ExpectationView {
    let verdict = expectation.verdict();
    let judged = expectation.judged.as_ref();
    ExpectationView {
        verdict: verdict.to_string(),
        mark: sentences::mark(verdict),
        name: words::line(&expectation.name),
        message: match judged {
            Some(judged) => words::line(&judged.message),
            None => words::line(&format!("never judged: {}", run.reason)),
        },
        detail: judged.map_or_else(String::new, |judged| words::clean(&judged.detail)),
        measured: judged.map_or_else(Vec::new, |judged| measured(run, judged)),
    }
}

/// Without the numbers for single faults, which stand in the table of faults.
fn measured(run: &Run, judged: &Judged) -> Vec<Fact> {
    let of_fault = |name: &str| run.faults.iter().any(|fault| name.ends_with(&format!(".{}", fault.id)));
    let whole = judged.measured.iter().filter(|(name, _)| !of_fault(name));
    let fact = |(name, value): (&String, &f64)| {
        let (name, value) = match name.strip_suffix("_ms") {
            Some(name) => (name, words::span((value * 1e3).round() as u64)),
            None if name == "availability" => (name.as_str(), words::percent(*value)),
            None => (name.as_str(), words::number(*value)),
        };
        Fact { name: words::line(name).replace('_', " "), value, title: String::new() }
    };
    whole.map(fact).collect()
}

fn fault(fault: &FaultRun) -> FaultView {
    let (state, mark) = match fault.state {
        FaultState::Healed => ("pass", sentences::mark(Verdict::Pass)),
        FaultState::Skipped => ("quiet", "–"),
        FaultState::NotReached => ("quiet", "–"),
        FaultState::NotProven | FaultState::NotHealed => ("error", sentences::mark(Verdict::Error)),
    };
    let ended = fault.healed.as_ref().map(|healed| healed.at_us);
    let lasted = fault.injected_us.zip(ended).map(|(from, to)| words::span(to.saturating_sub(from)));
    let effective = matches!(fault.state, FaultState::Healed | FaultState::NotHealed);
    let after = |recovery| match recovery {
        Recovery::After(us) if effective => words::span(us),
        Recovery::Never if effective => "never".to_owned(),
        _ => String::new(),
    };
    FaultView {
        state,
        mark,
        name: words::line(&fault.title()),
        params: words::line(&words::plain(&fault.params)),
        targets: fault.targets.iter().map(|target| words::line(target)).collect(),
        times: fault.injected_us.map(words::at).unwrap_or_default(),
        lasted: lasted.unwrap_or_default(),
        outage: fault.outage_us.filter(|_| effective).map(words::span).unwrap_or_default(),
        from_injection: fault.from_injection_us.filter(|_| effective).map(words::span).unwrap_or_default(),
        first_success: after(fault.first_success),
        recovery: after(fault.recovery),
        lost: fault
            .lost_writes
            .filter(|_| effective)
            .map(|lost| words::count(lost as usize))
            .unwrap_or_default(),
        told: sentences::evidence(fault).iter().map(|text| words::line(text)).collect(),
    }
}

fn symptom(symptom: &Symptom) -> SymptomView {
    SymptomView {
        class: if symptom.kind == SymptomKind::Environment { "quiet" } else { "fail" },
        time: words::at(symptom.seen_us),
        node: words::line(&symptom.node),
        kind: symptom.kind.text(),
        source: symptom.source.text(),
        line: words::line(&symptom.line),
    }
}

fn nodes(run: &Run) -> Vec<NodeView> {
    let mut names: Vec<&str> = run.instances.iter().map(|change| change.node.as_str()).collect();
    names.extend(run.probes.iter().filter_map(|series| series.node.as_deref()));
    names.sort_unstable();
    names.dedup();
    let node = |name: &str| {
        let changes: Vec<String> = run
            .instances
            .iter()
            .filter(|change| change.node == name)
            .map(|change| format!("{} {}", change.what, words::at(change.at_us)))
            .collect();
        let samples = run.probes.iter().filter(|s| s.node.as_deref() == Some(name)).flat_map(|s| &s.samples);
        let (mut good, mut all) = (0, 0);
        for sample in samples {
            good += usize::from(sample.ok);
            all += 1;
        }
        let ops: Vec<_> = run.ops.iter().filter(|op| op.node == name).collect();
        let ok = ops.iter().filter(|op| op.outcome == OpOutcome::Ok).count();
        let of = |part: usize, all: usize| match all {
            0 => "–".to_owned(),
            _ => format!("{} of {}", words::count(part), words::count(all)),
        };
        NodeView {
            name: words::line(name),
            changes: words::line(&changes.join(", ")),
            probes: of(good, all),
            ops: of(ok, ops.len()),
        }
    };
    names.into_iter().map(node).collect()
}

/// A link that works from `dir`: relative for what lies in it, absolute for the rest.
fn link(file: &Path, dir: &Path) -> Link {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (file, dir) = (absolute(file), absolute(dir));
    let path = file.strip_prefix(&dir).unwrap_or(&file).to_string_lossy().into_owned();
    let mut href = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                href.push(char::from(byte))
            }
            _ => href.push_str(&format!("%{byte:02X}")),
        }
    }
    Link { href, name: words::line(&path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use proptest::prelude::*;

    fn html(entries: &[crate::journal::Entry]) -> String {
        page(&Run::from_entries(entries), Path::new("/runs/1")).unwrap()
    }

    #[test]
    fn every_kind_of_run_has_a_page() {
        let runs = [
            sample::passing(),
            sample::failing(),
            sample::unknown(),
            sample::killed(),
            sample::not_proven(),
            sample::baseline_broken(),
            Vec::new(),
        ];
        for entries in runs {
            let html = html(&entries);
            assert!(html.ends_with("</html>\n"));
            assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        }
    }

    #[test]
    fn nothing_is_fetched_and_nothing_runs() {
        let forbidden = [
            "<script",
            "<link",
            "<img",
            "<image",
            "<iframe",
            "<object",
            "<embed",
            "<base",
            "<use",
            "@import",
            "@font-face",
            "url(",
            "src=",
            "srcset=",
            "http:",
            "https:",
            "http-equiv=\"refresh",
            " onload",
            "javascript:",
        ];
        let runs =
            [sample::passing(), sample::failing(), sample::unknown(), sample::hostile("href=//elsewhere")];
        for html in runs.iter().map(|entries| html(entries)) {
            for word in forbidden {
                assert_eq!(html.find(word).map(|at| &html[at..at + 60]), None);
            }
            // What is linked to lies in the folder of the run.
            for href in html.split("href=\"").skip(1) {
                let (href, _) = href.split_once('"').unwrap();
                assert!(!href.starts_with("//") && !href.contains(':'), "{href}");
            }
        }
    }

    #[test]
    fn what_a_service_says_stays_text() {
        let hostile = "</title></style></svg><script>alert(1)</script>\"' onload=alert(1) <img src=x> {{ 7001*7001 }}\0\x1b[2J";
        let html = html(&sample::hostile(hostile));
        let plain = html_of_known_text();
        // The same elements and attributes as with harmless text: nothing was opened or closed by it.
        let tags =
            |text: &str| (text.matches('<').count(), text.matches('>').count(), text.matches('"').count());
        assert_eq!(tags(&html), tags(&plain));
        assert!(!html.contains("49014001"), "a template was evaluated");
        assert!(html.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
    }

    fn html_of_known_text() -> String {
        html(&sample::hostile("harmless"))
    }

    #[test]
    fn the_page_is_bounded_however_long_the_run_was() {
        let mut entries = sample::passing();
        let ops: Vec<_> =
            entries.iter().filter(|e| matches!(e.event, crate::journal::Event::Op(_))).cloned().collect();
        for round in 0..100_u64 {
            for entry in &ops {
                let mut entry = entry.clone();
                if let crate::journal::Event::Op(op) = &mut entry.event {
                    op.invoked_us += round * 97_003;
                    op.completed_us += round * 97_003 + round * op.process as u64 * 1_013;
                }
                entries.push(entry);
            }
        }
        assert!(html(&entries).len() < 400 << 10, "{}", html(&entries).len());
    }

    #[test]
    fn links_work_from_where_the_page_lies() {
        let there = link(Path::new("/runs/1/console/etcd 1#.log"), Path::new("/runs/1"));
        assert_eq!(
            (there.href.as_str(), there.name.as_str()),
            ("console/etcd%201%23.log", "console/etcd 1#.log")
        );
        assert_eq!(link(Path::new("/runs/1/journal.jsonl"), Path::new("/tmp")).href, "/runs/1/journal.jsonl");
        assert_eq!(link(Path::new("/r/javascript:x"), Path::new("/r")).href, "javascript%3Ax");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_text_can_be_shown(text in any::<String>()) {
            let _ = html(&sample::hostile(&text));
        }
    }
}
