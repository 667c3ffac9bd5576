//! The signals by which a node runs short, and the thresholds that are set for them. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use orlop_api::quantity::{Format, Quantity};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    MemoryAvailable,
    NodefsAvailable,
    NodefsInodesFree,
    ImagefsAvailable,
    ImagefsInodesFree,
    PidAvailable,
}

/// What pods use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Starved {
    Memory,
    Disk,
    Inodes,
    Pids,
}

impl Starved {
    /// The kubelet's name of the resource.
    pub fn name(self) -> &'static str {
        match self {
            Starved::Memory => "memory",
            Starved::Disk => "ephemeral-storage",
            Starved::Inodes => "inodes",
            Starved::Pids => "pids",
        }
    }
}

/// All signals, memory first, as they are acted upon.
pub const SIGNALS: [Signal; 6] = [
    Signal::MemoryAvailable,
    Signal::NodefsAvailable,
    Signal::NodefsInodesFree,
    Signal::ImagefsAvailable,
    Signal::ImagefsInodesFree,
    Signal::PidAvailable,
];

impl Signal {
    /// As flags name it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::MemoryAvailable => "memory.available",
            Signal::NodefsAvailable => "nodefs.available",
            Signal::NodefsInodesFree => "nodefs.inodesFree",
            Signal::ImagefsAvailable => "imagefs.available",
            Signal::ImagefsInodesFree => "imagefs.inodesFree",
            Signal::PidAvailable => "pid.available",
        }
    }

    /// What is short when it is.
    pub fn starved(self) -> Starved {
        match self {
            Signal::MemoryAvailable => Starved::Memory,
            Signal::NodefsAvailable | Signal::ImagefsAvailable => Starved::Disk,
            Signal::NodefsInodesFree | Signal::ImagefsInodesFree => Starved::Inodes,
            Signal::PidAvailable => Starved::Pids,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much is too little: an amount, or a part of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Least {
    Amount(i64),
    /// 0.1 is a tenth.
    Part(f64),
}

impl Least {
    /// The amount, of `capacity`.
    pub fn of(self, capacity: i64) -> i64 {
        match self {
            Least::Amount(it) => it,
            Least::Part(part) => (capacity as f64 * part) as i64,
        }
    }
}

/// When a signal is met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    pub signal: Signal,
    pub least: Least,
    /// How long it has to be met until pods go; none for a hard threshold.
    pub grace: Option<Duration>,
}

/// What is there of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    pub available: i64,
    pub capacity: i64,
}

/// What is seen at one moment. What could not be read is not here, and meets nothing.
pub type Observations = BTreeMap<Signal, Observation>;

/// An amount as the kubelet writes it in messages.
pub fn written(amount: i64, of: Starved) -> String {
    let format = if of == Starved::Inodes { Format::DecimalSi } else { Format::BinarySi };
    Quantity::from_units(amount, format).to_string()
}

/// Reads `memory.available<100Mi,nodefs.available<10%`; an empty text is no threshold at all. One of 0% or 100% switches a signal off.
///
/// # Errors
/// The kubelet's message.
pub fn parse(text: &str) -> Result<Vec<Threshold>, String> {
    let mut all: Vec<Threshold> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (name, value) = part
            .split_once('<')
            .ok_or_else(|| format!("invalid eviction threshold syntax {part}, expected <signal>{{operator}}<value>"))?;
        let signal = signal(name)?;
        let least = match value.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.parse().map_err(|_| format!("invalid percentage {value} of {name}"))?;
                if percent == 0.0 || percent == 100.0 {
                    continue;
                }
                if percent < 0.0 {
                    return Err(format!("eviction percentage threshold {name} must be >= 0%: {value}"));
                }
                if percent > 100.0 {
                    return Err(format!("eviction percentage threshold {name} must be <= 100%: {value}"));
                }
                Least::Part(percent / 100.0)
            }
            None => {
                let amount = Quantity::parse(value).map_err(|it| format!("{name}: {it}"))?;
                if amount.is_negative() || amount.is_zero() {
                    return Err(format!("eviction threshold {name} must be positive: {value}"));
                }
                Least::Amount(amount.value_ceil())
            }
        };
        if all.iter().any(|it| it.signal == signal) {
            return Err(format!("duplicate eviction threshold specified for {name}"));
        }
        all.push(Threshold { signal, least, grace: None });
    }
    Ok(all)
}

/// The signal of a name.
///
/// # Errors
/// The kubelet's message.
pub fn signal(name: &str) -> Result<Signal, String> {
    let found = SIGNALS.into_iter().find(|it| it.name() == name);
    found.ok_or_else(|| format!("unsupported eviction signal {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_the_kubelet_reads_them() {
        let check = |text: &str, expected: Result<&[(Signal, Least)], &str>| {
            let found = parse(text).map(|it| it.iter().map(|it| (it.signal, it.least)).collect::<Vec<_>>());
            assert_eq!(found, expected.map(<[_]>::to_vec).map_err(str::to_owned), "{text}");
        };
        let default = "memory.available<100Mi, nodefs.available<10%";
        check(
            default,
            Ok(&[(Signal::MemoryAvailable, Least::Amount(100 << 20)), (Signal::NodefsAvailable, Least::Part(0.1))]),
        );
        check("", Ok(&[]));
        check("nodefs.available<0%,pid.available<10k", Ok(&[(Signal::PidAvailable, Least::Amount(10_000))]));
        check("cpu.available<1", Err("unsupported eviction signal cpu.available"));
        check("memory.available<0", Err("eviction threshold memory.available must be positive: 0"));
        check("memory.available<-1%", Err("eviction percentage threshold memory.available must be >= 0%: -1%"));
        check("pid.available<1,pid.available<2", Err("duplicate eviction threshold specified for pid.available"));
        assert!(parse("memory.available>1").is_err() && parse("memory.available<x").is_err());
        assert_eq!(Least::Part(0.15).of(1000), 150);
    }
}
