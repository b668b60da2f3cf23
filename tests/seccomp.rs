//! The default seccomp filter does what its table says.
//!
//! A simulator of classic BPF runs the program for every call number and many arguments. The
//! other side is a model that reads the profile rule by rule, knows nothing of trees and jumps,
//! and shares nothing with the compiler but the format's types and the numbers of the calls.

use std::collections::BTreeSet;

use coracle::{
    model::{
        capability,
        seccomp::{
            DEFAULT_PROFILE, NESTING, SockFilter, WIDE,
            compile::{Architecture, MAX_INSTRUCTIONS, Target, compile},
            default_filter,
            profile::{Action, Argument, Operator, Profile, Rule},
        },
    },
    net::confine::Who,
};
use proptest::prelude::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const EINVAL: u32 = 0x0005_0016;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

const X86: &[Architecture] = &[Architecture::X86_64, Architecture::X86];
const ARM: &[Architecture] = &[Architecture::Aarch64, Architecture::Arm];

/// `struct seccomp_data` of linux/seccomp.h, without the instruction pointer.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                (argument >> (offset % 8 * 8)) as u32
            }
            _ => panic!("a load from {offset}"),
        }
    }
}

/// Runs a program as bpf(4) of the BSDs and the kernel's networking/filter.rst define it.
fn run(program: &[SockFilter], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let SockFilter { code, jt, jf, k } = program[at];
        at += 1;
        let mut jump_if = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => jump_if(accumulator == k),
            0x25 => jump_if(accumulator > k),
            0x35 => jump_if(accumulator >= k),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

fn holds(test: &Argument, call: &Call) -> bool {
    let argument = call.arguments[usize::from(test.index)];
    match test.op {
        Operator::NotEqual => argument != test.value,
        Operator::Less => argument < test.value,
        Operator::LessOrEqual => argument <= test.value,
        Operator::Equal => argument == test.value,
        Operator::GreaterOrEqual => argument >= test.value,
        Operator::Greater => argument > test.value,
        Operator::MaskedEqual => argument & test.value == test.value_two & test.value,
    }
}

fn go_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::X86 => "x86",
        Architecture::Aarch64 => "arm64",
        Architecture::Arm => "arm",
    }
}

/// Whether a profile names the second architecture of a machine.
fn names_architecture(profile: &Profile, architecture: Architecture) -> bool {
    let (name, machine) = match architecture {
        Architecture::X86 => ("SCMP_ARCH_X86", "SCMP_ARCH_X86_64"),
        Architecture::Arm => ("SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"),
        _ => return true,
    };
    let entries = profile.arch_map.iter().flatten();
    entries.into_iter().any(|entry| {
        let below = entry.sub_architectures.iter().any(|other| other == name);
        entry.architecture == name || entry.architecture == machine && below
    }) || profile
        .architectures
        .iter()
        .flatten()
        .any(|other| other == name)
}

fn kernel_is_at_least(target: &Target, version: Option<&String>) -> Option<bool> {
    let (major, minor) = version?.split_once('.').unwrap();
    Some(target.kernel >= (major.parse().unwrap(), minor.parse().unwrap()))
}

/// The profile as it reads for one target, call numbers in place of names.
struct Table<'a> {
    profile: &'a Profile,
    target: &'a Target,
    architectures: Vec<(Architecture, Vec<BTreeSet<u32>>)>,
}

impl<'a> Table<'a> {
    fn new(profile: &'a Profile, target: &'a Target) -> Self {
        let numbers = |architecture: Architecture| {
            let of_rule = |rule: &Rule| {
                let names = rule.names.iter();
                names.filter_map(|name| architecture.number(name)).collect()
            };
            (architecture, profile.syscalls.iter().map(of_rule).collect())
        };
        let known = target.architectures.iter().copied();
        let native = target.architectures.first().copied();
        let allowed = |architecture: &Architecture| {
            Some(*architecture) == native || names_architecture(profile, *architecture)
        };
        Table {
            profile,
            target,
            architectures: known.filter(allowed).map(numbers).collect(),
        }
    }

