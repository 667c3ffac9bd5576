//! Label selectors: `app=web,tier in (a, b),!old`, and the structured form of `LabelSelector`.
