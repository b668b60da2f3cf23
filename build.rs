//! What is made before the program is compiled.

#[path = "build/seccomp.rs"]
mod seccomp;

fn main() {
    seccomp::build();
}
