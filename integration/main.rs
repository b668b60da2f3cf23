//! Real containers, real registries, as root and as ordinary users.
//!
//! ```text
//! case         one case: its user, its own store, its commands       registry  one on loopback
//! image        images made by hand, good and bad                     terminal  a pseudo-terminal
//! world        a host of the case's own, and what lies outside of it
//! ```
//!
//! | area | what it shows |
//! |---|---|
//! | run | exit codes, environment, user, mounts, names, pull policies |
//! | isolation | what a container gets, sees and cannot do |
//! | life | detached containers: logs, attach, stop, kill, wait, rm, restarts of nothing |
//! | restart | restart policies, the time between two runs, what runs after a reboot |
//! | documented | the commands of README.md and docs/ |
//! | events | what happened, as it happens and afterwards |
//! | list | `ps` with its filters and formats, `port`, `inspect`; who waits for whom |
//! | lifecycle | which command is legal in which state; several containers, however they are chosen; rename, update, wait |
//! | logs | drivers, rotation, following, exact bytes, a full disk |
//! | exec | a second process, with and without a terminal |
//! | health | checks, what they find, what is done about it |
//! | df | `system df`: what du says of the store, what can be freed |
//! | images | load, import, tag, list, inspect, remove |
//! | auth | login and logout, helpers, other programs' auth files, registries.conf |
//! | archives | save and load in every format, with others too; image scp; history, tree, diff, ls-files |
//! | pull | http, https, digests, platforms, packings |
//! | transfer | downloads that are shared, interrupted, disturbed; counted at the registry |
//! | manifests | lists of images, artifacts, who refers to what; read by skopeo |
//! | push | digests that stay, what is spared, kinds of documents and packings, interruptions |
//! | trust | policies, and signatures made by openssl as cosign makes them |
//! | stores | the whole store: checked, mended, migrated, removed, shared |
//! | tree | an unpacked image equals what umoci unpacks |
//! | bad_input | hostile and broken input: one line, the right code, the store as before |
//! | escape | attacks that worked elsewhere (docs/security.md lists them) |
//! | build | Dockerfiles and contexts, what comes out and where it goes |
//! | bundle | OCI runtime bundles, root folders, hooks |
//! | compat | the command line as a contract: transcripts of sessions with Docker |
//! | contract | flags of docker's that no other area tries, each with what it does |
//! | commit | images of containers, and containers like others |
//! | dockerfiles | rules of the language, and the trees that come of them |
//! | prune | cleaning up: what goes, what stays, what is asked and said |
//! | figures | what containers do and use: top, stats, pause, update |
//! | files | cp, export, diff: what is copied, where it lands, whose it is |
//! | flags | every flag of `run`, one row each, seen from inside or from the kernel |
//! | many | a hundred at once |
//! | devices | devices, CDI, secrets, users, time zones, variables |
//! | crash | killed anywhere, a call that fails, a power cut at any write, a hundred commands at once; and asked again |
//! | reliability | numbers that mean somebody else, clocks, boots, full disks |
//! | volumes | volumes and mounts: content, owners, life, archives |
//! | networks | made, shown, changed, removed; what containers ask of them |
//! | namespaces | shared with the host and with other containers |
//! | networking | containers that speak with each other, with the host and with the world |
//! | crowd | many containers on one network, and deaths of the processes that look after them |
//! | user_namespaces | ids of a container's own: maps, owners, what they cost |
//! | modes | root, subordinate ids, one id |
//! | scripts | scripts that call docker, as build systems and their users have them |
//! | security | capabilities, filters, masks, limits, groups: flags that change them |
//! | shell | in front of a terminal and in a pipeline: job control, signals, ends of streams |
//! | regressions | faults that were found, each with its story |
//! | containers_conf | podman's settings for every container |
//! | perf | system calls of a run |
//! | start_up | what commands take that have next to nothing to do |
//!
//! `integration/prepare` makes what the cases share; `make integration` calls it. A case is run
//! once for every user it is registered for: `run::exit_codes::root`, `…::ordinary` (with
//! subordinate ids), `…::single` (without). What the caller may not do is skipped, with a line on
//! standard error and in `$CORACLE_TEST_DIR/skipped`.
//!
//! `ENGINE=podman` (or `docker`) runs the same commands with that engine: `make compat` those of `compat`.

#[macro_use]
mod case;
mod image;
mod registry;
mod terminal;

mod archives;
mod auth;
mod bad_input;
mod build;
mod build_cache;
mod build_platforms;
mod build_steps;
mod bundle;
mod cgroups;
mod commit;
mod compat;
mod containers_conf;
mod contract;
mod crash;
mod crowd;
mod devices;
mod df;
mod dockerfiles;
mod documented;
mod escape;
mod events;
mod exec;
mod figures;
mod files;
mod flags;
mod health;
mod images;
mod isolation;
mod life;
mod lifecycle;
mod list;
mod logs;
mod manifests;
mod many;
mod modes;
mod namespaces;
mod network_backends;
mod networking;
mod networks;
mod perf;
mod projects;
mod prune;
mod pull;
mod push;
mod regressions;
mod reliability;
mod restart;
mod run;
mod scripts;
mod security;
mod shell;
mod start_up;
mod stores;
mod templates;
mod transfer;
mod tree;
mod trust;
mod user_namespaces;
mod volumes;
mod world;
