//! What expressions of admission see: the object, the request, the namespace, and the authorizer.
//!
//! In: a write, and the kind in whose form it is shown. Out: the values by their names, made once a write and only if there is an expression to evaluate; and what match
//! conditions say. Values borrow from what is made here, so that nothing of it is held across a wait.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MatchCondition;
use orlop_api::cel::authorizer::{Authority, Authorizer as Asked, Decision as Answer, Request as Question};
use orlop_api::cel::types::Type;
use orlop_api::cel::{Bindings, Budget, MATCH_CONDITIONS_COST_BUDGET, Program, Val};
use orlop_api::draft::Draft;
use orlop_api::kind::Kind;
use orlop_api::kinds::webhook_rules;
use orlop_api::status::{self, Status};
use serde_json::{Value, json};

use super::selection::operation;
use super::{Sight, is};
use crate::authorize::Policy;
use crate::callout::Caller;
use crate::convert;
use crate::stage::{Admission, Attributes, Authorizer, Decision, Identity, Operation};

/// A write in the form of the kind that a rule has named.
#[derive(Debug)]
pub struct Shown {
    pub kind: &'static Kind,
    /// Null where there is none.
    pub object: Value,
    pub old: Value,
}

impl Shown {
    /// A write in the form of a kind. The bytes are the object as it would be stored, the draft is it before.
    ///
    /// # Errors
    /// When something cannot be read, or not be converted.
    pub async fn of(
        caller: &Caller,
        write: &Admission<'_>,
        kind: &'static Kind,
        draft: Option<&Draft<'_>>,
        json: Option<&[u8]>,
    ) -> status::Result<Self> {
        let object = match (write.aside, json, draft) {
            (Some(aside), _, _) => aside.object.lock().clone(),
            (None, Some(json), _) => serde_json::from_slice(json).map_err(Status::internal)?,
            (None, None, Some(draft)) => draft.value()?,
            (None, None, None) => Value::Null,
        };
        let old = match (write.aside, write.old) {
            (Some(aside), _) => aside.old.clone(),
            (None, Some(json)) => serde_json::from_slice(json).map_err(Status::internal)?,
            (None, None) => Value::Null,
        };
        let internal = |error: Status| Status::internal(error.message);
        Ok(Shown {
            kind,
            object: convert::between(caller, write.kind, kind, object).await.map_err(internal)?,
            old: convert::between(caller, write.kind, kind, old).await.map_err(internal)?,
        })
    }
}

/// The values that expressions see.
pub struct Seen {
    pub shown: Shown,
    pub request: Value,
    pub namespace: Value,
    question: Question,
}

impl Seen {
    /// Of a write.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn of(sight: &Sight, write: &Admission<'_>, shown: Shown) -> status::Result<Self> {
        let mut namespace = Value::Null;
        if !write.namespace.is_empty() && !is(write.kind, "", "Namespace") {
            let found = sight.find("Namespace", "", write.namespace).await?;
            namespace = found.and_then(|it| serde_json::from_slice(&it.json).ok()).unwrap_or_default();
        }
        let kind = shown.kind;
        let question = Question {
            group: kind.group.to_owned(),
            resource: kind.names.plural.to_owned(),
            subresource: write.subresource().to_owned(),
            namespace: write.namespace.to_owned(),
            name: write.name.to_owned(),
            ..Question::default()
        };
        Ok(Seen { request: request(write, kind), shown, namespace, question })
    }

    /// The variables; `params` only where a policy has them.
    pub fn bind<'a>(&'a self, asked: &'a dyn Asked, params: Option<&'a Value>) -> Bindings<'a> {
        let mut all = vec![
            ("object", Val::of(&self.shown.object, None)),
            ("oldObject", Val::of(&self.shown.old, None)),
            ("request", Val::of(&self.request, None)),
            ("namespaceObject", Val::of(&self.namespace, None)),
            ("authorizer", Val::Authority(Authority::new(asked))),
            ("authorizer.requestResource", Val::Authority(Authority::of_resource(asked, self.question.clone()))),
        ];
        if let Some(params) = params {
            all.push(("params", Val::of(params, None)));
        }
        all
    }
}

