//! What type an expression has, and what it costs at most.
//!
//! In: an expression and the variables it may use. Out: its type and the estimate of its cost, or what does not fit, in cel-go's words.
//! Both come of one walk, because the cost follows from the sizes that stand in the types. On the way every call learns what it does.

use std::collections::BTreeSet;

use super::functions::{self, Op};
use super::parse::Complaint;
use super::syntax::{Bind, Call, Expr, Flatness, Fold, FoldKind, Kind, Literal};
use super::time;
use super::types::{Bound, Type, UNBOUNDED};
use crate::structural::pattern;

/// How many mistakes of one expression are told.
const COMPLAINTS_LIMIT: usize = 20;

/// What making a list costs, as in cel-go.
pub const LIST_COST: u64 = 10;
/// What making a map costs, as in cel-go.
pub const MAP_COST: u64 = 30;

/// What a macro costs beside its parts, as cel-go expands it: to decide whether to go on, per element; per element that counts; at the end.
pub const fn fold_costs(kind: FoldKind) -> (u64, u64, u64) {
    match kind {
        FoldKind::All => (3, 0, 1),
        FoldKind::Exists => (4, 0, 1),
        FoldKind::ExistsOne => (0, 2, 2),
        FoldKind::Filter => (0, 13, LIST_COST + 1),
        FoldKind::Map | FoldKind::TransformList => (0, 12, LIST_COST + 1),
        FoldKind::TransformMap => (0, 2, MAP_COST + 1),
    }
}

/// What was found out about an expression.
#[derive(Debug)]
pub struct Checked {
    pub of: Type,
    /// The most that it costs.
    pub cost: u64,
    /// The variables that it uses.
    pub uses: BTreeSet<Box<str>>,
}

/// Checks an expression.
///
/// # Errors
/// Everything that does not fit.
pub fn check(expr: &mut Expr, variables: &[(Box<str>, Type)]) -> Result<Checked, Vec<Complaint>> {
    let mut checker =
        Checker { variables, scopes: Vec::new(), complaints: Vec::new(), uses: BTreeSet::new(), mixed: false };
    let (of, cost) = checker.check(expr);
    if checker.complaints.is_empty() { Ok(Checked { of, cost, uses: checker.uses }) } else { Err(checker.complaints) }
}

struct Checker<'e> {
    variables: &'e [(Box<str>, Type)],
    /// The variables of macros around the part at hand.
    scopes: Vec<(Box<str>, Type)>,
    complaints: Vec<Complaint>,
    uses: BTreeSet<Box<str>>,
    /// Whether lists may hold values of several types here.
    mixed: bool,
}

/// A type and a cost.
type Typed = (Type, u64);

