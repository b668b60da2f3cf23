//! What is made before the program is compiled.

#[path = "build/embedded.rs"]
mod embedded;
#[path = "build/seccomp.rs"]
mod seccomp;

fn main() {
    embedded::build();
    seccomp::build();
}
