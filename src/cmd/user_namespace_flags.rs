//! How a container's ids become the machine's: `--userns` and the maps.

use clap::Args;

use crate::model::{
    ContainerSpec, Error, Result,
    user_namespace::{UserNamespace, UserNamespaceMode},
};

#[derive(Args)]
pub struct UserNamespaceFlags {
    /// User namespace: host, keep-id, auto, nomap, private, container:NAME or ns:PATH
    #[arg(long, value_name = "string")]
    userns: Option<String>,
    /// Map user ids, CONTAINER:HOST:COUNT
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    uidmap: Vec<String>,
    /// Map group ids, CONTAINER:HOST:COUNT
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    gidmap: Vec<String>,
    /// Map the ranges that this name has in /etc/subuid
    #[arg(long, value_name = "string")]
    subuidname: Option<String>,
    /// Map the ranges that this name has in /etc/subgid
    #[arg(long, value_name = "string")]
    subgidname: Option<String>,
}

impl UserNamespaceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        let typed = self.userns.unwrap_or_default();
        let mut mode: UserNamespaceMode = typed.parse()?;
        let rules = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<_>>();
        let given = |name: Option<String>| name.filter(|name| !name.is_empty());
        let mapped = !self.uidmap.is_empty()
            || !self.gidmap.is_empty()
            || self.subuidname.is_some()
            || self.subgidname.is_some();
        if mapped && typed.is_empty() {
            mode = UserNamespaceMode::Private;
        }
        if mapped && mode != UserNamespaceMode::Private {
            return Err(Error::invalid(format!(
                "--userns {typed} and --uidmap, --gidmap, --subuidname, --subgidname exclude each other"
            )));
        }
        if mode == UserNamespaceMode::Private && !mapped {
            return Err(
                Error::invalid("--userns private needs --uidmap or --gidmap")
                    .with_hint("--userns auto chooses ids by itself"),
            );
        }
        spec.user_namespace = UserNamespace {
            mode,
            uid_maps: rules(&self.uidmap)?,
            gid_maps: rules(&self.gidmap)?,
            subuid_name: given(self.subuidname),
            subgid_name: given(self.subgidname),
            typed,
        };
        Ok(())
    }
}
