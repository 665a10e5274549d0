//! The one place that maps what went wrong to an exit code and to hints for the user.

use std::fmt::Display;
use std::process::ExitCode;

use super::Printer;
use crate::bake::BakeError;
use crate::diagnostic::BadFile;
use crate::fleet::FleetError;
use crate::store::{StoreError, is_name};

/// Whose fault it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The user's: usage or a bad file. Exit code 2.
    User,
    /// The tool's or the infrastructure's. Exit code 4.
    Infrastructure,
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    pub fn user(message: impl Display) -> Self {
        Failure { kind: Kind::User, message: message.to_string(), hints: Vec::new() }
    }

    pub fn infrastructure(message: impl Display) -> Self {
        Failure { kind: Kind::Infrastructure, message: message.to_string(), hints: Vec::new() }
    }

    /// Adds a sentence that helps to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Prints the failure and gives the exit code.
    pub fn report(self, printer: &Printer) -> ExitCode {
        printer.failure(&self.message, &self.hints);
        match self.kind {
            Kind::User => ExitCode::from(2),
            Kind::Infrastructure => ExitCode::from(4),
        }
    }
}

/// A command line that clap refused, or `--help` and `--version`, which are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do when the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

impl From<BadFile> for Failure {
    fn from(bad: BadFile) -> Self {
        Failure::user(bad)
    }
}

impl From<FleetError> for Failure {
    fn from(error: FleetError) -> Self {
        match &error {
            FleetError::NoSuchFleet(_) => {
                Failure::user(&error).hint("`ovenproof list` shows the fleets that exist")
            }
            FleetError::Exists(name) => {
                let hint = format!("`ovenproof down {name}` destroys it");
                Failure::user(&error).hint(hint)
            }
            FleetError::NoSuchNode(_) | FleetError::NotCapable(..) => Failure::user(&error),
            FleetError::Volume(error) => error.into(),
            FleetError::NotReady { console, .. } | FleetError::Start { console, .. } => {
                Failure::infrastructure(format!("{error}\n{}", indent(console)))
            }
            _ => Failure::infrastructure(&error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NoSuchImage { reference, close } => match close.first() {
                Some(best) => Failure::user(&error).hint(format!("did you mean `{best}`?")),
                None if is_name(reference) => Failure::user(&error).hint(format!(
                    "`ovenproof images` shows what there is; `ovenproof bake {reference}` makes one"
                )),
                None => Failure::user(&error).hint(
                    "`ovenproof images` shows what there is; expected NAME, NAME:CHANNEL, or the first digits \
                     of an id, at least 4",
                ),
            },
            StoreError::NoSuchChannel { known, .. } if known.is_empty() => Failure::user(&error)
                .hint("it has no channels yet; `ovenproof gate` moves one when the evidence is good"),
            StoreError::NoSuchChannel { known, .. } => {
                let hint = format!("it has `{}`", known.join("`, `"));
                Failure::user(&error).hint(hint)
            }
            StoreError::Ambiguous { .. } => Failure::user(&error).hint("give more digits of the id"),
            StoreError::Pinned { .. } => {
                Failure::user(&error).hint("point the channel at another image first")
            }
            StoreError::BadName(_) => Failure::user(&error),
            StoreError::Damaged { .. } => {
                Failure::infrastructure(&error).hint("remove it and bake again; its layers are kept")
            }
            StoreError::BadLimit(_) => Failure::user(&error)
                .hint("give a size such as `12G`, or leave the variable out"),
            StoreError::NoRoom { .. } | StoreError::Io { .. } => Failure::infrastructure(&error),
        }
    }
}

impl From<BakeError> for Failure {
    fn from(error: BakeError) -> Self {
        match error {
            BakeError::Store(inner) => inner.into(),
            BakeError::MissingTool { package, .. } => {
                Failure::infrastructure(&error).hint(format!("on Debian, the package `{package}` has it"))
            }
            BakeError::Failed { ref log, .. } => {
                let hint = format!("the full log is {}", log.display());
                Failure::infrastructure(&error).hint(hint)
            }
            BakeError::NotAllowed(ref inner) => Failure::infrastructure(&error).hint(inner.hint.clone()),
            BakeError::OtherOwner { .. } => Failure::user(&error).hint(
                "files in it are owned by the users of that user's images; name another with OVENPROOF_HOME",
            ),
            BakeError::NoSecret(ref name) => {
                let hint = format!("`--secret {name}` takes it from the environment, `--secret {name}=FILE` from a file");
                Failure::user(&error).hint(hint)
            }
            BakeError::SecretLeft { .. } => Failure::infrastructure(&error)
                .hint("remove it in the step, or keep it under /run or /tmp, which are no part of the image"),
            BakeError::Drifted { .. } => Failure::infrastructure(&error).hint(
                "the archive has moved on, and the cache has not these versions either; `--update` moves the lock file",
            ),
            BakeError::NotLocked { .. } => {
                Failure::user(&error).hint("`ovenproof bake` without `--locked` writes it")
            }
            BakeError::NotSealed(_) => Failure::infrastructure(&error)
                .hint("let instances make these for themselves, or remove them in a step of the recipe"),
            _ => Failure::infrastructure(&error),
        }
    }
}

#[cfg(feature = "ec2")]
impl From<crate::aws::AwsError> for Failure {
    fn from(error: crate::aws::AwsError) -> Self {
        let failure = match error {
            crate::aws::AwsError::NoRegion => Failure::user(&error),
            _ => Failure::infrastructure(&error),
        };
        error.hint().into_iter().fold(failure, Failure::hint)
    }
}

#[cfg(feature = "ec2")]
impl From<crate::aws::remains::RemainsError> for Failure {
    fn from(error: crate::aws::remains::RemainsError) -> Self {
        match error {
            crate::aws::remains::RemainsError::Aws(error) => error.into(),
            error => Failure::infrastructure(error),
        }
    }
}

#[cfg(feature = "ec2")]
impl From<crate::bake::ami::AmiError> for Failure {
    fn from(error: crate::bake::ami::AmiError) -> Self {
        use crate::bake::ami::AmiError;
        match error {
            AmiError::Aws(error) => error.into(),
            AmiError::Bake(error) => error.into(),
            _ => {
                let hint = error.aws().and_then(crate::aws::AwsError::hint);
                hint.into_iter().fold(Failure::infrastructure(&error), Failure::hint)
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::infrastructure(error)
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
