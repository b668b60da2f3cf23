//! Any text as a seccomp profile, for any capabilities. Oracle: no panic; what compiles is a program
//! that the kernel would take: not too long, every jump inside, a verdict at every end.

#![no_main]

use coracle::model::{
    capability,
    seccomp::{
        compile::{Architecture, MAX_INSTRUCTIONS, Target, compile},
        profile::Profile,
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &str)| {
    let (capabilities, text) = input;
    let Ok(profile) = serde_json::from_str::<Profile>(text) else {
        return;
    };
    let target = Target {
        capabilities: capability::names(capabilities),
        kernel: (6, 1),
        architectures: Architecture::of_machine("x86_64"),
    };
    let Ok(program) = compile(&profile, &target) else {
        return;
    };
    assert!(!program.is_empty() && program.len() <= MAX_INSTRUCTIONS);
    for (place, &(code, jump_true, jump_false, operand)) in program.iter().enumerate() {
        let left = program.len() - place - 1;
        match code {
            // BPF_RET
            0x06 => {}
            // BPF_JMP | BPF_JA
            0x05 => assert!((operand as usize) < left),
            code if code & 0x07 == 0x05 => {
                assert!(usize::from(jump_true.max(jump_false)) < left);
            }
            _ => assert!(left > 0),
        }
    }
});
