//! The environment of the first process, built from nothing (the caller's variables never leak).

use crate::model::{ContainerSpec, image::ImageConfig};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's order: the defaults, then the image's variables, then the user's; a later value of a
/// name takes the place of the earlier one.
/// Those of devices come last: a vendor's software relies on them.
pub(super) fn compose(
    spec: &ContainerSpec,
    image: &ImageConfig,
    hostname: &str,
    of_devices: &[String],
) -> Vec<String> {
    let mut variables = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if spec.tty {
        variables.push("TERM=xterm".to_owned());
    }
    let of_image = image
        .config
        .iter()
        .flat_map(|config| config.env.iter().flatten());
    for variable in of_image.chain(&spec.env).chain(of_devices) {
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
