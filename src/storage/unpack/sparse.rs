//! Which parts of a sparse file an archive holds. GNU tar has four ways to say it:
//!
//! | format | segment list | size of the file |
//! |---|---|---|
//! | old GNU, type `S` | 4 in the header, then blocks of 21 before the data | header, `realsize` |
//! | PAX 0.0 | repeated records `GNU.sparse.offset`, `GNU.sparse.numbytes` | `GNU.sparse.size` |
//! | PAX 0.1 | one record `GNU.sparse.map=OFFSET,LENGTH,…` | `GNU.sparse.size` |
//! | PAX 1.0 | decimal lines in front of the data, padded to a block | `GNU.sparse.realsize` |
//!
//! The data of all segments follow each other without gaps. (GNU tar manual, "Sparse Formats".)

use super::pax::{self, Records};

/// Most segments of one file: 16 MiB of memory.
pub(super) const MAX_SEGMENTS: usize = 1 << 20;

/// `length` bytes of data at `offset` of the file; between segments are holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// The layout of one sparse file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMap {
    pub segments: Vec<Segment>,
    /// Size of the file with its holes.
    pub size: u64,
}

impl SparseMap {
    /// Checks that segments ascend without overlap, lie inside the file and take exactly the
    /// `stored` bytes that the archive holds.
    pub(super) fn new(
        segments: Vec<Segment>,
        size: u64,
        stored: u64,
    ) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for segment in &segments {
            if segment.offset < end {
                return Err("its sparse segments overlap or are out of order");
            }
            end = segment
                .offset
                .checked_add(segment.length)
                .filter(|&end| end <= size)
                .ok_or("a sparse segment lies behind the end of the file")?;
            sum += segment.length;
        }
        if sum != stored {
            return Err("its sparse segments do not cover its data");
        }
        Ok(SparseMap { segments, size })
    }
}

/// What PAX records say about a sparse file.
pub(super) enum PaxSparse {
    Segments {
        segments: Vec<Segment>,
        size: u64,
    },
    /// Version 1.0: the list stands in front of the data.
    ListInData {
        size: u64,
    },
}

pub(super) fn from_pax(records: &Records<'_>) -> Result<Option<PaxSparse>, &'static str> {
    let value = |key: &[u8]| {
        let found = records.iter().rev().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value)
    };
    let number = |key: &[u8]| match value(key) {
        Some(text) => pax::decimal(text)
            .ok_or("a sparse record is not a number")
            .map(Some),
        None => Ok(None),
    };
    let size = number(b"GNU.sparse.size")?;
    if number(b"GNU.sparse.major")? == Some(1) {
        let size = number(b"GNU.sparse.realsize")?
            .or(size)
            .ok_or("a sparse file without a size")?;
        return Ok(Some(PaxSparse::ListInData { size }));
    }
    let segments = match value(b"GNU.sparse.map") {
        Some(list) => pairs(list.split(|&byte| byte == b','))?,
        None => version_0_0(records)?,
    };
    match size {
        Some(size) => Ok(Some(PaxSparse::Segments { segments, size })),
        None if segments.is_empty() => Ok(None),
        None => Err("a sparse file without a size"),
    }
}

fn version_0_0(records: &Records<'_>) -> Result<Vec<Segment>, &'static str> {
    let numbers = records
        .iter()
        .filter(|(key, _)| matches!(*key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes"))
        .map(|(_, value)| *value);
    pairs(numbers)
}

/// Offsets and lengths in turn. One empty item is an empty list.
pub(super) fn pairs<'a>(
    numbers: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Segment>, &'static str> {
    let mut segments = Vec::new();
    let mut numbers = numbers.filter(|text| !text.is_empty());
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or("a sparse segment without a length")?;
        let (Some(offset), Some(length)) = (pax::decimal(offset), pax::decimal(length)) else {
            return Err("a sparse segment is not a pair of numbers");
        };
        if segments.len() == MAX_SEGMENTS {
            return Err("it has too many sparse segments");
        }
        segments.push(Segment { offset, length });
    }
    Ok(segments)
}
