//! What a control group of version 2 lets its processes do with devices.

use std::os::fd::AsFd;

use crate::{
    model::{Context, Result, device::DeviceRule, device_program},
    sys::bpf::{self, Instruction},
};

/// Loads the rules as a program and attaches it to the group whose directory `cgroup` is. It stays
/// in force until the group is removed. Only for root of the first user namespace: the kernel gives
/// nobody else the right, and others have no devices but their own.
///
/// # Errors
/// Those of bpf(2): EPERM in an outer container, EINVAL for a directory that is no cgroup2.
pub fn attach(cgroup: impl AsFd, rules: &[DeviceRule]) -> Result<()> {
    let program: Vec<Instruction> = device_program::compile(rules)
        .into_iter()
        .map(|step| {
            let registers = (step.destination, step.source);
            Instruction::new(
                step.code,
                registers.0,
                registers.1,
                step.offset,
                step.immediate,
            )
        })
        .collect();
    let program = bpf::load_device_program(&program)
        .system(|| "cannot load the container's device rules".to_owned())?;
    bpf::attach_device_program(cgroup, &program)
        .system(|| "cannot put the container's device rules into force".to_owned())
}
