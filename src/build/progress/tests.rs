//! The same build as every printer shows it.

use std::{cell::Cell, rc::Rc, time::Duration};

use super::{
    Clock, Event, Progress, Warning, lines::Lines, plain::Plain, quiet::Quiet, rawjson::RawJson,
    tty::Tty,
};

/// A clock that stands still until it is set.
fn clock() -> (Rc<Cell<u64>>, Clock) {
    let milliseconds = Rc::new(Cell::new(0));
    let read = Rc::clone(&milliseconds);
    let began = "2026-01-02T03:04:05Z".parse().unwrap();
    let clock = Clock::set_by(began, move || Duration::from_millis(read.get()));
    (milliseconds, clock)
}

/// Two stages at once: the second fails, the first is given up.
fn two_stages(now: &Cell<u64>, progress: &mut dyn Progress) {
    let mut at = |moment, event: Event<'_>| {
        now.set(moment);
        progress.event(event);
    };
    at(
        0,
        Event::Vertex {
            id: 3,
            name: "[internal] load build definition from Dockerfile",
        },
    );
    at(0, Event::Started { id: 3 });
    at(
        1,
        Event::Status {
            id: 3,
            text: "transferring dockerfile:",
            current: 98,
            total: 0,
            done: false,
        },
    );
    at(
        1,
        Event::Status {
            id: 3,
            text: "transferring dockerfile:",
            current: 98,
            total: 0,
            done: true,
        },
    );
    at(20, Event::Done { id: 3 });
    at(
        30,
        Event::Vertex {
            id: 0,
            name: "[a 1/2] FROM docker.io/library/busybox",
        },
    );
    at(30, Event::Cached { id: 0 });
    at(
        40,
        Event::Vertex {
            id: 1,
            name: "[a 2/2] RUN make",
        },
    );
    at(40, Event::Started { id: 1 });
    at(
        50,
        Event::Vertex {
            id: 2,
            name: "[b 1/1] RUN \u{1b}[2Jfalse",
        },
    );
    at(50, Event::Started { id: 2 });
    at(
        163,
        Event::Output {
            id: 1,
            stream: 1,
            bytes: b"cc -c ma",
        },
    );
    at(
        170,
        Event::Output {
            id: 2,
            stream: 2,
            bytes: b"10%\r20%\r\x1b[31mno\x1b[0m way\x07\n",
        },
    );
    at(
        175,
        Event::Output {
            id: 1,
            stream: 1,
            bytes: b"in.c\n",
        },
    );
    at(
        275,
        Event::Failed {
            id: 2,
            text: "process \"/bin/sh -c false\" did not complete successfully: exit code: 1",
        },
    );
    at(280, Event::Cancelled { id: 1 });
    at(
        280,
        Event::Warning(Warning {
            rule: "StageNameCasing",
            message: "Stage name 'A' should be lowercase",
            description: "Stage names should be lowercase",
            url: "",
            file: "Dockerfile",
            line: 1,
            excerpt: "",
        }),
    );
}

