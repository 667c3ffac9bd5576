//! Tables of expressions: what they give, why they are refused, what they cost; and that none runs away.

use std::time::Instant;

use serde_json::{Value, json};

use super::authorizer::{Authority, Authorizer, Decision, Request};
use super::types::{Type, UNBOUNDED};
use super::variables::Variables;
use super::*;

fn environment() -> Environment {
    let pod =
        Type::object("object", &[("name", Type::TEXT), ("replicas", Type::Int), ("tags", Type::list(Type::TEXT))]);
    Environment::new().with("object", Type::Dyn).with("self", pod).with("n", Type::Int)
}

fn object() -> Value {
    json!({
        "name": "web", "replicas": 3, "tags": ["a", "b", "c"], "labels": {"app": "x", "tier": "y"}, "nothing": null, "ratio": 0.5,
        "items": [{"n": 1, "s": "p"}, {"n": 2, "s": "q"}],
    })
}

/// The value of an expression as JSON, or the text of the error.
fn value_of(text: &str) -> String {
    let object = object();
    let program = match Program::compile(text, &environment(), &[]) {
        Ok(program) => program,
        Err(error) => return error.text,
    };
    let bindings = vec![("object", Val::of(&object, None)), ("self", Val::of(&object, None)), ("n", Val::Int(7))];
    let mut budget = Budget::new(REQUEST_COST_BUDGET);
    let found = match program.evaluate(&bindings, &mut budget) {
        Ok(value) => value.to_json().map_or_else(|| value.type_name().to_owned(), |it| it.to_string()),
        Err(error) => format!("error: {error}"),
    };
    let spent = REQUEST_COST_BUDGET - budget.left();
    // Kubernetes estimates these lower than it counts them.
    if ["join", "quantity", "Quantity", "ip", "IP", "cidr", "CIDR", "semver", "Semver", "mage"]
        .iter()
        .any(|it| text.contains(it))
    {
        return found;
    }
    assert!(spent <= program.estimated_cost(), "{text} cost {spent}, estimated {}", program.estimated_cost());
    found
}

fn check(text: &str, expected: &str) {
    assert_eq!(value_of(text), expected, "{text}");
}

fn check_true(texts: &[&str]) {
    for text in texts {
        check(text, "true");
    }
}

#[test]
fn operators_work() {
    check("1 + 2 * 3 - 4 / 2", "5");
    check("-7 % 3", "-1");
    check("-9223372036854775808", "-9223372036854775808");
    check("9223372036854775807 + 1", "error: integer overflow");
    check("1 / 0", "error: division by zero");
    check("1 % 0", "error: modulus by zero");
    check("2u - 3u", "error: unsigned integer overflow");
    check("'a' + \"b\" + r'\\n' + '\\u00e9\\x41'", "\"ab\\\\néA\"");
    check("b'\\xff' == b'\\377'", "true");
    check("[1, 2] + [3]", "[1,2,3]");
    check("true ? 1 : 2", "1");
    check("{'a': 1, 'b': 2}.a", "1");
    check("{1: 'x'}[1]", "\"x\"");
    check("[1, 2, 3][1]", "2");
    check("[1][5]", "error: index out of bounds: 5");
    check("object.tags[?9].orValue('none')", "\"none\"");
    check_true(&[
        "1 < 2.5",
        "1 == 1 && 1u == 1u",
        "dyn(1) == 1.0",
        "dyn(1) == 1u",
        "'a' < 'b'",
        "!false",
        "2 in [1, 2]",
        "'a' in {'a': 1}",
        "!('z' in object.labels)",
        "[1, 2] == [1, 2]",
        "{'a': [1]} == {'a': [1]}",
        "null == object.nothing",
        "1 != 2",
        "!!true",
        "object.ratio < 1",
        "0x1F == 31",
        "1e3 == 1000.0",
        "object == object",
    ]);
}

#[test]
fn one_side_may_decide_though_the_other_fails() {
    check_true(&["1 / 0 == 1 || true", "true || 1 / 0 == 1", "!(1 / 0 == 1 && false)", "[1, 0].exists(i, 1 / i == 1)"]);
    check("1 / 0 == 1 || false", "error: division by zero");
    check("[0, 0].all(i, 1 / i == 1)", "error: division by zero");
    check_true(&["![0, 2].all(i, 1 / i == 1)"]);
}