    /// The first rule that names the call and fits.
    fn verdict(&self, call: &Call) -> u32 {
        let is_caller = |known: &&(Architecture, _)| known.0.audit_number() == call.architecture;
        let Some((architecture, numbers)) = self.architectures.iter().find(is_caller) else {
            return KILL_PROCESS;
        };
        if *architecture == Architecture::X86_64 && call.number & 0x4000_0000 != 0 {
            return ENOSYS;
        }
        for (rule, numbers) in self.profile.syscalls.iter().zip(numbers) {
            let has = |cap: &String| self.target.capabilities.contains(cap);
            let arches = &rule.includes.arches;
            if numbers.contains(&call.number)
                && rule.includes.caps.iter().all(has)
                && !rule.excludes.caps.iter().any(has)
                && (arches.is_empty() || arches.iter().any(|name| name == go_name(*architecture)))
                && !rule
                    .excludes
                    .arches
                    .iter()
                    .any(|name| name == go_name(*architecture))
                && kernel_is_at_least(self.target, rule.includes.min_kernel.as_ref()) != Some(false)
                && kernel_is_at_least(self.target, rule.excludes.min_kernel.as_ref()) != Some(true)
                && rule.args.iter().flatten().all(|test| holds(test, call))
            {
                return rule.action.verdict(rule.errno_ret);
            }
        }
        let all = numbers.iter().flatten().copied();
        let newest = all.filter(|number| *number < 0xf_0000).max().unwrap_or(0);
        if call.number > newest && self.profile.default_action == Action::Errno {
            return ENOSYS;
        }
        self.profile
            .default_action
            .verdict(self.profile.default_errno_ret)
    }

    fn agrees(&self, program: &[SockFilter], number: u32, architecture: u32, arguments: [u64; 6]) {
        let call = Call {
            number,
            architecture,
            arguments,
        };
        let capabilities = &self.target.capabilities;
        assert_eq!(
            run(program, &call),
            self.verdict(&call),
            "{call:x?} {capabilities:?}"
        );
    }
}

fn default_profile() -> Profile {
    serde_json::from_str(DEFAULT_PROFILE).unwrap()
}

fn target(capabilities: u64, architectures: &'static [Architecture]) -> Target {
    Target {
        capabilities: capability::names(capabilities),
        kernel: (5, 12),
        architectures,
    }
}

fn program(profile: &Profile, target: &Target) -> Vec<SockFilter> {
    let instructions = compile(profile, target).unwrap();
    let filter = |(code, jt, jf, k)| SockFilter { code, jt, jf, k };
    instructions.into_iter().map(filter).collect()
}

/// Every number up to well above the newest, x32's, arm's private ones, and the edges.
fn numbers() -> impl Iterator<Item = u32> {
    (0..1200)
        .chain(0x4000_0000..0x4000_0400)
        .chain(0x000e_fffe..0x000f_0010)
        .chain([0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX])
}

