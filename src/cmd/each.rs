//! Commands on several objects: one after the other, failures told and gone past.

use super::{
    failure::{Failure, exit_code},
    ui,
    verb::{Class, Outcome},
};
use crate::model::{Error, ErrorKind, Result};

/// Calls `act` for every name and prints the name, as typed, where it succeeded. The exit code is
/// that of the last failure.
pub fn print_names(names: &[String], act: impl Fn(&str) -> Result<()>) -> Outcome {
    each(Class::Other, names, |name| {
        act(name)?;
        ui::line(name)
    })
}

pub fn each(
    class: Class,
    names: &[String],
    mut act: impl FnMut(&str) -> std::result::Result<(), Failure>,
) -> Outcome {
    let mut code = 0;
    for name in names {
        match act(name) {
            Ok(()) => {}
            Err(Failure::Engine(error)) => {
                tell(&error);
                code = exit_code(class, error.kind());
            }
            Err(other) => return Err(other),
        }
    }
    Ok(code)
}

/// For an engine's call that acts on all at once and tells of each by its place: prints the name, as
/// typed, where the deed was done.
pub fn told(names: &[String], act: impl FnOnce(&mut dyn FnMut(usize, Result<bool>))) -> Outcome {
    let mut outcome = Ok(0);
    act(&mut |place, done| {
        match done {
            Ok(false) => {}
            Ok(true) => {
                if let (Err(failure), Ok(_)) = (ui::line(&names[place]), &outcome) {
                    outcome = Err(failure);
                }
            }
            Err(error) => {
                tell(&error);
                let code = exit_code(Class::Other, error.kind());
                outcome = std::mem::replace(&mut outcome, Ok(0)).map(|_| code);
            }
        };
    });
    outcome
}

pub fn tell(error: &Error) {
    ui::error(&error.one_line(), error.hint());
}

/// With `--ignore` a container that is not there is passed over in silence, with `--force` after a
/// word on it. Whether the deed was done.
pub fn unless_missing(ignore: bool, force: bool, result: Result<()>) -> Result<bool> {
    match result {
        Err(error) if ignore && error.kind() == ErrorKind::NoSuchContainer => Ok(false),
        other => forgive_missing(force, other),
    }
}

/// With `--force` an object that is not there is told of, and no failure.
pub fn forgive_missing(force: bool, result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error)
            if force
                && matches!(
                    error.kind(),
                    ErrorKind::NoSuchContainer
                        | ErrorKind::NoSuchImage
                        | ErrorKind::NoSuchVolume
                        | ErrorKind::NoSuchSecret
                        | ErrorKind::NoSuchNetwork
                ) =>
        {
            tell(&error);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