#[test]
fn macros_work() {
    check("object.items.map(i, i.n * 2)", "[2,4]");
    check("object.items.map(i, i.n > 1, i.s)", "[\"q\"]");
    check("object.tags.filter(t, t != 'b')", "[\"a\",\"c\"]");
    check("object.labels.map(k, k + object.labels[k])", "[\"appx\",\"tiery\"]");
    check("object.labels.transformMap(k, v, v + k)", "{\"app\":\"xapp\",\"tier\":\"ytier\"}");
    check("object.tags.transformList(i, v, i > 0, v)", "[\"b\",\"c\"]");
    check("cel.bind(x, n + 1, x * x)", "64");
    check("optional.of(2).optMap(x, x + 1).value()", "3");
    check("optional.none().optMap(x, x).hasValue()", "false");
    check_true(&[
        "has(object.name)",
        "!has(object.none)",
        "has(object.nothing)",
        "object.tags.all(t, size(t) == 1)",
        "object.tags.exists_one(t, t == 'a')",
        "object.labels.all(k, v, v != k)",
        "object.tags.exists(i, v, i == 2 && v == 'c')",
        "[].all(x, false)",
        "!has(object.none) || object.none.more == 1",
        "object.?none.?more.orValue(1) == 1",
        "has({'a': 1}.a)",
        "[?optional.none(), 1] == [1]",
        "{?'a': optional.none()} == {}",
        "object.?name == optional.of('web')",
    ]);
}

#[test]
fn functions_of_texts_work() {
    check("'äbc'.size()", "3");
    check("'a,b,c'.split(',')", "[\"a\",\"b\",\"c\"]");
    check("'a,b,c'.split(',', 2)", "[\"a\",\"b,c\"]");
    check("'abc'.split('')", "[\"a\",\"b\",\"c\"]");
    check("['a', 'b'].join('-')", "\"a-b\"");
    check("'hello'.replace('l', 'L', 1)", "\"heLlo\"");
    check("'hello'.substring(1, 3)", "\"el\"");
    check("'hello'.substring(3, 1)", "error: invalid substring range. start: 3, end: 1");
    check("'äöü'.charAt(1)", "\"ö\"");
    check("'abcabc'.lastIndexOf('b')", "4");
    check("'abcabc'.indexOf('b', 2)", "4");
    check("'abc'.indexOf('x')", "-1");
    check("' a '.trim() + 'A'.lowerAscii() + 'b'.upperAscii()", "\"aaB\"");
    check(
        "'%s is %d, %.2f, %x, %b, %s%%'.format(['x', 1, 2.345, 255, 5, [1, 2]])",
        "\"x is 1, 2.35, ff, 101, [1, 2]%\"",
    );
    check("'abc 123 45'.find('[0-9]+')", "\"123\"");
    check("'abc 123 45'.findAll('[0-9]+')", "[\"123\",\"45\"]");
    check("strings.quote('a\"b')", "\"\\\"a\\\\\\\"b\\\"\"");
    check("string(1) + string(1.5) + string(true)", "\"11.5true\"");
    check("int('12') + int(1.9)", "13");
    check("int('x')", "error: type conversion error from 'string' to 'int'");
    check_true(&[
        "'abc'.matches('^a.c$')",
        "'abc'.startsWith('ab')",
        "'abc'.endsWith('bc')",
        "'abc'.contains('b')",
        "type(1) == int",
        "type('') == string",
    ]);
    check("'a'.matches('(' + '')", "error: error parsing regexp: missing closing ): `(`");
    check("image('registry.k8s.io/pause:3.10').tag() + image('nginx').repository()", "\"3.10library/nginx\"");
    check_true(&[
        "isImage('nginx')",
        "!isImage('A b')",
        "!image('nginx').containsDigest()",
        "image('nginx').identifier() == 'latest'",
    ]);
}

