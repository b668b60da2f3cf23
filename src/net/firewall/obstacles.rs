//! Rules of others that stop what containers send and get.

use crate::{
    model::Result,
    net::netlink::{
        Socket,
        nft::{ForeignChain, Hook, foreign_chains},
    },
};

/// Somebody else's rules, through which the packets of containers do not pass unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Docker has set the host to drop what is forwarded and not its own.
    Docker,
    /// ufw(8) is on.
    Ufw,
    /// firewalld(1) is on: a link is of a zone, and that of a new bridge refuses.
    Firewalld,
    /// A chain that drops by default what is forwarded.
    Drops { table: String, chain: String },
}

impl Obstacle {
    /// What is in the way, in one line.
    pub fn message(&self) -> String {
        match self {
            Obstacle::Docker => "Docker's firewall drops what is forwarded for others".to_owned(),
            Obstacle::Ufw => "ufw drops what is forwarded".to_owned(),
            Obstacle::Firewalld => "firewalld decides over what is forwarded".to_owned(),
            Obstacle::Drops { table, chain } => {
                format!("the firewall's chain {chain} of table {table} drops what is forwarded")
            }
        }
    }

    /// The commands that let the containers of this bridge pass.
    pub fn hint(&self, bridge: &str) -> String {
        match self {
            Obstacle::Docker => format!(
                "iptables -I DOCKER-USER -i {bridge} -j ACCEPT; \
                 iptables -I DOCKER-USER -o {bridge} -j ACCEPT"
            ),
            Obstacle::Ufw => {
                format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}")
            }
            Obstacle::Firewalld => format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={bridge}; \
                 firewall-cmd --reload"
            ),
            Obstacle::Drops { .. } => {
                format!("let it accept what comes in by {bridge} and what leaves by it")
            }
        }
    }
}

/// Looks for rules of others that hinder containers: chains of nf_tables, which those of
/// iptables-nft are too. Rules of the old iptables-legacy cannot be seen from here.
pub fn obstacles(socket: &mut Socket) -> Result<Vec<Obstacle>> {
    Ok(among(&foreign_chains(socket)?))
}

fn among(chains: &[ForeignChain]) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut add = |obstacle| {
        if !found.contains(&obstacle) {
            found.push(obstacle);
        }
    };
    let named = |wanted: &str| chains.iter().any(|chain| chain.name.starts_with(wanted));
    for chain in chains
        .iter()
        .filter(|chain| chain.hook == Some(Hook::Forward as u32))
    {
        if chain.table == "firewalld" {
            add(Obstacle::Firewalld);
        } else if chain.drops && named("ufw") {
            add(Obstacle::Ufw);
        } else if chain.drops && named("DOCKER-USER") {
            add(Obstacle::Docker);
        } else if chain.drops {
            add(Obstacle::Drops {
                table: chain.table.clone(),
                chain: chain.name.clone(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, hook: Option<Hook>, drops: bool) -> ForeignChain {
        ForeignChain {
            table: table.to_owned(),
            name: name.to_owned(),
            hook: hook.map(|hook| hook as u32),
            priority: 0,
            drops,
        }
    }

    #[test]
    fn others_are_known_by_their_chains() {
        let forward = |drops| chain("filter", "FORWARD", Some(Hook::Forward), drops);
        let docker = chain("filter", "DOCKER-USER", None, false);
        assert_eq!(among(&[forward(true), docker.clone()]), [Obstacle::Docker]);
        assert_eq!(among(&[forward(false), docker.clone()]), []);
        let ufw = chain("filter", "ufw-before-forward", None, false);
        assert_eq!(
            among(&[forward(true), forward(true), docker, ufw]),
            [Obstacle::Ufw]
        );
        let firewalld = chain("firewalld", "filter_FORWARD", Some(Hook::Forward), false);
        assert_eq!(among(&[firewalld]), [Obstacle::Firewalld]);
        let found = among(&[forward(true)]);
        assert!(matches!(&found[..], [Obstacle::Drops { .. }]));
        assert!(found[0].hint("co-1").contains("co-1"));
    }
}
