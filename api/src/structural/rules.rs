//! Rules in CEL that a schema adds to its values: `x-kubernetes-validations`.
//!
//! In: an object that fits its schema otherwise, and the object that stood there before. Out: the mistakes that rules find. A rule that
//! speaks of `oldSelf` is evaluated where the old value is known: by names of fields, keys of maps, and keys of lists of list type map.
//! What has not changed is not judged again, unless by such a rule. Source: `apiserver/schema/cel/validation.go`.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::elements::Elements;
use super::node::{Additional, ListType, Node, is_set, text};
use super::trail::{Step, Trail};
use super::{field_path, judge};
use crate::cel::{self, Budget, Environment, Program, Val, declare, types::REQUEST_LIMIT_BYTES, types::Type};
use crate::field::{Errors, Path};

/// The longest message that an expression may make, as in Kubernetes.
const MESSAGE_LIMIT_BYTES: usize = 5 * 1024;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: Option<bool>,
    /// Made when an object first meets the rule: most schemas of a cluster see no write for hours.
    compiled: OnceLock<Compiled>,
}

/// A rule that can be evaluated.
#[derive(Debug)]
pub struct Compiled {
    pub rule: Result<Program, String>,
    /// None where there is no message expression.
    pub message: Option<Result<Program, String>>,
    pub uses_old: bool,
}

impl Rule {
    /// Reads one element of `x-kubernetes-validations`.
    pub fn read(json: &Value) -> Rule {
        Rule {
            rule: text(json, "rule").into(),
            message: text(json, "message").into(),
            message_expression: text(json, "messageExpression").into(),
            reason: text(json, "reason").into(),
            field_path: text(json, "fieldPath").into(),
            optional_old_self: json
                .get("optionalOldSelf")
                .filter(|it| !it.is_null())
                .map(|_| is_set(json, "optionalOldSelf")),
            compiled: OnceLock::new(),
        }
    }

    /// Compiles it for values of this type.
    pub fn compile(&self, of: &Type) -> Compiled {
        let old = if self.optional_old_self == Some(true) { Type::optional(of.clone()) } else { of.clone() };
        let environment = Environment::new().with("self", of.clone()).with("oldSelf", old);
        let rule = Program::compile(&self.rule, &environment, &[]).map_err(|it| it.text).and_then(|program| {
            let is_bool = matches!(program.result(), Type::Bool);
            if is_bool { Ok(program) } else { Err("cel expression must evaluate to a bool".to_owned()) }
        });
        let message = (!self.message_expression.is_empty()).then(|| {
            let failed = |it: cel::CompileError| format!("messageExpression {}", it.text);
            let program = Program::compile(&self.message_expression, &environment, &[]).map_err(failed)?;
            let is_text = matches!(program.result(), Type::String(_));
            if is_text { Ok(program) } else { Err("messageExpression must evaluate to a string".to_owned()) }
        });
        let uses = |it: &Program| it.uses("oldSelf");
        let uses_old = rule.as_ref().is_ok_and(uses) || message.as_ref().is_some_and(|it| it.as_ref().is_ok_and(uses));
        Compiled { rule, message, uses_old }
    }

    /// How messages name the rule.
    fn title(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }

    /// The message where no expression makes one.
    fn plain_message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.title()) } else { self.title().to_owned() }
    }
}

/// Evaluates all rules of a schema on an object.
pub fn judge_rules(root: &Node, value: &Value, old: Option<&Value>, errors: &mut Errors) {
    if !root.ruled {
        return;
    }
    let mut walk = Walk { budget: Budget::new(cel::REQUEST_COST_BUDGET), errors };
    let place = Place { old, nearest: None, is_resource: root.is_resource };
    // Whether the budget sufficed stands in the errors.
    let _ = walk.down(root, value, place, &Trail::ROOT);
}

/// That no more rules are evaluated.
struct Ended;

/// What is known of a value beside itself.
#[derive(Clone, Copy)]
struct Place<'a> {
    old: Option<&'a Value>,
    /// The nearest value around it of which the old one is known: its schema, it, and the old one.
    nearest: Option<(&'a Node, &'a Value, &'a Value)>,
    is_resource: bool,
}

struct Walk<'e> {
    budget: Budget,
    errors: &'e mut Errors,
}