#[test]
fn the_library_works() {
    check("[3, 1, 2].min() + [3, 1, 2].max() + [1, 2].sum()", "7");
    check("[].max()", "error: max called on empty list");
    check("[1, 2, 1].lastIndexOf(1)", "2");
    check("url('https://a.example:80/p?k=v').getQuery()['k']", "[\"v\"]");
    check("url('https://a.example:80/p').getPort() + url('https://a.example:80/p').getHostname()", "\"80a.example\"");
    check("quantity('1.5Gi').add(quantity('512Mi')).compareTo(quantity('2Gi'))", "0");
    check("quantity('50k').asInteger()", "50000");
    check("ip('192.168.0.1').family()", "4");
    check("cidr('10.0.0.0/8').prefixLength()", "8");
    check("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\"");
    check("format.dns1123Label().validate('Bad').value().size()", "1");
    check("semver('1.2.3').minor()", "2");
    check("duration('1h').getMinutes()", "60");
    check("timestamp('2024-02-03T04:05:06Z').getDate()", "3");
    check("string(timestamp('2024-02-03T04:05:06Z') + duration('1h'))", "\"2024-02-03T05:05:06Z\"");
    check_true(&[
        "[1, 2, 2].isSorted()",
        "!['b', 'a'].isSorted()",
        "isURL('https://a/')",
        "!isURL('a b')",
        "isQuantity('1Gi')",
        "!isQuantity('x')",
        "quantity('1').isLessThan(quantity('2'))",
        "isIP('::1')",
        "ip('127.0.0.1').isLoopback()",
        "ip.isCanonical('::1')",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "isCIDR('::/0')",
        "!format.named('dns1123Label').value().validate('ok').hasValue()",
        "!format.named('none').hasValue()",
        "semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))",
        "isSemver('1.0.0')",
        "!isSemver('v1')",
        "isSemver('v1', true)",
        "sets.contains([1, 2], [2])",
        "sets.equivalent([1, 1], [1])",
        "sets.intersects([1], [1, 2])",
        "!sets.intersects([1], [2])",
        "optional.ofNonZeroValue('').or(optional.of('x')).value() == 'x'",
        "timestamp('2024-01-01T00:00:00Z') < timestamp('2025-01-01T00:00:00Z')",
    ]);
}

#[test]
fn mistakes_are_told_in_the_words_of_cel() {
    check("self.foo", "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo\n | ....^");
    check(
        "nothing + 1",
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing + 1\n | ^",
    );
    check(
        "f(1)",
        "compilation failed: ERROR: <input>:1:2: undeclared reference to 'f' (in container '')\n | f(1)\n | .^",
    );
    check(
        "1 == 'a'",
        "compilation failed: ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'\n | 1 == 'a'\n | ..^",
    );
    check(
        "self.name.startsWith(1)",
        "compilation failed: ERROR: <input>:1:21: found no matching overload for 'startsWith' applied to 'string.(int)'\n | self.name.startsWith(1)\n | ....................^",
    );
    check(
        "self.replicas.all(x, true)",
        "compilation failed: ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.replicas.all(x, true)\n | ....^",
    );
    check(
        "1 +",
        "compilation failed: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting an expression\n | 1 +\n | ...^",
    );
    check("'a", "compilation failed: ERROR: <input>:1:1: Syntax error: unterminated string\n | 'a\n | ^");
    check(
        "n && true",
        "compilation failed: ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | n && true\n | ^",
    );
    check("n.x", "compilation failed: ERROR: <input>:1:2: type 'int' does not support field selection\n | n.x\n | .^");
    check("object.none", "error: no such key: none");
    check("object.name + 1", "error: no such overload");
    check(
        "object.name + true",
        "compilation failed: ERROR: <input>:1:13: found no matching overload for '_+_' applied to '(dyn, bool)'\n | object.name + true\n | ............^",
    );
    check(
        "[1, 'a'] == []",
        "compilation failed: ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a'] == []\n | ....^",
    );
    check(
        "duration('x') < duration('1h')",
        "compilation failed: ERROR: <input>:1:10: invalid duration argument\n | duration('x') < duration('1h')\n | .........^",
    );
    check(
        "timestamp('x') == timestamp(0)",
        "compilation failed: ERROR: <input>:1:11: invalid timestamp argument\n | timestamp('x') == timestamp(0)\n | ..........^",
    );
    check(
        "'a'.matches('(')",
        "compilation failed: ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('(')\n | ............^",
    );
    let of = |text: &str| {
        Program::compile(text, &environment(), &[]).map(|it| it.result().to_string()).unwrap_or_else(|it| it.text)
    };
    assert_eq!(of("'a' + object.name"), "string");
    assert_eq!(of("object.n * 2"), "int");
    assert_eq!(of("object.a + object.b"), "dyn");
    assert_eq!(of("timestamp(object.a) - object.b"), "dyn");
    assert_eq!(of("string(object.a)"), "string");
    assert_eq!(of("object.a[0].b"), "dyn");
    let wanted = Program::compile("1", &Environment::new(), &[Type::Bool]).unwrap_err();
    assert_eq!(wanted.text, "must evaluate to bool");
}

