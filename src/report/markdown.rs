//! The summary for the page of a CI job: GitHub-flavoured Markdown that also reads well as plain text.

use super::run::{FaultState, Run};
use super::words;
use crate::journal::Verdict;

/// A section for each run, worst first, behind a line that says how many there are of each verdict.
pub fn summary(runs: &[Run]) -> String {
    let mut lines = Vec::new();
    if runs.len() > 1 {
        let of = |verdict| runs.iter().filter(|run| run.verdict == verdict).count();
        let counts = [Verdict::Pass, Verdict::Fail, Verdict::Unknown, Verdict::Error]
            .map(|verdict| (of(verdict), verdict))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, verdict)| format!("{count} {verdict}"));
        lines.push(format!(
            "**{}**: {}",
            words::plural(runs.len(), "scenario"),
            counts.collect::<Vec<_>>().join(", ")
        ));
        lines.push(String::new());
    }
    let mut sorted: Vec<&Run> = runs.iter().collect();
    sorted.sort_by_key(|run| std::cmp::Reverse(run.verdict));
    sorted.into_iter().for_each(|run| section(&mut lines, run));
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, run: &Run) {
    lines.push(format!("## {} {}: {}", mark(run.verdict), run.verdict, inline(&run.header.scenario)));
    lines.push(String::new());
    if !run.reason.is_empty() {
        lines.push(inline(&run.reason));
        lines.push(String::new());
    }
    lines.push(inline(&super::identity(run)));
    lines.push(String::new());
    if !run.expectations.is_empty() {
        table(lines, &["", "Expectation", "Found"]);
        for expectation in &run.expectations {
            let found = match &expectation.judged {
                Some(judged) => inline(&judged.message),
                None => format!("never judged: {}", inline(&run.reason)),
            };
            row(lines, &[mark(expectation.verdict()), &inline(&expectation.name), &found]);
        }
        lines.push(String::new());
    }
    if !run.faults.is_empty() {
        table(lines, &["", "Fault", "When", "What came of it"]);
        for fault in &run.faults {
            let mark = match fault.state {
                FaultState::Healed => mark(Verdict::Pass),
                FaultState::Skipped | FaultState::NotReached => "➖",
                FaultState::NotProven | FaultState::NotHealed => mark(Verdict::Error),
            };
            let told = super::consequences(fault).iter().map(|line| inline(line)).collect::<Vec<_>>();
            row(lines, &[mark, &inline(&fault.title()), &inline(&super::when(fault)), &told.join("<br>")]);
        }
        lines.push(String::new());
    }
    if run.numbers.ops() > 0 {
        lines.extend(super::service(run).iter().map(|line| format!("- {}", inline(line))));
        lines.push(String::new());
    }
    for expectation in &run.expectations {
        let detail = expectation.judged.as_ref().map(|judged| words::clean(&judged.detail));
        let Some(detail) = detail.filter(|detail| !detail.trim().is_empty()) else { continue };
        lines.push(format!("<details><summary>{}</summary>", inline(&expectation.name)));
        lines.push(String::new());
        // Indented code: no text can end it, whatever fences it contains.
        lines.extend(detail.lines().map(|line| format!("    {line}").trim_end().to_owned()));
        lines.push(String::new());
        lines.push("</details>".to_owned());
        lines.push(String::new());
    }
    if let Some(command) = super::replay(run) {
        lines.push("Run the same schedule again:".to_owned());
        lines.push(String::new());
        lines.push(format!("    {}", words::line(&command)));
        lines.push(String::new());
    }
}

fn table(lines: &mut Vec<String>, head: &[&str]) {
    row(lines, head);
    lines.push(format!("|{}", " --- |".repeat(head.len())));
}

fn row(lines: &mut Vec<String>, cells: &[&str]) {
    lines.push(format!("| {} |", cells.join(" | ")));
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✅",
        Verdict::Fail => "❌",
        Verdict::Unknown => "❔",
        Verdict::Error => "⚠️",
    }
}

