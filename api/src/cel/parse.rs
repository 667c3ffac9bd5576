//! Reads expressions: the grammar of the Common Expression Language with Kubernetes' optional syntax.
//!
//! In: text. Out: an [`Expr`], or what is wrong where. The reader goes down by recursion, and counts how deep.

use super::lex::{self, Token};
use super::syntax::{Bind, Call, Expr, Flatness, Fold, FoldKind, Kind, Literal};

/// How deep parts may be nested; cel-go stops at 250, of which some stand for the steps of its grammar.
pub const DEPTH_LIMIT: usize = 100;
/// The longest expression, in letters, as in cel-go.
pub const LENGTH_LIMIT_CHARS: usize = 100_000;
/// The most elements, arguments or operands of one part.
const PARTS_LIMIT: usize = 10_000;

/// What is wrong with an expression, and where: in bytes from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub at: u32,
    pub text: String,
}

type Result<T> = std::result::Result<T, Complaint>;

/// Names that cannot be those of variables.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The operators between two operands: the sign, how closely it binds, the name of the function.
const OPERATORS: &[(&str, u8, &str)] = &[
    ("||", 0, "||"),
    ("&&", 1, "&&"),
    ("<=", 2, "_<=_"),
    ("<", 2, "_<_"),
    (">=", 2, "_>=_"),
    (">", 2, "_>_"),
    ("==", 2, "_==_"),
    ("!=", 2, "_!=_"),
    ("in", 2, "@in"),
    ("+", 3, "_+_"),
    ("-", 3, "_-_"),
    ("*", 4, "_*_"),
    ("/", 4, "_/_"),
    ("%", 4, "_%_"),
];

/// Reads an expression.
///
/// # Errors
/// The first mistake.
pub fn parse(text: &str) -> Result<Expr> {
    if text.chars().count() > LENGTH_LIMIT_CHARS {
        let text = format!(
            "expression code point size exceeds limit: size: {}, limit {LENGTH_LIMIT_CHARS}",
            text.chars().count()
        );
        return Err(Complaint { at: 0, text });
    }
    let tokens = lex::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, next: 0, depth: 0, end: u32::try_from(text.len()).unwrap_or(u32::MAX) };
    let out = parser.expression()?;
    match parser.peek() {
        None => Ok(out.0),
        Some(_) => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser<'a> {
    tokens: &'a [(Token, u32)],
    next: usize,
    /// How deep the reader stands.
    depth: usize,
    end: u32,
}

