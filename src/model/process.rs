//! A process of a container, as `top` shows it: what /proc tells, proc(5).

/// Text of a container's is hostile: control characters are replaced when it is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Numbers on the host.
    pub pid: i32,
    pub ppid: i32,
    pub group: i32,
    pub session: i32,
    /// The number in the container.
    pub own_pid: i32,
    pub ids: ProcessIds,
    pub state: char,
    /// 0 is none; major and minor number as in proc_pid_stat(5).
    pub terminal: i32,
    /// The foreground process group of its terminal.
    pub foreground_group: i32,
    pub nice: i64,
    pub priority: i64,
    pub threads: i64,
    /// Bytes.
    pub virtual_size: u64,
    pub resident_size: u64,
    /// Milliseconds of processor time.
    pub processor_time: u64,
    /// Seconds after the epoch, and since then.
    pub started: u64,
    pub elapsed: u64,
    /// The program's name, at most 15 bytes.
    pub name: String,
    /// Its arguments, joined by spaces; the name in brackets if there are none.
    pub arguments: String,
    /// Capability masks: inheritable, permitted, effective, bounding, ambient.
    pub capabilities: [u64; 5],
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
}

/// Whose it is. Numbers of the host; names from the host's files, where it has some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessIds {
    pub effective: Named,
    pub real: Named,
    pub effective_group: Named,
    pub real_group: Named,
    pub groups: Vec<u32>,
    /// The same user and groups by their numbers in the container.
    pub own_effective: u32,
    pub own_real: u32,
    pub own_effective_group: u32,
    pub own_real_group: u32,
    pub own_groups: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub number: u32,
    pub name: Option<String>,
}

/// What is safe to show on a terminal: control characters become `?`.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
