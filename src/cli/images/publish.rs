//! `ovenproof images publish`: an image as what a cloud boots from.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::{Failure, Printer};
use crate::home::Home;
use crate::store::Store;

#[cfg(feature = "ec2")]
mod ec2;

const NOTES: &str = "\
Costs: what the disk holds is kept as an EBS snapshot, billed by the GB and month, in each region; uploading is billed by
the block that holds something. Nothing runs. `ovenproof gc --ec2` removes what a killed command left, `ovenproof images gc
--ec2` what nobody needs any more.

Limits: x86-64, UEFI, up to 64 TiB. An image that is encrypted with a key can be shared only if the key is shared too.

Rights: `ovenproof schema iam-policy` prints the least that is needed. In a CI job, give a role that policy, let it trust
the CI's identity provider, and let the job take it on, with no key stored anywhere:

  permissions: { id-token: write, contents: read }
  steps:
    - uses: aws-actions/configure-aws-credentials@v4
      with: { role-to-assume: arn:aws:iam::ACCOUNT:role/ovenproof, aws-region: eu-north-1 }
    - run: ovenproof images publish web:stable --on ec2";

/// Make an image of this machine one that a cloud boots from: the very disk that was tested here. What is there
/// already is found by the image's id and not uploaded again.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct PublishArgs {
    /// NAME, NAME:CHANNEL, or the first digits of an id.
    image: String,

    /// Where to. Credentials and endpoint come from the environment, as for every tool of AWS.
    #[arg(long, value_enum)]
    on: Cloud,

    /// The region to publish in, else that of the environment; given again, the image is copied there too.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,

    /// An account that may launch it besides this one; may be given again.
    #[arg(long = "share", value_name = "ACCOUNT", value_parser = account)]
    accounts: Vec<String>,

    /// The KMS key that its snapshot is encrypted with.
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,

    /// When it counts as out of date, in days from now, such as `90d`.
    #[arg(long, value_name = "DAYS", value_parser = days)]
    deprecate: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cloud {
    Ec2,
}

/// An account's number.
fn account(text: &str) -> Result<String, String> {
    let good = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { Ok(text.to_owned()) } else { Err("expected the 12 digits of an AWS account".to_owned()) }
}

/// A number of days; EC2 takes up to ten years.
fn days(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days {
        Some(days @ 1..=3650) => Ok(Duration::from_secs(days * 24 * 3600)),
        _ => Err("expected a number of days from 1d to 3650d".to_owned()),
    }
}

pub(super) fn run(args: &PublishArgs, store: &Store, home: &Home, printer: &Printer) -> Result<(), Failure> {
    match args.on {
        #[cfg(feature = "ec2")]
        Cloud::Ec2 => ec2::publish(args, store, home, printer),
        #[cfg(not(feature = "ec2"))]
        Cloud::Ec2 => {
            let _ = (&args.regions, &args.accounts, &args.kms_key, &args.deprecate, &args.image);
            let _ = (store, home, printer);
            Err(crate::cli::no_ec2())
        }
    }
}