/// A part and how deep it is nested in itself.
type Deep = (Expr, usize);

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|it| &it.0)
    }

    fn at(&self) -> u32 {
        self.tokens.get(self.next).map_or(self.end, |it| it.1)
    }

    fn sees(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(it)) if *it == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let seen = self.sees(sign);
        self.next += usize::from(seen);
        seen
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.takes(sign) { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn unexpected(&self, wanted: &str) -> Complaint {
        let found = self.peek().map_or("<EOF>".to_owned(), Token::to_string);
        Complaint { at: self.at(), text: format!("Syntax error: mismatched input '{found}' expecting {wanted}") }
    }

    fn deeper(&self, depth: usize, at: u32) -> Result<usize> {
        if depth >= DEPTH_LIMIT {
            return Err(Complaint { at, text: format!("expression recursion limit exceeded: {DEPTH_LIMIT}") });
        }
        Ok(depth + 1)
    }

    fn made(&self, at: u32, kind: Kind, below: usize) -> Result<Deep> {
        Ok((Expr { at, kind }, self.deeper(below, at)?))
    }

    fn expression(&mut self) -> Result<Deep> {
        self.depth = self.deeper(self.depth, self.at())?;
        let out = self.conditional();
        self.depth -= 1;
        out
    }

    fn conditional(&mut self) -> Result<Deep> {
        let (condition, depth) = self.binary(0)?;
        let at = self.at();
        if !self.takes("?") {
            return Ok((condition, depth));
        }
        let (yes, of_yes) = self.expression()?;
        self.expect(":")?;
        let (no, of_no) = self.expression()?;
        self.made(at, Kind::Conditional(Box::new([condition, yes, no])), depth.max(of_yes).max(of_no))
    }

    /// The operator that comes next, with how closely it binds.
    fn operator(&self) -> Option<(u8, &'static str)> {
        let sign = match self.peek()? {
            Token::Sign(sign) => *sign,
            Token::Ident(name) if &**name == "in" => "in",
            _ => return None,
        };
        OPERATORS.iter().find(|it| it.0 == sign).map(|it| (it.1, it.2))
    }

    /// Operands with operators that bind at least so closely. One function for all of them keeps the stack small.
    fn binary(&mut self, least: u8) -> Result<Deep> {
        let (mut left, mut depth) = self.unary()?;
        while let Some((level, name)) = self.operator().filter(|it| it.0 >= least) {
            let at = self.at();
            self.next += 1;
            let (right, below) = self.binary(level + 1)?;
            match (&mut left.kind, name) {
                (Kind::Or(parts), "||") | (Kind::And(parts), "&&") => {
                    parts.push(right);
                    let count = parts.len();
                    self.check_count(count)?;
                    depth = depth.max(self.deeper(below, at)?);
                }
                _ => {
                    let kind = match name {
                        "||" => Kind::Or(vec![left, right]),
                        "&&" => Kind::And(vec![left, right]),
                        _ => call(name, false, vec![left, right]),
                    };
                    (left, depth) = self.made(at, kind, depth.max(below))?;
                }
            }
        }
        Ok((left, depth))
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count <= PARTS_LIMIT {
            return Ok(());
        }
        Err(Complaint { at: self.at(), text: format!("expression has more than {PARTS_LIMIT} parts side by side") })
    }

    fn unary(&mut self) -> Result<Deep> {
        let at = self.at();
        let sign = match self.peek() {
            Some(Token::Sign(sign @ ("!" | "-"))) => *sign,
            _ => return self.member(),
        };
        let mut times = 0;
        while self.takes(sign) {
            times += 1;
        }
        // A minus before a number belongs to it, so that the smallest integer can be written.
        if sign == "-" && times % 2 == 1 && matches!(self.peek(), Some(Token::Int(_) | Token::Double(_))) {
            let value = match self.peek() {
                Some(Token::Int(digits)) => {
                    let value = 0i128 - i128::from(*digits);
                    Literal::Int(i64::try_from(value).map_err(|_| self.bad_number(at))?)
                }
                Some(Token::Double(value)) => Literal::Double(-value),
                _ => Literal::Null,
            };
            self.next += 1;
            let out = self.made(at, Kind::Literal(value), 0)?;
            return self.members(out);
        }
        let (of, depth) = self.member()?;
        if times % 2 == 0 {
            return Ok((of, depth));
        }
        self.made(at, call(if sign == "!" { "!_" } else { "-_" }, false, vec![of]), depth)
    }

    fn bad_number(&self, at: u32) -> Complaint {
        Complaint { at, text: "invalid int literal".to_owned() }
    }

    fn member(&mut self) -> Result<Deep> {
        let out = self.primary()?;
        self.members(out)
    }

    fn members(&mut self, (mut of, mut depth): Deep) -> Result<Deep> {
        loop {
            let at = self.at();
            if self.takes(".") {
                let optional = self.takes("?");
                let field = self.name()?;
                // Calls are told by where their arguments begin.
                let at_args = self.at();
                if !optional && self.takes("(") {
                    let (args, below) = self.list_of(")")?;
                    let deepest = depth.max(below);
                    (of, depth) = self.method(at_args, of, &field, args, deepest)?;
                } else {
                    (of, depth) = self.made(at, Kind::Select { of: Box::new(of), field, optional }, depth)?;
                }
            } else if self.takes("[") {
                let name = if self.takes("?") { "_[?_]" } else { "_[_]" };
                let (index, below) = self.expression()?;
                self.expect("]")?;
                (of, depth) = self.made(at, call(name, false, vec![of, index]), depth.max(below))?;
            } else {
                return Ok((of, depth));
            }
        }
    }

    /// The name of a field, reserved words among them; in backticks anything.
    fn name(&mut self) -> Result<Box<str>> {
        match self.peek() {
            Some(Token::Ident(name) | Token::Quoted(name)) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn list_of(&mut self, end: &str) -> Result<(Vec<Expr>, usize)> {
        let (mut out, mut depth) = (Vec::new(), 0);
        while !self.takes(end) {
            if !out.is_empty() {
                self.expect(",")?;
                if end != ")" && self.takes(end) {
                    break;
                }
            }
            let (next, below) = self.expression()?;
            depth = depth.max(below);
            out.push(next);
            self.check_count(out.len())?;
        }
        Ok((out, depth))
    }

    fn primary(&mut self) -> Result<Deep> {
        let at = self.at();
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected("an expression")) };
        self.next += 1;
        let literal = match token {
            Token::Int(digits) => Literal::Int(i64::try_from(digits).map_err(|_| self.bad_number(at))?),
            Token::Uint(digits) => Literal::Uint(digits),
            Token::Double(value) => Literal::Double(value),
            Token::Text(text) => Literal::String(text),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Ident(name) => match &*name {
                "true" | "false" => Literal::Bool(&*name == "true"),
                "null" => Literal::Null,
                _ => return self.named(at, name),
            },
            Token::Sign("(") => {
                let out = self.expression()?;
                self.expect(")")?;
                return Ok(out);
            }
            Token::Sign(".") => {
                let name = self.name()?;
                return self.named(at, name);
            }
            Token::Sign("[") => return self.list(at),
            Token::Sign("{") => return self.map(at),
            Token::Sign(_) | Token::Quoted(_) => {
                self.next -= 1;
                return Err(self.unexpected("an expression"));
            }
        };
        self.made(at, Kind::Literal(literal), 0)
    }

    fn named(&mut self, at: u32, name: Box<str>) -> Result<Deep> {
        if RESERVED.contains(&&*name) {
            return Err(Complaint { at, text: format!("reserved identifier: {name}") });
        }
        let (at, at_name) = (self.at(), at);
        if !self.takes("(") {
            return self.made(at_name, Kind::Ident(name), 0);
        }
        let (args, depth) = self.list_of(")")?;
        if &*name == "has" && args.len() == 1 {
            let Some(Expr { kind: Kind::Select { of, field, optional: false }, .. }) = args.into_iter().next() else {
                return Err(Complaint { at, text: "invalid argument to has() macro".to_owned() });
            };
            return self.made(at, Kind::Has { of, field }, depth);
        }
        self.made(at, call(&name, false, args), depth)
    }

    fn list(&mut self, at: u32) -> Result<Deep> {
        let (mut items, mut depth) = (Vec::new(), 0);
        while !self.takes("]") {
            if !items.is_empty() {
                self.expect(",")?;
                if self.takes("]") {
                    break;
                }
            }
            let optional = self.takes("?");
            let (item, below) = self.expression()?;
            depth = depth.max(below);
            items.push((item, optional));
            self.check_count(items.len())?;
        }
        self.made(at, Kind::List(items), depth)
    }

    fn map(&mut self, at: u32) -> Result<Deep> {
        let (mut entries, mut depth) = (Vec::new(), 0);
        while !self.takes("}") {
            if !entries.is_empty() {
                self.expect(",")?;
                if self.takes("}") {
                    break;
                }
            }
            let optional = self.takes("?");
            let (key, of_key) = self.expression()?;
            self.expect(":")?;
            let (value, of_value) = self.expression()?;
            depth = depth.max(of_key).max(of_value);
            entries.push((key, value, optional));
            self.check_count(entries.len())?;
        }
        self.made(at, Kind::Map(entries), depth)
    }

    /// A method, which may be a macro.
    fn method(&mut self, at: u32, of: Expr, name: &str, args: Vec<Expr>, depth: usize) -> Result<Deep> {
        let variable = |it: &Expr| match &it.kind {
            Kind::Ident(name) => Ok(name.clone()),
            _ => Err(Complaint { at: it.at, text: "argument must be a simple name".to_owned() }),
        };
        let is_cel = matches!(&of.kind, Kind::Ident(it) if &**it == "cel");
        let kind = match (name, args.len()) {
            ("bind", 3) if is_cel => {
                let mut args = args.into_iter();
                let (Some(first), Some(value), Some(body)) = (args.next(), args.next(), args.next()) else {
                    return Err(self.unexpected("three arguments"));
                };
                let bind = Bind { name: variable(&first)?, value, body, optional: None };
                return self.made(at, Kind::Bind(Box::new(bind)), depth);
            }
            ("optMap" | "optFlatMap", 2) => {
                let mut args = args.into_iter();
                let (Some(first), Some(body)) = (args.next(), args.next()) else {
                    return Err(self.unexpected("two arguments"));
                };
                let flatness = if name == "optMap" { Flatness::Wrapped } else { Flatness::Flat };
                let bind = Bind { name: variable(&first)?, value: of, body, optional: Some(flatness) };
                return self.made(at, Kind::Bind(Box::new(bind)), depth);
            }
            ("all", 2 | 3) => FoldKind::All,
            ("exists", 2 | 3) => FoldKind::Exists,
            ("exists_one" | "existsOne", 2 | 3) => FoldKind::ExistsOne,
            ("filter", 2) => FoldKind::Filter,
            ("map", 2 | 3) => FoldKind::Map,
            ("transformList", 3 | 4) => FoldKind::TransformList,
            ("transformMap", 3 | 4) => FoldKind::TransformMap,
            _ => {
                let mut all = vec![of];
                all.extend(args);
                return self.made(at, call(name, true, all), depth);
            }
        };
        let count = args.len();
        let mut args = args.into_iter();
        let mut variables = Vec::new();
        let two = match kind {
            FoldKind::TransformList | FoldKind::TransformMap => true,
            FoldKind::Map | FoldKind::Filter => false,
            _ => count == 3,
        };
        for it in args.by_ref().take(if two { 2 } else { 1 }) {
            variables.push(variable(&it)?);
        }
        let mut rest: Vec<Expr> = args.collect();
        let last = rest.pop();
        let (condition, transform) = match kind {
            FoldKind::Map | FoldKind::TransformList | FoldKind::TransformMap => (rest.pop(), last),
            _ => (last, None),
        };
        let mut variables = variables.into_iter();
        let name = variables.next().ok_or_else(|| self.unexpected("a variable"))?;
        let fold = Fold { kind, range: of, name, second: variables.next(), condition, transform };
        self.made(at, Kind::Fold(Box::new(fold)), depth)
    }
}

fn call(name: &str, is_method: bool, args: Vec<Expr>) -> Kind {
    Kind::Call(Box::new(Call { name: name.into(), is_method, args, op: None }))
}