impl Walk<'_> {
    fn down<'a>(&mut self, node: &'a Node, value: &'a Value, place: Place<'a>, trail: &Trail<'_>) -> Result<(), Ended> {
        if !node.ruled || value.is_null() {
            return Ok(());
        }
        self.evaluate_all(node, value, place, trail)?;
        match value {
            Value::Object(fields) => self.fields(node, value, fields, place, trail),
            Value::Array(items) => self.items(node, value, items, place, trail),
            _ => Ok(()),
        }
    }

    fn fields<'a>(
        &mut self,
        node: &'a Node,
        value: &'a Value,
        fields: &'a Map<String, Value>,
        place: Place<'a>,
        trail: &Trail<'_>,
    ) -> Result<(), Ended> {
        let nearest = place.old.map(|old| (node, value, old)).or(place.nearest);
        for (name, field) in fields {
            let Some((of, is_entry)) = node.child(name) else { continue };
            // Fields of an atomic map belong to no field of the old one.
            let old = place.old.filter(|_| !node.atomic_map).and_then(|it| it.get(name)).filter(|it| !it.is_null());
            let step = if is_entry { Step::Key(name) } else { Step::Field(name) };
            self.down(of, field, Place { old, nearest, is_resource: of.embedded }, &trail.down(step))?;
        }
        Ok(())
    }

    fn items<'a>(
        &mut self,
        node: &'a Node,
        value: &'a Value,
        items: &'a [Value],
        place: Place<'a>,
        trail: &Trail<'_>,
    ) -> Result<(), Ended> {
        let Some(of) = &node.items else { return Ok(()) };
        let nearest = place.old.map(|old| (node, value, old)).or(place.nearest);
        let old = place.old.and_then(Value::as_array).filter(|_| node.list == ListType::Map);
        let mut elements = old.map(|old| Elements::new(node, old));
        for (index, item) in items.iter().enumerate() {
            let old = elements.as_mut().and_then(|it| it.find(index, item));
            let place = Place { old, nearest, is_resource: of.embedded };
            self.down(of, item, place, &trail.down(Step::Index(index)))?;
        }
        Ok(())
    }

    fn evaluate_all<'a>(
        &mut self,
        node: &'a Node,
        value: &'a Value,
        place: Place<'a>,
        trail: &Trail<'_>,
    ) -> Result<(), Ended> {
        if node.rules().is_empty() {
            return Ok(());
        }
        let mut of = None;
        for rule in node.rules() {
            let compiled = rule.compiled.get_or_init(|| {
                let declared =
                    of.get_or_insert_with(|| declare::declare(node, place.is_resource).map_or(Type::Dyn, |it| it.0));
                rule.compile(declared)
            });
            self.evaluate(node, rule, compiled, value, place, trail)?;
        }
        Ok(())
    }

    fn evaluate<'a>(
        &mut self,
        node: &'a Node,
        rule: &'a Rule,
        compiled: &'a Compiled,
        value: &'a Value,
        place: Place<'a>,
        trail: &Trail<'_>,
    ) -> Result<(), Ended> {
        let kind = node.kind.name();
        let program = match &compiled.rule {
            Ok(program) => program,
            Err(why) => {
                self.errors.invalid(trail.path(), kind, format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        let is_optional = rule.optional_old_self == Some(true);
        if compiled.uses_old && place.old.is_none() && !is_optional {
            return Ok(());
        }
        let mut bindings = vec![("self", Val::of(value, Some(node)))];
        let old = place.old.map(|it| Val::of(it, Some(node)));
        if is_optional {
            bindings.push(("oldSelf", old.map_or(Val::Optional(None), Val::some)));
        } else if let Some(old) = old {
            bindings.push(("oldSelf", old));
        }
        if self.budget.left() == 0 {
            return self.end(trail, kind, OUT_OF_BUDGET.to_owned());
        }
        let limit = self.budget.left();
        match program.evaluate(&bindings, &mut self.budget) {
            Ok(Val::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(cel::Error::CostExceeded) if limit < cel::CALL_COST_LIMIT => {
                return self.end(trail, kind, OUT_OF_BUDGET.to_owned());
            }
            Err(error @ cel::Error::CostExceeded) => {
                let why = "no further validation rules will be run due to call cost exceeds limit for rule";
                return self.end(trail, kind, format!("'{error}': {why}: {}", rule.title()));
            }
            Err(cel::Error::Failed(error)) if error.starts_with("no such overload") => {
                let why = "call arguments did not match a supported operator, function or macro signature for rule";
                self.errors.invalid(trail.path(), kind, format!("'{error}': {why}: {}", rule.title()));
                return Ok(());
            }
            Err(cel::Error::Failed(error)) => {
                self.errors.invalid(trail.path(), kind, format!("{error} evaluating rule: {}", rule.title()));
                return Ok(());
            }
        }
        let detail = match &compiled.message {
            Some(Ok(message)) => match self.message(message, &bindings, rule) {
                Ok(made) => made.unwrap_or_else(|| rule.plain_message()),
                Err(why) => return self.end(trail, kind, why),
            },
            _ => rule.plain_message(),
        };
        if !compiled.uses_old && is_unchanged(node, value, place) {
            return Ok(());
        }
        let path = below(node, trail, &rule.field_path);
        match &*rule.reason {
            "FieldValueForbidden" => self.errors.forbidden(path, detail),
            "FieldValueRequired" => self.errors.required(path, detail),
            "FieldValueDuplicate" => self.errors.duplicate(path, kind),
            _ => self.errors.invalid(path, kind, detail),
        }
        Ok(())
    }

    /// The message that an expression makes; none where it makes none that can be shown.
    ///
    /// # Errors
    /// Why no more rules are evaluated.
    fn message<'a>(
        &mut self,
        message: &'a Program,
        bindings: &cel::Bindings<'a>,
        rule: &Rule,
    ) -> Result<Option<String>, String> {
        let limit = self.budget.left();
        match message.evaluate(bindings, &mut self.budget) {
            Ok(made) => {
                let made = made.as_text().unwrap_or_default().trim();
                let is_fit = !made.is_empty() && made.len() <= MESSAGE_LIMIT_BYTES && !made.contains('\n');
                Ok(is_fit.then(|| made.to_owned()))
            }
            Err(cel::Error::CostExceeded) if limit < cel::CALL_COST_LIMIT => {
                Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned())
            }
            Err(cel::Error::CostExceeded) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                rule.message_expression
            )),
            Err(cel::Error::Failed(_)) => Ok(None),
        }
    }

    fn end(&mut self, trail: &Trail<'_>, kind: &str, why: String) -> Result<(), Ended> {
        self.errors.invalid(trail.path(), kind, why);
        Err(Ended)
    }
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Whether a value is what it was, or what is nearest around it of which that is known.
fn is_unchanged(node: &Node, value: &Value, place: Place<'_>) -> bool {
    match (place.old, place.nearest) {
        (Some(old), _) => judge::is_same(node, value, old),
        (None, Some((node, value, old))) => judge::is_same(node, value, old),
        (None, None) => false,
    }
}

