//! The log of a node's serial console, one file over all boots.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How much of a console an error shows.
pub(crate) const SHOWN_LINES: usize = 15;

/// Appends a line of ours, so that a reader sees where a boot began.
pub(crate) fn mark(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    writeln!(file, "\n--- {text}, {} ---", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
}

/// The last `lines` lines, without escape sequences; empty if there is no such file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16 << 10)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let plain = plain(&String::from_utf8_lossy(&read().unwrap_or_default()));
    let lines_of: Vec<&str> = plain.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines_of.get(lines_of.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Text without escape sequences and other control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // `ESC [ numbers letter`; what a terminal would do with it does not matter here. A console may
            // break off in the middle of one, when its machine is killed.
            '\x1b' if chars.next_if_eq(&'[').is_some() => {
                while chars.next_if(|c| c.is_ascii_digit() || ";?=".contains(*c)).is_some() {}
                chars.next_if(char::is_ascii_alphabetic);
            }
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_readable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        assert_eq!(tail(&path, 3), "");
        fs::write(&path, "one\r\n\r\n[\x1b[0;32m  OK  \x1b[0m] two\r\nthree\r\n\x1b[0;3").unwrap();
        assert_eq!(tail(&path, 2), "[  OK  ] two\nthree");
        mark(&path, "boot 2 of etcd-1").unwrap();
        assert!(tail(&path, 1).starts_with("--- boot 2 of etcd-1, 2"));
    }
}
