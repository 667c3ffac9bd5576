//! A node's data path: what ten thousand Services cost a packet and a change, and what the cluster's DNS answers.
//!
//! Everything is asked from the host, whose packets go by the same rules as those of pods. The backends are two sockets on the node's bridge, so that
//! a change of an EndpointSlice is seen by who answers.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::connection::{Connection, Request};
use super::generator::Meter;
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::target::{self, Target};
use super::usage::Process;
use super::{budget, verbs};
use crate::cluster::{Cluster, Form, Options};
use crate::wait;

const NAMESPACE: &str = "orlop-bench-node";
/// How long a change may take at all.
const LIMIT: Duration = Duration::from_secs(60);
/// How long one packet is waited for before another is sent.
const PATIENCE: Duration = Duration::from_millis(20);
/// First packets, and changes, whose times are taken.
const PACKETS: usize = 500;
const CHANGES: usize = 20;
/// How many questions each of two clients has under way.
const QUESTIONS: usize = 8;
const CLIENTS: usize = 2;
/// The address of the cluster's DNS.
const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 53);

/// Runs a node of `native` with few and many Services.
///
/// # Errors
/// When a change does not arrive, or a question is not answered.
pub fn run(scale: &Scale) -> Result<Vec<Table>> {
    let cluster = Cluster::start(Options { form: Form::Apart, runtime: "native", ..Options::default() })?;
    let runtime = target::runtime()?;
    let target = Target::from_kubeconfig(&cluster.kubeconfig(), None, false)?;
    verbs::begin(&target, NAMESPACE)?;
    let mut api = runtime.block_on(Connection::open(&target))?;
    let mut ask = |request: Request| runtime.block_on(api.ask(request));
    let node: Value = serde_json::from_slice(&ask(Request::get(format!("/api/v1/nodes/{}", cluster.node_name("1"))))?)?;
    let range: ipnet::Ipv4Net = node["spec"]["podCIDR"].as_str().context("the node has no range")?.parse()?;
    let gateway = range.hosts().next().context("an empty range")?;
    // A node may be ready a moment before its bridge has the address.
    wait::until("the node's bridge is there", LIMIT, || Ok(UdpSocket::bind((gateway, 0)).map(drop)?))?;
    let backends = [Backend::start(gateway, 0)?, Backend::start(gateway, 1)?];
    let probe = make_service(&mut ask, "probe", gateway, backends[0].port)?;

    let mut services = Table::new(
        "Services on a node of native",
        &["Services", "first packet p50 µs", "p99 µs", "change → data path p50 ms", "p99 ms", "budget"],
    );
    let mut measure = |count: usize, ask: &mut dyn FnMut(Request) -> Result<bytes::Bytes>| -> Result<Samples> {
        until_answers(probe, 0)?;
        let mut packets = Samples::default();
        for _ in 0..PACKETS {
            packets.push(first_packet(probe)?);
        }
        let mut changes = Samples::default();
        for turn in 1..=CHANGES {
            let backend = &backends[turn % 2];
            let slice = slice("probe", gateway, backend.port);
            let path = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/probe");
            ask(Request::put(path, slice.to_string()))?;
            let began = Instant::now();
            until_answers(probe, backend.number)?;
            changes.push(began.elapsed());
        }
        let judged = budget::at_most(changes.percentile(99.0), budget::ENDPOINT_CHANGE, "50 ms");
        services.row([
            report::rate(count as f64),
            report::microseconds(packets.median()),
            report::microseconds(packets.percentile(99.0)),
            report::milliseconds(changes.median()),
            report::milliseconds(changes.percentile(99.0)),
            judged,
        ]);
        Ok(packets)
    };
    measure(1, &mut ask)?;
    let mut last = probe;
    for number in 1..scale.services {
        last = make_service(&mut ask, &format!("many-{number}"), gateway, backends[0].port)?;
    }
    until_answers(last, 0)?;
    measure(scale.services, &mut ask)?;
    services.remark("A change counts from the API server's answer to the first packet that the new endpoint answers. Packets are the first of their connection, of one byte, there and back.");

    let agent = Process { name: "agent".into(), id: cluster.process("agent-1")? };
    Ok(vec![services, names(scale, agent)?])
}

/// A socket that answers with a number.
struct Backend {
    port: u16,
    number: u8,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backend {
    fn start(address: Ipv4Addr, number: u8) -> Result<Backend> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (port, over) = (socket.local_addr()?.port(), Arc::new(AtomicBool::new(false)));
        let ended = over.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while !ended.load(Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    // Who asked may be gone.
                    let _ = socket.send_to(&[number], from);
                }
            }
        });
        Ok(Backend { port, number, over, thread: Some(thread) })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // It never panics, and there would be nothing to do about it.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Makes a Service with one endpoint; its address.
