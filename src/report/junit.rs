//! JUnit XML for CI: a suite a scenario, a case an expectation, and further cases for what must be true
//! before an expectation means anything: the steady state held, every fault took effect and was undone.
//!
//! A violated expectation is a `failure`; whatever says nothing about the image is an `error`, a checker
//! that could not decide among them (`type="unknown"`). Times are those of the journal, never of now.

use std::io::{self, Write};

use junit_report::{Duration, OffsetDateTime, Report, TestCase, TestResult, TestSuite};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};

use super::numbers::Recovery;
use super::run::{Baseline, Evidence, FaultRun, FaultState, Run};
use super::words;
use crate::journal::{Phase, Verdict};

/// Writes one document with a suite for each run.
pub fn write(runs: &[Run], mut sink: impl Write) -> io::Result<()> {
    let suites: Vec<TestSuite> = runs.iter().map(suite).collect();
    let mut report = Report::new();
    report.add_testsuites(suites.iter().cloned());
    let mut bare = Vec::new();
    report.write_xml(&mut bare).map_err(io::Error::other)?;
    let xml = complete(&bare, runs, &suites).map_err(io::Error::other)?;
    sink.write_all(&xml)?;
    sink.flush()
}

/// Adds what `junit_report` cannot say: properties, the number of skipped cases, and the time that the
/// suite really took instead of the sum of its cases, which overlap.
fn complete(bare: &[u8], runs: &[Run], suites: &[TestSuite]) -> Result<Vec<u8>, quick_xml::Error> {
    let mut reader = Reader::from_reader(bare);
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let mut rest = runs.iter().zip(suites);
    loop {
        match reader.read_event()? {
            Event::Eof => break,
            Event::Start(start) if start.name().as_ref() == b"testsuite" => {
                let Some((run, suite)) = rest.next() else { break };
                let mut element = BytesStart::new("testsuite");
                let kept = start.attributes().flatten().filter(|a| a.key.as_ref() != b"time");
                element.extend_attributes(kept);
                element.push_attribute(("skipped", suite.skipped().to_string().as_str()));
                let time = seconds(millis(run.duration_us).as_seconds_f64());
                element.push_attribute(("time", time.as_str()));
                writer.write_event(Event::Start(element))?;
                writer.create_element("properties").write_inner_content(|w| {
                    for (name, value) in properties(run) {
                        let attributes = [("name", words::line(&name)), ("value", words::line(&value))];
                        let pairs = attributes.iter().map(|(key, value)| (*key, value.as_str()));
                        w.create_element("property").with_attributes(pairs).write_empty()?;
                    }
                    Ok(())
                })?;
            }
            Event::Start(start) if start.name().as_ref() == b"testcase" => {
                writer.write_event(Event::Start(tidied(&start)))?;
            }
            Event::Empty(start) if start.name().as_ref() == b"testcase" => {
                writer.write_event(Event::Empty(tidied(&start)))?;
            }
            event => writer.write_event(event)?,
        }
    }
    let mut xml = writer.into_inner();
    xml.push(b'\n');
    Ok(xml)
}