/// The path of a mistake: that of the value, or of the field within it that the rule names.
fn below(node: &Node, trail: &Trail<'_>, field: &str) -> Path {
    let Ok(names) = field_path::names(field) else { return trail.path() };
    let mut at = Some(node);
    let mut out = String::new();
    for name in names {
        let child = at.and_then(|it| it.child(&name));
        match child {
            Some((_, true)) => out.push_str(&format!("[{name}]")),
            _ if out.is_empty() => out.push_str(&name),
            _ => out.push_str(&format!(".{name}")),
        }
        at = child.map(|it| it.0);
    }
    match (out.is_empty(), trail.is_root()) {
        (true, _) => trail.path(),
        (false, true) => Path::new(&out),
        (false, false) => trail.path().child(&out),
    }
}

/// What the rules of a schema are estimated to cost, and what is wrong with them.
#[derive(Default)]
pub struct Estimate {
    total: u64,
    /// Each rule with what it adds.
    rules: Vec<(Path, u64)>,
}

/// How many of the most expensive rules are told where all together cost too much.
const EXPENSIVE_RULES_TOLD: usize = 4;

/// Where a schema stands, as far as rules go.
#[derive(Clone, Default)]
struct Ground {
    /// At how many places of an object the schema applies; none where nothing bounds that.
    count: Option<u64>,
    /// The schema within which old values are not known.
    uncorrelated: Option<Path>,
    is_resource: bool,
}

