//! Profile → filter program.
//!
//! The program looks at the architecture, then finds the call's number in a binary tree of
//! ranges with the same outcome, and looks at arguments only in the leaves that need it. The
//! kernel walks the program once for every call number when it is loaded (to fill its bitmap of
//! plainly allowed calls), so depth and length are what a container's start pays: a chain of
//! comparisons costs it ten times as much.
//!
//! The tests of arguments are seccompiler's; its own programs are such chains with one action
//! and one architecture, and are not used. What is kept of it is a run of comparisons that falls
//! off its end, one instruction later, if any of them fails.
//!
//! Programs are built from their end to their beginning: jumps of BPF go forward only, so the
//! target of every jump is there when the jump is made.
//!
//! Outcomes that no profile decides:
//! - x32 calls (bit 30 of the number) do not exist, as on a kernel without x32: ENOSYS;
//! - numbers above all those a profile names get ENOSYS where the default would be an error, as
//!   C libraries take any other answer to a new call for a failure;
//! - an architecture that is not this machine's ends the process.

use std::collections::{BTreeMap, HashMap};

use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

use super::profile::{Action, Argument, Conditions, Operator, Profile, Rule};

/// seccomp(2) takes no longer program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What a profile's conditions are judged by.
#[derive(Clone, Debug)]
pub struct Target {
    /// Names with the prefix `CAP_`.
    pub capabilities: Vec<String>,
    /// `uname -r` as numbers.
    pub kernel: (u32, u32),
    /// The machine's architectures, the usual one first.
    pub architectures: &'static [Architecture],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

impl Architecture {
    /// Those of a machine by Rust's name of it, its 32-bit one included; none if it is unknown.
    pub fn of_machine(name: &str) -> &'static [Architecture] {
        match name {
            "x86_64" => &[Architecture::X86_64, Architecture::X86],
            "aarch64" => &[Architecture::Aarch64, Architecture::Arm],
            _ => &[],
        }
    }

    /// `AUDIT_ARCH_…` of `linux/audit.h`.
    pub fn audit_number(self) -> u32 {
        match self {
            Architecture::X86_64 => 0xc000_003e,
            Architecture::X86 => 0x4000_0003,
            Architecture::Aarch64 => 0xc000_00b7,
            Architecture::Arm => 0x4000_0028,
        }
    }

    /// The name in a profile's lists of architectures.
    fn profile_name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "SCMP_ARCH_X86_64",
            Architecture::X86 => "SCMP_ARCH_X86",
            Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
            Architecture::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The name in a profile's conditions.
    fn go_name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "amd64",
            Architecture::X86 => "x86",
            Architecture::Aarch64 => "arm64",
            Architecture::Arm => "arm",
        }
    }

    /// The number of a call, if the architecture has it.
    pub fn number(self, name: &str) -> Option<u32> {
        let id = match self {
            Architecture::X86_64 => name.parse().map(|call: syscalls::x86_64::Sysno| call.id()),
            Architecture::X86 => name.parse().map(|call: syscalls::x86::Sysno| call.id()),
            Architecture::Aarch64 => name.parse().map(|call: syscalls::aarch64::Sysno| call.id()),
            Architecture::Arm => {
                if let Some((_, number)) = ARM_PRIVATE.iter().find(|(known, _)| *known == name) {
                    return Some(*number);
                }
                name.parse().map(|call: syscalls::arm::Sysno| call.id())
            }
        };
        id.ok().and_then(|id| u32::try_from(id).ok())
    }
}

/// `asm/unistd.h` of arm, `__ARM_NR_…`: not in the table of the syscalls crate.
const ARM_PRIVATE: [(&str, u32); 5] = [
    ("breakpoint", 0x000f_0001),
    ("cacheflush", 0x000f_0002),
    ("usr26", 0x000f_0003),
    ("usr32", 0x000f_0004),
    ("set_tls", 0x000f_0005),
];

const ENOSYS: u32 = 0x0005_0000 | 38;
const KILL_PROCESS: u32 = 0x8000_0000;
/// `__X32_SYSCALL_BIT` of `asm/unistd.h`.
const X32_BIT: u32 = 0x4000_0000;

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
// struct seccomp_data of linux/seccomp.h
const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCHITECTURE: u32 = 4;

/// Instructions as (code, jump if true, jump if false, operand).
pub type Program = Vec<(u16, u8, u8, u32)>;

