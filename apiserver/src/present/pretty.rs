//! Encoded JSON, indented for people by two spaces a level, as Go's `json.Indent` does: the order of fields stays, and nothing is decoded.

/// What one level adds.
const INDENT: &[u8] = b"  ";

/// Indents JSON that is known to be well-formed, and ends it with a line.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + json.len() / 2);
    let mut depth = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let start = at - 1;
                while let Some(&byte) = json.get(at) {
                    at += 1;
                    match byte {
                        b'\\' => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                }
                out.extend_from_slice(&json[start..at.min(json.len())]);
            }
            b'{' | b'[' => {
                out.push(byte);
                let rest = &json[at..];
                let next = rest.iter().position(|it| !it.is_ascii_whitespace());
                if let Some(skip) = next.filter(|it| matches!(rest[*it], b'}' | b']')) {
                    out.push(rest[skip]);
                    at += skip + 1;
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = usize::saturating_sub(depth, 1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte if byte.is_ascii_whitespace() => {}
            byte => out.push(byte),
        }
    }
    out.push(b'\n');
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    for _ in 0..depth {
        out.extend_from_slice(INDENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order() {
        let json = br#"{"kind":"A","b":[1,{"x":"{\"y\": [,]}\\"}],"a":{ },"l":[ ],"t":true}"#;
        let expected = "{\n  \"kind\": \"A\",\n  \"b\": [\n    1,\n    {\n      \"x\": \"{\\\"y\\\": [,]}\\\\\"\n    }\n  ],\n  \"a\": {},\n  \"l\": [],\n  \"t\": true\n}\n";
        assert_eq!(String::from_utf8(indent(json)).unwrap(), expected);
        // What breaks off does not bring it down.
        for end in 0..json.len() {
            indent(&json[..end]);
        }
    }
}
