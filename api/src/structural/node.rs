//! A structural schema as it is kept in memory: one small node per field, everything rare in a box.
//!
//! In: the JSON of an `openAPIV3Schema`. Out: a tree of [`Node`]s. Descriptions and examples are left out, because only the published
//! schema needs them, and that is made from the definition itself. A field without limits takes about 90 bytes, so that a schema of 100
//! fields stays within some 20 kB.

use serde_json::Value;

use super::format::Format;
use super::pattern::Pattern;

/// How deep schemas may be nested. JSON of requests is at most 128 deep, two levels of which make one of a schema.
pub const DEPTH_LIMIT: usize = 64;

/// How many properties are looked at before that of a name is searched for.
const AHEAD: usize = 4;

/// The type that a schema asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`.
    IntOrString,
}

impl Type {
    /// The type that a schema's words ask for.
    pub fn of(schema: &Value) -> Self {
        if is_set(schema, "x-kubernetes-int-or-string") {
            return Type::IntOrString;
        }
        match text(schema, "type") {
            "object" => Type::Object,
            "array" => Type::Array,
            "string" => Type::String,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "boolean" => Type::Boolean,
            _ => Type::Any,
        }
    }

    /// How messages name it.
    pub const fn name(self) -> &'static str {
        match self {
            Type::Any => "",
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
            Type::IntOrString => "integer,string",
        }
    }
}

/// `x-kubernetes-list-type`; a list without one is atomic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// What a schema says of fields that it does not name.
#[derive(Debug, Default)]
pub enum Additional {
    /// Nothing: they are pruned.
    #[default]
    Absent,
    /// `additionalProperties: false`.
    Forbidden,
    /// `additionalProperties: true`.
    Any,
    /// The schema of a map's values.
    Schema(Box<Node>),
}

/// The schema of one value.
#[derive(Debug, Default)]
pub struct Node {
    pub kind: Type,
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserves: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    pub list: ListType,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic_map: bool,
    /// Whether it is the schema of a whole object, or of an embedded one.
    pub is_resource: bool,
    /// Whether this schema or one below it has a default.
    pub defaults: bool,
    /// Whether a list of list type set or map stands here or below.
    pub lists: bool,
    /// Whether an embedded resource stands here or below.
    pub embeds: bool,
    /// Whether a rule in CEL stands here or below.
    pub ruled: bool,
    pub additional: Additional,
    pub items: Option<Box<Node>>,
    /// By name, in order.
    pub properties: Box<[(Box<str>, Node)]>,
    pub required: Box<[Box<str>]>,
    pub limits: Option<Box<Limits>>,
    pub default: Option<Box<Value>>,
    pub extras: Option<Box<Extras>>,
}

/// What a schema may ask of a value beside its type.
#[derive(Debug, Default)]
pub struct Limits {
    pub maximum: Option<f64>,
    pub minimum: Option<f64>,
    pub exclusive_maximum: bool,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<u64>,
    pub min_length: Option<u64>,
    pub max_items: Option<u64>,
    pub min_items: Option<u64>,
    pub max_properties: Option<u64>,
    pub min_properties: Option<u64>,
    pub pattern: Option<Pattern>,
    pub format: Option<(Format, Box<str>)>,
    pub options: Box<[Value]>,
    pub all_of: Box<[Node]>,
    pub any_of: Box<[Node]>,
    pub one_of: Box<[Node]>,
    pub not: Option<Box<Node>>,
}

/// What few schemas have.
#[derive(Debug, Default)]
pub struct Extras {
    /// `x-kubernetes-list-map-keys`.
    pub keys: Box<[Box<str>]>,
    /// `x-kubernetes-validations`.
    pub rules: Box<[super::rules::Rule]>,
}

impl Node {
    /// The schema of these words; keywords that mean nothing are left out.
    pub fn build(schema: &Value) -> Node {
        Node { is_resource: true, ..Node::build_at(schema, 0) }
    }

