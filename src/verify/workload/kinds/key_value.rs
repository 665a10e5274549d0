//! Keys that are written, removed and read: registers that can be gone again.

use super::register::Registers;
use super::{Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Shape};

pub(super) struct KeyValue;

impl Kind for KeyValue {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::looks("read", 3, Shape::Scalar).needed(),
            Operation::changes("write", 3, &["value"], Shape::Nothing).needed(),
            Operation::changes("delete", 1, &[], Shape::Nothing),
            Operation::changes("cas", 1, &["expected", "value"], Shape::Flag),
        ]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Registers::new(setting))
    }
}
