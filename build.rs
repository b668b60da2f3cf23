#[path = "build/seccomp.rs"]
mod seccomp;

fn main() {
    seccomp::build();
}
