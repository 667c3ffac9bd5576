//! The functions of expressions: what they take, what they give, what they cost.
//!
//! One table holds the standard functions of CEL and Kubernetes' library as of 1.35 (`k8s.io/apiserver/pkg/cel/environment` and `library`).
//! What a call costs depends on the sizes of its arguments only, by the same formula when it is estimated, where sizes are the most that
//! can be, and when it runs. Operators are not in the table; [`operator`] says what they give.

use super::types::Type;

/// What a call does. Functions of several signatures look at their arguments when they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum Op {
    Eq, Ne, Lt, Le, Gt, Ge, Add, Sub, Mul, Div, Mod, Not, Neg, In, Index, OptIndex,
    Size, Contains, StartsWith, EndsWith, Matches,
    ToInt, ToUint, ToDouble, ToString, ToBytes, ToBool, ToDyn, TypeOf, ToDuration, ToTimestamp,
    FullYear, Month, DayOfMonth, Date, DayOfWeek, DayOfYear, Hours, Minutes, Seconds, Milliseconds,
    CharAt, IndexOf, LastIndexOf, LowerAscii, UpperAscii, Replace, Split, Substring, Trim, Join, Format, Quote,
    IsSorted, Sum, Min, Max, Find, FindAll,
    Url, IsUrl, Scheme, Host, Hostname, Port, EscapedPath, Query,
    Quantity, IsQuantity, Sign, IsInteger, AsInteger, AsFloat, QuantityAdd, QuantitySub, IsLess, IsGreater, CompareTo,
    Ip, IsIp, IsCanonical, Family, IsUnspecified, IsLoopback, IsLinkLocalMulticast, IsLinkLocalUnicast, IsGlobalUnicast,
    Cidr, IsCidr, ContainsIp, ContainsCidr, CidrIp, Masked, PrefixLength,
    NamedFormat, FormatOf(&'static str), Validate,
    Semver, IsSemver, Major, Minor, Patch,
    Image, IsImage, ContainsDigest, Registry, Repository, Tag, Digest, Identifier,
    SetsContains, SetsEquivalent, SetsIntersects,
    OptionalOf, OptionalNone, OptionalOfNonZero, HasValue, Value, Or, OrValue,
    AuthPath, AuthGroup, AuthServiceAccount, AuthResource, AuthSubresource, AuthNamespace, AuthName, AuthFields, AuthLabels,
    AuthCheck, Allowed, Reason, Errored, Error,
}

/// The type of a parameter or a result, as the table writes it.
#[derive(Clone, Copy, Debug)]
#[rustfmt::skip]
pub enum T {
    Dyn, Bool, Int, Uint, Double, Str, Bytes, Duration, Timestamp, Type, A, ListA, MapAB, OptA, ListStr, OptListStr, ListInt, ListUint,
    ListDouble, ListDuration, ListTimestamp, ListDyn, Is(&'static str), OptIs(&'static str),
}

impl T {
    /// The type itself.
    pub fn of(self) -> Type {
        match self {
            T::Dyn => Type::Dyn,
            T::Bool => Type::Bool,
            T::Int => Type::Int,
            T::Uint => Type::Uint,
            T::Double => Type::Double,
            T::Str => Type::TEXT,
            T::Bytes => Type::Bytes(super::types::UNBOUNDED),
            T::Duration => Type::Duration,
            T::Timestamp => Type::Timestamp,
            T::Type => Type::Type,
            T::A => Type::Param(0),
            T::ListA => Type::list(Type::Param(0)),
            T::MapAB => Type::Map(std::sync::Arc::new((Type::Param(0), Type::Param(1))), super::types::UNBOUNDED),
            T::OptA => Type::optional(Type::Param(0)),
            T::ListStr => Type::list(Type::TEXT),
            T::OptListStr => Type::optional(Type::list(Type::TEXT)),
            T::ListInt => Type::list(Type::Int),
            T::ListUint => Type::list(Type::Uint),
            T::ListDouble => Type::list(Type::Double),
            T::ListDuration => Type::list(Type::Duration),
            T::ListTimestamp => Type::list(Type::Timestamp),
            T::ListDyn => Type::list(Type::Dyn),
            T::Is(name) => Type::Opaque(name),
            T::OptIs(name) => Type::optional(Type::Opaque(name)),
        }
    }
}

