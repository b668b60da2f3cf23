//! Host names to addresses, without getaddrinfo: a static glibc binary would load the host's NSS
//! modules there. `/etc/hosts` and `/etc/resolv.conf` are read by hickory; a machine without a
//! name server gets an error instead of somebody else's public one.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use hickory_resolver::{TokioResolver, config::LookupIpStrategy, net::NetError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::endpoint;

#[derive(Clone, Default)]
pub(super) struct Resolver {
    /// Made at the first question, because it must be made inside the runtime.
    hickory: Arc<OnceLock<TokioResolver>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = if endpoint::is_loopback(name.as_str()) {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            } else {
                resolver.look_up(name.as_str()).await?
            };
            let sockets = addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

impl Resolver {
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let hickory = match self.hickory.get() {
            Some(hickory) => hickory,
            None => {
                let made = system_resolver().map_err(|cause| {
                    io::Error::other(format!("cannot use /etc/resolv.conf: {cause}"))
                })?;
                self.hickory.get_or_init(|| made)
            }
        };
        let found = hickory.lookup_ip(name).await.map_err(|cause| {
            if cause.is_no_records_found() {
                // The kind says that asking again is of no use.
                let why = format!("no address for the name {name} in DNS");
                io::Error::new(io::ErrorKind::NotFound, why)
            } else {
                io::Error::other(format!("no answer from DNS for {name}: {cause}"))
            }
        })?;
        Ok(found.iter().collect())
    }
}

fn system_resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    builder.build()
}
