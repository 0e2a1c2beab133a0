//! A small file system that tests fill.

use std::path::Path;
use std::process::Command;

use super::NatsServer;

/// A small file system; unmounted on drop.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one, by `sudo` if this user may not; `None` if neither may. In continuous integration that
    /// is a failure, since a skipped test is not noticed there.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Of any user: the server does not run as root.
        let options = format!("size={size},mode=1777");
        let path = folder.path().to_str().expect("a path in UTF-8");
        if as_root(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", path]) {
            return Some(Self(folder));
        }
        let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        assert!(!is_ci, "neither `mount` nor `sudo -n mount` may mount a tmpfs, which CI needs");
        eprintln!("SKIPPED: this user may not mount a tmpfs");
        None
    }

    pub(crate) fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let path = self.path().to_str().expect("a path in UTF-8");
        assert!(as_root(&["mount", "-o", &options, path]), "remount");
    }

    /// Fills it by messages of another stream, not by the router, so that only its own checks can find out.
    pub(crate) async fn fill(&self, nats: &NatsServer) {
        let filler = async_nats::jetstream::stream::Config {
            name: "FILLER".into(),
            subjects: vec!["filler".into()],
            ..Default::default()
        };
        let context = nats.router_context().await;
        context.create_stream(filler).await.expect("a stream");
        for _ in 0..64 {
            let Ok(sent) = context.publish("filler", vec![0; 1 << 20].into()).await else { break };
            if sent.await.is_err() {
                break;
            }
        }
        let rest = std::fs::write(self.path().join("rest"), vec![0; 24 << 20]);
        assert!(rest.is_err(), "the disk is full");
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "-l", &self.path().to_string_lossy()]);
    }
}

/// Runs a command as this user, or else by `sudo` without a password; whether either succeeded.
fn as_root(command: &[&str]) -> bool {
    let run = |command: &[&str]| {
        let quiet = std::process::Stdio::null;
        let status =
            Command::new(command[0]).args(&command[1..]).stderr(quiet()).stdin(quiet()).status();
        status.is_ok_and(|status| status.success())
    };
    run(command) || run(&[&["sudo", "-n"], command].concat())
}
