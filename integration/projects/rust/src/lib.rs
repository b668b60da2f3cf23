//! What is said to whoever asks for a path.

pub fn answer(path: &str) -> String {
    match path {
        "/" => "hello from Rust\n".to_owned(),
        other => format!("no {other}\n"),
    }
}
