//! The grammars of `src/model`: tables of what Docker accepts and refuses, and properties that
//! hold for any text.

mod env;
mod human;
mod mount;
mod security;
mod small;
mod user;
