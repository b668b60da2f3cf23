//! Messages as bytes, hostile answers, and the kernel's own answers in a namespace of the tests' own.

use std::os::fd::AsFd;

use proptest::prelude::*;

use super::{message::answers, nft::*, route::*, *};

fn bytes(message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.finish_into(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let words = bytes.chunks(4).map(|word| {
        let digits = word.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// As strace(1) shows them of `ip` and `nft`.
#[cfg(target_endian = "little")]
#[test]
fn requests_are_the_bytes_that_the_kernel_knows() {
    assert_eq!(
        hex(&bytes(set_up(7))),
        "20000000 13000100 00000000 00000000 00000000 07000000 01000000 01000000"
    );
    assert_eq!(
        hex(&bytes(add_address(7, "10.88.0.1/16".parse().unwrap()))),
        "30000000 14000105 00000000 00000000 02100000 07000000 \
         08000200 0a580001 08000100 0a580001 08000400 0a58ffff"
    );
    let bridge = bytes(NewLink::bridge("br0").request());
    assert_eq!(
        hex(&bridge),
        "38000000 10000106 00000000 00000000 00000000 00000000 00000000 00000000 \
         08000300 62723000 10001280 0b000100 62726964 67650000"
    );
    let table = Table::inet("t");
    let drop = [Expression::Verdict(Verdict::Drop)];
    assert_eq!(
        hex(&bytes(table.rule("c", &drop))),
        "58000000 060a010c 00000000 00000000 01000000 06000100 74000000 06000200 63000000 \
         34000480 30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 \
         10000280 0c000280 08000100 00000000"
    );
}

#[test]
fn a_batch_confirms_its_last_request_only() {
    let mut batch = Batch::new();
    batch.push("one", set_up(1));
    batch.push("two", set_up(2));
    batch.number(41);
    let all: Vec<_> = answers(&batch.bytes).collect();
    let numbers: Vec<_> = all.iter().map(|one| (one.sequence, one.flags)).collect();
    assert_eq!(numbers, [(41, REQUEST), (42, REQUEST | ACK)]);
}

#[test]
fn parts_of_a_key_begin_at_registers() {
    let key = concatenation(&[&[6], &80u16.to_be_bytes(), &[10, 88, 0, 2]]);
    assert_eq!(key, [6, 0, 0, 0, 0, 80, 0, 0, 10, 88, 0, 2]);
    assert_eq!(interface("a-name-that-is-too-long")[15], 0);
    let ends = |first: [u8; 2], last: [u8; 2]| range(&first, &last).len();
    assert_eq!(ends([10, 0], [10, 255]), 2);
    assert_eq!(ends([255, 0], [255, 255]), 1);
}

#[test]
fn an_error_has_the_requests_label_and_the_kernels_words() {
    let mut payload = (-17i32).to_ne_bytes().to_vec();
    payload.extend_from_slice(&[0; HEADER]);
    payload.extend_from_slice(&[9, 0, 1, 0, b'n', b'o', b't', b'!', 0]);
    let answer = Answer {
        kind: ERROR,
        flags: CAPPED | WITH_ATTRIBUTES,
        sequence: 5,
        payload: &payload,
    };
    let (errno_, words) = answer.error().unwrap();
    assert_eq!(
        (errno_, words.as_deref()),
        (Some(Errno::EXIST), Some("not!"))
    );
    let error = refused("add the bridge br0", Errno::EXIST, words);
    assert_eq!(
        error.one_line(),
        "cannot add the bridge br0: not!: File exists (os error 17)"
    );
    assert_eq!(errno(&error), Some(Errno::EXIST));
}

proptest! {
    /// Whatever stands in an answer, reading it ends and touches nothing outside of it.
    #[test]
    fn any_answer_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        for answer in answers(&bytes) {
            answer.error();
            let reply = Reply { kind: answer.kind, payload: answer.payload.to_vec() };
            parse_all(&reply);
        }
        parse_all(&Reply { kind: 0, payload: bytes });
    }

    /// The same with lengths that are right, so that more of it is reached.
    #[test]
    fn any_attributes_can_be_read(
        attributes in proptest::collection::vec(
            (0u16..24, proptest::collection::vec(any::<u8>(), 0..24)), 0..12),
        head in 0usize..20,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut message = Message::new(1, 0, &[]);
        for (kind, value) in &attributes {
            message.put(*kind, value);
        }
        let written = bytes(message);
        let mut payload = vec![2; head];
        payload.extend_from_slice(&written[HEADER..]);
        payload.truncate(cut.index(payload.len() + 1));
        parse_all(&Reply { kind: 0, payload });
    }
}

fn parse_all(reply: &Reply) {
    route::parse_any(reply);
    nft::parse_any(reply);
}

/// A namespace of the test's own; none if it may not make one.
fn namespace() -> Option<OwnedFd> {
    match sys::netns::new() {
        Ok(namespace) => Some(namespace),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => None,
        Err(cause) => panic!("{cause}"),
    }
}

/// br0, number 7, and its port veth0, number 8, whose other end is eth0, number 2, inside.
fn make_pair_on_bridge(socket: &mut Socket, inside: &OwnedFd, mac: HardwareAddress) {
    let mut batch = Batch::new();
    batch.push("add br0", NewLink::bridge("br0").index(7).up().request());
    batch.push(
        "address br0",
        add_address(7, "10.9.0.1/24".parse().unwrap()),
    );
    batch.push("address br0", add_address(7, "fd00::1/64".parse().unwrap()));
    let inner = NewLink::end("eth0").index(2).mac(mac).mtu(1400);
    let inner = inner.in_namespace(inside.as_fd());
    let veth = NewLink::veth("veth0", inner)
        .index(8)
        .master(7)
        .mtu(1400)
        .up();
    batch.push("add veth0", veth.request());
    socket.send(batch).unwrap();
}

#[test]
fn links_addresses_and_routes_are_made_in_one_send() {
    let (Some(outside), Some(inside)) = (namespace(), namespace()) else {
        return;
    };
    let mut socket = Socket::route_in(outside.as_fd()).unwrap();
    let mac = [2, 0x42, 10, 9, 0, 2];
    make_pair_on_bridge(&mut socket, &inside, mac);
    let again = NewLink::bridge("br0").request();
    let mut batch = Batch::new();
    batch.push_unless(&[Errno::EXIST], "add br0", again.clone());
    batch.push("add br0 again", again);
    batch.push("raise br0", set_up(7));
    let error = socket.send(batch).unwrap_err();
    assert!(
        error.message().starts_with("cannot add br0 again"),
        "{error:?}"
    );
    assert_eq!(errno(&error), Some(Errno::EXIST));

    let found = link_named(&mut socket, "veth0").unwrap().unwrap();
    assert_eq!((found.index, found.master, found.mtu), (8, Some(7), 1400));
    assert_eq!(link_named(&mut socket, "none").unwrap(), None);
    assert!(
        addresses(&mut socket)
            .unwrap()
            .iter()
            .any(|one| one.index == 7)
    );

    let mut socket = Socket::route_in(inside.as_fd()).unwrap();
    let mut batch = Batch::new();
    batch.push("raise lo", set_up(1));
    batch.push(
        "address eth0",
        add_address(2, "10.9.0.2/24".parse().unwrap()),
    );
    batch.push("raise eth0", set_up(2));
    let route = Route::default_v4().via("10.9.0.1".parse().unwrap());
    batch.push("route", route.add());
    batch.push(
        "route",
        Route::default_v4()
            .device(1)
            .kind(RouteKind::Local)
            .table(100)
            .add(),
    );
    let rule = route::Rule {
        mark: Some(1),
        table: 100,
        priority: Some(100),
        ..route::Rule::default()
    };
    batch.push("rule", rule.add());
    socket.send(batch).unwrap();
    let found = links(&mut socket).unwrap();
    let eth0 = found.iter().find(|link| link.name == "eth0").unwrap();
    assert_eq!(
        (eth0.mac, eth0.up, eth0.kind.as_str()),
        (Some(mac), true, "veth")
    );
    let found = routes(&mut socket).unwrap();
    assert!(
        found
            .iter()
            .any(|one| one.gateway == route.gateway && one.device == Some(2))
    );
    assert!(
        found
            .iter()
            .any(|one| one.table == 100 && one.kind == RouteKind::Local)
    );
}

/// Translates what this host gets by a map of protocols and ports.
fn translate_by(map: &'static str) -> Vec<Expression<'static>> {
    let (protocol, port) = (Register::slot(0), Register::slot(1));
    vec![
        Expression::Load(Meta::NetworkProtocol, protocol),
        Expression::Compare(protocol, Comparison::Equal, vec![2]),
        Expression::AddressType(Asked::Destination, protocol),
        Expression::Compare(
            protocol,
            Comparison::Equal,
            ADDRESS_LOCAL.to_ne_bytes().to_vec(),
        ),
        Expression::Load(Meta::TransportProtocol, protocol),
        Expression::Field(Field::DESTINATION_PORT, port),
        Expression::Map {
            map,
            key: protocol,
            value: Register::slot(2),
        },
        Expression::Translate {
            what: Translation::Destination,
            family: nft::Family::Ipv4,
            address: Register::slot(2),
            port: Some(Register::slot(3)),
        },
    ]
}

#[test]
fn a_firewall_is_one_transaction() {
    let Some(inside) = namespace() else { return };
    let mut socket = Socket::netfilter_in(inside.as_fd()).unwrap();
    let table = Table::inet("coracle");
    assert!(!table.exists(&mut socket).unwrap());
    let map = Set {
        name: "dnat4",
        key: &[Type::Protocol, Type::Port],
        value: Some(Value::Data(&[Type::Ipv4, Type::Port])),
        interval: false,
    };
    let base = BaseChain {
        hook: Hook::Prerouting,
        kind: ChainKind::Nat,
        priority: -100,
    };
    let mut batch = Batch::new();
    batch.push("add the table", table.create());
    batch.push("add the map", table.set(&map));
    batch.push("add the chain", table.chain("prerouting", Some(base)));
    batch.push(
        "add the rule",
        table.rule("prerouting", &translate_by("dnat4")),
    );
    socket.send(batch).unwrap();
    assert!(table.exists(&mut socket).unwrap());

    let key = concatenation(&[&[6], &8080u16.to_be_bytes()]);
    let element = |host: u8| {
        let value = concatenation(&[&[10, 9, 0, host], &80u16.to_be_bytes()]);
        [Element::key(key.clone()).value(value)]
    };
    let add = |elements: &[Element]| {
        let mut batch = Batch::new();
        for message in table.add("dnat4", elements) {
            batch.push("add an element", message);
        }
        batch
    };
    socket.send(add(&element(2))).unwrap();
    socket.send(add(&element(2))).unwrap();
    let error = socket.send(add(&element(3))).unwrap_err();
    assert_eq!(errno(&error), Some(Errno::EXIST));
    assert_eq!(table.elements(&mut socket, "dnat4").unwrap(), element(2));

    // A batch with one mistake does nothing.
    let mut batch = Batch::new();
    for message in table.remove("dnat4", &element(2)) {
        batch.push("remove the element", message);
    }
    batch.push("jump into nothing", table.rule("nowhere", &[]));
    let error = socket.send(batch).unwrap_err();
    assert_eq!(error.message(), "cannot jump into nothing");
    assert_eq!(table.elements(&mut socket, "dnat4").unwrap(), element(2));

    let mut batch = Batch::new();
    for message in table.remove("dnat4", &element(2)) {
        batch.push("remove the element", message);
    }
    socket.send(batch).unwrap();
    assert_eq!(table.elements(&mut socket, "dnat4").unwrap(), []);
}
