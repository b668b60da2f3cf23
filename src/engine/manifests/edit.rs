//! `manifest create`, `add`, `annotate` and `remove`.

use std::collections::BTreeSet;

use super::{
    members::{AddRequest, Gathered, Gathering},
    no_such_list,
};
use crate::{
    engine::Engine,
    model::{
        Digest, Error, ErrorKind, Reference, Result,
        index::{Annotations, Descriptor, EntryChanges, Index, ManifestKind, ManifestRecord},
    },
    storage::{Lease, manifests::Expected},
};

/// Which state of the name a change begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// There must be none.
    New,
    /// There must be one.
    Existing,
    /// Either.
    Any,
}

impl Engine {
    /// Makes an index; with `amend` an existing one gets the members, too.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]; those of [`crate::registry::Registry`] for members far away.
    pub fn create_manifest_list(
        &self,
        name: &Reference,
        amend: bool,
        annotations: &Annotations,
        request: &AddRequest<'_>,
    ) -> Result<Digest> {
        check_name(name)?;
        let start = if amend { Start::Any } else { Start::New };
        // Nothing is asked of a registry for a name that is taken.
        self.start_of(name, start)?;
        let lease = self.store.lease()?;
        let gathered = self.gather(&lease, request)?;
        self.edit_index(&lease, name, start, gathered, |index, _| {
            index.annotations.extend(annotations.clone());
            Ok(())
        })
    }

    /// Adds members to an existing index; one that is there already is described anew.
    pub fn add_to_manifest_list(&self, list: &str, request: &AddRequest<'_>) -> Result<Digest> {
        let name = self.manifest_list(list)?.name;
        let lease = self.store.lease()?;
        let gathered = self.gather(&lease, request)?;
        self.edit_index(&lease, &name, Start::Existing, gathered, |_, _| Ok(()))
    }

    fn gather(&self, lease: &Lease<'_>, request: &AddRequest<'_>) -> Result<Gathered> {
        let gathering = Gathering::new(self, request);
        let mut gathered = gathering.members(&request.members)?;
        if let Some(artifact) = &request.artifact {
            self.gather_artifact(artifact, &request.registry, lease, &mut gathered)?;
        }
        for entry in &mut gathered.entries {
            entry.apply(&request.changes);
        }
        Ok(gathered)
    }

    /// Changes what an index says about a member, called by digest or by the name it was added by;
    /// without a member, about itself: then only annotations count.
    pub fn annotate_manifest_list(
        &self,
        list: &str,
        member: Option<&str>,
        changes: &EntryChanges,
        subject: Option<Descriptor>,
    ) -> Result<Digest> {
        let name = self.manifest_list(list)?.name;
        let change = |index: &mut Index, record: Option<&ManifestRecord>| {
            if subject.is_some() {
                index.subject.clone_from(&subject);
            }
            let Some(member) = member else {
                index.annotations.extend(changes.annotations.clone());
                return Ok(());
            };
            let digest = self.member_digest(index, record, member)?;
            for entry in &mut index.manifests {
                if entry.digest == digest {
                    entry.apply(changes);
                }
            }
            Ok(())
        };
        let lease = self.store.lease()?;
        self.edit_index(&lease, &name, Start::Existing, Gathered::default(), change)
    }

    /// Takes a member out.
    pub fn remove_from_manifest_list(&self, list: &str, member: &str) -> Result<Digest> {
        let name = self.manifest_list(list)?.name;
        let lease = self.store.lease()?;
        self.edit_index(
            &lease,
            &name,
            Start::Existing,
            Gathered::default(),
            |index, record| {
                let digest = self.member_digest(index, record, member)?;
                index.manifests.retain(|entry| entry.digest != digest);
                Ok(())
            },
        )
    }

    /// The digest of the member that is called so.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`]
    pub(super) fn member_digest(
        &self,
        index: &Index,
        record: Option<&ManifestRecord>,
        typed: &str,
    ) -> Result<Digest> {
        let digits = typed.strip_prefix("sha256:").unwrap_or(typed);
        let by_digest = |entry: &&Descriptor| {
            entry.digest.as_str() == typed
                || (digits.len() >= 6 && entry.digest.hex().starts_with(digits))
        };
        let mut fitting = index.manifests.iter().filter(by_digest);
        if let (Some(entry), None) = (fitting.next(), fitting.next()) {
            return Ok(entry.digest.clone());
        }
        let plain = super::members::remote_name(typed).unwrap_or(typed);
        if let Ok(name) = plain.parse::<Reference>() {
            let sources = record.iter().flat_map(|record| &record.sources);
            let mut called = sources.filter(|(_, source)| **source == name);
            if let Some((digest, _)) = called.find(|(digest, _)| index.entry(digest).is_some()) {
                return Ok(digest.clone());
            }
            if let Some(digest) = name.digest().filter(|digest| index.entry(digest).is_some()) {
                return Ok(digest.clone());
            }
        }
        if let Ok(image) = self.store.resolve_image(plain)
            && index.entry(&image.manifest).is_some()
        {
            return Ok(image.manifest);
        }
        Err(Error::new(
            ErrorKind::NoSuchImage,
            format!("the manifest list has no member {typed}"),
        )
        .with_hint("`coracle manifest inspect` shows the digests of its members"))
    }

