//! Any bytes as a packet of a container's. Oracle: no panic; what is answered is a packet for whoever
//! sent the first one, and nobody answers an error.

#![no_main]

use coracle::net::relay::packet::{self, Packet, Unreachable};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = packet::parse(bytes);
    if let Some(Packet::Syn(tuple)) = parsed {
        if let Some(answer) = packet::refusal(bytes) {
            let Some(Packet::Other {
                source,
                destination,
                protocol: packet::TCP,
            }) = packet::parse(&answer)
            else {
                panic!("no answer: {answer:?}");
            };
            assert_eq!(source, tuple.destination.ip());
            assert_eq!(destination, tuple.source.ip());
        }
    }
    if let Some(error) = packet::unreachable(bytes, Unreachable::Host) {
        assert!(packet::parse(&error).is_some());
        assert_eq!(packet::unreachable(&error, Unreachable::Host), None);
    }
});