/// Compiles a profile; says in words what is wrong with it.
pub fn compile(profile: &Profile, target: &Target) -> Result<Program, String> {
    let mut program = Backwards::default();
    // The last resort stands last, so it is made first.
    let mut otherwise = program.verdict(KILL_PROCESS);
    profile.check()?;
    for architecture in allowed_architectures(profile, target).into_iter().rev() {
        let outcomes = outcomes(profile, target, architecture)?;
        let entry = program.number_tree(&outcomes, architecture)?;
        otherwise = program.branch(JUMP_IF_EQUAL, architecture.audit_number(), entry, otherwise);
    }
    program.push((LOAD_WORD, 0, 0, OFFSET_OF_ARCHITECTURE));
    let program = program.finish();
    if program.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "the filter has {} instructions; the kernel takes {MAX_INSTRUCTIONS}",
            program.len()
        ));
    }
    Ok(program)
}

/// Those of the machine's architectures whose programs run: the usual one, and others that the profile
/// names. A profile that thinks of one architecture only would leave gaps in another (i386's calls
/// have other names, `socketcall` for one).
fn allowed_architectures(profile: &Profile, target: &Target) -> Vec<Architecture> {
    let of_map = profile.arch_map.iter().flatten().flat_map(|entry| {
        let native = target
            .architectures
            .first()
            .is_some_and(|native| native.profile_name() == entry.architecture);
        let others = entry.sub_architectures.iter().filter(move |_| native);
        others.chain([&entry.architecture])
    });
    let named: Vec<&String> = profile
        .architectures
        .iter()
        .flatten()
        .chain(of_map)
        .collect();
    target
        .architectures
        .iter()
        .enumerate()
        .filter(|(place, known)| {
            *place == 0 || named.iter().any(|name| *name == known.profile_name())
        })
        .map(|(_, known)| *known)
        .collect()
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Verdict(u32),
    /// The first test that holds decides, otherwise the last verdict.
    ByArguments(Vec<(Vec<Test>, u32)>, u32),
}

/// A comparison of an argument, the width of it made explicit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Test {
    index: u8,
    whole: bool,
    operator: TestOperator,
    value: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TestOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Masked(u64),
}

/// The outcome from every number on at which it changes; the first entry is for number 0.
fn outcomes(
    profile: &Profile,
    target: &Target,
    architecture: Architecture,
) -> Result<Vec<(u32, Outcome)>, String> {
    let default = profile.default_action.verdict(profile.default_errno()?);
    let mut rules: BTreeMap<u32, Vec<(Vec<Test>, u32)>> = BTreeMap::new();
    let mut newest = 0;
    for rule in &profile.syscalls {
        let numbers: Vec<u32> = rule
            .names
            .iter()
            .chain(&rule.name)
            .filter_map(|name| architecture.number(name))
            .collect();
        let public = numbers
            .iter()
            .copied()
            .filter(|number| *number < ARM_PRIVATE[0].1);
        newest = public.fold(newest, u32::max);
        if !applies(rule, target, architecture)? {
            continue;
        }
        let tests = tests(rule)?;
        let verdict = rule.action.verdict(rule.errno()?);
        for number in numbers {
            rules
                .entry(number)
                .or_default()
                .push((tests.clone(), verdict));
        }
    }
    let unlisted = |number| {
        if profile.default_action == Action::Errno && number > newest {
            ENOSYS
        } else {
            default
        }
    };
    let mut changes = vec![
        (0, Outcome::Verdict(default)),
        (newest + 1, Outcome::Verdict(unlisted(newest + 1))),
    ];
    for (number, rules) in rules {
        changes.push((number, outcome_of(rules, unlisted(number))));
        changes.push((number + 1, Outcome::Verdict(unlisted(number + 1))));
    }
    // Of several entries for one number the last one holds, and neighbours that agree are one.
    changes.reverse();
    changes.sort_by_key(|(number, _)| *number);
    changes.dedup_by_key(|(number, _)| *number);
    changes.dedup_by(|next, kept| next.1 == kept.1);
    Ok(changes)
}

/// Rules after one without tests are never reached.
fn outcome_of(rules: Vec<(Vec<Test>, u32)>, default: u32) -> Outcome {
    let mut reached = Vec::new();
    let mut last = default;
    for (tests, verdict) in rules {
        if tests.is_empty() {
            last = verdict;
            break;
        }
        reached.push((tests, verdict));
    }
    while reached.last().is_some_and(|(_, verdict)| *verdict == last) {
        reached.pop();
    }
    if reached.is_empty() {
        Outcome::Verdict(last)
    } else {
        Outcome::ByArguments(reached, last)
    }
}

fn applies(rule: &Rule, target: &Target, architecture: Architecture) -> Result<bool, String> {
    let has = |name: &String| target.capabilities.iter().any(|held| held == name);
    let is = |name: &String| name == architecture.go_name();
    let Conditions {
        caps,
        arches,
        min_kernel,
    } = &rule.includes;
    let new_enough = match min_kernel {
        Some(version) => target.kernel >= kernel_version(version)?,
        None => true,
    };
    let included =
        caps.iter().all(has) && (arches.is_empty() || arches.iter().any(is)) && new_enough;
    let Conditions {
        caps,
        arches,
        min_kernel,
    } = &rule.excludes;
    let too_new = match min_kernel {
        Some(version) => target.kernel >= kernel_version(version)?,
        None => false,
    };
    Ok(included && !caps.iter().any(has) && !arches.iter().any(is) && !too_new)
}

