//! The pod network of hollow nodes: addresses from the node's range, and nothing in the kernel.
//!
//! It keeps no ledger: hollow pods end with the process.

use async_trait::async_trait;
use orlop_api::ranges::Ranges;
use parking_lot::Mutex;

use super::addresses::Addresses;
use super::ips::Ips;
use super::{HostPort, NetworkError, PodNetwork};

/// Addresses of one hollow node.
#[derive(Debug)]
pub struct HollowNetwork {
    addresses: Mutex<Addresses>,
}

impl HollowNetwork {
    /// A network that hands out the addresses of `pod_cidr`.
    pub fn open(pod_cidr: Ranges) -> Result<Self, NetworkError> {
        let addresses = Addresses::new(pod_cidr)
            .ok_or_else(|| NetworkError::Config(format!("pod CIDR {pod_cidr} is too small for a pod")))?;
        Ok(Self { addresses: Mutex::new(addresses) })
    }
}

#[async_trait]
impl PodNetwork for HollowNetwork {
    async fn attach(
        &self,
        pod_uid: &str,
        _netns_pid: Option<u32>,
        _host_ports: &[HostPort],
    ) -> Result<Ips, NetworkError> {
        let mut addresses = self.addresses.lock();
        let ranges = addresses.ranges();
        addresses.take(pod_uid).ok_or_else(|| NetworkError::Exhausted(ranges.to_string()))
    }

    fn address_of(&self, pod_uid: &str) -> Option<Ips> {
        self.addresses.lock().of(pod_uid)
    }

    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        self.addresses.lock().release(pod_uid);
        Ok(())
    }

    async fn reconcile(&self, pod_uids: &[&str]) -> Result<(), NetworkError> {
        let mut addresses = self.addresses.lock();
        let gone: Vec<String> =
            addresses.iter().map(|it| it.0).filter(|it| !pod_uids.contains(it)).map(str::to_owned).collect();
        for pod in gone {
            addresses.release(&pod);
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn teardown(&self) -> Result<(), NetworkError> {
        self.reconcile(&[]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pods_get_addresses_and_give_them_back() {
        let network = HollowNetwork::open("10.244.9.0/30".parse().unwrap()).unwrap();
        let address = network.attach("a", None, &[]).await.unwrap();
        assert_eq!(address.to_string(), "10.244.9.2");
        assert!(matches!(network.attach("b", None, &[]).await, Err(NetworkError::Exhausted(_))));
        network.reconcile(&["b"]).await.unwrap();
        assert_eq!(network.address_of("a"), None);
        assert_eq!(network.attach("b", None, &[]).await.unwrap(), address);
        assert!(HollowNetwork::open("10.244.9.0/31".parse().unwrap()).is_err());
    }
}
