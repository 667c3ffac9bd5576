//! The types of expressions, with the most that a value of them can hold.
//!
//! Sizes go with the types because the cost of an expression is estimated along with its type: a text of at most ten letters costs less to
//! search than one of three megabytes. Two types are the same whatever their sizes.

use std::fmt;
use std::sync::Arc;

/// The size of what has no bound that is known.
pub const UNBOUNDED: u64 = u64::MAX;

/// The longest request.
pub const REQUEST_LIMIT_BYTES: u64 = 3 << 20;

/// A type.
#[derive(Clone, Debug)]
pub enum Type {
    /// Known when the expression is evaluated.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    /// Texts of at most so many bytes.
    String(u64),
    Bytes(u64),
    Duration,
    Timestamp,
    /// The type of types.
    Type,
    /// Lists of at most so many elements.
    List(Arc<Type>, u64),
    /// Maps of at most so many entries: key, value.
    Map(Arc<(Type, Type)>, u64),
    Optional(Arc<Type>),
    /// Objects with declared fields.
    Object(Arc<ObjectType>),
    /// A type of Kubernetes' library: `kubernetes.URL`.
    Opaque(&'static str),
    /// A type parameter of a function: `A`, `B`.
    Param(u8),
}

/// An object's fields, by name in order.
#[derive(Debug, Default)]
pub struct ObjectType {
    pub name: Box<str>,
    pub fields: Vec<Field>,
}

/// One field of an object.
#[derive(Debug)]
pub struct Field {
    /// As expressions name it: `foo__dot__bar`.
    pub name: Box<str>,
    /// As the object names it: `foo.bar`.
    pub key: Box<str>,
    pub of: Type,
}

impl ObjectType {
    /// An object with these fields.
    pub fn new(name: &str, mut fields: Vec<Field>) -> Self {
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        ObjectType { name: name.into(), fields }
    }

    /// The field that expressions name so.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|it| (*it.name).cmp(name)).ok().map(|at| &self.fields[at])
    }
}

impl Type {
    /// A text of which nothing is known.
    pub const TEXT: Type = Type::String(UNBOUNDED);

