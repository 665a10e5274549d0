//! Running a program to its end: logged, limited in time, and never outliving us.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::secret::Mask;
use crate::userns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, set_parent_process_death_signal};

/// How many bytes at the end of a log are worth showing.
const TAIL_BYTES: u64 = 4000;
const TAIL_LINES: usize = 20;

/// How a program ended.
#[derive(Debug)]
pub(super) enum Ended {
    Well,
    /// `failed with exit code 1` and the like.
    Badly(String),
}

/// A command that starts with an empty environment, apart from a search path.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", userns::PATH).env("LC_ALL", "C.UTF-8");
    command
}

/// Proxy settings of the host, for the tools that fetch packages.
pub(super) fn proxies() -> Vec<(&'static str, OsString)> {
    let names = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
    names.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))).collect()
}

/// Runs `command` to its end, with everything that it prints in `log`, apart from `secrets`. It is killed when
/// `limit` is over, and by the kernel when this thread dies.
pub(super) fn run(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    secrets: &[Vec<u8>],
) -> io::Result<Ended> {
    let mut log = File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null());
    if secrets.is_empty() {
        command.stdout(log.try_clone()?).stderr(log);
        let mut child = spawn(command)?;
        let in_time = wait(&mut child, limit, None)?;
        return end(&mut child, in_time, limit);
    }
    let (printed, output) = io::pipe()?;
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = spawn(command)?;
    // Our own copies of the other end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    rustix::io::ioctl_fionbio(&printed, true)?;
    let mut masked = Masked { printed, log: &mut log, mask: Mask::new(secrets) };
    let in_time = wait(&mut child, limit, Some(&mut masked))?;
    let ended = end(&mut child, in_time, limit)?;
    masked.take()?;
    let Masked { mask, log, .. } = masked;
    log.write_all(&mask.finish())?;
    Ok(ended)
}

/// Lets a person use `command` on their own terminal until they leave it.
pub(super) fn interact(command: &mut Command) -> io::Result<()> {
    spawn(command)?.wait().map(drop)
}

/// What a program prints, on its way to the log.
struct Masked<'a> {
    printed: io::PipeReader,
    log: &'a mut File,
    mask: Mask<'a>,
}

impl Masked<'_> {
    /// Takes all that is there by now; gives whether more may come.
    fn take(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1 << 14];
        loop {
            match self.printed.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    let safe = self.mask.pass(buffer.get(..count).unwrap_or_default());
                    self.log.write_all(&safe)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Starts a child that the kernel kills when this thread dies.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated or locked.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // Had the parent died before the line above, no signal would ever come.
            match getppid() == Some(parent) {
                true => Ok(()),
                false => Err(rustix::io::Errno::SRCH.into()),
            }
        });
    }
    command.spawn()
}

/// Waits for a child, and passes on what it prints meanwhile; gives whether it ended before `limit`.
fn wait(child: &mut Child, limit: Duration, mut masked: Option<&mut Masked<'_>>) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let left = Timespec::try_from(left).map_err(|_| io::Error::other("the time limit is too long"))?;
        let mut files = vec![PollFd::new(&pidfd, PollFlags::IN)];
        files.extend(
            masked.as_ref().map(|masked| PollFd::from_borrowed_fd(masked.printed.as_fd(), PollFlags::IN)),
        );
        match poll(&mut files, Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) if files.first().is_some_and(|child| !child.revents().is_empty()) => return Ok(true),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(files);
        let open = masked.as_mut().map(|masked| masked.take()).transpose()?;
        if open == Some(false) {
            masked = None;
        }
    }
}

fn end(child: &mut Child, in_time: bool, limit: Duration) -> io::Result<Ended> {
    if !in_time {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(match in_time {
        true if status.success() => Ended::Well,
        true => Ended::Badly(describe(status)),
        false => Ended::Badly(format!("took longer than {}", crate::units::Span(limit))),
    })
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        // A shell in between reports a signal as 128 and its number.
        (Some(code @ 129..=159), _) => format!("was killed by signal {}", code - 128),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// The last lines of a log, fit for a terminal.
pub(super) fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| *c == '\t' || !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

/// Starts a log anew.
pub(super) fn fresh_log(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut command = command("sh");
        let ended = run(command.args(["-c", script]), &log, limit, &[]).unwrap();
        let ended = match ended {
            Ended::Well => "well".to_owned(),
            Ended::Badly(why) => why,
        };
        (ended, tail(&log))
    }

    #[test]
    fn the_end_of_a_program_is_told_in_words() {
        let long = Duration::from_secs(60);
        assert_eq!(sh("echo out; echo err >&2", long), ("well".to_owned(), "out\nerr".to_owned()));
        assert_eq!(sh("exit 3", long).0, "failed with exit code 3");
        assert_eq!(sh("kill -9 $$", long).0, "was killed by signal 9");
        assert_eq!(sh("exec sleep 60", Duration::from_millis(50)).0, "took longer than 50ms");
    }

    #[test]
    fn a_secret_is_not_in_the_log_even_of_one_who_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script =
            "printf 'a hunter2-'; printf 'hunter2 b'; sleep 0.01; printf 'unter2-hunter2'; kill -9 $$";
        let needles = [b"hunter2-hunter2".to_vec()];
        let ended = run(command("sh").args(["-c", script]), &log, Duration::from_secs(60), &needles).unwrap();
        assert!(matches!(ended, Ended::Badly(_)), "{ended:?}");
        assert_eq!(fs::read_to_string(&log).unwrap(), "a *** bunter2-hunter2");
    }

    #[test]
    fn only_the_tail_is_kept_and_escapes_are_not() {
        let (_, tail) = sh("seq 1000; printf '\\033[31mred\\n'", Duration::from_secs(60));
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("1000\n[31mred"), "{tail}");
    }

    #[test]
    fn nothing_of_our_environment_is_passed_on() {
        let (_, tail) = sh("env | cut -d= -f1 | sort | tr '\\n' ' '", Duration::from_secs(60));
        assert_eq!(tail.trim(), "LC_ALL PATH PWD");
    }
}
