//! All output of the command line goes through here: results to standard output, everything else to
//! standard error, colour only where a person looks.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

#[derive(Debug, Clone, Copy)]
pub struct Printer {
    json: bool,
    colour: bool,
    allow_colour: bool,
}

impl Printer {
    pub fn new(json: bool) -> Self {
        // https://no-color.org: present and not empty.
        let allow_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { json, colour: io::stderr().is_terminal() && allow_colour, allow_colour }
    }

    /// Whether `--json` was given: then [`Printer::json`] prints the result, and [`Printer::line`] nothing.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether results for a person may be coloured: standard output is a terminal and nobody objects.
    pub fn colours_results(&self) -> bool {
        self.allow_colour && io::stdout().is_terminal()
    }

    /// Columns of the terminal that standard output goes to; 100 where there is none.
    pub fn width(&self) -> usize {
        let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
        if columns == 0 { 100 } else { usize::from(columns) }
    }

    /// One line of the result for a person.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            write(&mut io::stdout().lock(), text.as_ref());
        }
    }

    /// The result for a program; printed only with `--json`.
    pub fn json(&self, value: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string());
            write(&mut io::stdout().lock(), &text);
        }
    }

    /// What a command on a server printed, byte for byte.
    pub fn raw(&self, stdout: &[u8], stderr: &[u8]) {
        let _ = io::stdout().lock().write_all(stdout);
        let _ = io::stderr().lock().write_all(stderr);
    }

    /// What the command is doing, on standard error.
    pub fn progress(&self, text: impl AsRef<str>) {
        write(&mut io::stderr().lock(), text.as_ref());
    }

    pub fn failure(&self, message: &str, hints: &[String]) {
        let (red, cyan, reset) =
            if self.colour { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error{reset}: {message}");
        for hint in hints {
            text.push_str(&format!("\n{cyan}hint{reset}: {hint}"));
        }
        write(&mut io::stderr().lock(), &text);
    }
}

/// A reader that went away (`| head`) is not an error of ours.
fn write(sink: &mut impl Write, text: &str) {
    let _ = writeln!(sink, "{text}");
}
