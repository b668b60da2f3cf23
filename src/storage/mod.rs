//! What lasts: the only room that knows a path below the root.
//!
//! ```text
//! ROOT (0700)
//!   format                    version and feature names; anything newer is refused (head of `format`)
//!   lock                      the store lock (see below); never read, never removed
//!   blobs/sha256/HEX          manifests, indexes, configurations, compressed layers
//!   layers/HEX/               one directory a chain id, appears by one rename
//!     tree/                     the layer's files, whiteouts as overlayfs wants them
//!     layer.json                diff id, bytes, entries
//!   images/NAME               one ImageRecord a name (`/` is written `+`)
//!   images/sha256:HEX         an ImageRecord without a name, by the digest of its configuration
//!   manifests/NAME            one ManifestRecord a name of an index or artifact; see [`manifests`]
//!   containers/ID/            appears by one rename
//!     record.json               ContainerRecord; replaced as a whole by a rename or an update
//!     config.json               of the bundle it was made from, if it was: as it was then
//!     lock                      held by the supervisor as long as it lives; but for its first byte,
//!                               while files of a stopped container are copied ([`locks::Purpose`]);
//!                               far behind that, the mark of a process that is removing it
//!     state.json exit.json      StartRecord, ExitRecord, each replaced as a whole
//!     health.json               HealthRecord of the run that it names; with the first check's end
//!     log log.1 log.2.gz …      what it has written, see [`containers::log_files`]
//!     upper/ work/ rootfs/ hosts hostname resolv.conf …
//!   shifted/TOP-MAPS/         an image's tree with the owners of a container's own ids
//!   volumes/NAME/             appears by one rename; see [`volumes`]
//!   events/journal journal.1  what has happened; see [`events`]
//!   builds/                   what steps of builds have made, with the first build; see [`builds`]
//!   builds/builders           names of the builder; see [`builders`]
//!   builds/urls/              what URLs of builds held; see [`url_copies`]
//!   secrets/NAME              one SecretRecord a secret; there with the first
//!   networks/NAME             one Network a network; there with the first, see [`networks`]
//!   names/NAME                symlink to ID; counts only if that container's record says so
//!   partial/HEX-SIZE          a blob whose download was begun; locked while someone writes it, read
//!                             by all others that want it; see [`blobs`]. HEX+: about to replace it
//!   tmp/LEASE/                staging: lock, keep (digests in use), blobs and layers to be
//!   tmp/dead-…                whatever was taken out of sight and is being deleted; a container
//!                             in `dead-+volumes-…` takes its nameless volumes along
//!   orphans                   there while a container keeps an image that was removed
//! RUNROOT (0700)              sockets, sizes of layers ([`usage`]), the user namespace's handle, what was found out about the
//!                             machine: gone at reboot, and that is right
//!   networks/ID/ ports/ID     who has which addresses and ports of the host; see [`network_leases`], `published_ports`
//! ```
//!
//! **Who appears how.** Content (blobs, layers) is immutable and named by digest. A set of blobs,
//! layers and image records becomes visible in [`Lease::commit`]: one `syncfs`, then the renames,
//! then the records ([`Lease::commit_manifest`] does so for indexes and artifacts). A container becomes visible in [`StagedContainer::commit`] by one rename.
//! Small mutable files are replaced by [`files::put`]. Nothing else makes anything visible.
//!
//! **Locks**, always taken in this order and released by the kernel however the holder ends:
//! 1. the store lock (`flock` on `lock`): *shared* by who adds (from looking whether a thing is
//!    there to the rename that refers to it), *exclusive* by who takes away: garbage collection,
//!    the sweep of `tmp/`, and whoever takes over a dead name. Held for milliseconds, never while
//!    content is fetched, flushed or deleted. It lies in the root, not in the run root, since two
//!    run roots may serve one root.
//! 2. the directory `images/` or `manifests/` (`flock`, exclusive): who changes names there; never
//!    both.
//! 3. object locks (open file description locks on `containers/ID/lock`, `tmp/LEASE/lock`,
//!    `partial/HEX-SIZE`): only ever tried, never waited for, so they cannot be part of a cycle. But for a
//!    container's, while it is held for its files: whoever starts, removes or copies waits with no
//!    lock of an object, or of two containers with that of the lower ID alone.
//! 4. a volume's lock (`flock` on `volumes/NAME/lock`): who fills it, before the program of its
//!    container is executed. Waited for, with nothing but object locks held.
//!
//! The directories `shifted/` (who makes a tree) and `containers/` (who chooses ids) are locked
//! before the store lock; `networks/` (who changes any) before `RUNROOT/networks/ID/lock` (who takes or
//! gives back addresses), which may be waited for with a container's lock held and before which that of
//! the store is not taken; `secrets/` (who changes any) and `containers/ID/` (who changes its limits)
//! with nothing locked after them; `events/`, by who rotates the journal, is only tried.
//!
//! Readers take none: what they open is either whole or not there.
//!
//! **What a crash leaves.** A killed process leaves directories in `tmp/` whose lock is free and
//! partial downloads; the next [`Store::sweep`] removes the former, the next download continues
//! the latter. A container that was to be removed at its end, and whose supervisor was killed, goes
//! with that sweep too, and so do the nameless volumes of one that was just taken out of sight. A name may point to a container that is not there,
//! or is called otherwise (head of [`containers`]): it is free to take, and swept. After a
//! power cut, objects that were never flushed may have empty or torn records: they count as never
//! made, and [`Store::collect_garbage`] removes them.
//!
//! **Other stores.** One that is made to be read by others has the same layout and wider modes (head
//! of `shared`). Additional stores are read and nothing else; no collection looks into them (head of
//! `additional`). Whether a store is what this page says is looked at in [`check`].
//!
//! **Deleting** needs no free space: the record is unlinked or its directory renamed into `tmp/`,
//! and what it kept alive goes with the garbage collection that follows.