/// The request in the form of a kind, as webhooks and expressions see it, without the objects.
pub fn request(write: &Admission<'_>, shown: &Kind) -> Value {
    let of = |kind: &Kind| match write.aside {
        Some(it) => json!({"group": it.group, "version": it.version, "kind": it.kind}),
        None => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    };
    let at = |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.names.plural});
    let who = write.identity;
    let mut user = json!({"username": who.user, "groups": who.groups});
    if !who.uid.is_empty() {
        user["uid"] = who.uid.as_str().into();
    }
    if !who.extra.is_empty() {
        user["extra"] = json!(who.extra);
    }
    let mut out = json!({
        "kind": of(shown), "resource": at(shown), "requestKind": of(write.kind), "requestResource": at(write.kind),
        "operation": operation(write.operation), "userInfo": user, "dryRun": write.dry_run,
    });
    if !write.subresource().is_empty() {
        out["subResource"] = write.subresource().into();
        out["requestSubResource"] = write.subresource().into();
    }
    for (field, value) in [("name", write.name), ("namespace", write.namespace)] {
        if !value.is_empty() {
            out[field] = value.into();
        }
    }
    out["options"] = options(write);
    out
}

fn options(write: &Admission<'_>) -> Value {
    let Some(request) = write.request else { return Value::Null };
    let kind = match (write.operation, request.verb) {
        (Operation::Connect, _) => return Value::Null,
        (_, crate::request::Verb::Patch) => "PatchOptions",
        (Operation::Create, _) => "CreateOptions",
        (Operation::Update, _) => "UpdateOptions",
        (Operation::Delete, _) => "DeleteOptions",
    };
    let mut out = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    let given = &request.options;
    if write.dry_run {
        out["dryRun"] = json!(["All"]);
    }
    if !given.field_manager.is_empty() {
        out["fieldManager"] = given.field_manager.as_str().into();
    }
    if let Some(force) = given.force {
        out["force"] = force.into();
    }
    out
}

/// Asks the authorizer on behalf of who writes.
pub struct Asking<'a> {
    pub policy: &'a Arc<Policy>,
    pub identity: &'a Identity,
}

impl Asked for Asking<'_> {
    fn decide(&self, asked: &Question) -> Answer {
        let account = asked.service_account.as_ref().map(|(namespace, name)| {
            let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
            Identity::new(&format!("system:serviceaccount:{namespace}:{name}"), &groups)
        });
        let attributes = Attributes {
            identity: account.as_ref().unwrap_or(self.identity),
            verb: &asked.verb,
            resource_request: asked.path.is_none(),
            group: &asked.group,
            version: "*",
            resource: &asked.resource,
            subresource: &asked.subresource,
            namespace: &asked.namespace,
            name: &asked.name,
            path: asked.path.as_deref().unwrap_or_default(),
            field_selector: &asked.field_selector,
            label_selector: "",
        };
        match self.policy.authorize(&attributes) {
            Decision::Allow => Answer { allowed: true, ..Answer::default() },
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Answer { reason, ..Answer::default() },
        }
    }
}

/// Conditions under which a webhook or policy is called at all.
#[derive(Debug, Default)]
pub struct Conditions(Vec<(String, Program)>);

/// What conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    Yes,
    No,
    /// They could not be evaluated, and none said no.
    Failed(String),
}

impl Conditions {
    /// Reads them. They were compiled before they were stored; what no longer compiles is an error of every request.
    ///
    /// # Errors
    /// Which one cannot be compiled.
    pub fn new(all: &[MatchCondition], with_params: bool) -> Result<Self, String> {
        let environment = webhook_rules::environment(with_params);
        let compiled = all.iter().map(|it| {
            let program = Program::compile(&it.expression, &environment, &[Type::Bool]);
            Ok((it.name.clone(), program.map_err(|error| error.text)?))
        });
        compiled.collect::<Result<_, _>>().map(Conditions)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold.
    pub fn met<'a>(&'a self, bindings: &Bindings<'a>) -> Met {
        let mut budget = Budget::new(MATCH_CONDITIONS_COST_BUDGET);
        let mut failures = Vec::new();
        for (name, program) in &self.0 {
            match program.evaluate(bindings, &mut budget) {
                Ok(value) => match value.as_bool() {
                    Some(true) => {}
                    Some(false) => return Met::No,
                    None => failures.push(format!("'{name}' did not evaluate to bool")),
                },
                Err(error) => failures.push(format!("expression '{name}' resulted in error: {error}")),
            }
        }
        if failures.is_empty() { Met::Yes } else { Met::Failed(failures.join(", ")) }
    }
}
