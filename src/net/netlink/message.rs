//! Bytes of one netlink message: header, a fixed head of the family, attributes (type, length,
//! value, padded to four bytes, nested to any depth).
//!
//! Numbers are in the byte order of the machine, but for most of the firewall's, which are in that
//! of networks. What is read comes from the kernel; it is read as if it did not, with every length
//! checked, since its format grows.

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
pub(super) const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// The upper two bits of an attribute's type are flags.
const KIND: u16 = 0x3fff;

/// A request being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// `head` is the family's fixed part (`ifinfomsg`, `nfgenmsg` …); `REQUEST` is set for all.
    pub fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | super::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(head);
        let mut message = Message { bytes };
        message.pad();
        message
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }

    pub(super) fn set_sequence(&mut self, sequence: u32) {
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// Appends an attribute. One that is longer than the format can say (64 KiB) is written with
    /// the longest length, which the kernel refuses: callers split their lists.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nest_with(kind, |inner| inner.bytes.extend_from_slice(value))
    }

    pub fn put_u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.put(kind, &[value])
    }

    pub fn put_u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    pub fn put_u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// In the byte order of networks.
    pub fn put_u32_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// With the NUL that ends it.
    pub fn put_text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.nest_with(kind, |inner| {
            inner.bytes.extend_from_slice(text.as_bytes());
            inner.bytes.push(0);
        })
    }

    /// An attribute whose value is attributes.
    pub fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest_with(kind | NESTED, write)
    }

    /// Bytes without a header, for the fixed head within a nested attribute (`VETH_INFO_PEER`).
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn nest_with(&mut self, kind: u16, write: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        write(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.pad();
        self
    }

    /// Writes the whole message behind what `bytes` has.
    pub(super) fn finish_into(mut self, bytes: &mut Vec<u8>) {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes.append(&mut self.bytes);
    }
}

/// One message of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// After the header.
    pub payload: &'a [u8],
}

/// The messages of a datagram, up to the first whose length cannot be right.
pub(super) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>()?;
        let number = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let short = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = number(0) as usize;
        let payload = bytes.get(HEADER..length)?;
        let answer = Answer {
            kind: short(4),
            flags: short(6),
            sequence: number(8),
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(answer)
    })
}

/// The attributes of an answer: pairs of type and value, up to the first whose length cannot be
/// right.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Attributes { bytes }
    }

    /// Those behind a fixed head of `head` bytes.
    pub fn after(payload: &'a [u8], head: usize) -> Self {
        Attributes::new(payload.get(head..).unwrap_or_default())
    }

    /// The value of the first attribute of this type.
    pub fn find(self, wanted: u16) -> Option<&'a [u8]> {
        let mut all = self;
        all.find_map(|(kind, value)| (kind == wanted).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d] = *self.bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.bytes.get(4..length)?;
        self.bytes = self
            .bytes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & KIND, value))
    }
}

/// A text value without the NUL that may end it.
pub(super) fn text(value: &[u8]) -> String {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// A number in the machine's byte order, of four bytes.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}
