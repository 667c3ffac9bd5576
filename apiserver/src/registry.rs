//! Which kinds the server serves, found by what stands in a path.
//!
//! In: [`orlop_api::kinds::KINDS`]. Out: the record of a resource. Looked up once a request, so by hash and not by search.

use std::collections::HashMap;
use std::sync::LazyLock;

use orlop_api::kind::{Kind, Sub};
use orlop_api::kinds::KINDS;

type Names = (&'static str, &'static str, &'static str);

static BY_NAMES: LazyLock<HashMap<Names, &'static Kind>> =
    LazyLock::new(|| KINDS.iter().map(|it| ((it.group, it.version, it.names.plural), it)).collect());

/// The kind behind `/apis/<group>/<version>/.../<plural>`; the core group is empty.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    BY_NAMES.get(&(group, version, plural)).copied()
}

/// A kind by its Kubernetes name, for the parts of the server that work on one kind by its nature.
pub fn named(group: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|it| it.group == group && it.kind == kind)
}

/// The subresource of this name that the kind has.
pub fn subresource(kind: &Kind, segment: &str) -> Option<Sub> {
    kind.subs.iter().copied().find(|it| it.segment() == segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_path_and_name() {
        for kind in KINDS {
            let found = find(kind.group, kind.version, kind.names.plural).unwrap();
            assert_eq!((found.group, found.kind), (kind.group, kind.kind));
            assert!(named(kind.group, kind.kind).is_some());
        }
        assert!(find("", "v1", "nothings").is_none());
    }
}
