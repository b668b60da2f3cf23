//! registries.conf from its files (containers-registries.conf(5), "FILES").
//!
//! The main file is the user's if there is one, the system's otherwise; then come the additions of
//! the system and of the user, by name. A folder or file that is not there says nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::model::{
    Context, ErrorKind, RegistryOptions, Result, registries::Registries, registry::RegistriesFiles,
};

/// What the files say about registries.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a file that cannot be read or understood, with the line.
pub fn registries(options: &RegistryOptions) -> Result<Registries> {
    read(&options.registries)
}

/// [`registries`] for who has no other options.
pub fn read(files: &RegistriesFiles) -> Result<Registries> {
    let mut all = Registries::default();
    match &files.named {
        Some(path) => add(&mut all, path, true)?,
        None => {
            for path in &files.usual {
                if path.exists() {
                    add(&mut all, path, false)?;
                    break;
                }
            }
        }
    }
    for folder in &files.additions {
        for path in conf_files(folder)? {
            add(&mut all, &path, false)?;
        }
    }
    Ok(all)
}

fn add(all: &mut Registries, path: &Path, must_exist: bool) -> Result<()> {
    match fs::read_to_string(path) {
        Ok(text) => all.add(path, &text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !must_exist => Ok(()),
        Err(cause) => Err(cause).context(ErrorKind::InvalidArgument, || {
            format!("cannot read {}", path.display())
        }),
    }
}

fn conf_files(folder: &Path) -> Result<Vec<PathBuf>> {
    // Also a home that this user may not look into: nothing was asked for there.
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "conf") && path.is_file())
        .collect();
    paths.sort();
    Ok(paths)
}
