fn main() -> std::process::ExitCode {
    coracle::cmd::main(std::env::args_os().collect())
}
