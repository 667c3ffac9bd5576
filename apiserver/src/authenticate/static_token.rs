//! Tokens from a file that the operator keeps: `token,user,uid,"group1,group2"`, one a line, as kube-apiserver's `--token-auth-file`.
//!
//! Read once, at the start. Only digests of the tokens stay in memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::{TokenFileError, digest};
use crate::stage::Identity;

/// The tokens of one file.
#[derive(Debug, Default)]
pub struct StaticTokens(HashMap<[u8; 32], Arc<Identity>>);

impl StaticTokens {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TokenFileError`], which names the line but never quotes it.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| TokenFileError::Io { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(line, what)| TokenFileError::Malformed { path: path.to_owned(), line, what })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut out = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let failed = |what: &str| (index + 1, what.to_owned());
            let fields = fields(line).ok_or_else(|| failed("a quote is not closed"))?;
            let [token, user, uid, rest @ ..] = fields.as_slice() else {
                return Err(failed("token, user and uid are required"));
            };
            if token.is_empty() || user.is_empty() {
                return Err(failed("token and user must not be empty"));
            }
            let groups: Vec<&str> = rest.first().map_or("", String::as_str).split(',').map(str::trim).collect();
            let groups: Vec<&str> = groups.into_iter().filter(|it| !it.is_empty()).collect();
            let identity = Identity { uid: uid.clone(), ..Identity::new(user, &groups) };
            if out.insert(digest(token), Arc::new(identity)).is_some() {
                return Err(failed("the token stands in the file already"));
            }
        }
        Ok(StaticTokens(out))
    }

    /// Whose token this is.
    pub fn find(&self, token: &str) -> Option<Arc<Identity>> {
        if self.0.is_empty() { None } else { self.0.get(&digest(token)).cloned() }
    }
}

/// The fields of one line of comma-separated values; none where a quote is open at its end.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.trim().chars().peekable();
    while let Some(character) = characters.next() {
        let field = out.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then(|| out.into_iter().map(|it| it.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_file_of_kube_apiserver() {
        let tokens = StaticTokens::parse("# comment\n\nsecret,admin,1,\"system:masters, ops\"\nother,bob,2\n").unwrap();
        let admin = tokens.find("secret").unwrap();
        assert_eq!((admin.user.as_str(), admin.uid.as_str()), ("admin", "1"));
        assert_eq!(admin.groups, ["system:masters", "ops", "system:authenticated"]);
        assert_eq!(tokens.find("other").unwrap().groups, ["system:authenticated"]);
        assert!(tokens.find("secre").is_none() && tokens.find("").is_none());
        for (text, line) in [("a,b\n", 1), ("a,b,c\nx,\"y,z\n", 2), ("a,b,c\na,d,e\n", 2), (",b,c\n", 1)] {
            assert_eq!(StaticTokens::parse(text).unwrap_err().0, line, "{text}");
        }
    }
}
