//! Variables that are expressions themselves: `variables.*` of an admission policy.
//!
//! Each is evaluated when it is first asked for, and then kept; what it costs falls to who asks first. A variable sees those before it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::Program;
use super::eval::{Bindings, Error, Meter};
use super::value::{Fields, Val};

/// The variables of one policy, for one request.
pub struct Variables<'a> {
    programs: &'a [(Box<str>, Program)],
    bindings: Bindings<'a>,
    known: RefCell<HashMap<usize, Result<Val<'a>, Error>>>,
}

impl<'a> Variables<'a> {
    /// The variable `variables`; `bindings` are the others.
    pub fn bind(programs: &'a [(Box<str>, Program)], bindings: Bindings<'a>) -> Val<'a> {
        Val::Lazy(Rc::new(Variables { programs, bindings, known: RefCell::default() }))
    }
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(self: Rc<Self>, name: &str, meter: &mut Meter) -> Option<Result<Val<'a>, Error>> {
        let at = self.programs.iter().position(|(it, _)| **it == *name)?;
        if let Some(known) = self.known.borrow().get(&at) {
            return Some(known.clone());
        }
        let mut bindings = self.bindings.clone();
        bindings.push(("variables", Val::Lazy(self.clone())));
        let found = self.programs[at].1.run(&bindings, meter);
        self.known.borrow_mut().insert(at, found.clone());
        Some(found)
    }
}
