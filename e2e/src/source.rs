//! The workspace's own source files, read as the tidy test reads them: code without comments, without the insides of strings, without tests.
//!
//! In: the repository. Out: [`Source`]s. This is no parser of Rust: it knows comments, literals, attributes and braces, and that is enough to
//! look for words where they mean something. Line numbers are those of the file in every form.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tool;

/// A Rust file of the workspace.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the repository's root: `api/src/kinds/pod.rs`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// Comments and the insides of literals are blank.
    pub code: String,
    /// As `code`, and what is only compiled for tests is blank, too. Empty for files of tests.
    pub production: String,
    /// String literals with the lines on which they begin, tests left out.
    pub literals: Vec<(usize, String)>,
}

impl Source {
    /// The lines of the production code in which `word` stands, as `path:line`.
    pub fn lines_with(&self, word: &str) -> Vec<String> {
        let lines = self.production.lines().enumerate().filter(|(_, line)| has_word(line, word));
        lines.map(|(at, _)| format!("{}:{}", self.path, at + 1)).collect()
    }

    /// Whether nothing of it is compiled into a binary.
    pub fn is_test(&self) -> bool {
        self.production.trim().is_empty()
    }

    /// The crate's folder.
    pub fn folder(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }
}

/// Whether `word` stands in `line` with nothing that belongs to a name at its ends.
pub fn has_word(line: &str, word: &str) -> bool {
    let named = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '_');
    line.match_indices(word).any(|(at, _)| {
        let joined_before = named(line[..at].chars().next_back()) && named(word.chars().next());
        let joined_after = named(line[at + word.len()..].chars().next()) && named(word.chars().next_back());
        !joined_before && !joined_after
    })
}

/// Every Rust file that git knows or would add.
///
/// # Errors
/// When git cannot list them or one cannot be read.
pub fn all() -> Result<Vec<Source>> {
    let root = tool::repository();
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]).current_dir(&root);
    let listed = tool::run(&mut git)?;
    // Listed twice while a merge is under way; listed and gone after a removal that is not committed.
    let paths: BTreeSet<&str> = listed.lines().filter(|it| root.join(it).is_file()).collect();
    let mut sources = paths.into_iter().map(|it| read(&root, it)).collect::<Result<Vec<_>>>()?;
    let tests: BTreeSet<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let below =
            tests.iter().any(|it| source.path == format!("{it}.rs") || source.path.starts_with(&format!("{it}/")));
        let folder = ["/tests/", "/examples/", "/benches/"].iter().any(|it| source.path.contains(it));
        if below || folder {
            source.production = blank(&source.code);
            source.literals.clear();
        }
    }
    Ok(sources)
}

fn read(root: &Path, path: &str) -> Result<Source> {
    let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
    let (code, mut literals) = strip(&text);
    let production = without_tests(&code);
    // What was blanked is a test's.
    let kept: Vec<&str> = production.lines().collect();
    literals.retain(|(line, _)| kept.get(line - 1).is_some_and(|it| !it.trim().is_empty()));
    Ok(Source { path: path.to_owned(), text, code, production, literals })
}

/// The paths (without `.rs`) of the modules that a file declares for tests alone.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main")) => folder,
        _ => stem,
    };
    let mut names = Vec::new();
    let mut lines = source.code.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]"
            && let Some(name) = lines.next().and_then(|it| it.trim().rsplit_once("mod ")?.1.strip_suffix(';'))
        {
            names.push(format!("{folder}/{name}"));
        }
    }
    names
}

