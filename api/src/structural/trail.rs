//! Where a walk over an object stands, kept on the stack so that a walk that finds nothing allocates nothing.
//!
//! Two texts are made of it: the dotted name that Kubernetes' schema validator uses, in which entries of maps look like fields, and the
//! field path of all other messages.

use std::fmt::Write;

use crate::field::Path;

/// One step down.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    Root,
    Field(&'a str),
    /// An entry of a map.
    Key(&'a str),
    Index(usize),
}

/// A place in an object, with the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Trail<'a> {
    above: Option<&'a Trail<'a>>,
    step: Step<'a>,
}

impl<'a> Trail<'a> {
    /// The whole object.
    pub const ROOT: Trail<'static> = Trail { above: None, step: Step::Root };

    /// One step below this place.
    pub fn down(&'a self, step: Step<'a>) -> Trail<'a> {
        Trail { above: Some(self), step }
    }

    /// Whether it is the object itself.
    pub fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }

    fn write(&self, out: &mut String, dotted: bool) {
        let Some(above) = self.above else { return };
        above.write(out, dotted);
        match self.step {
            Step::Root => {}
            Step::Index(index) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "[{index}]");
            }
            Step::Key(key) if !dotted => {
                let _ = write!(out, "[{key}]");
            }
            Step::Field(name) | Step::Key(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
        }
    }

    /// `spec.labels.app[0]`: as messages of the schema validator name it.
    pub fn dotted(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, true);
        out
    }

    /// The path of an error of the schema validator, whose root has none.
    pub fn dotted_path(&self) -> Path {
        if self.is_root() { root_path() } else { Path::new(&self.dotted()) }
    }

    /// `spec.labels[app][0]`.
    pub fn path(&self) -> Path {
        if self.is_root() {
            return root_path();
        }
        let mut out = String::new();
        self.write(&mut out, false);
        Path::new(&out)
    }
}

/// How Kubernetes writes the path of the object itself.
pub fn root_path() -> Path {
    Path::new("<nil>")
}