/// One signature: the name, whether it is a method, the parameters, the result, what it does.
pub type Signature = (&'static str, bool, &'static [T], T, Op);

/// What `url` makes.
pub const URL: &str = "kubernetes.URL";
/// What `quantity` makes.
pub const QUANTITY: &str = "kubernetes.Quantity";
/// What `ip` makes.
pub const IP: &str = "net.IP";
/// What `cidr` makes.
pub const CIDR: &str = "net.CIDR";
/// What the functions of `format` make.
pub const FORMAT: &str = "kubernetes.NamedFormat";
/// What `semver` makes.
pub const SEMVER: &str = "kubernetes.Semver";
/// What `image` makes.
pub const IMAGE: &str = "kubernetes.Image";
/// What the variable `authorizer` is.
pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
/// What `authorizer.path` makes.
pub const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
/// What `authorizer.group` makes.
pub const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
/// What `resource` of a group makes.
pub const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
/// What `check` of a path or resource gives.
pub const DECISION: &str = "kubernetes.authorization.Decision";

const U: T = T::Is(URL);
const Q: T = T::Is(QUANTITY);
const I: T = T::Is(IP);
const C: T = T::Is(CIDR);
const F: T = T::Is(FORMAT);
const V: T = T::Is(SEMVER);
const M: T = T::Is(IMAGE);
const AUTH: T = T::Is(AUTHORIZER);
const R: T = T::Is(RESOURCE_CHECK);

