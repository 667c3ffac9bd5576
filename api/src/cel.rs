//! Expressions in the Common Expression Language, as Kubernetes has them.
//!
//! In: an expression and the types of its variables. Out: a [`Program`] with its type and the most that it costs; evaluated with values, a
//! value. Rules of schemas, match conditions and admission policies use it. It knows none of them.
//!
//! Reader, checker, evaluator, cost model and library are our own: `kube-cel` and `cel` check no types before values are there, count no
//! steps while they run and estimate no cost from a schema, and the last two are what bounds a hostile expression.
//! What bounds what: expressions by length, depth and width ([`parse`]), estimates by [`ESTIMATED_COST_LIMIT`], running by
//! [`CALL_COST_LIMIT`] and a [`Budget`], and beside these by a count of plain work and of bytes made ([`eval`]).
//!
//! Costs are those of cel-go and of Kubernetes' library, step by step, but for these: sizes of texts are bytes and not code points, `format` and
//! named formats cost what they go through, and how long a text is that a function makes is not always known as closely when it is estimated.

use std::collections::BTreeSet;

use self::eval::Meter;
use self::parse::Complaint;
use self::syntax::Expr;
use self::types::Type;

mod lex;
pub mod parse;
pub mod syntax;

mod check;
pub mod functions;
pub mod types;

pub mod declare;

pub mod authorizer;
pub mod eval;
mod image;
mod library;
mod named_format;
mod network;
pub mod semver;
mod text;
mod time;
pub mod value;
pub mod variables;

pub use self::eval::{Bindings, Error};
pub use self::value::Val;

/// What one evaluation may cost: about a tenth of a second in Kubernetes.
pub const CALL_COST_LIMIT: u64 = 1_000_000;
/// What all rules of an object, or all expressions of a policy for a request, may cost together.
pub const REQUEST_COST_BUDGET: u64 = 10_000_000;
/// What all match conditions of a webhook or policy may cost together.
pub const MATCH_CONDITIONS_COST_BUDGET: u64 = 2_500_000;
/// The most that one rule may be estimated to cost, over all places of an object at which it is evaluated.
pub const ESTIMATED_COST_LIMIT: u64 = 10_000_000;
/// The most that all rules of a schema may be estimated to cost.
pub const ESTIMATED_SCHEMA_COST_LIMIT: u64 = 100_000_000;

/// The variables that an expression may use.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(Box<str>, Type)>,
}

impl Environment {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more variable; its name may have a dot, as `authorizer.requestResource` has.
    #[must_use]
    pub fn with(mut self, name: &str, of: Type) -> Self {
        self.variables.retain(|(it, _)| **it != *name);
        self.variables.push((name.into(), of));
        self
    }
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// In Kubernetes' words, with the place in the expression.
    pub text: String,
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CompileError {}

/// What evaluations may cost together.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of so much.
    pub fn new(cost: u64) -> Self {
        Budget { left: cost }
    }

    /// What is left.
    pub fn left(&self) -> u64 {
        self.left
    }
}

/// An expression that was checked.
#[derive(Debug)]
pub struct Program {
    expr: Expr,
    of: Type,
    cost: u64,
    uses: BTreeSet<Box<str>>,
}

impl Program {
    /// Reads and checks an expression whose value shall be of one of these types, or of any where none is given. One whose type is known
    /// only when it is evaluated is of none of them, as in Kubernetes, unless [`Type::Dyn`] is among them.
    ///
    /// # Errors
    /// What is wrong with it, in the words of cel-go and Kubernetes.
    pub fn compile(text: &str, environment: &Environment, wanted: &[Type]) -> Result<Program, CompileError> {
        let failed = |complaints: &[Complaint]| CompileError {
            text: format!(
                "compilation failed: {}",
                complaints.iter().map(|it| told(text, it)).collect::<Vec<_>>().join("\n")
            ),
        };
        let mut expr = parse::parse(text).map_err(|complaint| failed(&[complaint]))?;
        let checked = check::check(&mut expr, &environment.variables).map_err(|complaints| failed(&complaints))?;
        let fits = wanted.is_empty() || wanted.iter().any(|it| matches!(it, Type::Dyn) || it.is(&checked.of));
        if !fits {
            let name = |it: &Type| if matches!(it, Type::Null) { "null_type".to_owned() } else { it.to_string() };
            let names: Vec<String> = wanted.iter().map(name).collect();
            let text = match &names[..] {
                [one] => format!("must evaluate to {one}"),
                several => format!("must evaluate to one of [{}]", several.join(" ")),
            };
            return Err(CompileError { text });
        }
        Ok(Program { expr, of: checked.of, cost: checked.cost, uses: checked.uses })
    }

    /// The type of its value.
    pub fn result(&self) -> &Type {
        &self.of
    }

    /// The most that it is estimated to cost.
    pub fn estimated_cost(&self) -> u64 {
        self.cost
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.uses.contains(variable)
    }

    /// Evaluates it. What it costs goes from the budget, and is at most [`CALL_COST_LIMIT`].
    ///
    /// # Errors
    /// Where it fails on these values, or costs too much.
    pub fn evaluate<'a>(&'a self, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Val<'a>, Error> {
        let mut meter = Meter::new(budget.left.min(CALL_COST_LIMIT));
        let found = self.run(bindings, &mut meter);
        budget.left = budget.left.saturating_sub(meter.spent());
        found
    }

    /// Evaluates it as a part of another evaluation.
    ///
    /// # Errors
    /// As [`Program::evaluate`].
    pub fn run<'a>(&'a self, bindings: &Bindings<'a>, meter: &mut Meter) -> Result<Val<'a>, Error> {
        eval::eval(&self.expr, bindings, meter)
    }
}

/// The longest line that a complaint shows.
const SHOWN_LINE_CHARS: usize = 1000;

/// A complaint as cel-go tells it: with its place, and the line in question.
fn told(text: &str, complaint: &Complaint) -> String {
    let mut at = (complaint.at as usize).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let row = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |it| it + 1);
    let line: String = text[begin..].lines().next().unwrap_or_default().chars().take(SHOWN_LINE_CHARS).collect();
    let column = text[begin..at].chars().count();
    let dots = ".".repeat(column.min(SHOWN_LINE_CHARS));
    format!("ERROR: <input>:{row}:{}: {}\n | {line}\n | {dots}^", column + 1, complaint.text)
}

#[cfg(test)]
mod tests;