    /// One more name for an index as it is now; another one that had the name loses it.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchImage`] if it goes away meanwhile; [`ErrorKind::NameInUse`].
    pub(in crate::engine) fn name_manifest_list(
        &self,
        list: &ManifestRecord,
        name: &Reference,
    ) -> Result<()> {
        check_name(name)?;
        let lease = self.store.lease()?;
        for digest in [&list.digest].into_iter().chain(&list.keeps) {
            if !lease.has_blob(digest)? {
                return Err(no_such_list(&list.name.familiar()));
            }
        }
        let record = ManifestRecord {
            name: name.clone(),
            ..list.clone()
        };
        loop {
            let old = self.start_of(name, Start::Any)?;
            let expected = old
                .as_ref()
                .map_or(Expected::Nothing, |old| Expected::This(&old.digest));
            if lease.commit_manifest(Vec::new(), &record, expected)? {
                return Ok(());
            }
        }
    }

    fn start_of(&self, name: &Reference, start: Start) -> Result<Option<ManifestRecord>> {
        let there = self.store.manifest(name)?;
        match (&there, start) {
            (Some(record), _) if record.kind != ManifestKind::Index => Err(Error::new(
                ErrorKind::NameInUse,
                format!("{} is an artifact", name.familiar()),
            )
            .with_hint("`coracle artifact rm` removes it")),
            (Some(_), Start::New) => Err(Error::new(
                ErrorKind::NameInUse,
                "refusing to amend an existing manifest list with no --amend flag",
            )
            .with_hint(format!(
                "--amend adds to {0}, `coracle manifest rm {0}` removes it",
                name.familiar()
            ))),
            (None, Start::Existing) => Err(no_such_list(&name.familiar())),
            _ => Ok(there),
        }
    }

    /// Puts the new entries in, makes the change, and moves the name to the new document; again, if
    /// it has moved meanwhile.
    fn edit_index(
        &self,
        lease: &Lease<'_>,
        name: &Reference,
        start: Start,
        mut new: Gathered,
        change: impl Fn(&mut Index, Option<&ManifestRecord>) -> Result<()>,
    ) -> Result<Digest> {
        loop {
            let old = self.start_of(name, start)?;
            let mut index = match &old {
                Some(record) => self.read_index(record)?,
                None => Index::default(),
            };
            new.entries
                .iter()
                .cloned()
                .for_each(|entry| index.put(entry));
            change(&mut index, old.as_ref())?;
            index.choose_type();
            let bytes = index.to_bytes()?;
            let document = lease.stage_document(&bytes)?;
            let record = self.record_of(lease, name, document.digest(), &index, &old, &new)?;
            let mut blobs = vec![document];
            blobs.append(&mut new.staged);
            for (digest, bytes) in &new.documents {
                if record.keeps.contains(digest) && !lease.has_blob(digest)? {
                    blobs.push(lease.stage_document(bytes)?);
                }
            }
            let expected = old
                .as_ref()
                .map_or(Expected::Nothing, |old| Expected::This(&old.digest));
            if lease.commit_manifest(blobs, &record, expected)? {
                return Ok(record.digest);
            }
        }
    }

    /// What is kept for an index: of its members, what is new or was kept before.
    fn record_of(
        &self,
        lease: &Lease<'_>,
        name: &Reference,
        digest: &Digest,
        index: &Index,
        old: &Option<ManifestRecord>,
        new: &Gathered,
    ) -> Result<ManifestRecord> {
        let before = old.iter().flat_map(|old| &old.keeps);
        let known: BTreeSet<&Digest> = before.chain(&new.keeps).collect();
        let mut keeps = BTreeSet::new();
        let mut add = |digest: &Digest| -> Result<()> {
            let staged = new.documents.contains_key(digest)
                || new.staged.iter().any(|blob| blob.digest() == digest);
            if known.contains(digest) && (staged || lease.has_blob(digest)?) {
                keeps.insert(digest.clone());
            }
            Ok(())
        };
        for entry in &index.manifests {
            add(&entry.digest)?;
            let document = match new.documents.get(&entry.digest) {
                Some(bytes) => Some(bytes.clone()),
                None => self
                    .store
                    .read_blob(&entry.digest, crate::model::image::MAX_DOCUMENT_BYTES)
                    .ok(),
            };
            for needed in document.iter().flat_map(|bytes| super::needed_blobs(bytes)) {
                add(&needed)?;
            }
        }
        let mut sources = old
            .as_ref()
            .map_or_else(Default::default, |old| old.sources.clone());
        sources.extend(new.sources.clone());
        sources.retain(|digest, _| index.entry(digest).is_some());
        Ok(ManifestRecord {
            name: name.clone(),
            kind: ManifestKind::Index,
            digest: digest.clone(),
            keeps: keeps.into_iter().collect(),
            created: super::unix_seconds(),
            sources,
        })
    }
}

/// A digest cannot be chosen.
pub(in crate::engine) fn check_name(name: &Reference) -> Result<()> {
    match name.digest() {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "cannot give the name {name}: a digest cannot be chosen"
        ))),
    }
}
