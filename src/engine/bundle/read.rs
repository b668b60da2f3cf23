//! The text of a `config.json` → typed, with everything refused that no container can be made of.

use oci_spec::runtime as oci;

use crate::model::{Error, ErrorKind, Result};

/// Largest configuration that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// Understands a configuration. Unknown fields are none of ours: the specification wants them
/// ignored.
///
/// # Errors
/// [`ErrorKind::InvalidContent`] names the field.
pub fn parse(text: &[u8]) -> Result<oci::Spec> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let spec: oci::Spec = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let place = if field == "." {
            String::new()
        } else {
            format!("{field}: ")
        };
        Error::new(
            ErrorKind::InvalidContent,
            format!("invalid config.json: {place}{}", error.inner()),
        )
    })?;
    reader
        .end()
        .map_err(|error| invalid("", &error.to_string()))?;
    let version = spec.version();
    if !(version.starts_with("1.") || version.starts_with("0.")) {
        return Err(invalid(
            "ociVersion",
            &format!("{version:?} is not a version 1 of the specification"),
        ));
    }
    for (field, there) in [
        ("root", spec.root().is_some()),
        ("process", spec.process().is_some()),
        ("linux", spec.linux().is_some()),
    ] {
        if !there {
            return Err(invalid(field, "it is missing"));
        }
    }
    Ok(spec)
}

/// A field whose value is nonsense.
pub(super) fn invalid(field: &str, why: &str) -> Error {
    let separator = if field.is_empty() { "" } else { ": " };
    Error::new(
        ErrorKind::InvalidContent,
        format!("invalid config.json: {field}{separator}{why}"),
    )
}

/// A field that asks for protection or a limit that there is not.
pub(super) fn unsupported(field: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("cannot run this bundle: {field} in config.json: {why}"),
    )
}
