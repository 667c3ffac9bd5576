//! The network of a node that has no range of addresses yet: pods on the host's network need none, and the others wait.

use async_trait::async_trait;

use super::ips::Ips;
use super::{HostPort, NetworkError, PodNetwork};

/// No network.
#[derive(Clone, Copy, Debug)]
pub struct AbsentNetwork;

#[async_trait]
impl PodNetwork for AbsentNetwork {
    async fn attach(&self, _: &str, _: Option<u32>, _: &[HostPort]) -> Result<Ips, NetworkError> {
        Err(NetworkError::Config("network is not ready: the node has no range of pod addresses yet".to_owned()))
    }

    fn address_of(&self, _: &str) -> Option<Ips> {
        None
    }

    async fn detach(&self, _: &str) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn reconcile(&self, _: &[&str]) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn refresh(&self) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn teardown(&self) -> Result<(), NetworkError> {
        Ok(())
    }
}
