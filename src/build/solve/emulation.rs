//! Whether programs for an architecture run here: the processor does, or the kernel has an emulator for
//! them (`binfmt_misc`, Documentation/admin-guide/binfmt-misc.rst).
//!
//! An emulator is found as the kernel finds it, by the beginning of the file: a header as programs of
//! that architecture have it is compared with each handler's magic and mask.

use std::{fs, path::Path};

use crate::model::{Error, ErrorKind, Platform, Result};

const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// Machines of ELF headers (`elf.h`): architecture in Go's words, e_machine, bits, big-endian; what QEMU
/// calls it.
const MACHINES: &[(&str, u16, u8, bool, &str)] = &[
    ("386", 3, 32, false, "i386"),
    ("amd64", 62, 64, false, "x86_64"),
    ("arm", 40, 32, false, "arm"),
    ("arm64", 183, 64, false, "aarch64"),
    ("loong64", 258, 64, false, "loongarch64"),
    ("mips64le", 8, 64, false, "mips64el"),
    ("ppc64le", 21, 64, false, "ppc64le"),
    ("riscv64", 243, 64, false, "riscv64"),
    ("s390x", 22, 64, true, "s390x"),
];

/// # Errors
/// [`ErrorKind::Unsupported`] if nothing here runs them.
pub(super) fn check(platform: &Platform) -> Result<()> {
    let host = Platform::host();
    let wanted = platform.architecture.as_str();
    let runs = wanted.is_empty()
        || wanted == host.architecture
        || matches!(
            (host.architecture.as_str(), wanted),
            ("amd64", "386") | ("arm64", "arm")
        );
    if runs || has_emulator(wanted, Path::new(HANDLERS)) {
        return Ok(());
    }
    let known = MACHINES.iter().find(|machine| machine.0 == wanted);
    let emulator = known.map_or(wanted, |machine| machine.4);
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "cannot run programs for {platform} here: the kernel has no emulator for them (binfmt_misc: qemu-{emulator})"
        ),
    )
    .with_hint(
        "install qemu-user-static (Debian: qemu-user-binfmt), or do the work in a stage FROM --platform=$BUILDPLATFORM",
    ))
}

fn has_emulator(architecture: &str, handlers: &Path) -> bool {
    let Some(machine) = MACHINES.iter().find(|machine| machine.0 == architecture) else {
        return false;
    };
    let header = header(machine.1, machine.2, machine.3);
    let Ok(entries) = fs::read_dir(handlers) else {
        return false;
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .any(|text| takes(&text, &header))
}

/// The first 20 bytes of a program.
fn header(machine: u16, bits: u8, is_big: bool) -> [u8; 20] {
    let mut header = [0; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4] = if bits == 64 { 2 } else { 1 };
    header[5] = if is_big { 2 } else { 1 };
    header[6] = 1;
    let number = |value: u16| match is_big {
        true => value.to_be_bytes(),
        false => value.to_le_bytes(),
    };
    // An executable.
    header[16..18].copy_from_slice(&number(2));
    header[18..].copy_from_slice(&number(machine));
    header
}

/// Whether the handler that this file of binfmt_misc describes takes a program that begins so.
fn takes(text: &str, header: &[u8]) -> bool {
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    };
    if text.lines().next() != Some("enabled") || field("offset") != Some("0") {
        return false;
    }
    let Some(magic) = field("magic").and_then(hex) else {
        return false;
    };
    let mask = field("mask").and_then(hex);
    let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
    magic.len() <= header.len()
        && magic.len() == mask.len()
        && magic
            .iter()
            .zip(&mask)
            .zip(header)
            .all(|((magic, mask), byte)| (byte ^ magic) & mask == 0)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's qemu-user-binfmt registers it.
    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn handlers() {
        let arm64 = header(183, 64, false);
        assert!(takes(AARCH64, &arm64));
        assert!(!takes(&AARCH64.replace("enabled", "disabled"), &arm64));
        assert!(!takes(&AARCH64.replace("offset 0", "offset 8"), &arm64));
        assert!(!takes(AARCH64, &header(243, 64, false)));
        assert!(!takes(AARCH64, &header(183, 32, false)));
        for broken in [
            "",
            "enabled",
            "enabled\noffset 0\nmagic x",
            "enabled\noffset 0\nmagic 7f4\nmask \u{fc}\u{fc}",
        ] {
            assert!(!takes(broken, &arm64));
        }
        // Without a mask each bit counts; more bytes than a header are never right.
        assert!(takes("enabled\noffset 0\nmagic 7f454c46\n", &arm64));
        assert!(!takes(
            &format!("enabled\noffset 0\nmagic {}\n", "7f".repeat(40)),
            &arm64
        ));
    }

    #[test]
    fn what_runs_here() {
        let mut platform = Platform::host();
        check(&platform).unwrap();
        platform.architecture = "what".to_owned();
        let error = check(&platform).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