    /// A list of these.
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of), UNBOUNDED)
    }

    /// A map from texts to these.
    pub fn map(of: Type) -> Type {
        Type::Map(Arc::new((Type::TEXT, of)), UNBOUNDED)
    }

    /// An optional one of these.
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// An object with these fields, named as they are.
    pub fn object(name: &str, fields: &[(&str, Type)]) -> Type {
        let field = |(name, of): &(&str, Type)| Field { name: (*name).into(), key: (*name).into(), of: of.clone() };
        Type::Object(Arc::new(ObjectType::new(name, fields.iter().map(field).collect())))
    }

    /// The most elements, entries, fields or bytes that a value holds; one for scalars.
    pub fn size(&self) -> u64 {
        match self {
            Type::String(size) | Type::Bytes(size) | Type::List(_, size) | Type::Map(_, size) => *size,
            // What holds anything at all came with a request.
            Type::Dyn => REQUEST_LIMIT_BYTES - 2,
            Type::Object(of) => of.fields.len().max(1) as u64,
            Type::Optional(of) => of.size(),
            Type::Param(_) => UNBOUNDED,
            Type::Opaque(_) | Type::Null | Type::Bool | Type::Int | Type::Uint | Type::Double => 1,
            Type::Duration | Type::Timestamp | Type::Type => 1,
        }
    }

    /// The same type with another size.
    pub fn sized(self, size: u64) -> Type {
        match self {
            Type::String(_) => Type::String(size),
            Type::Bytes(_) => Type::Bytes(size),
            Type::List(of, _) => Type::List(of, size),
            Type::Map(of, _) => Type::Map(of, size),
            other => other,
        }
    }

    /// Whether two types are the same, whatever their sizes.
    pub fn is(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::List(one, _), Type::List(other, _)) | (Type::Optional(one), Type::Optional(other)) => one.is(other),
            (Type::Map(one, _), Type::Map(other, _)) => one.0.is(&other.0) && one.1.is(&other.1),
            (Type::Object(one), Type::Object(other)) => {
                Arc::ptr_eq(one, other) || one.name == other.name && one.name.contains('.')
            }
            (Type::Opaque(one), Type::Opaque(other)) => one == other,
            (Type::Param(one), Type::Param(other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// What one type is that both of these fit.
    pub fn join(one: Type, other: Type) -> Type {
        if one.is(&other) {
            let size = one.size().max(other.size());
            return one.sized(size);
        }
        Type::Dyn
    }
}

/// What the parameters of a function stand for at one call.
#[derive(Clone, Debug, Default)]
pub struct Bound([Option<Type>; 2]);

impl Bound {
    /// Whether a value of the actual type may stand where the formal one is asked for; binds parameters.
    pub fn fits(&mut self, formal: &Type, actual: &Type) -> bool {
        match (formal, actual) {
            (Type::Param(index), _) => {
                let Some(slot) = self.0.get_mut(*index as usize) else { return false };
                match slot.take() {
                    None => {
                        *slot = Some(actual.clone());
                        true
                    }
                    Some(bound) => {
                        let (fits, kept) = meet(bound, actual);
                        *slot = Some(kept);
                        fits
                    }
                }
            }
            (Type::Dyn, _) | (_, Type::Dyn) => {
                self.bind_open(formal);
                true
            }
            (Type::List(formal, _), Type::List(actual, _)) | (Type::Optional(formal), Type::Optional(actual)) => {
                self.fits(formal, actual)
            }
            (Type::Map(formal, _), Type::Map(actual, _)) => {
                self.fits(&formal.0, &actual.0) && self.fits(&formal.1, &actual.1)
            }
            (Type::Object(_) | Type::Duration | Type::Timestamp | Type::Opaque(_) | Type::Optional(_), Type::Null) => {
                true
            }
            _ => formal.is(actual),
        }
    }

    /// Parameters within a type that a dynamic value fits are dynamic themselves.
    fn bind_open(&mut self, formal: &Type) {
        match formal {
            Type::Param(index) => {
                if let Some(slot @ None) = self.0.get_mut(*index as usize) {
                    *slot = Some(Type::Dyn);
                }
            }
            Type::List(of, _) | Type::Optional(of) => self.bind_open(of),
            Type::Map(of, _) => {
                self.bind_open(&of.0);
                self.bind_open(&of.1);
            }
            _ => {}
        }
    }

    /// A formal type with what its parameters stand for.
    pub fn resolve(&self, formal: &Type) -> Type {
        match formal {
            Type::Param(index) => self.0.get(*index as usize).cloned().flatten().unwrap_or(Type::Dyn),
            Type::List(of, size) => Type::List(Arc::new(self.resolve(of)), *size),
            Type::Optional(of) => Type::Optional(Arc::new(self.resolve(of))),
            Type::Map(of, size) => Type::Map(Arc::new((self.resolve(&of.0), self.resolve(&of.1))), *size),
            other => other.clone(),
        }
    }
}

/// Whether two types can be one, and that one.
fn meet(one: Type, other: &Type) -> (bool, Type) {
    let may_be_null = |it: &Type| {
        matches!(it, Type::Object(_) | Type::Duration | Type::Timestamp | Type::Opaque(_) | Type::Optional(_))
    };
    match (&one, other) {
        (Type::Dyn, _) | (_, Type::Dyn) => (true, Type::Dyn),
        (Type::Null, it) if may_be_null(it) => (true, other.clone()),
        (it, Type::Null) if may_be_null(it) => (true, one),
        (Type::List(a, _), Type::List(b, _)) => {
            let (fits, of) = meet((**a).clone(), b);
            (fits, Type::List(Arc::new(of), one.size().max(other.size())))
        }
        (Type::Optional(a), Type::Optional(b)) => {
            let (fits, of) = meet((**a).clone(), b);
            (fits, Type::optional(of))
        }
        (Type::Map(a, _), Type::Map(b, _)) => {
            let (key_fits, key) = meet(a.0.clone(), &b.0);
            let (value_fits, value) = meet(a.1.clone(), &b.1);
            (key_fits && value_fits, Type::Map(Arc::new((key, value)), one.size().max(other.size())))
        }
        _ => {
            let fits = one.is(other);
            let size = one.size().max(other.size());
            (fits, one.sized(size))
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String(_) => f.write_str("string"),
            Type::Bytes(_) => f.write_str("bytes"),
            Type::Duration => f.write_str("google.protobuf.Duration"),
            Type::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Type::Type => f.write_str("type"),
            Type::List(of, _) => write!(f, "list({of})"),
            Type::Map(of, _) => write!(f, "map({}, {})", of.0, of.1),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Object(of) => f.write_str(&of.name),
            Type::Opaque(name) => f.write_str(name),
            Type::Param(index) => write!(f, "{}", char::from(b'A' + index)),
        }
    }
}
