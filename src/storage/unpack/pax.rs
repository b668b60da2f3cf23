//! PAX extended header records: `LENGTH KEY=VALUE\n`, pax(1), "pax Extended Header".
//!
//! Read here and not by the `tar` crate, because the crate splits the records at newlines: a
//! binary value that holds one (`security.capability` with DAC_OVERRIDE and FOWNER does) would
//! end the list there, and with it every record behind it would be lost.

use rustix::fs::Timespec;

/// Keys and values in file order; a later record of the same key overrules an earlier one.
pub(super) type Records<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Splits the data of an `x` entry. `LENGTH` is decimal and counts the whole record.
pub(super) fn parse(mut data: &[u8]) -> Result<Records<'_>, &'static str> {
    let mut records = Vec::new();
    while !data.is_empty() && data[0] != 0 {
        let space = data
            .iter()
            .take(20)
            .position(|&byte| byte == b' ')
            .ok_or("a PAX record has no length")?;
        let length = decimal(&data[..space]).ok_or("the length of a PAX record is not a number")?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > data.len() || length < space + 2 || data[length - 1] != b'\n' {
            return Err("the length of a PAX record is wrong");
        }
        let record = &data[space + 1..length - 1];
        let equals = record
            .iter()
            .position(|&byte| byte == b'=')
            .ok_or("a PAX record has no '='")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("the key of a PAX record is empty or contains NUL");
        }
        records.push((key, value));
        data = &data[length..];
    }
    Ok(records)
}

/// Digits only: no sign, no blank, no overflow.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// `[-]SECONDS[.FRACTION]`; digits behind the ninth of the fraction are dropped.
pub(super) fn time(text: &[u8]) -> Option<Timespec> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(seconds)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanoseconds = 0_i64;
    for place in 0..9 {
        let digit = fraction.get(place).map_or(0, |byte| i64::from(byte - b'0'));
        nanoseconds = nanoseconds * 10 + digit;
    }
    let (seconds, nanoseconds) = match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        // A time stamp counts its nanoseconds upwards, also before 1970.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    };
    Some(Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines_and_nul() {
        let data = b"14 k=a\nb=\0c d\n9 x=yyyy\n";
        assert_eq!(
            parse(data).unwrap(),
            vec![(&b"k"[..], &b"a\nb=\0c d"[..]), (&b"x"[..], &b"yyyy"[..])]
        );
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for data in [
            &b"5 k=a\n"[..],
            b"7 k=a\n",
            b"99999999999999999999 k=a\n",
            b"6k=a\n",
            b"-6 k=a\n",
            b"6 ka\xff\n",
            b"5 =a\n",
            b"0 k=a\n",
            b"2 \n",
        ] {
            assert!(parse(data).is_err(), "{data:?}");
        }
    }

    #[test]
    fn times_before_and_after_1970() {
        let parts = |text: &[u8]| time(text).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(parts(b"12"), Some((12, 0)));
        assert_eq!(parts(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(parts(b"12.0000000019"), Some((12, 1)));
        assert_eq!(parts(b"-1"), Some((-1, 0)));
        assert_eq!(parts(b"-1.25"), Some((-2, 750_000_000)));
        for text in [
            &b""[..],
            b"-",
            b"1e3",
            b"1.x",
            b"99999999999999999999",
            b"+1",
        ] {
            assert_eq!(parts(text), None, "{text:?}");
        }
    }
}