#[test]
fn costs_are_those_of_kubernetes() {
    let of_list = |most: u64| Environment::new().with("self", Type::list(Type::String(10)).sized(most));
    let check = |text: &str, environment: &Environment, expected: u64| {
        assert_eq!(Program::compile(text, environment, &[]).unwrap().estimated_cost(), expected, "{text}");
    };
    // A variable and each field cost one; a macro three for each element, beside its condition.
    check("true", &of_list(10), 0);
    check("self[0]", &of_list(10), 2);
    check("self.all(x, true)", &of_list(10), 1 + 10 * 3 + 1);
    check("self.all(x, x == 'a')", &of_list(10), 1 + 10 * (3 + 1 + 1) + 1);
    check("self.all(x, self.all(y, x == y))", &of_list(10), 1 + 10 * (3 + (1 + 10 * (3 + 2 + 1) + 1)) + 1);
    check("self.all(x, x.matches('^a*$'))", &of_list(10), 1 + 10 * (3 + 1 + 2) + 1);
    check("self.all(x, true)", &of_list(UNBOUNDED), u64::MAX);
}

#[test]
fn nothing_runs_longer_than_its_budget() {
    let items: Vec<Value> = (0..100_000).map(|it| json!(it)).collect();
    let object = json!({"items": items, "text": "a".repeat(1 << 20)});
    let environment = Environment::new().with("object", Type::Dyn);
    let hostile = [
        "object.items.all(a, object.items.all(b, object.items.all(c, a + b + c >= 0)))",
        "object.items.map(a, object.items.map(b, a)).size() == 0",
        "object.items.all(a, object == object && object.items == object.items + [])",
        "object.items.all(a, object.text.replace('a', object.text).size() > 0)",
        "object.items.all(a, !(object.text + object.text).matches('(a*)*b'))",
        "object.items.all(a, object.items.map(b, [object.text, object.text]).size() > 0)",
        "object.items.all(a, sets.contains(object.items, object.items))",
        "object.items.map(x, object.text.split('')).size() > 0",
        "[object.text].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x)",
        "[object.items].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x)",
    ];
    for text in hostile {
        let program = Program::compile(text, &environment, &[]).unwrap();
        let begun = Instant::now();
        let mut budget = Budget::new(REQUEST_COST_BUDGET);
        let found = program.evaluate(&vec![("object", Val::of(&object, None))], &mut budget);
        assert_eq!(found.err(), Some(Error::CostExceeded), "{text}");
        // Without optimizations, beside other tests.
        assert!(begun.elapsed().as_secs() < 60, "{text}: {:?}", begun.elapsed());
    }
}

