//! The timeline as geometry: what the template draws. All rows share one time axis, and every fault is a
//! shaded span through all of them.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use super::super::run::{FaultState, ProbeSeries, Run};
use super::super::{sentences, words};
use super::scale::{Log, Time, round_up};
use crate::journal::{OpOutcome, OpRecord, Phase};
use crate::verify::service::quantile;

const WIDTH: f64 = 1080.0;
/// Where the plots begin; labels stand left of it.
const LEFT: f64 = 176.0;
const RIGHT: f64 = WIDTH - 12.0;
const LANE: f64 = 20.0;
const LATENCY: f64 = 190.0;
const RATE: f64 = 72.0;
const PROBE: f64 = 17.0;
/// More rows than this help nobody; the tables have them all.
const MAX_LANES: usize = 24;
const MAX_PROBES: usize = 32;
const MAX_DOTS: usize = 4_000;

#[derive(Debug, Serialize)]
pub(super) struct Chart {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    /// The plots' upper and lower end: where shades and ticks run.
    top: f64,
    bottom: f64,
    phases: Vec<Band>,
    faults: Vec<Lane>,
    /// Whether some fault is drawn as one that left no proof or was not undone.
    doubtful: bool,
    latency: Option<Latency>,
    rate: Option<RateRow>,
    probes: Vec<ProbeRow>,
    ticks: Vec<Mark>,
}

#[derive(Debug, Serialize)]
struct Band {
    x: f64,
    width: f64,
    middle: f64,
    /// Empty where it would not fit.
    label: String,
    title: String,
}

#[derive(Debug, Serialize)]
struct Lane {
    y: f64,
    x: f64,
    width: f64,
    label: String,
    title: String,
    /// Where its proof stands; `None` without one.
    proof: Option<f64>,
    class: &'static str,
}

#[derive(Debug, Serialize)]
struct Mark {
    at: f64,
    label: String,
}

/// Paths in SVG's own words; a dot is a line of no length with a round cap.
#[derive(Debug, Serialize)]
struct Latency {
    top: f64,
    bottom: f64,
    grid: Vec<Mark>,
    ok: String,
    failed: String,
    indeterminate: String,
    median: String,
    p99: String,
}

#[derive(Debug, Serialize)]
struct RateRow {
    top: f64,
    bottom: f64,
    grid: Vec<Mark>,
    unit: String,
    ok: String,
    indeterminate: String,
    failed: String,
}

#[derive(Debug, Serialize)]
struct ProbeRow {
    y: f64,
    height: f64,
    label: String,
    title: String,
    /// Set on the first row of each probe.
    head: Option<String>,
    good: String,
    bad: String,
}

impl Chart {
    /// `None` when there is nothing to draw: no probe, no operation, no fault.
    pub(super) fn of(run: &Run) -> Option<Self> {
        let injected = run.faults.iter().any(|fault| fault.injected_us.is_some());
        if run.ops.is_empty() && run.probes.is_empty() && !injected {
            return None;
        }
        let time = axis(run);
        let top = 30.0;
        let (faults, mut y) = lanes(run, &time, top);
        y += if faults.is_empty() { 0.0 } else { 12.0 };
        let mut latency = None;
        let mut rate = None;
        if !run.ops.is_empty() {
            y += 16.0;
            latency = Some(latency_row(run, &time, y, y + LATENCY));
            y += LATENCY + 34.0;
            rate = rate_row(&run.ops, &time, y, y + RATE);
            y += RATE + 18.0;
        }
        let (probes, bottom) = probe_rows(&run.probes, &time, y);
        Some(Chart {
            width: WIDTH,
            height: bottom + 34.0,
            left: LEFT,
            right: RIGHT,
            top,
            bottom: bottom + 6.0,
            phases: phases(run, &time),
            doubtful: faults.iter().any(|lane| !lane.class.is_empty()),
            faults,
            latency,
            rate,
            probes,
            ticks: time.ticks().into_iter().map(mark).collect(),
        })
    }
}

