//! Users, groups, time zone, variables and secrets that are written into a container.

use clap::Args;

use super::env;
use crate::model::{ContainerSpec, Error, Result, account::check_time_zone, env::name_of};

#[derive(Args)]
pub struct AccountFlags {
    /// Copy all variables of this environment; the image's count more
    #[arg(long)]
    env_host: bool,
    /// Set a variable made of the image's, like PATH=/x:${PATH}
    #[arg(long, value_name = "list")]
    env_merge: Vec<String>,
    /// Line of the user's group in the container's /etc/group
    #[arg(long, value_name = "string")]
    group_entry: Option<String>,
    /// Add users of this machine to the container's /etc/passwd
    #[arg(long, value_name = "list")]
    hostuser: Vec<String>,
    /// Copy the proxy variables of this environment
    #[arg(long)]
    http_proxy: bool,
    /// Add the container's user to its /etc/passwd if it is not there
    #[arg(long)]
    passwd: bool,
    /// That line, with $USERNAME, $UID, $GID, $NAME and $HOME
    #[arg(long, value_name = "string")]
    passwd_entry: Option<String>,
    /// Give a secret: NAME[,type=mount|env,target=,uid=,gid=,mode=]
    #[arg(long, value_name = "list")]
    secret: Vec<String>,
    /// Time zone, like Europe/Berlin, or local for that of this machine
    #[arg(long, value_name = "string")]
    tz: Option<String>,
    /// Leave variables of the image out
    #[arg(long, value_name = "list")]
    unsetenv: Vec<String>,
    /// Leave all variables of the image out
    #[arg(long)]
    unsetenv_all: bool,
}

impl AccountFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        let account = &mut spec.account;
        account.passwd = self.passwd || self.passwd_entry.is_some() || self.group_entry.is_some();
        account.passwd_entry = self.passwd_entry;
        account.group_entry = self.group_entry;
        account.host_users = self.hostuser;
        account.time_zone = self.tz.filter(|zone| !zone.is_empty());
        if let Some(zone) = &account.time_zone {
            check_time_zone(zone)?;
        }
        for variable in &self.env_merge {
            if name_of(variable).is_empty() || !variable.contains('=') {
                return Err(Error::invalid(format!(
                    "invalid --env-merge {variable:?}: it is not NAME=VALUE"
                )));
            }
        }
        account.merged_environment = self.env_merge;
        if self.http_proxy {
            account.host_environment = env::proxies();
        }
        if self.env_host {
            account.host_environment = env::all();
        }
        account.unset = self.unsetenv;
        account.unset_all = self.unsetenv_all;
        for text in &self.secret {
            account.secrets.push(text.parse()?);
        }
        Ok(())
    }
}
