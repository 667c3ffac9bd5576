//! The pod network of a runtime that makes it itself, by CNI plugins: the agent learns the addresses and changes nothing.
//!
//! The runtime connects a sandbox when it makes it, host ports among it, and disconnects it when it stops it. Other nodes' pods are the plugins' business, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::ips::Ips;
use super::{HostPort, NetworkError, PodNetwork};
use crate::runtime::Runtime;

/// The addresses that a runtime gave its pods.
pub struct CniNetwork {
    runtime: Arc<dyn Runtime>,
    addresses: Mutex<BTreeMap<String, Ips>>,
}

impl CniNetwork {
    /// Of a runtime; none is known yet.
    pub fn of(runtime: Arc<dyn Runtime>) -> Self {
        Self { runtime, addresses: Mutex::default() }
    }
}

#[async_trait]
impl PodNetwork for CniNetwork {
    async fn attach(&self, pod_uid: &str, _: Option<u32>, _: &[HostPort]) -> Result<Ips, NetworkError> {
        let told = self.runtime.network_address(pod_uid).await;
        let address = told.map_err(|it| NetworkError::Config(it.to_string()))?;
        let none = || NetworkError::Config("the runtime has given the sandbox no address".to_owned());
        let address = Ips::from(address.ok_or_else(none)?);
        self.addresses.lock().insert(pod_uid.to_owned(), address);
        Ok(address)
    }

    fn address_of(&self, pod_uid: &str) -> Option<Ips> {
        self.addresses.lock().get(pod_uid).copied()
    }

    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        self.addresses.lock().remove(pod_uid);
        Ok(())
    }

    async fn reconcile(&self, pod_uids: &[&str]) -> Result<(), NetworkError> {
        self.addresses.lock().retain(|uid, _| pod_uids.contains(&uid.as_str()));
        Ok(())
    }

    async fn refresh(&self) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn teardown(&self) -> Result<(), NetworkError> {
        self.addresses.lock().clear();
        Ok(())
    }
}
