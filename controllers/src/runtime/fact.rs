//! Asks the server whether an object is gone, before a write that rests on that.
//!
//! In: an [`Absence`]. Out: nothing if the object is gone, and a conflict if it is there, after which the key is decided
//! on again. What was found gone once stays so, as a uid never returns; the last of those are remembered, so that ten
//! thousand dependents of one owner cost one question.

use std::collections::{HashSet, VecDeque};

use kube::api::{GetParams, PartialObjectMeta, Request};
use orlop_client::write::{Refused, WRITE_TIMEOUT};
use parking_lot::Mutex;

use crate::plan::Absence;

/// What is remembered as gone: 200 bytes each, under a megabyte.
const REMEMBERED: usize = 4096;

/// The objects that were found gone last.
#[derive(Default)]
pub struct Absences(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    order: VecDeque<Absence>,
    all: HashSet<Absence>,
}

impl Absences {
    /// Makes sure that the object is gone.
    ///
    /// # Errors
    /// `Conflict` when it is there, `Later` when the server does not say.
    pub async fn prove(&self, absence: &Absence, client: &kube::Client) -> Result<(), Refused> {
        if self.0.lock().all.contains(absence) {
            return Ok(());
        }
        let path = absence.resource.path(absence.key.namespace());
        let request = Request::new(path).get_metadata(absence.key.name(), &GetParams::default());
        let request = request.map_err(|error| Refused::Later(error.to_string()))?;
        let answer = tokio::time::timeout(WRITE_TIMEOUT, client.request::<PartialObjectMeta>(request)).await;
        match answer.map_err(|_| Refused::Later("the server did not answer in time".to_owned()))? {
            Ok(found) if absence.uid.is_empty() || found.metadata.uid.as_deref() == Some(&absence.uid) => {
                Err(Refused::Conflict(format!("{absence} is still there")))
            }
            Ok(_) => {
                self.0.lock().note(absence);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.0.lock().note(absence);
                Ok(())
            }
            Err(error) => Err(Refused::Later(error.to_string())),
        }
    }
}

impl Memory {
    fn note(&mut self, absence: &Absence) {
        // A name, unlike a uid, can return.
        if absence.uid.is_empty() || !self.all.insert(absence.clone()) {
            return;
        }
        self.order.push_back(absence.clone());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}