/// All functions.
#[rustfmt::skip]
const SIGNATURES: &[Signature] = &[
    ("size", false, &[T::Str], T::Int, Op::Size), ("size", false, &[T::Bytes], T::Int, Op::Size),
    ("size", false, &[T::ListA], T::Int, Op::Size), ("size", false, &[T::MapAB], T::Int, Op::Size),
    ("size", true, &[T::Str], T::Int, Op::Size), ("size", true, &[T::Bytes], T::Int, Op::Size),
    ("size", true, &[T::ListA], T::Int, Op::Size), ("size", true, &[T::MapAB], T::Int, Op::Size),
    ("contains", true, &[T::Str, T::Str], T::Bool, Op::Contains),
    ("startsWith", true, &[T::Str, T::Str], T::Bool, Op::StartsWith),
    ("endsWith", true, &[T::Str, T::Str], T::Bool, Op::EndsWith),
    ("matches", true, &[T::Str, T::Str], T::Bool, Op::Matches), ("matches", false, &[T::Str, T::Str], T::Bool, Op::Matches),
    ("int", false, &[T::Int], T::Int, Op::ToInt), ("int", false, &[T::Uint], T::Int, Op::ToInt),
    ("int", false, &[T::Double], T::Int, Op::ToInt), ("int", false, &[T::Str], T::Int, Op::ToInt),
    ("int", false, &[T::Timestamp], T::Int, Op::ToInt), ("int", false, &[T::Duration], T::Int, Op::ToInt),
    ("uint", false, &[T::Int], T::Uint, Op::ToUint), ("uint", false, &[T::Uint], T::Uint, Op::ToUint),
    ("uint", false, &[T::Double], T::Uint, Op::ToUint), ("uint", false, &[T::Str], T::Uint, Op::ToUint),
    ("double", false, &[T::Int], T::Double, Op::ToDouble), ("double", false, &[T::Uint], T::Double, Op::ToDouble),
    ("double", false, &[T::Double], T::Double, Op::ToDouble), ("double", false, &[T::Str], T::Double, Op::ToDouble),
    ("string", false, &[T::Str], T::Str, Op::ToString), ("string", false, &[T::Int], T::Str, Op::ToString),
    ("string", false, &[T::Uint], T::Str, Op::ToString), ("string", false, &[T::Double], T::Str, Op::ToString),
    ("string", false, &[T::Bool], T::Str, Op::ToString), ("string", false, &[T::Bytes], T::Str, Op::ToString),
    ("string", false, &[T::Timestamp], T::Str, Op::ToString), ("string", false, &[T::Duration], T::Str, Op::ToString),
    ("string", false, &[I], T::Str, Op::ToString), ("string", false, &[C], T::Str, Op::ToString),
    ("bytes", false, &[T::Str], T::Bytes, Op::ToBytes), ("bytes", false, &[T::Bytes], T::Bytes, Op::ToBytes),
    ("bool", false, &[T::Bool], T::Bool, Op::ToBool), ("bool", false, &[T::Str], T::Bool, Op::ToBool),
    ("dyn", false, &[T::A], T::Dyn, Op::ToDyn), ("type", false, &[T::A], T::Type, Op::TypeOf),
    ("duration", false, &[T::Str], T::Duration, Op::ToDuration), ("duration", false, &[T::Duration], T::Duration, Op::ToDuration),
    ("timestamp", false, &[T::Str], T::Timestamp, Op::ToTimestamp), ("timestamp", false, &[T::Int], T::Timestamp, Op::ToTimestamp),
    ("timestamp", false, &[T::Timestamp], T::Timestamp, Op::ToTimestamp),
    ("getFullYear", true, &[T::Timestamp], T::Int, Op::FullYear), ("getFullYear", true, &[T::Timestamp, T::Str], T::Int, Op::FullYear),
    ("getMonth", true, &[T::Timestamp], T::Int, Op::Month), ("getMonth", true, &[T::Timestamp, T::Str], T::Int, Op::Month),
    ("getDayOfMonth", true, &[T::Timestamp], T::Int, Op::DayOfMonth), ("getDayOfMonth", true, &[T::Timestamp, T::Str], T::Int, Op::DayOfMonth),
    ("getDate", true, &[T::Timestamp], T::Int, Op::Date), ("getDate", true, &[T::Timestamp, T::Str], T::Int, Op::Date),
    ("getDayOfWeek", true, &[T::Timestamp], T::Int, Op::DayOfWeek), ("getDayOfWeek", true, &[T::Timestamp, T::Str], T::Int, Op::DayOfWeek),
    ("getDayOfYear", true, &[T::Timestamp], T::Int, Op::DayOfYear), ("getDayOfYear", true, &[T::Timestamp, T::Str], T::Int, Op::DayOfYear),
    ("getHours", true, &[T::Timestamp], T::Int, Op::Hours), ("getHours", true, &[T::Timestamp, T::Str], T::Int, Op::Hours),
    ("getHours", true, &[T::Duration], T::Int, Op::Hours),
    ("getMinutes", true, &[T::Timestamp], T::Int, Op::Minutes), ("getMinutes", true, &[T::Timestamp, T::Str], T::Int, Op::Minutes),
    ("getMinutes", true, &[T::Duration], T::Int, Op::Minutes),
    ("getSeconds", true, &[T::Timestamp], T::Int, Op::Seconds), ("getSeconds", true, &[T::Timestamp, T::Str], T::Int, Op::Seconds),
    ("getSeconds", true, &[T::Duration], T::Int, Op::Seconds),
    ("getMilliseconds", true, &[T::Timestamp], T::Int, Op::Milliseconds),
    ("getMilliseconds", true, &[T::Timestamp, T::Str], T::Int, Op::Milliseconds),
    ("getMilliseconds", true, &[T::Duration], T::Int, Op::Milliseconds),
    ("charAt", true, &[T::Str, T::Int], T::Str, Op::CharAt),
    ("indexOf", true, &[T::Str, T::Str], T::Int, Op::IndexOf), ("indexOf", true, &[T::Str, T::Str, T::Int], T::Int, Op::IndexOf),
    ("indexOf", true, &[T::ListA, T::A], T::Int, Op::IndexOf),
    ("lastIndexOf", true, &[T::Str, T::Str], T::Int, Op::LastIndexOf),
    ("lastIndexOf", true, &[T::Str, T::Str, T::Int], T::Int, Op::LastIndexOf),
    ("lastIndexOf", true, &[T::ListA, T::A], T::Int, Op::LastIndexOf),
    ("lowerAscii", true, &[T::Str], T::Str, Op::LowerAscii), ("upperAscii", true, &[T::Str], T::Str, Op::UpperAscii),
    ("replace", true, &[T::Str, T::Str, T::Str], T::Str, Op::Replace),
    ("replace", true, &[T::Str, T::Str, T::Str, T::Int], T::Str, Op::Replace),
    ("split", true, &[T::Str, T::Str], T::ListStr, Op::Split), ("split", true, &[T::Str, T::Str, T::Int], T::ListStr, Op::Split),
    ("substring", true, &[T::Str, T::Int], T::Str, Op::Substring), ("substring", true, &[T::Str, T::Int, T::Int], T::Str, Op::Substring),
    ("trim", true, &[T::Str], T::Str, Op::Trim),
    ("join", true, &[T::ListStr], T::Str, Op::Join), ("join", true, &[T::ListStr, T::Str], T::Str, Op::Join),
    ("format", true, &[T::Str, T::ListDyn], T::Str, Op::Format), ("strings.quote", false, &[T::Str], T::Str, Op::Quote),
    ("isSorted", true, &[T::ListA], T::Bool, Op::IsSorted),
    ("sum", true, &[T::ListInt], T::Int, Op::Sum), ("sum", true, &[T::ListUint], T::Uint, Op::Sum),
    ("sum", true, &[T::ListDouble], T::Double, Op::Sum), ("sum", true, &[T::ListDuration], T::Duration, Op::Sum),
    ("min", true, &[T::ListA], T::A, Op::Min), ("max", true, &[T::ListA], T::A, Op::Max),
    ("find", true, &[T::Str, T::Str], T::Str, Op::Find),
    ("findAll", true, &[T::Str, T::Str], T::ListStr, Op::FindAll), ("findAll", true, &[T::Str, T::Str, T::Int], T::ListStr, Op::FindAll),
    ("url", false, &[T::Str], U, Op::Url), ("isURL", false, &[T::Str], T::Bool, Op::IsUrl),
    ("getScheme", true, &[U], T::Str, Op::Scheme), ("getHost", true, &[U], T::Str, Op::Host),
    ("getHostname", true, &[U], T::Str, Op::Hostname), ("getPort", true, &[U], T::Str, Op::Port),
    ("getEscapedPath", true, &[U], T::Str, Op::EscapedPath), ("getQuery", true, &[U], T::Dyn, Op::Query),
    ("quantity", false, &[T::Str], Q, Op::Quantity), ("isQuantity", false, &[T::Str], T::Bool, Op::IsQuantity),
    ("sign", true, &[Q], T::Int, Op::Sign), ("isInteger", true, &[Q], T::Bool, Op::IsInteger),
    ("asInteger", true, &[Q], T::Int, Op::AsInteger), ("asApproximateFloat", true, &[Q], T::Double, Op::AsFloat),
    ("add", true, &[Q, Q], Q, Op::QuantityAdd), ("add", true, &[Q, T::Int], Q, Op::QuantityAdd),
    ("sub", true, &[Q, Q], Q, Op::QuantitySub), ("sub", true, &[Q, T::Int], Q, Op::QuantitySub),
    ("isLessThan", true, &[Q, Q], T::Bool, Op::IsLess), ("isLessThan", true, &[V, V], T::Bool, Op::IsLess),
    ("isGreaterThan", true, &[Q, Q], T::Bool, Op::IsGreater), ("isGreaterThan", true, &[V, V], T::Bool, Op::IsGreater),
    ("compareTo", true, &[Q, Q], T::Int, Op::CompareTo), ("compareTo", true, &[V, V], T::Int, Op::CompareTo),
    ("ip", false, &[T::Str], I, Op::Ip), ("isIP", false, &[T::Str], T::Bool, Op::IsIp),
    ("ip.isCanonical", false, &[T::Str], T::Bool, Op::IsCanonical), ("family", true, &[I], T::Int, Op::Family),
    ("isUnspecified", true, &[I], T::Bool, Op::IsUnspecified), ("isLoopback", true, &[I], T::Bool, Op::IsLoopback),
    ("isLinkLocalMulticast", true, &[I], T::Bool, Op::IsLinkLocalMulticast),
    ("isLinkLocalUnicast", true, &[I], T::Bool, Op::IsLinkLocalUnicast), ("isGlobalUnicast", true, &[I], T::Bool, Op::IsGlobalUnicast),
    ("cidr", false, &[T::Str], C, Op::Cidr), ("isCIDR", false, &[T::Str], T::Bool, Op::IsCidr),
    ("containsIP", true, &[C, T::Str], T::Bool, Op::ContainsIp), ("containsIP", true, &[C, I], T::Bool, Op::ContainsIp),
    ("containsCIDR", true, &[C, T::Str], T::Bool, Op::ContainsCidr), ("containsCIDR", true, &[C, C], T::Bool, Op::ContainsCidr),
    ("ip", true, &[C], I, Op::CidrIp), ("masked", true, &[C], C, Op::Masked), ("prefixLength", true, &[C], T::Int, Op::PrefixLength),
    ("format.named", false, &[T::Str], T::OptIs(FORMAT), Op::NamedFormat),
    ("format.dns1123Label", false, &[], F, Op::FormatOf("dns1123Label")),
    ("format.dns1123Subdomain", false, &[], F, Op::FormatOf("dns1123Subdomain")),
    ("format.dns1035Label", false, &[], F, Op::FormatOf("dns1035Label")),
    ("format.qualifiedName", false, &[], F, Op::FormatOf("qualifiedName")),
    ("format.dns1123LabelPrefix", false, &[], F, Op::FormatOf("dns1123LabelPrefix")),
    ("format.dns1123SubdomainPrefix", false, &[], F, Op::FormatOf("dns1123SubdomainPrefix")),
    ("format.dns1035LabelPrefix", false, &[], F, Op::FormatOf("dns1035LabelPrefix")),
    ("format.labelValue", false, &[], F, Op::FormatOf("labelValue")),
    ("format.uri", false, &[], F, Op::FormatOf("uri")), ("format.uuid", false, &[], F, Op::FormatOf("uuid")),
    ("format.byte", false, &[], F, Op::FormatOf("byte")), ("format.date", false, &[], F, Op::FormatOf("date")),
    ("format.datetime", false, &[], F, Op::FormatOf("datetime")),
    ("validate", true, &[F, T::Str], T::OptListStr, Op::Validate),
    ("semver", false, &[T::Str], V, Op::Semver), ("semver", false, &[T::Str, T::Bool], V, Op::Semver),
    ("isSemver", false, &[T::Str], T::Bool, Op::IsSemver), ("isSemver", false, &[T::Str, T::Bool], T::Bool, Op::IsSemver),
    ("major", true, &[V], T::Int, Op::Major), ("minor", true, &[V], T::Int, Op::Minor), ("patch", true, &[V], T::Int, Op::Patch),
    ("image", false, &[T::Str], M, Op::Image), ("isImage", false, &[T::Str], T::Bool, Op::IsImage),
    ("containsDigest", true, &[M], T::Bool, Op::ContainsDigest), ("registry", true, &[M], T::Str, Op::Registry),
    ("repository", true, &[M], T::Str, Op::Repository), ("identifier", true, &[M], T::Str, Op::Identifier),
    ("tag", true, &[M], T::Str, Op::Tag), ("digest", true, &[M], T::Str, Op::Digest),
    ("sets.contains", false, &[T::ListA, T::ListA], T::Bool, Op::SetsContains),
    ("sets.equivalent", false, &[T::ListA, T::ListA], T::Bool, Op::SetsEquivalent),
    ("sets.intersects", false, &[T::ListA, T::ListA], T::Bool, Op::SetsIntersects),
    ("optional.of", false, &[T::A], T::OptA, Op::OptionalOf), ("optional.none", false, &[], T::OptA, Op::OptionalNone),
    ("optional.ofNonZeroValue", false, &[T::A], T::OptA, Op::OptionalOfNonZero),
    ("hasValue", true, &[T::OptA], T::Bool, Op::HasValue), ("value", true, &[T::OptA], T::A, Op::Value),
    ("or", true, &[T::OptA, T::OptA], T::OptA, Op::Or), ("orValue", true, &[T::OptA, T::A], T::A, Op::OrValue),
    ("path", true, &[AUTH, T::Str], T::Is(PATH_CHECK), Op::AuthPath), ("group", true, &[AUTH, T::Str], T::Is(GROUP_CHECK), Op::AuthGroup),
    ("serviceAccount", true, &[AUTH, T::Str, T::Str], AUTH, Op::AuthServiceAccount),
    ("resource", true, &[T::Is(GROUP_CHECK), T::Str], R, Op::AuthResource), ("subresource", true, &[R, T::Str], R, Op::AuthSubresource),
    ("namespace", true, &[R, T::Str], R, Op::AuthNamespace), ("name", true, &[R, T::Str], R, Op::AuthName),
    ("fieldSelector", true, &[R, T::Str], R, Op::AuthFields), ("labelSelector", true, &[R, T::Str], R, Op::AuthLabels),
    ("check", true, &[T::Is(PATH_CHECK), T::Str], T::Is(DECISION), Op::AuthCheck), ("check", true, &[R, T::Str], T::Is(DECISION), Op::AuthCheck),
    ("allowed", true, &[T::Is(DECISION)], T::Bool, Op::Allowed), ("reason", true, &[T::Is(DECISION)], T::Str, Op::Reason),
    ("errored", true, &[T::Is(DECISION)], T::Bool, Op::Errored), ("error", true, &[T::Is(DECISION)], T::Str, Op::Error),
];