/// Notes the mistakes in the rules of a schema that is well-formed otherwise.
pub fn check(root: &Node, path: &Path, errors: &mut Errors) {
    if !root.ruled {
        return;
    }
    let mut estimate = Estimate::default();
    check_node(root, path, &Ground { count: Some(1), uncorrelated: None, is_resource: true }, &mut estimate, errors);
    if estimate.total <= cel::ESTIMATED_SCHEMA_COST_LIMIT {
        return;
    }
    estimate.rules.sort_by_key(|it| std::cmp::Reverse(it.1));
    for (rule, _) in estimate.rules.into_iter().take(EXPENSIVE_RULES_TOLD) {
        errors.forbidden(
            rule,
            "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        );
    }
    let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
    errors.forbidden(path.clone(), too_expensive(name, estimate.total, cel::ESTIMATED_SCHEMA_COST_LIMIT));
}

fn check_node(node: &Node, path: &Path, ground: &Ground, estimate: &mut Estimate, errors: &mut Errors) {
    if !node.ruled {
        return;
    }
    let times = |most: Option<u64>| ground.count.zip(most).map(|(one, other)| one.saturating_mul(other));
    let limits = node.limits.as_deref();
    let marked = |it: bool| {
        if it { ground.uncorrelated.clone().or_else(|| Some(path.clone())) } else { ground.uncorrelated.clone() }
    };
    if let Additional::Schema(of) = &node.additional {
        let count = times(limits.and_then(|it| it.max_properties));
        let ground = Ground { count, uncorrelated: ground.uncorrelated.clone(), is_resource: of.embedded };
        check_node(of, &path.child("additionalProperties"), &ground, estimate, errors);
    }
    for (name, of) in &node.properties {
        let ground = Ground { count: ground.count, uncorrelated: marked(node.atomic_map), is_resource: of.embedded };
        check_node(of, &path.child("properties").key(name), &ground, estimate, errors);
    }
    if let Some(of) = &node.items {
        let count = times(limits.and_then(|it| it.max_items));
        let ground = Ground { count, uncorrelated: marked(node.list != ListType::Map), is_resource: of.embedded };
        check_node(of, &path.child("items"), &ground, estimate, errors);
    }
    if node.rules().is_empty() {
        return;
    }
    let path = path.child("x-kubernetes-validations");
    let Some((of, fewest_bytes)) = declare::declare(node, ground.is_resource) else {
        errors.internal(path, "internal error: failed to retrieve type information for x-kubernetes-validations");
        return;
    };
    let count = ground.count.unwrap_or(REQUEST_LIMIT_BYTES / (fewest_bytes + 1));
    for (index, rule) in node.rules().iter().enumerate() {
        check_rule(rule, &of, count, ground, &path.index(index), estimate, errors);
    }
}

fn check_rule(
    rule: &Rule,
    of: &Type,
    count: u64,
    ground: &Ground,
    path: &Path,
    estimate: &mut Estimate,
    errors: &mut Errors,
) {
    let compiled = rule.compile(of);
    let mut spends = |place: Path, cost: u64, name: &str, errors: &mut Errors| {
        if cost > cel::ESTIMATED_COST_LIMIT {
            errors.forbidden(place.clone(), too_expensive(name, cost, cel::ESTIMATED_COST_LIMIT));
        }
        estimate.total = estimate.total.saturating_add(cost);
        estimate.rules.push((place, cost));
    };
    let shown = || shown(rule);
    match &compiled.rule {
        Ok(program) => {
            let cost = program.estimated_cost().saturating_mul(count);
            spends(path.child("rule"), cost, "estimated rule cost", errors);
        }
        Err(why) => errors.invalid_text(path.child("rule"), shown(), why.as_str()),
    }
    match &compiled.message {
        None => {}
        Some(Ok(program)) => {
            spends(
                path.child("messageExpression"),
                program.estimated_cost(),
                "estimated messageExpression cost",
                errors,
            );
        }
        Some(Err(why)) => errors.invalid_text(path.child("messageExpression"), shown(), why.as_str()),
    }
    if compiled.uses_old {
        if let Some(within) = &ground.uncorrelated {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            errors.invalid(path.child("rule"), &*rule.rule, why);
        }
    } else if let Some(is_optional) = rule.optional_old_self {
        errors.invalid(path.child("optionalOldSelf"), is_optional, "may not be set if oldSelf is not used in rule");
    }
}

/// A rule as Kubernetes shows it: its internal form.
fn shown(rule: &Rule) -> String {
    let text = |it: &str| Value::from(it).to_string();
    let reason = if rule.reason.is_empty() { "null".to_owned() } else { text(&rule.reason) };
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        text(&rule.field_path),
        rule.optional_old_self.map_or("null".to_owned(), |it| it.to_string()),
    )
}

/// How far an estimate is beyond a limit.
fn too_expensive(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
