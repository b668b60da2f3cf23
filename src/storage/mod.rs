//! What lasts.

pub mod unpack;
