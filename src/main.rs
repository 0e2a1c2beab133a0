//! The `switchyard` command: flags, signals and exit code; nothing else.

fn main() {}
