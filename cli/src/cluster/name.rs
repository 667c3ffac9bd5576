//! What a cluster may be called: a DNS label (RFC 1123), because its nodes' names begin with it.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes: a label has 63, and a node's name adds a dash and a number.
const LENGTH_MAX: usize = 50;

/// A cluster's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        let inner = text.bytes().all(|it| plain(it) || it == b'-');
        let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
        match inner && ends && text.len() <= LENGTH_MAX {
            true => Ok(Name(text.to_owned())),
            false => Err(format!(
                "a cluster's name consists of lower case letters, digits and '-', begins and ends with a letter or digit, and has at most \
                 {LENGTH_MAX} characters"
            )),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// The context of the cluster in a kubeconfig.
    pub fn context(&self) -> String {
        format!("orlop-{}", self.0)
    }

    /// The names of so many nodes: `dev-1`, `dev-2`.
    pub fn nodes(&self, count: u16) -> Vec<String> {
        (1..=count).map(|it| format!("{}-{it}", self.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Name>().is_ok(), good, "{text:?}");
        for good in ["a", "dev", "dev-2", "0", &"a".repeat(50)] {
            check(good, true);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "a_b", "ä", &"a".repeat(51)] {
            check(bad, false);
        }
        assert_eq!("dev".parse::<Name>().unwrap().nodes(2), ["dev-1", "dev-2"]);
    }
}
