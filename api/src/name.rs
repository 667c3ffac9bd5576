//! Which names objects, labels and the like may have, worded as `k8s.io/apimachinery/pkg/util/validation` words its complaints.

/// The rule for the names of a kind's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 bytes: most kinds.
    Subdomain,
    /// RFC 1123 label, at most 63 bytes: namespaces.
    Label,
    /// RFC 1035 label, at most 63 bytes, a letter first: services.
    Label1035,
    /// Anything that can be one segment of a path: RBAC's kinds.
    PathSegment,
}
