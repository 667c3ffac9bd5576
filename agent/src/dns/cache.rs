//! Answers of other servers, for as long as they hold.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType;
use tokio::time::Instant;

/// Answers kept: at some 500 bytes each, 2 MB.
const ANSWERS_MOST: usize = 4096;
/// The longest that an answer is kept, in seconds, as in CoreDNS's default for its 30 s cache.
const LONGEST_SECONDS: u32 = 30;
/// The longest that a denial is kept, in seconds.
const LONGEST_DENIAL_SECONDS: u32 = 10;

/// What was asked, in lower case.
pub type Asked = (String, RecordType);

/// The answers that still hold.
#[derive(Default)]
pub struct Cache {
    answers: HashMap<Asked, Kept>,
}

struct Kept {
    message: Message,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// The answer, with the time that has passed taken off.
    pub fn get(&self, asked: &Asked, now: Instant) -> Option<Message> {
        let kept = self.answers.get(asked).filter(|it| it.until > now)?;
        let mut message = kept.message.clone();
        let passed = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        for it in message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals) {
            it.ttl = it.ttl.saturating_sub(passed);
        }
        Some(message)
    }

    /// Keeps an answer, if it says for how long.
    pub fn put(&mut self, asked: Asked, message: &Message, now: Instant) {
        let Some(seconds) = holds_seconds(message).filter(|it| *it > 0) else { return };
        if self.answers.len() >= ANSWERS_MOST {
            self.answers.retain(|_, it| it.until > now);
        }
        if self.answers.len() >= ANSWERS_MOST {
            // All of them hold: half of them go, whichever they are, so that this is not done at every question.
            let mut keep = false;
            self.answers.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        let until = now + Duration::from_secs(seconds.into());
        self.answers.insert(asked, Kept { message: message.clone(), since: now, until });
    }
}

fn holds_seconds(message: &Message) -> Option<u32> {
    match message.metadata.response_code {
        ResponseCode::NoError if !message.answers.is_empty() => {
            message.answers.iter().map(|it| it.ttl).min().map(|it| it.min(LONGEST_SECONDS))
        }
        ResponseCode::NoError | ResponseCode::NXDomain => message.authorities.iter().find_map(|it| match &it.data {
            RData::SOA(soa) => Some(it.ttl.min(soa.minimum).min(LONGEST_DENIAL_SECONDS)),
            _ => None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;
    use std::str::FromStr;

    #[tokio::test(start_paused = true)]
    async fn answers_hold_for_their_time_and_no_longer() {
        let mut cache = Cache::default();
        let asked = |it: &str| (it.to_owned(), RecordType::A);
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let name = hickory_proto::rr::Name::from_str("a.example.").unwrap();
        message.add_answer(Record::from_rdata(name, 20, RData::A(std::net::Ipv4Addr::LOCALHOST.into())));
        let now = Instant::now();
        cache.put(asked("a"), &message, now);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(cache.get(&asked("a"), later(5)).unwrap().answers[0].ttl, 15);
        assert!(cache.get(&asked("a"), later(20)).is_none() && cache.get(&asked("b"), now).is_none());
        message.answers.clear();
        cache.put(asked("c"), &message, now);
        assert!(cache.get(&asked("c"), now).is_none(), "a denial without a time");
        message.answers = vec![];
        for it in 0..3 * ANSWERS_MOST {
            let mut one = Message::new(1, MessageType::Response, OpCode::Query);
            let name = hickory_proto::rr::Name::from_str("b.example.").unwrap();
            one.add_answer(Record::from_rdata(name, 20, RData::A(std::net::Ipv4Addr::LOCALHOST.into())));
            cache.put(asked(&it.to_string()), &one, now);
            assert!(cache.answers.len() <= ANSWERS_MOST);
        }
    }
}
