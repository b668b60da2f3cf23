//! Copying text into a JSON string, sixteen bytes at a time.

/// Appends `text` up to the first byte that neither stands for itself nor is a newline, and
/// `newline` in place of each newline. How many bytes of `text` that were.
pub fn copy_plain(out: &mut Vec<u8>, text: &[u8], newline: &[u8]) -> usize {
    let mut rest = text;
    loop {
        let plain = copy_until_special(out, rest);
        match rest[plain..].split_first() {
            Some((b'\n', behind)) => {
                out.extend_from_slice(newline);
                rest = behind;
            }
            _ => return text.len() - rest.len() + plain,
        }
    }
}

/// One pass: a block is copied before it is looked at, and what was too much of it does not count.
#[inline]
fn copy_until_special(out: &mut Vec<u8>, text: &[u8]) -> usize {
    out.reserve(text.len());
    let begin = out.len();
    let room = &mut out.spare_capacity_mut()[..text.len()];
    let mut at = 0;
    let mut special = 0;
    while let Some(block) = text[at..].first_chunk::<16>() {
        // SAFETY: `at + 16 <= text.len()`, and the room is as long.
        unsafe {
            let to = room.as_mut_ptr().add(at);
            to.cast::<[u8; 16]>().write_unaligned(*block);
        }
        special = special_bytes(block);
        if special != 0 {
            break;
        }
        // A number known beforehand: the next block need not wait for what is in this one.
        at += block.len();
    }
    if special == 0 {
        while at < text.len() && !is_special(text[at]) {
            room[at].write(text[at]);
            at += 1;
        }
    } else {
        at += special.trailing_zeros() as usize;
    }
    // SAFETY: the first `at` bytes of the room were written, block by block or one by one.
    unsafe { out.set_len(begin + at) };
    at
}

/// One bit for each byte that Go's JSON encoder does not write as it is, or that is not ASCII.
#[inline]
fn special_bytes(block: &[u8; 16]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this architecture has SSE2.
    unsafe {
        special_bytes_sse2(block)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let bit = |(index, &byte): (usize, &u8)| u32::from(is_special(byte)) << index;
        let bits = block.iter().enumerate().map(bit);
        bits.fold(0, |all, bit| all | bit)
    }
}

/// The same for one byte.
#[inline]
fn is_special(byte: u8) -> bool {
    !(0x20..0x80).contains(&byte) || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn special_bytes_sse2(block: &[u8; 16]) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };
    let bits = u128::from_le_bytes(*block);
    let bytes: __m128i = _mm_set_epi64x((bits >> 64) as i64, bits as i64);
    // Signed: bytes from 0x80 on are below the space, too.
    let low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
    let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
    // Pairs that differ in one bit: `"` and `&`, `<` and `>`.
    let with_quote = _mm_or_si128(bytes, _mm_set1_epi8(4));
    let quotes = _mm_cmpeq_epi8(with_quote, _mm_set1_epi8(b'&' as i8));
    let with_angle = _mm_or_si128(bytes, _mm_set1_epi8(2));
    let angles = _mm_cmpeq_epi8(with_angle, _mm_set1_epi8(b'>' as i8));
    let found = _mm_or_si128(_mm_or_si128(low, backslash), _mm_or_si128(quotes, angles));
    _mm_movemask_epi8(found) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_are_as_single_bytes(
            lines in prop::collection::vec("[a-z \"<é\t]{0,40}", 0..6),
            before in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let text = lines.join("\n").into_bytes();
            let mut out = before.clone();
            let taken = copy_plain(&mut out, &text, b"[end]");
            let stops = |&byte: &u8| byte != b'\n' && is_special(byte);
            prop_assert_eq!(taken, text.iter().position(stops).unwrap_or(text.len()));
            let mut expected = before;
            for &byte in &text[..taken] {
                match byte {
                    b'\n' => expected.extend_from_slice(b"[end]"),
                    _ => expected.push(byte),
                }
            }
            prop_assert_eq!(out, expected);
        }
    }

    #[test]
    fn every_byte_in_every_place() {
        for byte in 0..=255 {
            for place in 0..16 {
                let mut block = [b'a'; 16];
                block[place] = byte;
                assert_eq!(special_bytes(&block), u32::from(is_special(byte)) << place);
            }
        }
    }
}