mod additional;
mod below;
pub mod blobs;
pub mod build_caches;
pub mod builders;
pub mod builds;
pub mod changes;
pub mod check;
pub mod containers;
pub mod copy;
pub mod delete;
pub mod driver;
pub mod events;
pub mod files;
mod format;
pub mod gc;
pub mod images;
pub mod layers;
pub mod lease;
pub mod locks;
pub mod manifests;
mod member_view;
pub mod merge;
pub mod network_leases;
pub mod networks;
pub mod new_layer;
pub mod pack;
pub mod published_ports;
mod reset;
pub mod secrets;
mod shared;
pub mod shifted;
pub mod unpack;
pub mod url_copies;
pub mod usage;
pub mod volumes;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use crate::model::{Context, Error, ErrorKind, Reference, Result};
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

pub use additional::Opener;
pub use below::{Below, Listed};
pub use blobs::{BlobWriter, StagedBlob};
pub use containers::{ContainerDir, ContainerLock, StagedContainer};
pub use driver::Driver;
pub use events::EventReader;
pub use files::Durability;
pub use format::Migrated;
use format::{Format, Use};
pub use gc::Garbage;
pub use layers::{LayerFacts, StagedLayer};
pub use lease::Lease;
pub use volumes::VolumePaths;

const FOLDERS: [&str; 9] = [
    "blobs",
    "blobs/sha256",
    "layers",
    "images",
    "containers",
    "names",
    "partial",
    "tmp",
    "volumes",
];

/// An open store. Cheap to open (seven system calls if it is there) and safe to share by threads.
#[derive(Debug)]
pub struct Store {
    root: OwnedFd,
    root_path: PathBuf,
    runroot: OwnedFd,
    runroot_path: PathBuf,
    short_names: Option<ShortNames>,
    /// Read-only ones, see [`additional`].
    additional: Vec<additional::Additional>,
    /// Nothing that this process does is an event.
    events_muted: AtomicBool,
}

/// What a name that was typed without a registry may mean; asked only when the store does not have
/// it under Docker's name.
struct ShortNames(Box<MeaningsOf>);

type MeaningsOf = dyn Fn(&Reference) -> Vec<Reference> + Send + Sync;

impl std::fmt::Debug for ShortNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShortNames")
    }
}

impl Store {
    /// Opens the store, making it (0700) if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if its format is newer than this program, and whatever forbids to make
    /// or read the two directories.
    pub fn open(root: &Path, runroot: &Path) -> Result<Store> {
        Store::open_for(Use::Change, root, runroot)
    }

    /// As [`Self::open`], for a store of an older version too: only to migrate or remove it.
    pub fn open_older(root: &Path, runroot: &Path) -> Result<Store> {
        Store::open_for(Use::Migrate, root, runroot)
    }

    fn open_for(wanted: Use, root: &Path, runroot: &Path) -> Result<Store> {
        let root_fd = open_or_make_folder(root)?;
        let runroot_fd = open_or_make_folder(runroot)?;
        check_owner(&runroot_fd, runroot)?;
        let store = Store {
            root: root_fd,
            root_path: root.to_owned(),
            runroot: runroot_fd,
            runroot_path: runroot.to_owned(),
            short_names: None,
            additional: Vec::new(),
            events_muted: AtomicBool::new(false),
        };
        match store.read_format()? {
            // An empty one was being written when the power failed.
            None => store.initialise()?,
            Some(bytes) if bytes.is_empty() => store.initialise()?,
            Some(bytes) => Format::parse(&bytes, root)?.allow(wanted, root)?,
        }
        Ok(store)
    }

    /// Opens a store that the process which executed this one has opened and checked.
    pub fn open_checked(root: &Path, runroot: &Path) -> Result<Store> {
        let open = |path: &Path| {
            let flags = FOLDER.difference(OFlags::NOFOLLOW);
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .system(|| format!("cannot open {}", path.display()))
        };
        Ok(Store {
            root: open(root)?,
            root_path: root.to_owned(),
            runroot: open(runroot)?,
            runroot_path: runroot.to_owned(),
            short_names: None,
            additional: Vec::new(),
            events_muted: AtomicBool::new(false),
        })
    }

