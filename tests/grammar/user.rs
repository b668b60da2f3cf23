//! `user[:group]` looked up in the files of an image.

use coracle::model::{
    ErrorKind,
    user::{Id, Identity, MAX_FILE, MAX_GROUPS, UserSpec},
};
use proptest::prelude::*;

const PASSWD: &[u8] = b"# users\n\
root:x:0:0:root:/root:/bin/sh\n\
\n\
short:x:5\n\
+nis::::::\n\
www:x:33:34:web,,,:/var/www:/sbin/nologin\n\
nohome:x:40:41::\n\
huge:x:4294967296:0::/:\n\
minus:x:-1:0::/:\n\
7up:x:77:77::/seven:/bin/sh\n";

const GROUP: &[u8] = b"root:x:0:\n\
audio:x:29:www,root\r\n\
web:x:34:\n\
video:x:44:other,www\n\
broken:x:many:nohome\n\
short:x\n";

fn resolve(text: &str) -> coracle::model::Result<Identity> {
    text.parse::<UserSpec>()?.resolve(PASSWD, GROUP)
}

#[test]
fn identities() {
    for (text, uid, gid, groups, home) in [
        ("", 0, 0, &[0, 29][..], Some("/root")),
        ("root", 0, 0, &[0, 29], Some("/root")),
        ("0", 0, 0, &[0, 29], Some("/root")),
        (":34", 0, 34, &[34], Some("/root")),
        ("www", 33, 34, &[29, 34, 44], Some("/var/www")),
        ("33", 33, 34, &[29, 34, 44], Some("/var/www")),
        ("www:", 33, 34, &[29, 34, 44], Some("/var/www")),
        ("www:audio", 33, 29, &[29], Some("/var/www")),
        ("www:0", 33, 0, &[0], Some("/var/www")),
        ("1234", 1234, 0, &[0], None),
        ("1234:1234", 1234, 1234, &[1234], None),
        ("4294967294", 4_294_967_294, 0, &[0], None),
        ("40:44", 40, 44, &[44], None),
    ] {
        let identity = resolve(text).unwrap();
        assert_eq!((identity.uid, identity.gid), (uid, gid), "{text}");
        assert_eq!(identity.groups, groups, "{text}");
        assert_eq!(identity.home.as_deref(), home, "{text}");
    }
}

#[test]
fn what_begins_like_a_number_is_one_or_an_error() {
    for text in [
        "-1",
        "4294967295",
        "4294967296",
        "99999999999999999999",
        "7up",
        "1x",
        "+1",
        "0x0",
        "0:-1",
        "0:4294967295",
        "root:7up",
        "a:b:c",
        "a/b",
        "a\n",
    ] {
        let error = resolve(text).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidArgument,
            "{text}: {error:?}"
        );
    }
}

#[test]
fn names_that_are_not_there() {
    for (text, message) in [
        (
            "nobody",
            "unable to find user nobody: no matching entries in passwd file",
        ),
        (
            "short",
            "unable to find user short: no matching entries in passwd file",
        ),
        (
            "root:nogroup",
            "unable to find group nogroup: no matching entries in group file",
        ),
    ] {
        let error = resolve(text).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::InvalidArgument, message)
        );
    }
}

#[test]
fn absurd_ids_in_the_image_are_errors() {
    for text in ["huge", "minus", "nohome", "root:broken"] {
        assert_eq!(
            resolve(text).unwrap_err().kind(),
            ErrorKind::InvalidContent,
            "{text}"
        );
    }
}

#[test]
fn absent_files_are_empty_ones() {
    let identity = UserSpec::default().resolve(b"", b"").unwrap();
    assert_eq!(
        (identity.uid, identity.gid, identity.groups),
        (0, 0, vec![0])
    );
    assert_eq!(identity.home, None);
}

/// CVE-2024-9676, and 400 000 groups that hung others.
#[test]
fn files_have_limits() {
    let long = vec![b'a'; MAX_FILE + 1];
    let many = b"\n".repeat(MAX_GROUPS);
    for bytes in [&long[..], &many[..]] {
        let spec = UserSpec {
            user: Id::Name("a".to_owned()),
            group: None,
        };
        assert_eq!(
            spec.resolve(bytes, b"").unwrap_err().kind(),
            ErrorKind::InvalidContent
        );
        let user = b"a:x:1:1::/:\n";
        assert_eq!(
            spec.resolve(user, bytes).unwrap_err().kind(),
            ErrorKind::InvalidContent
        );
    }
}

proptest! {
    #[test]
    fn no_file_breaks_the_lookup(
        text in "[a-z0-9:-]{0,6}",
        passwd in "([a-c]:x:[0-9]{1,11}:[0-9]{1,3}:[a:\n]{0,3}|.{0,30})",
        group in "([a-c]:x:[0-9]{1,11}:[a-c,\n]{0,5}|.{0,30})",
    ) {
        if let Ok(spec) = text.parse::<UserSpec>()
            && let Ok(identity) = spec.resolve(passwd.as_bytes(), group.as_bytes())
        {
            prop_assert!(identity.groups.contains(&identity.gid));
            prop_assert!(identity.uid != u32::MAX && !identity.groups.contains(&u32::MAX));
            prop_assert!(identity.groups.is_sorted());
        }
    }
}