fn make_service(
    ask: &mut dyn FnMut(Request) -> Result<bytes::Bytes>,
    name: &str,
    address: Ipv4Addr,
    port: u16,
) -> Result<Ipv4Addr> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "ports": [{ "port": 80, "protocol": "UDP" }] },
    });
    let made = ask(Request::post(format!("/api/v1/namespaces/{NAMESPACE}/services"), service.to_string()))?;
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
    ask(Request::post(path, slice(name, address, port).to_string()))?;
    let made: Value = serde_json::from_slice(&made)?;
    Ok(made["spec"]["clusterIP"].as_str().context("no address")?.parse()?)
}

fn slice(name: &str, address: Ipv4Addr, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
        "endpoints": [{ "addresses": [address.to_string()] }], "ports": [{ "port": port, "protocol": "UDP", "name": "" }],
    })
}

/// Who answers a packet, if somebody does in time.
fn ask_once(service: Ipv4Addr) -> Result<Option<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((service, 80))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Where there is no rule yet, the kernel says so.
    if socket.send(b"?").is_err() {
        return Ok(None);
    }
    let mut answer = [0; 16];
    match socket.recv(&mut answer) {
        Ok(1..) => Ok(Some(answer[0])),
        Ok(_) => Ok(None),
        Err(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn until_answers(service: Ipv4Addr, number: u8) -> Result<()> {
    let began = Instant::now();
    while ask_once(service)? != Some(number) {
        ensure!(began.elapsed() < LIMIT, "{service} is not answered by backend {number}");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn first_packet(service: Ipv4Addr) -> Result<Duration> {
    let began = Instant::now();
    ensure!(ask_once(service)?.is_some(), "a packet to {service} was not answered");
    Ok(began.elapsed())
}

/// Asks for names of Services as fast as they are answered.
fn names(scale: &Scale, agent: Process) -> Result<Table> {
    let mut table = Table::new(
        "The cluster's DNS on a node of native",
        &["answers/s", "p50 ms", "p99 ms", "agent CPU µs/answer", "generator CPU µs/answer", "budget"],
    );
    let processes = [agent];
    let before = Meter::read(&processes);
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (limit, services) = (scale.names_time, scale.services);
            std::thread::spawn(move || questions(client, services, limit))
        })
        .collect();
    let mut samples = Samples::default();
    for it in clients {
        samples.extend(it.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    let elapsed = began.elapsed();
    let (own, servers) = Meter::read(&processes).since(&before);
    let rate = samples.len() as f64 / elapsed.as_secs_f64();
    let each = |it: Duration| report::microseconds(it / samples.len().max(1) as u32);
    let (agent, own) = (each(servers.first().copied().unwrap_or_default()), each(own));
    let (p50, p99) = (samples.median(), samples.percentile(99.0));
    let judged = format!(
        "{}; p99 {}",
        budget::at_least(rate, budget::DNS_RATE, "50,000/s"),
        budget::at_most(p99, budget::DNS_DELAY, "2 ms")
    );
    table.row([report::rate(rate), report::milliseconds(p50), report::milliseconds(p99), agent, own, judged]);
    table.remark(format!("{CLIENTS} clients on the same two cores, each with {QUESTIONS} questions under way, for names of {} Services at the cluster's address.", report::rate(scale.services as f64)));
    Ok(table)
}

/// One client's questions; the time of each.
fn questions(client: usize, services: usize, limit: Duration) -> Result<Samples> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(DNS)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut asked = vec![Instant::now(); QUESTIONS];
    let mut next = client;
    let mut send = |at: usize, asked: &mut Vec<Instant>| -> Result<()> {
        next += CLIENTS;
        let name = match next % services {
            0 => "probe".to_owned(),
            it => format!("many-{it}"),
        };
        asked[at] = Instant::now();
        socket.send(&question(u16::try_from(at)?, &format!("{name}.{NAMESPACE}.svc.cluster.local")))?;
        Ok(())
    };
    for at in 0..QUESTIONS {
        send(at, &mut asked)?;
    }
    let began = Instant::now();
    let mut samples = Samples::default();
    let mut answer = [0; 1024];
    while began.elapsed() < limit {
        let length = socket.recv(&mut answer).context("a question was not answered")?;
        let [high, low, _, flags, _, _, _, answers, ..] = answer[..length] else {
            bail!("an answer of {length} bytes")
        };
        ensure!(flags & 0xf == 0 && answers == 1, "not an address: {:?}", &answer[..length]);
        let at = usize::from(u16::from_be_bytes([high, low]));
        samples.push(asked.get(at).context("an answer to nothing")?.elapsed());
        send(at, &mut asked)?;
    }
    Ok(samples)
}

/// A question for the IPv4 address of a name (RFC 1035, 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired, one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    // The root, A, IN.
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}