/// A case with its time in whole milliseconds: sums of binary fractions have digits that the format forbids.
fn tidied(case: &BytesStart<'_>) -> BytesStart<'static> {
    let mut element = BytesStart::new("testcase");
    for attribute in case.attributes().flatten() {
        let time = std::str::from_utf8(&attribute.value).ok().and_then(|text| text.parse().ok());
        match time.filter(|_| attribute.key.as_ref() == b"time") {
            Some(time) => element.push_attribute(("time", seconds(time).as_str())),
            None => element.push_attribute(attribute),
        }
    }
    element
}

/// Seconds with at most three digits after the point.
fn seconds(exact: f64) -> String {
    ((exact * 1e3).round() / 1e3).to_string()
}

fn properties(run: &Run) -> Vec<(String, String)> {
    let header = &run.header;
    let mut all = vec![
        ("run".to_owned(), header.run.clone()),
        ("verdict".to_owned(), run.verdict.to_string()),
        ("reason".to_owned(), run.reason.clone()),
        ("seed".to_owned(), header.seed.to_string()),
        ("provider".to_owned(), header.provider.clone()),
        ("tool_version".to_owned(), header.tool_version.clone()),
        ("scenario_file".to_owned(), header.scenario_file.clone()),
        ("scenario_digest".to_owned(), header.scenario_digest.clone()),
    ];
    if let Some(journal) = &run.journal {
        all.push(("journal".to_owned(), journal.display().to_string()));
    }
    for (role, image) in &header.images {
        all.push((format!("image.{role}"), image.clone()));
    }
    for fault in &run.faults {
        let after = |recovery| match recovery {
            Recovery::After(us) => Some(us),
            Recovery::Never | Recovery::NotMeasured => None,
        };
        let times = [
            ("downtime_ms", fault.outage_us),
            ("rto_from_injection_ms", fault.from_injection_us),
            ("rto_from_heal_ms", after(fault.first_success)),
            ("steady_from_heal_ms", after(fault.recovery)),
        ];
        for (what, time) in times {
            all.extend(time.map(|us| (format!("{what}.{}", fault.id), words::number(us as f64 / 1e3))));
        }
        all.extend(fault.lost_writes.map(|lost| (format!("rpo.{}", fault.id), lost.to_string())));
    }
    if let Some((lost, _)) = run.lost_writes() {
        all.push(("rpo_lost_writes".to_owned(), lost.to_string()));
    }
    all
}

fn suite(run: &Run) -> TestSuite {
    let mut suite = TestSuite::new(&words::line(&run.header.scenario));
    suite.package = words::line(&run.header.scenario_file);
    suite.timestamp = timestamp(&run.header.started_at);
    suite.add_testcase(baseline(run));
    suite.add_testcases(run.faults.iter().map(|fault| fault_case(run, fault)));
    suite.add_testcases(expectations(run));
    let explained = suite.testcases.iter().any(|case| case.is_error() || case.is_failure());
    suite.add_testcase(conclusion(run, explained));
    for case in &mut suite.testcases {
        // CI servers split class names at full stops.
        case.classname = Some(words::line(&run.header.scenario).replace('.', "_"));
    }
    let notes: Vec<String> =
        run.notes.iter().map(|(at, text)| format!("{}  {}", words::at(*at), words::line(text))).collect();
    suite.system_out = (!notes.is_empty()).then(|| character_data(&notes.join("\n")));
    suite
}

fn baseline(run: &Run) -> TestCase {
    let span = run.phase(Phase::Baseline);
    let time = millis(span.map_or(0, |span| span.end_us - span.start_us));
    let result = match run.baseline {
        Baseline::Held => TestResult::Success,
        Baseline::Broken => {
            let misses: Vec<String> = run
                .probes
                .iter()
                .filter_map(|series| {
                    let miss = series.samples.iter().rev().find(|sample| !sample.ok)?;
                    let on = series.node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
                    Some(format!("{}  {}{on}: {}", words::at(miss.at_us), series.probe, miss.detail))
                })
                .collect();
            error("steady_state", &run.reason, &misses.join("\n"))
        }
        Baseline::NotReached => error("not_reached", &run.reason, ""),
    };
    case("steady state before the first fault", time, result)
}

fn fault_case(run: &Run, fault: &FaultRun) -> TestCase {
    let name = format!("fault {} took effect and was undone", fault.title());
    let ended = fault.healed.as_ref().map_or(run.duration_us, |healed| healed.at_us);
    let time = millis(fault.injected_us.map_or(0, |from| ended.saturating_sub(from)));
    let text = |evidence: &Option<Evidence>, or: &str| {
        evidence.as_ref().map_or_else(|| or.to_owned(), |evidence| evidence.text.clone())
    };
    let result = match fault.state {
        FaultState::Healed => TestResult::Success,
        FaultState::Skipped => skipped("not_capable", fault.skipped.as_deref().unwrap_or_default()),
        FaultState::NotReached => {
            skipped("not_reached", &format!("the run ended before it was due: {}", run.reason))
        }
        FaultState::NotProven => error("not_proven", &text(&fault.not_proven, "it left no proof"), ""),
        FaultState::NotHealed => {
            error("not_undone", &text(&fault.healed, "the run ended before it was undone"), "")
        }
    };
    let mut case = case(&name, time, result);
    let story: Vec<String> = super::story(fault);
    case.system_out = (!story.is_empty()).then(|| character_data(&story.join("\n")));
    case
}

fn expectations(run: &Run) -> Vec<TestCase> {
    let mut since = run.phase(Phase::Check).map_or(0, |span| span.start_us);
    let mut cases = Vec::new();
    for expectation in &run.expectations {
        let Some(judged) = &expectation.judged else {
            let result = error("not_judged", &format!("never judged: {}", run.reason), "");
            cases.push(case(&expectation.name, Duration::ZERO, result));
            continue;
        };
        let (message, detail) = (&judged.message, &judged.detail);
        let result = match judged.verdict {
            Verdict::Pass => TestResult::Success,
            Verdict::Fail => TestResult::Failure {
                type_: "violated".to_owned(),
                message: words::line(message),
                cause: Some(character_data(&format!("{message}\n{detail}"))),
            },
            Verdict::Unknown => error("unknown", message, detail),
            Verdict::Error => error("error", message, detail),
        };
        let time = millis(expectation.at_us.saturating_sub(since));
        since = since.max(expectation.at_us);
        let mut case = case(&expectation.name, time, result);
        let mut out = vec![message.clone()];
        out.extend(judged.measured.iter().map(|(key, value)| format!("{key} = {}", words::number(*value))));
        case.system_out = Some(character_data(&out.join("\n")));
        cases.push(case);
    }
    cases
}

/// The last case: no file is ever green when the run's verdict is not a pass.
fn conclusion(run: &Run, explained: bool) -> TestCase {
    let result = match run.verdict {
        Verdict::Error => error("error", &run.reason, ""),
        Verdict::Unknown => error("unknown", &run.reason, ""),
        Verdict::Fail if !explained => TestResult::Failure {
            type_: "violated".to_owned(),
            message: words::line(&run.reason),
            cause: None,
        },
        _ => TestResult::Success,
    };
    case("the run is conclusive", Duration::ZERO, result)
}

fn case(name: &str, time: Duration, result: TestResult) -> TestCase {
    let mut case = TestCase::success(&words::line(name), time);
    case.result = result;
    case
}

fn error(kind: &str, message: &str, detail: &str) -> TestResult {
    let cause = (!detail.is_empty()).then(|| character_data(detail));
    TestResult::Error { type_: kind.to_owned(), message: words::line(message), cause }
}

fn skipped(kind: &str, message: &str) -> TestResult {
    TestResult::SkippedWithCause { type_: kind.to_owned(), message: words::line(message), cause: None }
}

/// Text for a CDATA section, which `junit_report` writes as it is: legal, and with no end of section in it.
fn character_data(text: &str) -> String {
    words::clean(text).replace("]]>", "]]]]><![CDATA[>")
}

/// Consumers' schemas allow three digits after the point, so microseconds are rounded away.
fn millis(us: u64) -> Duration {
    Duration::milliseconds(i64::try_from(us / 1_000).unwrap_or(i64::MAX))
}

/// Whole seconds; the epoch for a text that is no time, or one before it.
fn timestamp(text: &str) -> OffsetDateTime {
    let seconds = text.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second().max(0));
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use std::process::Command;

    fn xml(runs: &[Run]) -> String {
        let mut xml = Vec::new();
        write(runs, &mut xml).unwrap();
        String::from_utf8(xml).unwrap()
    }

    fn run(entries: Vec<crate::journal::Entry>) -> Run {
        Run::from_entries(&entries)
    }

    /// One line a case: its name and its outcome.
    fn outcomes(run: Run) -> String {
        let cases = suite(&run).testcases;
        let line = |case: &TestCase| match &case.result {
            TestResult::Success => format!("{}: success", case.name),
            TestResult::Skipped => format!("{}: skipped", case.name),
            TestResult::SkippedWithCause { type_, message, .. } => {
                format!("{}: skipped {type_}: {message}", case.name)
            }
            TestResult::Error { type_, message, .. } => format!("{}: error {type_}: {message}", case.name),
            TestResult::Failure { type_, message, .. } => {
                format!("{}: failure {type_}: {message}", case.name)
            }
        };
        cases.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Checks against the strict side of what consumers accept.
    fn validate(xml: &str) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("junit.xml");
        std::fs::write(&file, xml).unwrap();
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/junit.xsd");
        let output =
            Command::new("xmllint").args(["--noout", "--schema", schema]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}\n{xml}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn every_kind_of_run_is_valid_junit() {
        let runs = [
            sample::passing(),
            sample::failing(),
            sample::unknown(),
            sample::killed(),
            sample::not_proven(),
            sample::baseline_broken(),
            Vec::new(),
        ];
        validate(&xml(&runs.map(run)));
        validate(&xml(&[]));
    }

    #[test]
    fn no_text_from_outside_makes_it_invalid() {
        let mut hostile: String = (0..=0x9f_u32).filter_map(char::from_u32).collect();
        hostile.push_str(
            "]]> ]]]]>> <![CDATA[ <b a=\"'\"> &amp; &#0; &lt; \u{fffe}\u{ffff}\u{fffd} 🦀 \x1b[31mred",
        );
        let xml =
            xml(&[run(sample::hostile(&hostile)), run(sample::hostile("]]>")), run(sample::hostile(""))]);
        validate(&xml);
        assert!(!xml.contains("\x1b"));
    }

    #[test]
    fn failure_error_and_skip_are_kept_apart() {
        insta::assert_snapshot!(outcomes(run(sample::failing())), @r#"
        steady state before the first fault: success
        fault f1 network.partition took effect and was undone: success
        fault f2 instance.power_cut took effect and was undone: success
        fault f3 network.delay took effect and was undone: success
        fault f4 clock_skew took effect and was undone: skipped not_capable: this provider cannot set clocks
        no acknowledged write lost: success
        linearizable: failure violated: key k3: a read returned a value that had been overwritten 412 ms before
        availability: at least 80%: success
        recovers within 15s: success
        the run is conclusive: success
        "#);
        insta::assert_snapshot!(outcomes(run(sample::unknown())), @r#"
        steady state before the first fault: success
        fault f1 network.partition took effect and was undone: success
        fault f2 instance.power_cut took effect and was undone: success
        fault f3 network.delay took effect and was undone: success
        fault f4 clock_skew took effect and was undone: skipped not_capable: this provider cannot set clocks
        no acknowledged write lost: success
        linearizable: error unknown: key k5: no answer within 30 s and 1 GiB
        availability: at least 80%: success
        recovers within 15s: success
        the run is conclusive: error unknown: `linearizable`: key k5: no answer within 30 s and 1 GiB
        "#);
        insta::assert_snapshot!(outcomes(run(sample::not_proven())), @r#"
        steady state before the first fault: success
        fault f1 network.partition took effect and was undone: error not_proven: the switch dropped no frame between etcd-2 and the others
        fault f2 instance.power_cut took effect and was undone: success
        fault f3 network.delay took effect and was undone: success
        fault f4 clock_skew took effect and was undone: skipped not_capable: this provider cannot set clocks
        no acknowledged write lost: success
        linearizable: success
        availability: at least 80%: success
        recovers within 15s: success
        the run is conclusive: error error: f1-network.partition did not take effect
        "#);
        insta::assert_snapshot!(outcomes(run(sample::baseline_broken())), @r#"
        steady state before the first fault: error steady_state: the steady state did not hold: `cluster answers` on etcd-3: connection refused
        no acknowledged write lost: error not_judged: never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
        linearizable: error not_judged: never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
        availability: at least 80%: error not_judged: never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
        recovers within 15s: error not_judged: never judged: the steady state did not hold: `cluster answers` on etcd-3: connection refused
        the run is conclusive: error error: the steady state did not hold: `cluster answers` on etcd-3: connection refused
        "#);
        insta::assert_snapshot!(outcomes(run(sample::killed())), @r#"
        steady state before the first fault: success
        fault f1 network.partition took effect and was undone: success
        fault f2 instance.power_cut took effect and was undone: error not_undone: the run ended before it was undone
        fault f3 network.delay took effect and was undone: error not_undone: the run ended before it was undone
        fault f4 clock_skew took effect and was undone: skipped not_reached: the run ended before it was due: the run did not end
        no acknowledged write lost: error not_judged: never judged: the run did not end
        linearizable: error not_judged: never judged: the run did not end
        availability: at least 80%: error not_judged: never judged: the run did not end
        recovers within 15s: error not_judged: never judged: the run did not end
        the run is conclusive: error error: the run did not end
        "#);
    }

    #[test]
    fn a_verdict_that_no_case_explains_has_a_case_of_its_own() {
        let mut entries = sample::passing();
        entries.pop();
        let reason = "no operation succeeded while a fault was active".to_owned();
        let finished = crate::journal::Event::RunFinished { verdict: Verdict::Error, reason };
        entries.push(crate::journal::Entry { at_us: 92_000_000, event: finished });
        let cases = suite(&run(entries)).testcases;
        assert!(cases.last().unwrap().is_error());
    }

    /// 2.986 s is 2.9859999999999998 as a sum of binary fractions.
    #[test]
    fn times_are_whole_milliseconds() {
        for us in (0..10_000_000).step_by(1_000) {
            let text = seconds(millis(us).as_seconds_f64());
            let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
            assert!(digits <= 3, "{us}: {text}");
        }
        let mut entries = crate::report::sample::passing();
        for entry in &mut entries {
            entry.at_us = entry.at_us / 1_000_000 * 2_986_000;
        }
        let mut xml = Vec::new();
        write(&[Run::from_entries(&entries)], &mut xml).unwrap();
        let xml = String::from_utf8(xml).unwrap();
        let times = xml.split(" time=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for time in times {
            assert!(time.split_once('.').is_none_or(|(_, digits)| digits.len() <= 3), "{time}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_written_is_the_epoch() {
        for text in ["", "yesterday", "-009999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"] {
            assert_eq!(timestamp(text), OffsetDateTime::UNIX_EPOCH, "{text}");
        }
    }

    #[test]
    fn a_whole_file() {
        let mut run = run(sample::failing());
        run.journal = Some("runs/20261122-101500-7f3a/journal.jsonl".into());
        insta::assert_snapshot!(xml(&[run]), @r#"
        <?xml version="1.0" encoding="utf-8"?>
        <testsuites>
          <testsuite id="0" name="etcd survives a minority partition" package="scenarios/etcd-partition.yaml" tests="10" errors="0" failures="1" hostname="localhost" timestamp="2026-11-22T10:15:00Z" skipped="1" time="91">
            <properties>
              <property name="run" value="20261122-101500-7f3a"/>
              <property name="verdict" value="fail"/>
              <property name="reason" value="`linearizable`: key k3: a read returned a value that had been overwritten 412 ms before"/>
              <property name="seed" value="7"/>
              <property name="provider" value="qemu"/>
              <property name="tool_version" value="0.1.0"/>
              <property name="scenario_file" value="scenarios/etcd-partition.yaml"/>
              <property name="scenario_digest" value="9c41e2f0b7a86d539c41e2f0b7a86d539c41e2f0b7a86d539c41e2f0b7a86d53"/>
              <property name="journal" value="runs/20261122-101500-7f3a/journal.jsonl"/>
              <property name="image.etcd" value="4be1d07c92f35a684be1d07c92f35a684be1d07c92f35a684be1d07c92f35a68"/>
              <property name="downtime_ms.f1-network.partition" value="709.955"/>
              <property name="rto_from_injection_ms.f1-network.partition" value="12323.249"/>
              <property name="rto_from_heal_ms.f1-network.partition" value="323.249"/>
              <property name="steady_from_heal_ms.f1-network.partition" value="323.249"/>
              <property name="rpo.f1-network.partition" value="0"/>
              <property name="downtime_ms.f2-instance.power_cut" value="3528.122"/>
              <property name="rto_from_injection_ms.f2-instance.power_cut" value="3709.07"/>
              <property name="rpo.f2-instance.power_cut" value="0"/>
              <property name="downtime_ms.f3-network.delay" value="253.056"/>
              <property name="rto_from_injection_ms.f3-network.delay" value="2485.001"/>
              <property name="rto_from_heal_ms.f3-network.delay" value="256.245"/>
              <property name="steady_from_heal_ms.f3-network.delay" value="256.245"/>
              <property name="rpo_lost_writes" value="0"/>
            </properties>
            <testcase name="steady state before the first fault" time="5" classname="etcd survives a minority partition"/>
            <testcase name="fault f1 network.partition took effect and was undone" time="12" classname="etcd survives a minority partition">
              <system-out><![CDATA[48.0s  injected on etcd-2
        48.4s  proof: the switch dropped 38 frames between etcd-2 and the others
        60.0s  healed: 412 frames dropped in all; frames pass again]]></system-out>
            </testcase>
            <testcase name="fault f2 instance.power_cut took effect and was undone" time="8.5" classname="etcd survives a minority partition">
              <system-out><![CDATA[65.0s  injected on etcd-1
        65.0s  proof: process 4711 is gone; 17 of 52 unflushed writes were kept
        73.5s  healed: booted again: boot 2 instead of 1]]></system-out>
            </testcase>
            <testcase name="fault f3 network.delay took effect and was undone" time="9" classname="etcd survives a minority partition">
              <system-out><![CDATA[69.0s  injected on etcd-1, etcd-2, etcd-3
        69.3s  proof: the switch delayed 211 frames by 80.3 ms in the median
        78.0s  healed: 2,903 frames delayed in all; frames pass undelayed]]></system-out>
            </testcase>
            <testcase name="fault f4 clock_skew took effect and was undone" time="0" classname="etcd survives a minority partition">
              <skipped type="not_capable" message="this provider cannot set clocks"/>
            </testcase>
            <testcase name="no acknowledged write lost" time="1" classname="etcd survives a minority partition">
              <system-out><![CDATA[all 313 acknowledged writes were read back
        acknowledged_writes = 313
        lost_writes = 0
        rpo.f1-network.partition = 0
        rpo.f2-instance.power_cut = 0]]></system-out>
            </testcase>
            <testcase name="linearizable" time="0" classname="etcd survives a minority partition">
              <failure type="violated" message="key k3: a read returned a value that had been overwritten 412 ms before"><![CDATA[key k3: a read returned a value that had been overwritten 412 ms before
        process 2  write k3 = 41   acknowledged  61.204 s   etcd-3
        process 0  write k3 = 57   acknowledged  66.871 s   etcd-3
        process 4  read  k3 = 41   answered      67.283 s   etcd-2
        The write of 57 had been acknowledged before the read began, so the read had to see it.]]></failure>
              <system-out><![CDATA[key k3: a read returned a value that had been overwritten 412 ms before]]></system-out>
            </testcase>
            <testcase name="availability: at least 80%" time="0" classname="etcd survives a minority partition">
              <system-out><![CDATA[590 of 699 operations succeeded (84.4%), longest outage 3.53s
        availability = 0.844
        downtime_ms.f2-instance.power_cut = 3530
        longest_outage_ms = 3530]]></system-out>
            </testcase>
            <testcase name="recovers within 15s" time="0" classname="etcd survives a minority partition">
              <system-out><![CDATA[back at most 323ms after each of 2 heals
        slowest_recovery_ms = 323]]></system-out>
            </testcase>
            <testcase name="the run is conclusive" time="0" classname="etcd survives a minority partition"/>
            <system-out><![CDATA[0.0s  guest timing is not deterministic: the same seed gives the same schedule, not the same interleaving]]></system-out>
          </testsuite>
        </testsuites>
        "#);
    }
}
