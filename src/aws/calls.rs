//! Every call that we make: one list, from which the IAM policy is made, and which each client is held to.
//! A call that is not in the list is refused before it is sent, so the policy can never be too small.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use serde_json::{Value, json};

use super::tags::OWNER;

/// On what a call may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Reads, and what makes something new: there is nothing yet that could be told apart by its tags.
    Any,
    /// Changes or removes: only what carries our tag.
    Ours,
    /// Tags what one of [`CREATIONS`] is about to make. Whoever could tag a thing that is there already could make it
    /// ours, and then remove it.
    Creation,
}

/// The calls that tag what they make; EC2 asks for `CreateTags` besides each. Nothing says under which name it does so
/// for `StartSnapshot`; we may not call `CreateSnapshot`, so naming it as well allows nothing more.
const CREATIONS: &[&str] = &["CopyImage", "CreateSnapshot", "RegisterImage", "StartSnapshot"];

/// The actions that EC2 asks for, as IAM spells them.
const ACTIONS: &[(&str, Reach)] = &[
    ("ebs:CompleteSnapshot", Reach::Ours),
    ("ebs:PutSnapshotBlock", Reach::Ours),
    ("ebs:StartSnapshot", Reach::Any),
    ("ec2:CopyImage", Reach::Any),
    ("ec2:CreateTags", Reach::Creation),
    ("ec2:DeleteSnapshot", Reach::Ours),
    ("ec2:DeleteTags", Reach::Ours),
    ("ec2:DeregisterImage", Reach::Ours),
    ("ec2:DescribeImages", Reach::Any),
    ("ec2:DescribeSnapshots", Reach::Any),
    ("ec2:EnableImageDeprecation", Reach::Ours),
    ("ec2:ModifyImageAttribute", Reach::Ours),
    ("ec2:RegisterImage", Reach::Any),
];

/// The least that an account must allow for everything that we do, as a policy document of IAM.
pub fn policy() -> Value {
    let actions = |reach: Reach| -> Vec<&str> {
        ACTIONS.iter().filter(|(_, of)| *of == reach).map(|(action, _)| *action).collect()
    };
    let tag = format!("aws:ResourceTag/{OWNER}");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            { "Sid": "LookAndCreate", "Effect": "Allow", "Action": actions(Reach::Any), "Resource": "*" },
            {
                "Sid": "ChangeWhatIsOurs", "Effect": "Allow", "Action": actions(Reach::Ours), "Resource": "*",
                "Condition": { "StringLike": { tag: "*" } },
            },
            {
                "Sid": "TagWhatIsMade", "Effect": "Allow", "Action": actions(Reach::Creation), "Resource": "*",
                "Condition": { "StringEquals": { "ec2:CreateAction": CREATIONS } },
            },
        ],
    })
}

/// Counts the calls that were sent, retries included, by action; shared by the clients of one command.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Calls {
    /// How often `action` was asked for so far.
    pub fn count_of(&self, action: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(action).copied().unwrap_or_default()
    }

    fn count(&self, action: &str) -> Result<(), BoxError> {
        let Some((action, _)) = ACTIONS.iter().find(|(known, _)| *known == action) else {
            return Err(
                format!("{action} is not in the list of calls that the IAM policy is made from").into()
            );
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default() += 1;
        Ok(())
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match config.load::<Metadata>() {
            Some(call) => self.count(&format!("{}:{}", call.service().to_lowercase(), call.name())),
            None => Err("a call without a name".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_policy_is_refused() {
        let calls = Calls::default();
        assert!(calls.count("ec2:DeleteVpc").is_err());
        calls.count("ec2:DescribeImages").expect("a known call");
        assert_eq!(calls.count_of("ec2:DescribeImages"), 1);
        assert_eq!(calls.count_of("ec2:DeleteVpc"), 0);
    }

    #[test]
    fn the_policy_lets_nothing_be_removed_that_is_not_ours() {
        let policy = policy();
        let free = policy["Statement"][0]["Action"].to_string();
        for verb in ["CreateTags", "Delete", "Deregister", "Terminate", "Modify"] {
            assert!(!free.contains(verb), "{verb} in {free}");
        }
        assert_eq!(policy["Statement"][1]["Condition"]["StringLike"]["aws:ResourceTag/ovenproof:owner"], "*");
        assert_eq!(
            policy["Statement"][2]["Condition"]["StringEquals"]["ec2:CreateAction"],
            json!(["CopyImage", "CreateSnapshot", "RegisterImage", "StartSnapshot"])
        );
    }
}
