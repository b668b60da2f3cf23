//! The digest of a selection: everything that makes a difference in the layer, never a time.
//!
//! Every field is written with its length before it, so no two selections give the same bytes.

use std::collections::HashMap;

use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::{
    CopyRequest,
    chmod::ModeChange,
    select::{Item, Selection, Source},
};
use crate::model::{Digest, Result};

/// Of the format.
const VERSION: &[u8] = b"coracle copy 1";

impl Selection<'_> {
    /// Of what is copied and how it is changed. Not part of it: the destination and what is below.
    pub fn digest(&self, request: &CopyRequest) -> Result<Digest> {
        let mode = request.chmod.as_deref().map(ModeChange::parse);
        let mut fields = Fields(Sha256::new());
        fields.bytes(VERSION);
        fields.optional(request.chown.as_deref());
        fields.bytes(&[u8::from(request.unpack), u8::from(request.parents)]);
        fields.number(self.sources.len() as u64);
        let mode = mode.transpose()?;
        for source in &self.sources {
            fields.source(source, mode.as_ref());
        }
        fields.number(request.inline.len() as u64);
        for file in &request.inline {
            fields.bytes(file.name.as_bytes());
            fields.bytes(file.content.as_bytes());
            let file_mode = mode.as_ref().map(|change| change.apply(file.mode, false));
            fields.number(u64::from(file_mode.unwrap_or(file.mode)));
        }
        Ok(Digest::sha256(fields.0.finalize()))
    }
}

/// Which file is another name of which.
#[derive(Default)]
struct Links {
    items: u64,
    first: HashMap<(u64, u64), u64>,
}

impl Links {
    /// The number of the item that is the same file. The first name of a file says nothing, so that
    /// one whose other names are not taken is as any other.
    fn first_of(&mut self, item: &Item) -> u64 {
        self.items += 1;
        if item.stat.st_nlink < 2 || item.kind() == FileType::Directory {
            return u64::MAX;
        }
        let number = self.items;
        let first = *self.first.entry(item.inode()).or_insert(number);
        if first == number { u64::MAX } else { first }
    }
}

struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn optional(&mut self, text: Option<&str>) {
        self.number(u64::from(text.is_some()));
        self.bytes(text.unwrap_or_default().as_bytes());
    }

    fn source(&mut self, source: &Source, mode: Option<&ModeChange>) {
        let mut links = Links::default();
        // A directory's contents are copied; what it is called and has itself is nobody's matter.
        let is_folder = source.is_folder();
        self.bytes(if is_folder { b"" } else { &source.name });
        self.number(source.items.len() as u64);
        for item in source.items.iter().skip(usize::from(is_folder)) {
            self.item(item, mode);
            self.number(links.first_of(item));
        }
    }

    fn item(&mut self, item: &Item, mode: Option<&ModeChange>) {
        let kind = item.kind();
        self.bytes(item.to());
        self.number(u64::from(kind.as_raw_mode()));
        let is_folder = kind == FileType::Directory;
        let bits = match (kind, mode) {
            (FileType::Symlink, _) => 0,
            (_, Some(change)) => change.apply(item.stat.st_mode, is_folder),
            (_, None) => item.stat.st_mode & 0o7777,
        };
        self.number(u64::from(bits));
        self.number(u64::from(item.owner.0));
        self.number(u64::from(item.owner.1));
        self.number(u64::from(item.only_way));
        self.bytes(&item.target);
        let device = match kind {
            FileType::CharacterDevice | FileType::BlockDevice => item.stat.st_rdev,
            _ => 0,
        };
        self.number(device);
        let stand_in = item.stand_in.and_then(|noted| noted.device);
        self.number(u64::from(stand_in.is_some()));
        if let Some((sort, major, minor)) = stand_in {
            self.bytes(&[sort.as_byte()]);
            self.number(u64::from(major));
            self.number(u64::from(minor));
        }
        self.number(item.attributes.len() as u64);
        for (name, value) in &item.attributes {
            self.bytes(name);
            self.bytes(value);
        }
        self.bytes(
            item.content
                .as_ref()
                .map_or(&[][..], |content| &content[..]),
        );
    }
}
