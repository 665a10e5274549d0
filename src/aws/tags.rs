//! The tags that everything of ours carries, by which it is found again after any death.

use std::io;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use jiff::Timestamp;

use crate::home::{Home, Lock, write_atomically};

/// Whose it is: the id of the home that asked for it.
pub const OWNER: &str = "ovenproof:owner";
/// The id of the image that it is, or is made from.
pub const IMAGE: &str = "ovenproof:image";
/// When it may be removed by anyone, in RFC 3339. What is whole and meant to stay has none.
pub const EXPIRES: &str = "ovenproof:expires";
/// The key that it is encrypted with, else `none`.
pub const KEY: &str = "ovenproof:key";

/// The name by which a home's things are known in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// The owner that `home` is; made up at the first call, the same ever after.
    pub fn of(home: &Home) -> io::Result<Owner> {
        let path = home.ec2().join("owner");
        let _lock = Lock::acquire(&home.ec2().join("owner.lock"))?;
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(Owner(text.trim().to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                let owner = format!("{:016x}", rand::random::<u64>());
                write_atomically(&path, format!("{owner}\n").as_bytes())?;
                Ok(Owner(owner))
            }
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A set of tags on its way to a call.
#[derive(Debug, Clone)]
pub struct Tags(Vec<(&'static str, String)>);

impl Tags {
    /// Of something in the making, which anyone may remove once `lives` is over.
    pub fn making(owner: &Owner, lives: Duration) -> Tags {
        let end = Timestamp::now().checked_add(lives).unwrap_or(Timestamp::MAX);
        let end = jiff::Timestamp::from_second(end.as_second()).unwrap_or(end);
        Tags(vec![(OWNER, owner.0.clone()), (EXPIRES, end.to_string())])
    }

    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Tags {
        self.0.push((key, value.into()));
        self
    }

    /// For a call that tags what it creates.
    pub fn on(&self, kind: ResourceType) -> TagSpecification {
        let tags = self.0.iter().map(|(key, value)| Tag::builder().key(*key).value(value).build());
        TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
    }

    pub fn ebs(&self) -> Vec<aws_sdk_ebs::types::Tag> {
        let tags = self.0.iter();
        tags.map(|(key, value)| aws_sdk_ebs::types::Tag::builder().key(*key).value(value).build()).collect()
    }
}

/// The value of a tag.
pub fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

/// Lets through what carries the tag `key` with that value; `*` is any.
pub fn having(key: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{key}")).values(value).build()
}

/// Whether the time of something in the making is over; what has no time stays for good.
pub fn is_expired(tags: &[Tag], now: Timestamp) -> bool {
    value(tags, EXPIRES).is_some_and(|end| end.parse::<Timestamp>().is_ok_and(|end| end < now))
}
