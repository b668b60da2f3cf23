//! The command line as a contract: every command and flag of docker's, and podman's beside them.
//!
//! ```text
//! facts    the tables of tests/data/contract       docker   a row of docker's holds, or is named with a reason
//! acting   which test tries a flag                 podman   the same, softer: what is not there is listed
//! page     docs/compatibility.md says what is refused and what has no effect
//! ```
//!
//! The tables are facts about docker 28.2 (its own words for the value `abc` of every flag among
//! them) and podman 5. What ours are is asked of the library, [`coracle::cmd::contract`].

mod acting;
mod docker;
mod facts;
mod page;
mod podman;
