//! Lines, words and instructions, one at a time; whole files are in `tests/data/dockerfiles`.

use super::{
    instruction::{CommandLine, Copied},
    run_flags::{MountKind, Sharing},
    *,
};

fn parsed(text: &str) -> Dockerfile {
    stages::parse(text).unwrap_or_else(|complaint| panic!("{text:?}: {complaint:?}"))
}

fn steps(text: &str) -> Vec<Instruction> {
    let file = parsed(&format!("FROM scratch\n{text}"));
    let steps = file.stages.into_iter().flat_map(|stage| stage.steps);
    steps.map(|step| step.instruction).collect()
}

fn complaint(text: &str) -> (String, Option<u32>) {
    let complaint = stages::parse(text).unwrap_err();
    let first = complaint.lines.as_ref().map(|lines| *lines.start());
    (complaint.message, first)
}

fn as_it_is(value: &str) -> Result<String> {
    Ok(value.to_owned())
}

fn shell(line: &str) -> CommandLine {
    CommandLine::Shell(line.to_owned())
}

#[test]
fn lines_are_continued_and_comments_vanish() {
    let [Instruction::Run(run)] =
        &steps("# about it\nRUN a \\\n  # not this\n\n  b \\  \n c\n")[..]
    else {
        panic!()
    };
    assert_eq!(run.command, shell("a   b  c"));
    let [Instruction::Run(run)] = &steps("RUN a\\\\\n")[..] else {
        panic!()
    };
    assert_eq!(run.command, shell("a\\\\"));
    let file = parsed("# escape=`\nFROM a AS b\nRUN c:\\ `\n d");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.stages[0].steps[0].node.lines, 3..=4);
    assert_eq!(file.stages[0].from.name.as_deref(), Some("b"));
}

#[test]
fn directives_come_first() {
    let file =
        parsed("# syntax = docker/dockerfile:1\n# check=skip=all\n# other=x\n# escape=`\nFROM a");
    assert_eq!(
        file.directives.syntax.as_deref(),
        Some("docker/dockerfile:1")
    );
    assert_eq!(file.directives.check.as_deref(), Some("skip=all"));
    assert_eq!(file.directives.escape, '\\', "an unknown one ends them");
    let file = parsed("# a comment\n# escape=`\nFROM a");
    assert_eq!(file.directives.escape, '\\');
    assert_eq!(complaint("# escape=x\nFROM a").1, Some(1));
    assert_eq!(complaint("#escape=`\n#escape=`\nFROM a").1, Some(2));
}

#[test]
fn documents_belong_to_their_instruction() {
    let text =
        "COPY <<a.txt <<-'b.txt' /to/\nA $x\na.txt\n\tB $x\n\tb.txt\nRUN 3<<X cat <&3\nx\nX\n";
    let [Instruction::Copy(copy), Instruction::Run(run)] = &steps(text)[..] else {
        panic!()
    };
    let [Copied::Heredoc(a), Copied::Heredoc(b)] = &copy.sources[..] else {
        panic!("{copy:?}")
    };
    assert_eq!(
        (a.name.as_str(), a.content.as_str(), a.expand),
        ("a.txt", "A $x\n", true)
    );
    assert_eq!(
        (b.name.as_str(), b.content.as_str(), b.expand),
        ("b.txt", "B $x\n", false)
    );
    assert_eq!(copy.destination, "/to/");
    assert_eq!(run.heredocs[0].descriptor, Some(3));
    let (message, line) = complaint("FROM a\nRUN <<END\nx\n");
    assert_eq!(
        (message.as_str(), line),
        ("unterminated heredoc END", Some(2))
    );
    let (message, _) = complaint("FROM a\nCOPY x <<E\nE\n");
    assert_eq!(message, "COPY cannot accept a heredoc as a destination");
}

