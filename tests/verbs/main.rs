//! The verbs on containers that exist, on a store in a temporary directory. In the supervisor's
//! place stands a thread that does what one does: holds the lock, listens on the socket, writes
//! the end down, lets go of the lock, says the last word.

mod ends;
mod locked;
mod logs;
mod shown;
mod world;
