//! Operations that the scenario makes up: their names stand in `mix`, and what they do in the client.

use std::borrow::Cow;

use super::elements::Elements;
use super::{Generator, Kind, Setting};
use crate::verify::workload::Mix;
use crate::verify::workload::operation::{Operation, Shape};

pub(super) struct Custom;

impl Kind for Custom {
    fn operations(&self, mix: Option<&Mix>) -> Vec<Operation> {
        let made_up = |f: &String| Operation {
            f: Cow::Owned(f.clone()),
            ..Operation::changes("", 1, &["value"], Shape::Scalar)
        };
        mix.into_iter().flat_map(|mix| mix.keys()).map(made_up).collect()
    }

    fn generator(&self, setting: Setting<'_>) -> Box<dyn Generator> {
        Box::new(Elements::new(setting))
    }
}
