//! The key of an object within its kind: namespace and name. Cheap to clone, ordered by namespace, then name.

use std::fmt;
use std::sync::Arc;

/// A namespace and a name; the namespace is empty for objects of the cluster.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    text: Arc<str>,
    slash: u32,
}

impl Key {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Key {
        // Both are DNS names of at most 253 bytes, so that the position always fits.
        Key { text: format!("{namespace}/{name}").into(), slash: namespace.len() as u32 }
    }

    /// The namespace; empty for objects of the cluster.
    pub fn namespace(&self) -> &str {
        &self.text[..self.slash as usize]
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.text[self.slash as usize + 1..]
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.namespace(), self.name()).cmp(&(other.namespace(), other.name()))
    }
}

/// `namespace/name`, or the name alone for objects of the cluster.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.slash == 0 { self.name() } else { &self.text })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_order() {
        let key = Key::new("a", "web");
        assert_eq!((key.namespace(), key.name(), key.to_string().as_str()), ("a", "web", "a/web"));
        assert_eq!(Key::new("", "n1").to_string(), "n1");
        // Ordered by namespace first, also where a character below '/' follows.
        assert!(Key::new("a", "z") < Key::new("a-b", "a"));
    }
}
