//! Requests drawn from the server's own OpenAPI documents, valid and broken: never a 500 and never a hang; what was written can be read
//! as it was answered, and what was refused has changed nothing.
//!
//! proptest draws a tape of numbers, and the tape decides every choice: a number that is not there or is 0 is the plainest choice, so
//! that a shorter tape is a plainer request. `ORLOP_DRAWN_REQUESTS` says how many.

mod request;
mod schema;

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::any;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use crate::support::{Answer, Cluster};
use request::{Drawn, Operation};

/// How long an answer may take, with other tests on both cores. The server's own limit is a minute.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Requests of one run in `make test`.
const REQUESTS: u32 = 2_500;
/// Choices of one request: a pod with all its fields takes some hundred.
const TAPE: std::ops::Range<usize> = 1..400;

/// The choices of one request.
pub struct Tape<'a>(std::slice::Iter<'a, u32>);

impl Tape<'_> {
    /// A number below `bound`; 0 at the tape's end.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.next().copied().unwrap_or_default() as usize % bound.max(1)
    }

    /// True in one of so many cases; false at the tape's end.
    pub fn rarely(&mut self, bound: usize) -> bool {
        self.below(bound) + 1 == bound
    }

    /// One of these; the first at the tape's end.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Objects whose status the server writes by itself: of these only what the client asked for is compared.
const ALIVE: [&str; 3] = ["customresourcedefinitions", "resourcequotas", "validatingadmissionpolicies"];

fn is_alive(collection: &str) -> bool {
    ALIVE.iter().any(|it| collection.ends_with(it))
}

async fn send(cluster: &Cluster, drawn: &Drawn) -> Result<Answer, String> {
    let sent = cluster.raw(&drawn.method, &drawn.path, &drawn.content_type, &drawn.body);
    let answer = tokio::time::timeout(ANSWER_LIMIT, sent).await.map_err(|_| "no answer in time".to_owned())?;
    if answer.code.is_server_error() {
        return Err(format!("answered {}: {}", answer.code, answer.text));
    }
    if !answer.code.is_success() && (answer.json["kind"] != "Status" || answer.json["code"] != answer.code.as_u16()) {
        return Err(format!("refused with {} and no Status: {}", answer.code, answer.text));
    }
    Ok(answer)
}

/// What shows a change of any object of the kind.
async fn versions(cluster: &Cluster, collection: &str) -> Vec<String> {
    let list = cluster.get(collection).await;
    let items = list.json["items"].as_array().cloned().unwrap_or_default();
    let alive = is_alive(collection);
    items.iter().map(|it| if alive { it["spec"].to_string() } else { it["metadata"].to_string() }).collect()
}

/// What has to be readable after a write that was answered with an object.
async fn readable(cluster: &Cluster, drawn: &Drawn, answer: &Answer) -> Result<(), String> {
    let name = answer.json["metadata"]["name"].as_str().unwrap_or_default();
    let (Some(collection), false) = (&drawn.collection, drawn.dry) else { return Ok(()) };
    if name.is_empty() || answer.json["kind"] == "Status" || drawn.method == "GET" {
        return Ok(());
    }
    // Roles may have any name that a path can say.
    let name: String = name.bytes().map(|it| format!("%{it:02X}")).collect();
    let found = cluster.get(&format!("{collection}/{name}")).await;
    let leaving = !answer.json["metadata"]["deletionTimestamp"].is_null() || drawn.method == "DELETE";
    if found.code == 404 && leaving {
        return Ok(());
    }
    // A view (scale, a binding) is another object of the same version.
    let view = answer.json["kind"] != found.json["kind"];
    let same = if is_alive(collection) { found.json["spec"] == answer.json["spec"] } else { found.json == answer.json };
    if found.code != 200 || !(view || same) {
        return Err(format!("answered {}\n  but there is {}", answer.text, found.text));
    }
    Ok(())
}

/// How many requests were writes that were answered with success, and how many were refused.
#[derive(Default)]
struct Tally {
    written: Cell<u32>,
    refused: Cell<u32>,
}

impl Tally {
    fn count(&self, drawn: &Drawn, answer: &Answer) {
        let of = if answer.code.is_success() { &self.written } else { &self.refused };
        if drawn.method != "GET" {
            of.set(of.get() + 1);
        }
    }
}

async fn check(cluster: &Cluster, drawn: &Drawn, tally: &Tally) -> Result<(), String> {
    let before = match &drawn.collection {
        Some(it) if drawn.method != "GET" => versions(cluster, it).await,
        _ => Vec::new(),
    };
    let answer = send(cluster, drawn).await?;
    tally.count(drawn, &answer);
    if answer.code.is_success() {
        return readable(cluster, drawn, &answer).await;
    }
    if let (Some(collection), true) = (&drawn.collection, drawn.method != "GET") {
        let after = versions(cluster, collection).await;
        if before != after {
            return Err(format!("refused with {}, but changed {before:?}\n to {after:?}", answer.text));
        }
    }
    Ok(())
}

#[test]
fn drawn_requests_are_answered_and_refused_as_they_should_be() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cluster, operations) = runtime.block_on(async {
        let cluster = Cluster::start().await;
        let operations = Operation::all(&cluster).await;
        (cluster, operations)
    });
    assert!(operations.len() > 200, "{} operations are published", operations.len());
    let cases = std::env::var("ORLOP_DRAWN_REQUESTS").ok().and_then(|it| it.parse().ok()).unwrap_or(REQUESTS);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let tape = proptest::collection::vec(any::<u32>(), TAPE);
    let tally = Tally::default();
    let outcome = TestRunner::new(config).run(&tape, |tape| {
        let mut tape = Tape(tape.iter());
        let drawn = operations[tape.below(operations.len())].draw(&mut tape);
        runtime.block_on(check(&cluster, &drawn, &tally)).map_err(|error| {
            let shown: String = drawn.body.chars().take(3_000).collect();
            let line = format!("{} {} ({})\n  {shown}\n  {error}", drawn.method, drawn.path, drawn.content_type);
            TestCaseError::fail(line)
        })
    });
    if let Err(error) = outcome {
        let text = error.to_string();
        panic!("{}", text.split("minimal failing input").next().unwrap_or(&text));
    }
    // A test of refusals alone, or of none, would show little.
    let (written, refused) = (tally.written.get(), tally.refused.get());
    assert!(written > cases / 20 && refused > cases / 10, "{written} written, {refused} refused");
    // What the requests have left can still be read.
    let found = runtime.block_on(cluster.get("/api/v1/namespaces"));
    assert_eq!(found.code, 200);
    assert!(found.json["items"].as_array().is_some_and(|it| !it.is_empty()), "{}", Value::from(found.text));
}
