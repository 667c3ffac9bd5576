//! The types of an admission policy's expressions: those of its variables, and what is wrong once the types of the objects that it judges are known.
//!
//! In: a policy, and the types. Out: the environment of its expressions; warnings for its status, which refuse nothing. Source: `typechecking.go` in
//! `k8s.io/apiserver/pkg/admission/plugin/policy/validating`, `composition.go` in `plugin/cel`.

use k8s_openapi::api::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicySpec};

use crate::cel::types::{Field, ObjectType, Type};
use crate::cel::{Environment, Program};
use crate::kinds::webhook_rules as rules;

/// How many kinds of a policy are looked at.
pub const TYPES_MAX: usize = 10;

/// Of how many variables the types are known; where there are more, all may be anything. Each one's environment holds those before it.
const TYPED_VARIABLES_MAX: usize = 256;

/// What expressions of a policy may use: the variables that every expression has, and those of the policy that stand before.
#[derive(Clone, Debug)]
pub struct Variables {
    base: Environment,
    known: Vec<(String, Type)>,
}

impl Variables {
    /// Before the first of the policy's variables.
    pub fn new(base: Environment) -> Self {
        Variables { base, known: Vec::new() }
    }

    /// Behind all variables of a policy.
    pub fn of(base: Environment, spec: &ValidatingAdmissionPolicySpec) -> Environment {
        let mut scope = Variables::new(base);
        let variables = spec.variables.as_deref().unwrap_or_default();
        if variables.len() > TYPED_VARIABLES_MAX {
            return scope.base.with("variables", Type::Dyn);
        }
        variables.iter().for_each(|it| scope.add(&it.name, &it.expression));
        scope.environment()
    }

    /// Behind the variables that were added.
    pub fn environment(&self) -> Environment {
        self.over(self.base.clone())
    }

    /// The same beside other names than those that the variables may use.
    pub fn over(&self, base: Environment) -> Environment {
        if self.known.len() > TYPED_VARIABLES_MAX {
            return base.with("variables", Type::Dyn);
        }
        let field = |(name, of): &(String, Type)| Field {
            name: name.as_str().into(),
            key: name.as_str().into(),
            of: of.clone(),
        };
        let fields = self.known.iter().map(field).collect();
        let variables = ObjectType::new("kubernetes.variables", fields);
        base.with("variables", Type::Object(variables.into()))
    }

    /// Adds a variable. One whose expression is wrong may be anything.
    pub fn add(&mut self, name: &str, expression: &str) {
        let made = Program::compile(expression, &self.environment(), &[]);
        self.known.push((name.to_owned(), made.map_or(Type::Dyn, |it| it.result().clone())));
    }
}

/// A kind that a policy judges.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `apps/v1, Kind=Deployment`.
    pub name: String,
    pub of: Type,
}

/// The resources that a policy names without wildcards, as group, version and plural name; subresources are not looked at.
pub fn named(spec: &ValidatingAdmissionPolicySpec) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    let constraints = spec.match_constraints.as_ref().and_then(|it| it.resource_rules.as_ref());
    for rule in constraints.into_iter().flatten() {
        let of = |list: &Option<Vec<String>>| {
            let mut all = list.clone().unwrap_or_default();
            all.sort_unstable();
            all
        };
        let (groups, versions) = (of(&rule.api_groups), of(&rule.api_versions));
        if groups.iter().chain(&versions).any(|it| it.contains('*')) {
            continue;
        }
        for group in &groups {
            for version in &versions {
                let plain = of(&rule.resources).into_iter().filter(|it| !it.contains(['*', '/']));
                out.extend(plain.map(|resource| (group.clone(), version.clone(), resource)));
            }
        }
    }
    out
}

/// The environment of a policy's expressions over objects of a type.
fn environment(spec: &ValidatingAdmissionPolicySpec, of: &Type, params: Option<&Type>) -> Environment {
    let mut base =
        rules::environment(spec.param_kind.is_some()).with("object", of.clone()).with("oldObject", of.clone());
    if let Some(params) = params {
        base = base.with("params", params.clone());
    }
    Variables::of(base, spec)
}

/// What is wrong with a policy's expressions, over the objects of each kind that it judges.
pub fn warnings(
    spec: &ValidatingAdmissionPolicySpec,
    judged: &[Judged],
    params: Option<&Type>,
) -> Vec<ExpressionWarning> {
    let environments: Vec<(&str, Environment)> =
        judged.iter().map(|it| (it.name.as_str(), environment(spec, &it.of, params))).collect();
    let check = |expression: &str| {
        let complaints = environments.iter().filter_map(|(name, environment)| {
            let error = Program::compile(expression, environment, &[]).err()?;
            let text = error.text.strip_prefix("compilation failed: ").unwrap_or(&error.text);
            Some(format!("{name}: {text}\n"))
        });
        complaints.collect::<Vec<_>>().join("\n")
    };
    let mut out = Vec::new();
    for (at, it) in spec.validations.iter().flatten().enumerate() {
        let message = it.message_expression.as_deref().filter(|it| !it.is_empty());
        let parts = [("expression", Some(it.expression.as_str())), ("messageExpression", message)];
        for (field, expression) in parts.into_iter().filter_map(|(field, it)| Some((field, it?))) {
            let warning = check(expression);
            if !warning.is_empty() {
                out.push(ExpressionWarning { field_ref: format!("spec.validations[{at}].{field}"), warning });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(validations: serde_json::Value) -> ValidatingAdmissionPolicySpec {
        let rules = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["b", "a", "a/scale", "*"]},
            {"apiGroups": ["*"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["c"]}]);
        let variables = json!([{"name": "size", "expression": "object.size"}, {"name": "odd", "expression": "variables.size % 2 == 1"},
            {"name": "wrong", "expression": "object.nothing"}]);
        let whole =
            json!({"matchConstraints": {"resourceRules": rules}, "variables": variables, "validations": validations});
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn resources_are_named_without_wildcards() {
        let of = |it: &str| ("apps".to_owned(), "v1".to_owned(), it.to_owned());
        assert_eq!(named(&spec(json!([]))), [of("a"), of("b")]);
    }

    #[test]
    fn what_cannot_be_is_told_for_each_kind() {
        let judged: Vec<Judged> = [("x/v1, Kind=A", Type::Int), ("x/v1, Kind=B", Type::TEXT)]
            .map(|(name, of)| Judged { name: name.to_owned(), of: Type::object("object", &[("size", of)]) })
            .to_vec();
        let spec = spec(json!([
            {"expression": "object.size > 1"},
            {"expression": "variables.odd && variables.wrong == 'anything'", "messageExpression": "variables.odd + 1"}]));
        let found = warnings(&spec, &judged, None);
        let places: Vec<&str> = found.iter().map(|it| it.field_ref.as_str()).collect();
        assert_eq!(places, ["spec.validations[0].expression", "spec.validations[1].messageExpression"]);
        assert_eq!(
            found[0].warning,
            "x/v1, Kind=B: ERROR: <input>:1:13: found no matching overload for '_>_' applied to '(string, int)'\n | object.size > 1\n | ............^\n"
        );
        assert!(found[1].warning.contains("applied to '(bool, int)'"), "{}", found[1].warning);
        assert!(warnings(&spec, &[], None).is_empty());
    }
}
