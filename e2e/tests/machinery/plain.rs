//! Requests as any HTTP client could make them, over the administrator's connection; and what came back, whatever it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Method, Request, header};
use kube::client::Body;
use orlop_e2e::api::Api;
use orlop_e2e::scene::Scene;
use serde_json::Value;

/// No answer may take longer; watches in these tests end before.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Who asks.
pub struct Http<'a>(pub &'a Api);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Null where the body is no JSON, as with the lines of a watch.
    pub json: Value,
    pub text: String,
}

impl Answer {
    /// The body, if the code is this.
    ///
    /// # Errors
    /// When it is another.
    pub fn is(self, code: u16) -> Result<Value> {
        ensure!(self.code == code, "{code} was expected: {} {}", self.code, self.text);
        Ok(self.json)
    }

    /// Checks a refusal.
    ///
    /// # Errors
    /// When it is none, or one with another code or without these words.
    pub fn refuses(self, code: u16, words: &str) -> Result<()> {
        let message = self.json["message"].as_str().unwrap_or_default();
        ensure!(
            self.code == code && message.contains(words),
            "{code} {words:?} was expected: {} {}",
            self.code,
            self.text
        );
        Ok(())
    }
}

impl Http<'_> {
    /// Those of a scenario.
    pub fn of<'a>(scene: &'a Scene<'_>) -> Http<'a> {
        Http(scene.api)
    }

    /// # Errors
    /// When there is no answer; an answer that refuses is none of these.
    pub fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.send_text(method, path, headers, text)
    }

    /// The same with a body that is a text: one that no value has.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub fn send_text(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Result<Answer> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.into_bytes()))?;
        let (runtime, client) = self.0.parts();
        let asked = async {
            let answer = client.send(request).await?;
            let code = answer.status().as_u16();
            anyhow::Ok((code, answer.into_body().collect_bytes().await?))
        };
        let answer = runtime.block_on(async { tokio::time::timeout(ANSWER_LIMIT, asked).await });
        let (code, bytes) = answer
            .with_context(|| format!("{method} {path}: no answer in time"))?
            .with_context(|| format!("{method} {path}"))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { code, json: serde_json::from_str(&text).unwrap_or_default(), text })
    }

    /// # Errors
    /// As [`Http::send`].
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &[], &Value::Null)
    }

    /// # Errors
    /// As [`Http::send`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, &[(header::CONTENT_TYPE.as_str(), "application/json")], body)
    }

    /// # Errors
    /// As [`Http::send`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, &[(header::CONTENT_TYPE.as_str(), "application/json")], body)
    }

    /// A patch of this media type.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub fn patch(&self, path: &str, kind: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PATCH, path, &[(header::CONTENT_TYPE.as_str(), kind)], body)
    }

    /// A deletion with these options.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub fn delete(&self, path: &str, options: &Value) -> Result<Answer> {
        self.send(Method::DELETE, path, &[(header::CONTENT_TYPE.as_str(), "application/json")], options)
    }

    /// What a watch of some seconds brings: each event's type and object.
    ///
    /// # Errors
    /// When it is refused, or brings what is no event.
    pub fn watch(&self, path: &str, seconds: u32) -> Result<Vec<(String, Value)>> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let answer = self.get(&format!("{path}{sign}watch=1&timeoutSeconds={seconds}"))?;
        ensure!(answer.code == 200, "{path}: {answer:?}");
        let mut out = Vec::new();
        for line in answer.text.lines() {
            let mut event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            out.push((event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take()));
        }
        Ok(out)
    }
}

/// Names of a list's items.
pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array();
    items.into_iter().flatten().map(|it| it["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// How many items a list has.
pub fn count(list: &Value) -> usize {
    list["items"].as_array().map_or(0, Vec::len)
}

/// A text of an object's metadata.
pub fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}
