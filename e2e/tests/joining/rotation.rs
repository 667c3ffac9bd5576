//! Both certificates are replaced before they run out, while the agent works.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_client::clock;
use orlop_e2e::cluster::Cluster;
use orlop_e2e::{tool, wait};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};

use super::machine::{Machine, ask_with, invitation, is_ready};
use super::{LIMIT, alone};

/// How long a certificate near its end has lived, and how long it still lives: it is renewed between 70 and 90 % of the whole, 8 to 32 s
/// after it was made here.
const LIVED: Duration = Duration::from_secs(76);
const LIVES: Duration = Duration::from_secs(44);

/// A certificate of the cluster's CA that is near its end, with its key.
fn near_its_end(cluster: &Cluster, node: &str, serving: bool) -> Result<String> {
    let pki = cluster.data_dir().join("pki");
    let read = |name: &str| std::fs::read_to_string(pki.join(name)).context("the CA");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt")?, KeyPair::from_pem(&read("ca.key")?)?)?;
    let names = if serving { vec![node.to_owned()] } else { Vec::new() };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let usage = if serving { ExtendedKeyUsagePurpose::ServerAuth } else { ExtendedKeyUsagePurpose::ClientAuth };
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let now = std::time::SystemTime::from(clock::now());
    (params.not_before, params.not_after) = ((now - LIVED).into(), (now + LIVES).into());
    let key = KeyPair::generate()?;
    Ok(format!("{}{}", params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

/// When the certificate of a file ends, as openssl prints it.
fn end_of(file: &Path) -> Result<String> {
    tool::run(Command::new(tool::machine("openssl", "openssl")?).args(["x509", "-noout", "-enddate", "-in"]).arg(file))
}

#[test]
fn certificates_are_renewed_while_the_agent_works() -> Result<()> {
    Cluster::with(alone(), |cluster| {
        let kubectl = cluster.kubectl()?;
        let mut machine = Machine::join(cluster, "m1", &invitation(cluster, &[])?)?;
        is_ready(cluster, "m1", &mut machine)?;
        machine.serves_under_its_name(cluster)?;
        machine.stop()?;
        let (client, serving) = (machine.folder().join("pki/client.pem"), machine.folder().join("pki/serving.pem"));
        let aside = cluster.folder().join("old.pem");
        std::fs::write(&client, near_its_end(cluster, "m1", false)?)?;
        std::fs::write(&serving, near_its_end(cluster, "m1", true)?)?;
        std::fs::copy(&client, &aside)?;
        let (client_end, serving_end) = (end_of(&client)?, end_of(&serving)?);

        machine.start(cluster, &format!("orlop node join {}", cluster.url()))?;
        machine.says("the agent runs")?;
        is_ready(cluster, "m1", &mut machine)?;
        // Its watches run by now, and go on by the connection of the old certificate.
        kubectl.run(&["create", "deployment", "web", "--image", "web:1"])?;
        kubectl.rolled_out("default", "web")?;
        ensure!(end_of(&client)? == client_end, "it was renewed before the watches ran: {}", machine.tail());
        for (file, end) in [(&client, &client_end), (&serving, &serving_end)] {
            wait::until("a certificate is renewed", LIMIT, || {
                ensure!(&end_of(file)? != end, "it is the old one: {}", machine.tail());
                Ok(())
            })?;
        }
        // Long after the old ones have run out everything goes on as before: watches, leases, statuses, the port.
        wait::until("the old certificate has run out", LIMIT, || {
            let code = ask_with(&aside, cluster, "/api/v1/nodes/m1")?;
            ensure!(code == 401, "it is answered {code}");
            Ok(())
        })?;
        ensure!(machine.asks(cluster, "/api/v1/nodes/m1")? == 200, "the new one is good");
        machine.serves_under_its_name(cluster)?;
        kubectl.run(&["scale", "deployment", "web", "--replicas=3"])?;
        kubectl.rolled_out("default", "web")?;
        is_ready(cluster, "m1", &mut machine)?;
        let log = machine.log();
        ensure!(!log.contains(" WARN ") && !log.contains(" ERROR "), "nothing was broken off: {log}");
        Ok(())
    })
}
