//! Where a copy lands: Docker's rules, as one function of what both sides are.
//!
//! | source | destination is a folder | something else | not there |
//! |---|---|---|---|
//! | file | in it, by the source's name | replaced | made, unless its path ends in `/` or `/.` |
//! | folder | in it, by the source's name | refused | made |
//! | `folder/.` | its content, in it | refused | made |

use serde::{Deserialize, Serialize};

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Found {
    Nothing,
    Folder,
    File,
    /// A device, a FIFO or a socket.
    Other,
}

/// The first place of an archive: what its top is called, and whether that lies in the destination
/// itself or beside it, in its stead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Landing {
    pub in_destination: bool,
    /// Empty: the destination itself is the top.
    pub name: Vec<u8>,
}

/// Why nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    FolderOntoFile,
    NoSuchFolder,
    NotAFolder,
}

impl Refusal {
    pub(super) fn words(self) -> &'static str {
        match self {
            Refusal::FolderOntoFile => "cannot copy directory",
            Refusal::NoSuchFolder => "no such directory",
            Refusal::NotAFolder => "not a directory",
        }
    }
}

/// What the source is called where it lands; empty if only its content is meant (`folder/.`).
pub(super) fn name_of(path: &[u8]) -> &[u8] {
    let trimmed = trim(path);
    let start = trimmed.iter().rposition(|&byte| byte == b'/');
    match &trimmed[start.map_or(0, |slash| slash + 1)..] {
        b"." | b".." => b"",
        name => name,
    }
}

/// Whether a path says itself that it is a folder's.
pub(super) fn says_folder(path: &[u8]) -> bool {
    path.ends_with(b"/") || says_content(path)
}

/// Whether a path ends in `.` or `..`: it has no name of its own.
pub(super) fn says_content(path: &[u8]) -> bool {
    name_of(path).is_empty()
}

fn trim(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/');
    &path[..end.map_or(0, |last| last + 1)]
}

/// `destination` is the path after its links were followed.
pub(super) fn land(
    source: &[u8],
    source_is_folder: bool,
    destination: &[u8],
    found: Found,
) -> Result<Landing, Refusal> {
    let in_its_stead = || Landing {
        in_destination: false,
        name: name_of(destination).to_vec(),
    };
    match found {
        Found::Folder => Ok(Landing {
            in_destination: true,
            name: name_of(source).to_vec(),
        }),
        Found::Nothing if says_content(destination) => Err(Refusal::NoSuchFolder),
        Found::Nothing if !source_is_folder && says_folder(destination) => {
            Err(Refusal::NoSuchFolder)
        }
        Found::Nothing => Ok(in_its_stead()),
        _ if source_is_folder => Err(Refusal::FolderOntoFile),
        _ if says_folder(destination) => Err(Refusal::NotAFolder),
        _ => Ok(in_its_stead()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn landed(source: &str, is_folder: bool, destination: &str, found: Found) -> String {
        match land(source.as_bytes(), is_folder, destination.as_bytes(), found) {
            Ok(landing) => {
                let name = String::from_utf8(landing.name).unwrap();
                let place = if landing.in_destination { "in" } else { "as" };
                format!("{place} {name}")
            }
            Err(refusal) => refusal.words().to_owned(),
        }
    }

    /// The table of Docker's documentation of `docker cp`.
    #[test]
    fn the_documented_cases() {
        use Found::*;
        let cases = [
            ("/a/f", false, "/x/new", Nothing, "as new"),
            ("/a/f", false, "/x/new/", Nothing, "no such directory"),
            ("/a/f", false, "/x/old", File, "as old"),
            ("/a/f", false, "/x/d", Folder, "in f"),
            ("/a/f", false, "/x/old/", File, "not a directory"),
            ("/a/d", true, "/x/new", Nothing, "as new"),
            ("/a/d", true, "/x/new/", Nothing, "as new"),
            ("/a/d", true, "/x/new/.", Nothing, "no such directory"),
            ("/a/d", true, "/x/old", File, "cannot copy directory"),
            ("/a/d", true, "/x/d2", Folder, "in d"),
            ("/a/d/", true, "/x/d2", Folder, "in d"),
            ("/a/d/.", true, "/x/d2", Folder, "in "),
            ("/a/d/.", true, "/x/new", Nothing, "as new"),
            (".", true, "/", Folder, "in "),
            ("/", true, "out", Folder, "in "),
            ("f", false, "/x/pipe", Other, "as pipe"),
        ];
        for (source, is_folder, destination, found, expected) in cases {
            let outcome = landed(source, is_folder, destination, found);
            assert_eq!(outcome, expected, "{source} to {destination}");
        }
    }

    proptest! {
        /// Whatever the words: what lands has one plain name, or none in a folder that is there.
        #[test]
        fn a_landing_names_one_entry(
            source in "[a-c./]{0,12}",
            destination in "[a-c./]{0,12}",
            is_folder: bool,
            found in prop::sample::select(vec![
                Found::Nothing, Found::Folder, Found::File, Found::Other,
            ]),
        ) {
            if let Ok(landing) = land(source.as_bytes(), is_folder, destination.as_bytes(), found) {
                prop_assert!(!landing.name.contains(&b'/'));
                prop_assert!(landing.name != b"." && landing.name != b"..");
                prop_assert_eq!(landing.in_destination, found == Found::Folder);
                prop_assert!(landing.in_destination || !landing.name.is_empty());
                prop_assert!(!(is_folder && matches!(found, Found::File | Found::Other)));
            }
        }

        /// A slash at the end changes nothing for what is a folder, or becomes one.
        #[test]
        fn slashes_behind_a_folder_do_not_count(
            source in "[a-c]{1,3}(/[a-c]{1,3}){0,2}",
            destination in "[a-c]{1,3}(/[a-c]{1,3}){0,2}",
            found in prop::sample::select(vec![Found::Nothing, Found::Folder]),
        ) {
            let plain = land(source.as_bytes(), true, destination.as_bytes(), found);
            let (source, destination) = (format!("{source}/"), format!("{destination}//"));
            let slashed = land(source.as_bytes(), true, destination.as_bytes(), found);
            prop_assert_eq!(plain, slashed);
        }
    }
}
