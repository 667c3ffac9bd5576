//! The order of merged lists: the patch's elements in the patch's order, those only the server has where they were in between.

use serde_json::Value;

/// Merges two lists without common elements. `position` tells where an element stood on the server: a server's element goes before one of
/// the patch only if both were there and it came first.
pub fn interleave(
    server_only: Vec<Value>,
    patched: Vec<Value>,
    position: impl Fn(&Value) -> Option<usize>,
) -> Vec<Value> {
    let mut out = Vec::with_capacity(server_only.len() + patched.len());
    let mut left = server_only.into_iter().map(|it| (position(&it), it)).peekable();
    let mut right = patched.into_iter().map(|it| (position(&it), it)).peekable();
    loop {
        let from_left = match (left.peek(), right.peek()) {
            (Some((l, _)), Some((r, _))) => l.is_some() && r.is_some() && l < r,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        let next = if from_left { left.next() } else { right.next() };
        out.extend(next.map(|(_, it)| it));
    }
}
