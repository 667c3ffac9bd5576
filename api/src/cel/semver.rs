//! Semantic versions (semver.org, 2.0.0), as the `semver` functions know them.

use std::cmp::Ordering;

/// A version. Build metadata is read and forgotten: it takes no part in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    pre: Vec<Box<str>>,
}

impl Semver {
    /// Reads a version. `tolerant` takes a leading `v`, leading zeros and missing parts, as Kubernetes' normalization does.
    pub fn parse(text: &str, tolerant: bool) -> Option<Self> {
        let text = if tolerant { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let is_word = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        if build.is_some_and(|it| !it.split('.').all(is_word)) {
            return None;
        }
        let mut numbers = core.split('.').map(|it| number(it, tolerant));
        let major = numbers.next()??;
        let missing = tolerant.then_some(0);
        let minor = numbers.next().map_or(missing, |it| it)?;
        let patch = numbers.next().map_or(missing, |it| it)?;
        let pre: Vec<Box<str>> = pre.map_or(Vec::new(), |it| it.split('.').map(Into::into).collect());
        let fits = |it: &str| is_word(it) && (!is_number(it) || it == "0" || !it.starts_with('0'));
        (numbers.next().is_none() && pre.iter().all(|it| fits(it))).then_some(Semver { major, minor, patch, pre })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

fn number(text: &str, tolerant: bool) -> Option<u64> {
    let plain = text == "0" || tolerant || !text.starts_with('0');
    (is_number(text) && plain).then(|| text.parse().ok()).flatten()
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        let core = (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch));
        // A version comes after its pre-releases.
        core.then_with(|| self.pre.is_empty().cmp(&other.pre.is_empty())).then_with(|| {
            let parts = self.pre.iter().zip(&other.pre).map(|(one, other)| match (is_number(one), is_number(other)) {
                (true, true) => (one.len(), one).cmp(&(other.len(), other)),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => one.cmp(other),
            });
            parts.fold(Ordering::Equal, Ordering::then).then(self.pre.len().cmp(&other.pre.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let order = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.2.0",
        ];
        let versions: Vec<Semver> = order.iter().map(|it| Semver::parse(it, false).unwrap()).collect();
        assert!(versions.is_sorted());
        for bad in ["1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "", "1.0.0+"] {
            assert_eq!(Semver::parse(bad, false), None, "{bad}");
        }
        assert_eq!(Semver::parse("v01.2", true), Semver::parse("1.2.0", false));
    }
}
