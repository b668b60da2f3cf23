//! Numbers and strings as SSH writes them (RFC 4251, section 5). Nothing is read beyond an end.

pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub fn number(&mut self) -> Option<u32> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.bytes(length)
    }

    /// A number that is not negative: its bytes, the highest first, without zeros in front.
    pub fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|high| high & 0x80 != 0) {
            return None;
        }
        Some(without_zeros(bytes))
    }
}

pub fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[zeros..]
}

/// Collects what goes out.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn number(mut self, number: usize) -> Self {
        // All that is written is shorter than a message may be.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.0.extend(number.to_be_bytes());
        self
    }

    pub fn string(self, bytes: &[u8]) -> Self {
        let mut writer = self.number(bytes.len());
        writer.0.extend(bytes);
        writer
    }

    pub fn integer(self, bytes: &[u8]) -> Self {
        let bytes = without_zeros(bytes);
        if bytes.first().is_some_and(|high| high & 0x80 != 0) {
            return self.string(&[&[0], bytes].concat());
        }
        self.string(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_a_sign() {
        for (bytes, written) in [
            (&[0x80_u8][..], &[0_u8, 0, 0, 2, 0, 0x80][..]),
            (&[0, 0, 1, 2], &[0, 0, 0, 2, 1, 2]),
            (&[], &[0, 0, 0, 0]),
        ] {
            let out = Writer::default().integer(bytes).0;
            assert_eq!(out, written);
            assert_eq!(Reader(&out).integer(), Some(without_zeros(bytes)));
        }
        assert_eq!(Reader(&[0, 0, 0, 1, 0x80]).integer(), None);
        assert_eq!(Reader(&[0, 0, 0, 9, 1]).string(), None);
        assert_eq!(Reader(&[0xff; 8]).string(), None);
    }
}