#[test]
fn plain_lines() {
    let (now, clock) = clock();
    let mut out = Vec::new();
    let mut progress = Plain::new(&mut out, clock);
    two_stages(&now, &mut progress);
    progress.finish();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    #1 [internal] load build definition from Dockerfile
    #1 transferring dockerfile: 98B
    #1 transferring dockerfile: 98B done
    #1 DONE 0.0s

    #2 [a 1/2] FROM docker.io/library/busybox
    #2 CACHED

    #3 [a 2/2] RUN make
    #3 0.135 cc -c main.c
    #3 ...

    #4 [b 1/1] RUN [2Jfalse
    #4 0.120 no way
    #4 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1

    #3 [a 2/2] RUN make
    #3 CANCELED
    ------
     > [b 1/1] RUN [2Jfalse:
    0.120 no way
    ------

     1 warning found (use --check to expand):
     - StageNameCasing: Stage name 'A' should be lowercase (line 1)
    "#);
}

#[test]
fn a_step_that_waits_too_long_is_shown() {
    let (now, clock) = clock();
    let mut out = Vec::new();
    let mut progress = Plain::new(&mut out, clock);
    for (id, name) in [(1, "[a 1/1] RUN one"), (2, "[b 1/1] RUN two")] {
        progress.event(Event::Vertex { id, name });
        progress.event(Event::Started { id });
    }
    progress.event(Event::Output {
        id: 1,
        stream: 1,
        bytes: b"first\n",
    });
    progress.event(Event::Output {
        id: 2,
        stream: 1,
        bytes: b"second\n",
    });
    now.set(10_500);
    progress.event(Event::Tick);
    progress.event(Event::Output {
        id: 1,
        stream: 1,
        bytes: b"third\n",
    });
    progress.event(Event::Done { id: 2 });
    progress.event(Event::Done { id: 1 });
    progress.finish();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    #1 [a 1/1] RUN one
    #1 0.000 first
    #1 ...

    #2 [b 1/1] RUN two
    #2 0.000 second
    #2 DONE 10.5s

    #1 [a 1/1] RUN one
    #1 10.500 third
    #1 DONE 10.5s
    "#);
}

/// However narrow: a line that took two would be left behind by the next picture.
#[test]
fn no_line_is_wider_than_the_terminal() {
    let sizes: [fn() -> (usize, usize); 4] = [|| (1, 3), || (9, 3), || (13, 5), || (20, 8)];
    for size in sizes {
        let (now, clock) = clock();
        let mut out = Vec::new();
        let mut progress = Tty::new(&mut out, clock, size, false);
        two_stages(&now, &mut progress);
        drop(progress);
        let shown = String::from_utf8(out).unwrap();
        for line in shown.lines() {
            // Up, and all below is cleared.
            let line = line.rsplit("\x1b[0J").next().unwrap();
            assert!(line.chars().count() <= size().0, "{line:?}");
        }
    }
}

#[test]
fn quiet_but_for_what_failed() {
    let (now, _) = clock();
    let mut out = Vec::new();
    two_stages(&now, &mut Quiet::new(&mut out));
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    ------
     > [b 1/1] RUN [2Jfalse:
    no way
    ------
    "#);
}

#[test]
fn json_lines() {
    let (now, clock) = clock();
    let mut out = Vec::new();
    two_stages(&now, &mut RawJson::new(&mut out, clock));
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    {"vertexes":[{"digest":"sha256:933e15c89703e68032f2d1ab50febc0ac9a345559fb67b688b1640625a4ab724","name":"[internal] load build definition from Dockerfile"}]}
    {"vertexes":[{"digest":"sha256:933e15c89703e68032f2d1ab50febc0ac9a345559fb67b688b1640625a4ab724","name":"[internal] load build definition from Dockerfile","started":"2026-01-02T03:04:05Z"}]}
    {"statuses":[{"id":"transferring dockerfile:","vertex":"sha256:933e15c89703e68032f2d1ab50febc0ac9a345559fb67b688b1640625a4ab724","current":98,"total":0,"timestamp":"2026-01-02T03:04:05.001Z","started":"2026-01-02T03:04:05.001Z"}]}
    {"statuses":[{"id":"transferring dockerfile:","vertex":"sha256:933e15c89703e68032f2d1ab50febc0ac9a345559fb67b688b1640625a4ab724","current":98,"total":0,"timestamp":"2026-01-02T03:04:05.001Z","started":"2026-01-02T03:04:05.001Z","completed":"2026-01-02T03:04:05.001Z"}]}
    {"vertexes":[{"digest":"sha256:933e15c89703e68032f2d1ab50febc0ac9a345559fb67b688b1640625a4ab724","name":"[internal] load build definition from Dockerfile","started":"2026-01-02T03:04:05Z","completed":"2026-01-02T03:04:05.02Z"}]}
    {"vertexes":[{"digest":"sha256:3be8d918209c0d8009a47e62214d5c5a4885cfe0c5dd26391785cabda2ab3546","name":"[a 1/2] FROM docker.io/library/busybox"}]}
    {"vertexes":[{"digest":"sha256:3be8d918209c0d8009a47e62214d5c5a4885cfe0c5dd26391785cabda2ab3546","name":"[a 1/2] FROM docker.io/library/busybox","started":"2026-01-02T03:04:05.03Z","cached":true,"completed":"2026-01-02T03:04:05.03Z"}]}
    {"vertexes":[{"digest":"sha256:be740db7b5e4380596d1ff861cb1dff2374cbdc8150983b1308848587b754a2e","name":"[a 2/2] RUN make"}]}
    {"vertexes":[{"digest":"sha256:be740db7b5e4380596d1ff861cb1dff2374cbdc8150983b1308848587b754a2e","name":"[a 2/2] RUN make","started":"2026-01-02T03:04:05.04Z"}]}
    {"vertexes":[{"digest":"sha256:5489419bf52b7a2435a6902f1776371c9020f6f9c5561fa1f0714837a2c3b630","name":"[b 1/1] RUN \u001b[2Jfalse"}]}
    {"vertexes":[{"digest":"sha256:5489419bf52b7a2435a6902f1776371c9020f6f9c5561fa1f0714837a2c3b630","name":"[b 1/1] RUN \u001b[2Jfalse","started":"2026-01-02T03:04:05.05Z"}]}
    {"logs":[{"vertex":"sha256:be740db7b5e4380596d1ff861cb1dff2374cbdc8150983b1308848587b754a2e","stream":1,"data":"Y2MgLWMgbWE=","timestamp":"2026-01-02T03:04:05.163Z"}]}
    {"logs":[{"vertex":"sha256:5489419bf52b7a2435a6902f1776371c9020f6f9c5561fa1f0714837a2c3b630","stream":2,"data":"MTAlDTIwJQ0bWzMxbW5vG1swbSB3YXkHCg==","timestamp":"2026-01-02T03:04:05.17Z"}]}
    {"logs":[{"vertex":"sha256:be740db7b5e4380596d1ff861cb1dff2374cbdc8150983b1308848587b754a2e","stream":1,"data":"aW4uYwo=","timestamp":"2026-01-02T03:04:05.175Z"}]}
    {"vertexes":[{"digest":"sha256:5489419bf52b7a2435a6902f1776371c9020f6f9c5561fa1f0714837a2c3b630","name":"[b 1/1] RUN \u001b[2Jfalse","started":"2026-01-02T03:04:05.05Z","error":"process \"/bin/sh -c false\" did not complete successfully: exit code: 1","completed":"2026-01-02T03:04:05.275Z"}]}
    {"vertexes":[{"digest":"sha256:be740db7b5e4380596d1ff861cb1dff2374cbdc8150983b1308848587b754a2e","name":"[a 2/2] RUN make","started":"2026-01-02T03:04:05.04Z","error":"context canceled","completed":"2026-01-02T03:04:05.28Z"}]}
    {"warnings":[{"level":1,"short":"U3RhZ2VOYW1lQ2FzaW5nOiBTdGFnZSBuYW1lICdBJyBzaG91bGQgYmUgbG93ZXJjYXNl","detail":["U3RhZ2UgbmFtZXMgc2hvdWxkIGJlIGxvd2VyY2FzZQ=="],"url":"","sourceInfo":{"filename":"Dockerfile"},"range":[{"start":{"line":1},"end":{"line":1}}]}]}
    "#);
}

#[test]
fn a_picture_of_the_end() {
    let (now, clock) = clock();
    let mut out = Vec::new();
    let mut progress = Tty::new(&mut out, clock, || (60, 10), false);
    two_stages(&now, &mut progress);
    progress.finish();
    let text = String::from_utf8(out).unwrap();
    let last = text.rsplit("\x1b[0J").next().unwrap();
    insta::assert_snapshot!(last, @r#"
    [+] Building 0.3s (4/4) FINISHED
     => [internal] load build definition from Dockerfile   0.0s
     => => transferring dockerfile: 98B                    0.0s
     => CACHED [a 1/2] FROM docker.io/library/busybox      0.0s
     => CANCELED [a 2/2] RUN make                          0.2s
     => ERROR [b 1/1] RUN [2Jfalse                         0.2s
    ------
     > [b 1/1] RUN [2Jfalse:
    no way
    ------

     1 warning found (use --check to expand):
     - StageNameCasing: Stage name 'A' should be lowercase (line 1)
    "#);
}

/// What a program prints never gets to the terminal as more than text, and no line is wider.
#[test]
fn a_picture_has_no_control_characters() {
    let (now, clock) = clock();
    let mut out = Vec::new();
    let mut progress = Tty::new(&mut out, clock, || (40, 8), false);
    two_stages(&now, &mut progress);
    for number in 0..100_u64 {
        now.set(1000 + number * 100);
        let bytes = format!(
            "\x1b]0;title\x07\x1b[5A {number} \u{9b}2J wide 漢字漢字漢字漢字漢字漢字漢字漢字\n"
        );
        progress.event(Event::Vertex {
            id: 100,
            name: "RUN \u{1b}[5A\u{202e}",
        });
        progress.event(Event::Started { id: 100 });
        progress.event(Event::Output {
            id: 100,
            stream: 1,
            bytes: bytes.as_bytes(),
        });
    }
    progress.finish();
    for (index, picture) in String::from_utf8(out).unwrap().split("\x1b[0J").enumerate() {
        let picture = picture
            .rsplit_once("\x1b[")
            .map_or(picture, |(picture, _)| picture);
        assert!(
            !picture.contains(|c: char| c.is_control() && c != '\n'),
            "{picture:?}"
        );
        let lines: Vec<&str> = picture.lines().collect();
        assert!(lines.len() <= 8 || index >= 100, "{picture}");
    }
}

#[test]
fn lines_of_any_bytes() {
    let mut lines = Lines::default();
    assert_eq!(lines.push(b"a\n\nb\xff"), ["a", ""]);
    assert_eq!(lines.push(b"c\r\n"), ["b\u{fffd}c"]);
    assert_eq!(lines.push(&vec![b'x'; 40 << 10]).len(), 1);
    assert_eq!(lines.rest(), None);
}

proptest::proptest! {
    #[test]
    fn no_output_steers(bytes: Vec<u8>) {
        let mut lines = Lines::default();
        let mut all = lines.push(&bytes);
        all.extend(lines.rest());
        for line in all {
            assert!(!line.contains(char::is_control));
        }
    }
}