#[test]
fn deep_and_wide_expressions_fit_the_stack() {
    let deep = [
        format!("{}1{}", "(".repeat(90), ")".repeat(90)),
        format!("1{}", " + 1".repeat(90)),
        format!("{}1{}", "[".repeat(90), "]".repeat(90)),
        format!("object{}", ".a".repeat(90)),
        format!("{}[1]{}", "[1].map(x, ".repeat(40), ")".repeat(40)),
        format!("true{}", " && true".repeat(5000)),
        format!("{}true", "!".repeat(50_000)),
    ];
    let too_deep = [
        format!("{}1{}", "(".repeat(40_000), ")".repeat(40_000)),
        format!("1{}", " + 1".repeat(20_000)),
        format!("{}1{}", "[".repeat(40_000), "]".repeat(40_000)),
        format!("object{}", ".a".repeat(40_000)),
        format!("{}1{}", "true ? ".repeat(10_000), " : 1".repeat(10_000)),
        format!("[{}]", "1,".repeat(20_000)),
        "a".repeat(200_000),
    ];
    // Worker threads have 2 MiB; half of that has to do, without optimizations.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        let environment = Environment::new().with("object", Type::Dyn);
        for text in deep {
            let program = Program::compile(&text, &environment, &[]).unwrap_or_else(|error| panic!("{}", error.text));
            let bindings = vec![("object", Val::Null)];
            let _ = program.evaluate(&bindings, &mut Budget::new(REQUEST_COST_BUDGET));
        }
        for text in too_deep {
            assert!(Program::compile(&text, &environment, &[]).is_err());
        }
    });
    thread.unwrap().join().unwrap();
}

/// Allows whoever asks for pods.
struct Pods;

impl Authorizer for Pods {
    fn decide(&self, request: &Request) -> Decision {
        Decision {
            allowed: request.resource == "pods" && request.verb == "get",
            reason: "because".to_owned(),
            error: String::new(),
        }
    }
}

#[test]
fn the_authorizer_can_be_asked() {
    let environment = Environment::new()
        .with("authorizer", Type::Opaque(functions::AUTHORIZER))
        .with("authorizer.requestResource", Type::Opaque(functions::RESOURCE_CHECK));
    let of_request = Request { resource: "pods".to_owned(), ..Request::default() };
    let check = |text: &str| {
        let program =
            Program::compile(text, &environment, &[Type::Bool]).unwrap_or_else(|error| panic!("{}", error.text));
        let bindings = vec![
            ("authorizer", Val::Authority(Authority::new(&Pods))),
            ("authorizer.requestResource", Val::Authority(Authority::of_resource(&Pods, of_request.clone()))),
        ];
        let mut budget = Budget::new(REQUEST_COST_BUDGET);
        assert!(program.evaluate(&bindings, &mut budget).unwrap().as_bool().unwrap(), "{text}");
    };
    check("authorizer.group('').resource('pods').namespace('a').name('b').check('get').allowed()");
    check("!authorizer.group('').resource('secrets').check('get').allowed()");
    check("authorizer.requestResource.check('get').reason() == 'because'");
    check("!authorizer.serviceAccount('a', 'b').path('/healthz').check('get').errored()");
}

#[test]
fn variables_are_evaluated_once_when_asked_for() {
    let mut environment = Environment::new().with("object", Type::Dyn);
    let mut programs = Vec::new();
    let mut fields = Vec::new();
    for (name, text) in [("a", "object.tags.size()"), ("b", "variables.a * 2"), ("bad", "object.none.more == 1")] {
        let program = Program::compile(text, &environment, &[]).unwrap();
        fields.push((name, program.result().clone()));
        programs.push((name.into(), program));
        environment = environment.with("variables", Type::object("variables", &fields));
    }
    let object = object();
    let good = Program::compile(
        "variables.b == 6 && variables.a == 3 && (true || variables.bad)",
        &environment,
        &[Type::Bool],
    )
    .unwrap();
    let bad = Program::compile("variables.bad", &environment, &[]).unwrap();
    let bindings = vec![("object", Val::of(&object, None))];
    let mut with_variables = bindings.clone();
    with_variables.push(("variables", Variables::bind(&programs, bindings)));
    let found = good.evaluate(&with_variables, &mut Budget::new(REQUEST_COST_BUDGET));
    assert_eq!(found.unwrap().as_bool(), Some(true));
    let found = bad.evaluate(&with_variables, &mut Budget::new(REQUEST_COST_BUDGET));
    assert_eq!(found.err(), Some(Error::new("no such key: none")));
}