/// From the baseline on: nothing can be seen while the fleet boots.
fn axis(run: &Run) -> Time {
    let measured = run.probes.iter().flat_map(|series| series.samples.first()).map(|sample| sample.at_us);
    let asked = run.ops.iter().map(|op| op.invoked_us);
    let start_us = run.phase(Phase::Baseline).map(|span| span.start_us);
    let start_us = start_us.or_else(|| measured.chain(asked).min()).unwrap_or(0).min(run.duration_us);
    Time { start_us, end_us: run.duration_us.max(start_us + 1_000_000), left: LEFT, right: RIGHT }
}

fn mark((at, label): (f64, String)) -> Mark {
    Mark { at: round(at), label }
}

/// A tenth of a pixel is finer than anybody sees.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn phases(run: &Run, time: &Time) -> Vec<Band> {
    let visible = run.phases.iter().filter(|span| span.end_us > time.start_us);
    visible
        .map(|span| {
            let (x, end) = (time.x(span.start_us), time.x(span.end_us));
            let name = words::phase(span.phase);
            let fits = end - x > name.len() as f64 * 7.0 + 8.0;
            Band {
                x: round(x),
                width: round(end - x),
                middle: round((x + end) / 2.0),
                label: if fits { name.to_owned() } else { String::new() },
                title: format!("{name}, {} to {}", words::at(span.start_us), words::at(span.end_us)),
            }
        })
        .collect()
}

fn lanes(run: &Run, time: &Time, top: f64) -> (Vec<Lane>, f64) {
    let mut y = top;
    let mut lanes = Vec::new();
    for fault in &run.faults {
        let Some(from) = fault.injected_us.filter(|_| lanes.len() < MAX_LANES) else { continue };
        let until = match &fault.healed {
            Some(healed) => healed.at_us,
            None if fault.lasts => run.duration_us,
            None => from,
        };
        let x = time.x(from);
        let title = [vec![fault.title()], sentences::story(fault)].concat().join("\n");
        lanes.push(Lane {
            y: round(y),
            x: round(x),
            width: round((time.x(until) - x).max(2.0)),
            label: shorten(&fault.title()),
            title: words::clean(&title),
            proof: fault.proven.as_ref().map(|proven| round(time.x(proven.at_us))),
            class: match fault.state {
                FaultState::Healed => "",
                _ => "doubtful",
            },
        });
        y += LANE;
    }
    (lanes, y)
}

/// A label must fit left of the plots.
fn shorten(text: &str) -> String {
    const MOST: usize = 24;
    let text = words::line(text);
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

fn latency_row(run: &Run, time: &Time, top: f64, bottom: f64) -> Latency {
    let took = |op: &OpRecord| op.completed_us.saturating_sub(op.invoked_us);
    let log = Log::around(run.ops.iter().map(took), top, bottom);
    let [ok, failed, indeterminate] = dots(&run.ops, time, &log);
    let width = time.bucket_us();
    let (mut median, mut p99) = (String::new(), String::new());
    let mut broken = true;
    for (start, ops) in buckets(&run.ops, time, width) {
        let acknowledged = ops.iter().filter(|op| op.outcome == OpOutcome::Ok);
        let mut latencies: Vec<u64> = acknowledged.map(|op| took(op)).collect();
        latencies.sort_unstable();
        let quantiles = quantile(&latencies, 0.5).zip(quantile(&latencies, 0.99));
        let Some((middle, high)) = quantiles else {
            broken = true;
            continue;
        };
        let x = time.x(start + width / 2);
        for (path, us) in [(&mut median, middle), (&mut p99, high)] {
            step(path, if broken { 'M' } else { 'L' }, x, log.y(us));
        }
        broken = false;
    }
    let grid = log.grid().into_iter().map(mark).collect();
    Latency { top, bottom, grid, ok, failed, indeterminate, median, p99 }
}

/// One path an outcome (ok, failed, indeterminate). Dots that fall together are drawn once; when they are
/// still too many, the raster gets coarser, which keeps the shape and every outlier.
fn dots(ops: &[OpRecord], time: &Time, log: &Log) -> [String; 3] {
    let mut raster = 0.5;
    loop {
        let mut cells: [BTreeSet<(u32, u32)>; 3] = Default::default();
        for op in ops.iter().filter(|op| time.covers(op.invoked_us)) {
            let [ok, failed, indeterminate] = &mut cells;
            let cells = match op.outcome {
                OpOutcome::Ok => ok,
                OpOutcome::Fail => failed,
                OpOutcome::Indeterminate => indeterminate,
            };
            let y = log.y(op.completed_us.saturating_sub(op.invoked_us));
            let cell = |value: f64| (value / raster).round() as u32;
            cells.insert((cell(time.x(op.invoked_us)), cell(y)));
        }
        if cells.iter().map(BTreeSet::len).sum::<usize>() > MAX_DOTS {
            raster *= 2.0;
            continue;
        }
        return cells.map(|cells| {
            let mut path = String::new();
            for (x, y) in cells {
                step(&mut path, 'M', f64::from(x) * raster, f64::from(y) * raster);
                path.push_str("h0");
            }
            path
        });
    }
}

/// The operations of each bucket by the time they were asked, in order; buckets without any are there too.
fn buckets<'a>(ops: &'a [OpRecord], time: &Time, width: u64) -> Vec<(u64, Vec<&'a OpRecord>)> {
    let count = (time.end_us - time.start_us) / width + 1;
    let mut buckets: Vec<_> = (0..count).map(|n| (time.start_us + n * width, Vec::new())).collect();
    for op in ops.iter().filter(|op| time.covers(op.invoked_us)) {
        let index = usize::try_from((op.invoked_us - time.start_us) / width).unwrap_or(usize::MAX);
        if let Some((_, bucket)) = buckets.get_mut(index) {
            bucket.push(op);
        }
    }
    buckets
}

