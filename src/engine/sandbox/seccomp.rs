//! Putting a process under a system call filter: the one that was compiled with this program, or one
//! that the planner has compiled.

use super::outside::Outside;
use crate::{
    engine::plan::FilterPlan,
    model::{
        Context, ErrorKind, Result,
        seccomp::{SockFilter, default_filter},
    },
    sys::seccomp::{Instruction, load, load_with_listener},
};

/// Puts this process under the plan's filter.
pub(super) fn load_filter(plan: &FilterPlan, outside: &Outside) -> Result<()> {
    let what = || "cannot load the system call filter".to_owned();
    match plan {
        FilterPlan::None => Ok(()),
        FilterPlan::Default => {
            load(&program(default_filter().iter().copied()), 0).context(ErrorKind::System, what)
        }
        FilterPlan::Program {
            instructions,
            flags,
            listener,
        } => {
            let program = program(instructions.iter().map(|&packed| packed.into()));
            match listener {
                None => load(&program, *flags).context(ErrorKind::System, what),
                Some(listener) => {
                    let calls =
                        load_with_listener(&program, *flags).context(ErrorKind::System, what)?;
                    outside.hand_over(&calls, listener)
                }
            }
        }
    }
}

fn program(filter: impl Iterator<Item = SockFilter>) -> Vec<Instruction> {
    filter
        .map(|instruction| Instruction {
            code: instruction.code,
            jump_true: instruction.jt,
            jump_false: instruction.jf,
            operand: instruction.k,
        })
        .collect()
}
