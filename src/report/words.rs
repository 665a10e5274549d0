//! How reports spell times, counts and shares, and how they make outside text safe to show.

use serde_json::Value;

use crate::journal::Phase;

/// Texts from outside longer than this are cut: a report is to be read, the journal has the rest.
const MAX_TEXT: usize = 64 << 10;

/// A length of time with about three digits: `850 ms`, `3.10 s`, `48.0 s`, `2 min 05 s`.
pub(super) fn span(us: u64) -> String {
    match us {
        0 => "0 s".to_owned(),
        us if us < 1_000 => format!("{us} µs"),
        us if us < 10_000 => format!("{:.1} ms", us as f64 / 1e3),
        us if us < 999_500 => format!("{:.0} ms", us as f64 / 1e3),
        us if us < 9_995_000 => format!("{:.2} s", us as f64 / 1e6),
        us if us < 119_950_000 => format!("{:.1} s", us as f64 / 1e6),
        us => {
            let seconds = us.saturating_add(500_000) / 1_000_000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

/// A point in time since the start of the run: `48.0s`.
pub(super) fn at(us: u64) -> String {
    format!("{:.1}s", us as f64 / 1e6)
}

/// `1,215`.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 fault`, `3 faults`.
pub(super) fn plural(n: usize, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Rounded down, so that 99.97% never reads as 100%: `93.6%`, `99.97%`, `100%`.
pub(super) fn percent(share: f64) -> String {
    let hundredths = (share.clamp(0.0, 1.0) * 10_000.0 + 1e-6).floor() as u64;
    match (hundredths / 100, hundredths % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{}%", part / 10),
        (whole, part) => format!("{whole}.{part:02}%"),
    }
}

/// A number behind a verdict: as many digits as it needs, at most three after the point.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// The first 12 digits of an image id.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A value without the quotes that a person does not need: `shape: isolate, target: (one: etcd)`.
pub(super) fn plain(value: &Value) -> String {
    let inner = |value: &Value| match value {
        Value::Object(_) => format!("({})", plain(value)),
        value => plain(value),
    };
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(inner).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let member = |(key, value)| format!("{key}: {}", inner(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        value => value.to_string(),
    }
}

pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Boot => "boot",
        Phase::Baseline => "baseline",
        Phase::Chaos => "chaos",
        Phase::Recovery => "recovery",
        Phase::Check => "check",
        Phase::Teardown => "teardown",
    }
}

/// Outside text made safe for a terminal, a page or XML 1.0: escape sequences and control characters are
/// gone (but for line ends and tabs), as are the two code points that XML forbids; its length is bounded.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(MAX_TEXT));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if clean.len() >= MAX_TEXT {
            clean.push_str(" [cut]");
            break;
        }
        match c {
            // A colour or a cursor movement goes as a whole; what it would leave behind is noise.
            '\x1b' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                chars.next_if(|c| matches!(c, '@'..='~'));
            }
            '\n' | '\t' => clean.push(c),
            // Bidirectional overrides let a line read as something it is not.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => clean.push(c),
        }
    }
    clean
}

/// [`clean`], on one line.
pub(super) fn line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_read_well() {
        let spans = [0, 830, 4_700, 150_000, 999_700, 3_100_000, 48_000_000, 119_960_000, 125_400_000];
        assert_eq!(
            spans.map(span),
            ["0 s", "830 µs", "4.7 ms", "150 ms", "1.00 s", "3.10 s", "48.0 s", "2 min 00 s", "2 min 05 s"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1.0, 0.99999, 0.936, 0.07, 0.0].map(percent), ["100%", "99.99%", "93.6%", "7%", "0%"]);
        assert_eq!([0.0, 1_600.0, 0.9361].map(number), ["0", "1600", "0.936"]);
    }

    #[test]
    fn parameters_read_like_a_scenario() {
        let params = serde_json::json!({"target": {"leader": "etcd"}, "by": [1, 2], "unflushed": null});
        assert_eq!(plain(&params), "by: 1, 2, target: (leader: etcd), unflushed: ");
    }

    #[test]
    fn escape_sequences_leave_nothing_behind() {
        assert_eq!(clean("\x1b[1;31mred\x1b[0m\x07\0 \u{ffff}tab\tend\r\n"), "red tab\tend\n");
        assert_eq!(line("two\nlines\tand  space"), "two lines and space");
        assert!(clean(&"ä".repeat(MAX_TEXT)).len() <= MAX_TEXT + 8);
    }

    proptest! {
        #[test]
        fn cleaned_text_is_legal_xml(text in any::<String>()) {
            let legal = |c: char| matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..);
            prop_assert!(clean(&text).chars().all(legal));
        }
    }
}