fn rate_row(ops: &[OpRecord], time: &Time, top: f64, bottom: f64) -> Option<RateRow> {
    let width = time.bucket_us();
    let buckets = buckets(ops, time, width);
    let per_second = 1e6 / width as f64;
    let most = buckets.iter().map(|(_, ops)| ops.len()).max().filter(|most| *most > 0)?;
    let high = round_up(most as f64 * per_second);
    let scale = (bottom - top) / high;
    let mut paths: [String; 3] = Default::default();
    for (start, ops) in buckets {
        let x = time.x(start) + 0.5;
        let end = (time.x(start + width) - 0.5).max(x + 0.5);
        let mut y = bottom;
        for (path, outcome) in
            paths.iter_mut().zip([OpOutcome::Ok, OpOutcome::Indeterminate, OpOutcome::Fail])
        {
            let count = ops.iter().filter(|op| op.outcome == outcome).count();
            if count > 0 {
                let height = count as f64 * per_second * scale;
                bar(path, x, y - height, end - x, height);
                y -= height;
            }
        }
    }
    let [ok, indeterminate, failed] = paths;
    let grid = [0.0, high / 2.0, high]
        .map(|value| mark((bottom - value * scale, words::number(value))))
        .into_iter()
        .collect();
    let unit = match width {
        1_000_000 => "each second".to_owned(),
        width => format!("per second, over {}", words::span(width)),
    };
    Some(RateRow { top, bottom, grid, unit, ok, indeterminate, failed })
}

fn probe_rows(probes: &[ProbeSeries], time: &Time, mut y: f64) -> (Vec<ProbeRow>, f64) {
    let mut rows: Vec<ProbeRow> = Vec::new();
    let mut last = None;
    for series in probes.iter().take(MAX_PROBES) {
        let first = last != Some(&series.probe);
        last = Some(&series.probe);
        // A probe without nodes is its own row; one with nodes stands above them.
        let head = series.node.as_ref().filter(|_| first).map(|_| shorten(&series.probe));
        y += if head.is_some() { 26.0 } else { 0.0 };
        let name = series.node.as_ref().unwrap_or(&series.probe);
        let (good, bad) = strip(series, time, y, PROBE - 5.0);
        let missed = series.samples.iter().filter(|sample| !sample.ok).count();
        rows.push(ProbeRow {
            y: round(y),
            height: PROBE - 5.0,
            label: shorten(name),
            title: words::line(&format!(
                "{} {}: {} of {} measurements missed",
                series.probe,
                series.node.as_deref().unwrap_or_default(),
                words::count(missed),
                words::count(series.samples.len())
            )),
            head,
            good,
            bad,
        });
        y += PROBE;
    }
    (rows, y)
}

