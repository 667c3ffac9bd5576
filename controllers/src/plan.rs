//! What a controller decided: writes in order, and when to look again if nothing happens before.
//!
//! In: actions, from pure code. Out: a value that the runtime carries out without choices, and that prints as text, one
//! line a write: golden tests and dry runs read that.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::ObjectMeta;
use orlop_client::Key;
use orlop_client::events::{Note, Severity};
use orlop_client::write::{Action, Resource};

use crate::view::key_of;

/// An Event to tell once it is known whether a write succeeded. `{name}` stands for the written object's name, `{error}`
/// for what the server said.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// The object it is about.
    pub regarding: ObjectReference,
    /// The reason and the message of success.
    pub success: (&'static str, String),
    /// The reason and the message of failure, a warning; nothing is told if absent.
    pub failure: Option<(&'static str, String)>,
}

impl Telling {
    /// The event after success: the write made or changed `name`.
    pub fn succeeded(&self, name: &str) -> Note {
        self.note(Severity::Normal, self.success.0, self.success.1.replace("{name}", name))
    }

    /// The event after failure.
    pub fn failed(&self, error: &str) -> Option<Note> {
        let (reason, message) = self.failure.as_ref()?;
        Some(self.note(Severity::Warning, reason, message.replace("{error}", error)))
    }

    fn note(&self, severity: Severity, reason: &str, message: String) -> Note {
        Note { regarding: self.regarding.clone(), severity, reason: reason.to_owned(), message }
    }
}

/// What the server has to confirm of an object before a write goes out, as the stores may lag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    /// The kind.
    pub resource: Resource,
    /// Where the object is, or was.
    pub key: Key,
    /// Another object in its place is as good as none; if empty, any object there counts.
    pub uid: String,
    /// Whether it must be there and not about to go, or must be gone.
    pub alive: bool,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = if self.alive { "alive" } else { "gone" };
        write!(f, "{} {} uid={} is {is}", self.resource.plural, self.key, self.uid)
    }
}

/// What no pod may use, as the server has to confirm.
#[derive(Clone, Debug, PartialEq)]
pub enum Unused {
    /// The claim of this metadata, among the volumes of pods that are on a node.
    Claim(ObjectMeta),
    /// The secret, anywhere in a pod.
    Secret(Key),
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unused::Claim(claim) => write!(f, "no pod uses {}", key_of(claim)),
            Unused::Secret(secret) => write!(f, "no pod names {secret}"),
        }
    }
}

/// A token to ask for before a write, whose `data.token` it becomes. It is bound to the secret that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWanted {
    /// The service account.
    pub account: Key,
    /// The secret's name.
    pub secret: String,
    /// The secret's uid.
    pub uid: String,
}

impl fmt::Display for TokenWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token of {} bound to the secret {} uid={}", self.account, self.secret, self.uid)
    }
}

/// What somebody else must be allowed, or a write does not go out: to create one of these subresources of certificate requests, which are
/// tried in order. The message of the first that is granted becomes that of the last condition of what is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewWanted {
    /// Who.
    pub user: String,
    /// Their uid.
    pub uid: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// What else is known of them.
    pub extra: BTreeMap<String, Vec<String>>,
    /// Subresources, and what is said when they are granted.
    pub choices: Vec<(&'static str, &'static str)>,
}

impl fmt::Display for ReviewWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choices: Vec<&str> = self.choices.iter().map(|(it, _)| *it).collect();
        write!(f, "{} may have {}", self.user, choices.join(" or "))
    }
}

/// One write, and what to tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What must be true, or the write does not go out.
    pub facts: Vec<Fact>,
    /// The collections that must be empty, by their paths, or the write does not go out.
    pub empty: Vec<String>,
    /// What no pod may use, or the write does not go out.
    pub unused: Option<Unused>,
    /// Whether what follows goes out though this was refused.
    pub goes_on: bool,
    /// What the write is to carry besides.
    pub token: Option<TokenWanted>,
    /// What somebody else must be allowed.
    pub review: Option<ReviewWanted>,
    /// The write.
    pub action: Action,
    /// The event that goes with it.
    pub telling: Option<Telling>,
}

impl From<Action> for Step {
    fn from(action: Action) -> Step {
        Step {
            facts: Vec::new(),
            empty: Vec::new(),
            unused: None,
            goes_on: false,
            token: None,
            review: None,
            action,
            telling: None,
        }
    }
}

/// What to do about one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes, in order. Neighbours that create, or that delete, may go out together.
    pub steps: Vec<Step>,
    /// Events that need no write.
    pub notes: Vec<Note>,
    /// When to decide again though nothing has changed.
    pub recheck: Option<Duration>,
}

impl Plan {
    /// Adds a write.
    pub fn act(&mut self, action: Action) {
        self.steps.push(Step::from(action));
    }

    /// Adds a write that goes out only if the server confirms `facts`.
    pub fn act_given(&mut self, facts: Vec<Fact>, action: Action) {
        self.steps.push(Step { facts, ..Step::from(action) });
    }

    /// Adds a write that may be refused without those after it being held back.
    pub fn act_regardless(&mut self, action: Action) {
        self.steps.push(Step { goes_on: true, ..Step::from(action) });
    }

    /// Adds a write and the event that goes with it.
    pub fn act_and_tell(&mut self, action: Action, telling: Telling) {
        self.steps.push(Step { telling: Some(telling), ..Step::from(action) });
    }

    /// Adds an event.
    pub fn tell(&mut self, regarding: ObjectReference, severity: Severity, reason: &str, message: impl Into<String>) {
        self.notes.push(Note { regarding, severity, reason: reason.to_owned(), message: message.into() });
    }

    /// Looks again in `delay` at the latest.
    pub fn recheck_in(&mut self, delay: Duration) {
        self.recheck = Some(self.recheck.map_or(delay, |it| it.min(delay)));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{}", step.action)?;
            for fact in &step.facts {
                writeln!(f, "  if {fact}")?;
            }
            if !step.empty.is_empty() {
                writeln!(f, "  if {} are empty", step.empty.join(" "))?;
            }
            if let Some(it) = &step.unused {
                writeln!(f, "  if {it}")?;
            }
            if let Some(token) = &step.token {
                writeln!(f, "  with {token}")?;
            }
            if let Some(review) = &step.review {
                writeln!(f, "  if {review}")?;
            }
            if let Some(telling) = &step.telling {
                writeln!(f, "  and tell {}: {}", telling.success.0, telling.success.1)?;
            }
        }
        for note in &self.notes {
            writeln!(f, "tell {:?} {}: {}", note.severity, note.reason, note.message)?;
        }
        match self.recheck {
            Some(delay) => writeln!(f, "look again in {delay:?}"),
            None if self.steps.is_empty() && self.notes.is_empty() => writeln!(f, "nothing to do"),
            None => Ok(()),
        }
    }
}
