//! The smallest piece of a history as a picture: one line a client, one bar an operation.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::journal::{OpOutcome, OpRecord};
use crate::verify::checker::explain::seconds;

const LEFT: usize = 90;
const WIDTH: usize = 900;
const ROW: usize = 44;
const TOP: usize = 40;

/// A self-contained SVG of `ops`; `title` stands above. Instants are spread evenly: their order is what counts.
pub fn svg(title: &str, ops: &[OpRecord]) -> String {
    let mut instants: Vec<u64> =
        ops.iter().flat_map(|op| [op.invoked_us, end(op)]).filter(|at| *at != u64::MAX).collect();
    instants.sort_unstable();
    instants.dedup();
    let spots = instants.len().max(2) - 1;
    let x = |at: u64| match instants.binary_search(&at) {
        Ok(index) => LEFT + index * WIDTH / spots,
        Err(_) => LEFT + WIDTH,
    };
    let mut rows: BTreeMap<u32, usize> = ops.iter().map(|op| (op.process, 0)).collect();
    for (index, row) in rows.values_mut().enumerate() {
        *row = index;
    }
    let height = TOP + rows.len() * ROW + 30;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\" fill=\"#222222\">{}</text>\n",
        LEFT + WIDTH + 40,
        safe(title)
    );
    // Writing to a string cannot fail.
    for (process, row) in &rows {
        let y = TOP + row * ROW;
        let _ = writeln!(out, "<text x=\"8\" y=\"{}\" fill=\"#555555\">client {process}</text>", y + 20);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"#dddddd\"/>",
            y + 36,
            LEFT + WIDTH
        );
    }
    for op in ops {
        let y = TOP + rows.get(&op.process).copied().unwrap_or_default() * ROW;
        let (from, to) = (x(op.invoked_us), x(end(op)));
        let (fill, dash) = match op.outcome {
            OpOutcome::Ok if op.f == "read" => ("#cfe3ff", ""),
            OpOutcome::Ok => ("#cdebd0", ""),
            OpOutcome::Fail => ("#f6c9c9", ""),
            OpOutcome::Indeterminate => ("#f3e6b8", " stroke-dasharray=\"4 3\""),
        };
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect x=\"{from}\" y=\"{}\" width=\"{}\" height=\"24\" rx=\"4\" fill=\"{fill}\" \
             stroke=\"#555555\"{dash}/><text x=\"{}\" y=\"{}\" fill=\"#111111\">{}</text></g>",
            safe(&format!("{} to {}", seconds(op.invoked_us), seconds(op.completed_us))),
            y + 4,
            (to.saturating_sub(from)).max(8),
            from + 5,
            y + 20,
            safe(&label(op))
        );
    }
    let marks = [(instants.first(), LEFT, "start"), (instants.last(), LEFT + WIDTH, "end")];
    for (at, x, anchor) in marks {
        let text = at.map(|at| seconds(*at)).unwrap_or_default();
        let y = height - 8;
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{y}\" fill=\"#555555\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }
    out.push_str("</svg>\n");
    out
}

/// One that nobody saw ending lasts to the end of the picture.
fn end(op: &OpRecord) -> u64 {
    match op.outcome {
        OpOutcome::Indeterminate => u64::MAX,
        OpOutcome::Ok | OpOutcome::Fail => op.completed_us.max(op.invoked_us),
    }
}

fn label(op: &OpRecord) -> String {
    let text = match (&op.input, &op.output) {
        (Value::Null, output) => format!("{} → {output}", op.f),
        (input, Value::Null) => format!("{} {input}", op.f),
        (input, output) => format!("{} {input} → {output}", op.f),
    };
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// Text that can stand in XML whatever a service answered.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
