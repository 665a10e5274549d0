//! An EC2 of one's own for a test: moto as the endpoint, with fake credentials, ended with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};

use crate::common::ovenproof;

/// What must never be found in a file, an output or a log.
pub(crate) const SECRET: &str = "oVeNpRoOfSeCrEtThAtMuStNeVeRbEsEeN0000000";
pub(crate) const REGION: &str = "eu-north-1";

/// A running endpoint.
#[derive(Debug)]
pub(crate) struct Moto {
    process: Child,
    pub(crate) url: String,
}

/// The interpreter that has moto, which `make moto` installs.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target folder");
    target.join("moto/bin/python")
}

impl Moto {
    pub(crate) fn start() -> Moto {
        let python = python();
        assert!(python.exists(), "{} is missing: `make moto` installs it", python.display());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ec2/endpoint.py");
        let mut process = Command::new(python)
            .arg(script)
            .env("MOTO_ENABLE_AMI_VALIDATION", "1")
            .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto starts");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut port).expect("a port");
        Moto { process, url: format!("http://127.0.0.1:{}", port.trim()) }
    }

    /// The tool, with this endpoint.
    pub(crate) fn ovenproof(&self, home: &Path) -> Command {
        ovenproof_at(&self.url, home)
    }

    /// A client that looks at the account from outside.
    pub(crate) fn client(&self, region: &str) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new("AKIAFAKEFAKEFAKEFAKE", SECRET, None, None, "test"))
            .endpoint_url(&self.url);
        aws_sdk_ec2::Client::from_conf(config.build())
    }
}

/// The tool, with an endpoint and fake credentials in its environment.
pub(crate) fn ovenproof_at(url: &str, home: &Path) -> Command {
    let mut command = ovenproof(home);
    command
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It dies with us in any case.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