/// Arguments near all that the profile compares with, in either half.
fn telling_arguments(profile: &Profile) -> Vec<u64> {
    let mut values = vec![0, 1, u64::MAX, 1 << 32, 1 << 63];
    for test in profile
        .syscalls
        .iter()
        .filter_map(|rule| rule.args.as_ref())
        .flatten()
    {
        for value in [test.value, test.value_two] {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1)]);
            values.extend([value | 1 << 32, value << 32, value | 1 << 63]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn every_number_gets_what_the_table_says() {
    let profile = default_profile();
    let values = telling_arguments(&profile);
    for architectures in [X86, ARM] {
        for capabilities in [capability::DEFAULT, 0, capability::ALL] {
            let target = target(capabilities, architectures);
            let program = program(&profile, &target);
            let table = Table::new(&profile, &target);
            for architecture in architectures.iter().map(|known| known.audit_number()) {
                for number in numbers() {
                    table.agrees(&program, number, architecture, [0; 6]);
                }
            }
            for &known in architectures {
                for name in ["socket", "clone", "personality", "ioctl"] {
                    let number = known.number(name).unwrap();
                    for pair in pairs(&values) {
                        let arguments = [pair.0, pair.1, pair.1, 0, 0, 0];
                        table.agrees(&program, number, known.audit_number(), arguments);
                    }
                }
            }
        }
    }
}

fn pairs(values: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    values
        .iter()
        .flat_map(|&first| values.iter().map(move |&second| (first, second)))
}

#[test]
fn the_built_in_program_is_the_profile_for_the_default_capabilities() {
    let architectures = Architecture::of_machine(std::env::consts::ARCH);
    let target = target(capability::DEFAULT, architectures);
    assert_eq!(default_filter(), program(&default_profile(), &target));
}

#[test]
fn every_name_is_a_call_of_some_architecture() {
    for rule in default_profile().syscalls {
        for name in &rule.names {
            let known = X86
                .iter()
                .chain(ARM)
                .any(|architecture| architecture.number(name).is_some());
            assert!(known, "{name}");
        }
    }
}

#[test]
fn few_calls_are_reachable_and_the_program_is_short() {
    let profile = default_profile();
    let target = target(capability::DEFAULT, X86);
    let program = program(&profile, &target);
    // A call is reachable if any arguments get it through.
    let values = telling_arguments(&profile);
    let architecture = Architecture::X86_64.audit_number();
    let reachable = numbers().filter(|&number| {
        values.iter().any(|&first| {
            values.iter().take(64).any(|&second| {
                let arguments = [first, second, 0, 0, 0, 0];
                run(
                    &program,
                    &Call {
                        number,
                        architecture,
                        arguments,
                    },
                ) == ALLOW
            })
        })
    });
    let reachable = reachable.count();
    assert!(reachable <= 265, "{reachable} calls");
    assert!(program.len() <= 550, "{} instructions", program.len());
}

#[test]
fn known_attacks_are_refused() {
    let program = program(&default_profile(), &target(capability::DEFAULT, X86));
    for (architecture, name, arguments, verdict) in [
        // CVE-2026-31431 and its like.
        (Architecture::X86_64, "socket", [38, 5, 0], EPERM),
        (Architecture::X86, "socket", [38, 5, 0], EPERM),
        (Architecture::X86, "socketcall", [1, 0, 0], EPERM),
        (Architecture::X86_64, "socket", [40, 1, 0], EPERM),
        (Architecture::X86_64, "socket", [1 << 32 | 38, 5, 0], EPERM),
        (Architecture::X86_64, "socket", [17, 3, 0], EPERM),
        (Architecture::X86_64, "socket", [16, 3, 9], EINVAL),
        (Architecture::X86_64, "socket", [16, 3, 21], EPERM),
        (Architecture::X86_64, "socket", [16, 3, 0], ALLOW),
        (Architecture::X86_64, "socket", [10, 1, 6], ALLOW),
        // CVE-2017-5226, CVE-2019-10063.
        (Architecture::X86_64, "ioctl", [0, 0x5412, 0], EPERM),
        (
            Architecture::X86_64,
            "ioctl",
            [0, 1 << 32 | 0x5412, 0],
            EPERM,
        ),
        (Architecture::X86_64, "ioctl", [0, 0x541c, 0], EPERM),
        (Architecture::X86_64, "ioctl", [0, 0x5413, 0], ALLOW),
        // CVE-2022-0492: a new user namespace.
        (Architecture::X86_64, "clone", [0x1000_0011, 0, 0], EPERM),
        (Architecture::X86_64, "clone", [0x11, 0, 0], ALLOW),
        (Architecture::X86_64, "clone3", [0, 0, 0], ENOSYS),
        (Architecture::X86_64, "unshare", [0x1000_0000, 0, 0], EPERM),
        (Architecture::X86_64, "mount", [0, 0, 0], EPERM),
        (Architecture::X86_64, "keyctl", [0, 0, 0], EPERM),
        (Architecture::X86_64, "io_uring_setup", [0, 0, 0], EPERM),
        (Architecture::X86_64, "userfaultfd", [0, 0, 0], EPERM),
        (Architecture::X86_64, "bpf", [0, 0, 0], EPERM),
        (
            Architecture::X86_64,
            "personality",
            [0xffff_ffff, 0, 0],
            ALLOW,
        ),
        (
            Architecture::X86_64,
            "personality",
            [0x0040_0000, 0, 0],
            EPERM,
        ),
    ] {
        let [first, second, third] = arguments;
        let call = Call {
            number: architecture.number(name).unwrap(),
            architecture: architecture.audit_number(),
            arguments: [first, second, third, 0, 0, 0],
        };
        assert_eq!(run(&program, &call), verdict, "{name} {arguments:x?}");
    }
    let foreign = Call {
        number: 0,
        architecture: 8,
        arguments: [0; 6],
    };
    assert_eq!(run(&program, &foreign), KILL_PROCESS);
}

#[test]
fn unknown_fields_and_absurd_values_are_refused() {
    for text in [
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listener":"/x"}"#,
        r#"{"defaultAction":"SCMP_ACT_DANCE"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","if":"x"}]}"#,
    ] {
        assert!(serde_json::from_str::<Profile>(text).is_err(), "{text}");
    }
    for text in [
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
            "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
            "includes":{"minKernel":"new"}}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
        r#"{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/x"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x","syscalls":[{"names":["sendmsg"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"x","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_FAST"]}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EDANCE"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","names":["write"],"action":"SCMP_ACT_ERRNO"}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
    ] {
        let profile = serde_json::from_str(text).unwrap();
        assert!(compile(&profile, &target(0, X86)).is_err(), "{text}");
    }
}

