//! Which devices a container may use.

use clap::Args;

use crate::model::{
    ContainerSpec, Result,
    cdi::QualifiedName,
    device::{DeviceMapping, DeviceRule},
    gpu::GpuRequest,
};

#[derive(Args)]
pub struct DeviceFlags {
    /// Folder with CDI specifications
    #[arg(long, value_name = "list")]
    cdi_spec_dir: Vec<String>,
    /// Give a device: HOST[:CONTAINER[:rwm]], or the name of a CDI device
    #[arg(long, value_name = "list")]
    device: Vec<String>,
    /// Allow devices by their numbers, like 'c 1:* rwm'
    #[arg(long, value_name = "list")]
    device_cgroup_rule: Vec<String>,
    /// Give GPUs: all, a number, or device=, driver=, capabilities=
    #[arg(long, value_name = "gpu-request")]
    gpus: Vec<String>,
}

impl DeviceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        let devices = &mut spec.devices;
        for text in &self.device {
            match text.parse::<QualifiedName>() {
                Ok(name) => devices.qualified.push(name),
                Err(_) => devices.mappings.push(text.parse::<DeviceMapping>()?),
            }
        }
        for text in &self.device_cgroup_rule {
            devices.rules.push(text.parse::<DeviceRule>()?);
        }
        for text in &self.gpus {
            devices.gpus.push(GpuRequest::parse(text)?);
        }
        devices.cdi_folders = self.cdi_spec_dir;
        Ok(())
    }
}