#[test]
fn words_are_expanded() {
    let values = |name: &str| match name {
        "a" => Some("one"),
        "empty" => Some(""),
        "path" => Some("/usr/lib/x.tar.gz"),
        "two" => Some("x  y"),
        _ => None,
    };
    for (word, expected) in [
        ("$a", "one"),
        ("${a}b", "oneb"),
        ("$ab", ""),
        ("'$a'", "$a"),
        ("\"$a b\"", "one b"),
        (r"\$a", "$a"),
        (r#""\$a\x""#, r"$a\x"),
        (r"a\bc", "abc"),
        ("${u:-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${a:+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${u-${a}x}", "onex"),
        ("${a:?no}", "one"),
        ("${path#*/}", "usr/lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "/usr/lib/x.tar"),
        ("${path%%.*}", "/usr/lib/x"),
        ("${path/lib/bin}", "/usr/bin/x.tar.gz"),
        ("${path//\\//_}", "_usr_lib_x.tar.gz"),
        ("${a#x}", "one"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$1x", "x"),
        ("", ""),
    ] {
        let got = words::expand(word, '\\', &values).map(|word| word.text);
        assert_eq!(got.as_deref(), Ok(expected), "{word}");
    }
    for (word, expected) in [
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${a", "syntax error: missing '}'"),
        ("${a:-b", "syntax error: missing '}'"),
        ("${a:#b}", "unsupported modifier (:#) in substitution"),
        ("${a!b}", "unsupported modifier (!) in substitution"),
        ("${u?}", "u: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${u:?say so}", "u: say so"),
        (
            "'a",
            "unexpected end of statement while looking for matching single-quote",
        ),
    ] {
        let got = words::expand(word, '\\', &values).unwrap_err();
        assert_eq!(got.message, expected, "{word}");
    }
    let split = words::expand(r#"$two "$two" a\ b"#, '\\', &values).unwrap();
    assert_eq!(split.words, ["x", "y", "x  y", "a b"]);
    let unset = words::expand("$a$u${v}${w:-x}", '\\', &values)
        .unwrap()
        .unset;
    assert_eq!(unset.into_iter().collect::<Vec<_>>(), ["u", "v"]);
    assert_eq!(
        words::expand("c:\\$a`$", '`', &values).unwrap().text,
        "c:\\one$"
    );
}

#[test]
fn pairs_have_two_forms() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let text = "ENV a=1 b=\"x y\" c=a\\ b\nENV old  is so\nLABEL \"a b\"=c\nARG x y=z";
    let [new, old, label, arg] = &steps(text)[..] else {
        panic!()
    };
    let expected = vec![pair("a", "1"), pair("b", "\"x y\""), pair("c", "a\\ b")];
    assert_eq!(*new, Instruction::Env(expected));
    assert_eq!(*old, Instruction::Env(vec![pair("old", "is so")]));
    assert_eq!(*label, Instruction::Label(vec![pair("\"a b\"", "c")]));
    let Instruction::Arg(arguments) = arg else {
        panic!()
    };
    assert_eq!(arguments[1].default.as_deref(), Some("z"));
}

#[test]
fn mounts_of_run() {
    let text = "type=cache,id=x,target=/c,sharing=locked,mode=0700,uid=5,ro";
    let mount = run_flags::mount(text, &mut as_it_is).unwrap();
    assert_eq!(
        (mount.kind, mount.sharing),
        (MountKind::Cache, Some(Sharing::Locked))
    );
    assert_eq!(
        (mount.mode, mount.uid, mount.writable),
        (Some(0o700), Some(5), Some(false))
    );
    let mount = run_flags::mount("target=/x,from=base,rw", &mut as_it_is).unwrap();
    assert_eq!((mount.kind, mount.writable), (MountKind::Bind, Some(true)));
    assert_eq!(
        run_flags::mount("type=tmpfs,dst=/t,size=1k", &mut as_it_is)
            .unwrap()
            .size,
        Some(1024)
    );
    assert!(
        run_flags::mount("type=secret,id=s,required,env=TOKEN", &mut as_it_is)
            .unwrap()
            .required
    );
    for (text, expected) in [
        ("type=wrong,target=/x", "unsupported mount type \"wrong\""),
        (
            "type=bind,target=/x,size=1",
            "unexpected key 'size' for mount type 'bind'",
        ),
        (
            "type=cache,target=/x,sharing=some",
            "unsupported sharing value \"some\"",
        ),
        ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
        ("target", "invalid field 'target' must be a key=value pair"),
    ] {
        assert_eq!(
            run_flags::mount(text, &mut as_it_is).unwrap_err().message,
            expected,
            "{text}"
        );
    }
}

const WRONG: &[(&str, &str, Option<u32>)] = &[
    ("", "file with no instructions", None),
    ("# only\n", "file with no instructions", None),
    (
        "RUN x",
        "no build stage in current context: FROM comes first",
        Some(1),
    ),
    ("ARG x", "no build stage: there is no FROM", None),
    (
        "FROM",
        "FROM requires either one or three arguments",
        Some(1),
    ),
    (
        "FROM a b",
        "FROM requires either one or three arguments",
        Some(1),
    ),
    ("FROM a\n\nRUNN x", "unknown instruction: RUNN", Some(3)),
    ("FROM a\nCOPY --form=b x y", "unknown flag: form", Some(2)),
    (
        "FROM a\nCOPY x",
        "COPY requires at least two arguments",
        Some(2),
    ),
    (
        "FROM a\nCOPY --link=maybe x y",
        "expecting boolean value for flag link, not: maybe",
        Some(2),
    ),
    (
        "FROM a\nCOPY --from=a --from=b x y",
        "duplicate flag specified: from",
        Some(2),
    ),
    (
        "FROM a\nCOPY --from x y",
        "missing a value on flag: from",
        Some(2),
    ),
    ("FROM a\nWORKDIR --x /a", "WORKDIR takes no flags", Some(2)),
    ("FROM a\nENV a", "ENV must have two arguments", Some(2)),
    (
        "FROM a\nENV a=b c",
        "can't find = in \"c\": it must be of the form name=value",
        Some(2),
    ),
    ("FROM a\nENV =b", "ENV names can not be blank", Some(2)),
    (
        "FROM a\nSHELL /bin/sh",
        "SHELL requires the arguments to be in JSON form",
        Some(2),
    ),
    (
        "FROM a\nCMD [\"a\", 1]",
        "when using JSON array syntax, arrays must be comprised of strings only",
        Some(2),
    ),
    (
        "FROM a\nONBUILD ONBUILD RUN x",
        "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        Some(2),
    ),
    (
        "FROM a\nONBUILD FROM x",
        "FROM isn't allowed as an ONBUILD trigger",
        Some(2),
    ),
    (
        "FROM a\nHEALTHCHECK",
        "HEALTHCHECK requires at least one argument",
        Some(2),
    ),
    (
        "FROM a\nHEALTHCHECK X y",
        "unknown type \"X\" in HEALTHCHECK (try CMD)",
        Some(2),
    ),
    (
        "FROM a\nHEALTHCHECK CMD",
        "missing command after HEALTHCHECK CMD",
        Some(2),
    ),
    (
        "FROM a\nRUN --mount=type=x y",
        "unsupported mount type \"x\"",
        Some(2),
    ),
    (
        "FROM a\nRUN --network=wifi y",
        "invalid network mode: wifi",
        Some(2),
    ),
    (
        "FROM a\nVOLUME [\"\"]",
        "VOLUME specified can not be an empty string",
        Some(2),
    ),
    (
        "FROM a AS 1st",
        "invalid name for build stage: \"1st\", name can't start with a number or contain symbols",
        Some(1),
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, message, line) in WRONG {
        assert_eq!(complaint(text), ((*message).to_owned(), *line), "{text:?}");
    }
}

#[test]
fn the_place_is_shown() {
    let text = "FROM a\nRUN x\n\tCPOY a b\nRUN y\n";
    let error = stages::parse(text)
        .unwrap_err()
        .into_error("Dockerfile", text);
    let expected = "Dockerfile:3: unknown instruction: CPOY
--------------------
   1 |     FROM a
   2 |     RUN x
   3 | >>> \tCPOY a b
     |     \t^^^^
   4 |     RUN y
--------------------";
    assert_eq!(error.message(), expected);
    assert_eq!(error.hint(), Some("did you mean COPY?"));
}

mod properties {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(?s).{0,300}") {
            let _ = super::stages::parse(&text);
        }

        #[test]
        fn nor_pieces_of_the_language(pieces in proptest::collection::vec(
            prop_oneof![
                Just("FROM a\n"), Just("RUN "), Just("COPY "), Just("--mount="), Just("type=cache,"),
                Just("<<E"), Just("\nE\n"), Just("\\\n"), Just("$"), Just("${a"), Just("}"), Just("'"),
                Just("\""), Just("ONBUILD "), Just("[\"x\"]"), Just("ENV a=b "), Just("# escape=`\n"),
                Just("--"), Just(" "), Just("é"), Just("ARG "), Just("HEALTHCHECK CMD "),
            ], 0..30))
        {
            let text = pieces.concat();
            let _ = super::stages::parse(&text);
            let _ = super::words::expand(&text, '\\', &|_: &str| Some("x"));
        }
    }
}
