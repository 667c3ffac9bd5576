//! What expressions ask of the authorizer: `authorizer.group('').resource('pods').namespace('a').check('get').allowed()`.

use std::rc::Rc;

use super::eval::Error;
use super::functions as f;
use super::functions::Op;
use super::value::Val;

/// What may be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The namespace and name of a service account that is meant instead of the user.
    pub service_account: Option<(String, String)>,
    /// The path, where it is no resource.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
    pub verb: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    /// Why it could not be decided; empty where it could.
    pub error: String,
}

/// Who decides.
pub trait Authorizer {
    /// Decides on a request of the user on whose behalf the expression is evaluated.
    fn decide(&self, request: &Request) -> Decision;
}

/// A request in the making, or its answer.
#[derive(Clone)]
pub struct Authority<'a> {
    decider: &'a dyn Authorizer,
    stage: Stage,
    request: Rc<Request>,
    decision: Rc<Decision>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision,
}

impl<'a> Authority<'a> {
    /// The variable `authorizer`.
    pub fn new(decider: &'a dyn Authorizer) -> Self {
        Authority { decider, stage: Stage::Authorizer, request: Rc::default(), decision: Rc::default() }
    }

    /// The variable `authorizer.requestResource`: a check of a resource that is given.
    pub fn of_resource(decider: &'a dyn Authorizer, request: Request) -> Self {
        Authority { decider, stage: Stage::Resource, request: Rc::new(request), decision: Rc::default() }
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => f::AUTHORIZER,
            Stage::Path => f::PATH_CHECK,
            Stage::Group => f::GROUP_CHECK,
            Stage::Resource => f::RESOURCE_CHECK,
            Stage::Decision => f::DECISION,
        }
    }

    /// Calls one of its methods.
    ///
    /// # Errors
    /// Where it has no such method.
    pub fn apply(&self, op: Op, args: &[Val<'a>]) -> Result<Val<'a>, Error> {
        let text = |at: usize| args.get(at).and_then(Val::as_text).map(str::to_owned).ok_or_else(Error::no_overload);
        let mut next = self.clone();
        let request = Rc::make_mut(&mut next.request);
        match (self.stage, op) {
            (Stage::Authorizer, Op::AuthServiceAccount) => request.service_account = Some((text(0)?, text(1)?)),
            (Stage::Authorizer, Op::AuthPath) => {
                request.path = Some(text(0)?);
                next.stage = Stage::Path;
            }
            (Stage::Authorizer, Op::AuthGroup) => {
                request.group = text(0)?;
                next.stage = Stage::Group;
            }
            (Stage::Group, Op::AuthResource) => {
                request.resource = text(0)?;
                next.stage = Stage::Resource;
            }
            (Stage::Resource, Op::AuthSubresource) => request.subresource = text(0)?,
            (Stage::Resource, Op::AuthNamespace) => request.namespace = text(0)?,
            (Stage::Resource, Op::AuthName) => request.name = text(0)?,
            (Stage::Resource, Op::AuthFields) => request.field_selector = text(0)?,
            (Stage::Resource, Op::AuthLabels) => request.label_selector = text(0)?,
            (Stage::Path | Stage::Resource, Op::AuthCheck) => {
                request.verb = text(0)?;
                next.decision = Rc::new(self.decider.decide(request));
                next.stage = Stage::Decision;
            }
            (Stage::Decision, Op::Allowed) => return Ok(Val::Bool(self.decision.allowed)),
            (Stage::Decision, Op::Reason) => return Ok(Val::text(self.decision.reason.as_str())),
            (Stage::Decision, Op::Errored) => return Ok(Val::Bool(!self.decision.error.is_empty())),
            (Stage::Decision, Op::Error) => return Ok(Val::text(self.decision.error.as_str())),
            _ => return Err(Error::no_overload()),
        }
        Ok(Val::Authority(next))
    }
}
