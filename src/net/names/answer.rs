//! What is said to a question, as far as this can be decided here.

use std::net::IpAddr;

use hickory_proto::rr::RecordType;

use super::{
    directory::{Directory, Owner},
    message::{Question, Unasked},
    responder::Options,
};

/// What a message leads to.
#[derive(Debug)]
pub enum Reaction {
    /// It is not worth a word.
    Silence,
    /// What it asks cannot be understood, or is not done here.
    Refusal(Vec<u8>),
    Answer(Question, Vec<u8>),
    /// Others are to be asked.
    Forward(Question),
}

/// Reads a client's message, whatever it is. `turn` is another number for every message: owners of
/// one name come in turn.
pub fn react(
    message: &[u8],
    directory: &mut dyn Directory,
    options: Options,
    turn: usize,
) -> Reaction {
    let question = match Question::read(message) {
        Ok(question) => question,
        Err(Unasked::Silence) => return Reaction::Silence,
        Err(Unasked::Refused(answer)) => return Reaction::Refusal(answer),
    };
    match own(&question, directory, turn) {
        Some(answer) => Reaction::Answer(question, answer),
        None if options.forward => Reaction::Forward(question),
        None => {
            let answer = question.no_such_name();
            Reaction::Answer(question, answer)
        }
    }
}

fn own(question: &Question, directory: &mut dyn Directory, turn: usize) -> Option<Vec<u8>> {
    if !question.is_internet() {
        return None;
    }
    if let Some(address) = question.reversed_address() {
        return match directory.owner(address) {
            Owner::Container(name) if wants(question, RecordType::PTR) => {
                Some(question.pointer(&name))
            }
            Owner::Container(_) => Some(question.addresses(&[])),
            Owner::Nobody => Some(question.no_such_name()),
            Owner::Elsewhere => None,
        };
    }
    let mut addresses = directory.addresses(&question.plain_name()?)?;
    addresses.retain(|address| match address {
        IpAddr::V4(_) => wants(question, RecordType::A),
        IpAddr::V6(_) => wants(question, RecordType::AAAA),
    });
    if !addresses.is_empty() {
        let first = turn % addresses.len();
        addresses.rotate_left(first);
    }
    Some(question.addresses(&addresses))
}

fn wants(question: &Question, record_type: RecordType) -> bool {
    [record_type, RecordType::ANY].contains(&question.record_type())
}