fn kernel_version(text: &str) -> Result<(u32, u32), String> {
    text.split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| format!("{text:?} is not a kernel version such as 4.8"))
}

fn tests(rule: &Rule) -> Result<Vec<Test>, String> {
    rule.args.iter().flatten().map(test).collect()
}

fn test(argument: &Argument) -> Result<Test, String> {
    if argument.index > 5 {
        return Err(format!("system calls have no argument {}", argument.index));
    }
    let (operator, value) = match argument.operator() {
        // Nothing of the upper half is asked: the kernel reads many arguments as 32 bits.
        TestOperator::Masked(mask) if mask == u64::from(u32::MAX) => {
            (TestOperator::Equal, argument.value_two & mask)
        }
        TestOperator::Masked(mask) => (TestOperator::Masked(mask), argument.value_two & mask),
        operator => (operator, argument.value),
    };
    let narrow = argument.op == Operator::MaskedEqual && argument.value <= u64::from(u32::MAX);
    Ok(Test {
        index: argument.index,
        whole: !narrow,
        operator,
        value,
    })
}

impl Argument {
    fn operator(&self) -> TestOperator {
        match self.op {
            Operator::NotEqual => TestOperator::NotEqual,
            Operator::Less => TestOperator::Less,
            Operator::LessOrEqual => TestOperator::LessOrEqual,
            Operator::Equal => TestOperator::Equal,
            Operator::GreaterOrEqual => TestOperator::GreaterOrEqual,
            Operator::Greater => TestOperator::Greater,
            Operator::MaskedEqual => TestOperator::Masked(self.value),
        }
    }
}

/// A place in an unfinished program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(usize);

/// Where a branch goes: a verdict may be copied to wherever it is near.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Verdict(u32),
    Place(Place),
}

/// A program being built from its end.
#[derive(Default)]
struct Backwards {
    /// The last instruction comes first.
    instructions: Program,
    /// The nearest copy of each verdict.
    verdicts: HashMap<u32, Place>,
    /// The argument tests that are there already, which architectures share.
    by_arguments: HashMap<Outcome, Place>,
}

impl Backwards {
    fn push(&mut self, instruction: (u16, u8, u8, u32)) -> Place {
        self.instructions.push(instruction);
        Place(self.instructions.len() - 1)
    }

    fn verdict(&mut self, verdict: u32) -> Goal {
        let place = self.push((RETURN, 0, 0, verdict));
        self.verdicts.insert(verdict, place);
        Goal::Verdict(verdict)
    }

    /// Instructions between a new one and the place.
    fn distance(&self, place: Place) -> usize {
        self.instructions.len() - place.0 - 1
    }

    /// A place for the goal within the reach of a conditional jump, with one instruction to
    /// spare for the other side of the same jump.
    fn near(&mut self, goal: Goal) -> Place {
        const REACH: usize = 254;
        let known = match goal {
            Goal::Verdict(verdict) => self.verdicts.get(&verdict).copied(),
            Goal::Place(place) => Some(place),
        };
        match (known, goal) {
            (Some(place), _) if self.distance(place) <= REACH => place,
            (_, Goal::Verdict(verdict)) => {
                self.verdict(verdict);
                Place(self.instructions.len() - 1)
            }
            (_, Goal::Place(place)) => {
                let distance = self.distance(place) as u32;
                self.push((JUMP, 0, 0, distance))
            }
        }
    }

    fn branch(&mut self, code: u16, operand: u32, yes: Goal, no: Goal) -> Goal {
        let yes = self.near(yes);
        let no = self.near(no);
        // Both fit: `near` leaves room for the one instruction that the other may have added.
        let (yes, no) = (self.distance(yes) as u8, self.distance(no) as u8);
        Goal::Place(self.push((code, yes, no, operand)))
    }

    /// The tree of one architecture, its entry the load of the call's number.
    fn number_tree(
        &mut self,
        outcomes: &[(u32, Outcome)],
        architecture: Architecture,
    ) -> Result<Goal, String> {
        let mut goals = Vec::with_capacity(outcomes.len());
        for (number, outcome) in outcomes {
            goals.push((*number, self.leaf(outcome)?));
        }
        let mut tree = self.subtree(&goals);
        if architecture == Architecture::X86_64 {
            tree = self.branch(JUMP_IF_AT_LEAST, X32_BIT, Goal::Verdict(ENOSYS), tree);
        }
        let tree = self.near(tree);
        if self.distance(tree) != 0 {
            let distance = self.distance(tree) as u32;
            self.push((JUMP, 0, 0, distance));
        }
        Ok(Goal::Place(self.push((LOAD_WORD, 0, 0, OFFSET_OF_NUMBER))))
    }

