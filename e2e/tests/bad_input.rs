//! Bad input: each mistake gets the error that Kubernetes gives, and the server goes on.

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use orlop_e2e::child::Child;
use orlop_e2e::expect;
use orlop_e2e::server::{Answer, Credentials, Request, Server};
use orlop_e2e::{tool, wait};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tempfile::TempDir;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("orlop-bad-").tempdir()?)
}

/// Checks an answer: its code, its reason and its message.
fn check(what: &str, answer: &Answer, code: u16, reason: &str, message: &str) -> Result<()> {
    ensure!(answer.code == code, "{what}: {code} {reason} expected, and it is {answer:?}");
    if code >= 300 {
        ensure!(
            answer.json["kind"] == "Status" && answer.json["status"] == "Failure",
            "{what}: no Status but {answer:?}"
        );
        ensure!(answer.json["code"] == code, "{what}: the Status has another code: {answer:?}");
        let found = answer.json["reason"].as_str().unwrap_or_default();
        ensure!(found == reason, "{what}: the reason should be {reason:?}: {answer:?}");
        expect::check(message, answer.json["message"].as_str().unwrap_or_default()).with_context(|| what.to_owned())?;
    }
    Ok(())
}

#[test]
fn bodies_are_refused_as_kubernetes_refuses_them() -> Result<()> {
    let folder = folder()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let name = |it: &str| format!(r#"{{"metadata":{{"name":"{it}"}}}}"#);
    let label = |key: &str, value: &str| format!(r#"{{"metadata":{{"name":"a","labels":{{"{key}":"{value}"}}}}}}"#);
    let deep = format!(r#"{{"metadata":{{"name":"a"}},"data":{}1{}}}"#, r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
    let (json, yaml) = ("application/json", "application/yaml");
    let long = "a".repeat(254);
    let invalid = "Invalid";
    let no_name = "must be no more than 253 *";
    let cases: Vec<(&str, String, &str, String, u16, &str, String)> = vec![
        ("JSON that breaks off", CONFIG_MAPS.into(), json, r#"{"metadata":{"name":"a""#.into(), 400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: *".into()),
        ("JSON that is none", CONFIG_MAPS.into(), json, "nonsense".into(), 400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: *".into()),
        ("a list as an object", CONFIG_MAPS.into(), json, "[]".into(), 400, "BadRequest", "*".into()),
        ("YAML that is none", CONFIG_MAPS.into(), yaml, "a: [b\nc: }".into(), 400, "BadRequest", "*".into()),
        ("another kind", CONFIG_MAPS.into(), json, r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#.into(), 400, "BadRequest", "Secret in version \"v1\" cannot be handled as a ConfigMap: *".into()),
        ("another version", CONFIG_MAPS.into(), json, r#"{"apiVersion":"v9","kind":"ConfigMap","metadata":{"name":"a"}}"#.into(), 400, "BadRequest", "*v9*".into()),
        ("a number as a name", CONFIG_MAPS.into(), json, r#"{"metadata":{"name":7}}"#.into(), 400, "BadRequest", "*".into()),
        ("a media type that nobody reads", CONFIG_MAPS.into(), "text/csv", name("a"), 415, "UnsupportedMediaType", "*".into()),
        ("an unknown field, strict", format!("{CONFIG_MAPS}?fieldValidation=Strict"), json, r#"{"metadata":{"name":"a"},"dota":{}}"#.into(), 400, "BadRequest", "*strict decoding error: unknown field \"dota\"*".into()),
        ("a duplicate field, strict", format!("{CONFIG_MAPS}?fieldValidation=Strict"), json, r#"{"metadata":{"name":"a"},"data":{"a":"1","a":"2"}}"#.into(), 400, "BadRequest", "*strict decoding error: duplicate field \"data.a\"*".into()),
        ("a name that is too long", CONFIG_MAPS.into(), json, name(&long), 422, invalid, format!("ConfigMap \"{long}\" is invalid: metadata.name: Invalid value: \"{long}\": {no_name}")),
        ("a name of other characters", CONFIG_MAPS.into(), json, name("A_b"), 422, invalid, "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of *".into()),
        ("no name", CONFIG_MAPS.into(), json, "{}".into(), 422, invalid, "*metadata.name: Required value: name or generateName is required".into()),
        ("a label's value", CONFIG_MAPS.into(), json, label("a", "b c"), 422, invalid, "ConfigMap \"a\" is invalid: metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of *".into()),
        ("a label's key", CONFIG_MAPS.into(), json, label("-a", "b"), 422, invalid, "ConfigMap \"a\" is invalid: metadata.labels: Invalid value: \"-a\": name part must consist of *".into()),
        ("another namespace", CONFIG_MAPS.into(), json, r#"{"metadata":{"name":"a","namespace":"b"}}"#.into(), 400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request".into()),
        ("a namespace that is not", "/api/v1/namespaces/none/configmaps".into(), json, name("a"), 404, "NotFound", "namespaces \"none\" not found".into()),
        ("a path that is not", "/apis/none/v1/things".into(), json, name("a"), 404, "NotFound", "the server could not find the requested resource".into()),
        ("a body that is too large", CONFIG_MAPS.into(), json, format!(r#"{{"metadata":{{"name":"a"}},"data":{{"a":"{}"}}}}"#, "x".repeat(4 << 20)), 413, "RequestEntityTooLarge", "*Request entity too large: limit is 3145728*".into()),
        ("data that is too large", CONFIG_MAPS.into(), json, format!(r#"{{"metadata":{{"name":"a"}},"data":{{"a":"{}"}}}}"#, "x".repeat(2 << 20)), 422, invalid, "ConfigMap \"a\" is invalid: *Too long: *1048576*".into()),
        ("deep nesting", CONFIG_MAPS.into(), json, deep.clone(), 400, "BadRequest", "*".into()),
        ("deep nesting in YAML", CONFIG_MAPS.into(), yaml, deep, 400, "BadRequest", "*".into()),
        ("a selector that does not match", DEPLOYMENTS.into(), json, r#"{"metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"c"}},"spec":{"containers":[{"name":"a","image":"b"}]}}}}"#.into(), 422, invalid, "Deployment.apps \"a\" is invalid: spec.template.metadata.labels: Invalid value: *: `selector` does not match template `labels`".into()),
        ("no containers", DEPLOYMENTS.into(), json, r#"{"metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{}}}}"#.into(), 422, invalid, "*spec.template.spec.containers: Required value*".into()),
    ];
    let mut failures = Vec::new();
    for (what, path, content_type, body, code, reason, message) in &cases {
        let request = Request { content_type, body: body.as_bytes(), ..Request::default() };
        let answer = server.request("POST", path, &request)?;
        failures.extend(check(what, &answer, *code, reason, message).err().map(|it| format!("{it:#}")));
    }
    // Warned of, and ignored, as the client asked.
    for (mode, at) in [("Warn", "w"), ("Ignore", "i")] {
        let body = format!(r#"{{"metadata":{{"name":"{at}"}},"dota":{{}},"data":{{"a":"1","a":"2"}}}}"#);
        let answer = server.ask("POST", &format!("{CONFIG_MAPS}?fieldValidation={mode}"), &body)?;
        failures.extend(check(mode, &answer, 201, "", "").err().map(|it| format!("{it:#}")));
        let mut warnings = answer.warnings.clone();
        warnings.sort();
        let expected: &[&str] = match mode {
            "Warn" => &["299 - \"duplicate field \\\"data.a\\\"\"", "299 - \"unknown field \\\"dota\\\"\""],
            _ => &[],
        };
        if warnings != expected {
            failures.push(format!("{mode}: the warnings are {warnings:?}"));
        }
        // Of two the last counts, as Go's decoder has it; what is unknown is not kept.
        if answer.json["data"]["a"] != "2" || !answer.json["dota"].is_null() {
            failures.push(format!("{mode}: kept as {}", answer.json));
        }
    }
    ensure!(failures.is_empty(), "{}\n{}", failures.join("\n"), server.child().tail());
    check("the server goes on", &server.ask("POST", CONFIG_MAPS, &name("good"))?, 201, "", "")
}

#[test]
fn versions_and_tokens_that_are_past_are_refused() -> Result<()> {
    let folder = folder()?;
    let server = Server::start(&folder.path().join("data"), "memory")?;
    for name in ["a", "b", "c"] {
        let answer = server.ask("POST", CONFIG_MAPS, &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#))?;
        check("create", &answer, 201, "", "")?;
    }
    let old = server.ask("GET", &format!("{CONFIG_MAPS}/a"), "")?;
    let put = old.text.replacen("\"metadata\"", "\"data\":{\"k\":\"v\"},\"metadata\"", 1);
    check("update", &server.ask("PUT", &format!("{CONFIG_MAPS}/a"), &put)?, 200, "", "")?;
    let again = server.ask("PUT", &format!("{CONFIG_MAPS}/a"), &put)?;
    let message = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    check("an old version", &again, 409, "Conflict", message)?;
    let wrong = r#"{"metadata":{"name":"a","resourceVersion":"no"}}"#;
    let answer = server.ask("PUT", &format!("{CONFIG_MAPS}/a"), wrong)?;
    let message = "strconv.ParseUint: parsing \"no\": invalid syntax";
    check("a version that is none", &answer, 400, "BadRequest", message)?;
    let other = r#"{"preconditions":{"uid":"00000000-0000-0000-0000-000000000000"}}"#;
    let answer = server.ask("DELETE", &format!("{CONFIG_MAPS}/a"), other)?;
    check("another uid", &answer, 409, "Conflict", "*Precondition failed: UID in precondition: *")?;
    check(
        "another name",
        &server.ask("PUT", &format!("{CONFIG_MAPS}/b"), &put)?,
        400,
        "BadRequest",
        "the name of the object (a) does not match the name on the URL (b)",
    )?;
    let twice = server.ask("POST", CONFIG_MAPS, r#"{"metadata":{"name":"a"}}"#)?;
    check("twice", &twice, 409, "AlreadyExists", "configmaps \"a\" already exists")?;
    check(
        "a verb that is not",
        &server.ask("POST", &format!("{CONFIG_MAPS}/a"), "{}")?,
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )?;

    let page = server.ask("GET", &format!("{CONFIG_MAPS}?limit=1"), "")?;
    let token = page.json["metadata"]["continue"].as_str().context("a page has a token")?;
    check("the next page", &server.ask("GET", &format!("{CONFIG_MAPS}?limit=1&continue={token}"), "")?, 200, "", "")?;
    let bad = server.ask("GET", &format!("{CONFIG_MAPS}?limit=1&continue=nonsense"), "")?;
    check("a forged token", &bad, 400, "BadRequest", "invalid continue token: continue key is not valid: *")?;
    let far = server.ask("GET", &format!("{CONFIG_MAPS}?resourceVersion=999999999"), "")?;
    check("a version to come", &far, 504, "Timeout", "Timeout: Too large resource version: 999999999, current: *")?;
    let bad = server.ask("GET", &format!("{CONFIG_MAPS}?labelSelector=a%3D%3D%3Db"), "")?;
    ensure!(bad.code == 400, "a selector that is none: {bad:?}");
    check("the server goes on", &server.ask("GET", CONFIG_MAPS, "")?, 200, "", "")
}

fn as_whom(server: &Server, credentials: Credentials<'_>) -> Result<Answer> {
    server.request("GET", CONFIG_MAPS, &Request { credentials, ..Request::default() })
}

#[test]
fn credentials_that_are_forged_or_expired_are_refused() -> Result<()> {
    let folder = folder()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let pki = server.data().join("pki");
    let ca = std::fs::read_to_string(pki.join("ca.crt"))?;
    let real = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&std::fs::read_to_string(pki.join("ca.key"))?)?)?;
    // The right name on the CA's certificate, and another key.
    let forger = Issuer::from_ca_cert_pem(&ca, KeyPair::generate()?)?;
    let forged = params.signed_by(&key, &forger)?.pem();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = params.signed_by(&key, &real)?.pem();
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    let good = params.signed_by(&key, &real)?.pem();
    let key = key.serialize_pem();
    check("a good certificate", &as_whom(&server, Credentials::Certificate(&good, &key))?, 200, "", "")?;
    for (what, certificate) in [("another CA's", &forged), ("an expired one", &expired)] {
        let answer = as_whom(&server, Credentials::Certificate(certificate, &key))?;
        check(what, &answer, 401, "Unauthorized", "Unauthorized")?;
    }
    bootstrap_tokens(&server)?;
    let request = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":600}}"#;
    let account = server.ask("POST", "/api/v1/namespaces/default/serviceaccounts", r#"{"metadata":{"name":"bot"}}"#)?;
    check("an account", &account, 201, "", "")?;
    let answer = server.ask("POST", "/api/v1/namespaces/default/serviceaccounts/bot/token", request)?;
    let token = answer.json["status"]["token"].as_str().with_context(|| format!("a token: {answer:?}"))?.to_owned();
    let forbidden = "configmaps is forbidden: User \"system:serviceaccount:default:bot\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"*";
    check("a good token", &as_whom(&server, Credentials::Bearer(&token))?, 403, "Forbidden", forbidden)?;
    let parts: Vec<&str> = token.split('.').collect();
    ensure!(parts.len() == 3, "a token has three parts");
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1])?)?;
    let mut raised = claims.clone();
    raised["sub"] = "system:serviceaccount:kube-system:admin".into();
    let encode = |it: &serde_json::Value| URL_SAFE_NO_PAD.encode(it.to_string());
    let none = encode(&serde_json::json!({"alg": "none", "typ": "JWT"}));
    for (what, token) in [
        ("a token of changed claims", format!("{}.{}.{}", parts[0], encode(&raised), parts[2])),
        ("a token without a signature", format!("{none}.{}.", parts[1])),
        ("a token that claims to need none", format!("{none}.{}.{}", parts[1], parts[2])),
        ("nonsense", "nonsense".to_owned()),
        ("a bootstrap token that nobody gave", "abcdef.0123456789abcdef".to_owned()),
    ] {
        check(what, &as_whom(&server, Credentials::Bearer(&token))?, 401, "Unauthorized", "Unauthorized")?;
    }
    check(
        "the account is deleted",
        &server.ask("DELETE", "/api/v1/namespaces/default/serviceaccounts/bot", "")?,
        200,
        "",
        "",
    )?;
    check("a token of nobody", &as_whom(&server, Credentials::Bearer(&token))?, 401, "Unauthorized", "Unauthorized")?;
    let forbidden = "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"*";
    check("nobody", &as_whom(&server, Credentials::Nobody)?, 403, "Forbidden", forbidden)?;
    let health =
        server.request("GET", "/readyz", &Request { credentials: Credentials::Nobody, ..Request::default() })?;
    ensure!(health.code == 200, "anybody may ask for health: {health:?}");
    ensure!(server.child().runs(), "the server goes on");
    Ok(())
}

/// Tokens by which new machines are let in: the right secret, in time, for that use, and nothing else.
fn bootstrap_tokens(server: &Server) -> Result<()> {
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let token = |id: &str, expiration: &str, usage: &str| {
        let body = serde_json::json!({
            "metadata": {"name": format!("bootstrap-token-{id}")}, "type": "bootstrap.kubernetes.io/token",
            "stringData": {"token-id": id, "token-secret": "0123456789abcdef", "expiration": expiration, usage: "true"}});
        check(id, &server.ask("POST", secrets, &body.to_string())?, 201, "", "")
    };
    token("aaaaaa", "2090-01-01T00:00:00Z", "usage-bootstrap-authentication")?;
    token("bbbbbb", "2020-01-01T00:00:00Z", "usage-bootstrap-authentication")?;
    token("cccccc", "2090-01-01T00:00:00Z", "usage-bootstrap-signing")?;
    let forbidden = "configmaps is forbidden: User \"system:bootstrap:aaaaaa\" cannot list resource \"configmaps\" *";
    let good = as_whom(server, Credentials::Bearer("aaaaaa.0123456789abcdef"))?;
    check("a good token", &good, 403, "Forbidden", forbidden)?;
    for (what, token) in [
        ("a wrong secret", "aaaaaa.0123456789abcdee"),
        ("a secret of another length", "aaaaaa.0123456789abcde"),
        ("no secret", "aaaaaa."),
        ("another's id", "dddddd.0123456789abcdef"),
        ("an expired token", "bbbbbb.0123456789abcdef"),
        ("a token for another use", "cccccc.0123456789abcdef"),
    ] {
        check(what, &as_whom(server, Credentials::Bearer(token))?, 401, "Unauthorized", "Unauthorized")?;
    }
    check("it is taken back", &server.ask("DELETE", &format!("{secrets}/bootstrap-token-aaaaaa"), "")?, 200, "", "")?;
    let gone = as_whom(server, Credentials::Bearer("aaaaaa.0123456789abcdef"))?;
    check("a token that was taken back", &gone, 401, "Unauthorized", "Unauthorized")
}

/// What a process said that did not start, and its exit code.
fn failed_start(data: &std::path::Path, port: u16) -> Result<(i32, String)> {
    outcome(Server::spawn(data, "embedded", port, &[])?)
}

/// What a process says and with which code it ends.
fn outcome(mut child: Child) -> Result<(i32, String)> {
    wait::until("the process ends", Duration::from_secs(30), || {
        ensure!(!child.runs(), "it runs: {}", child.tail());
        Ok(())
    })?;
    let status = child.stop()?.context("it has ended")?;
    Ok((status.code().unwrap_or(-1), child.log()))
}

#[test]
fn a_port_in_use_is_said() -> Result<()> {
    let folder = folder()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let (code, log) = failed_start(&folder.path().join("data"), port)?;
    ensure!(code == 3, "the exit code is {code}: {log}");
    ensure!(log.contains("in use") && log.contains(&port.to_string()), "it says {log}");

    let mut up = Command::new(tool::ours("orlop")?);
    up.args(["up", "--runtime", "hollow", "--store", "memory", "--listen", &format!("127.0.0.1:{port}")]);
    up.arg("--data-dir").arg(folder.path().join("up")).env("HOME", folder.path());
    let (code, log) = outcome(Child::start("up", folder.path(), &mut up)?)?;
    ensure!(code == 1 && log.contains("error: the address ") && log.contains("in use"), "orlop up: {code}: {log}");

    let server = Server::start(&folder.path().join("data"), "memory")?;
    let mut agent = Command::new(tool::ours("orlop-agent")?);
    agent.args(["--runtime", "hollow", "--node-name", "one", "--address", "127.0.0.1", "--port", &port.to_string()]);
    agent.arg("--kubeconfig").arg(server.kubeconfig()).arg("--data-dir").arg(folder.path().join("agent"));
    let agent = Child::start("agent", folder.path(), &mut agent)?;
    // In the place of the controllers.
    wait::until("the node has a range of addresses", Duration::from_secs(30), || {
        let range = r#"{"spec":{"podCIDR":"10.63.1.0/24","podCIDRs":["10.63.1.0/24"]}}"#;
        let (content_type, body) = ("application/merge-patch+json", range.as_bytes());
        let answer =
            server.request("PATCH", "/api/v1/nodes/one", &Request { content_type, body, ..Request::default() })?;
        ensure!(answer.code == 200, "{answer:?}");
        Ok(())
    })?;
    let (code, log) = outcome(agent)?;
    ensure!(code != 0 && log.contains("in use") && log.contains(&port.to_string()), "the agent: {code}: {log}");
    Ok(())
}

#[test]
fn two_servers_do_not_share_a_store() -> Result<()> {
    let folder = folder()?;
    let data = folder.path().join("data");
    let mut server = Server::start(&data, "embedded")?;
    let (code, log) = failed_start(&data, tool::free_port()?)?;
    ensure!(code != 0 && log.contains("orlop-apiserver: "), "{code}: {log}");
    check("the first goes on", &server.ask("POST", CONFIG_MAPS, r#"{"metadata":{"name":"a"}}"#)?, 201, "", "")?;
    server.child().stop()?;
    Ok(())
}

#[test]
fn a_damaged_store_is_said() -> Result<()> {
    let folder = folder()?;
    let data = folder.path().join("data");
    let mut server = Server::start(&data, "embedded")?;
    check("create", &server.ask("POST", CONFIG_MAPS, r#"{"metadata":{"name":"a"}}"#)?, 201, "", "")?;
    server.child().stop()?;
    let port = server.port();
    drop(server);
    let files: Vec<_> = std::fs::read_dir(data.join("store"))?.filter_map(|it| Some(it.ok()?.path())).collect();
    let largest =
        files.iter().max_by_key(|it| it.metadata().map_or(0, |it| it.len())).context("the store has a file")?;
    let kept = std::fs::read(largest)?;
    let file = std::fs::OpenOptions::new().write(true).open(largest)?;
    file.write_all_at(&vec![0xa5; 16 << 10], 0)?;
    let (code, log) = failed_start(&data, port)?;
    ensure!(code == 4, "the exit code is {code}: {log}");
    ensure!(log.contains("orlop-apiserver: ") && log.to_lowercase().contains("store"), "it says {log}");
    // Nothing was made worse: the file of before is read again.
    std::fs::write(largest, kept)?;
    let server = Server::start(&data, "embedded")?;
    check("after the repair", &server.ask("GET", &format!("{CONFIG_MAPS}/a"), "")?, 200, "", "")
}

/// A small file system in memory, gone with its value.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(mebibytes: u32) -> Result<SmallDisk> {
        let folder = folder()?;
        tool::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "orlop-e2e"])
                .arg(folder.path()),
        )?;
        Ok(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have a process there that is about to end.
        if let Err(error) = tool::run(Command::new("umount").arg("-l").arg(self.0.path())) {
            eprintln!("{error:#}");
        }
    }
}

#[test]
fn a_full_disk_loses_nothing() -> Result<()> {
    let disk = SmallDisk::mount(24)?;
    let data = disk.0.path().join("data");
    let mut server = Server::start(&data, "embedded")?;
    let big = "x".repeat(200_000);
    let create = |server: &Server, name: &str| {
        server.ask("POST", CONFIG_MAPS, &format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"{big}"}}}}"#))
    };
    check("with room", &create(&server, "first")?, 201, "", "")?;
    // Somebody else fills the disk.
    let ballast = disk.0.path().join("ballast");
    let mut file = std::fs::File::create(&ballast)?;
    while std::io::Write::write_all(&mut file, &[1; 64 << 10]).is_ok() {}
    drop(file);
    let mut kept = vec!["first".to_owned()];
    let mut refused = 0;
    for turn in 0..60 {
        let name = format!("c{turn}");
        let answer = create(&server, &name)?;
        if answer.code == 201 {
            kept.push(name);
            continue;
        }
        ensure!(answer.code >= 500 && answer.json["kind"] == "Status", "a full disk says {answer:?}");
        refused += 1;
        if refused == 3 {
            break;
        }
    }
    ensure!(refused == 3, "the disk was never full");
    check("reads go on", &server.ask("GET", &format!("{CONFIG_MAPS}/first"), "")?, 200, "", "")?;
    std::fs::remove_file(&ballast)?;
    wait::until("writes go on when there is room", Duration::from_secs(30), || {
        let answer = create(&server, "after")?;
        ensure!(answer.code == 201 || answer.code == 409, "{answer:?}");
        Ok(())
    })?;
    kept.push("after".into());
    server.kill_and_restart()?;
    for name in &kept {
        check(name, &server.ask("GET", &format!("{CONFIG_MAPS}/{name}"), "")?, 200, "", "").with_context(|| "lost")?;
    }
    Ok(())
}