/// Outside text as one line in which nothing is markup: no table cell, link, image, mention or element.
fn inline(text: &str) -> String {
    let line = words::line(text);
    let mut safe = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            // An escaped mention would still mention; a zero-width space parts it from its name.
            '@' => safe.push_str("@\u{200b}"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_job_with_two_scenarios() {
        let runs = [sample::passing(), sample::failing()].map(|entries| Run::from_entries(&entries));
        insta::assert_snapshot!(summary(&runs), @r#"
        **2 scenarios**: 1 pass, 1 fail

        ## ❌ fail: etcd survives a minority partition

        \`linearizable\`: key k3: a read returned a value that had been overwritten 412 ms before

        etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 91.0 s

        |  | Expectation | Found |
        | --- | --- | --- |
        | ✅ | no acknowledged write lost | all 313 acknowledged writes were read back |
        | ❌ | linearizable | key k3: a read returned a value that had been overwritten 412 ms before |
        | ✅ | availability: at least 80% | 590 of 699 operations succeeded (84.4%), longest outage 3.53s |
        | ✅ | recovers within 15s | back at most 323ms after each of 2 heals |

        |  | Fault | When | What came of it |
        | --- | --- | --- | --- |
        | ✅ | f1 network.partition | 48.0s to 60.0s on etcd-2 | proof: the switch dropped 38 frames between etcd-2 and the others<br>clients waited at most 710 ms, over 12.3 s after injection; back 323 ms after its end (RTO); 0 acknowledged writes lost (RPO) |
        | ✅ | f2 instance.power\_cut | 65.0s to 73.5s on etcd-1 | proof: process 4711 is gone; 17 of 52 unflushed writes were kept<br>clients waited at most 3.53 s, over 3.71 s after injection; 0 acknowledged writes lost (RPO) |
        | ✅ | f3 network.delay | 69.0s to 78.0s on etcd-1, etcd-2, etcd-3 | proof: the switch delayed 211 frames by 80.3 ms in the median<br>clients waited at most 253 ms, over 2.49 s after injection; back 256 ms after its end (RTO) |
        | ➖ | f4 clock\_skew |  | skipped: this provider cannot set clocks |

        - 699 operations: 590 ok, 52 failed, 57 indeterminate; availability 84.4%
        - longest outage 3.53 s; latency p50 150 ms, p99 646 ms
        - 0 of 313 acknowledged writes lost (RPO)

        <details><summary>linearizable</summary>

            process 2  write k3 = 41   acknowledged  61.204 s   etcd-3
            process 0  write k3 = 57   acknowledged  66.871 s   etcd-3
            process 4  read  k3 = 41   answered      67.283 s   etcd-2
            The write of 57 had been acknowledged before the read began, so the read had to see it.

        </details>

        ## ✅ pass: etcd survives a minority partition

        etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 91.0 s

        |  | Expectation | Found |
        | --- | --- | --- |
        | ✅ | no acknowledged write lost | all 313 acknowledged writes were read back |
        | ✅ | linearizable | 8 keys, 699 operations: an order exists for every key |
        | ✅ | availability: at least 80% | 590 of 699 operations succeeded (84.4%), longest outage 3.53s |
        | ✅ | recovers within 15s | back at most 323ms after each of 2 heals |

        |  | Fault | When | What came of it |
        | --- | --- | --- | --- |
        | ✅ | f1 network.partition | 48.0s to 60.0s on etcd-2 | proof: the switch dropped 38 frames between etcd-2 and the others<br>clients waited at most 710 ms, over 12.3 s after injection; back 323 ms after its end (RTO); 0 acknowledged writes lost (RPO) |
        | ✅ | f2 instance.power\_cut | 65.0s to 73.5s on etcd-1 | proof: process 4711 is gone; 17 of 52 unflushed writes were kept<br>clients waited at most 3.53 s, over 3.71 s after injection; 0 acknowledged writes lost (RPO) |
        | ✅ | f3 network.delay | 69.0s to 78.0s on etcd-1, etcd-2, etcd-3 | proof: the switch delayed 211 frames by 80.3 ms in the median<br>clients waited at most 253 ms, over 2.49 s after injection; back 256 ms after its end (RTO) |
        | ➖ | f4 clock\_skew |  | skipped: this provider cannot set clocks |

        - 699 operations: 590 ok, 52 failed, 57 indeterminate; availability 84.4%
        - longest outage 3.53 s; latency p50 150 ms, p99 646 ms
        - 0 of 313 acknowledged writes lost (RPO)
        "#);
    }

    #[test]
    fn outside_text_is_never_markup() {
        assert_eq!(
            inline("| <img src=x> [a](b) `c` @all\nnext *x*"),
            "\\| &lt;img src=x&gt; \\[a\\](b) \\`c\\` @\u{200b}all next \\*x\\*"
        );
        let run = Run::from_entries(&sample::hostile("```\n</details><script>alert(1)</script>\n|||"));
        let text = summary(&[run]);
        let unsafe_lines: Vec<_> =
            text.lines().filter(|line| line.contains("<script") && !line.starts_with("    ")).collect();
        assert!(unsafe_lines.is_empty(), "{unsafe_lines:?}");
    }
}
