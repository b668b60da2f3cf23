//! Directory trees as comparable values, and shorthand to unpack into one.

#![allow(dead_code, reason = "each test crate uses its part")]

pub mod canary;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use coracle::{
    model::Result,
    storage::unpack::{Privilege, UnpackOptions, UnpackSummary, unpack},
};

/// Everything about an inode that an archive can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub links: u64,
    pub device: u64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Data of a file, target of a symbolic link.
    pub content: Vec<u8>,
    /// 512-byte blocks on disk, if it is a file with holes.
    pub sparse: bool,
}

pub type Tree = BTreeMap<String, Node>;

/// The tree at `root` (not followed), relative paths; "" is the root itself.
pub fn snapshot(root: &Path) -> Tree {
    snapshot_but_for(root, None)
}

/// The same without what lies at `left_out`, which may be deeper than a path can say.
pub fn snapshot_but_for(root: &Path, left_out: Option<&Path>) -> Tree {
    walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| Some(entry.path()) != left_out)
        .map(|entry| {
            let entry = entry.expect("readable tree");
            let name = entry.path().strip_prefix(root).unwrap();
            (name.to_string_lossy().into_owned(), node(entry.path()))
        })
        .collect()
}

fn node(path: &Path) -> Node {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_symlink() => 'l',
        kind if kind.is_fifo() => 'p',
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => '-',
    };
    let content = match kind {
        '-' => fs::read(path).unwrap_or_default(),
        'l' => fs::read_link(path)
            .unwrap()
            .into_os_string()
            .into_encoded_bytes(),
        _ => Vec::new(),
    };
    Node {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        links: if kind == 'd' { 0 } else { metadata.nlink() },
        device: metadata.rdev(),
        xattrs: xattrs(path),
        content,
        sparse: kind == '-' && metadata.blocks() * 512 < metadata.size() / 2,
    }
}

pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return BTreeMap::new();
    };
    names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

pub fn is_root() -> bool {
    privilege() == Privilege::Root
}

pub fn privilege() -> Privilege {
    Privilege::of_this_process()
}

pub fn options() -> UnpackOptions {
    UnpackOptions::new(privilege(), 1 << 30)
}

pub fn unpack_into(root: &Path, tar: impl Read, options: &UnpackOptions) -> Result<UnpackSummary> {
    let tree = fs::File::open(root).unwrap();
    unpack(tar, tree.as_fd(), options)
}

/// One member for [`archive`].
#[derive(Clone, Debug)]
pub struct Member {
    pub kind: u8,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    pub pax: Vec<(String, Vec<u8>)>,
}

pub fn member(kind: u8, path: impl AsRef<[u8]>) -> Member {
    Member {
        kind,
        path: path.as_ref().to_vec(),
        link: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        uid: u64::from(rustix::process::geteuid().as_raw()),
        gid: u64::from(rustix::process::getegid().as_raw()),
        mtime: 1_600_000_000,
        device: (0, 0),
        data: Vec::new(),
        pax: Vec::new(),
    }
}

pub fn dir(path: &str) -> Member {
    member(b'5', path)
}

pub fn file(path: &str, data: &str) -> Member {
    Member {
        data: data.as_bytes().to_vec(),
        ..member(b'0', path)
    }
}

pub fn symlink(path: &str, target: &str) -> Member {
    Member {
        link: target.as_bytes().to_vec(),
        ..member(b'2', path)
    }
}

pub fn hard_link(path: &str, target: &str) -> Member {
    Member {
        link: target.as_bytes().to_vec(),
        ..member(b'1', path)
    }
}

/// A tar stream of these members. Long names become GNU `L`/`K` entries, so every byte string
/// can be a name.
pub fn archive(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        if !member.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &member.pax {
                let rest = key.len() + value.len() + 3;
                let mut length = rest + 1;
                while length != rest + length.to_string().len() {
                    length = rest + length.to_string().len();
                }
                records.extend_from_slice(format!("{length} {key}=").as_bytes());
                records.extend_from_slice(value);
                records.push(b'\n');
            }
            block(&mut out, b'x', b"pax", b"", member, &records);
        }
        if member.path.len() > 100 {
            block(&mut out, b'L', b"././@LongLink", b"", member, &member.path);
        }
        if member.link.len() > 100 {
            block(&mut out, b'K', b"././@LongLink", b"", member, &member.link);
        }
        let (path, link) = (&member.path, &member.link);
        block(&mut out, member.kind, path, link, member, &member.data);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn block(out: &mut Vec<u8>, kind: u8, path: &[u8], link: &[u8], member: &Member, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    let gnu = header.as_gnu_mut().unwrap();
    let fits = |bytes: &[u8]| bytes.len().min(100);
    gnu.name[..fits(path)].copy_from_slice(&path[..fits(path)]);
    gnu.linkname[..fits(link)].copy_from_slice(&link[..fits(link)]);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(member.mode);
    header.set_uid(member.uid);
    header.set_gid(member.gid);
    header.set_mtime(member.mtime);
    header.set_device_major(member.device.0).unwrap();
    header.set_device_minor(member.device.1).unwrap();
    header.set_size(data.len() as u64);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
}
