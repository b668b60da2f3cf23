//! The device program in the kernel: a control group of the test's own, and a process in it that
//! opens devices. Without root, or a kernel that takes such programs from us, the test says so and
//! passes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use coracle::{
    engine::sandbox::device_filter,
    model::device::{DeviceRule, default_rules},
};

/// A child of this process's own group of cgroup2; removed at the end.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Group> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let place = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))?[1]
            .to_owned();
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("coracle-device-test-{}", std::process::id());
        let path = Path::new(&place).join(own).join(name);
        fs::create_dir(&path).ok()?;
        Some(Group(path))
    }

    /// Whether a process in the group can open the file for reading.
    fn opens(&self, device: &str) -> bool {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec 3< {device}",
            self.0.display()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .output()
            .unwrap()
            .status
            .success()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_kernel_obeys() {
    let Some(group) = Group::new() else {
        eprintln!("skipped: no control group can be made here");
        return;
    };
    let folder = fs::File::open(&group.0).unwrap();
    let mut rules = default_rules();
    let denied: DeviceRule = "c 1:8 r".parse().unwrap();
    rules.push(DeviceRule {
        allow: false,
        ..denied
    });
    if let Err(error) = device_filter::attach(&folder, &rules) {
        eprintln!("skipped: {}", error.one_line());
        return;
    }
    assert!(group.opens("/dev/null"));
    assert!(group.opens("/dev/zero"));
    // Denied by the last rule, and not allowed by any: 1:8, 1:11.
    assert!(!group.opens("/dev/random"));
    assert!(!group.opens("/dev/kmsg"));
}
