//! `network connect` and `network disconnect`.

use clap::Args;

use super::{
    parse, ui,
    verb::{Arity, Verb},
};
use crate::model::{
    Error, ErrorKind, Result,
    attachment::{Attachment, alias, driver_options},
};

#[derive(Args)]
struct ConnectFlags {
    /// Name of the container in this network, besides its own
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    alias: Vec<String>,
    /// Option of the driver, KEY=VALUE
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    driver_opt: Vec<String>,
    /// The network with the highest has the default route
    #[arg(
        long,
        value_name = "int",
        default_value_t = 0,
        hide_default_value = true
    )]
    gw_priority: i32,
    /// Address of IPv4
    #[arg(long, value_name = "string")]
    ip: Option<String>,
    /// Address of IPv6
    #[arg(long, value_name = "string")]
    ip6: Option<String>,
    /// Not supported: links are an option of run
    #[arg(long, value_name = "list", hide = true)]
    link: Vec<String>,
    /// One more address, of the link alone
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    link_local_ip: Vec<String>,
    /// Ethernet address
    #[arg(long, value_name = "string")]
    mac_address: Option<String>,
}

pub const CONNECT: Verb = Verb {
    spellings: &["network connect"],
    about: "Attach a container to a network",
    usage: "[OPTIONS] NETWORK CONTAINER",
    arity: Arity::Exactly(2),
    flags: ConnectFlags::augment_args,
    run: |session, matches, names| {
        let flags: ConnectFlags = parse::flags(matches)?;
        let attachment = flags.into_attachment(&names[0])?;
        session.engine()?.connect_network(&names[1], attachment)?;
        Ok(0)
    },
    ..Verb::PLAIN
};

impl ConnectFlags {
    fn into_attachment(self, network: &str) -> Result<Attachment> {
        if !self.link.is_empty() {
            return Err(
                Error::new(ErrorKind::Unsupported, "--link is not supported here").with_hint(
                    "containers of a network find each other by name; --alias gives another",
                ),
            );
        }
        let address = |flag: &str, text: Option<String>| -> Result<Option<std::net::IpAddr>> {
            let parsed = text.map(|text| {
                text.parse()
                    .map_err(|_| Error::invalid(format!("invalid {flag} address: {text}")))
            });
            parsed.transpose()
        };
        let mut attachment = Attachment {
            aliases: self
                .alias
                .iter()
                .map(|name| alias(name))
                .collect::<Result<_>>()?,
            mac: self.mac_address.map(|mac| mac.parse()).transpose()?,
            gateway_priority: self.gw_priority,
            ..Attachment::to(network)
        };
        attachment.set_addresses(address("IPv4", self.ip)?, address("IPv6", self.ip6)?)?;
        for text in self.link_local_ip {
            let parsed = address("link-local", Some(text))?;
            attachment.link_local.extend(parsed);
        }
        driver_options(&mut attachment, &self.driver_opt)?;
        Ok(attachment)
    }
}

#[derive(Args)]
struct DisconnectFlags {
    /// A container that is not there is no failure
    #[arg(long, short = 'f')]
    force: bool,
}

pub const DISCONNECT: Verb = Verb {
    spellings: &["network disconnect"],
    about: "Take a container out of a network",
    usage: "[OPTIONS] NETWORK CONTAINER",
    arity: Arity::Exactly(2),
    flags: DisconnectFlags::augment_args,
    run: |session, matches, names| {
        let flags: DisconnectFlags = parse::flags(matches)?;
        let engine = session.engine()?;
        match engine.disconnect_network(&names[0], &names[1], flags.force) {
            Err(error) if flags.force && error.kind() == ErrorKind::NoSuchContainer => {
                ui::notice(&error.one_line());
            }
            done => done?,
        }
        Ok(0)
    },
    ..Verb::PLAIN
};
