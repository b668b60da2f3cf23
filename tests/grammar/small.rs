//! Signals, capabilities and names.

use coracle::model::{capability, container::check_name, names, signal};
use proptest::prelude::*;

#[test]
fn signals() {
    for (text, number, name) in [
        ("SIGTERM", 15, "SIGTERM"),
        ("term", 15, "SIGTERM"),
        ("15", 15, "SIGTERM"),
        ("9", 9, "SIGKILL"),
        ("sigiot", 6, "SIGABRT"),
        ("CLD", 17, "SIGCHLD"),
        ("poll", 29, "SIGIO"),
        ("RTMIN", 34, "SIGRTMIN"),
        ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
        ("RTMAX-2", 62, "SIGRTMAX-2"),
        ("rtmax", 64, "SIGRTMAX"),
        ("RTMIN+30", 64, "SIGRTMAX"),
        ("33", 33, "33"),
    ] {
        assert_eq!(signal::parse_signal(text).unwrap(), number, "{text}");
        assert_eq!(signal::signal_name(number), name, "{text}");
    }
    for text in [
        "",
        "0",
        "65",
        "-1",
        "+9",
        "SIG",
        "SIGSIGTERM",
        "9x",
        "RTMIN+31",
        "RTMIN-1",
        "RTMAX-31",
        "RTMIN+",
        "RTMIN++1",
        "TERM ",
        "99999999999",
    ] {
        assert!(signal::parse_signal(text).is_err(), "{text}");
    }
}

#[test]
fn every_signal_has_a_name_that_is_understood() {
    for number in 1..=64 {
        assert_eq!(
            signal::parse_signal(&signal::signal_name(number)).unwrap(),
            number
        );
    }
}

#[test]
fn capabilities() {
    // The mask that podman's containers show in /proc/self/status.
    assert_eq!(capability::DEFAULT, 0x8004_05fb);
    assert_eq!(capability::ALL, 0x01ff_ffff_ffff);
    for (text, number) in [
        ("CAP_CHOWN", 0),
        ("chown", 0),
        ("cap_sys_admin", 21),
        ("CHECKPOINT_RESTORE", 40),
    ] {
        assert_eq!(capability::parse(text).unwrap(), number, "{text}");
    }
    for text in ["", "ALL", "CAP_", "CAP_CAP_CHOWN", "CAP_FLY"] {
        assert!(capability::parse(text).is_err(), "{text}");
    }
    for number in 0..41 {
        assert_eq!(
            capability::parse(&capability::name(number).unwrap()).unwrap(),
            number
        );
    }
    assert_eq!(capability::name(41), None);
    assert_eq!(capability::names(0b11), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    assert_eq!(capability::names(u64::MAX).len(), 41);
}

proptest! {
    #[test]
    fn generated_names_are_valid(bits in any::<u64>()) {
        let name = names::from_random(bits);
        prop_assert!(check_name(&name).is_ok());
        prop_assert_eq!(name.split('_').count(), 2);
    }

    #[test]
    fn no_text_breaks_the_readers(text in "(.{0,12}|(SIG)?RT(MIN|MAX)[-+]?[0-9]{0,3})") {
        if let Ok(number) = signal::parse_signal(&text) {
            prop_assert!((1..=64).contains(&number));
        }
        if let Ok(number) = capability::parse(&text) {
            prop_assert!(number <= 40);
        }
    }
}
