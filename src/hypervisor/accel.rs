//! Whether this machine can run guests on its processor or must translate their code.

use std::fs::{self, OpenOptions};

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    Kvm,
    /// Translated code: works everywhere, ten times slower and more.
    Tcg,
}

impl Accelerator {
    /// The best that works here, and why it is not a better one.
    pub fn detect() -> (Self, String) {
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop);
        Self::choose(&flags, opens.map_err(|error| error.to_string()))
    }

    fn choose(cpuinfo: &str, kvm: Result<(), String>) -> (Self, String) {
        // The device alone proves nothing: on some cloud machines it opens, and no stock kernel boots under it.
        let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
        let virtualises = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
        match (kvm, virtualises) {
            (Ok(()), true) => (Accelerator::Kvm, "/dev/kvm opens".to_owned()),
            (Ok(()), false) => {
                (Accelerator::Tcg, "/dev/kvm opens, but the processor shows neither vmx nor svm".to_owned())
            }
            (Err(error), _) => (Accelerator::Tcg, format!("/dev/kvm: {error}")),
        }
    }

    /// The options that select it.
    pub(crate) fn options(self) -> [&'static str; 4] {
        match self {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // The default cache for translated code is a gigabyte a VM, more than a booted guest fills.
            Accelerator::Tcg => ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_opens_is_not_enough() {
        let with = "processor : 0\nflags\t\t: fpu vmx sse2\n";
        let without = "processor : 0\nflags\t\t: fpu sse2 vmxnet\n";
        assert_eq!(Accelerator::choose(with, Ok(())).0, Accelerator::Kvm);
        assert_eq!(Accelerator::choose(without, Ok(())).0, Accelerator::Tcg);
        assert_eq!(Accelerator::choose(with, Err("denied".to_owned())).0, Accelerator::Tcg);
    }
}
