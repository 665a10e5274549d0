//! The summary that a person reads when a run is over.

use super::run::{Expectation, FaultRun, FaultState, Run};
use super::words;
use crate::journal::Verdict;

/// Narrower than this, nothing lines up any more.
const MIN_WIDTH: usize = 60;
/// Wider than this, lines are hard to read.
const MAX_WIDTH: usize = 120;

/// The whole summary, without a line end after its last line. `width` in columns; `colour` only where a
/// terminal understands it.
pub fn summary(run: &Run, colour: bool, width: usize) -> String {
    let mut page = Page { lines: Vec::new(), colour, width: width.clamp(MIN_WIDTH, MAX_WIDTH) };
    headline(&mut page, run);
    if !run.faults.is_empty() {
        page.title("Faults");
        let widest = run.faults.iter().map(|fault| columns(&fault.title())).max().unwrap_or(0);
        run.faults.iter().for_each(|fault| fault_lines(&mut page, fault, widest));
    }
    if run.numbers.ops() > 0 {
        page.title("Service");
        super::service(run).iter().for_each(|line| page.wrapped(2, "", line));
    }
    if !run.expectations.is_empty() {
        page.title("Expectations");
        run.expectations.iter().for_each(|expectation| expectation_lines(&mut page, run, expectation));
    }
    if !run.notes.is_empty() {
        page.title("Notes");
        run.notes.iter().for_each(|(_, text)| page.wrapped(4, "  - ", text));
    }
    places(&mut page, run);
    page.lines.join("\n")
}

fn headline(page: &mut Page, run: &Run) {
    let verdict = run.verdict.to_string().to_uppercase();
    let verdict = page.paint(ink(run.verdict), &verdict);
    page.lines.push(format!("{verdict}  {}", words::line(&run.header.scenario)));
    if !run.reason.is_empty() {
        page.wrapped(6, "      ", &run.reason);
    }
    page.wrapped(6, "      ", &super::identity(run));
}

fn fault_lines(page: &mut Page, fault: &FaultRun, widest: usize) {
    let (mark, ink) = match fault.state {
        FaultState::Healed => ("✓", Ink::Good),
        FaultState::Skipped | FaultState::NotReached => ("-", Ink::Quiet),
        FaultState::NotProven | FaultState::NotHealed => ("!", Ink::Warn),
    };
    let mark = page.paint(ink, mark);
    let title = words::line(&fault.title());
    let pad = " ".repeat(widest.saturating_sub(columns(&title)));
    page.lines.push(format!("  {mark} {title}{pad}  {}", super::when(fault)).trim_end().to_owned());
    for line in super::consequences(fault) {
        page.wrapped(6, "      ", &line);
    }
}

fn expectation_lines(page: &mut Page, run: &Run, expectation: &Expectation) {
    let verdict = expectation.verdict();
    let mark = page.paint(ink(verdict), super::mark(verdict));
    page.lines.push(format!("  {mark} {}", words::line(&expectation.name)));
    let Some(judged) = &expectation.judged else {
        page.wrapped(6, "      ", &format!("never judged: {}", run.reason));
        return;
    };
    page.wrapped(6, "      ", &judged.message);
    // As the checker laid it out: columns in it must stay columns.
    let detail = words::clean(&judged.detail);
    page.lines.extend(detail.lines().map(|line| format!("        {line}").trim_end().to_owned()));
}

fn places(page: &mut Page, run: &Run) {
    let Some(journal) = &run.journal else { return };
    page.lines.push(String::new());
    let mut place = |what: &str, text: &str| page.lines.push(format!("{what:<8} {}", words::line(text)));
    for report in &run.reports {
        place("Report", &report.to_string_lossy());
    }
    place("Journal", &journal.to_string_lossy());
    if let Some(command) = super::replay(run) {
        place("Replay", &command);
    }
}

#[derive(Clone, Copy)]
enum Ink {
    Good,
    Bad,
    Warn,
    Quiet,
    Title,
}

fn ink(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Pass => Ink::Good,
        Verdict::Fail => Ink::Bad,
        Verdict::Unknown | Verdict::Error => Ink::Warn,
    }
}

struct Page {
    lines: Vec<String>,
    colour: bool,
    width: usize,
}

