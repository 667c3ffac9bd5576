//! `ValidatingAdmissionPolicy`: expressions in the cluster judge what is written, without anybody being called.
//!
//! In: a write, the policies and their bindings, read and compiled anew when one has changed. Out: a refusal, warnings and annotations,
//! as the bindings want. Parameters are objects of any kind that is served. Source:
//! `k8s.io/apiserver/pkg/admission/plugin/policy/validating`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::admissionregistration::v1::{
    ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicySpec,
};
use orlop_api::cel::types::Type;
use orlop_api::cel::variables::Variables;
use orlop_api::cel::{Bindings, Budget, Environment, Program, REQUEST_COST_BUDGET};
use orlop_api::kind::{Kind, Sub};
use orlop_api::kinds::validating_admission_policy::environment;
use orlop_api::selector::label::Selector;
use orlop_api::status::{self, Cause, Status};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::expressions::{Asking, Conditions, Met, Seen, Shown};
use super::lister::Lister;
use super::selection::{self, Selection};
use super::{Sight, forbidden};
use crate::authorize::Policy as Authority;
use crate::callout::Caller;
use crate::stage::{Admission, Plugin, Subject};

const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";
/// The longest message that an expression may make.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// One validation, compiled.
struct Validation {
    expression: String,
    program: Program,
    message: Option<String>,
    message_program: Option<Program>,
    reason: String,
}

/// What a policy's expressions are, compiled.
struct Compiled {
    conditions: Conditions,
    variables: Vec<(Box<str>, Program)>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Program)>,
}

struct Binding {
    name: String,
    selection: Option<Selection>,
    param: Option<ParamRef>,
    actions: Vec<String>,
}

struct Policy {
    name: String,
    selection: Selection,
    fails_open: bool,
    param_kind: Option<(String, String)>,
    compiled: Result<Compiled, String>,
    bindings: Vec<Binding>,
}

/// Why a policy does not let something pass.
#[derive(Clone, Debug)]
struct Complaint {
    message: String,
    reason: String,
    /// Which of the policy's validations it is.
    at: usize,
}

impl Compiled {
    fn of(spec: &ValidatingAdmissionPolicySpec) -> Result<Self, String> {
        let environment = environment(spec);
        let compile = |text: &str, environment: &Environment, wanted: &[Type]| {
            Program::compile(text, environment, wanted).map_err(|error| error.text)
        };
        let text = [Type::String(u64::MAX), Type::Null];
        let mut variables = Vec::new();
        for it in spec.variables.iter().flatten() {
            variables.push((it.name.as_str().into(), compile(&it.expression, &environment, &[])?));
        }
        let mut validations = Vec::new();
        for it in spec.validations.iter().flatten() {
            let message = it.message_expression.as_deref().filter(|it| !it.is_empty());
            validations.push(Validation {
                expression: it.expression.trim().to_owned(),
                program: compile(&it.expression, &environment, &[Type::Bool])?,
                message: it.message.clone().filter(|it| !it.is_empty()),
                message_program: message.map(|it| compile(it, &environment, &text)).transpose()?,
                reason: it.reason.clone().unwrap_or_default(),
            });
        }
        let mut annotations = Vec::new();
        for it in spec.audit_annotations.iter().flatten() {
            annotations.push((it.key.clone(), compile(&it.value_expression, &environment, &text)?));
        }
        let conditions = spec.match_conditions.as_deref().unwrap_or_default();
        let conditions = Conditions::new(conditions, spec.param_kind.is_some())?;
        Ok(Compiled { conditions, variables, validations, annotations })
    }

    /// What is wrong with an object, and what is to be noted of it.
    fn judge<'a>(
        &'a self,
        seen: Bindings<'a>,
        fails_open: bool,
        budget: &mut Budget,
    ) -> (Vec<Complaint>, Vec<(&'a str, String)>) {
        let broken = |message: String, at: usize| Complaint { message, reason: String::new(), at };
        match self.conditions.met(&seen) {
            Met::Yes => {}
            Met::No => return Default::default(),
            Met::Failed(_) if fails_open => return Default::default(),
            Met::Failed(why) => return (vec![broken(why, 0)], Vec::new()),
        }
        let mut all = seen.clone();
        all.push(("variables", Variables::bind(&self.variables, seen)));
        let mut complaints = Vec::new();
        for (at, it) in self.validations.iter().enumerate() {
            match it.program.evaluate(&all, budget) {
                Ok(value) if value.as_bool() == Some(true) => {}
                Ok(_) => {
                    let message = it.told(&all, budget);
                    complaints.push(Complaint { message, reason: it.reason.clone(), at });
                }
                Err(_) if fails_open => {}
                Err(error) => {
                    complaints.push(broken(format!("expression '{}' resulted in error: {error}", it.expression), at));
                }
            }
        }
        let mut notes = Vec::new();
        for (key, program) in &self.annotations {
            match program.evaluate(&all, budget) {
                Ok(value) => notes.extend(value.as_text().map(|it| (key.as_str(), it.to_owned()))),
                Err(_) if fails_open => {}
                Err(error) => {
                    complaints.push(broken(format!("audit annotation '{key}' resulted in error: {error}"), 0))
                }
            }
        }
        (complaints, notes)
    }
}