    /// Makes the directories and then, durably, the file that says that they are there. Two
    /// processes may do so at the same time.
    fn initialise(&self) -> Result<()> {
        for folder in FOLDERS {
            make_folder(&self.root, folder)
                .system(|| format!("cannot make {}", self.root_path.join(folder).display()))?;
        }
        let _alone = self.lock_exclusive()?;
        self.write_format(&Format::ours())
    }

    /// From here on, [`Self::resolve_image`] also finds what `meanings` says.
    pub fn look_up_short_names(
        &mut self,
        meanings: impl Fn(&Reference) -> Vec<Reference> + Send + Sync + 'static,
    ) {
        self.short_names = Some(ShortNames(Box::new(meanings)));
    }

    /// The root as it was given.
    pub fn root_path(&self) -> &Path {
        &self.root_path
    }

    /// Where sockets and other things of this boot belong.
    pub fn runroot_path(&self) -> &Path {
        &self.runroot_path
    }

    /// A descriptor for syncfs(2) by a thread that outlives the borrow.
    pub fn root_for_flushing(&self) -> std::io::Result<OwnedFd> {
        self.root.try_clone()
    }

    pub fn runroot(&self) -> BorrowedFd<'_> {
        self.runroot.as_fd()
    }

    /// The directory of the run root in which supervisors listen, as `ID.sock`.
    pub fn socket_folder(&self) -> Result<OwnedFd> {
        let open = || rustix::fs::openat(&self.runroot, "containers", FOLDER, Mode::empty());
        match open() {
            Err(Errno::NOENT) => make_folder(&self.runroot, "containers").and_then(|()| open()),
            other => other,
        }
        .system(|| {
            format!(
                "cannot open {}",
                self.runroot_path.join("containers").display()
            )
        })
    }

    /// Names the process `pid` as one whose user namespace others of the user may join. Several
    /// supervisors may do so at once, so each stages its own file; the last one stays.
    pub fn name_namespace_holder(&self, pid: i32) -> Result<()> {
        Self::name_namespace_holder_in(&self.runroot, pid)
    }

    /// The same by who has only the run root.
    pub fn name_namespace_holder_in(runroot: &OwnedFd, pid: i32) -> Result<()> {
        let what = || "cannot name the user namespace's holder".to_owned();
        let staged = format!(".userns.{pid}");
        files::write_new(
            runroot,
            &staged,
            pid.to_string().as_bytes(),
            Durability::Volatile,
        )?;
        rustix::fs::renameat(runroot, staged, runroot, NAMESPACE_HOLDER).system(what)
    }

    /// The run root and its lock of who makes a user namespace that others are to join. Nobody waits
    /// long: without the lock each makes her own.
    pub fn make_namespace_alone(&self) -> Option<(OwnedFd, OwnedFd)> {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from(0o600);
        let lock = rustix::fs::openat(&self.runroot, "userns.lock", flags, mode).ok()?;
        let begun = std::time::Instant::now();
        loop {
            match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some((self.runroot.try_clone().ok()?, lock)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(PATIENCE / 4000);
                }
                Err(_) => return None,
            }
        }
    }

    /// Who was named last; it may be gone.
    pub fn namespace_holder(&self) -> Option<i32> {
        let text = files::read(&self.runroot, NAMESPACE_HOLDER, 64)
            .ok()
            .flatten()?;
        std::str::from_utf8(&text).ok()?.parse().ok()
    }

    fn folder(&self, name: &str) -> Result<OwnedFd> {
        rustix::fs::openat(&self.root, name, FOLDER, Mode::empty())
            .system(|| format!("cannot open {}", self.root_path.join(name).display()))
    }
}

const NAMESPACE_HOLDER: &str = "userns";

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

fn open_or_make_folder(path: &Path) -> Result<OwnedFd> {
    // The last component may be a symlink: people move their store to another disk that way.
    let flags = FOLDER.difference(OFlags::NOFOLLOW);
    let open = || rustix::fs::openat(CWD, path, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {
            std::os::unix::fs::DirBuilderExt::mode(
                std::fs::DirBuilder::new().recursive(true),
                0o700,
            )
            .create(path)
            .system(|| format!("cannot make {}", path.display()))?;
            open()
        }
        result => result,
    }
    .system(|| format!("cannot open {}", path.display()))
}

/// A run root may lie in /tmp, where anyone could have made it before us.
fn check_owner(folder: &OwnedFd, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(folder).system(|| format!("cannot examine {}", path.display()))?;
    let writable_by_others = stat.st_mode & 0o022 != 0;
    if stat.st_uid != rustix::process::geteuid().as_raw() || writable_by_others {
        return Err(Error::new(
            ErrorKind::Permission,
            format!(
                "{} belongs to another user or is writable by others",
                path.display()
            ),
        )
        .with_hint("choose another with --runroot, or set XDG_RUNTIME_DIR"));
    }
    Ok(())
}

fn make_folder(parent: impl AsFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}