/// Good and bad stretches; a sample stands for the time since the one before it, but not for a pause.
fn strip(series: &ProbeSeries, time: &Time, y: f64, height: f64) -> (String, String) {
    let mut gaps: Vec<u64> = series
        .samples
        .windows(2)
        .filter_map(|pair| Some(pair.get(1)?.at_us.saturating_sub(pair.first()?.at_us)))
        .collect();
    gaps.sort_unstable();
    // Not the median: the nodes of a probe are measured shortly one after the other, and then a while not.
    let longest = quantile(&gaps, 0.9).unwrap_or(1_000_000).saturating_mul(3);
    let mut stretches: Vec<(u64, u64, bool)> = Vec::new();
    let mut before = None;
    for sample in &series.samples {
        let began = sample.at_us.saturating_sub(sample.latency_us);
        let since = before.filter(|at| sample.at_us.saturating_sub(*at) <= longest);
        let start = since.unwrap_or(began);
        match stretches.last_mut() {
            Some((_, end, ok)) if *ok == sample.ok && *end == start => *end = sample.at_us,
            _ => stretches.push((start, sample.at_us, sample.ok)),
        }
        before = Some(sample.at_us);
    }
    let (mut good, mut bad) = (String::new(), String::new());
    for (start, end, ok) in stretches {
        if end < time.start_us || start > time.end_us {
            continue;
        }
        let x = time.x(start);
        // A single miss must stay visible however long the run was.
        let least = if ok { 0.2 } else { 1.2 };
        bar(if ok { &mut good } else { &mut bad }, x, y, (time.x(end) - x).max(least), height);
    }
    (good, bad)
}

fn bar(path: &mut String, x: f64, y: f64, width: f64, height: f64) {
    step(path, 'M', x, y);
    let (width, height) = (round(width), round(height));
    // Writing to a String cannot fail.
    let _ = write!(path, "h{width}v{height}h{}z", -width);
}

fn step(path: &mut String, command: char, x: f64, y: f64) {
    let _ = write!(path, "{command}{} {}", round(x), round(y));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn faults_stand_where_they_happened_in_every_row() {
        let run = Run::from_entries(&sample::passing());
        let chart = Chart::of(&run).unwrap();
        // 38 s to 91 s over the width of the plot; the partition was from 48 s to 60 s.
        let x = |seconds: f64| LEFT + (seconds - 38.0) / 53.0 * (RIGHT - LEFT);
        assert!((chart.faults[0].x - x(48.0)).abs() < 0.1);
        assert!((chart.faults[0].x + chart.faults[0].width - x(60.0)).abs() < 0.2);
        assert_eq!(chart.faults.len(), 3, "a skipped fault has no place in time");
        assert_eq!(chart.probes.len(), 4, "the probe as a whole, and each node");
        assert_eq!(chart.probes[0].label, "cluster answers");
    }

    #[test]
    fn many_operations_keep_their_outliers() {
        let run = Run::from_entries(&sample::passing());
        let mut ops = Vec::new();
        for n in 0..200_000_u64 {
            let mut op = run.ops[0].clone();
            op.outcome = OpOutcome::Ok;
            op.invoked_us = 43_000_000 + n * 200;
            op.completed_us = op.invoked_us + 1_000 + (n * n) % 90_000;
            ops.push(op);
        }
        ops[777].outcome = OpOutcome::Fail;
        let time = Time { start_us: 43_000_000, end_us: 83_000_000, left: LEFT, right: RIGHT };
        let log = Log::around([1_000, 100_000].into_iter(), 0.0, LATENCY);
        let [ok, failed, indeterminate] = dots(&ops, &time, &log);
        assert!(ok.matches('M').count() <= MAX_DOTS);
        assert_eq!(failed.matches('M').count(), 1);
        assert_eq!(indeterminate, "");
    }

    #[test]
    fn a_run_without_measurements_has_no_chart() {
        assert!(Chart::of(&Run::from_entries(&[])).is_none());
    }
}