/// The signatures of a name.
pub fn signatures(name: &str, is_method: bool) -> impl Iterator<Item = &'static Signature> {
    SIGNATURES.iter().filter(move |it| it.0 == name && it.1 == is_method)
}

/// Whether any function has this name, as a method or not.
pub fn is_known(name: &str) -> bool {
    SIGNATURES.iter().any(|it| it.0 == name)
}

/// The operator of this name.
pub fn operator_of(name: &str) -> Option<Op> {
    Some(match name {
        "_==_" => Op::Eq,
        "_!=_" => Op::Ne,
        "_<_" => Op::Lt,
        "_<=_" => Op::Le,
        "_>_" => Op::Gt,
        "_>=_" => Op::Ge,
        "_+_" => Op::Add,
        "_-_" => Op::Sub,
        "_*_" => Op::Mul,
        "_/_" => Op::Div,
        "_%_" => Op::Mod,
        "!_" => Op::Not,
        "-_" => Op::Neg,
        "@in" => Op::In,
        "_[_]" => Op::Index,
        "_[?_]" => Op::OptIndex,
        _ => return None,
    })
}

/// What an operator gives for operands of these types; none where it takes no such operands.
pub fn operator(op: Op, args: &[Type]) -> Option<Type> {
    use super::types::Bound;
    let is_open = |it: &Type| matches!(it, Type::Dyn | Type::Param(_));
    let (one, other) = (args.first()?, args.get(1).unwrap_or(&Type::Dyn));
    match op {
        Op::Not => (is_open(one) || matches!(one, Type::Bool)).then_some(Type::Bool),
        Op::Neg if is_open(one) => Some(Type::Dyn),
        Op::Neg => matches!(one, Type::Int | Type::Double).then(|| one.clone()),
        Op::Eq | Op::Ne => {
            let mut bound = Bound::default();
            let fits = bound.fits(&Type::Param(0), one) && bound.fits(&Type::Param(0), other);
            fits.then_some(Type::Bool)
        }
        Op::Lt | Op::Le | Op::Gt | Op::Ge => {
            let ordered = |it: &Type| {
                matches!(it, Type::Bool | Type::String(_) | Type::Bytes(_) | Type::Duration | Type::Timestamp)
                    || is_number(it)
            };
            let fits = match (is_open(one), is_open(other)) {
                (true, true) => true,
                (true, false) => ordered(other),
                (false, true) => ordered(one),
                (false, false) => is_number(one) && is_number(other) || one.is(other) && ordered(one),
            };
            fits.then_some(Type::Bool)
        }
        Op::In => match other {
            Type::List(of, _) => {
                Bound::default().fits(of, one).then_some(Type::Bool).or_else(|| is_open(one).then_some(Type::Bool))
            }
            Type::Map(of, _) => Bound::default().fits(&of.0, one).then_some(Type::Bool),
            _ => is_open(other).then_some(Type::Bool),
        },
        Op::Index | Op::OptIndex => {
            if let (Op::OptIndex, Type::Optional(of)) = (op, one) {
                return operator(op, &[(**of).clone(), other.clone()]);
            }
            let found = match one {
                Type::List(of, _) => (is_open(other) || is_number(other)).then(|| (**of).clone()),
                Type::Map(of, _) => {
                    (Bound::default().fits(&of.0, other) || is_number(&of.0) && is_number(other)).then(|| of.1.clone())
                }
                Type::Optional(of) => operator(op, &[(**of).clone(), other.clone()]),
                _ => is_open(one).then_some(Type::Dyn),
            }?;
            let is_optional =
                op == Op::OptIndex || matches!(one, Type::Optional(_)) && !matches!(found, Type::Optional(_));
            Some(if is_optional { Type::optional(found) } else { found })
        }
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod => match (is_open(one), is_open(other)) {
            (true, true) => Some(Type::Dyn),
            (false, false) => sum(op, one, other),
            // The operand that is known says what the other has to be.
            (true, false) => half_open(op, other, false),
            (false, true) => half_open(op, one, true),
        },
        _ => None,
    }
}

