//! Messages: what is read of a query and of an answer, and the answers that are written here.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder},
};

/// Octets of a header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// What a client takes over UDP that does not say how much.
const PLAIN_LIMIT: u16 = 512;
/// What is sent to one over UDP at most, whatever it says it takes.
const EDNS_LIMIT: u16 = 4096;

/// A client's question.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    query: Query,
    recursion_desired: bool,
    edns: bool,
    /// Octets that the client takes over UDP.
    pub limit: u16,
}

/// A message that asks nothing we could answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Unasked {
    /// Not even that can be said: too short, or itself an answer.
    Silence,
    /// The answer that says what is wrong with it.
    Refused(Vec<u8>),
}

impl Question {
    /// Reads a client's message.
    pub fn read(message: &[u8]) -> Result<Question, Unasked> {
        let (Some(id), Some(flags)) = (id_of(message), message.get(2)) else {
            return Err(Unasked::Silence);
        };
        if message.len() < HEADER || flags & 0x80 != 0 {
            return Err(Unasked::Silence);
        }
        let refused = |op_code, why| {
            let message = Message::error_msg(id, op_code, why).to_vec();
            Err(message.map_or(Unasked::Silence, Unasked::Refused))
        };
        let op_code = OpCode::from_u8((flags >> 3) & 0xf);
        if op_code != OpCode::Query {
            return refused(op_code, ResponseCode::NotImp);
        }
        let Ok(mut message) = Message::from_vec(message) else {
            return refused(op_code, ResponseCode::FormErr);
        };
        let (1, Some(query)) = (message.queries.len(), message.queries.pop()) else {
            return refused(op_code, ResponseCode::FormErr);
        };
        if matches!(query.query_type, RecordType::AXFR | RecordType::IXFR) {
            return refused(op_code, ResponseCode::Refused);
        }
        let limit = message.edns.as_ref().map_or(PLAIN_LIMIT, |edns| {
            edns.max_payload().clamp(PLAIN_LIMIT, EDNS_LIMIT)
        });
        Ok(Question {
            id,
            query,
            recursion_desired: message.metadata.recursion_desired,
            edns: message.edns.is_some(),
            limit,
        })
    }

    pub fn record_type(&self) -> RecordType {
        self.query.query_type
    }

    /// Whether it is about the Internet: everything of ours is.
    pub fn is_internet(&self) -> bool {
        matches!(self.query.query_class, DNSClass::IN | DNSClass::ANY)
    }

    /// The name in lower case without its last dot, if all of it are characters that a name of ours
    /// can have.
    pub fn plain_name(&self) -> Option<String> {
        let mut text = String::new();
        for label in &self.query.name {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !label.iter().all(plain) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(
                label
                    .iter()
                    .map(|byte| char::from(byte.to_ascii_lowercase())),
            );
        }
        Some(text)
    }

    /// The whole address that a name below in-addr.arpa or ip6.arpa stands for.
    pub fn reversed_address(&self) -> Option<IpAddr> {
        let net = self.query.name.parse_arpa_name().ok()?;
        (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
    }

    /// An answer with these addresses; with none it says that the name exists.
    pub fn addresses(&self, addresses: &[IpAddr]) -> Vec<u8> {
        let records = addresses.iter().map(|address| match address {
            IpAddr::V4(address) => RData::A(A(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
        });
        self.answer(ResponseCode::NoError, records.collect())
    }

    pub fn pointer(&self, name: &str) -> Vec<u8> {
        let name = Name::from_ascii(name).map(|mut name| {
            name.set_fqdn(true);
            name
        });
        match name {
            Ok(name) => self.answer(ResponseCode::NoError, vec![RData::PTR(PTR(name))]),
            Err(_) => self.no_such_name(),
        }
    }

    pub fn no_such_name(&self) -> Vec<u8> {
        self.answer(ResponseCode::NXDomain, Vec::new())
    }

    /// Nobody who could be asked answers.
    pub fn failure(&self) -> Vec<u8> {
        self.answer(ResponseCode::ServFail, Vec::new())
    }

    /// An answer too long for UDP: the client asks again over TCP.
    pub fn too_long(&self) -> Vec<u8> {
        let mut message = self.begin(ResponseCode::NoError);
        message.metadata.authoritative = false;
        message.metadata.truncation = true;
        message.to_vec().unwrap_or_default()
    }

    fn begin(&self, code: ResponseCode) -> Message {
        let mut message = Message::new(self.id, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.metadata.authoritative = code != ResponseCode::ServFail;
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_LIMIT);
            message.set_edns(edns);
        }
        message
    }

    /// Never longer than a message over TCP may be.
    fn answer(&self, code: ResponseCode, data: Vec<RData>) -> Vec<u8> {
        let mut message = self.begin(code);
        let record = |data| Record::from_rdata(self.query.name.clone(), 0, data);
        message.add_answers(data.into_iter().map(record));
        let mut octets = Vec::new();
        let mut encoder = BinEncoder::new(&mut octets);
        match message.emit(&mut encoder) {
            Ok(()) => octets,
            Err(_) => Vec::new(),
        }
    }
}

/// The first field of a message.
pub fn id_of(message: &[u8]) -> Option<u16> {
    let octets = message.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*octets))
}

/// The message with another id.
pub fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(octets) = message.first_chunk_mut::<2>() {
        *octets = id.to_be_bytes();
    }
    message
}

/// What a server said to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Answer,
    /// The server could not or would not: another may.
    Failure,
    /// It belongs to another question, or is forged.
    Foreign,
}

/// Whether `answer` is one to `query`, both of them whole messages: same id, same question.
pub fn judge(query: &[u8], answer: &[u8]) -> Verdict {
    let (Some(asked), Some(said)) = (outline(query), outline(answer)) else {
        return Verdict::Foreign;
    };
    if said.id != asked.id || !said.is_answer {
        return Verdict::Foreign;
    }
    let failed = matches!(
        said.code,
        ResponseCode::ServFail
            | ResponseCode::Refused
            | ResponseCode::NotImp
            | ResponseCode::FormErr
    );
    match said.query {
        Some(query) if Some(&query) == asked.query.as_ref() && !failed => Verdict::Answer,
        Some(query) if Some(&query) == asked.query.as_ref() => Verdict::Failure,
        // A server that understands nothing of a query leaves the question out.
        None if failed => Verdict::Failure,
        _ => Verdict::Foreign,
    }
}

struct Outline {
    id: u16,
    is_answer: bool,
    code: ResponseCode,
    query: Option<Query>,
}

/// The header and the question: names compare without regard to case.
fn outline(message: &[u8]) -> Option<Outline> {
    use hickory_proto::op::Header;
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    let query = match header.counts.queries {
        0 => None,
        1 => Some(Query::read(&mut decoder).ok()?),
        _ => return None,
    };
    Some(Outline {
        id: header.metadata.id,
        is_answer: header.metadata.message_type == MessageType::Response,
        code: header.metadata.response_code,
        query,
    })
}
