//! Lists: values are put at the end, and whole lists are read.

use super::elements::Elements;
use super::{Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Shape};

pub(super) struct Append;

impl Kind for Append {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::changes("append", 2, &["value"], Shape::Nothing).needed(),
            Operation::looks("read", 1, Shape::List).needed(),
        ]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Elements::new(setting))
    }
}
