//! Whether an image may be used: the policy, and the signatures it asks for.
//!
//! ```text
//! policy        --signature-policy, else ~/.config/containers/policy.json, else /etc/containers/…
//! rule          the longest scope that the image's place is in
//! requirements  all of them: accept, reject, or signatures by given keys     keys
//! attachments   sha256-HEX.sig beside the image in its registry             signatures
//! verdict       before anything is unpacked, on the very bytes that are then used
//! ```
//!
//! Without any policy file all images may be used, as with Docker. A requirement that cannot be
//! verified here (GnuPG, Fulcio, transparency logs) is an error, never ignored.
//!
//! A signature counts if it was made by the key, for the digest and the name. The digest is that of
//! what the name stands for (an index, where there is one: it names its manifests by digest) or of
//! the manifest that was chosen from it. podman looks at the latter alone, cosign signs the former.
//!
//! Images that are in the store were admitted when they came; the policy is about coming in.

mod edit;
mod keys;
mod show;
mod signatures;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use edit::{TrustKind, TrustRequest};
pub use show::{TrustLine, TrustView};

use crate::model::{
    Context, Error, ErrorKind, Reference, Result, TrustFiles,
    policy::{Identity, Place, Policy, Requirement, SigstoreKeys},
    registries_d::RegistriesD,
};

const MAX_FILE_BYTES: u64 = 4 << 20;

/// The policy that holds.
#[derive(Debug)]
pub struct Trust {
    policy: Policy,
    /// Where it stands; absent if there is none.
    file: Option<PathBuf>,
    registries_dirs: Vec<PathBuf>,
}

/// What must be shown before an image may be used.
#[derive(Debug)]
pub struct Demand {
    /// All of them must have signed.
    signers: Vec<Signer>,
    policy: String,
    name: Reference,
}

/// One requirement: who must have signed, for which name.
#[derive(Debug)]
struct Signer {
    keys: Vec<keys::PublicKey>,
    identity: Identity,
}

impl Trust {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a file that is not a policy or cannot be read.
    pub fn read(files: &TrustFiles) -> Result<Self> {
        let mut found = None;
        if let Some(path) = &files.named_policy {
            found = Some((path, read_file(path, MAX_FILE_BYTES)?));
        } else {
            for path in &files.policies {
                if let Some(bytes) = read_if_there(path)? {
                    found = Some((path, bytes));
                    break;
                }
            }
        }
        let policy = match &found {
            Some((path, bytes)) => Policy::parse(bytes).map_err(|cause| {
                let text = format!("cannot use {}: {}", path.display(), cause.one_line());
                Error::invalid(text)
                    .with_hint("nothing is pulled or loaded while the policy cannot be understood")
            })?,
            None => Policy::accept(),
        };
        Ok(Trust {
            policy,
            file: found.map(|(path, _)| path.clone()),
            registries_dirs: files.registries_dirs.clone(),
        })
    }

    /// What is asked of the image of this name; `None` if nothing is.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] if it may not be used whoever signed it, [`ErrorKind::Unsupported`] if
    /// the policy asks for what cannot be verified.
    pub fn demand(&self, name: &Reference) -> Result<Option<Demand>> {
        let what = name.familiar();
        let signers = self.signers(&Place::Registry(name), &what)?;
        if signers.is_empty() {
            return Ok(None);
        }
        if !self.may_use_attachments(name)? {
            return Err(self.unsupported(
                &what,
                "registries.d says use-sigstore-attachments: false, and signatures are kept nowhere else",
            ));
        }
        Ok(Some(Demand {
            signers,
            policy: self.source(),
            name: name.clone(),
        }))
    }

    /// Whether a file or folder may be used as an image. Nothing in one can be verified.
    ///
    /// # Errors
    /// As [`Self::demand`].
    pub fn admit_file(&self, transport: &'static str, path: Option<&Path>) -> Result<()> {
        let absolute = path.and_then(|path| std::fs::canonicalize(path).ok());
        let place = Place::File {
            transport,
            path: absolute.as_deref(),
        };
        let what = match path {
            Some(path) => format!("{transport} {}", path.display()),
            None => format!("{transport} from standard input"),
        };
        if self.signers(&place, &what)?.is_empty() {
            return Ok(());
        }
        Err(self.untrusted(&what, "a signature is required, and archives have none"))
    }