impl Validation {
    fn told<'a>(&'a self, seen: &Bindings<'a>, budget: &mut Budget) -> String {
        let made = self.message_program.as_ref().and_then(|it| it.evaluate(seen, budget).ok());
        let made = made.as_ref().and_then(|it| it.as_text()).map(str::trim);
        if let Some(text) = made.filter(|it| !it.is_empty() && !it.contains('\n') && it.len() <= MESSAGE_BYTES_MAX) {
            return text.to_owned();
        }
        self.message.clone().unwrap_or_else(|| format!("failed expression: {}", self.expression))
    }
}

/// Of the policies and of the bindings.
type Revisions = (u64, u64);

/// See the file's header.
pub struct Policies {
    sight: Sight,
    authority: Arc<Authority>,
    /// Converts custom objects to the version that a rule names.
    caller: Arc<Caller>,
    policies: Lister,
    bindings: Lister,
    /// What was compiled last, and the revisions it was compiled at.
    known: Mutex<(Revisions, Arc<Vec<Policy>>)>,
}

impl Policies {
    /// Looks policies up there.
    pub fn new(sight: &Sight, authority: &Arc<Authority>, caller: &Arc<Caller>) -> Self {
        Policies {
            sight: sight.clone(),
            authority: authority.clone(),
            caller: caller.clone(),
            policies: Lister::new(sight, selection::GROUP, "ValidatingAdmissionPolicy"),
            bindings: Lister::new(sight, selection::GROUP, "ValidatingAdmissionPolicyBinding"),
            known: Mutex::default(),
        }
    }

    /// The policies that are bound, in the order of their names.
    fn bound(&self) -> Arc<Vec<Policy>> {
        let revisions = (self.policies.revision(), self.bindings.revision());
        let mut known = self.known.lock();
        if known.0 != revisions {
            let mut by_policy: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
            for it in self.bindings.all::<ValidatingAdmissionPolicyBinding>("") {
                let spec = it.spec.unwrap_or_default();
                let binding = Binding {
                    name: it.metadata.name.unwrap_or_default(),
                    selection: spec.match_resources.and_then(|it| Selection::of(&it).ok()),
                    param: spec.param_ref,
                    actions: spec.validation_actions.unwrap_or_default(),
                };
                by_policy.entry(spec.policy_name.unwrap_or_default()).or_default().push(binding);
            }
            let all = self.policies.all::<ValidatingAdmissionPolicy>("").into_iter();
            let read = all.filter_map(|it| {
                let name = it.metadata.name.unwrap_or_default();
                let (spec, bindings) = (it.spec?, by_policy.remove(&name)?);
                Some(Policy {
                    selection: Selection::of(spec.match_constraints.as_ref()?).ok()?,
                    fails_open: spec.failure_policy.as_deref() == Some("Ignore"),
                    param_kind: spec
                        .param_kind
                        .as_ref()
                        .map(|it| (it.api_version.clone().unwrap_or_default(), it.kind.clone().unwrap_or_default())),
                    compiled: Compiled::of(&spec),
                    bindings,
                    name,
                })
            });
            *known = (revisions, Arc::new(read.collect()));
        }
        known.1.clone()
    }

    /// The parameters with which a binding's policy is judged: none (once) where it has no parameters.
    async fn params(
        &self,
        policy: &Policy,
        binding: &Binding,
        write: &Admission<'_>,
    ) -> Result<Vec<Option<Value>>, String> {
        let configure = |why: &str| format!("failed to configure binding: {why}");
        let (api_version, kind_name) = match (&policy.param_kind, &binding.param) {
            (None, None) => return Ok(vec![None]),
            (Some(_), None) => return Ok(vec![Some(Value::Null)]),
            (None, Some(_)) => return Err(configure("paramKind not found")),
            (Some(kind), Some(_)) => kind,
        };
        let Some(param) = &binding.param else { return Ok(vec![None]) };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = self.sight.objects.kind(group, version, kind_name);
        let kind = kind.ok_or_else(|| {
            configure(&format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind_name}'"))
        })?;
        let namespace = match (kind.namespaced(), param.namespace.as_deref().filter(|it| !it.is_empty())) {
            (false, Some(_)) => {
                return Err(configure("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"));
            }
            (false, None) => "",
            (true, Some(namespace)) => namespace,
            (true, None) if write.namespace.is_empty() => {
                return Err(configure(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
                ));
            }
            (true, None) => write.namespace,
        };
        let found = self.find_params(kind, namespace, param).await.map_err(|it| configure(&it.message))?;
        if found.is_empty() && param.parameter_not_found_action.as_deref() != Some("Allow") {
            return Err(configure("no params found for policy binding with `Deny` parameterNotFoundAction"));
        }
        Ok(found.into_iter().map(Some).collect())
    }

