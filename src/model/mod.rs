//! Nouns: plain data, each with its parser and its printer.
//!
//! Nothing here touches a file, a clock, the environment or the kernel, so that
//! every other room may use these types and every test may compare them.

pub mod account;
pub mod auth_file;
pub mod capability;
pub mod cdi;
pub mod condition;
pub mod container;
pub mod device;
pub mod device_program;
pub mod digest;
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
pub mod platform;
pub mod policy;
pub mod process;
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
pub mod transport;
pub mod user;
pub mod user_namespace;
pub mod volume;

pub use container::{ContainerId, ContainerSpec};
pub use digest::Digest;
pub use error::{Context, Error, ErrorKind, Result};
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{RegistryOptions, TrustFiles};
pub use sink::{BlobSink, Opening};
pub use source::BlobSource;
