//! The priority of threads whose evaluations no live event waits for.

/// Priority of such a thread: with 10, one that competes for a processor with a thread of normal
/// priority gets a tenth of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the priority of this thread for as long as it runs. Without it, its evaluations compete with
/// the runtime as an equal; the log names the thread then.
pub fn lower_priority(thread: &str) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(thread, %error, "priority of a thread not lowered");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = thread;
}
