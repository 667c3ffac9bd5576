//! What an expression consists of.
//!
//! Macros (`has`, `all`, `map`, …) are nodes of their own. Chains of `&&` and `||` are lists, as long as they are; all else may be nested
//! as deep as [`super::parse::DEPTH_LIMIT`] says, so that every walk over an expression fits the stack.

use super::functions::Op;

/// A part of an expression, and where it begins: in bytes from the start.
#[derive(Debug)]
pub struct Expr {
    pub at: u32,
    pub kind: Kind,
}

/// The kinds of parts.
#[derive(Debug)]
pub enum Kind {
    Literal(Literal),
    Ident(Box<str>),
    /// `a.b`, or `a.?b`.
    Select {
        of: Box<Expr>,
        field: Box<str>,
        optional: bool,
    },
    /// `has(a.b)`.
    Has {
        of: Box<Expr>,
        field: Box<str>,
    },
    Call(Box<Call>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Conditional(Box<[Expr; 3]>),
    /// Elements; the flag is that of `?element`.
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    Fold(Box<Fold>),
    /// A name for a value: `cel.bind`, and what `optMap` does.
    Bind(Box<Bind>),
}

/// A value that is written down.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
}

/// A function with its arguments, the first of which is the target of a method.
#[derive(Debug)]
pub struct Call {
    pub name: Box<str>,
    pub is_method: bool,
    pub args: Vec<Expr>,
    /// What it does; found when types are checked.
    pub op: Option<Op>,
}

/// What a macro over a list or a map does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformList,
    TransformMap,
}

/// A macro over a list or a map.
#[derive(Debug)]
pub struct Fold {
    pub kind: FoldKind,
    pub range: Expr,
    /// The element or key; with two variables the index or key.
    pub name: Box<str>,
    /// The element or value, where there are two variables.
    pub second: Option<Box<str>>,
    /// Which elements count.
    pub condition: Option<Expr>,
    /// What becomes of them.
    pub transform: Option<Expr>,
}

/// A name for a value within an expression.
#[derive(Debug)]
pub struct Bind {
    pub name: Box<str>,
    pub value: Expr,
    pub body: Expr,
    /// What is bound is the value of an optional, and the result is optional again unless `flat`.
    pub optional: Option<Flatness>,
}

/// What `optMap` and `optFlatMap` make of their bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flatness {
    Wrapped,
    Flat,
}
