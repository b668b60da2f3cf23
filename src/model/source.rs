//! Where the bytes of a blob come from while they are sent.
//!
//! The counterpart of [`super::BlobSink`]: the storage room has the bytes, the registry room sends
//! them, and neither may know the other. A source stands for one blob whose digest and size its user
//! knows; it is read at positions, because a broken upload goes on where the registry says.

use std::{fs::File, os::unix::fs::FileExt};

use super::{Context, Result};

pub trait BlobSource: Send + Sync {
    /// Fills the beginning of `buffer` with what is at `offset`; says how many bytes that are: none
    /// only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;
}

impl BlobSource for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        FileExt::read_at(self, buffer, offset).system(|| "cannot read a blob".to_owned())
    }
}

impl BlobSource for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        let count = buffer.len().min(self.len() - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}
