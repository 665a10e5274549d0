//! The clients of one region, made from the environment as every tool of AWS does it.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};

use super::AwsError;
use super::calls::Calls;

/// Throttling is the normal state of a busy account: go on for about a minute.
const ATTEMPTS: u32 = 8;
/// Of one try, from connecting to the last byte.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Of a call with all its tries.
const OPERATION: Duration = Duration::from_secs(180);

/// EC2 and EBS in one region. Credentials stay inside the SDK and are never printed.
#[derive(Debug, Clone)]
pub struct Aws {
    region: String,
    calls: Calls,
    ec2: aws_sdk_ec2::Client,
    ebs: aws_sdk_ebs::Client,
}

impl Aws {
    /// Clients for `region`, else for the one that the environment or the profile names. Credentials and
    /// AWS_ENDPOINT_URL come from there as well. Nothing is called yet.
    pub async fn connect(region: Option<&str>) -> Result<Self, AwsError> {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        let region = config.region().map(ToString::to_string).ok_or(AwsError::NoRegion)?;
        let calls = Calls::default();
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(calls.clone()).build();
        let ebs = aws_sdk_ebs::config::Builder::from(&config).interceptor(calls.clone()).build();
        Ok(Aws {
            region,
            calls,
            ec2: aws_sdk_ec2::Client::from_conf(ec2),
            ebs: aws_sdk_ebs::Client::from_conf(ebs),
        })
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    pub fn ec2(&self) -> &aws_sdk_ec2::Client {
        &self.ec2
    }

    pub fn ebs(&self) -> &aws_sdk_ebs::Client {
        &self.ebs
    }

    /// What was called through these clients.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }
}
