//! What goes back: the body of a response, and its head.

pub mod body;

pub use body::Body;

/// What the server answers.
pub type Response = http::Response<Body>;
