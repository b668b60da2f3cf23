//! A responder on this host's loopback, between a client and servers of the tests.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};

use proptest::prelude::*;

use super::*;

/// A responder and where it listens.
struct Running {
    responder: Responder,
    datagrams: SocketAddr,
    stream: SocketAddr,
}

fn run(servers: Vec<SocketAddr>, forward: bool) -> Running {
    let loopback = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let sockets = sockets::bind(loopback).unwrap();
    let datagrams = sockets.datagrams.local_addr().unwrap();
    let stream = sockets.listener.local_addr().unwrap();
    let mut table = Table::default();
    table.add_subnet("10.88.0.0/16".parse().unwrap());
    table.add(&["web", "shared"], &addresses(&["10.88.0.2", "fd00::2"]));
    table.add(&["db", "shared"], &addresses(&["10.88.0.3"]));
    let many: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([10, 88, 1, n])).collect();
    table.add(&["many"], &many);
    let upstream = Upstream::Servers(servers.into_iter().map(outside).collect());
    let options = Options { forward };
    let responder = Responder::start(sockets, Box::new(table), upstream, options).unwrap();
    Running {
        responder,
        datagrams,
        stream,
    }
}

fn outside(address: SocketAddr) -> Server {
    Server {
        address,
        inside: false,
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let limit = Duration::from_secs(20);
    socket.set_read_timeout(Some(limit)).unwrap();
    socket
}

fn ask_octets(running: &Running, octets: &[u8]) -> Vec<u8> {
    let client = client();
    client.send_to(octets, running.datagrams).unwrap();
    let mut buffer = [0; 65535];
    let length = client.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn ask(running: &Running, query: &Message) -> Message {
    let answer = ask_octets(running, &query.to_vec().unwrap());
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, query.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    answer
}

fn data(message: &Message) -> Vec<String> {
    let text = |record: &Record| record.data.to_string();
    message.answers.iter().map(text).collect()
}

fn exchange(stream: &mut TcpStream, queries: &[Message]) -> Vec<Message> {
    let mut octets = Vec::new();
    for query in queries {
        let query = query.to_vec().unwrap();
        octets.extend(u16::try_from(query.len()).unwrap().to_be_bytes());
        octets.extend(query);
    }
    stream.write_all(&octets).unwrap();
    queries.iter().map(|_| framed(stream)).collect()
}

fn framed(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

fn answer_to(query: &Message, address: [u8; 4]) -> Message {
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.add_queries(query.queries.clone());
    let name = query.queries[0].name.clone();
    answer.add_answer(Record::from_rdata(name, 60, RData::A(A(address.into()))));
    answer
}

/// A server that deals with each datagram as told; what it got can be looked at.
fn server(
    mut deal: impl FnMut(&Message) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<(Vec<u8>, SocketAddr)>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 65535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if sender.send((buffer[..length].to_vec(), from)).is_err() {
                return;
            }
            let query = Message::from_vec(&buffer[..length]).unwrap();
            for answer in deal(&query) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    (address, received)
}

fn answering(address: [u8; 4]) -> (SocketAddr, mpsc::Receiver<(Vec<u8>, SocketAddr)>) {
    server(move |query| vec![answer_to(query, address).to_vec().unwrap()])
}

#[test]
fn names_of_ours_are_answered_by_type() {
    let running = run(Vec::new(), true);
    let answer = ask(&running, &query("WeB.", RecordType::A));
    assert_eq!(data(&answer), ["10.88.0.2"]);
    assert_eq!(answer.queries[0].name.to_string(), "WeB.");
    assert_eq!(answer.answers[0].ttl, 0);
    assert!(answer.metadata.recursion_available && answer.metadata.authoritative);
    assert_eq!(
        data(&ask(&running, &query("web.", RecordType::AAAA))),
        ["fd00::2"]
    );
    for missing in [RecordType::MX, RecordType::HTTPS] {
        let answer = ask(&running, &query("web.", missing));
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty());
    }
    assert!(
        ask(&running, &query("db.", RecordType::AAAA))
            .answers
            .is_empty()
    );
    assert_eq!(
        ask(&running, &query("web.", RecordType::ANY)).answers.len(),
        2
    );
}

#[test]
fn addresses_of_ours_have_names() {
    let running = run(Vec::new(), true);
    let pointer = |name: &str| ask(&running, &query(name, RecordType::PTR));
    assert_eq!(data(&pointer("3.0.88.10.in-addr.arpa.")), ["db."]);
    let six = format!("2.{}0.0.d.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(data(&pointer(&six)), ["web."]);
    let nobody = pointer("9.0.88.10.in-addr.arpa.");
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn owners_of_a_name_come_in_turn() {
    let running = run(Vec::new(), true);
    let first = || data(&ask(&running, &query("shared.", RecordType::A)))[0].clone();
    let (one, two) = (first(), first());
    assert_ne!(one, two);
    assert_eq!(first(), one);
}

#[test]
fn what_does_not_fit_is_asked_again_over_tcp() {
    let running = run(Vec::new(), true);
    let mut many = query("many.", RecordType::A);
    let short = ask(&running, &many);
    assert!(short.metadata.truncation && short.answers.is_empty());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    many.set_edns(edns);
    let whole = ask(&running, &many);
    assert_eq!(whole.answers.len(), 200);
    assert!(whole.edns.is_some());
    let mut stream = TcpStream::connect(running.stream).unwrap();
    let queries = [query("many.", RecordType::A), query("web.", RecordType::A)];
    let answers = exchange(&mut stream, &queries);
    assert_eq!(answers[0].answers.len(), 200);
    assert_eq!(data(&answers[1]), ["10.88.0.2"]);
}

#[test]
fn other_names_are_asked_of_others_with_another_id_and_port() {
    let (address, received) = answering([192, 0, 2, 7]);
    let running = run(vec![address], true);
    let mut query = query("example.org.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(true);
    query.set_edns(edns);
    let mut seen = Vec::new();
    for _ in 0..4 {
        assert_eq!(data(&ask(&running, &query)), ["192.0.2.7"]);
        let (octets, from) = received.recv().unwrap();
        assert_eq!(octets[2..], query.to_vec().unwrap()[2..]);
        seen.push((message::id_of(&octets), from.port()));
    }
    seen.dedup_by_key(|(id, _)| *id);
    assert!(seen.len() > 1, "ids are guessable: {seen:?}");
    seen.dedup_by_key(|(_, port)| *port);
    assert!(seen.len() > 1, "ports are guessable: {seen:?}");
}

#[test]
fn on_internal_networks_other_names_do_not_exist() {
    let (address, received) = answering([192, 0, 2, 7]);
    let running = run(vec![address], false);
    let answer = ask(&running, &query("example.org.", RecordType::A));
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert!(received.try_recv().is_err());
    // Connected to another network while it runs.
    let directory = Box::new(Table::default());
    let upstream = Upstream::Servers(vec![outside(address)]);
    let options = Options { forward: true };
    running
        .responder
        .replace(directory, upstream, options)
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while data(&ask(&running, &query("web.", RecordType::A))) != ["192.0.2.7"] {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn forged_answers_are_not_believed() {
    let (address, _received) = server(|query| {
        let mut other_id = answer_to(query, [6, 6, 6, 6]);
        other_id.metadata.id ^= 1;
        let mut other_question = answer_to(query, [6, 6, 6, 6]);
        other_question.queries[0].name = Name::from_ascii("example.net.").unwrap();
        let no_answer = query.clone();
        let right = answer_to(query, [192, 0, 2, 7]);
        [other_id, other_question, no_answer, right]
            .iter()
            .map(|message| message.to_vec().unwrap())
            .chain([vec![0; 3]])
            .collect()
    });
    let running = run(vec![address], true);
    assert_eq!(
        data(&ask(&running, &query("example.org.", RecordType::A))),
        ["192.0.2.7"]
    );
}

#[test]
fn another_server_is_asked_if_one_is_away_fails_or_is_silent() {
    let away = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (failing, _one) = server(|query| {
        let answer = Message::error_msg(query.metadata.id, OpCode::Query, ResponseCode::ServFail);
        vec![answer.to_vec().unwrap()]
    });
    let (silent, asked) = server(|_| Vec::new());
    let (good, _two) = answering([192, 0, 2, 7]);
    let question = query("example.org.", RecordType::A);
    for bad in [away, failing] {
        let running = run(vec![bad, good], true);
        let begun = Instant::now();
        assert_eq!(data(&ask(&running, &question)), ["192.0.2.7"]);
        assert!(begun.elapsed() < Duration::from_secs(1));
        let running = run(vec![bad], true);
        let code = ask(&running, &question).metadata.response_code;
        assert_eq!(code, ResponseCode::ServFail);
    }
    let running = run(vec![silent, good], true);
    assert_eq!(data(&ask(&running, &question)), ["192.0.2.7"]);
    // From then on it is asked last.
    assert_eq!(data(&ask(&running, &question)), ["192.0.2.7"]);
    assert_eq!(asked.try_iter().count(), 1);
    let nobody = run(Vec::new(), true);
    let code = ask(&nobody, &question).metadata.response_code;
    assert_eq!(code, ResponseCode::ServFail);
}

#[test]
fn a_question_that_many_ask_is_asked_once() {
    let (address, received) = server(|query| {
        std::thread::sleep(Duration::from_millis(300));
        vec![answer_to(query, [192, 0, 2, 7]).to_vec().unwrap()]
    });
    let running = run(vec![address], true);
    let mut question = query("example.org.", RecordType::A);
    let clients: Vec<(u16, UdpSocket)> = (0..20)
        .map(|id| {
            let client = client();
            question.metadata.id = id;
            let octets = question.to_vec().unwrap();
            client.send_to(&octets, running.datagrams).unwrap();
            (id, client)
        })
        .collect();
    for (id, client) in clients {
        let mut buffer = [0; 512];
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(message::id_of(&buffer[..length]), Some(id));
    }
    assert_eq!(received.try_iter().count(), 1);
}

#[test]
fn over_tcp_others_are_asked_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answers = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let query = framed(&mut stream);
            let mut answer = answer_to(&query, [192, 0, 2, 7]);
            let record = answer.answers[0].clone();
            answer.add_answers(std::iter::repeat_n(record, 2000));
            let answer = answer.to_vec().unwrap();
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            // In pieces: they are put together again.
            stream.write_all(&length[..1]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&[&length[1..], &answer].concat()).unwrap();
        }
    });
    let running = run(vec![address], true);
    let mut stream = TcpStream::connect(running.stream).unwrap();
    let names = ["example.org.", "example.net."];
    let queries = names.map(|name| query(name, RecordType::A));
    let replies = exchange(&mut stream, &queries);
    assert!(replies.iter().all(|reply| reply.answers.len() == 2001));
    answers.join().unwrap();
}

#[test]
fn a_server_without_tcp_is_asked_over_udp() {
    let (address, _received) = answering([192, 0, 2, 7]);
    let running = run(vec![address], true);
    let mut stream = TcpStream::connect(running.stream).unwrap();
    let replies = exchange(&mut stream, &[query("example.org.", RecordType::A)]);
    assert_eq!(data(&replies[0]), ["192.0.2.7"]);
}

#[test]
fn many_questions_on_a_connection_are_dealt_with_though_nobody_can_be_asked() {
    let running = run(Vec::new(), true);
    let mut stream = TcpStream::connect(running.stream).unwrap();
    let queries = vec![query("example.org.", RecordType::A); 2000];
    let replies = exchange(&mut stream, &queries);
    let code = |reply: &Message| reply.metadata.response_code;
    assert!(
        replies
            .iter()
            .all(|reply| code(reply) == ResponseCode::ServFail)
    );
}

#[test]
fn what_is_no_question_is_refused() {
    let running = run(Vec::new(), true);
    let code = |octets: &[u8]| {
        let answer = Message::from_vec(&ask_octets(&running, octets)).unwrap();
        answer.metadata.response_code
    };
    let mut update = query("web.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update.to_vec().unwrap()), ResponseCode::NotImp);
    let transfer = query("web.", RecordType::AXFR).to_vec().unwrap();
    assert_eq!(code(&transfer), ResponseCode::Refused);
    let mut cut = query("web.", RecordType::A).to_vec().unwrap();
    cut.truncate(14);
    assert_eq!(code(&cut), ResponseCode::FormErr);
    let mut two = query("web.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two.to_vec().unwrap()), ResponseCode::FormErr);
}

/// As many at once as fit into the buffers of both sockets, however small a host has set them.
#[test]
fn every_question_of_a_burst_is_answered_once() {
    const AT_ONCE: u16 = 64;
    const QUESTIONS: u16 = 100 * AT_ONCE;
    let running = run(Vec::new(), true);
    let client = client();
    client.connect(running.datagrams).unwrap();
    let mut question = query("web.", RecordType::A);
    let mut answered = BTreeSet::new();
    for first in (0..QUESTIONS).step_by(usize::from(AT_ONCE)) {
        for id in first..first + AT_ONCE {
            question.metadata.id = id;
            client.send(&question.to_vec().unwrap()).unwrap();
        }
        for _ in 0..AT_ONCE {
            let mut buffer = [0; 512];
            let length = client.recv(&mut buffer).unwrap();
            let id = message::id_of(&buffer[..length]).unwrap();
            assert!(answered.insert(id), "question {id} is answered twice");
        }
    }
    assert!(answered.into_iter().eq(0..QUESTIONS));
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 512]).is_err(), "an answer too many");
}

proptest! {
    /// Whatever comes: no panic, and what is answered is an answer to it.
    #[test]
    fn any_message_is_dealt_with(octets in hostile(), forward: bool, turn: usize) {
        let mut table = Table::default();
        table.add(&["web"], &addresses(&["10.88.0.2", "fd00::2"]));
        table.add_subnet("10.88.0.0/16".parse().unwrap());
        let reaction = react(&octets, &mut table, Options { forward }, turn);
        let answer = match &reaction {
            Reaction::Silence => None,
            Reaction::Refusal(answer) | Reaction::Answer(_, answer) => Some(answer.clone()),
            Reaction::Forward(question) => {
                prop_assert!(forward);
                Message::from_vec(&question.too_long()).unwrap();
                Some(question.failure())
            }
        };
        if let Some(answer) = answer {
            let read = Message::from_vec(&answer).unwrap();
            prop_assert_eq!(read.metadata.message_type, MessageType::Response);
            prop_assert_eq!(answer.first_chunk::<2>(), octets.first_chunk());
            prop_assert!(answer.len() <= octets.len() + 100, "{} octets", answer.len());
        }
    }

    /// Nothing is an answer but what has the id and the question.
    #[test]
    fn any_answer_is_judged(octets in hostile(), asked in hostile()) {
        let verdict = judge(&asked, &octets);
        if asked.first_chunk::<2>() != octets.first_chunk() {
            prop_assert_eq!(verdict, Verdict::Foreign);
        }
        let question = query("web.", RecordType::A).to_vec().unwrap();
        prop_assert_eq!(judge(&question, &question), Verdict::Foreign);
        let _ = judge(&question, &octets);
    }
}

/// Octets, or a question in which some are others, are missing or come again.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let names = ["web.", "2.0.88.10.in-addr.arpa.", "example.org.", "."];
    let types = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::PTR,
        RecordType::ANY,
    ];
    let good = (
        prop::sample::select(names.to_vec()),
        prop::sample::select(types.to_vec()),
    );
    let changed = (
        good,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 0..6),
    );
    let changed = changed.prop_map(|((name, record_type), changes)| {
        let mut message = query(name, record_type);
        message.set_edns(Edns::new());
        let mut octets = message.to_vec().unwrap();
        for (place, octet, how) in changes {
            if octets.is_empty() {
                break;
            }
            let place = place.index(octets.len());
            match how {
                0 => octets[place] = octet,
                1 => octets.truncate(place),
                2 => octets.extend_from_within(place..),
                _ => octets.insert(place, octet),
            }
        }
        octets
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..600), changed]
}