/// What Docker's and Podman's own files have, and what the OCI specification has beyond them.
#[test]
fn every_field_of_the_format_is_understood() {
    let text = r#"{"comment":null,"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS","architectures":null,
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},
                   {"architecture":"SCMP_ARCH_S390X","subArchitectures":null}],
        "flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_TSYNC"],
        "listenerPath":"/run/agent","listenerMetadata":"text",
        "syscalls":[{"name":"read","names":null,"action":"SCMP_ACT_ALLOW","args":null,"includes":null,"excludes":{}},
                    {"names":["write"],"action":"SCMP_ACT_TRACE","errnoRet":7},
                    {"names":["open"],"action":"SCMP_ACT_NOTIFY"},
                    {"names":["close"],"action":"SCMP_ACT_TRAP"},
                    {"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errno":"EACCES"},
                    {"names":["rmdir"],"action":"SCMP_ACT_KILL"}]}"#;
    let profile: Profile = serde_json::from_str(text).unwrap();
    profile.check().unwrap();
    assert_eq!(profile.filter_flags(), Ok(6));
    let program = program(&profile, &target(0, X86));
    for (name, verdict) in [
        ("read", ALLOW),
        ("write", 0x7ff0_0007),
        ("open", 0x7fc0_0000),
        ("close", 0x0003_0000),
        ("mkdir", 0x0005_000d),
        ("rmdir", 0),
        ("uname", ENOSYS),
    ] {
        for architecture in X86 {
            let call = Call {
                number: architecture.number(name).unwrap(),
                architecture: architecture.audit_number(),
                arguments: [0; 6],
            };
            assert_eq!(run(&program, &call), verdict, "{name}");
        }
    }
}

/// A profile that names one architecture says nothing about calls of others.
#[test]
fn other_architectures_run_only_if_they_are_named() {
    let i386 = Call {
        number: 3,
        architecture: Architecture::X86.audit_number(),
        arguments: [0; 6],
    };
    for (lists, verdict) in [
        ("", KILL_PROCESS),
        (r#","architectures":["SCMP_ARCH_X86_64"]"#, KILL_PROCESS),
        (r#","architectures":["SCMP_ARCH_X86"]"#, ALLOW),
        (
            r#","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]"#,
            ALLOW,
        ),
        (
            r#","archMap":[{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_X86"]}]"#,
            KILL_PROCESS,
        ),
    ] {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{lists}}}"#);
        let profile: Profile = serde_json::from_str(&text).unwrap();
        let program = program(&profile, &target(0, X86));
        assert_eq!(run(&program, &i386), verdict, "{text}");
    }
}