impl Checker<'_> {
    /// Notes a mistake; what does not fit is dynamic from there on.
    fn fail(&mut self, at: u32, text: String) -> Type {
        if self.complaints.len() < COMPLAINTS_LIMIT {
            self.complaints.push(Complaint { at, text });
        }
        Type::Dyn
    }

    fn variable(&mut self, name: &str) -> Option<Type> {
        if let Some((_, of)) = self.scopes.iter().rev().find(|(it, _)| **it == *name) {
            return Some(of.clone());
        }
        let (_, of) = self.variables.iter().find(|(it, _)| **it == *name)?;
        self.uses.insert(name.into());
        Some(of.clone())
    }

    fn check(&mut self, expr: &mut Expr) -> Typed {
        if let Some(name) = dotted(expr)
            && self.variables.iter().any(|(it, _)| **it == *name)
        {
            expr.kind = Kind::Ident(name.into());
        }
        let at = expr.at;
        match &mut expr.kind {
            Kind::Literal(literal) => (of_literal(literal), 0),
            Kind::Ident(name) => match self.variable(name) {
                Some(of) => (of, 1),
                None if type_named(name).is_some() => (Type::Type, 1),
                None => (self.fail(at, format!("undeclared reference to '{name}' (in container '')")), 1),
            },
            Kind::Select { of, field, optional } => {
                let (of, cost) = self.check(of);
                let (found, key) = self.field(at, &of, field);
                if let Some(key) = key {
                    *field = key;
                }
                let wrap = *optional || matches!(of, Type::Optional(_));
                let found = match found {
                    it @ Type::Optional(_) => it,
                    it if wrap => Type::optional(it),
                    it => it,
                };
                (found, cost.saturating_add(1))
            }
            Kind::Has { of, field } => {
                let (of, cost) = self.check(of);
                if let (_, Some(key)) = self.field(at, &of, field) {
                    *field = key;
                }
                (Type::Bool, cost)
            }
            Kind::Call(call) => self.call(at, call),
            Kind::And(parts) | Kind::Or(parts) => {
                let mut total = 0u64;
                for part in parts {
                    total = total.saturating_add(self.expect_bool(part));
                }
                (Type::Bool, total)
            }
            Kind::Conditional(parts) => {
                let [condition, yes, no] = &mut **parts;
                let cost = self.expect_bool(condition);
                let (yes, of_yes) = self.check(yes);
                let (no, of_no) = self.check(no);
                let mut bound = Bound::default();
                let fits = bound.fits(&Type::Param(0), &yes) && bound.fits(&Type::Param(0), &no);
                let of = if fits {
                    bound.resolve(&Type::Param(0))
                } else {
                    let text = format!("found no matching overload for '_?_:_' applied to '(bool, {yes}, {no})'");
                    self.fail(at, text)
                };
                (of, cost.saturating_add(of_yes.max(of_no)))
            }
            Kind::List(items) => {
                let mut element: Option<Type> = None;
                let mut total = LIST_COST;
                let count = items.len() as u64;
                for (item, optional) in items {
                    let (of, cost) = self.element(item, *optional);
                    total = total.saturating_add(cost);
                    element = Some(self.same(item.at, element, of));
                }
                (Type::list(element.unwrap_or(Type::Dyn)).sized(count), total)
            }
            Kind::Map(entries) => {
                let mut both: Option<(Type, Type)> = None;
                let mut total = MAP_COST;
                let count = entries.len() as u64;
                for (key, value, optional) in entries {
                    let (of_key, cost) = self.check(key);
                    if !matches!(of_key, Type::Dyn | Type::Bool | Type::Int | Type::Uint | Type::String(_)) {
                        self.fail(key.at, format!("unsupported key type: {of_key}"));
                    }
                    total = total.saturating_add(cost);
                    let (of, cost) = self.element(value, *optional);
                    total = total.saturating_add(cost);
                    let (keys, values) = both.map_or((None, None), |(a, b)| (Some(a), Some(b)));
                    both = Some((self.same(key.at, keys, of_key), self.same(value.at, values, of)));
                }
                (Type::Map(both.unwrap_or((Type::Dyn, Type::Dyn)).into(), count), total)
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind(bind) => self.bind(bind),
        }
    }

    /// The type of elements, which is one for all of them, but for those that `format` fills in.
    fn same(&mut self, at: u32, before: Option<Type>, of: Type) -> Type {
        let Some(before) = before else { return of };
        let fits = Bound::default().fits(&before, &of) || Bound::default().fits(&of, &before);
        if !fits && !self.mixed {
            self.fail(at, format!("expected type '{before}' but found '{of}'"));
        }
        Type::join(before, of)
    }

    fn element(&mut self, item: &mut Expr, optional: bool) -> Typed {
        let at = item.at;
        match (self.check(item), optional) {
            ((Type::Optional(of), cost), true) => ((*of).clone(), cost),
            ((Type::Dyn, cost), true) => (Type::Dyn, cost),
            ((of, cost), true) => (self.fail(at, format!("expected type 'optional_type(dyn)' but found '{of}'")), cost),
            (found, false) => found,
        }
    }

    fn expect_bool(&mut self, expr: &mut Expr) -> u64 {
        let (of, cost) = self.check(expr);
        if !matches!(of, Type::Bool | Type::Dyn) {
            self.fail(expr.at, format!("expected type 'bool' but found '{of}'"));
        }
        cost
    }

    /// The type of a field, and the object's own name for it where that is another.
    fn field(&mut self, at: u32, of: &Type, name: &str) -> (Type, Option<Box<str>>) {
        match of {
            Type::Dyn | Type::Param(_) => (Type::Dyn, None),
            Type::Map(of, _) => (of.1.clone(), None),
            Type::Optional(of) => self.field(at, of, name),
            Type::Object(object) => match object.field(name) {
                Some(field) => (field.of.clone(), (field.key != field.name).then(|| field.key.clone())),
                None => (self.fail(at, format!("undefined field '{name}'")), None),
            },
            other => (self.fail(at, format!("type '{other}' does not support field selection")), None),
        }
    }

    fn call(&mut self, at: u32, call: &mut Call) -> Typed {
        // `format.named(…)` looks like a method of a variable.
        if call.is_method
            && let Some(Kind::Ident(space)) = call.args.first().map(|it| &it.kind)
        {
            let whole = format!("{space}.{}", call.name);
            if functions::signatures(&whole, false).next().is_some() && self.variable(&space.clone()).is_none() {
                call.name = whole.into();
                call.is_method = false;
                call.args.remove(0);
            }
        }
        let mut total = 0u64;
        let mixed = &*call.name == "format";
        let args: Vec<Type> = call
            .args
            .iter_mut()
            .map(|it| {
                let outer = std::mem::replace(&mut self.mixed, mixed);
                let (of, cost) = self.check(it);
                self.mixed = outer;
                total = total.saturating_add(cost);
                of
            })
            .collect();
        self.check_literals(call);
        if let Some(op) = functions::operator_of(&call.name) {
            call.op = Some(op);
            let sizes = sizes_of(op, &args);
            let of = match functions::operator(op, &args) {
                Some(of) => of,
                None => self.no_overload(at, call, &args),
            };
            return (of, total.saturating_add(cost_of(op, &args, &sizes)));
        }
        let mut found: Option<(Type, Op)> = None;
        for (_, _, formals, result, op) in functions::signatures(&call.name, call.is_method) {
            if formals.len() != args.len() {
                continue;
            }
            let mut bound = Bound::default();
            if formals.iter().zip(&args).all(|(formal, actual)| bound.fits(&formal.of(), actual)) {
                let of = bound.resolve(&result.of());
                found = Some(match found {
                    Some((before, op)) => (Type::join(before, of), op),
                    None => (of, *op),
                });
            }
        }
        let Some((of, op)) = found else {
            let of = if functions::is_known(&call.name) {
                self.no_overload(at, call, &args)
            } else {
                self.fail(at, format!("undeclared reference to '{}' (in container '')", call.name))
            };
            return (of, total);
        };
        call.op = Some(op);
        let sizes = sizes_of(op, &args);
        let of = match result_size(op, &args, &sizes) {
            Some(size) => of.sized(size),
            None => of,
        };
        (of, total.saturating_add(cost_of(op, &args, &sizes)))
    }

    /// Notes times and patterns that are written down and are none.
    fn check_literals(&mut self, call: &Call) {
        let text = |at: usize| match call.args.get(at).map(|it| (&it.kind, it.at)) {
            Some((Kind::Literal(Literal::String(text)), at)) => Some((&**text, at)),
            _ => None,
        };
        let wrong = match (&*call.name, call.args.len()) {
            ("duration", 1) => text(0).filter(|(it, _)| time::duration(it).is_none()),
            ("timestamp", 1) => text(0).filter(|(it, _)| it.parse::<jiff::Timestamp>().is_err()),
            ("matches", 2) => text(1).filter(|(it, _)| pattern::shared(it).is_err()),
            _ => None,
        };
        if let Some((_, at)) = wrong {
            self.fail(at, format!("invalid {} argument", call.name));
        }
    }

    fn no_overload(&mut self, at: u32, call: &Call, args: &[Type]) -> Type {
        let shown = |args: &[Type]| args.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        let applied = match args {
            [of, rest @ ..] if call.is_method => format!("{of}.({})", shown(rest)),
            all => format!("({})", shown(all)),
        };
        self.fail(at, format!("found no matching overload for '{}' applied to '{applied}'", call.name))
    }

    fn fold(&mut self, fold: &mut Fold) -> Typed {
        let (range, of_range) = self.check(&mut fold.range);
        let (first, second) = match &range {
            Type::List(of, _) => (Type::Int, (**of).clone()),
            Type::Map(of, _) => (of.0.clone(), of.1.clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fail(fold.range.at, text);
                (Type::Dyn, Type::Dyn)
            }
        };
        let before = self.scopes.len();
        match (&fold.second, &range) {
            (Some(name), _) => {
                self.scopes.push((fold.name.clone(), first.clone()));
                self.scopes.push((name.clone(), second));
            }
            (None, Type::List(..)) => self.scopes.push((fold.name.clone(), second)),
            (None, _) => self.scopes.push((fold.name.clone(), first.clone())),
        }
        let element = self.scopes.last().map_or(Type::Dyn, |it| it.1.clone());
        let condition = fold.condition.as_mut().map_or(0, |it| self.expect_bool(it));
        let (transformed, transform) = fold.transform.as_mut().map_or((Type::Dyn, 0), |it| self.check(it));
        self.scopes.truncate(before);
        let (deciding, counting, ending) = fold_costs(fold.kind);
        let step = condition.saturating_add(transform).saturating_add(deciding + counting);
        let total = range.size().saturating_mul(step).saturating_add(ending).saturating_add(of_range);
        let of = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
            FoldKind::Filter => Type::list(element).sized(range.size()),
            FoldKind::Map | FoldKind::TransformList => Type::list(transformed).sized(range.size()),
            FoldKind::TransformMap => Type::Map((first, transformed).into(), range.size()),
        };
        (of, total)
    }

    fn bind(&mut self, bind: &mut Bind) -> Typed {
        let at = bind.value.at;
        let (value, cost) = self.check(&mut bind.value);
        let inner = match (bind.optional, &value) {
            (None, it) => it.clone(),
            (Some(_), Type::Optional(of)) => (**of).clone(),
            (Some(_), Type::Dyn) => Type::Dyn,
            (Some(_), other) => self.fail(at, format!("expected type 'optional_type(dyn)' but found '{other}'")),
        };
        self.scopes.push((bind.name.clone(), inner));
        let (body, of_body) = self.check(&mut bind.body);
        self.scopes.pop();
        let of = match bind.optional {
            None => body,
            Some(Flatness::Wrapped) => Type::optional(body),
            Some(Flatness::Flat) if matches!(body, Type::Optional(_) | Type::Dyn) => body,
            Some(Flatness::Flat) => {
                self.fail(bind.body.at, format!("expected type 'optional_type(dyn)' but found '{body}'"))
            }
        };
        (of, cost.saturating_add(of_body).saturating_add(1))
    }
}

