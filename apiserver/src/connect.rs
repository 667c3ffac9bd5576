//! Subresources that are no view of a stored object: a service account's token, a container's log.
//!
//! Each is a [`Connector`], one file each; [`connectors`] lists them.

pub mod log_proxy;
pub mod token;

use std::sync::Arc;

use crate::admission::Sight;
use crate::authenticate::service_account::Issuer;
use crate::pki::Pki;
use crate::serve::ServeError;
use crate::stage::{Connector, Plugin};

/// All connectors.
///
/// # Errors
/// Where the certificate that is shown to agents cannot be used.
pub fn connectors(
    pki: &Pki,
    issuer: &Arc<Issuer>,
    sight: &Sight,
    plugins: &[Arc<dyn Plugin>],
) -> Result<Vec<Arc<dyn Connector>>, ServeError> {
    Ok(vec![
        Arc::new(token::Tokens::new(issuer.clone(), sight.clone(), plugins.to_vec())),
        Arc::new(log_proxy::LogProxy::new(pki.ca(), &pki.kubelet_client, sight.clone())?),
    ])
}

#[cfg(test)]
mod tests;