/// Blanks comments and the insides of literals; gives the string literals beside.
fn strip(text: &str) -> (String, Vec<(usize, String)>) {
    let all: Vec<char> = text.chars().collect();
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let (mut at, mut line) = (0, 1);
    let follows = |at: usize, what: &str| what.chars().enumerate().all(|(n, it)| all.get(at + n) == Some(&it));
    while at < all.len() {
        let end = if follows(at, "//") {
            (at..all.len()).find(|it| all[*it] == '\n').unwrap_or(all.len())
        } else if follows(at, "/*") {
            end_of_comment(&all, at)
        } else if all[at] == '"' || raw_hashes(&all, at).is_some() {
            let (from, to, end) = string(&all, at);
            literals.push((line, all[from..to].iter().collect()));
            // The quotes stay, so that the place can still be seen.
            code.push('"');
            code.extend(all[at + 1..end - 1].iter().map(|it| if *it == '\n' { '\n' } else { ' ' }));
            code.push('"');
            line += all[at..end].iter().filter(|it| **it == '\n').count();
            at = end;
            continue;
        } else if all[at] == '\'' && (all.get(at + 2) == Some(&'\'') || all.get(at + 1) == Some(&'\\')) {
            // A character; a lifetime has no second quote.
            let from = if all[at + 1] == '\\' { at + 3 } else { at + 2 };
            (from..all.len()).find(|it| all[*it] == '\'').map_or(all.len(), |it| it + 1)
        } else {
            line += usize::from(all[at] == '\n');
            code.push(all[at]);
            at += 1;
            continue;
        };
        code.extend(all[at..end].iter().map(|it| if *it == '\n' { '\n' } else { ' ' }));
        line += all[at..end].iter().filter(|it| **it == '\n').count();
        at = end;
    }
    (code, literals)
}

fn end_of_comment(all: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from + 2, 1);
    while at < all.len() && depth > 0 {
        match (all[at], all.get(at + 1)) {
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            _ => at += 1,
        }
    }
    at
}

/// How many `#` a raw string that begins here has.
fn raw_hashes(all: &[char], at: usize) -> Option<usize> {
    let named = at > 0 && (all[at - 1].is_alphanumeric() || all[at - 1] == '_') && all[at - 1] != 'b';
    if all[at] != 'r' || named {
        return None;
    }
    let hashes = all[at + 1..].iter().take_while(|it| **it == '#').count();
    (all.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// Where a string's inside begins and ends, and where the string ends.
fn string(all: &[char], at: usize) -> (usize, usize, usize) {
    if let Some(hashes) = raw_hashes(all, at) {
        let from = at + hashes + 2;
        let closes = |it: &usize| {
            all[*it] == '"' && all[*it + 1..].iter().take(hashes).filter(|it| **it == '#').count() == hashes
        };
        let to = (from..all.len()).find(closes).unwrap_or(all.len());
        return (from, to, (to + 1 + hashes).min(all.len()));
    }
    let mut to = at + 1;
    while to < all.len() && all[to] != '"' {
        to += if all[to] == '\\' { 2 } else { 1 };
    }
    let to = to.min(all.len());
    (at + 1, to, (to + 1).min(all.len()))
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut kept = String::with_capacity(code.len());
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = end_of_item(&rest[at..]);
        kept.push_str(&blank(&rest[at..at + item]));
        rest = &rest[at + item..];
    }
    kept + rest
}

/// Where the item that begins here ends: at a `;` outside of braces, or at the brace that closes its first.
fn end_of_item(code: &str) -> usize {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, it) in code.char_indices() {
        match it {
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 && others == 0 {
                    return at + 1;
                }
            }
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            ';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn blank(code: &str) -> String {
    code.chars().map(|it| if it == '\n' { '\n' } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, production: &str, literals: &[(usize, &str)]) {
        let (code, found) = strip(text);
        let squeezed = without_tests(&code).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed, production);
        assert_eq!(code.lines().count(), text.lines().count());
        let found: Vec<_> = found.iter().map(|(line, it)| (*line, it.as_str())).collect();
        assert_eq!(found, literals);
    }

    #[test]
    fn words_are_found_where_they_mean_something() {
        check("a(); // b()\n/* c /* d */ */ e();", "a(); e();", &[]);
        check(
            "a(\"b // c\");\nd(r#\"e \" f\"#, 'g', '\\'', \"\\\"h\");",
            "a(\" \"); d(\" \", , , \" \");",
            &[(1, "b // c"), (2, "e \" f"), (2, "\\\"h")],
        );
        check("fn a<'b>(c: &'b str) {}", "fn a<'b>(c: &'b str) {}", &[]);
        check("a();\n#[cfg(test)]\nmod b {\n  fn c() { d([1; 2]); }\n}\ne();", "a(); e();", &[]);
        check("#[cfg(test)]\nmod tests;\na();", "a();", &[]);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("std::thread::sleep(x)", "thread::sleep"));
        assert!(!has_word("my_thread::sleeper(x)", "thread::sleep"));
        assert!(has_word("Instant::now()", "Instant::now"));
    }
}
