//! The environment of the first process, built from nothing (the caller's variables never leak).

use crate::model::{
    ContainerSpec,
    account::expand,
    env::{name_of, value_of},
    image::ImageConfig,
};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's order: the defaults, then the image's variables, then the user's; a later value of a
/// name takes the place of the earlier one. Podman's additions: the host's variables come before the
/// image's, and what is unset is unset before the user's come.
/// Those of devices come last: a vendor's software relies on them.
pub(super) fn compose(
    spec: &ContainerSpec,
    image: &ImageConfig,
    hostname: &str,
    of_devices: &[String],
) -> Vec<String> {
    let account = &spec.account;
    let mut variables = vec![DEFAULT_PATH.to_owned()];
    for variable in &account.host_environment {
        set(&mut variables, variable);
    }
    set(&mut variables, &format!("HOSTNAME={hostname}"));
    if spec.tty {
        set(&mut variables, "TERM=xterm");
    }
    let of_image = image
        .config
        .iter()
        .flat_map(|config| config.env.iter().flatten());
    for variable in of_image {
        set(&mut variables, variable);
    }
    for variable in &account.merged_environment {
        let merged = expand(variable, |name| {
            value_of(&variables, name).unwrap_or_default().to_owned()
        });
        set(&mut variables, &merged);
    }
    variables.retain(|variable| {
        !account.unset_all && !account.unset.iter().any(|name| name == name_of(variable))
    });
    for variable in spec.env.iter().chain(of_devices) {
        set(&mut variables, variable);
    }
    variables
}

/// Sets `NAME=VALUE`, in the place where the name already stands.
pub fn set(variables: &mut Vec<String>, variable: &str) {
    let name = variable.split('=').next().unwrap_or_default();
    let same_name = |other: &String| other.split('=').next() == Some(name);
    match variables.iter_mut().find(|other| same_name(other)) {
        Some(other) => variable.clone_into(other),
        None => variables.push(variable.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{account::AccountSpec, image::ProcessDefaults};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_source_has_its_place() {
        let image = ImageConfig {
            config: Some(ProcessDefaults {
                env: Some(words("A=image B=image PATH=/image")),
                ..ProcessDefaults::default()
            }),
            ..ImageConfig::default()
        };
        let compose = |env: &str, account: AccountSpec| {
            let spec = ContainerSpec {
                env: words(env),
                account,
                ..ContainerSpec::default()
            };
            super::compose(&spec, &image, "h", &words("D=device")).join(" ")
        };
        let account = AccountSpec::default();
        assert_eq!(
            compose("B=user", account.clone()),
            "PATH=/image HOSTNAME=h A=image B=user D=device"
        );
        let host = AccountSpec {
            host_environment: words("A=host X=host HOSTNAME=outside"),
            ..account.clone()
        };
        assert_eq!(
            compose("", host),
            "PATH=/image A=image X=host HOSTNAME=h B=image D=device"
        );
        let merged = AccountSpec {
            merged_environment: words("PATH=/x:${PATH} E=$A-$NONE."),
            unset: words("B"),
            ..account.clone()
        };
        assert_eq!(
            compose("", merged),
            "PATH=/x:/image HOSTNAME=h A=image E=image-. D=device"
        );
        let bare = AccountSpec {
            unset_all: true,
            ..account
        };
        assert_eq!(compose("B=user", bare), "B=user D=device");
    }
}
