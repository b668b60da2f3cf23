//! Coracle: a container engine in one binary, without a daemon and without helper programs.
//!
//! This page is the map: the rooms of the house in the order in which they are best read.
//!
//! | room | what it holds | may use |
//! |---|---|---|
//! | [`model`] | nouns: plain data, each with its parser and printer; no I/O, no clock | – |
//! | [`sys`] | the kernel door: safe functions over system calls; the one room that says `unsafe` | – |
//! | [`storage`] | what lasts; the one room that knows a path below the root | model, sys |
//! | [`registry`] | what is far; the one asynchronous room; bytes go into a sink the caller gives | model |
//! | [`net`] | packets: links, addresses, the firewall, names, the relay; netlink messages, no programs | model, sys, storage |
//! | [`engine::plan`] | request + image + host facts → what will be done, as a value | model |
//! | [`engine::bundle`] | the plan as a bundle of the OCI runtime specification, and back | model, plan |
//! | [`engine::cgroup`] | the container's control group: where it is made, limits, freezing, figures | model, sys, plan |
//! | [`engine::sandbox`] | carries a plan out, between clone3 and execve | model, sys, plan |
//! | [`engine::supervisor`] | looks after one running container | model, sys, storage, net, plan, cgroup, sandbox |
//! | [`engine`] | the use-cases, one file a verb, methods of [`engine::Engine`] | all above |
//! | [`build`] | Dockerfiles and contexts → images | model, sys, storage, the engine's facade |
//! | [`cmd`] | the command line: flags → values → one engine call → output | model, build, the engine's facade |
//!
//! `tests/tidy.rs` keeps this table. Rooms to come: compose, kube, the REST API.
//!
//! # One container, from the command to the program
//!
//! ```text
//! coracle run ── main.rs: which role? ── cmd::run ── Engine::run
//!    │  identity: a user namespace is joined, or begun while the rest goes on
//!    │  images: the record, one open; pulled if it is missing (registry → ingest → storage)
//!    │  storage: the container's folder appears by one rename, its lock held
//!    │  volumes: those that are missing are made, by name or for the image
//!    │  plan::container: a value (bundle: read from, or written as, config.json)
//!    └─ fork ── execute the sealed self ── supervisor::main      (new pid namespace)
//!         ├─ fork ── net::process: ports, links, names, the relay (if it is connected to networks)
//!         │  cgroup: made if a limit or the user's rights ask for one, the limits written
//!         └─ clone3 ── sandbox::init, a straight line ── execve  (all other namespaces)
//! ```
//!
//! From here on the supervisor is one loop over descriptors: the program's end (pidfd), its streams
//! (→ log, → attached commands), the commands' sockets, timers, health checks. At an end it writes
//! the log's last byte, the exit record, the event, and then either lets go or, if the restart policy
//! says so, begins the next run. Commands read its files and its lock, and speak to it on a socket
//! whose messages only ever grow ([`engine::supervisor::protocol`]).
//!
//! # What holds everywhere
//!
//! 1. **The kernel holds the state; files only describe it.** A container runs if its supervisor's
//!    lock is held; nothing else says so.
//! 2. **No mount, namespace or network outlives its container.** Nothing is mounted in the host's
//!    namespace.
//! 3. **Everything that lasts appears whole or not at all** (head of [`storage`]).
//! 4. **One request shape, one plan shape**: [`model::ContainerSpec`] → [`engine::plan::SandboxPlan`].
//! 5. **The hot path is short**: `run` starts no asynchronous runtime, flushes nothing with `--rm`,
//!    executes only its own sealed self and newuidmap/newgidmap. Its cost is counted in system
//!    calls (`integration/perf.rs`).
//! 6. **Paths of a container are never strings on the host's side** ([`sys::in_root`]), and nothing
//!    of an image is configuration for us but passwd(5) and group(5).
//! 7. **A failure is one [`model::Error`]**: which operation on which thing, of which kind, why, and
//!    what to do. Exit codes are a table over the kind (`cmd::failure`).
//!
//! The files of the store and who writes them are drawn at the head of [`storage`].

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "there is one writer to the terminal: cmd::ui"
)]

pub mod build;
pub mod cmd;
pub mod engine;
pub mod model;
pub mod net;
pub mod registry;
pub mod storage;
pub mod sys;
