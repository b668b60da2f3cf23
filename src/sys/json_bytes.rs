//! Looking for bytes that a JSON string escapes, sixteen at a time.

/// One bit for each byte that Go's JSON encoder does not write as it is, or that is not ASCII.
#[inline]
pub fn special_bytes(block: &[u8; 16]) -> u32 {
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
pub fn is_special(byte: u8) -> bool {
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
    use super::*;

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
