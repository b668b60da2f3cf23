//! What a container asks its responder, and what a server says to a question. Oracle: no panic; what
//! is answered can be read, is an answer, and bears the id of the question.

#![no_main]

use std::net::IpAddr;

use coracle::net::names::{Options, Reaction, Table, judge, react};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let mut table = Table::default();
    table.add(&["web"], &[IpAddr::from([10, 88, 0, 2])]);
    table.add_subnet("10.88.0.0/16".parse().expect("a subnet"));
    let _ = judge(QUESTION, message);
    let _ = judge(message, message);
    let said = match react(message, &mut table, Options { forward: true }, 1) {
        Reaction::Silence => return,
        Reaction::Refusal(answer) | Reaction::Answer(_, answer) => answer,
        Reaction::Forward(question) => question.failure(),
    };
    assert_eq!(said[..2], message[..2]);
    assert!(said[2] & 0x80 != 0);
});

/// `web.`, type A.
const QUESTION: &[u8] = b"\x07\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01";
