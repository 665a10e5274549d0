//! Looking at consoles while a run goes on, and at the logs of every instance at its end.
//!
//! What is seen goes into the journal; whether it speaks against the image is judged from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::logs;
use super::phases::Stage;
use crate::journal::Event;
use crate::journal::event::{Symptom, SymptomKind, SymptomSource};
use crate::verify::symptoms::kind_of;

/// A console is looked at this often, so a sign of trouble is dated this well.
const EVERY: Duration = Duration::from_secs(1);
/// A console that prints without end fills neither the journal nor the report.
const MOST_A_NODE: usize = 200;
/// Characters of a line that a report shows.
const LINE: usize = 240;
/// For all instances together at the end.
const LIMIT: Duration = Duration::from_secs(60);
/// The clock of the instance, then its failed units, then what the init system itself complained of. An
/// image without systemd has neither.
const ASK: &str = "date +%s.%N; command -v systemctl >/dev/null || exit 0; \
                   systemctl list-units --failed --plain --no-legend --no-pager; echo --; \
                   journalctl --quiet --no-pager --output short-unix --priority warning --lines 2000 _PID=1";

/// Reads what each console printed since the last look, once a second and once more at the end, until `stop`.
pub(super) async fn watch(stage: &Stage, stop: CancellationToken) {
    let mut consoles: BTreeMap<&str, Console> =
        stage.targets.iter().map(|target| (target.node.as_str(), Console::default())).collect();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = stop.run_until_cancelled(ticks.tick()).await.is_none();
        for (node, console) in &mut consoles {
            // Whoever runs the fleet reports what is wrong with it; a console is only looked at.
            let Ok(printed) = stage.fleet.console(node).await else { continue };
            for (kind, line) in console.read(&printed) {
                record(stage, node, SymptomSource::Console, kind, line, stage.journal.elapsed_us());
            }
        }
        if last {
            return;
        }
    }
}

/// How far a console was read.
#[derive(Default)]
struct Console {
    /// Bytes, always up to the end of a line.
    read: usize,
    found: usize,
}

impl Console {
    /// The signs of trouble in the lines that are complete and were not read before.
    fn read(&mut self, printed: &[u8]) -> Vec<(SymptomKind, String)> {
        // Shorter than before: it was begun anew.
        let new = printed.get(self.read..).unwrap_or_else(|| {
            self.read = 0;
            printed
        });
        let Some(end) = new.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        self.read += end + 1;
        let text = String::from_utf8_lossy(new.get(..end).unwrap_or_default());
        let lines = text.split(['\n', '\r']).filter_map(sign);
        let mut signs: Vec<_> = lines.collect();
        signs.truncate(MOST_A_NODE.saturating_sub(self.found));
        self.found += signs.len();
        signs
    }
}

/// The line as reports show it, and of what trouble it tells.
fn sign(line: &str) -> Option<(SymptomKind, String)> {
    let line = plain(line);
    let kind = kind_of(&line)?;
    Some((kind, line.trim().chars().take(LINE).collect()))
}

/// Without the sequences that colour a status line, and without control characters.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = after.get(end..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain.retain(|c| !c.is_control());
    plain
}

fn record(stage: &Stage, node: &str, source: SymptomSource, kind: SymptomKind, line: String, seen_us: u64) {
    let node = node.to_owned();
    stage.journal.record(Event::Symptom(Symptom { node, source, kind, line, seen_us }));
}

/// Asks every instance for its failed units and its log. Returns which could not be asked, and why.
pub(super) async fn ask(stage: &Stage) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    let mut asking = JoinSet::new();
    for target in &stage.targets {
        let (fleet, node) = (Arc::clone(&stage.fleet), target.node.clone());
        asking.spawn(async move {
            let said = logs::ask(fleet.as_ref(), &node, ASK, deadline).await;
            (node, said)
        });
    }
    let mut unasked = Vec::new();
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((node, Ok(said))) => {
                let now = stage.journal.elapsed_us();
                for (source, kind, line, age_us) in signs(&said.text()) {
                    record(stage, &node, source, kind, line, now.saturating_sub(age_us));
                }
            }
            Ok((node, Err(reason))) => unasked.push(format!("{node} could not be asked: {reason}")),
            Err(crash) => unasked.push(format!("asking crashed: {crash}")),
        }
    }
    unasked.sort();
    unasked
}

/// What an instance said, as signs of trouble with their age in microseconds.
fn signs(said: &str) -> Vec<(SymptomSource, SymptomKind, String, u64)> {
    let mut lines = said.lines();
    let Some(now) = lines.next().and_then(|line| line.trim().parse::<f64>().ok()) else { return Vec::new() };
    let mut found = Vec::new();
    for line in lines.by_ref().take_while(|line| *line != "--") {
        if let Some(unit) = line.split_whitespace().find(|word| word.contains('.')) {
            found.push((SymptomSource::Units, SymptomKind::FailedUnit, unit.to_owned(), 0));
        }
    }
    for line in lines {
        let at = line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        if let (Some(at), Some((kind, line))) = (at, sign(line)) {
            // Saturates: a clock that was set back makes nothing older than the run.
            found.push((SymptomSource::Log, kind, line, ((now - at).max(0.0) * 1e6) as u64));
        }
    }
    found.truncate(MOST_A_NODE);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_read_line_by_line_and_once() {
        let mut console = Console::default();
        let first = b"[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mnginx.service\x1b[0m.\r\n[   9.1] Kernel pan";
        let signs = console.read(first);
        assert_eq!(signs, [(SymptomKind::FailedUnit, "[FAILED] Failed to start nginx.service.".to_owned())]);
        assert_eq!(console.read(first), []);
        let more = [first.as_slice(), b"ic - not syncing: x\n"].concat();
        assert_eq!(
            console.read(&more),
            [(SymptomKind::KernelPanic, "[   9.1] Kernel panic - not syncing: x".to_owned())]
        );
        assert_eq!(console.read(b"I/O error, dev vda\n").len(), 1);
    }

    #[test]
    fn a_console_that_never_stops_is_cut() {
        let flood = "\u{7}[1] EXT4-fs error (device vda)\n".repeat(5_000);
        assert_eq!(Console::default().read(flood.as_bytes()).len(), MOST_A_NODE);
    }

    #[test]
    fn what_an_instance_answers_is_dated() {
        let said = "1764042000.5\n  nginx.service loaded failed failed A web server\n--\n\
                    1764041990.250000 web-1 systemd[1]: etcd.service: Failed with result 'core-dump'.\n\
                    1764041995.000000 web-1 systemd[1]: etcd.service: Consumed 1s CPU time.\n";
        let dated = "1764041990.250000 web-1 systemd[1]: etcd.service: Failed with result 'core-dump'.";
        assert_eq!(
            signs(said),
            [
                (SymptomSource::Units, SymptomKind::FailedUnit, "nginx.service".to_owned(), 0),
                (SymptomSource::Log, SymptomKind::Segfault, dated.to_owned(), 10_250_000),
            ]
        );
        assert_eq!(signs("garbage"), []);
        assert_eq!(signs(""), []);
    }
}
