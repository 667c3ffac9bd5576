//! Questions and answers as messages on the wire (RFC 1035, EDNS of RFC 6891). Pure but for the turn of addresses, which the caller draws.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record};

use super::zone::{Answer, Data};

/// How long an answer about the cluster holds, in seconds.
pub const TTL_SECONDS: u32 = 5;
/// The largest datagram that is sent: what passes everywhere without being cut up (DNS flag day 2020).
const DATAGRAM_BYTES: u16 = 1232;
/// What a client that says nothing can take (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM_BYTES: u16 = 512;

/// A question that has been read.
#[derive(Clone, Debug)]
pub struct Question {
    metadata: Metadata,
    pub query: Query,
    /// The largest answer that the client takes.
    limit_bytes: usize,
    edns: bool,
}

/// Why there is no question: with an answer to give, or without.
#[derive(Debug)]
pub enum Unasked {
    Answer(Vec<u8>),
    Silence,
}

impl Question {
    /// Reads a message that came by UDP, or by TCP.
    ///
    /// # Errors
    /// It is no question that can be answered.
    pub fn read(bytes: &[u8], by_tcp: bool) -> Result<Self, Unasked> {
        // Without a header there is nobody to tell; and two servers that answer each other's answers would do so for ever.
        let Some(id) = bytes.get(..2).filter(|_| bytes.len() >= 12 && bytes[2] & 0x80 == 0) else {
            return Err(Unasked::Silence);
        };
        let id = u16::from_be_bytes([id[0], id[1]]);
        let refused = |code, metadata: Option<Metadata>| {
            let mut message = Message::response(id, metadata.map_or(OpCode::Query, |it| it.op_code));
            message.metadata.response_code = code;
            Unasked::Answer(message.to_vec().unwrap_or_default())
        };
        let Ok(mut message) = Message::from_vec(bytes) else { return Err(refused(ResponseCode::FormErr, None)) };
        let metadata = message.metadata;
        if metadata.op_code != OpCode::Query {
            return Err(refused(ResponseCode::NotImp, Some(metadata)));
        }
        let (Some(query), true) = (message.queries.pop(), message.queries.is_empty()) else {
            return Err(refused(ResponseCode::FormErr, Some(metadata)));
        };
        if query.query_class() != DNSClass::IN {
            return Err(refused(ResponseCode::Refused, Some(metadata)));
        }
        let payload = message.edns.as_ref().map(|it| it.max_payload().clamp(PLAIN_DATAGRAM_BYTES, DATAGRAM_BYTES));
        let limit = if by_tcp { u16::MAX } else { payload.unwrap_or(PLAIN_DATAGRAM_BYTES) };
        Ok(Question { metadata, query, limit_bytes: usize::from(limit), edns: payload.is_some() })
    }

    /// The name asked for, without the dot at its end.
    pub fn name(&self) -> String {
        self.query.name().to_ascii().trim_end_matches('.').to_owned()
    }

    /// The answer of the cluster's zone. `turn` says which address comes first, so that clients that take the first spread.
    pub fn answered(&self, domain: &str, answer: &Answer, turn: usize) -> Vec<u8> {
        let mut message = self.response(ResponseCode::NoError);
        message.metadata.authoritative = true;
        let own = self.query.name().clone();
        match answer {
            Answer::Found(records, more) => {
                let mut data: Vec<RData> = records.iter().filter_map(|it| rdata(it, domain)).collect();
                if !data.is_empty() {
                    let at = turn % data.len();
                    data.rotate_left(at);
                }
                message.add_answers(data.into_iter().map(|it| Record::from_rdata(own.clone(), TTL_SECONDS, it)));
                for (name, address) in more {
                    if let Some(name) = absolute(name) {
                        message.add_additional(Record::from_rdata(name, TTL_SECONDS, of_address(*address)));
                    }
                }
            }
            Answer::NoSuchName => {
                message.metadata.response_code = ResponseCode::NXDomain;
                self.deny(&mut message, domain);
            }
            _ => self.deny(&mut message, domain),
        }
        self.fitted(message)
    }

    /// A name's other name, with what was found under that.
    pub fn aliased(&self, target: &str, found: Option<Message>) -> Vec<u8> {
        let Some(target) = absolute(target) else { return self.failed(ResponseCode::ServFail) };
        let mut message = self.response(ResponseCode::NoError);
        message.metadata.authoritative = true;
        let own = self.query.name().clone();
        message.add_answer(Record::from_rdata(own, TTL_SECONDS, RData::CNAME(CNAME(target))));
        if let Some(found) = found {
            message.metadata.response_code = found.metadata.response_code;
            message.add_answers(found.answers.into_iter().map(|mut it| {
                it.ttl = it.ttl.min(TTL_SECONDS);
                it
            }));
        }
        self.fitted(message)
    }

    /// What another server has answered.
    pub fn forwarded(&self, found: Message) -> Vec<u8> {
        let mut message = self.response(found.metadata.response_code);
        message.add_answers(found.answers);
        message.add_authorities(found.authorities);
        message.add_additionals(found.additionals);
        self.fitted(message)
    }

    /// No answer, and why.
    pub fn failed(&self, code: ResponseCode) -> Vec<u8> {
        self.fitted(self.response(code))
    }

    fn response(&self, code: ResponseCode) -> Message {
        let mut message = Message::new(self.metadata.id, MessageType::Response, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        // As it was asked, upper case and all: some clients check it.
        message.add_query(self.query.clone());
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(DATAGRAM_BYTES);
            message.set_edns(edns);
        }
        message
    }

    /// Says for how long there is nothing (RFC 2308).
    fn deny(&self, message: &mut Message, domain: &str) {
        if let (Some(zone), Some(data)) = (absolute(domain), rdata(&Data::Authority, domain)) {
            message.add_authority(Record::from_rdata(zone, TTL_SECONDS, data));
        }
    }

    /// The bytes; what is too large for a datagram says that it is, and the client comes again by TCP.
    fn fitted(&self, mut message: Message) -> Vec<u8> {
        for _ in 0..2 {
            match message.to_vec() {
                Ok(bytes) if bytes.len() <= self.limit_bytes => return bytes,
                // What only saves a question goes first.
                _ if !message.additionals.is_empty() => message.additionals.clear(),
                _ => break,
            }
        }
        message.truncate().to_vec().unwrap_or_default()
    }
}

/// A question to another server.
pub fn ask(id: u16, name: &Name, query: &Query) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), query.query_type()));
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_BYTES);
    message.set_edns(edns);
    message.to_vec().ok()
}

/// A name with a dot at its end, if it can be one.
pub fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()
}

fn of_address(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(it) => RData::A(it.into()),
        IpAddr::V6(it) => RData::AAAA(it.into()),
    }
}

fn rdata(data: &Data, domain: &str) -> Option<RData> {
    Some(match data {
        Data::Address(it) => of_address(*it),
        // Priority 0 and equal weights: nobody is to be preferred.
        Data::Service(port, target) => RData::SRV(SRV::new(0, 100, *port, absolute(target)?)),
        Data::Pointer(it) => RData::PTR(PTR(absolute(it)?)),
        Data::Text(it) => RData::TXT(TXT::new(vec![it.clone()])),
        Data::Server(it) => RData::NS(NS(absolute(it)?)),
        Data::Authority => {
            let (server, mail) = (absolute(&format!("ns.dns.{domain}"))?, absolute(&format!("hostmaster.{domain}"))?);
            // The serial is nobody's business, as zones are not transferred; the last number is how long a denial holds.
            RData::SOA(SOA::new(server, mail, 1, 7200, 1800, 86_400, TTL_SECONDS))
        }
    })
}
