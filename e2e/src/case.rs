//! One kubectl-like program in one namespace, run by lines as a user would type them, held to what they should print.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::kubectl::Kubectl;
use crate::{expect, wait};

/// How long a change may take to be seen.
const SEEN_LIMIT: Duration = Duration::from_secs(60);

/// A program and the namespace that its lines are about.
pub struct Case {
    pub kubectl: Kubectl,
    pub namespace: String,
}

impl Case {
    /// A line's words behind the namespace; quotes keep blanks together.
    pub fn arguments<'a>(&'a self, line: &'a str) -> Vec<&'a str> {
        let mut all = vec!["-n", &self.namespace];
        all.extend(words(line));
        all
    }

    /// Runs a line and gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, line: &str) -> Result<String> {
        self.run_with(line, "")
    }

    /// Runs a line with this standard input.
    ///
    /// # Errors
    /// When it fails.
    pub fn run_with(&self, line: &str, input: &str) -> Result<String> {
        self.kubectl.run_with(&self.arguments(line), input)
    }

    /// Runs a line that has to succeed and print this.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub fn prints(&self, line: &str, expected: &str) -> Result<()> {
        self.prints_with(line, "", expected)
    }

    /// As [`Case::prints`], with standard input.
    ///
    /// # Errors
    /// As [`Case::prints`].
    pub fn prints_with(&self, line: &str, input: &str, expected: &str) -> Result<()> {
        let found = self.run_with(line, input)?;
        expect::check(expected, &found).with_context(|| format!("kubectl {line}"))
    }

    /// Runs a line that has to fail and say this on standard error.
    ///
    /// # Errors
    /// When it succeeds, or says something else.
    pub fn refused(&self, line: &str, input: &str, expected: &str) -> Result<()> {
        let found = self.kubectl.fails(&self.arguments(line), input)?;
        expect::check(expected, &found).with_context(|| format!("kubectl {line}"))
    }

    /// Runs a line until it prints this.
    ///
    /// # Errors
    /// When it does not in time; what it printed last is in the error.
    pub fn comes_to(&self, line: &str, expected: &str) -> Result<()> {
        wait::until(line, SEEN_LIMIT, || self.prints(line, expected))
    }
}

fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, more) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word);
        rest = more.trim_start();
    }
    words
}
