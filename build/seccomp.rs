//! The default seccomp filter, and those of the network process, compiled once for the machine that
//! the program is built for.

use std::{env, fmt::Write, fs, path::Path};

#[path = "../src/model/seccomp/compile.rs"]
#[allow(dead_code, reason = "the library uses the rest of it")]
mod compile;
#[path = "../src/model/seccomp/profile.rs"]
#[allow(dead_code, reason = "the library uses the rest of it")]
mod profile;

/// As in `model::capability::DEFAULT`; a test compares the two programs.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Writes `OUT_DIR/seccomp_default.rs`: the instructions as an array expression, which
/// `src/model/seccomp/mod.rs` includes; and those of [`CONFINED`] for `src/net/confine.rs`.
pub fn build() {
    for file in ["compile.rs", "profile.rs", "default.json"] {
        println!("cargo::rerun-if-changed=src/model/seccomp/{file}");
    }
    println!("cargo::rerun-if-changed=src/net/confine");
    println!("cargo::rerun-if-changed=build/seccomp.rs");
    write("default", &read("src/model/seccomp/default.json"));
    for (name, parts) in CONFINED {
        let mut profile = read("src/net/confine/any.json");
        for part in parts {
            let part = read(&format!("src/net/confine/{part}.json"));
            profile.syscalls.extend(part.syscalls);
        }
        // Whoever tests a build for tests is to see what is missing.
        if env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
            profile.default_action = profile::Action::KillProcess;
        }
        write(name, &profile);
    }
}

/// The filters of the network process and of its threads, and what each consists of besides `any`.
const CONFINED: [(&str, &[&str]); 3] = [
    ("process", &["relay", "names", "process"]),
    ("relay", &["relay"]),
    ("names", &["names"]),
];

fn read(path: &str) -> profile::Profile {
    let text = fs::read_to_string(path).expect(path);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn write(name: &str, profile: &profile::Profile) {
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names the architecture");
    let architectures = compile::Architecture::of_machine(&machine);
    assert!(
        !architectures.is_empty(),
        "there is no seccomp filter for {machine} yet"
    );
    let target = compile::Target {
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        // The oldest kernel that the program runs on.
        kernel: (5, 12),
        architectures,
    };
    let program = compile::compile(profile, &target).expect("the profile compiles");
    let mut array = String::from("&[\n");
    for (code, jt, jf, k) in program {
        writeln!(array, "    instruction({code:#x}, {jt}, {jf}, {k:#x}),").expect("memory");
    }
    array.push_str("]\n");
    let out = env::var("OUT_DIR").expect("cargo gives an output folder");
    let path = Path::new(&out).join(format!("seccomp_{name}.rs"));
    fs::write(path, array).expect("write the filter");
}
