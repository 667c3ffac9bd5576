//! Field selectors: `spec.nodeName=n1,status.phase!=Running`.
