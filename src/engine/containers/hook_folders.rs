//! `--hooks-dir`: which hooks of the named folders are for a container. Read at every start; no
//! folder is read that was not named.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::{
    engine::plan::SandboxPlan,
    model::{
        Context, Error, ErrorKind, Result,
        container::ContainerRecord,
        hook::HookPlan,
        hook_file::{HookFile, Subject},
        mount::MountSource,
    },
    storage::ContainerDir,
};

const MAX_FILE_BYTES: u64 = 1 << 20;

/// Adds them to the plan, in the order of their files' names.
pub(super) fn add(
    plan: &mut SandboxPlan,
    record: &ContainerRecord,
    directory: &ContainerDir,
) -> Result<()> {
    let spec = &record.spec;
    if spec.hook_folders.is_empty() {
        return Ok(());
    }
    let subject = Subject {
        program: &record.path,
        annotations: &spec.annotations,
        has_bind_mounts: spec
            .mounts
            .iter()
            .any(|mount| matches!(mount.source, MountSource::Bind { .. })),
    };
    let mut hooks = plan.hooks.take().unwrap_or_else(|| {
        Box::new(HookPlan {
            id: record.id.to_string(),
            bundle: directory.path().to_owned(),
            annotations: spec.annotations.clone(),
            hooks: Default::default(),
        })
    });
    for (name, path) in files(&spec.hook_folders)? {
        let what = || format!("cannot read hook file {}", path.display());
        let size = path.metadata().system(what)?.len();
        if size > MAX_FILE_BYTES {
            return Err(Error::invalid(format!("{}: it is too large", what())));
        }
        let file = HookFile::parse(&name, &fs::read(&path).system(what)?)?;
        if file.fits(subject)? {
            file.add_to(&mut hooks.hooks)?;
        }
    }
    plan.hooks = (!hooks.hooks.is_empty()).then_some(hooks);
    Ok(())
}

/// A file of a later folder takes the place of one with the same name.
fn files(folders: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for folder in folders {
        let what = || format!("cannot read hooks folder {}", folder.display());
        for entry in fs::read_dir(folder).context(ErrorKind::InvalidArgument, what)? {
            let entry = entry.system(what)?;
            if let Ok(name) = entry.file_name().into_string()
                && name.ends_with(".json")
            {
                files.insert(name, entry.path());
            }
        }
    }
    Ok(files)
}
