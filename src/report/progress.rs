//! One line for each entry worth a person's attention while a run is under way.

use super::words;
use crate::journal::{Entry, Event};

/// The line for a log or a terminal; `None` for what comes too often to be read: operations and probes.
pub fn line(entry: &Entry) -> Option<String> {
    let (what, text) = match &entry.event {
        Event::RunStarted(header) => (
            "run",
            format!("{}: {}, seed {}, on {}", header.run, header.scenario, header.seed, header.provider),
        ),
        Event::PhaseStarted { phase } => ("phase", words::phase(*phase).to_owned()),
        Event::Scheduled { steps } => ("plan", words::plural(steps.len(), "fault")),
        Event::Instance { node, what } => ("node", format!("{node} {what}")),
        Event::Injected { fault, targets } => {
            ("inject", format!("{} {}", name(fault), targets.join(", ")).trim_end().to_owned())
        }
        Event::Proven { fault, evidence } => ("proof", format!("{}: {evidence}", name(fault))),
        Event::NotProven { fault, reason } => ("no proof", format!("{}: {reason}", name(fault))),
        Event::Healed { fault, verified: true, evidence } => ("heal", format!("{}: {evidence}", name(fault))),
        Event::Healed { fault, verified: false, evidence } => {
            ("heal", format!("{}, not verified: {evidence}", name(fault)))
        }
        Event::Skipped { fault, reason } => ("skip", format!("{}: {reason}", name(fault))),
        Event::Judged(judged) => {
            ("judge", format!("{}  {}: {}", judged.verdict, judged.expectation, judged.message))
        }
        Event::Symptom(symptom) => {
            ("trouble", format!("{} {}: {}", symptom.node, symptom.kind.text(), symptom.line))
        }
        Event::Note { text } => ("note", text.clone()),
        Event::RunFinished { verdict, reason } if reason.is_empty() => ("end", verdict.to_string()),
        Event::RunFinished { verdict, reason } => ("end", format!("{verdict}: {reason}")),
        Event::Workload { workload, kind, .. } => ("work", format!("{workload}, of the kind {kind}")),
        Event::Probe { .. }
        | Event::PartTime { .. }
        | Event::Op(_)
        | Event::Said { .. }
        | Event::Timing(_) => return None,
    };
    Some(format!("{:>7}  {what:<8} {}", words::at(entry.at_us), words::line(&text)))
}

/// `f1 network.partition` of `f1-network.partition`.
fn name(fault: &str) -> String {
    fault.replacen('-', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_run_reads_like_a_log() {
        let lines: Vec<_> = sample::failing().iter().filter_map(line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
         0.0s  run      20261122-101500-7f3a: etcd survives a minority partition, seed 7, on qemu
         0.0s  phase    boot
         0.0s  note     guest timing is not deterministic: the same seed gives the same schedule, not the same interleaving
         1.0s  node     etcd-1 created
         1.0s  node     etcd-2 created
         1.0s  node     etcd-3 created
        31.0s  node     etcd-1 ready
        33.0s  node     etcd-2 ready
        36.0s  node     etcd-3 ready
        38.0s  phase    baseline
        43.0s  phase    chaos
        43.0s  plan     4 faults
        48.0s  inject   f1 network.partition etcd-2
        48.4s  proof    f1 network.partition: the switch dropped 38 frames between etcd-2 and the others
        60.0s  heal     f1 network.partition: 412 frames dropped in all; frames pass again
        65.0s  inject   f2 instance.power_cut etcd-1
        65.0s  proof    f2 instance.power_cut: process 4711 is gone; 17 of 52 unflushed writes were kept
        65.0s  node     etcd-1 killed
        69.0s  inject   f3 network.delay etcd-1, etcd-2, etcd-3
        69.3s  proof    f3 network.delay: the switch delayed 211 frames by 80.3 ms in the median
        73.0s  node     etcd-1 started
        73.5s  heal     f2 instance.power_cut: booted again: boot 2 instead of 1
        78.0s  heal     f3 network.delay: 2,903 frames delayed in all; frames pass undelayed
        80.0s  skip     f4 clock_skew: this provider cannot set clocks
        83.0s  trouble  etcd-3 crashed process: [ 62.201] etcd[311]: segfault at 10 ip 000055 sp 00007f error 4
        83.0s  phase    recovery
        89.0s  phase    check
        90.0s  judge    pass no acknowledged write lost: all 313 acknowledged writes were read back
        90.0s  judge    fail linearizable: key k3: a read returned a value that had been overwritten 412 ms before
        90.0s  judge    pass availability: at least 80%: 590 of 699 operations succeeded (84.4%), longest outage 3.53s
        90.0s  judge    pass recovers within 15s: back at most 323ms after each of 2 heals
        90.5s  phase    teardown
        91.0s  end      fail: `linearizable`: key k3: a read returned a value that had been overwritten 412 ms before
        "#);
    }

    #[test]
    fn nothing_from_outside_breaks_a_line_or_colours_a_log() {
        let lines: Vec<_> = sample::hostile("a\nb\x1b[31mc\r\x07").iter().filter_map(line).collect();
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
    }
}
