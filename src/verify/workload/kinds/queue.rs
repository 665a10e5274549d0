//! Queues: values are put in and taken out, and at the end every queue is emptied.

use super::elements::Elements;
use super::{Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Shape};

pub(super) struct Queue;

impl Kind for Queue {
    fn operations(&self, _: Option<&Mix>) -> Vec<Operation> {
        vec![
            Operation::changes("enqueue", 3, &["value"], Shape::Nothing).needed(),
            // Not a look: a value that was taken out for an answer that never came is gone.
            Operation::changes("dequeue", 2, &[], Shape::Scalar).needed(),
        ]
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Elements::emptied_by(setting, "dequeue"))
    }
}