/// The name of a variable that has a dot in it, where the expression is such a chain.
fn dotted(expr: &Expr) -> Option<String> {
    let Kind::Select { of, field, optional: false } = &expr.kind else { return None };
    let Kind::Ident(space) = &of.kind else { return None };
    Some(format!("{space}.{field}"))
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(text) => Type::String(text.len() as u64),
        Literal::Bytes(bytes) => Type::Bytes(bytes.len() as u64),
    }
}

/// The name of a type as `type(x)` gives it, where expressions may write it.
pub fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: &[&str] = &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
    NAMES.iter().find(|it| **it == name).copied()
}

fn sizes_of(op: Op, args: &[Type]) -> Vec<u64> {
    let size = |(at, of): (usize, &Type)| match of {
        // A key of a map is found without going through it.
        Type::Map(..) if op == Op::In && at == 1 => 1,
        _ => of.size(),
    };
    args.iter().enumerate().map(size).collect()
}

/// The longest texts of numbers, times and addresses.
const SCALAR_TEXT_BYTES: u64 = 64;

/// The most that the result of a call holds, where it follows from the types of its arguments.
fn result_size(op: Op, args: &[Type], sizes: &[u64]) -> Option<u64> {
    match (op, args) {
        (Op::ToString, [Type::String(size) | Type::Bytes(size)]) => Some(*size),
        (Op::ToString, [of]) if !matches!(of, Type::Dyn) => Some(SCALAR_TEXT_BYTES),
        (Op::Join, [Type::List(of, count), rest @ ..]) => {
            let each = of.size().saturating_add(rest.first().map_or(0, Type::size));
            Some(each.saturating_mul(*count))
        }
        _ => functions::result_size(op, sizes),
    }
}

