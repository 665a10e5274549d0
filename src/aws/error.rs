//! What may go wrong with a call, sorted by what can be done about it.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// What a refusal means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too many calls; the client has tried for long already.
    Throttled,
    /// EC2 has no room for it there and now; elsewhere it may.
    NoCapacity,
    /// The account may not have more of it.
    Limit,
    /// It is not there, or EC2 does not know it yet.
    NotFound,
    /// Something still uses it.
    InUse,
    /// The credentials are good, and do not allow it.
    Denied,
    /// There are no credentials, or they are not good.
    Credentials,
    /// What DryRun says when the call would have been allowed.
    WouldWork,
    Other,
}

impl Kind {
    fn of(code: &str) -> Kind {
        match code {
            "RequestLimitExceeded" | "Throttling" | "ThrottlingException" | "RequestThrottledException" => {
                Kind::Throttled
            }
            "InsufficientInstanceCapacity"
            | "InsufficientCapacity"
            | "SpotMaxPriceTooLow"
            | "InsufficientHostCapacity"
            | "MaxSpotInstanceCountExceeded" => Kind::NoCapacity,
            "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => Kind::Denied,
            "AuthFailure"
            | "InvalidClientTokenId"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Kind::Credentials,
            "DryRunOperation" => Kind::WouldWork,
            "DependencyViolation" => Kind::InUse,
            "ResourceNotFoundException" | "InvalidAMIID.Unavailable" => Kind::NotFound,
            _ if code.ends_with(".NotFound") || code.ends_with("NotFoundException") => Kind::NotFound,
            _ if code.ends_with(".InUse") => Kind::InUse,
            _ if code.ends_with("LimitExceeded") || code.ends_with("QuotaExceededException") => Kind::Limit,
            _ => Kind::Other,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error("no region is given, neither here nor by AWS_REGION or the profile")]
    NoRegion,
    #[error("EC2 refused {call}: {message} ({code})")]
    Refused { call: &'static str, kind: Kind, code: String, message: String },
    #[error("{call} got no answer: {why}")]
    NoAnswer { call: &'static str, why: String },
    #[error("{what} was not to be had within {} s, it is {state}", limit.as_secs())]
    TimedOut { what: String, state: String, limit: Duration },
    #[error("{what} has failed: {why}")]
    Failed { what: String, why: String },
}

impl AwsError {
    pub fn kind(&self) -> Kind {
        match self {
            AwsError::Refused { kind, .. } => *kind,
            AwsError::NoRegion => Kind::Credentials,
            _ => Kind::Other,
        }
    }

    /// A sentence that helps to mend it, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        if matches!(self, AwsError::NoRegion) {
            return Some("give `--region`, or set AWS_REGION");
        }
        match self.kind() {
            Kind::Throttled => Some("other users of the account call too often; try later"),
            Kind::NoCapacity => Some("another zone or instance type may have room"),
            Kind::Limit => Some("the account's quota is used up; remove something, or ask AWS for more"),
            Kind::Denied => Some("`ovenproof schema iam-policy` prints what the account must allow"),
            Kind::Credentials => {
                Some("credentials come from AWS_ACCESS_KEY_ID, AWS_PROFILE, SSO or the instance's role")
            }
            _ => None,
        }
    }
}

/// Turns the outcome of a call into ours.
pub trait Answer<T> {
    fn answer(self, call: &'static str) -> Result<T, AwsError>;
}

impl<T, E, R> Answer<T> for Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug,
{
    fn answer(self, call: &'static str) -> Result<T, AwsError> {
        self.map_err(|error| match error.as_service_error() {
            Some(service) => {
                let code = service.code().unwrap_or("no code").to_owned();
                let message = service.message().unwrap_or("no reason given").to_owned();
                AwsError::Refused { call, kind: Kind::of(&code), code, message }
            }
            None => AwsError::NoAnswer { call, why: chain(&error) },
        })
    }
}

/// What each cause says in turn. Not their debug form, which would show the request with its signature.
fn chain<E: Error + 'static, R: std::fmt::Debug>(error: &SdkError<E, R>) -> String {
    let mut text = error.to_string();
    let mut cause = match error {
        SdkError::ConstructionFailure(_) | SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => {
            error.source()
        }
        _ => None,
    };
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_can_be_done() {
        for (code, kind) in [
            ("RequestLimitExceeded", Kind::Throttled),
            ("InsufficientInstanceCapacity", Kind::NoCapacity),
            ("InvalidInstanceID.NotFound", Kind::NotFound),
            ("InvalidSnapshot.InUse", Kind::InUse),
            ("VcpuLimitExceeded", Kind::Limit),
            ("UnauthorizedOperation", Kind::Denied),
            ("ExpiredToken", Kind::Credentials),
            ("DryRunOperation", Kind::WouldWork),
            ("InvalidParameterValue", Kind::Other),
        ] {
            assert_eq!(Kind::of(code), kind, "{code}");
        }
    }
}
