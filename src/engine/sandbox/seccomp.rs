//! The default system call filter, compiled at build time.

use crate::{
    model::{Context, ErrorKind, Result, seccomp::default_filter},
    sys::seccomp::{Instruction, load},
};

/// Puts this process under the default profile.
pub(super) fn load_default() -> Result<()> {
    let program: Vec<Instruction> = default_filter()
        .iter()
        .map(|instruction| Instruction {
            code: instruction.code,
            jump_true: instruction.jt,
            jump_false: instruction.jf,
            operand: instruction.k,
        })
        .collect();
    load(&program).context(ErrorKind::System, || {
        "cannot load the system call filter".to_owned()
    })
}
