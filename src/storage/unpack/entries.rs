//! A tar stream as a sequence of entries, in constant memory.
//!
//! Block = 512 bytes. An entry is a header block, then its data padded to whole blocks. Extension
//! entries (`x` PAX records, `L` and `K` GNU long names) describe the entry that follows them.
//! Two blocks of zeros end the archive; whatever comes after them is padding.
//!
//! The `tar` crate decodes header blocks; walking from one to the next is done here, because its
//! iterator reads extension entries of any length into memory, expands holes and knows PAX
//! records only in part. Where parsers disagree on odd archives this one does as Go's
//! `archive/tar`, whose reading of a layer is what other engines run.

use std::io::{BufRead, ErrorKind as IoErrorKind};

use rustix::fs::Timespec;
use tar::{GnuExtSparseHeader, Header};

use super::{
    pax::{self, Records},
    sparse::{self, MAX_SEGMENTS, PaxSparse, Segment, SparseMap},
    stream_failure,
};
use crate::model::{Error, ErrorKind, Result};

const BLOCK: u64 = 512;
/// Longest extension entry: 1 MiB, as Go's reader has it. An xattr is at most 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One member of the archive, its metadata decoded and range-checked, its names raw.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub path: Vec<u8>,
    /// Target of a link of either sort.
    pub link: Vec<u8>,
    pub metadata: Metadata,
    pub device: (u32, u32),
    /// Bytes of data in the archive.
    pub stored: u64,
    pub sparse: Option<SparseMap>,
}

#[derive(Clone, Debug)]
pub struct Metadata {
    pub uid: u32,
    pub gid: u32,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub mtime: Timespec,
    /// Every `SCHILY.xattr.` record, unfiltered.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Size of the file once it is unpacked.
    pub fn size(&self) -> u64 {
        self.sparse.as_ref().map_or(self.stored, |map| map.size)
    }
}

/// Extension entries gathered for the next member.
#[derive(Default)]
struct Extensions {
    pax: Vec<u8>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

pub struct TarStream<R> {
    source: R,
    /// Data of the current entry not read yet, and the padding behind it.
    unread: u64,
    padding: u64,
    /// Name of the last entry seen, to say where an archive breaks.
    last: Vec<u8>,
}

impl<R: BufRead> TarStream<R> {
    pub fn new(source: R) -> Self {
        TarStream {
            source,
            unread: 0,
            padding: 0,
            last: Vec::new(),
        }
    }

