//! What a configuration says more exactly than any flag: mounts, masks, capabilities, hooks and
//! the environment take the place of the planner's defaults.

use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

use super::{
    devices,
    mounts::{self, Listed},
    read::{invalid, unsupported},
};
use crate::{
    engine::plan::{MountStep, SandboxPlan, Sysctl},
    model::{
        Result, capability,
        container::ContainerRecord,
        device::DeviceNode,
        hook::{Hook, HookPlan, Hooks},
        host::HostFacts,
    },
};

/// The parts of a plan that a configuration replaces.
pub struct Refinement {
    mounts: Vec<Listed>,
    masked_paths: Vec<String>,
    read_only_paths: Vec<String>,
    sysctls: Vec<String>,
    nodes: Vec<DeviceNode>,
    environment: Vec<String>,
    /// Bounding and ambient.
    capabilities: (u64, u64),
    terminal_size: Option<(u16, u16)>,
    hooks: Hooks,
    /// What has no effect, one line each.
    pub notices: Vec<String>,
}

impl Refinement {
    /// What a configuration says of a container that [`super::request`] has been understood from.
    pub fn of(config: &oci::Spec, bundle: &Path, host: &HostFacts) -> Result<Refinement> {
        let (Some(process), Some(linux)) = (config.process(), config.linux()) else {
            return Err(invalid("", "process or linux is missing"));
        };
        let mut notices = Vec::new();
        let number = |size: u64| u16::try_from(size).unwrap_or(u16::MAX);
        Ok(Refinement {
            mounts: mounts::listed(config, bundle, &mut notices)?,
            masked_paths: kernel_paths("linux.maskedPaths", linux.masked_paths())?,
            read_only_paths: kernel_paths("linux.readonlyPaths", linux.readonly_paths())?,
            sysctls: linux
                .sysctl()
                .iter()
                .flatten()
                .map(|(name, _)| name.replace('.', "/"))
                .collect(),
            nodes: devices::nodes(linux)?,
            environment: process.env().clone().unwrap_or_default(),
            capabilities: capabilities(process, host, &mut notices),
            terminal_size: process
                .console_size()
                .map(|size| (number(size.height()), number(size.width()))),
            hooks: hooks(config)?,
            notices,
        })
    }

    /// Changes what the planner made of the request.
    pub fn apply(self, plan: &mut SandboxPlan, record: &ContainerRecord, bundle: &Path) {
        plan.mounts = mounts::steps(self.mounts, &plan.mounts);
        plan.masked_paths = self.masked_paths;
        plan.read_only_paths = self.read_only_paths;
        // Without ours.
        let listed = |sysctl: &Sysctl| self.sysctls.contains(&sysctl.path.replace('.', "/"));
        plan.sysctls.retain(listed);
        plan.process.environment = self.environment;
        (plan.process.capabilities, plan.process.rights.ambient) = self.capabilities;
        if !self.nodes.is_empty() {
            let after_dev = plan
                .mounts
                .iter()
                .position(|step| matches!(step, MountStep::Dev { .. }));
            let place = after_dev.map_or(plan.mounts.len(), |index| index + 1);
            plan.mounts.insert(place, MountStep::DeviceNodes);
            plan.devices.nodes = self.nodes;
        }
        plan.process.terminal_size = self.terminal_size;
        if !self.hooks.is_empty() {
            plan.hooks = Some(Box::new(HookPlan {
                id: record.id.to_string(),
                bundle: bundle.to_owned(),
                annotations: record.spec.annotations.clone(),
                hooks: self.hooks,
            }));
        }
    }
}

/// Paths of our /proc and /sys, without the leading slash.
fn kernel_paths(field: &str, paths: &Option<Vec<String>>) -> Result<Vec<String>> {
    let mut clean = Vec::new();
    for (index, path) in paths.iter().flatten().enumerate() {
        let field = || format!("{field}[{index}]");
        let below = path
            .strip_prefix('/')
            .ok_or_else(|| invalid(&field(), "it must be an absolute path"))?;
        if below.split('/').any(|part| matches!(part, ".." | "." | "")) {
            return Err(invalid(&field(), "it is not a plain path"));
        }
        let of_kernel = below.starts_with("proc/") || below.starts_with("sys/");
        if !(of_kernel || field().starts_with("linux.maskedPaths")) {
            return Err(unsupported(
                &field(),
                "only paths of /proc and /sys can be made read-only",
            ));
        }
        clean.push(below.to_owned());
    }
    Ok(clean)
}

/// The bounding and the ambient set. The others follow from these two when the program is
/// executed (capabilities(7)). Rights that this user does not have are left out, as the
/// specification says.
fn capabilities(process: &oci::Process, host: &HostFacts, notices: &mut Vec<String>) -> (u64, u64) {
    let Some(sets) = process.capabilities() else {
        return (0, 0);
    };
    let [bounding, ambient] = [sets.bounding(), sets.ambient()].map(|set| {
        let bits = set.iter().flatten().copied().map(bit);
        bits.fold(0, |all, one| all | one)
    });
    let granted = bounding & host.capabilities;
    if bounding != granted || ambient & !granted != 0 {
        notices.push("process.capabilities in config.json: some cannot be given here".to_owned());
    }
    (granted, ambient & granted)
}

fn bit(capability: oci::Capability) -> u64 {
    let name = capability.to_string();
    let number = capability::NAMES.iter().position(|&known| known == name);
    number.map_or(0, |number| 1 << number)
}

fn hooks(config: &oci::Spec) -> Result<Hooks> {
    let Some(hooks) = config.hooks() else {
        return Ok(Hooks::default());
    };
    let all = |field: &str, hooks: &Option<Vec<oci::Hook>>| -> Result<Vec<Hook>> {
        let numbered = hooks.iter().flatten().enumerate();
        numbered
            .map(|(index, described)| hook(&format!("hooks.{field}[{index}]"), described))
            .collect()
    };
    Ok(Hooks {
        // Deprecated, and what most bundles still use.
        prestart: all("prestart", hooks.prestart())?,
        create_runtime: all("createRuntime", hooks.create_runtime())?,
        create_container: all("createContainer", hooks.create_container())?,
        start_container: all("startContainer", hooks.start_container())?,
        poststart: all("poststart", hooks.poststart())?,
        poststop: all("poststop", hooks.poststop())?,
    })
}

fn hook(field: &str, hook: &oci::Hook) -> Result<Hook> {
    if !hook.path().is_absolute() {
        return Err(invalid(
            &format!("{field}.path"),
            "it must be an absolute path",
        ));
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => return Err(invalid(&format!("{field}.timeout"), "it must be above 0")),
        },
    };
    Ok(Hook {
        path: PathBuf::from(hook.path()),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone().unwrap_or_default(),
        timeout,
    })
}
