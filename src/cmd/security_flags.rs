//! Rights, filters, limits of processes: what a container may do to the kernel.

use std::{fs, io::Read};

use clap::Args;

use super::ui;
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result,
    security::{
        MASKED, READ_ONLY, SecurityOption, SecuritySpec, Unmask, check_oom_score_adj,
        compact_profile, parse_security_option, parse_sysctl, parse_ulimit, parse_umask,
    },
};

/// No profile is longer: the largest known ones have 20 KiB.
const MAX_PROFILE_BYTES: u64 = 1 << 20;

#[derive(Args)]
pub struct SecurityFlags {
    /// Give the container a capability, or ALL
    #[arg(long, value_name = "list")]
    cap_add: Vec<String>,
    /// Take a capability from the container, or ALL
    #[arg(long, value_name = "list")]
    cap_drop: Vec<String>,
    /// Add groups to the program's user, or keep-groups
    #[arg(long, value_name = "list")]
    group_add: Vec<String>,
    /// How soon the kernel ends the program when memory is out, -1000 to 1000
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// Give the container nearly all rights of the caller
    #[arg(long)]
    privileged: bool,
    /// Change the filters around the container, KEY=VALUE
    #[arg(long, value_name = "list")]
    security_opt: Vec<String>,
    /// Set a kernel parameter of the container's own namespaces (default map[])
    #[arg(long, value_name = "map")]
    sysctl: Vec<String>,
    /// Limit a resource of each process, NAME=SOFT[:HARD] (default [])
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    /// Mask of modes that new files do not get
    #[arg(long, value_name = "string")]
    umask: Option<String>,
}

impl SecurityFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        let security = &mut spec.security;
        for text in &self.cap_add {
            SecuritySpec::add_capabilities(&mut security.cap_add, text)?;
        }
        for text in &self.cap_drop {
            SecuritySpec::add_capabilities(&mut security.cap_drop, text)?;
        }
        security.privileged = self.privileged;
        for text in &self.security_opt {
            add_option(security, text)?;
        }
        security.group_add = words(&self.group_add);
        security.umask = self.umask.as_deref().map(parse_umask).transpose()?;
        security.oom_score_adj = self.oom_score_adj.map(check_oom_score_adj).transpose()?;
        for text in words(&self.ulimit) {
            // Podman's word for the caller's own limits, which are what a container starts with.
            if text != "host" {
                security.set_ulimit(parse_ulimit(&text)?);
            }
        }
        for text in &self.sysctl {
            let (name, value) = parse_sysctl(text)?;
            security.sysctls.insert(name, value);
        }
        Ok(())
    }
}

/// Each value, which may hold several with commas between them.
fn words(values: &[String]) -> Vec<String> {
    values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_owned())
        .collect()
}

pub fn add_option(security: &mut SecuritySpec, text: &str) -> Result<()> {
    let option = parse_security_option(text)?;
    let (profile, shown) = match &option {
        SecurityOption::SeccompFile(file) => {
            let profile = compact_profile(&read_profile(file)?, file)?;
            (Some(profile.clone()), format!("seccomp={profile}"))
        }
        SecurityOption::Unmask(unmask @ Unmask::Paths(_)) => {
            say_what_opens(text, unmask);
            (None, text.to_owned())
        }
        _ => (None, text.to_owned()),
    };
    security.add_option(option, profile)?;
    security.options.push(shown);
    Ok(())
}

fn read_profile(file: &str) -> Result<String> {
    let what = || format!("cannot read the seccomp profile {file:?}");
    let mut text = String::new();
    fs::File::open(file)
        .and_then(|file| file.take(MAX_PROFILE_BYTES + 1).read_to_string(&mut text))
        .context(ErrorKind::InvalidArgument, what)?;
    if text.len() as u64 > MAX_PROFILE_BYTES {
        return Err(Error::invalid(format!(
            "the seccomp profile {file:?} is longer than {MAX_PROFILE_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// A pattern opens more than can be seen from it.
fn say_what_opens(text: &str, unmask: &Unmask) {
    if !text.contains('*') {
        return;
    }
    let opened: Vec<&str> = MASKED
        .into_iter()
        .chain(READ_ONLY)
        .filter(|path| unmask.opens(path))
        .collect();
    let list = match opened.as_slice() {
        [] => "nothing".to_owned(),
        paths => paths.join(", "),
    };
    ui::notice(&format!("--security-opt {text} opens {list}"));
}
