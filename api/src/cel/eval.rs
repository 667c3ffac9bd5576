//! Evaluates expressions.
//!
//! In: an expression that was checked, and values for its variables. Out: a value, or why there is none. Every step is metered as cel-go
//! meters it, before it is taken, so that what exceeds the budget ends; beside that a count of plain work (values compared, bytes made)
//! bounds what cel-go's costs do not see. Recursion is as deep as expressions may be nested.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::check::{LIST_COST, MAP_COST, fold_costs, type_named};
use super::functions::{self, Op};
use super::library;
use super::syntax::{Bind, Call, Expr, Flatness, Fold, FoldKind, Kind, Literal};
use super::value::{Text, Val};

/// How much plain work one evaluation may do. A unit takes some ten to fifty nanoseconds, so that all of it takes what [`super::CALL_COST_LIMIT`]
/// stands for in Kubernetes: about a tenth of a second.
const WORK_LIMIT: u64 = 5_000_000;
/// The most elements that a list or map may get: ten times what an object of 3 MiB can hold in earnest.
const ELEMENTS_LIMIT: usize = 1 << 20;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The expression fails on these values.
    Failed(String),
    /// It costs more than it may.
    CostExceeded,
}

impl Error {
    /// A failure in these words.
    pub fn new(text: impl Into<String>) -> Error {
        Error::Failed(text.into())
    }