impl Page {
    fn paint(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Good => "1;32",
            Ink::Bad => "1;31",
            Ink::Warn => "1;33",
            Ink::Quiet => "2",
            Ink::Title => "1",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn title(&mut self, text: &str) {
        self.lines.push(String::new());
        self.lines.push(self.paint(Ink::Title, text));
    }

    /// Outside text on as many lines as it needs; the first begins with `lead`, the rest are indented.
    fn wrapped(&mut self, indent: usize, lead: &str, text: &str) {
        let mut line = format!("{lead:<indent$}");
        let mut empty = true;
        for word in words::clean(text).split_whitespace() {
            if !empty && columns(&line) + 1 + columns(word) > self.width {
                self.lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.lines.push(line.trim_end().to_owned());
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use proptest::prelude::*;

    fn run(entries: Vec<crate::journal::Entry>) -> Run {
        let mut run = Run::from_entries(&entries);
        run.journal = Some("/home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl".into());
        run
    }

    #[test]
    fn a_pass() {
        let mut run = run(sample::passing());
        run.reports = vec!["/home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/report.html".into()];
        insta::assert_snapshot!(summary(&run, false, 100), @r#"
        PASS  etcd survives a minority partition
              etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 91.0 s

        Faults
          ✓ f1 network.partition   48.0s to 60.0s on etcd-2
              proof: the switch dropped 38 frames between etcd-2 and the others
              clients waited at most 710 ms, over 12.3 s after injection; back 323 ms after its end (RTO); 0
              acknowledged writes lost (RPO)
          ✓ f2 instance.power_cut  65.0s to 73.5s on etcd-1
              proof: process 4711 is gone; 17 of 52 unflushed writes were kept
              clients waited at most 3.53 s, over 3.71 s after injection; 0 acknowledged writes lost (RPO)
          ✓ f3 network.delay       69.0s to 78.0s on etcd-1, etcd-2, etcd-3
              proof: the switch delayed 211 frames by 80.3 ms in the median
              clients waited at most 253 ms, over 2.49 s after injection; back 256 ms after its end (RTO)
          - f4 clock_skew
              skipped: this provider cannot set clocks

        Service
          699 operations: 590 ok, 52 failed, 57 indeterminate; availability 84.4%
          longest outage 3.53 s; latency p50 150 ms, p99 646 ms
          0 of 313 acknowledged writes lost (RPO)

        Expectations
          ✓ no acknowledged write lost
              all 313 acknowledged writes were read back
          ✓ linearizable
              8 keys, 699 operations: an order exists for every key
          ✓ availability: at least 80%
              590 of 699 operations succeeded (84.4%), longest outage 3.53s
          ✓ recovers within 15s
              back at most 323ms after each of 2 heals

        Notes
          - guest timing is not deterministic: the same seed gives the same schedule, not the same
            interleaving

        Report   /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/report.html
        Journal  /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        Replay   ovenproof run scenarios/etcd-partition.yaml --replay /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        "#);
    }

    #[test]
    fn a_failure_shows_what_proves_it() {
        insta::assert_snapshot!(summary(&run(sample::failing()), false, 80), @r#"
        FAIL  etcd survives a minority partition
              `linearizable`: key k3: a read returned a value that had been overwritten
              412 ms before
              etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 91.0 s

        Faults
          ✓ f1 network.partition   48.0s to 60.0s on etcd-2
              proof: the switch dropped 38 frames between etcd-2 and the others
              clients waited at most 710 ms, over 12.3 s after injection; back 323 ms
              after its end (RTO); 0 acknowledged writes lost (RPO)
          ✓ f2 instance.power_cut  65.0s to 73.5s on etcd-1
              proof: process 4711 is gone; 17 of 52 unflushed writes were kept
              clients waited at most 3.53 s, over 3.71 s after injection; 0 acknowledged
              writes lost (RPO)
          ✓ f3 network.delay       69.0s to 78.0s on etcd-1, etcd-2, etcd-3
              proof: the switch delayed 211 frames by 80.3 ms in the median
              clients waited at most 253 ms, over 2.49 s after injection; back 256 ms
              after its end (RTO)
          - f4 clock_skew
              skipped: this provider cannot set clocks

        Service
          699 operations: 590 ok, 52 failed, 57 indeterminate; availability 84.4%
          longest outage 3.53 s; latency p50 150 ms, p99 646 ms
          0 of 313 acknowledged writes lost (RPO)

        Expectations
          ✓ no acknowledged write lost
              all 313 acknowledged writes were read back
          ✗ linearizable
              key k3: a read returned a value that had been overwritten 412 ms before
                process 2  write k3 = 41   acknowledged  61.204 s   etcd-3
                process 0  write k3 = 57   acknowledged  66.871 s   etcd-3
                process 4  read  k3 = 41   answered      67.283 s   etcd-2
                The write of 57 had been acknowledged before the read began, so the read had to see it.
          ✓ availability: at least 80%
              590 of 699 operations succeeded (84.4%), longest outage 3.53s
          ✓ recovers within 15s
              back at most 323ms after each of 2 heals

        Notes
          - guest timing is not deterministic: the same seed gives the same schedule,
            not the same interleaving

        Journal  /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        Replay   ovenproof run scenarios/etcd-partition.yaml --replay /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        "#);
    }

    #[test]
    fn a_killed_run_says_what_is_not_known() {
        insta::assert_snapshot!(summary(&run(sample::killed()), false, 100), @r#"
        ERROR  etcd survives a minority partition
              the run did not end
              etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 73.0 s

        Faults
          ✓ f1 network.partition   48.0s to 60.0s on etcd-2
              proof: the switch dropped 38 frames between etcd-2 and the others
              clients waited at most 710 ms, over 12.3 s after injection; back 323 ms after its end (RTO)
          ! f2 instance.power_cut  from 65.0s on etcd-1
              proof: process 4711 is gone; 17 of 52 unflushed writes were kept
              not known to be undone: the run ended first
              clients waited at most 3.53 s, over 3.71 s after injection
          ! f3 network.delay       from 69.0s on etcd-1, etcd-2, etcd-3
              proof: the switch delayed 211 frames by 80.3 ms in the median
              not known to be undone: the run ended first
              clients waited at most 253 ms, over 2.49 s after injection
          - f4 clock_skew
              not reached: the run ended before it was due

        Service
          491 operations: 391 ok, 43 failed, 57 indeterminate; availability 79.63%
          longest outage 3.53 s; latency p50 138 ms, p99 567 ms

        Expectations
          ! no acknowledged write lost
              never judged: the run did not end
          ! linearizable
              never judged: the run did not end
          ! availability: at least 80%
              never judged: the run did not end
          ! recovers within 15s
              never judged: the run did not end

        Notes
          - guest timing is not deterministic: the same seed gives the same schedule, not the same
            interleaving

        Journal  /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        Replay   ovenproof run scenarios/etcd-partition.yaml --replay /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        "#);
    }

    #[test]
    fn a_fault_that_left_no_proof_stands_out() {
        insta::assert_snapshot!(summary(&run(sample::not_proven()), false, 100), @r#"
        ERROR  etcd survives a minority partition
              f1-network.partition did not take effect
              etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 91.0 s

        Faults
          ! f1 network.partition   48.0s to 60.0s on etcd-2
              did not take effect: the switch dropped no frame between etcd-2 and the others
          ✓ f2 instance.power_cut  65.0s to 73.5s on etcd-1
              proof: process 4711 is gone; 17 of 52 unflushed writes were kept
              clients waited at most 3.53 s, over 3.71 s after injection; 0 acknowledged writes lost (RPO)
          ✓ f3 network.delay       69.0s to 78.0s on etcd-1, etcd-2, etcd-3
              proof: the switch delayed 211 frames by 80.3 ms in the median
              clients waited at most 253 ms, over 2.49 s after injection; back 256 ms after its end (RTO)
          - f4 clock_skew
              skipped: this provider cannot set clocks

        Service
          699 operations: 590 ok, 52 failed, 57 indeterminate; availability 84.4%
          longest outage 3.53 s; latency p50 150 ms, p99 646 ms
          0 of 313 acknowledged writes lost (RPO)

        Expectations
          ✓ no acknowledged write lost
              all 313 acknowledged writes were read back
          ✓ linearizable
              8 keys, 699 operations: an order exists for every key
          ✓ availability: at least 80%
              590 of 699 operations succeeded (84.4%), longest outage 3.53s
          ✓ recovers within 15s
              back at most 323ms after each of 2 heals

        Notes
          - guest timing is not deterministic: the same seed gives the same schedule, not the same
            interleaving

        Journal  /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        Replay   ovenproof run scenarios/etcd-partition.yaml --replay /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        "#);
    }

    #[test]
    fn a_broken_baseline() {
        insta::assert_snapshot!(summary(&run(sample::baseline_broken()), false, 100), @r#"
        ERROR  etcd survives a minority partition
              the steady state did not hold: `cluster answers` on etcd-3: connection refused
              etcd 4be1d07c92f3 · qemu · seed 7 · run 20261122-101500-7f3a · 43.0 s

        Expectations
          ! no acknowledged write lost
              never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
          ! linearizable
              never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
          ! availability: at least 80%
              never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
          ! recovers within 15s
              never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused

        Notes
          - guest timing is not deterministic: the same seed gives the same schedule, not the same
            interleaving

        Journal  /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        Replay   ovenproof run scenarios/etcd-partition.yaml --replay /home/ann/.local/share/ovenproof/runs/20261122-101500-7f3a/journal.jsonl
        "#);
    }

    #[test]
    fn colour_is_only_where_it_was_asked_for() {
        let run = run(sample::hostile("x\x1b[5mblink\x07"));
        assert!(!summary(&run, false, 80).contains('\x1b'));
        assert!(summary(&run, true, 80).starts_with("\x1b[1;31mFAIL\x1b[0m"));
        assert!(!summary(&run, true, 80).contains("\x1b[5m"));
    }

    proptest! {
        #[test]
        fn any_text_and_any_width_can_be_shown(text in any::<String>(), width in 0_usize..200) {
            let _ = summary(&run(sample::hostile(&text)), true, width);
        }
    }
}
