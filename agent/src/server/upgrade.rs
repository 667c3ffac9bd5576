//! Which protocol a client and the agent's port go on with.
//!
//! In: a request's headers and what is on offer. Out: what is spoken from here on, with the headers of the `101`, or a refusal in the kubelet's words.
//! Source: `k8s.io/apimachinery/pkg/util/httpstream` (Handshake) and `.../wsstream`, `k8s.io/kubelet/pkg/cri/streaming`.

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{StatusCode, header};

use super::websocket;

/// In which SPDY's clients say what they would speak through their streams, and hear what is spoken.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// Before the protocol that is spoken through SPDY's streams through a WebSocket.
const TUNNEL: &str = "SPDY/3.1+";

/// What can be spoken.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Subprotocols of WebSockets; a client that names none gets the one without a name.
    pub websocket: &'static [&'static str],
    /// Protocols through SPDY's streams.
    pub spdy: &'static [&'static str],
    /// What a client speaks that names none.
    pub unnamed: &'static str,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// Messages, by this subprotocol; empty if the client named none.
    WebSocket(&'static str),
    /// SPDY's frames in messages.
    Tunnel(&'static str),
    Spdy(&'static str),
}

/// Chooses what is spoken.
///
/// # Errors
/// The refusal: `400` for what asks for no change of protocol, `403` where there is none in common.
#[allow(clippy::result_large_err)] // It is an answer, and made once.
pub fn choose(headers: &HeaderMap, offer: &Offer) -> Result<(Spoken, HeaderMap), Response> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why).into_response();
    if websocket::is_asked(headers) {
        let named: Vec<&str> = websocket::protocols(headers).collect();
        let spoken = of_websocket(&named, offer).ok_or_else(|| {
            let offered = offer.websocket.join(" ");
            bad(format!("requested protocol(s) are not supported: [{}]; supports [{offered}]", named.join(" ")))
        })?;
        let protocol = match spoken {
            Spoken::Tunnel(inner) => format!("{TUNNEL}{inner}"),
            Spoken::WebSocket(it) | Spoken::Spdy(it) => it.to_owned(),
        };
        let answer = websocket::accept(headers, &protocol).map_err(|why| bad(why.to_owned()))?;
        return Ok((spoken, answer));
    }
    let is_spdy = headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"SPDY/3.1"))
        && websocket::has_word(headers, CONNECTION, "upgrade");
    if !is_spdy {
        return Err(bad("unable to upgrade: missing upgrade headers in request".to_owned()));
    }
    let named: Vec<&str> = headers.get_all(STREAM_PROTOCOL).iter().filter_map(|it| it.to_str().ok()).collect();
    let named: Vec<&str> = named.iter().flat_map(|it| it.split(',')).map(str::trim).collect();
    let chosen = match named.as_slice() {
        [] => Some(offer.unnamed),
        named => named.iter().find_map(|it| offer.spdy.iter().find(|offered| *offered == it).copied()),
    };
    let Some(chosen) = chosen else {
        let (asked, offered) = (named.join(" "), offer.spdy.join(" "));
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{asked}], server accepts [{offered}]"
        );
        let mut refusal = (StatusCode::FORBIDDEN, why).into_response();
        for it in offer.spdy {
            refusal.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(it));
        }
        return Err(refusal);
    };
    let mut answer = HeaderMap::new();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    if !named.is_empty() {
        answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(chosen));
    }
    Ok((Spoken::Spdy(chosen), answer))
}

/// The first of the client's subprotocols that is on offer.
fn of_websocket(named: &[&str], offer: &Offer) -> Option<Spoken> {
    if named.is_empty() {
        return Some(Spoken::WebSocket(""));
    }
    named.iter().find_map(|it| {
        if let Some(inner) = it.strip_prefix(TUNNEL) {
            return offer.spdy.iter().find(|offered| **offered == inner).map(|it| Spoken::Tunnel(it));
        }
        offer.websocket.iter().find(|offered| *offered == it).map(|it| Spoken::WebSocket(it))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer {
        websocket: &["v5.channel.k8s.io", "v4.channel.k8s.io"],
        spdy: &["v4.channel.k8s.io", "portforward.k8s.io"],
        unnamed: "channel.k8s.io",
    };

    #[track_caller]
    fn check(headers: &[(&str, &str)], expected: Result<Spoken, (u16, &str)>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let chosen = choose(&map, &OFFER);
        match (chosen, expected) {
            (Ok((spoken, _)), Ok(wanted)) => assert_eq!(spoken, wanted),
            (Err(refusal), Err((code, _))) => assert_eq!(refusal.status().as_u16(), code),
            (chosen, expected) => panic!("{chosen:?} is not {expected:?}"),
        }
    }

    #[test]
    fn the_clients_first_that_is_on_offer_is_spoken() {
        let socket = |protocols: &'static str| {
            vec![
                ("upgrade", "websocket"),
                ("connection", "keep-alive, Upgrade"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", protocols),
            ]
        };
        check(&socket("v6.channel.k8s.io, v4.channel.k8s.io"), Ok(Spoken::WebSocket("v4.channel.k8s.io")));
        check(&socket("SPDY/3.1+portforward.k8s.io"), Ok(Spoken::Tunnel("portforward.k8s.io")));
        check(&socket("SPDY/3.1+other"), Err((400, "")));
        check(&socket("other"), Err((400, "")));
        check(&socket("")[..4], Ok(Spoken::WebSocket("")));
        check(&socket("v5.channel.k8s.io")[..3], Err((400, "")));
        let spdy = [("upgrade", "SPDY/3.1"), ("connection", "Upgrade")];
        let with = |protocols: &[&'static str]| {
            let named = protocols.iter().map(|it| ("x-stream-protocol-version", *it));
            spdy.into_iter().chain(named).collect::<Vec<_>>()
        };
        check(&with(&["v5.channel.k8s.io", "v4.channel.k8s.io"]), Ok(Spoken::Spdy("v4.channel.k8s.io")));
        check(&with(&["portforward.k8s.io"]), Ok(Spoken::Spdy("portforward.k8s.io")));
        check(&with(&[]), Ok(Spoken::Spdy("channel.k8s.io")));
        check(&with(&["other"]), Err((403, "")));
        check(&[], Err((400, "")));
        check(&[("upgrade", "h2c"), ("connection", "Upgrade")], Err((400, "")));
    }
}