    /// The next member; what was left of the former one's data is skipped. `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        let mut described = false;
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                if described {
                    return Err(self.broken("it ends after an extension header"));
                }
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|_| self.broken("the size of an entry is not a number"))?;
            match header.entry_type().as_byte() {
                b'x' => extensions.pax = self.read_extension(size)?,
                b'L' => extensions.long_path = Some(until_nul(self.read_extension(size)?)),
                b'K' => extensions.long_link = Some(until_nul(self.read_extension(size)?)),
                // Global PAX records: only comments are seen in practice (`git archive`), and
                // Docker ignores them all.
                b'g' => drop(self.read_extension(size)?),
                _ => return self.member(&header, size, extensions).map(Some),
            }
            described |= header.entry_type().as_byte() != b'g';
        }
    }

    /// Hands the next `length` bytes of the current entry's data to `take`, piece by piece.
    pub fn data(&mut self, length: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = length.min(self.unread);
        while left > 0 {
            let piece = match self.source.fill_buf() {
                Ok([]) => return Err(self.truncated()),
                Ok(piece) => piece,
                Err(error) if error.kind() == IoErrorKind::Interrupted => continue,
                Err(error) => return Err(stream_failure(error, &self.place())),
            };
            let length = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            take(&piece[..length])?;
            self.source.consume(length);
            left -= length as u64;
            self.unread -= length as u64;
        }
        Ok(())
    }

    /// For a source that can leave bytes out: how many of the current entry's data and padding are
    /// unread, which count as read from now on; and the source, which is to leave them out.
    pub fn leave_out(&mut self) -> (u64, &mut R) {
        let rest = self.unread.saturating_add(self.padding);
        (self.unread, self.padding) = (0, 0);
        (rest, &mut self.source)
    }

    /// Reads to the end of the stream what follows the end marker, so that a digest over the
    /// stream covers it; returns how many bytes that were.
    pub fn drain(&mut self, limit: u64) -> Result<u64> {
        let mut drained = 0;
        loop {
            let length = match self.source.fill_buf() {
                Ok([]) => return Ok(drained),
                Ok(piece) => piece.len(),
                Err(error) if error.kind() == IoErrorKind::Interrupted => continue,
                Err(error) => return Err(stream_failure(error, &self.place())),
            };
            self.source.consume(length);
            drained += length as u64;
            if drained > limit {
                return Err(self.broken("too much follows its end"));
            }
        }
    }

    fn member(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry> {
        let records = pax::parse(&extensions.pax).map_err(|why| self.broken(why))?;
        let value = |key: &[u8]| {
            let found = records.iter().rev().find(|(name, _)| *name == key);
            // An empty value takes the record back (pax(1)).
            found.map(|(_, value)| *value).filter(|v| !v.is_empty())
        };
        let path = extensions
            .long_path
            .or_else(|| value(b"GNU.sparse.name").map(<[u8]>::to_vec))
            .or_else(|| value(b"path").map(<[u8]>::to_vec))
            .unwrap_or_else(|| header.path_bytes().into_owned());
        self.last.clone_from(&path);
        let link = extensions
            .long_link
            .or_else(|| value(b"linkpath").map(<[u8]>::to_vec))
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();

        let kind = self.kind(header, &path)?;
        let stored = match value(b"size") {
            Some(text) => pax::decimal(text).ok_or_else(|| self.broken("its PAX size is wrong"))?,
            None => size,
        };
        // As Go: only files have data, whatever the size field of the others says.
        let stored = if kind == Kind::File { stored } else { 0 };
        self.begin_data(stored)?;
        let sparse = match kind {
            Kind::File => self.sparse_map(header, &records, stored)?,
            _ => None,
        };
        let metadata = self.metadata(header, &records, &value)?;
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => self.device(header)?,
            _ => (0, 0),
        };
        Ok(Entry {
            kind,
            path,
            link,
            metadata,
            device,
            stored: self.unread,
            sparse,
        })
    }

    fn kind(&self, header: &Header, path: &[u8]) -> Result<Kind> {
        Ok(match header.entry_type().as_byte() {
            b'\0' | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
            b'\0' | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                let shown = char::from(other).escape_default();
                return Err(self.broken(&format!("its type '{shown}' is not known")));
            }
        })
    }

    fn metadata<'v>(
        &self,
        header: &Header,
        records: &Records<'_>,
        value: &impl Fn(&[u8]) -> Option<&'v [u8]>,
    ) -> Result<Metadata> {
        let id = |key: &[u8], field: std::io::Result<u64>, what: &str| {
            let number = match value(key) {
                Some(text) => pax::decimal(text),
                None => field.ok(),
            };
            number
                .and_then(|number| u32::try_from(number).ok())
                // 2^32 - 1 means "leave it" to chown(2).
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| self.broken(&format!("its {what} is not an id")))
        };
        let mtime = match value(b"mtime") {
            Some(text) => pax::time(text),
            // The crate hands negative base-256 numbers on as two's complement.
            None => header.mtime().ok().map(|seconds| Timespec {
                tv_sec: seconds.cast_signed(),
                tv_nsec: 0,
            }),
        };
        let xattrs = records
            .iter()
            .filter_map(|(key, value)| {
                let name = key.strip_prefix(b"SCHILY.xattr.")?;
                Some((name.to_vec(), value.to_vec()))
            })
            .collect();
        Ok(Metadata {
            uid: id(b"uid", header.uid(), "owner")?,
            gid: id(b"gid", header.gid(), "group")?,
            mode: header
                .mode()
                .map_err(|_| self.broken("its mode is not a number"))?
                & 0o7777,
            mtime: mtime.ok_or_else(|| self.broken("its modification time is not a number"))?,
            xattrs,
        })
    }

    fn device(&self, header: &Header) -> Result<(u32, u32)> {
        let number = |field: std::io::Result<Option<u32>>, bits: u32| {
            let number = field.ok()?.unwrap_or(0);
            (number >> bits == 0).then_some(number)
        };
        number(header.device_major(), 12)
            .zip(number(header.device_minor(), 20))
            .ok_or_else(|| self.broken("its device number is out of range"))
    }

    fn sparse_map(
        &mut self,
        header: &Header,
        records: &Records<'_>,
        stored: u64,
    ) -> Result<Option<SparseMap>> {
        let (segments, size) = if header.entry_type().is_gnu_sparse() {
            self.old_gnu_segments(header)?
        } else {
            match sparse::from_pax(records).map_err(|why| self.broken(why))? {
                None => return Ok(None),
                Some(PaxSparse::Segments { segments, size }) => (segments, size),
                Some(PaxSparse::ListInData { size }) => (self.segments_in_data()?, size),
            }
        };
        debug_assert!(self.unread <= stored);
        SparseMap::new(segments, size, self.unread)
            .map(Some)
            .map_err(|why| self.broken(why))
    }

    /// The extension blocks stand between header and data and are not counted in its size.
    fn old_gnu_segments(&mut self, header: &Header) -> Result<(Vec<Segment>, u64)> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| self.broken("it is sparse but not of GNU's format"))?;
        let size = gnu
            .real_size()
            .map_err(|_| self.broken("its real size is not a number"))?;
        let mut segments = Vec::new();
        self.push_segments(&mut segments, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = GnuExtSparseHeader::new();
            if !self.read_block(block.as_mut_bytes())? {
                return Err(self.truncated());
            }
            self.push_segments(&mut segments, block.sparse())?;
            more = block.is_extended();
        }
        Ok((segments, size))
    }

    fn push_segments(
        &self,
        segments: &mut Vec<Segment>,
        fields: &[tar::GnuSparseHeader],
    ) -> Result<()> {
        for field in fields.iter().filter(|field| !field.is_empty()) {
            let (Ok(offset), Ok(length)) = (field.offset(), field.length()) else {
                return Err(self.broken("a sparse segment is not a pair of numbers"));
            };
            if segments.len() == MAX_SEGMENTS {
                return Err(self.broken("it has too many sparse segments"));
            }
            segments.push(Segment { offset, length });
        }
        Ok(())
    }

    /// PAX 1.0: a count, then offset and length of each segment, a number a line; filled up to a
    /// block.
    fn segments_in_data(&mut self) -> Result<Vec<Segment>> {
        let mut lines: Vec<u8> = Vec::new();
        let mut wanted: Option<usize> = None;
        let (mut complete, mut counted) = (0, 0);
        while wanted.is_none_or(|wanted| complete < wanted) {
            if lines.len() > MAX_SEGMENTS * 42 {
                return Err(self.broken("its sparse map is too long"));
            }
            if self.unread < BLOCK {
                return Err(self.broken("its sparse map has no end"));
            }
            self.data(BLOCK, |piece| {
                lines.extend_from_slice(piece);
                Ok(())
            })?;
            complete += lines[counted..].iter().filter(|&&b| b == b'\n').count();
            counted = lines.len();
            if wanted.is_none() && complete > 0 {
                let count = lines.split(|&byte| byte == b'\n').next();
                let count = count
                    .and_then(pax::decimal)
                    .filter(|&count| count <= MAX_SEGMENTS as u64)
                    .ok_or_else(|| self.broken("its sparse map is not a list of numbers"))?;
                wanted = Some(1 + 2 * count as usize);
            }
        }
        let numbers = lines.split(|&byte| byte == b'\n');
        sparse::pairs(numbers.take(wanted.unwrap_or(1)).skip(1)).map_err(|why| self.broken(why))
    }

    fn begin_data(&mut self, size: u64) -> Result<()> {
        // Nothing real is larger, and sums of two such numbers do not overflow.
        if size > i64::MAX as u64 {
            return Err(self.broken("an entry is larger than a file can be"));
        }
        self.unread = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(self.broken("an extension header is longer than 1 MiB"));
        }
        self.begin_data(size)?;
        let mut bytes = Vec::new();
        self.data(size, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn skip_rest(&mut self) -> Result<()> {
        // The padding of the last member may be missing altogether; its data may not.
        self.data(self.unread, |_| Ok(()))?;
        self.unread = std::mem::take(&mut self.padding);
        self.data(self.unread, |_| Ok(()))
    }

    /// `None` at the end marker or at the end of the stream.
    fn read_header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.read_block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if is_zero(header.as_bytes()) {
            if self.read_block(header.as_mut_bytes())? && !is_zero(header.as_bytes()) {
                return Err(self.broken("a block of zeros stands between its entries"));
            }
            return Ok(None);
        }
        if !checksum_fits(&header) {
            return Err(self.broken(if self.last.is_empty() {
                "its first block is not a tar header"
            } else {
                "the checksum of a header is wrong"
            }));
        }
        fill_blanks(&mut header);
        Ok(Some(header))
    }

    /// Fills a block. `false` if the stream ends before its first byte.
    fn read_block(&mut self, block: &mut [u8; BLOCK as usize]) -> Result<bool> {
        let mut filled = 0;
        while filled < block.len() {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(self.truncated()),
                Ok(length) => filled += length,
                Err(error) if error.kind() == IoErrorKind::Interrupted => {}
                Err(error) => return Err(stream_failure(error, &self.place())),
            }
        }
        Ok(true)
    }

    fn place(&self) -> String {
        match &self.last[..] {
            [] => "invalid tar archive".to_owned(),
            last => format!("invalid tar archive at entry {}", super::shown(last)),
        }
    }

    fn broken(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::InvalidContent,
            format!("{}: {why}", self.place()),
        )
    }

    fn truncated(&self) -> Error {
        self.broken("it ends too early")
    }
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|&byte| byte == 0) {
        name.truncate(end);
    }
    name
}

/// A number of which nothing is written is 0, as in Go and GNU tar: programs leave out what they do
/// not know, such as an owner.
fn fill_blanks(header: &mut Header) {
    // Mode, owner, group, size, modification time, device.
    const NUMBERS: [std::ops::Range<usize>; 7] = [
        100..108,
        108..116,
        116..124,
        124..136,
        136..148,
        329..337,
        337..345,
    ];
    let bytes = header.as_mut_bytes();
    for field in NUMBERS {
        let field = &mut bytes[field];
        if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
            field[0] = b'0';
        }
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// The sum of all bytes with the checksum's own eight taken as blanks; some old programs summed
/// signed bytes.
fn checksum_fits(header: &Header) -> bool {
    let Ok(stated) = header.cksum() else {
        return false;
    };
    let bytes = header.as_bytes();
    let counted = || bytes[..148].iter().chain(&bytes[156..]);
    let unsigned: u32 = 8 * 32 + counted().map(|&byte| u32::from(byte)).sum::<u32>();
    let signed: i64 = 8 * 32
        + counted()
            .map(|&byte| i64::from(byte.cast_signed()))
            .sum::<i64>();
    stated == unsigned || i64::from(stated) == signed
}