/// The most that a call costs. Where Kubernetes estimates otherwise than it counts, so does this: what parses a text is estimated at one.
fn cost_of(op: Op, args: &[Type], sizes: &[u64]) -> u64 {
    let is_text = |at: usize| matches!(args.get(at), Some(Type::String(_) | Type::Bytes(_)));
    let size = |at: usize| sizes.get(at).copied().unwrap_or_default();
    match (op, args) {
        (Op::Add, _) if is_text(0) => {
            let both = size(0).saturating_add(size(1));
            if both == UNBOUNDED { both } else { both.div_ceil(10).max(1) }
        }
        (
            Op::IsUrl | Op::Quantity | Op::IsQuantity | Op::Ip | Op::IsIp | Op::IsCanonical | Op::Cidr | Op::IsCidr,
            _,
        ) => 1,
        (Op::Semver | Op::IsSemver | Op::Image | Op::IsImage, _) => 1,
        (Op::ToString, _) if matches!(args, [Type::String(_)]) => 1,
        (Op::IsSorted | Op::Sum | Op::Min | Op::Max | Op::IndexOf | Op::LastIndexOf, [Type::List(of, count), ..]) => {
            let each = if matches!(**of, Type::String(_) | Type::Bytes(_)) { 1 + of.size().div_ceil(10) } else { 1 };
            count.saturating_mul(each)
        }
        (Op::Join, _) => result_size(op, args, sizes).map_or(UNBOUNDED, |it| it.div_ceil(10)),
        (Op::ContainsIp | Op::ContainsCidr, _) => {
            let compared = if op == Op::ContainsIp { COMPARED_ADDRESS_COST } else { COMPARED_BLOCK_COST };
            compared.saturating_add(if is_text(1) { size(1).div_ceil(10) } else { 0 })
        }
        _ => functions::cost(op, sizes),
    }
}

/// What comparing addresses is estimated at: twice the 16 bytes of one, a tenth each; of blocks, once more and one for the prefix.
const COMPARED_ADDRESS_COST: u64 = 4;
const COMPARED_BLOCK_COST: u64 = 7;
