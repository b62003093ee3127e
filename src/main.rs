//! The program: calls the command line and returns its exit status.
fn main() {}