    fn signers(&self, place: &Place<'_>, what: &str) -> Result<Vec<Signer>> {
        let requirements = self.policy.rule(place).requirements();
        // Refused is refused, whatever else is asked for and cannot be understood.
        if requirements.contains(&Requirement::Reject {}) {
            return Err(self.untrusted(what, "the policy rejects it"));
        }
        let mut signers = Vec::new();
        for requirement in requirements {
            match requirement {
                Requirement::InsecureAcceptAnything {} | Requirement::Reject {} => {}
                Requirement::SigstoreSigned(keys) => signers.push(self.signer(keys, what)?),
                Requirement::SignedBy { .. } => {
                    return Err(self.unsupported(
                        what,
                        "signedBy asks for a signature of GnuPG, which cannot be verified",
                    ));
                }
                Requirement::SignedBaseLayer { .. } => {
                    return Err(self.unsupported(what, "signedBaseLayer cannot be verified"));
                }
            }
        }
        Ok(signers)
    }

    fn signer(&self, keys: &SigstoreKeys, what: &str) -> Result<Signer> {
        if let Err(why) = keys.sources() {
            return Err(self.unsupported(what, why));
        }
        if let Some(mistake) = keys.identity().mistake() {
            return Err(self.unsupported(what, &mistake));
        }
        Ok(Signer {
            keys: keys::read(keys)?,
            identity: keys.identity().clone(),
        })
    }

    /// Unless a file forbids it: a policy that asks for signatures wants them found.
    fn may_use_attachments(&self, name: &Reference) -> Result<bool> {
        for dir in &self.registries_dirs {
            if let Some(settings) = read_registries(dir)? {
                return Ok(settings.use_sigstore_attachments(name).unwrap_or(true));
            }
        }
        Ok(true)
    }

    fn source(&self) -> String {
        match &self.file {
            Some(path) => path.display().to_string(),
            None => "the default policy".to_owned(),
        }
    }

    fn untrusted(&self, what: &str, why: &str) -> Error {
        untrusted(what, why, &self.source())
    }

    fn unsupported(&self, what: &str, why: &str) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "cannot decide on {what} as {} wants it: {why}",
                self.source()
            ),
        )
        .with_hint("`coracle image trust show` lists the rules")
    }
}

fn untrusted(what: &str, why: &str, policy: &str) -> Error {
    Error::new(
        ErrorKind::Untrusted,
        format!("{what} must not be used: {why}"),
    )
    .with_hint(format!(
        "the rule is in {policy}; `coracle image trust show` lists them all"
    ))
}

/// Everything of a file that must be there.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).context(ErrorKind::InvalidArgument, what)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .context(ErrorKind::InvalidArgument, what)?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(format!(
            "cannot read {}: it is larger than {limit} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

/// `None` if there is no such file. One that is there and cannot be read might forbid everything.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => read_file(path, MAX_FILE_BYTES).map(Some),
        Err(cause) if is_nowhere(&cause) => Ok(None),
        Err(cause) => Err(cause).context(ErrorKind::InvalidArgument, || {
            format!("cannot read {}", path.display())
        }),
    }
}

/// Also a home that this user may not look into, which is somebody else's.
fn is_nowhere(cause: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(cause.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// All `*.yaml` of a folder, if it is there.
fn read_registries(dir: &Path) -> Result<Option<RegistriesD>> {
    let what = || format!("cannot read {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(cause) if is_nowhere(&cause) && std::fs::symlink_metadata(dir).is_err() => {
            return Ok(None);
        }
        Err(cause) => return Err(cause).context(ErrorKind::InvalidArgument, what),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.context(ErrorKind::InvalidArgument, what)?.path();
        if path.extension().is_some_and(|end| end == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = RegistriesD::default();
    for path in paths {
        all.add(&read_file(&path, MAX_FILE_BYTES)?)
            .context(ErrorKind::InvalidArgument, || {
                format!("cannot use {}", path.display())
            })?;
    }
    Ok(Some(all))
}
