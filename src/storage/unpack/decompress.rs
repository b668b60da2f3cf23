//! gzip and zstd as streams with bounded memory and a bounded ratio.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::{Decompress, FlushDecompress, Status};

use crate::model::{Error, ErrorKind, Result, manifest::Compression};

/// Below this many bytes of output the ratio is not looked at: small files of zeros are normal.
const FREE_OUTPUT: u64 = 64 << 20;
const MAX_RATIO: u64 = 1000;
const INPUT_BUFFER: usize = 64 << 10;
/// Largest zstd window: 128 MiB, what `zstd -d` accepts without `--long`.
const MAX_WINDOW_LOG: u32 = 27;

/// Reads the uncompressed bytes. Wrong input is an `io::Error` that carries an [`Error`] of
/// [`ErrorKind::InvalidContent`]; failures of the source pass through.
pub struct Decompressor<R: Read> {
    inner: Inner<R>,
    ratio: Ratio,
}

/// How many bytes have gone in and come out.
#[derive(Default)]
pub(super) struct Ratio {
    consumed: Arc<AtomicU64>,
    produced: u64,
}

/// A source whose first bytes were looked at.
pub type Detected<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

const MAGIC_BYTES: usize = 6;

type Source<R> = BufReader<Counted<R>>;

enum Inner<R: Read> {
    None(Source<R>),
    Gzip(Box<Gunzip<Source<R>>>),
    Zstd(Box<zstd::Decoder<'static, Source<R>>>),
}

impl<R: Read> Decompressor<R> {
    pub fn new(compression: Compression, source: R) -> Result<Self> {
        let ratio = Ratio::default();
        let source = BufReader::with_capacity(INPUT_BUFFER, Counted::new(source, &ratio));
        let inner = match compression {
            Compression::None => Inner::None(source),
            Compression::Gzip => Inner::Gzip(Box::new(Gunzip::new(source))),
            Compression::Zstd => Inner::Zstd(Box::new(zstd_decoder(source).map_err(|cause| {
                Error::new(ErrorKind::System, "cannot set up zstd").with_source(cause)
            })?)),
        };
        Ok(Decompressor { inner, ratio })
    }

    /// Like [`Self::new`] with the compression that the first bytes show. Blocks for those.
    ///
    /// Media types are not asked: there are images whose layers are gzip and called zstd, or
    /// plain and called gzip, and other engines go by the bytes.
    pub fn detect(mut source: R) -> io::Result<Decompressor<Detected<R>>> {
        let mut start = Vec::with_capacity(MAGIC_BYTES);
        source
            .by_ref()
            .take(MAGIC_BYTES as u64)
            .read_to_end(&mut start)?;
        let compression = sniff(&start);
        Decompressor::new(compression, io::Cursor::new(start).chain(source))
            .map_err(io::Error::other)
    }

    /// Whether the bytes come out as they go in.
    pub fn is_plain(&self) -> bool {
        matches!(self.inner, Inner::None(_))
    }
}

impl Ratio {
    /// So many more bytes came out.
    pub fn grow(&mut self, length: usize) -> io::Result<()> {
        self.produced += length as u64;
        let consumed = self.consumed.load(Ordering::Relaxed);
        if self.produced > FREE_OUTPUT && self.produced / MAX_RATIO > consumed {
            let bomb = "invalid compressed data: it grows more than a thousandfold";
            return Err(io::Error::other(Error::new(
                ErrorKind::InvalidContent,
                bomb,
            )));
        }
        Ok(())
    }
}

/// Members of RFC 1952 one after the other. The inflater itself reads headers and trailers: it folds
/// the checksum with carry-less multiplication while the bytes are in the cache, which takes a tenth
/// of the time that computing it by table afterwards takes.
struct Gunzip<R> {
    source: R,
    inflate: Decompress,
    /// Nothing of a next member was seen.
    between: bool,
}

impl<R: BufRead> Gunzip<R> {
    fn new(source: R) -> Self {
        Gunzip {
            source,
            inflate: Decompress::new_gzip(15),
            between: false,
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.source.fill_buf()?;
            let at_end = input.is_empty();
            if at_end && self.between {
                return Ok(0);
            }
            self.between = false;
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input, buffer, FlushDecompress::None)
                .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
            let read = self.inflate.total_in() - read;
            let length = self.inflate.total_out() - written;
            self.source.consume(read as usize);
            if status == Status::StreamEnd {
                self.inflate.reset(true);
                self.between = true;
            }
            if length > 0 {
                return Ok(length as usize);
            }
            if at_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if read == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

fn zstd_decoder<R: BufRead>(source: R) -> io::Result<zstd::Decoder<'static, R>> {
    let mut decoder = zstd::Decoder::with_buffer(source)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (format, result) = match &mut self.inner {
            Inner::None(source) => return source.read(buffer),
            Inner::Gzip(decoder) => ("gzip", decoder.read(buffer)),
            Inner::Zstd(decoder) => ("zstd", decoder.read(buffer)),
        };
        let length = result.map_err(|error| describe(format, error))?;
        self.ratio.grow(length)?;
        Ok(length)
    }
}

/// An errno or an error of ours comes from the source, everything else from the decoder.
pub(super) fn describe(format: &str, error: io::Error) -> io::Error {
    let from_source = error.raw_os_error().is_some()
        || error.kind() == io::ErrorKind::Interrupted
        || matches!(error.get_ref(), Some(inner) if inner.is::<Error>());
    if from_source {
        return error;
    }
    let invalid = Error::new(ErrorKind::InvalidContent, format!("invalid {format} data"));
    io::Error::other(invalid.with_source(error))
}

pub(super) struct Counted<R> {
    source: R,
    consumed: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub fn new(source: R, ratio: &Ratio) -> Self {
        Counted {
            source,
            consumed: ratio.consumed.clone(),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.consumed.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// The compression that the first bytes of a stream show: RFC 1952 and RFC 8878 magic numbers (a
/// zstd stream may begin with a skippable frame).
pub fn sniff(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, 8, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}
