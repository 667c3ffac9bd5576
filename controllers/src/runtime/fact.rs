//! Asks the server for what a write rests on.
//!
//! In: a [`Fact`]. Out: nothing if it is so, and a conflict if not, after which the key is decided on again. What was
//! found gone once stays so, as a uid never returns; the last of those are remembered, so that ten thousand dependents
//! of one owner cost one question.

use std::collections::{HashSet, VecDeque};

use kube::api::{GetParams, ListParams, ObjectList, PartialObjectMeta, Request};
use orlop_client::write::{Refused, WRITE_TIMEOUT};
use parking_lot::Mutex;

use crate::plan::Fact;

/// What is remembered as gone: 200 bytes each, under a megabyte.
const REMEMBERED: usize = 4096;

/// The objects that were found gone last.
#[derive(Default)]
pub struct Facts(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    order: VecDeque<Fact>,
    all: HashSet<Fact>,
}

impl Facts {
    /// Makes sure of it.
    ///
    /// # Errors
    /// `Conflict` when it is otherwise, `Later` when the server does not say.
    pub async fn confirm(&self, fact: &Fact, client: &kube::Client) -> Result<(), Refused> {
        if self.0.lock().all.contains(fact) {
            return Ok(());
        }
        let path = fact.resource.path(fact.key.namespace());
        let request = Request::new(path).get_metadata(fact.key.name(), &GetParams::default());
        let request = request.map_err(|error| Refused::Later(error.to_string()))?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, client.request::<PartialObjectMeta>(request)).await;
        let found = match answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))? {
            Ok(found) => Some(found.metadata),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => return Err(Refused::Later(error.to_string())),
        };
        let found = found.filter(|it| fact.uid.is_empty() || it.uid.as_deref() == Some(&fact.uid));
        let so = match &found {
            Some(meta) => fact.alive && meta.deletion_timestamp.is_none(),
            None => !fact.alive,
        };
        if !so {
            return Err(Refused::Conflict(format!("it is not so that {fact}")));
        }
        if found.is_none() {
            self.0.lock().note(fact);
        }
        Ok(())
    }
}

/// Makes sure that there is nothing under `path`.
///
/// # Errors
/// `Conflict` when there is, `Later` when the server does not say.
pub async fn confirm_empty(path: &str, client: &kube::Client) -> Result<(), Refused> {
    let request = Request::new(path).list_metadata(&ListParams::default().limit(1));
    let request = request.map_err(|error| Refused::Later(error.to_string()))?;
    let asked = client.request::<ObjectList<PartialObjectMeta>>(request);
    let answer = tokio::time::timeout(WRITE_TIMEOUT, asked).await;
    match answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))? {
        Ok(list) if list.items.is_empty() => Ok(()),
        Ok(_) => Err(Refused::Conflict(format!("{path} is not empty"))),
        Err(error) => Err(Refused::Later(error.to_string())),
    }
}

impl Memory {
    fn note(&mut self, fact: &Fact) {
        // A name, unlike a uid, can return.
        if fact.uid.is_empty() || !self.all.insert(fact.clone()) {
            return;
        }
        self.order.push_back(fact.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}