    fn build_at(schema: &Value, depth: usize) -> Node {
        if depth > DEPTH_LIMIT {
            return Node { preserves: true, ..Node::default() };
        }
        let below = |it: &Value| Box::new(Node::build_at(it, depth + 1));
        let mut properties: Vec<(Box<str>, Node)> = entries(schema, "properties")
            .map(|(name, it)| (name.as_str().into(), Node::build_at(it, depth + 1)))
            .collect();
        properties.sort_by(|one, other| one.0.cmp(&other.0));
        let additional = match schema.get("additionalProperties") {
            None | Some(Value::Null) => Additional::Absent,
            Some(Value::Bool(false)) => Additional::Forbidden,
            Some(Value::Object(of)) => Additional::Schema(below(&Value::Object(of.clone()))),
            Some(_) => Additional::Any,
        };
        let texts =
            |key: &str| -> Box<[Box<str>]> { list(schema, key).filter_map(Value::as_str).map(Into::into).collect() };
        let extras = Extras {
            keys: texts("x-kubernetes-list-map-keys"),
            rules: list(schema, "x-kubernetes-validations").map(super::rules::Rule::read).collect(),
        };
        let mut node = Node {
            kind: Type::of(schema),
            nullable: is_set(schema, "nullable"),
            preserves: is_set(schema, "x-kubernetes-preserve-unknown-fields"),
            embedded: is_set(schema, "x-kubernetes-embedded-resource"),
            is_resource: is_set(schema, "x-kubernetes-embedded-resource"),
            list: match text(schema, "x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            atomic_map: text(schema, "x-kubernetes-map-type") == "atomic",
            additional,
            items: schema.get("items").filter(|it| it.is_object()).map(below),
            properties: properties.into(),
            required: texts("required"),
            limits: Limits::build(schema, depth).map(Box::new),
            default: schema.get("default").filter(|it| !it.is_null()).cloned().map(Box::new),
            extras: (!extras.keys.is_empty() || !extras.rules.is_empty()).then(|| Box::new(extras)),
            ..Node::default()
        };
        node.summarize();
        node
    }

    /// Notes what stands below, so that walks need not look.
    fn summarize(&mut self) {
        let (mut defaults, mut lists, mut embeds, mut ruled) = (false, false, false, false);
        for it in self.children() {
            defaults |= it.defaults;
            lists |= it.lists;
            embeds |= it.embeds;
            ruled |= it.ruled;
        }
        self.defaults = defaults || self.default.is_some();
        self.lists = lists || self.list != ListType::Atomic;
        self.embeds = embeds || self.embedded;
        self.ruled = ruled || !self.rules().is_empty();
    }

    /// The schemas of the values within a value of this schema.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        let values = match &self.additional {
            Additional::Schema(of) => Some(&**of),
            _ => None,
        };
        self.properties.iter().map(|(_, it)| it).chain(self.items.as_deref()).chain(values)
    }

    /// The schema of a field that is named.
    pub fn property(&self, name: &str) -> Option<&Node> {
        self.properties.binary_search_by(|(it, _)| (**it).cmp(name)).ok().map(|at| &self.properties[at].1)
    }

    /// The same, for names that are asked for in their order: `next` is where the one behind the last stands, from where the search begins.
    fn property_from(&self, name: &str, next: &mut usize) -> Option<&Node> {
        let mut ahead = self.properties.iter().enumerate().skip(*next).take(AHEAD);
        let near = ahead.find(|(_, (it, _))| **it == *name).map(|(at, _)| at);
        let at = near.or_else(|| self.properties.binary_search_by(|(it, _)| (**it).cmp(name)).ok())?;
        *next = at + 1;
        Some(&self.properties[at].1)
    }

    /// The schema of a field, named or an entry of a map; whether it is an entry.
    pub fn child(&self, name: &str) -> Option<(&Node, bool)> {
        self.child_from(name, &mut 0)
    }

    /// The same, for names that are asked for in their order, as the fields of a value stand.
    pub fn child_from(&self, name: &str, next: &mut usize) -> Option<(&Node, bool)> {
        match (self.property_from(name, next), &self.additional) {
            (Some(found), _) => Some((found, false)),
            (None, Additional::Schema(of)) => Some((of, true)),
            (None, _) => None,
        }
    }

    /// `x-kubernetes-list-map-keys`.
    pub fn keys(&self) -> &[Box<str>] {
        self.extras.as_ref().map_or(&[], |it| &it.keys)
    }

    /// `x-kubernetes-validations`.
    pub fn rules(&self) -> &[super::rules::Rule] {
        self.extras.as_ref().map_or(&[], |it| &it.rules)
    }

    /// About how many bytes the schema takes, without rules that are compiled.
    pub fn size_bytes(&self) -> usize {
        let own = size_of::<Node>()
            + self.limits.as_ref().map_or(0, |it| it.size_bytes())
            + self.required.iter().map(|it| it.len() + size_of::<Box<str>>()).sum::<usize>()
            + self.properties.iter().map(|(name, _)| name.len() + size_of::<Box<str>>()).sum::<usize>();
        own + self.children().map(Node::size_bytes).sum::<usize>()
    }
}

impl Limits {
    fn build(schema: &Value, depth: usize) -> Option<Limits> {
        const WORDS: &[&str] = &[
            "maximum",
            "minimum",
            "multipleOf",
            "maxLength",
            "minLength",
            "maxItems",
            "minItems",
            "maxProperties",
            "minProperties",
            "pattern",
            "format",
            "enum",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !WORDS.iter().any(|it| schema.get(*it).is_some_and(|it| !it.is_null())) {
            return None;
        }
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let count = |key: &str| schema.get(key).and_then(Value::as_i64).map(|it| u64::try_from(it).unwrap_or_default());
        let nodes = |key: &str| -> Box<[Node]> { list(schema, key).map(|it| Node::build_at(it, depth + 1)).collect() };
        let format = text(schema, "format");
        Some(Limits {
            maximum: number("maximum"),
            minimum: number("minimum"),
            exclusive_maximum: is_set(schema, "exclusiveMaximum"),
            exclusive_minimum: is_set(schema, "exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            pattern: Some(text(schema, "pattern")).filter(|it| !it.is_empty()).map(Pattern::new),
            format: Format::find(Type::of(schema), format).map(|it| (it, format.into())),
            options: list(schema, "enum").cloned().collect(),
            all_of: nodes("allOf"),
            any_of: nodes("anyOf"),
            one_of: nodes("oneOf"),
            not: schema.get("not").filter(|it| it.is_object()).map(|it| Box::new(Node::build_at(it, depth + 1))),
        })
    }

    fn size_bytes(&self) -> usize {
        let junctors = self.all_of.iter().chain(&self.any_of).chain(&self.one_of).chain(self.not.as_deref());
        size_of::<Limits>()
            + self.pattern.as_ref().map_or(0, |it| it.text().len())
            + self.options.len() * 2 * size_of::<Value>()
            + junctors.map(Node::size_bytes).sum::<usize>()
    }
}

/// A keyword's text, or "".
pub fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a keyword is `true`.
pub fn is_set(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// The elements of a keyword's list.
pub fn list<'a>(schema: &'a Value, key: &str) -> std::slice::Iter<'a, Value> {
    schema.get(key).and_then(Value::as_array).map_or(&[] as &[Value], |it| it).iter()
}

/// The entries of a keyword's map.
pub fn entries<'a>(schema: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    schema.get(key).and_then(Value::as_object).into_iter().flatten()
}
