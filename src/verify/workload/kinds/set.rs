//! Sets: values are added, and all of them are read.

use super::elements::Elements;
use super::{Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Shape};

pub(super) struct Set;

impl Kind for Set {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::changes("add", 4, &["value"], Shape::Nothing).needed(),
            Operation::looks("read", 1, Shape::List).needed(),
        ]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Elements::new(setting))
    }
}
