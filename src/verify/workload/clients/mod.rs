//! The clients: how a workload talks to the service. One file a client and one line in [`clients!`].

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WorkloadSpec;
use super::client::ClientKind;
use crate::diagnostic::BadFile;

mod exec;
mod http;
mod postgres;
mod redis;
mod template;

pub use exec::{ExecClientSpec, ExecOperation, Place};
pub use http::{Decode, HttpClientSpec, HttpMethod, HttpOperation};
pub use postgres::{Attributes, Isolation, PostgresClientSpec};
pub use redis::{RedisClientSpec, Sentinel, WaitFor};

/// A client as a scenario writes it.
trait Load {
    /// Checks what parsing could not, for `workload`, of which it is the client; `path` and `text` are those
    /// of the file that it came from.
    fn load(&self, workload: &WorkloadSpec, path: &Path, text: &str) -> Result<Arc<dyn ClientKind>, BadFile>;
}

/// Generates the enum that scenario files spell, and the way from its variants to their behaviour.
macro_rules! clients {
    ($($(#[doc = $doc:literal])+ $name:literal => $variant:ident($module:ident::$spec:ident),)+) => {
        /// How clients talk to the service.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[expect(clippy::large_enum_variant, reason = "a scenario has few of them")]
        pub enum ClientSpec {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant($module::$spec),)+
        }

        impl ClientSpec {
            pub fn name(&self) -> &'static str {
                match self {
                    $(ClientSpec::$variant(_) => $name,)+
                }
            }

            pub(super) fn load(
                &self,
                workload: &WorkloadSpec,
                path: &Path,
                text: &str,
            ) -> Result<Arc<dyn ClientKind>, BadFile> {
                match self {
                    $(ClientSpec::$variant(spec) => spec.load(workload, path, text),)+
                }
            }
        }
    };
}

clients! {
    /// Requests made from templates.
    "http" => Http(http::HttpClientSpec),
    /// Commands made from templates.
    "exec" => Exec(exec::ExecClientSpec),
    /// PostgreSQL; knows the kinds `register`, `key_value`, `set`, `append`, `bank`, `counter`, `unique_ids` and
    /// `queue`, and makes its own tables `ovenproof_*`.
    "postgres" => Postgres(postgres::PostgresClientSpec),
    /// Redis; knows the kinds `register`, `key_value`, `set`, `append`, `bank`, `counter`, `unique_ids` and
    /// `queue`.
    "redis" => Redis(redis::RedisClientSpec),
}

/// A struct of one setting an operation, next to the settings that a client has for all of them.
macro_rules! with_operations {
    (
        $(#[$meta:meta])*
        pub struct $name:ident of $operation:ty { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Done once before the first operation, until it succeeds; it may be done more than once.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub setup: Option<$operation>,
            /// Finds the value of a key, or all that was put there.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub read: Option<$operation>,
            /// Sets `key` to `value`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub write: Option<$operation>,
            /// Sets `key` to `value` if it holds `expected`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cas: Option<$operation>,
            /// Removes `key`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub delete: Option<$operation>,
            /// Adds `value` to the set, or to the counter, `key`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub add: Option<$operation>,
            /// Puts `value` at the end of the list `key`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub append: Option<$operation>,
            /// Moves `amount` from the account `from` to the account `to`, unless there is too little.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub transfer: Option<$operation>,
            /// Makes an id that was never made before.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub generate: Option<$operation>,
            /// Puts `value` into the queue `key`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub enqueue: Option<$operation>,
            /// Takes a value out of the queue `key`; nothing when it is empty.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub dequeue: Option<$operation>,
            /// The operations of the kind `custom`, by name, each with the variable `value`.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub operations: std::collections::BTreeMap<String, $operation>,
        }

        impl $name {
            fn operation(&self, f: &str) -> Option<&$operation> {
                let fixed = match f {
                    "setup" => &self.setup,
                    "read" => &self.read,
                    "write" => &self.write,
                    "cas" => &self.cas,
                    "delete" => &self.delete,
                    "add" => &self.add,
                    "append" => &self.append,
                    "transfer" => &self.transfer,
                    "generate" => &self.generate,
                    "enqueue" => &self.enqueue,
                    "dequeue" => &self.dequeue,
                    _ => &None,
                };
                fixed.as_ref().or_else(|| self.operations.get(f))
            }
        }
    };
}
use with_operations;
