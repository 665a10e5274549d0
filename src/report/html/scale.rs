//! From values to places on the page, and the round numbers that stand on axes.

use super::super::words;

/// Time from left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    pub(super) start_us: u64,
    pub(super) end_us: u64,
    pub(super) left: f64,
    pub(super) right: f64,
}

impl Time {
    /// The place of a point in time; what lies outside is put on the edge.
    pub(super) fn x(&self, us: u64) -> f64 {
        let us = us.clamp(self.start_us, self.end_us);
        let share = (us - self.start_us) as f64 / (self.end_us - self.start_us).max(1) as f64;
        self.left + share * (self.right - self.left)
    }

    pub(super) fn covers(&self, us: u64) -> bool {
        (self.start_us..=self.end_us).contains(&us)
    }

    /// At most a dozen round times with their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        const STEPS: [u64; 16] =
            [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 86_400];
        let seconds = (self.end_us - self.start_us) / 1_000_000;
        let step = STEPS.into_iter().find(|step| seconds / step <= 12).unwrap_or(seconds / 12 + 1);
        let first = self.start_us.div_ceil(step * 1_000_000);
        let times = (first..).map(|n| n * step).take_while(|s| s * 1_000_000 <= self.end_us);
        times.map(|s| (self.x(s * 1_000_000), label(s, step))).collect()
    }

    /// Seconds per bucket so that there are at most 180 of them.
    pub(super) fn bucket_us(&self) -> u64 {
        const WIDTHS: [u64; 11] = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600];
        let span = self.end_us - self.start_us;
        let width = WIDTHS.into_iter().find(|width| span / (width * 1_000_000) <= 180);
        width.map_or(span / 180 + 1, |width| width * 1_000_000)
    }
}

fn label(seconds: u64, step: u64) -> String {
    match step {
        step if step >= 3_600 => format!("{} h", seconds / 3_600),
        step if step >= 60 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// Latency from bottom to top, logarithmic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Log {
    /// Rounded outwards to 1, 2 or 5 times a power of ten, from 100 µs up, and never empty.
    pub(super) fn around(values: impl Iterator<Item = u64> + Clone, top: f64, bottom: f64) -> Self {
        let low = values.clone().min().unwrap_or(1_000).max(100) as f64;
        let high = values.max().unwrap_or(1_000).max(100) as f64;
        let low = rounds().rfind(|round| *round <= low).unwrap_or(100.0);
        let high = rounds().find(|round| *round >= high && *round >= low * 10.0);
        Log { low, high: high.unwrap_or(low * 1e12), top, bottom }
    }

    pub(super) fn y(&self, us: u64) -> f64 {
        let us = (us as f64).clamp(self.low, self.high);
        let share = (us / self.low).ln() / (self.high / self.low).ln();
        self.bottom - share * (self.bottom - self.top)
    }

    /// The round values within, powers of ten alone when all of them would be too many.
    pub(super) fn grid(&self) -> Vec<(f64, String)> {
        let within: Vec<f64> = rounds().filter(|it| (self.low..=self.high).contains(it)).collect();
        let decade = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-9;
        let few = within.len() <= 10;
        let kept = within.into_iter().filter(|value| few || decade(*value));
        kept.map(|value| (self.y(value as u64), round_span(value as u64))).collect()
    }
}

/// 1, 2 and 5 times every power of ten from 100 µs to 1,000 days.
fn rounds() -> impl DoubleEndedIterator<Item = f64> {
    (2..14).flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(exponent)))
}

/// Without the digits that a round number does not need: `200 ms`, `1 s`.
fn round_span(us: u64) -> String {
    match us {
        us if us >= 1_000_000 => format!("{} s", words::number(us as f64 / 1e6)),
        us if us >= 1_000 => format!("{} ms", words::number(us as f64 / 1e3)),
        us => format!("{us} µs"),
    }
}

/// The least of 1, 2, 3, 4, 5, 6, 8, 10, 20, ... that is not below `value`.
pub(super) fn round_up(value: f64) -> f64 {
    let mut unit = 1.0;
    loop {
        for digit in [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] {
            if digit * unit >= value || unit > 1e15 {
                return digit * unit;
            }
        }
        unit *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn axes_carry_round_numbers() {
        let time = Time { start_us: 38_000_000, end_us: 91_000_000, left: 0.0, right: 100.0 };
        let labels: Vec<_> = time.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(
            labels.join(" | "),
            "40 s | 45 s | 50 s | 55 s | 60 s | 65 s | 70 s | 75 s | 80 s | 85 s | 90 s"
        );
        let log = Log::around([3_000, 1_000_000].into_iter(), 0.0, 100.0);
        let labels: Vec<_> = log.grid().into_iter().map(|(_, label)| label).collect();
        assert_eq!(
            labels.join(" | "),
            "2 ms | 5 ms | 10 ms | 20 ms | 50 ms | 100 ms | 200 ms | 500 ms | 1 s"
        );
        assert_eq!([0.0, 1.0, 1.1, 23.0, 70.0].map(round_up), [1.0, 1.0, 2.0, 30.0, 80.0]);
    }

    proptest! {
        #[test]
        fn every_value_has_a_place_on_the_page(
            start in 0_u64..1 << 45, span in 0_u64..1 << 45, at in any::<u64>(),
            values in prop::collection::vec(any::<u64>(), 0..5)
        ) {
            let time = Time { start_us: start, end_us: start + span, left: 10.0, right: 90.0 };
            prop_assert!((10.0..=90.0).contains(&time.x(at)));
            prop_assert!(time.ticks().len() <= 14);
            prop_assert!(time.bucket_us() > 0 && span / time.bucket_us() <= 180);
            let log = Log::around(values.iter().copied(), 5.0, 50.0);
            for value in values {
                prop_assert!((4.99..=50.01).contains(&log.y(value)));
            }
            prop_assert!(log.grid().len() <= 20);
        }
    }
}