fn is_number(of: &Type) -> bool {
    matches!(of, Type::Int | Type::Uint | Type::Double)
}

/// What an arithmetic operator gives for operands of known types.
fn sum(op: Op, one: &Type, other: &Type) -> Option<Type> {
    match (op, one, other) {
        (Op::Add, Type::String(a), Type::String(b)) => Some(Type::String(a.saturating_add(*b))),
        (Op::Add, Type::Bytes(a), Type::Bytes(b)) => Some(Type::Bytes(a.saturating_add(*b))),
        (Op::Add, Type::List(_, a), Type::List(_, b)) => {
            let mut bound = super::types::Bound::default();
            let fits = bound.fits(&T::ListA.of(), one) && bound.fits(&T::ListA.of(), other);
            fits.then(|| bound.resolve(&T::ListA.of()).sized(a.saturating_add(*b)))
        }
        (Op::Add, Type::Timestamp, Type::Duration) | (Op::Add, Type::Duration, Type::Timestamp) => {
            Some(Type::Timestamp)
        }
        (Op::Add | Op::Sub, Type::Duration, Type::Duration) => Some(Type::Duration),
        (Op::Sub, Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
        (Op::Sub, Type::Timestamp, Type::Timestamp) => Some(Type::Duration),
        (Op::Mod, Type::Double, _) => None,
        _ => (is_number(one) && one.is(other)).then(|| one.clone()),
    }
}

/// What it gives where only one of the operands is known: the first, or the second.
fn half_open(op: Op, known: &Type, is_first: bool) -> Option<Type> {
    match (op, known) {
        (Op::Add, Type::String(_)) => Some(Type::TEXT),
        (Op::Add, Type::Bytes(_) | Type::List(..)) => Some(known.clone().sized(super::types::UNBOUNDED)),
        (Op::Add, Type::Timestamp) => Some(Type::Timestamp),
        (Op::Add, Type::Duration) => Some(Type::Dyn),
        (Op::Sub, Type::Timestamp) => Some(if is_first { Type::Dyn } else { Type::Duration }),
        (Op::Sub, Type::Duration) => Some(if is_first { Type::Duration } else { Type::Dyn }),
        (Op::Mod, Type::Double) => None,
        _ => is_number(known).then(|| known.clone()),
    }
}

/// What asking an authorizer costs, as in Kubernetes.
const CHECK_COST: u64 = 350_000;
/// What one call costs that looks at nothing but its arguments' heads.
const CALL_COST: u64 = 1;
/// How long the pattern counts by which a named format is checked.
const FORMAT_PATTERN_CHARS: u64 = 80;

/// A tenth of a size, rounded up: what it costs to go through a text.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

/// What it costs to search a text for a pattern.
fn search(text: u64, pattern: u64) -> u64 {
    tenth(text.saturating_add(1)).saturating_mul(pattern.div_ceil(4))
}

/// What a call costs for arguments of these sizes.
pub fn cost(op: Op, sizes: &[u64]) -> u64 {
    let size = |at: usize| sizes.get(at).copied().unwrap_or_default();
    match op {
        Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => tenth(size(0).min(size(1))).max(1),
        Op::StartsWith | Op::EndsWith => tenth(size(1)),
        Op::Contains => tenth(size(0)).saturating_mul(tenth(size(1))),
        Op::Matches | Op::Find | Op::FindAll => search(size(0), size(1)),
        Op::Validate => search(size(1), FORMAT_PATTERN_CHARS),
        Op::In => size(1).max(1),
        Op::ToBytes | Op::ToString | Op::LowerAscii | Op::UpperAscii | Op::Substring | Op::Trim | Op::Quote => {
            tenth(size(0)).max(1)
        }
        Op::Url
        | Op::IsUrl
        | Op::Quantity
        | Op::IsQuantity
        | Op::Ip
        | Op::IsIp
        | Op::Cidr
        | Op::IsCidr
        | Op::IsCanonical => tenth(size(0)).max(1),
        Op::Semver | Op::IsSemver | Op::Image | Op::IsImage => tenth(size(0)).max(1),
        Op::ContainsIp | Op::ContainsCidr => tenth(size(1)).saturating_add(1),
        Op::IndexOf | Op::LastIndexOf => tenth(size(0)),
        Op::IsSorted | Op::Sum | Op::Min | Op::Max => size(0),
        Op::Replace | Op::Split => tenth(size(0).saturating_mul(2)),
        Op::Format => tenth(size(0)).saturating_add(size(1)).max(1),
        // Counted when it is known how long the result is.
        Op::Join => 0,
        Op::SetsContains | Op::SetsIntersects => size(0).saturating_mul(size(1)).saturating_add(1),
        Op::SetsEquivalent => size(0).saturating_mul(size(1)).saturating_mul(2).saturating_add(1),
        Op::AuthCheck => CHECK_COST,
        _ => CALL_COST,
    }
}

/// The most that the result of a call holds, where it follows from the arguments.
pub fn result_size(op: Op, sizes: &[u64]) -> Option<u64> {
    let size = |at: usize| sizes.get(at).copied().unwrap_or_default();
    Some(match op {
        Op::LowerAscii | Op::UpperAscii | Op::Substring | Op::Trim | Op::Find | Op::Split | Op::FindAll => size(0),
        Op::ToBytes => size(0),
        Op::CharAt => 4,
        Op::Replace => size(0).saturating_mul(size(2).max(1)),
        Op::Quote => size(0).saturating_mul(2).saturating_add(2),
        _ => return None,
    })
}
