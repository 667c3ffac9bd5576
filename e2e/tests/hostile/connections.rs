//! Clients that speak too slowly, too often or not at all, and those that do not listen.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::server::Server;
use serde_json::json;

use crate::memory_mib;
use crate::wire::{Connection, Way, rest};

/// Connections of which nothing more comes than TLS, or the beginning of a request.
const IDLE: usize = 1_500;
/// How much one of them may cost: the TLS session and its task take some 60 KiB in a debug build.
const IDLE_KIB_MAX: u64 = 160;
/// They are closed 30 s after they were opened; the rest is for a machine that is busy.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// Clients that ask and do not read.
const DEAF: usize = 100;
/// How much memory the server may take for them: each keeps a piece or two of an answer, and the kernel some.
const DEAF_MIB_MAX: u64 = 200;
/// How long a flood goes on at most, where it is not cut off.
const FLOOD: Duration = Duration::from_secs(5);

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Open connections that wait for nothing.
pub struct Idle {
    silent: Vec<Connection>,
    slow: Vec<Connection>,
    opened: Instant,
}

/// Opens connections that say nothing, and some that say the beginning of a request.
///
/// # Errors
/// When they cost too much, or others are not served beside them.
pub fn idle(way: &Way, process: u32) -> Result<Idle> {
    let (before, _) = memory_mib(process)?;
    let opened = Instant::now();
    let mut silent = Vec::with_capacity(IDLE);
    while silent.len() < IDLE {
        match way.http1(IDLE_LIMIT) {
            Ok(it) => silent.push(it),
            // This process may have fewer files.
            Err(error) if silent.len() > IDLE / 4 => {
                println!("{} connections: {error:#}", silent.len());
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let (after, _) = memory_mib(process)?;
    println!("{} idle connections: from {before} MiB to {after} MiB, opened in {:?}", silent.len(), opened.elapsed());
    let bound = (silent.len() as u64 * IDLE_KIB_MAX) >> 10;
    ensure!(after < before + bound, "{} idle connections took it from {before} MiB to {after} MiB", silent.len());
    let mut slow = Vec::new();
    while slow.len() < 20
        && let Some(mut it) = silent.pop()
    {
        it.write_all(b"GET /version HTTP/1.1\r\nHost: local")?;
        slow.push(it);
    }
    let answer = way.get("/version", Duration::from_secs(20))?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "others are told {answer}");
    Ok(Idle { silent, slow, opened })
}

impl Idle {
    /// Waits until the server has closed them.
    ///
    /// # Errors
    /// When one stays open.
    pub fn are_closed(self) -> Result<()> {
        for mut it in self.silent.into_iter().step_by(50).chain(self.slow) {
            let said = rest(&mut it)?;
            ensure!(
                said.is_empty() || said.starts_with("HTTP/1.1 408"),
                "a connection without a request is told {said}"
            );
        }
        let open = self.opened.elapsed();
        println!("idle connections were closed within {open:?}");
        Ok(())
    }
}

/// Plays all.
///
/// # Errors
/// The first bound that does not hold.
pub fn all(server: &Server, way: &Way, process: u32) -> Result<()> {
    a_body_that_does_not_come(way)?;
    heads_that_are_too_large(way)?;
    floods(way, process)?;
    clients_that_do_not_read(server, way, process)
}

/// The request's own time counts while its body is awaited.
fn a_body_that_does_not_come(way: &Way) -> Result<()> {
    let begun = Instant::now();
    let mut connection = way.http1(Duration::from_secs(60))?;
    write!(
        connection,
        "POST {MAPS}?timeout=2s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    )?;
    let answer = rest(&mut connection)?;
    ensure!(answer.starts_with("HTTP/1.1 504"), "a body that does not come is told {answer}");
    println!("a body that does not come: 504 in {:?}", begun.elapsed());
    Ok(())
}

fn heads_that_are_too_large(way: &Way) -> Result<()> {
    let many: String = (0..500).map(|it| format!("X-{it}: y\r\n")).collect();
    let large = |bytes: usize| "y".repeat(bytes);
    for (what, query, fields) in [
        ("one large field", String::new(), format!("X: {}\r\n", large(100_000))),
        ("500 fields", String::new(), many),
        ("a large query", format!("?labelSelector={}", large(100_000)), String::new()),
        ("a query of 2 MB", format!("?{}", large(2_000_000)), String::new()),
    ] {
        let mut connection = way.http1(Duration::from_secs(30))?;
        // The answer may come before all is sent.
        let _ = write!(connection, "GET {MAPS}{query} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let answer = rest(&mut connection)?;
        // Where the connection is cut off while more is on its way than anybody reads, the answer may be lost.
        ensure!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{what}: {answer}");
    }
    Ok(())
}

/// A frame of HTTP/2.
fn frame(sort: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], sort, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET` of a list, in HPACK without its tables.
fn head() -> Vec<u8> {
    let mut out = vec![0x82, 0x87, 0x04, MAPS.len() as u8];
    out.extend_from_slice(MAPS.as_bytes());
    out.extend_from_slice(b"\x01\x09localhost");
    out
}

/// Frames that cost the sender less than the receiver, sent until the server cuts the connection or the time is over; nothing is read.
fn floods(way: &Way, process: u32) -> Result<()> {
    let (before, _) = memory_mib(process)?;
    let head = head();
    let resets = |turn: u32| {
        let stream = 2 * turn + 1;
        [frame(HEADERS, END_STREAM | END_HEADERS, stream, &head), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let settings = |_: u32| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(64);
    let pings = |_: u32| frame(PING, 0, 0, &[7; 8]).repeat(64);
    let heads = |turn: u32| match turn {
        0 => frame(HEADERS, END_STREAM, 1, &head),
        _ => frame(CONTINUATION, 0, 1, &[&b"\x00\x01x\x7f\xe9\x06"[..], &[b'y'; 1_000][..]].concat()),
    };
    type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let floods: [(&str, Frames<'_>); 4] = [
        ("streams that are reset", &resets),
        ("settings", &settings),
        ("pings", &pings),
        ("a head without an end", &heads),
    ];
    for (what, flood) in floods {
        let mut connection = way.http2(FLOOD)?;
        connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        connection.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        let (begun, mut turns) = (Instant::now(), 0);
        while begun.elapsed() < FLOOD && connection.write_all(&flood(turns)).and_then(|()| connection.flush()).is_ok() {
            turns += 1;
        }
        let (after, _) = memory_mib(process)?;
        println!("a flood of {what}: {turns} in {:?}, from {before} MiB to {after} MiB", begun.elapsed());
        ensure!(after < before + DEAF_MIB_MAX, "a flood of {what} took it from {before} MiB to {after} MiB");
    }
    let answer = way.get("/version", Duration::from_secs(20))?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "after the floods others are told {answer}");
    Ok(())
}

/// Watches and lists that nobody reads: the server keeps a piece of each, and no history for their sake.
fn clients_that_do_not_read(server: &Server, way: &Way, process: u32) -> Result<()> {
    let object =
        |turn: usize| json!({"metadata": {"name": "large"}, "data": {"k": format!("{turn}{}", "x".repeat(500_000))}});
    let made = server.ask("POST", MAPS, &object(0).to_string())?;
    ensure!(made.code == 201, "{made:?}");
    let listed = |connection: &mut Connection, query: &str| -> Result<()> {
        write!(connection, "GET {MAPS}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        Ok(connection.flush()?)
    };
    let (before, _) = memory_mib(process)?;
    let mut deaf = Vec::new();
    for at in 0..DEAF {
        let mut connection = way.http1(Duration::from_secs(30))?;
        listed(&mut connection, if at % 2 == 0 { "?watch=1" } else { "" })?;
        deaf.push(connection);
    }
    // Sixty states of half a MiB: more than the history keeps, and far more than sockets hold.
    for turn in 1..60 {
        let answer = server.ask("PUT", &format!("{MAPS}/large"), &object(turn).to_string())?;
        ensure!(answer.code == 200, "{answer:?}");
    }
    let (after, _) = memory_mib(process)?;
    println!("{DEAF} clients that do not read: from {before} MiB to {after} MiB");
    ensure!(after < before + DEAF_MIB_MAX, "clients that do not read took it from {before} MiB to {after} MiB");
    drop(deaf);
    Ok(())
}
