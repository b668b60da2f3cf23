#[path = "build/embedded.rs"]
mod embedded;

fn main() {
    embedded::build();
}
