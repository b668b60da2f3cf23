//! xz and bzip2: what whole archives (not layers of images) are sometimes compressed with.
//!
//! The bounds are those of [`super::Decompressor`]: memory (xz says in its header how much it needs)
//! and how many times the bytes may grow.

use std::io::{self, BufReader, Read};

use super::{
    Decompressor,
    decompress::{Counted, Ratio, describe},
};

const MAGIC_BYTES: usize = 6;
const INPUT_BUFFER: usize = 64 << 10;
/// KiB; `xz -9` needs 65 MiB.
const MOST_MEMORY: u32 = 256 << 10;

/// Reads what a stream holds, uncompressed, whatever it is compressed with: gzip, zstd, xz, bzip2 or
/// nothing, by its first bytes. Errors as those of [`Decompressor`].
pub fn decompress_any<'a>(
    mut source: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    source
        .by_ref()
        .take(MAGIC_BYTES as u64)
        .read_to_end(&mut start)?;
    let name = is_rare(&start);
    let source = io::Cursor::new(start).chain(source);
    let Some(name) = name else {
        return Ok(Box::new(Decompressor::detect(source)?));
    };
    let ratio = Ratio::default();
    let counted = Counted::new(source, &ratio);
    let source = BufReader::with_capacity(INPUT_BUFFER, counted);
    let decoder: Box<dyn Read + Send + 'a> = match name {
        "xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(
            source,
            true,
            MOST_MEMORY,
        )),
        _ => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
    };
    Ok(Box::new(Bounded {
        decoder,
        name,
        ratio,
    }))
}

/// The name of the compression, if it is one of these.
pub fn is_rare(start: &[u8]) -> Option<&'static str> {
    match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        _ => None,
    }
}

struct Bounded<'a> {
    decoder: Box<dyn Read + Send + 'a>,
    name: &'static str,
    ratio: Ratio,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(buffer);
        let length = length.map_err(|error| describe(self.name, error))?;
        self.ratio.grow(length)?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | xz -9`, `… | bzip2`.
    const XZ: &str =
        "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jMAQAFaGVsbG8KAAAApWCX8ZT2/eAAAR4GwS+kHR+2830BAAAAAARZWg==";
    const BZIP2: &str = "QlpoOTFBWSZTWcHAgOIAAAFBAAAQAkSgADDNAMNGKZcXckU4UJDBwIDi";

    fn bytes(text: &str) -> Vec<u8> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap()
    }

    #[test]
    fn every_compression_is_told_by_its_first_bytes() {
        for packed in [bytes(XZ), bytes(BZIP2), b"hello\n".to_vec()] {
            let mut plain = String::new();
            let mut reader = decompress_any(&packed[..]).unwrap();
            reader.read_to_string(&mut plain).unwrap();
            assert_eq!(plain, "hello\n");
        }
    }

    #[test]
    fn what_is_cut_short_or_wrong_is_an_error() {
        for packed in [bytes(XZ), bytes(BZIP2)] {
            for end in 6..packed.len() - 1 {
                let mut reader = decompress_any(&packed[..end]).unwrap();
                assert!(reader.read_to_end(&mut Vec::new()).is_err(), "{end}");
            }
        }
    }
}