    async fn find_params(&self, kind: &'static Kind, namespace: &str, param: &ParamRef) -> status::Result<Vec<Value>> {
        if let Some(name) = param.name.as_deref().filter(|it| !it.is_empty()) {
            let found = self.sight.find_of(kind, namespace, name).await?;
            return Ok(found.and_then(|it| serde_json::from_slice(&it.json).ok()).into_iter().collect());
        }
        let selector = param.selector.as_ref().map(Selector::from_label_selector).transpose()?.unwrap_or_default();
        let Some(table) = self.sight.objects.table(kind) else { return Ok(Vec::new()) };
        let prefix = if kind.namespaced() { format!("{}{namespace}/", kind.prefix()) } else { kind.prefix() };
        let snapshot = table.snapshot();
        let selected = snapshot.range(&prefix, None).filter(|it| selector.matches_with(|key| it.head.labels.get(key)));
        Ok(selected.map(|it| it.value()).collect())
    }

    fn judge(
        &self,
        policy: &Policy,
        write: &Admission<'_>,
        seen: &Seen,
        params: Option<&Value>,
        budget: &mut Budget,
    ) -> Vec<Complaint> {
        let compiled = match &policy.compiled {
            Ok(it) => it,
            Err(_) if policy.fails_open => return Vec::new(),
            Err(why) => {
                let message = format!("failed to configure policy: {why}");
                return vec![Complaint { message, reason: String::new(), at: 0 }];
            }
        };
        let asking = Asking { policy: &self.authority, identity: write.identity };
        let (complaints, notes) = compiled.judge(seen.bind(&asking, params), policy.fails_open, budget);
        for (key, text) in notes {
            write.notes.annotate(format!("{}/{key}", policy.name), text);
        }
        complaints
    }
}

/// Does with complaints what a binding wants. Gives the first that refuses.
fn enforce(policy: &Policy, binding: &Binding, complaints: Vec<Complaint>, write: &Admission<'_>) -> Option<Status> {
    let wants = |action: &str| binding.actions.iter().any(|it| it == action);
    let (name, by) = (&policy.name, &binding.name);
    let mut audited = Vec::new();
    let mut refusal = None;
    for it in complaints {
        if wants("Warn") {
            let text =
                format!("Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{by}': {}", it.message);
            write.notes.warn(text);
        }
        if wants("Audit") {
            audited.push(json!({"message": it.message, "policy": name, "binding": by, "expressionIndex": it.at,
                "validationActions": binding.actions}));
        }
        if wants("Deny") && refusal.is_none() {
            let why = format!("ValidatingAdmissionPolicy '{name}' with binding '{by}' denied request: {}", it.message);
            let mut status = forbidden(write, &why);
            if let Some(details) = status.details.as_mut() {
                details.causes.push(Cause { reason: String::new(), message: why, field: String::new() });
            }
            let (code, reason) = match it.reason.as_str() {
                "Forbidden" => (403, "Forbidden"),
                "Unauthorized" => (401, "Unauthorized"),
                "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
                _ => (422, "Invalid"),
            };
            refusal = Some(status.with_code(code, reason));
        }
    }
    if !audited.is_empty() {
        write.notes.annotate(FAILURES, Value::Array(audited).to_string());
    }
    refusal
}

#[async_trait]
impl Plugin for Policies {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        write.kind.group != selection::GROUP
            && write.sub != Some(Sub::Binding)
            && !self.bindings.is_empty()
            && !self.policies.is_empty()
    }

    fn sees_asides(&self) -> bool {
        true
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let equivalents = selection::equivalents(&self.sight, write);
        // In the form of each kind that is asked for: hardly ever more than one.
        let mut all_seen: Vec<Seen> = Vec::new();
        let mut refusal = None;
        for policy in self.bound().iter() {
            let Some(kind) = policy.selection.covers(write, &equivalents, false) else { continue };
            if !policy.selection.selects(&self.sight, write, subject.draft).await? {
                continue;
            }
            let mut budget = Budget::new(REQUEST_COST_BUDGET);
            for binding in &policy.bindings {
                if let Some(it) = &binding.selection
                    && !(it.covers(write, &equivalents, true).is_some()
                        && it.selects(&self.sight, write, subject.draft).await?)
                {
                    continue;
                }
                let complaints = match self.params(policy, binding, write).await {
                    Ok(all) => {
                        if !all_seen.iter().any(|it| std::ptr::eq(it.shown.kind, kind)) {
                            let shown = Shown::of(&self.caller, write, kind, subject.draft, subject.json).await?;
                            all_seen.push(Seen::of(&self.sight, write, shown).await?);
                        }
                        let seen = all_seen.iter().find(|it| std::ptr::eq(it.shown.kind, kind));
                        let Some(seen) = seen else { continue };
                        let judged =
                            all.iter().flat_map(|it| self.judge(policy, write, seen, it.as_ref(), &mut budget));
                        judged.collect()
                    }
                    Err(_) if policy.fails_open => Vec::new(),
                    Err(message) => vec![Complaint { message, reason: String::new(), at: 0 }],
                };
                let refused = enforce(policy, binding, complaints, write);
                refusal = refusal.or(refused);
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}
