//! What a person is told about a fault: the words that `ovenproof faults` and the reference page are made
//! of. They stand in the file of the fault itself, so that nobody adds one without them.

/// The words about one fault. Each is a sentence or a few, without a line break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// What happens, what it is like in the world outside, and what to mind.
    pub details: &'static str,
    /// The fault as it stands behind `inject:`, in a scenario whose fleet has the role `web`.
    pub example: &'static str,
    /// How it is done on this machine.
    pub local: &'static str,
    pub ec2: Ec2,
    /// How it is known that it took effect.
    pub proof: &'static str,
    /// How it ends, also when the tool has died, and how it is known that it ended.
    pub undo: &'static str,
}

/// How a fault is done on EC2, or why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ec2 {
    By(&'static str),
    /// Completes the sentence "not on EC2, because ...".
    Not(&'static str),
}

/// A fault that says what there is to know about it.
pub trait Documented {
    const ABOUT: About;
}

/// One fault of the catalogue, without any scenario's parameters.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Such as `network.partition`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    pub about: &'static About,
    /// The JSON Schema of the parameters.
    pub schema: fn() -> schemars::Schema,
}
