//! COPY on real directories: a context, layers, and what the new layer holds.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
};

mod archives;
mod context;
mod hostile;
mod layers;
mod speed;

use super::*;
use crate::{build::ignore::Ignore, model::Digest, storage::Below};

/// Folders that vanish with it: `context`, layers `0`, `1` …, and `layer`, the new one.
struct Place {
    dir: tempfile::TempDir,
    layers: usize,
    ignore: Ignore,
}

/// `path` is a file with `content`; one that ends in `/` a directory; `a -> b` a link.
fn lay(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        if let Some((link, target)) = path.split_once(" -> ") {
            let link = root.join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
            continue;
        }
        let full = root.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
            continue;
        }
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(&full, content).unwrap();
        fs::set_permissions(full, PermissionsExt::from_mode(0o644)).unwrap();
    }
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

/// Lines `path mode content`, without the root.
fn shown(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().min_depth(1) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().display();
        let stat = entry.path().symlink_metadata().unwrap();
        let mode = stat.mode() & 0o7777;
        lines.push(if stat.is_dir() {
            format!("{path}/ {mode:o}")
        } else if stat.is_symlink() {
            format!("{path} -> {}", entry.path().read_link().unwrap().display())
        } else {
            format!(
                "{path} {mode:o} {}",
                fs::read_to_string(entry.path()).unwrap()
            )
        });
    }
    lines
}

impl Place {
    fn new(context: &[(&str, &str)]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["context", "layer"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let place = Place {
            dir,
            layers: 0,
            ignore: Ignore::default(),
        };
        lay(&place.context(), context);
        place
    }

    fn layer(mut self, files: &[(&str, &str)]) -> Place {
        let root = self.path(&self.layers.to_string());
        fs::create_dir(&root).unwrap();
        lay(&root, files);
        self.layers += 1;
        self
    }

    fn ignoring(mut self, text: &str) -> Place {
        self.ignore = Ignore::parse(text).unwrap();
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn context(&self) -> std::path::PathBuf {
        self.path("context")
    }

    fn below(&self) -> Below {
        let open = |index: usize| open(&self.path(&index.to_string()));
        Below::new((0..self.layers).map(open).collect())
    }

    fn digest(&self, request: &CopyRequest) -> Digest {
        let root = open(&self.context());
        let tree = Tree::Folder {
            root: root.as_fd(),
            ignore: Some(&self.ignore),
        };
        let selection = select(&tree, request, &mut HashCache::default()).unwrap();
        selection.digest(request).unwrap()
    }

    fn try_copy(&self, request: &CopyRequest) -> crate::model::Result<Written> {
        let root = open(&self.context());
        let tree = Tree::Folder {
            root: root.as_fd(),
            ignore: Some(&self.ignore),
        };
        self.try_copy_from(&tree, request)
    }

    fn try_copy_from(
        &self,
        tree: &Tree<'_>,
        request: &CopyRequest,
    ) -> crate::model::Result<Written> {
        let selection = select(tree, request, &mut HashCache::default())?;
        let layer = open(&self.path("layer"));
        let below = if request.link {
            Below::new(Vec::new())
        } else {
            self.below()
        };
        write(selection, request, &below, layer.as_fd())
    }

    /// What the layer holds after a copy.
    fn copy(&self, request: &CopyRequest) -> Vec<String> {
        let written = self.try_copy(request).unwrap();
        assert_eq!(written.digest, self.digest(request));
        shown(&self.path("layer"))
    }

    fn refused(&self, request: &CopyRequest) -> String {
        self.try_copy(request).unwrap_err().one_line()
    }
}

/// `COPY sources… dest`
fn request(words: &str) -> CopyRequest {
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let dest = words.pop().unwrap();
    CopyRequest {
        sources: words,
        dest_is_folder: dest.ends_with('/'),
        dest,
        ..CopyRequest::default()
    }
}