    fn leaf(&mut self, outcome: &Outcome) -> Result<Goal, String> {
        let (rules, last) = match outcome {
            Outcome::Verdict(verdict) => return Ok(Goal::Verdict(*verdict)),
            Outcome::ByArguments(rules, last) => (rules, last),
        };
        if let Some(place) = self.by_arguments.get(outcome) {
            return Ok(Goal::Place(*place));
        }
        self.verdict(*last);
        let mut place = Place(0);
        for (tests, verdict) in rules.iter().rev() {
            self.verdict(*verdict);
            for instruction in argument_tests(tests)?.iter().rev() {
                place = self.push((
                    instruction.code,
                    instruction.jt,
                    instruction.jf,
                    instruction.k,
                ));
            }
        }
        self.by_arguments.insert(outcome.clone(), place);
        Ok(Goal::Place(place))
    }

    /// Ranges of numbers, each with its goal, halved until one is left.
    fn subtree(&mut self, ranges: &[(u32, Goal)]) -> Goal {
        match ranges {
            [(_, only)] => *only,
            // One number that differs from those around it needs one comparison, not two.
            [(_, around), (number, inner), (next, after)]
                if *next == number + 1 && same(around, after) =>
            {
                self.branch(JUMP_IF_EQUAL, *number, *inner, *around)
            }
            _ => {
                let middle = halfway(ranges);
                let (lower, upper) = ranges.split_at(middle);
                let upper_goal = self.subtree(upper);
                let lower_goal = self.subtree(lower);
                self.branch(JUMP_IF_AT_LEAST, upper[0].0, upper_goal, lower_goal)
            }
        }
    }

    fn finish(mut self) -> Program {
        self.instructions.reverse();
        self.instructions
    }
}

fn same(left: &Goal, right: &Goal) -> bool {
    match (left, right) {
        (Goal::Verdict(left), Goal::Verdict(right)) => left == right,
        (Goal::Place(left), Goal::Place(right)) => left == right,
        _ => false,
    }
}

/// Where to cut: an odd number of ranges to the left, where that is possible, keeps single
/// numbers together with both of their neighbours.
fn halfway(ranges: &[(u32, Goal)]) -> usize {
    let middle = ranges.len() / 2;
    if ranges.len() > 3 && middle.is_multiple_of(2) {
        middle + 1
    } else {
        middle
    }
}

/// The comparisons of one rule as seccompiler writes them. If one fails, it jumps behind the
/// one instruction that is to follow the last of them.
fn argument_tests(tests: &[Test]) -> Result<Vec<sock_filter>, String> {
    let conditions = tests
        .iter()
        .map(|test| {
            let width = if test.whole {
                Width::Qword
            } else {
                Width::Dword
            };
            let operator = match test.operator {
                TestOperator::Equal => SeccompCmpOp::Eq,
                TestOperator::NotEqual => SeccompCmpOp::Ne,
                TestOperator::Less => SeccompCmpOp::Lt,
                TestOperator::LessOrEqual => SeccompCmpOp::Le,
                TestOperator::Greater => SeccompCmpOp::Gt,
                TestOperator::GreaterOrEqual => SeccompCmpOp::Ge,
                TestOperator::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
            };
            SeccompCondition::new(test.index, width, operator, test.value)
        })
        .collect::<Result<Vec<_>, _>>();
    // Call number, action and architecture of this program are cut away again.
    let program: Vec<sock_filter> = conditions
        .and_then(SeccompRule::new)
        .and_then(|rule| {
            SeccompFilter::new(
                BTreeMap::from([(0, vec![rule])]),
                SeccompAction::Trap,
                SeccompAction::Allow,
                seccompiler::TargetArch::x86_64,
            )
        })
        .and_then(TryInto::try_into)
        .map_err(|error| error.to_string())?;
    // … compare the number, two jumps | the tests | return the match, twice the mismatch
    let after_number = program
        .iter()
        .rposition(|instruction| instruction.code == LOAD_WORD && instruction.k == OFFSET_OF_NUMBER)
        .map(|load| load + 1);
    match after_number.map(|start| &program[start..]) {
        Some([compare, enter, leave, tests @ .., matched, mismatch, _])
            if compare.code == JUMP_IF_EQUAL
                && (enter.code, enter.k) == (JUMP, 1)
                && leave.code == JUMP
                && [matched.code, mismatch.code] == [RETURN; 2] =>
        {
            Ok(tests.to_vec())
        }
        _ => Err("seccompiler's programs no longer have the expected shape".to_owned()),
    }
}
