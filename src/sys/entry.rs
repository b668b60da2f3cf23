//! The program's entry, without the preparations of Rust's runtime.
//!
//! Those are fifteen system calls (finding the stack's guard page, an alternative signal stack,
//! checking the standard streams), and a container's start goes through two of our processes.
//! What they buy is a message on stack overflow. SIGPIPE is ignored here as the runtime does.

/// Defines `main` of a program: `coracle::entry_point!(function)`, where `function` takes nothing
/// and returns the exit status. Arguments come from `std::env::args_os`, which glibc fills before
/// `main` on Linux.
#[macro_export]
macro_rules! entry_point {
    ($function:path) => {
        /// main(3p)
        // SAFETY: the one definition of this symbol in a program that has `#![no_main]`.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(
            _count: std::ffi::c_int,
            _arguments: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            $crate::sys::entry::prepare();
            let function: fn() -> i32 = $function;
            function()
        }
    };
}

/// What every process of ours needs before anything else.
pub fn prepare() {
    // Writing to a pipe that nobody reads must be an error, not a death.
    super::signals::ignore(libc::SIGPIPE);
    // The heap grows in one step instead of many (mallopt(3)); untouched memory costs nothing.
    #[cfg(target_env = "gnu")]
    // SAFETY: only this thread exists, and the two options take any positive number.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, 512 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 << 20);
    }
}
