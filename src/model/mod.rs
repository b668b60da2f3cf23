//! Nouns: plain data, each with its parser and its printer.
//!
//! Nothing here touches a file, a clock, the environment or the kernel, so that
//! every other room may use these types and every test may compare them.

pub mod account;
pub mod address_pool;
pub mod attachment;
pub mod auth_file;
pub mod backend;
pub mod builder;
pub mod capability;
pub mod cdi;
pub mod client_config;
pub mod condition;
pub mod container;
pub mod containers_conf;
pub mod device;
pub mod device_program;
pub mod digest;
pub mod dns;
pub mod env;
pub mod error;
pub mod event;
pub mod gpu;
pub mod health;
pub mod hook;
pub mod hook_file;
pub mod host;
pub mod human;
pub mod image;
pub mod image_place;
pub mod index;
pub mod log;
pub mod manifest;
pub mod mount;
pub mod names;
pub mod namespace;
pub mod nearest;
pub mod network;
pub mod platform;
pub mod policy;
pub mod private_network;
pub mod process;
pub mod publish;
pub mod reference;
pub mod registries;
pub mod registries_d;
pub mod registry;
pub mod resources;
pub mod restart;
pub mod seccomp;
pub mod secret;
pub mod security;
pub mod signal;
pub mod sink;
pub mod source;
pub mod step_cache;
pub mod transport;
pub mod user;
pub mod user_namespace;
pub mod volume;

/// The release of Docker whose commands, outputs and objects are the measure. Scripts ask for it, to
/// know what they may use.
pub const DOCKER_VERSION: &str = "28.2.2";

pub use container::{ContainerId, ContainerSpec};
pub use digest::Digest;
pub use error::{Context, Error, ErrorKind, Failure, Result};
pub use nearest::nearest;
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{RegistryOptions, TrustFiles};
pub use sink::{BlobSink, Opening};
pub use source::BlobSource;
pub use transport::LayoutImage;
