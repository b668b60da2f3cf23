//! What our dependencies use of `regex`, done by `regex-lite`: the runtime specification's types
//! check one short text with it. The real crate brings 1.3 MB of program and tables of Unicode
//! that are full of pointers; relocating those costs every supervisor 220 KiB of memory.

pub use regex_lite::*;
