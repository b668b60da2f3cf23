//! Where contexts are, as users write it.

use super::place::Place;
use crate::model::LayoutImage;

#[test]
fn places() {
    assert_eq!(Place::of_main("-").unwrap(), Place::StandardInput);
    assert_eq!(
        Place::of_main("dir").unwrap(),
        Place::Folder("dir".to_owned())
    );
    assert_eq!(
        Place::of_main("https://host/x.tar").unwrap(),
        Place::Url("https://host/x.tar".to_owned())
    );
    assert_eq!(
        Place::of_named("target:base").unwrap(),
        Place::Stage("base".to_owned())
    );
    assert_eq!(
        Place::of_named("oci-layout://dir:v1").unwrap(),
        Place::OciLayout {
            path: "dir".to_owned(),
            image: LayoutImage::Tag("v1".to_owned())
        }
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    for text in ["oci-layout://dir", "oci-layout://dir:v1"] {
        assert_eq!(
            Place::of_named(&format!("{text}@{digest}")).unwrap(),
            Place::OciLayout {
                path: "dir".to_owned(),
                image: LayoutImage::Digest(digest.parse().unwrap())
            }
        );
    }
    assert!(matches!(
        Place::of_named("docker-image://busybox").unwrap(),
        Place::Image(_)
    ));
    assert!(Place::of_named("-").is_err());
    assert!(Place::of_named("oci-layout://").is_err());
}