/// With the names that `--security-opt seccomp=nesting` and `wide` put first.
#[test]
fn extensions_of_the_default_profile_open_what_they_name() {
    let base = program(&default_profile(), &target(capability::DEFAULT, X86));
    for names in [NESTING, WIDE] {
        let mut profile = default_profile();
        profile.allow_first(names);
        let target = target(capability::DEFAULT, X86);
        let wider = program(&profile, &target);
        assert!(wider.len() <= 700, "{} instructions", wider.len());
        for number in 0..480 {
            let call = Call {
                number,
                architecture: Architecture::X86_64.audit_number(),
                arguments: [0; 6],
            };
            let named = names
                .iter()
                .any(|name| Architecture::X86_64.number(name) == Some(number));
            let expected = if named { ALLOW } else { run(&base, &call) };
            assert_eq!(run(&wider, &call), expected, "{number}");
        }
        for name in names {
            let known = X86.iter().any(|known| known.number(name).is_some());
            assert!(known, "{name}");
        }
    }
}

/// What the kernel walks through when a container starts, whatever capabilities it has.
#[test]
fn no_set_of_capabilities_makes_the_default_program_long() {
    for capabilities in (0..41).map(|number| capability::DEFAULT ^ 1 << number) {
        for architectures in [X86, ARM] {
            let program = program(&default_profile(), &target(capabilities, architectures));
            assert!(program.len() <= 700, "{} instructions", program.len());
        }
    }
}