    /// Operands of types that a function does not take.
    pub fn no_overload() -> Error {
        Error::new("no such overload")
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Failed(text) => f.write_str(text),
            Error::CostExceeded => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

/// What an evaluation has cost, and may cost.
#[derive(Clone, Debug)]
pub struct Meter {
    limit: u64,
    spent: u64,
    work: u64,
}

impl Meter {
    /// A meter that stops beyond this cost.
    pub fn new(limit: u64) -> Self {
        Meter { limit, spent: 0, work: 0 }
    }

    /// What was spent.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Notes a cost.
    ///
    /// # Errors
    /// Where it is more than is left.
    pub fn spend(&mut self, cost: u64) -> Result<()> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.limit { Err(Error::CostExceeded) } else { Ok(()) }
    }

    /// Notes plain work.
    ///
    /// # Errors
    /// Where it is more than is allowed.
    pub fn work(&mut self, amount: u64) -> Result<()> {
        self.work = self.work.saturating_add(amount);
        if self.work > WORK_LIMIT { Err(Error::CostExceeded) } else { Ok(()) }
    }
}

/// The values of variables.
pub type Bindings<'a> = Vec<(&'a str, Val<'a>)>;

type Result<T> = std::result::Result<T, Error>;

/// Evaluates an expression with these variables.
///
/// # Errors
/// Where it fails or costs too much.
pub fn eval<'a>(expr: &'a Expr, bindings: &Bindings<'a>, meter: &mut Meter) -> Result<Val<'a>> {
    Evaluator { scopes: bindings.clone(), meter }.eval(expr)
}

struct Evaluator<'a, 'm> {
    scopes: Vec<(&'a str, Val<'a>)>,
    meter: &'m mut Meter,
}

impl<'a> Evaluator<'a, '_> {
    fn eval(&mut self, expr: &'a Expr) -> Result<Val<'a>> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(of_literal(literal)),
            Kind::Ident(name) => self.variable(name),
            Kind::Select { of, field, optional } => {
                let of = self.eval(of)?;
                self.meter.spend(1)?;
                self.select(of, field, *optional)
            }
            Kind::Has { of, field } => {
                let of = self.eval(of)?;
                has(&of, field)
            }
            Kind::Call(call) => self.call(call),
            Kind::And(parts) => self.junction(parts, false),
            Kind::Or(parts) => self.junction(parts, true),
            Kind::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                match self.eval(condition)?.as_bool() {
                    Some(true) => self.eval(yes),
                    Some(false) => self.eval(no),
                    None => Err(Error::no_overload()),
                }
            }
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind(bind) => self.bind(bind),
        }
    }

    fn variable(&mut self, name: &'a str) -> Result<Val<'a>> {
        self.meter.spend(1)?;
        if let Some((_, value)) = self.scopes.iter().rev().find(|(it, _)| *it == name) {
            return Ok(value.clone());
        }
        type_named(name).map(Val::Type).ok_or_else(|| Error::new(format!("no such attribute(s): {name}")))
    }

    fn select(&mut self, of: Val<'a>, field: &'a str, optional: bool) -> Result<Val<'a>> {
        let missing = || Error::new(format!("no such key: {field}"));
        match of {
            Val::Object(..) | Val::Map(_) => match (of.get(field), optional) {
                (Some(found), false) => Ok(found),
                (Some(found), true) => Ok(found.some()),
                (None, true) => Ok(Val::Optional(None)),
                (None, false) => Err(missing()),
            },
            Val::Lazy(fields) => match fields.field(field, self.meter) {
                Some(found) => found.map(|it| if optional { it.some() } else { it }),
                None if optional => Ok(Val::Optional(None)),
                None => Err(missing()),
            },
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => self.select((*inner).clone(), field, true),
            // Of nothing there is no field.
            Val::Null if optional => Ok(Val::Optional(None)),
            _ => Err(Error::new(format!("no such overload: {}.{field}", of.type_name()))),
        }
    }

    /// `&&` and `||`: one operand may decide although another fails.
    fn junction(&mut self, parts: &'a [Expr], decides: bool) -> Result<Val<'a>> {
        let mut failed = None;
        for part in parts {
            match self.eval(part) {
                Ok(Val::Bool(value)) if value == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failed = failed.or_else(|| Some(Error::no_overload())),
                Err(Error::CostExceeded) => return Err(Error::CostExceeded),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn list(&mut self, items: &'a [(Expr, bool)]) -> Result<Val<'a>> {
        self.meter.spend(LIST_COST)?;
        let mut out = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.eval(item)?, optional) {
                (Val::Optional(Some(value)), true) => out.push((*value).clone()),
                (Val::Optional(None), true) => {}
                (value, _) => out.push(value),
            }
        }
        Ok(Val::list(out))
    }

    fn map(&mut self, entries: &'a [(Expr, Expr, bool)]) -> Result<Val<'a>> {
        self.meter.spend(MAP_COST)?;
        let mut out = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, optional) {
                (Val::Optional(Some(value)), true) => (*value).clone(),
                (Val::Optional(None), true) => continue,
                (value, _) => value,
            };
            let key = key.to_key().ok_or_else(|| Error::new(format!("unsupported key type: {}", key.type_name())))?;
            if out.insert(key, value).is_some() {
                return Err(Error::new("insert failed: key already exists"));
            }
        }
        Ok(Val::Map(Rc::new(out)))
    }

    fn call(&mut self, call: &'a Call) -> Result<Val<'a>> {
        let op = call.op.ok_or_else(|| Error::new(format!("unbound function: {}", call.name)))?;
        // The other side of these is only looked at where it is needed.
        if let (Op::Or | Op::OrValue, [of, other]) = (op, &*call.args) {
            let of = self.eval(of)?;
            self.meter.spend(1)?;
            return match (of, op) {
                (Val::Optional(Some(value)), Op::OrValue) => Ok((*value).clone()),
                (it @ Val::Optional(Some(_)), _) => Ok(it),
                (Val::Optional(None), _) => self.eval(other),
                _ => Err(Error::no_overload()),
            };
        }
        let mut args = smallvec::SmallVec::<[Val<'a>; 3]>::new();
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        self.meter.spend(cost(op, &args))?;
        match op {
            Op::Index | Op::OptIndex => self.index(&args, op == Op::OptIndex),
            Op::Join => {
                let made = library::apply(op, &args, self.meter)?;
                self.meter.spend(made.size().saturating_mul(2).div_ceil(10))?;
                Ok(made)
            }
            _ => library::apply(op, &args, self.meter),
        }
    }

    fn index(&mut self, args: &[Val<'a>], optional: bool) -> Result<Val<'a>> {
        let [of, index] = args else { return Err(Error::no_overload()) };
        let (found, missing) = match of {
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => return self.index(&[(**inner).clone(), index.clone()], true),
            Val::Array(..) | Val::List(_) => {
                let place = match index {
                    Val::Int(value) => usize::try_from(*value).ok(),
                    Val::Uint(value) => usize::try_from(*value).ok(),
                    Val::Double(value) if value.fract() == 0.0 && *value >= 0.0 && *value < 9e15 => {
                        Some(*value as usize)
                    }
                    Val::Double(_) => None,
                    _ => return Err(Error::no_overload()),
                };
                (place.and_then(|it| of.at(it)), "index out of bounds")
            }
            Val::Object(..) | Val::Map(_) => (of.entry(index), "no such key"),
            Val::Lazy(_) => match index {
                Val::Text(Text::Borrowed(name)) => return self.select(of.clone(), name, optional),
                _ => (None, "no such key"),
            },
            _ => return Err(Error::no_overload()),
        };
        match (found, optional) {
            (Some(found), true) => Ok(found.some()),
            (Some(found), false) => Ok(found),
            (None, true) => Ok(Val::Optional(None)),
            (None, false) => Err(Error::new(format!("{missing}: {}", library::shown(index)))),
        }
    }

    fn fold(&mut self, fold: &'a Fold) -> Result<Val<'a>> {
        let range = self.eval(&fold.range)?;
        let keys = range.keys();
        let count = match (&keys, range.count()) {
            (Some(keys), _) => keys.len(),
            (None, Some(count)) => count,
            (None, None) => return Err(Error::no_overload()),
        };
        let before = self.scopes.len();
        let mut state = Folded { failed: None, found: 0, list: Vec::new(), map: BTreeMap::new() };
        let (deciding, counting, ending) = fold_costs(fold.kind);
        for at in 0..count {
            self.meter.spend(deciding)?;
            let (first, second) = match &keys {
                Some(keys) => {
                    let key = keys.get(at).cloned().unwrap_or(Val::Null);
                    let value = fold.second.as_ref().and_then(|_| range.entry(&key)).unwrap_or(Val::Null);
                    (key, value)
                }
                None => (Val::Int(at as i64), range.at(at).unwrap_or(Val::Null)),
            };
            match &fold.second {
                Some(name) => self.scopes.extend([(&*fold.name, first.clone()), (&**name, second)]),
                None if keys.is_some() => self.scopes.push((&fold.name, first.clone())),
                None => self.scopes.push((&fold.name, second)),
            }
            let done = self.step(fold, &first, counting, &mut state);
            self.scopes.truncate(before);
            if done? {
                break;
            }
        }
        self.meter.spend(ending)?;
        state.finish(fold.kind)
    }

    /// Looks at one element; whether the result is known.
    fn step(&mut self, fold: &'a Fold, key: &Val<'a>, counting: u64, state: &mut Folded<'a>) -> Result<bool> {
        let counts = match &fold.condition {
            None => true,
            Some(condition) => match self.eval(condition) {
                Ok(Val::Bool(value)) => value,
                Ok(_) => return Err(Error::no_overload()),
                // What one element fails on, another may decide.
                Err(Error::Failed(text)) if matches!(fold.kind, FoldKind::All | FoldKind::Exists) => {
                    state.failed.get_or_insert(Error::Failed(text));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            },
        };
        match fold.kind {
            FoldKind::All => {
                state.found += usize::from(!counts);
                return Ok(!counts);
            }
            FoldKind::Exists => {
                state.found += usize::from(counts);
                return Ok(counts);
            }
            _ if !counts => {
                self.meter.spend(1)?;
                return Ok(false);
            }
            _ => self.meter.spend(counting)?,
        }
        match (fold.kind, &fold.transform) {
            (FoldKind::Filter, _) => state.list.push(self.scopes.last().map_or(Val::Null, |it| it.1.clone())),
            (FoldKind::TransformMap, Some(transform)) => {
                let value = self.eval(transform)?;
                state.map.insert(key.to_key().ok_or_else(Error::no_overload)?, value);
            }
            (_, Some(transform)) => {
                let value = self.eval(transform)?;
                state.list.push(value);
            }
            _ => state.found += 1,
        }
        Ok(false)
    }

    fn bind(&mut self, bind: &'a Bind) -> Result<Val<'a>> {
        let value = self.eval(&bind.value)?;
        self.meter.spend(1)?;
        let value = match (bind.optional, value) {
            (None, value) => value,
            (Some(_), Val::Optional(Some(value))) => (*value).clone(),
            (Some(_), Val::Optional(None)) => return Ok(Val::Optional(None)),
            _ => return Err(Error::no_overload()),
        };
        self.scopes.push((&bind.name, value));
        let body = self.eval(&bind.body);
        self.scopes.pop();
        match bind.optional {
            Some(Flatness::Wrapped) => Ok(body?.some()),
            _ => body,
        }
    }
}

/// What a macro has found so far.
struct Folded<'a> {
    failed: Option<Error>,
    found: usize,
    list: Vec<Val<'a>>,
    map: BTreeMap<super::value::Key, Val<'a>>,
}

impl<'a> Folded<'a> {
    fn finish(self, kind: FoldKind) -> Result<Val<'a>> {
        match (kind, self.failed) {
            (FoldKind::All, _) if self.found > 0 => Ok(Val::Bool(false)),
            (FoldKind::Exists, _) if self.found > 0 => Ok(Val::Bool(true)),
            (_, Some(error)) => Err(error),
            (FoldKind::All, None) => Ok(Val::Bool(true)),
            (FoldKind::Exists, None) => Ok(Val::Bool(false)),
            (FoldKind::ExistsOne, None) => Ok(Val::Bool(self.found == 1)),
            (FoldKind::TransformMap, None) => Ok(Val::Map(Rc::new(self.map))),
            _ => Ok(Val::list(self.list)),
        }
    }
}

fn of_literal(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Uint(value) => Val::Uint(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::String(text) => Val::Text(Text::Borrowed(text)),
        Literal::Bytes(bytes) => Val::Bytes((**bytes).into()),
    }
}

/// Whether a field is there. A field of an object that is null counts as there, one of nothing does not.
fn has<'a>(of: &Val<'a>, field: &str) -> Result<Val<'a>> {
    match of {
        Val::Object(fields, _) => Ok(Val::Bool(fields.contains_key(field))),
        Val::Map(_) => Ok(Val::Bool(of.get(field).is_some())),
        // Whether a variable can be computed is not looked at: it is declared.
        Val::Lazy(_) => Ok(Val::Bool(true)),
        Val::Optional(None) => Ok(Val::Bool(false)),
        Val::Optional(Some(inner)) => has(inner, field),
        _ => Err(Error::no_overload()),
    }
}

/// What a call costs on these values.
fn cost(op: Op, args: &[Val<'_>]) -> u64 {
    let mut sizes = smallvec::SmallVec::<[u64; 4]>::new();
    sizes.extend(args.iter().map(Val::size));
    match (op, args) {
        (Op::Add, [Val::Text(_) | Val::Bytes(_), _]) => sizes.iter().sum::<u64>().div_ceil(10).max(1),
        (Op::In, [_, Val::Object(..) | Val::Map(_)]) => 1,
        (Op::ToString, [Val::Text(_)]) => 1,
        (Op::IsSorted | Op::Sum | Op::Min | Op::Max | Op::IndexOf | Op::LastIndexOf, [list, ..])
            if list.count().is_some() =>
        {
            let each = |it: Val<'_>| if matches!(it, Val::Text(_) | Val::Bytes(_)) { it.size() / 10 } else { 1 };
            list.items().map(each).sum()
        }
        _ => functions::cost(op, &sizes),
    }
}

/// Refuses lists that grow beyond all measure.
///
/// # Errors
/// Where there would be more elements than are allowed.
pub fn check_elements(count: usize) -> Result<()> {
    if count > ELEMENTS_LIMIT { Err(Error::CostExceeded) } else { Ok(()) }
}
