//! What of the kernel a container can reach at all.

use super::{load_python, python};
use crate::{case::Case, terminal::Terminal};

cases! {
    terminal_injection: root ordinary;
    dangerous_families_and_calls: root ordinary;
    keyring_of_the_caller: root ordinary;
    reachable_calls: root ordinary single;
    nothing_of_the_kernel_is_writable: root ordinary;
    cgroups_of_the_host: root ordinary;
}

/// TIOCSTI would type into the caller's terminal (CVE-2017-5226), TIOCLINUX paste into it: refused,
/// whatever stands in the half of the number that the kernel does not look at (CVE-2019-10063).
fn terminal_injection(case: &Case) {
    load_python(case);
    let script = "import ctypes, platform\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        ioctl = 16 if platform.machine() == 'x86_64' else 29\n\
        for request in (0x5412, 0x100005412, 0xffffffff00005412, 0x541C, 0x8000000000541C):\n\
        \x20 done = libc.syscall(ioctl, 0, ctypes.c_ulong(request), b'\\3x')\n\
        \x20 print('typed' if done != -1 else 'errno %d' % ctypes.get_errno())";
    let debian = ["localhost/debian", "python3", "-c", script];
    let run = ["run", "--rm", "-it", "--network=none"];
    let mut terminal = Terminal::start(case, &[&run[..], &debian].concat());
    terminal.expect(&"errno 1\r\n".repeat(5));
    assert_eq!(terminal.exit_code(), 0);
    assert!(!terminal.seen().contains("typed"));
}

/// Kernel interfaces that nobody needs and many exploits began with (CVE-2016-0728, CVE-2022-0492,
/// CVE-2026-31431 and many more).
fn dangerous_families_and_calls(case: &Case) {
    load_python(case);
    python(case, &[], include_str!("dangerous.py"))
        .ok()
        .prints("clone3 38\nunknown 38");
}

/// How much of the kernel there is to attack: every call is tried by its number, also as a 32-bit
/// program would (`int 0x80`) and with x32's bit.
fn reachable_calls(case: &Case) {
    load_python(case);
    let outcome = python(case, &[], include_str!("calls.py")).ok();
    let reached = |convention: &str| -> Option<Vec<u32>> {
        let line = outcome
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(convention))?;
        let mut numbers = line.split_whitespace();
        let count: usize = numbers.next()?.parse().unwrap();
        let numbers: Vec<u32> = numbers.filter_map(|number| number.parse().ok()).collect();
        assert_eq!(count, numbers.len(), "{outcome}");
        Some(numbers)
    };
    let native = reached("native").unwrap();
    assert!(native.len() <= 265, "{} calls: {outcome}", native.len());
    // It would prove nothing if everything was refused.
    assert!(native.len() >= 150, "{} calls: {outcome}", native.len());
    if let Some(x32) = reached("x32") {
        assert!(x32.is_empty(), "{outcome}");
    }
    if let Some(i386) = reached("i386") {
        // Sixty of them are the same calls with 64-bit times, offsets and ids.
        assert!(i386.len() <= 320, "{} calls: {outcome}", i386.len());
        // socketcall and ipc name what they do in memory, where the filter cannot look.
        assert!(!i386.contains(&102) && !i386.contains(&117), "{outcome}");
        println!("{} calls, {} of 32-bit programs", native.len(), i386.len());
    }
}

/// CVE-2016-0728: keys are not namespaced. A key of the caller's session is nobody's inside, even
/// for a container that may ask.
fn keyring_of_the_caller(case: &Case) {
    load_python(case);
    let look = "import ctypes, platform\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        request_key = 249 if platform.machine() == 'x86_64' else 218\n\
        found = libc.syscall(request_key, b'user', b'coracle-secret', None, 0)\n\
        print('found' if found != -1 else 'nothing')";
    let have = "import ctypes, os, platform, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        x = platform.machine() == 'x86_64'\n\
        libc.syscall(250 if x else 219, 1, None)\n\
        key = libc.syscall(248 if x else 217, b'user', b'coracle-secret', b'hunter2', 7, -3)\n\
        assert key != -1, ctypes.get_errno()\n\
        again = libc.syscall(249 if x else 218, b'user', b'coracle-secret', None, 0)\n\
        assert again == key\n\
        os.execv(sys.argv[1], sys.argv[1:])";
    for security in [&[][..], &["--security-opt=seccomp=unconfined"]] {
        let run = ["run", "--rm", "--network=none"];
        let debian = ["localhost/debian", "python3", "-c", look];
        let mut command = case.program("/usr/bin/python3");
        command.args(["-c", have]).args(case.engine_words());
        command.args([&run[..], security, &debian].concat());
        let outcome = crate::case::finish(command);
        if outcome.stderr.contains("security-opt") {
            return case.skip("needs --security-opt, to look from inside");
        }
        outcome.ok().prints("nothing");
    }
}

/// CVE-2015-3629 and others: no file of procfs, sysfs or /dev can be opened for writing but the
/// container's own.
fn nothing_of_the_kernel_is_writable(case: &Case) {
    load_python(case);
    python(case, &[], include_str!("writable.py"))
        .ok()
        .prints("tried");
}

/// CVE-2023-25809, CVE-2022-0492: the container sees its own cgroup as the top of a tree that it
/// cannot write to, and no `release_agent`.
fn cgroups_of_the_host(case: &Case) {
    case.load_busybox();
    let script = "cut -d: -f3 /proc/self/cgroup | sort -u; cut -d: -f3 /proc/1/cgroup | sort -u; \
                  find /sys/fs/cgroup -name release_agent; find /sys/fs/cgroup -type d | while read d; do \
                  mkdir $d/made 2>/dev/null && echo made $d; done; \
                  find /sys/fs/cgroup -type f | while read f; do (: >> $f) 2>/dev/null && echo wrote $f; done; \
                  grep ' /sys/fs/cgroup' /proc/mounts | cut -d, -f1 | cut -d' ' -f4";
    case.shell("", script).ok().prints("/\n/\nro");
}
