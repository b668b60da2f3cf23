//! What every RUN of a build has: network, limits, rights, volumes.

use clap::Args;

use super::{env, mount_flags::absolute, resource_flags::LimitFlags, security_flags::add_option};
use crate::model::{
    ContainerSpec, Error, Result,
    attachment::parse_networks,
    container::NetworkMode,
    dns::{resolver_option, search_domain},
    human, mount,
    security::{SecuritySpec, parse_ulimit},
};

#[derive(Args)]
pub struct StepFlags {
    /// Line of /etc/hosts, NAME:IP; the address may be host-gateway
    #[arg(long, value_name = "list", value_delimiter = ',')]
    add_host: Vec<String>,
    /// Give steps a capability, or ALL
    #[arg(long, value_name = "list", value_delimiter = ',')]
    cap_add: Vec<String>,
    /// Take a capability from steps, or ALL
    #[arg(long, value_name = "list", value_delimiter = ',')]
    cap_drop: Vec<String>,
    /// Cgroup in which those of steps are made
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// DNS server of steps
    #[arg(long, value_name = "list", value_delimiter = ',')]
    dns: Vec<String>,
    /// Option of resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "list", value_delimiter = ',')]
    dns_option: Vec<String>,
    /// Domain that short names are looked up in; "." is none
    #[arg(long, value_name = "list", value_delimiter = ',')]
    dns_search: Vec<String>,
    /// Tell steps of the proxies that the environment names
    #[arg(long)]
    pub http_proxy: bool,
    #[command(flatten)]
    limits: LimitFlags,
    /// Network of steps: default, none, host, or the name of a network (default "default")
    #[arg(long, alias = "net", value_name = "string")]
    network: Option<String>,
    /// Change the filters around steps, KEY=VALUE
    #[arg(long, value_name = "strings")]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes")]
    shm_size: Option<String>,
    /// Limit a resource of each process, NAME=SOFT[:HARD] (default [])
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    /// Mount a volume or a path of the host in steps, [SOURCE:]TARGET[:OPTIONS]
    #[arg(long, short = 'v', value_name = "list")]
    volume: Vec<String>,
}

impl StepFlags {
    pub fn into_spec(self) -> Result<ContainerSpec> {
        let mut spec = ContainerSpec {
            network: self.network()?,
            ..ContainerSpec::default()
        };
        let each = |texts: &[String], parse: fn(&str) -> Result<String>| {
            let parsed = texts.iter().map(|text| parse(text));
            parsed.collect::<Result<Vec<String>>>()
        };
        spec.dns.search = each(&self.dns_search, search_domain)?;
        spec.dns.options = each(&self.dns_option, resolver_option)?;
        for text in &self.add_host {
            spec.dns.hosts.push(text.parse()?);
        }
        for text in &self.dns {
            let bad = |_| Error::invalid(format!("{text} is not an ip address"));
            spec.dns.servers.push(text.parse().map_err(bad)?);
        }
        for text in &self.cap_add {
            SecuritySpec::add_capabilities(&mut spec.security.cap_add, text)?;
        }
        for text in &self.cap_drop {
            SecuritySpec::add_capabilities(&mut spec.security.cap_drop, text)?;
        }
        for text in &self.security_opt {
            add_option(&mut spec.security, text)?;
        }
        for text in self.ulimit.iter().flat_map(|text| text.split(',')) {
            if text != "host" {
                spec.security.set_ulimit(parse_ulimit(text)?);
            }
        }
        for text in &self.volume {
            spec.mounts.push(absolute(mount::parse_volume(text)?)?);
        }
        let shm_size = self.shm_size.as_deref().map(human::parse_bytes);
        spec.mount_settings.shm_size = shm_size.transpose()?.filter(|&size| size > 0);
        let mut resources = self.limits.into_resources()?;
        resources.cgroup_parent = self.cgroup_parent.filter(|path| !path.is_empty());
        resources.check()?;
        spec.resources = resources;
        Ok(spec)
    }

    fn network(&self) -> Result<NetworkMode> {
        let typed = self.network.clone().filter(|name| !name.is_empty());
        let name = typed.or_else(|| env::setting("NETWORK"));
        Ok(parse_networks(&Vec::from_iter(name))?.unwrap_or(NetworkMode::Bridge))
    }
}
