//! Any text as `-v`, `--mount`, `--tmpfs` and `--volumes-from`. Oracle: no panic, and what is accepted
//! has a plain absolute target, a volume's name that may be a file's name, and a subpath that never
//! goes up.

#![no_main]

use coracle::model::{
    mount::{parse_mount, parse_tmpfs, parse_volume, parse_volumes_from},
    volume::check_volume_name,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = parse_volumes_from(text);
    for mount in [parse_volume(text), parse_mount(text), parse_tmpfs(text)]
        .into_iter()
        .flatten()
    {
        assert!(mount.target.starts_with('/') && mount.target.len() > 1);
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        assert!(mount.target[1..].split('/').all(plain));
        if let Some(volume) = mount.volume() {
            assert!(volume.anonymous == volume.name.is_empty());
            assert!(volume.anonymous || check_volume_name(&volume.name).is_ok());
        }
        if let Some(subpath) = &mount.options.subpath {
            assert!(subpath.split('/').all(plain));
        }
    }
});
