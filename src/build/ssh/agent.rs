//! The agent's protocol (draft-miller-ssh-agent), as far as a step may speak it.
//!
//! A message is a length, a number that says what it is, and what belongs to that. To all that is not
//! asked here the answer is FAILURE, with which clients go on.

use super::{
    key::Key,
    wire::{Reader, Writer},
};

/// Bytes of a message: as OpenSSH limits it.
pub const MAX_MESSAGE: usize = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Whether an agent of the user's is asked such a thing: it lists keys and signs, and is not changed.
pub fn is_allowed(message: &[u8]) -> bool {
    matches!(message.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)))
}

pub fn failure() -> Vec<u8> {
    vec![FAILURE]
}

/// The answer to a message, without the length before it.
pub fn answer(message: &[u8], keys: &[Key]) -> Vec<u8> {
    let mut reader = Reader(message);
    match reader.byte() {
        Some(REQUEST_IDENTITIES) => {
            let writer = Writer(vec![IDENTITIES_ANSWER]).number(keys.len());
            let listed = keys.iter().fold(writer, |writer, key| {
                let writer = writer.string(&key.public());
                writer.string(key.comment.as_bytes())
            });
            listed.0
        }
        Some(SIGN_REQUEST) => sign(reader, keys).unwrap_or_else(failure),
        _ => failure(),
    }
}

fn sign(mut reader: Reader<'_>, keys: &[Key]) -> Option<Vec<u8>> {
    let (public, data, flags) = (reader.string()?, reader.string()?, reader.number()?);
    let key = keys.iter().find(|key| key.public() == public)?;
    let signature = key.sign(data, flags)?;
    Some(Writer(vec![SIGN_RESPONSE]).string(&signature).0)
}
