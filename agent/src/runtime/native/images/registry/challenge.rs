//! `WWW-Authenticate`: how a registry asks who one is (RFC 9110, section 11.6.1). Pure.

/// One challenge: `Bearer realm="https://…",service="…"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub scheme: String,
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, it)| it.as_str())
    }
}

/// The challenges in a header's value. What cannot be read is passed over.
pub fn parse(value: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|it: char| !is_token(it)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(after), Some(challenge)) => {
                let (text, after) = quoted(after);
                challenge.parameters.push((word.to_owned(), text));
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// A value, quoted or not, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, it)) = characters.next() {
        match it {
            '"' => return (value, &inside[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, it)| it)),
            it => value.push(it),
        }
    }
    (value, "")
}

fn is_token(it: char) -> bool {
    it.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_read() {
        let found = parse(
            r#"Bearer realm="https://a/token?x=1,2",service="a \"b\"", scope=repository:x:pull, Basic realm="r""#,
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("Realm"), Some("https://a/token?x=1,2"));
        assert_eq!(found[0].get("service"), Some("a \"b\""));
        assert_eq!(found[0].get("scope"), Some("repository:x:pull"));
        assert_eq!((found[1].scheme.as_str(), found[1].get("realm")), ("Basic", Some("r")));
        assert_eq!(parse("realm=x"), []);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,60}") {
            parse(&text);
        }
    }
}