/// A profile with rules about a few calls, in JSON as a user would give it.
fn any_profile() -> impl Strategy<Value = String> {
    let names = prop::sample::subsequence(
        vec![
            "read",
            "write",
            "open",
            "close",
            "socket",
            "clone",
            "mq_open",
            "fchmodat2",
            "uname",
            "dup",
        ],
        1..5,
    );
    let operator = prop::sample::select(vec!["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
    let value = prop_oneof![0..4_u64, any::<u64>(), Just(0xffff_ffff), Just(1 << 32)];
    let argument = (0..6_u8, value.clone(), value, operator).prop_map(|(index, value, two, op)| {
        format!(r#"{{"index":{index},"value":{value},"valueTwo":{two},"op":"SCMP_CMP_{op}"}}"#)
    });
    let arguments = prop::collection::vec(argument, 0..4);
    let action = prop::sample::select(vec![
        "ALLOW",
        "ERRNO",
        "LOG",
        "KILL_PROCESS",
        "TRACE",
        "TRAP",
        "KILL",
    ]);
    let rule = (
        names,
        action.clone(),
        arguments,
        1..100_u16,
        any_conditions(),
        any_conditions(),
    );
    let rule = rule.prop_map(|(names, action, arguments, errno, includes, excludes)| {
        let arguments = arguments.join(",");
        format!(r#"{{"names":{names:?},"action":"SCMP_ACT_{action}","errnoRet":{errno},"args":[{arguments}],
            "includes":{includes},"excludes":{excludes}}}"#)
    });
    let architectures = prop::sample::select(vec![
        "",
        r#""architectures":["SCMP_ARCH_X86_64"],"#,
        r#""architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"#,
        r#""archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"#,
    ]);
    let rules = prop::collection::vec(rule, 0..40);
    (action, architectures, rules).prop_map(|(action, architectures, rules)| {
        let rules = rules.join(",");
        format!(r#"{{"defaultAction":"SCMP_ACT_{action}",{architectures}"syscalls":[{rules}]}}"#)
    })
}

/// Mostly none: every condition turns a rule off half of the time.
fn any_conditions() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{}",
        "{}",
        "{}",
        "null",
        r#"{"caps":["CAP_SYS_ADMIN"]}"#,
        r#"{"caps":["CAP_SYS_ADMIN","CAP_BPF"],"arches":["amd64"]}"#,
        r#"{"arches":["x86","x32"]}"#,
        r#"{"minKernel":"5.12"}"#,
        r#"{"minKernel":"6.1"}"#,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Long chains of argument tests make jumps that BPF's eight bits cannot express.
    #[test]
    fn any_profile_is_compiled_faithfully(
        text in any_profile(),
        arguments in prop::array::uniform6(prop_oneof![0..4_u64, any::<u64>(), 0..1_u64 << 33]),
        capabilities in any::<u64>(),
    ) {
        let profile: Profile = serde_json::from_str(&text).unwrap();
        let target = target(capabilities, X86);
        let program = program(&profile, &target);
        let table = Table::new(&profile, &target);
        prop_assert!(program.len() <= MAX_INSTRUCTIONS);
        for architecture in X86.iter().map(|known| known.audit_number()) {
            for number in 0..480 {
                table.agrees(&program, number, architecture, arguments);
            }
        }
    }

    #[test]
    fn any_call_gets_what_the_table_says(
        number in 0..480_u32,
        architecture in prop::sample::select(vec![0xc000_003e_u32, 0x4000_0003]),
        arguments in prop::array::uniform6(any::<u64>()),
    ) {
        let target = target(capability::DEFAULT, X86);
        let profile = default_profile();
        let program = program(&profile, &target);
        Table::new(&profile, &target).agrees(&program, number, architecture, arguments);
    }
}

/// What the network process's filters say to a call of this machine.
fn confined(who: Who, name: &str, arguments: [u64; 3]) -> bool {
    let architecture = Architecture::of_machine(std::env::consts::ARCH)[0];
    let filter: Vec<SockFilter> = who
        .filter()
        .iter()
        .map(|instruction| SockFilter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.operand,
        })
        .collect();
    let [first, second, third] = arguments;
    let call = Call {
        number: architecture.number(name).unwrap(),
        architecture: architecture.audit_number(),
        arguments: [first, second, third, 0, 0, 0],
    };
    run(&filter, &call) == ALLOW
}

#[test]
fn the_network_process_is_left_with_networks() {
    const OF_A_THREAD: u64 = 0x7d_0f00;
    const NEW_USER: u64 = 0x1000_0000;
    const NEW_NET: u64 = 0x4000_0000;
    const WRITE: u64 = 1;
    const CREATE: u64 = 0o100;
    const EXECUTABLE: u64 = 4;
    let everybody = [Who::Process, Who::Relay, Who::Names];
    for name in "execve execveat ptrace process_vm_readv process_vm_writev pidfd_getfd kill mount umount2 \
                 move_mount open_tree pivot_root chroot bpf perf_event_open io_uring_setup userfaultfd keyctl \
                 add_key init_module finit_module kexec_load reboot setuid setresuid setgid setgroups \
                 memfd_create open_by_handle_at openat2 fchmodat fchownat mknodat linkat symlinkat clone3 \
                 personality settimeofday swapon"
        .split_whitespace()
    {
        for who in everybody {
            assert!(!confined(who, name, [0; 3]), "{who:?} {name}");
        }
    }
    let [unix, four, six, netlink, packet, vsock] = [1, 2, 10, 16, 17, 40];
    let (stream, raw) = (1 | 0o2_004_000, 3);
    for who in everybody {
        assert!(confined(who, "socket", [four, stream, 0]));
        assert!(confined(who, "socket", [six, stream, 0]));
        for family in [four, six, packet, vsock] {
            assert!(
                !confined(who, "socket", [family, raw, 0]),
                "{who:?} {family}"
            );
        }
        let main = who == Who::Process;
        assert_eq!(confined(who, "socket", [netlink, raw, 12]), main);
        assert!(!confined(who, "socket", [netlink, raw, 9]));
        assert_eq!(confined(who, "socket", [unix, 5, 0]), main);
        assert_eq!(confined(who, "setns", [3, NEW_NET, 0]), main);
        assert!(!confined(who, "setns", [3, 0, 0]));
        assert!(!confined(who, "unshare", [NEW_USER, 0, 0]));
        assert_eq!(confined(who, "clone", [OF_A_THREAD, 0, 0]), main);
        assert!(!confined(who, "clone", [17, 0, 0]));
        assert!(confined(who, "mmap", [0, 4096, 3]));
        assert!(!confined(who, "mmap", [0, 4096, 3 | EXECUTABLE]));
        assert!(!confined(who, "mprotect", [0, 4096, EXECUTABLE]));
        let reads = who != Who::Relay;
        assert_eq!(confined(who, "openat", [0, 0, 0o2_000_000]), reads);
        assert_eq!(confined(who, "openat", [0, 0, WRITE]), main);
        assert_eq!(confined(who, "openat", [0, 0, CREATE]), main);
        assert_eq!(confined(who, "unlinkat", [0; 3]), main);
    }
}
