//! A user's shell in a copy of what a clone has, in which the commands of a page run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use super::page::{Mark, Page, Shown, Step};
use crate::support::nats::{binary, copy_all};
use crate::support::{WAIT_MAX, eventually};

/// A shell whose variables and functions last from one block to the next, as a user's do.
pub(crate) struct Shell {
    home: tempfile::TempDir,
    _bash: Child,
    input: ChildStdin,
    /// What pages say, and what it is in the test: addresses, tokens, folders of the system.
    instead: Vec<(String, String)>,
    running: Vec<Running>,
    blocks: usize,
}

/// A block that runs until the end of its page.
struct Running {
    child: Child,
    output: PathBuf,
    at: String,
    shown: Vec<Shown>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also what bash started.
        if let Some(id) = self.child.id() {
            let group = format!("-{id}");
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &group]).status();
        }
    }
}

impl Shell {
    /// Starts a shell in a new folder with `deploy/` and the built program in `target/`.
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        copy_all(&root.join("deploy"), &home.path().join("deploy"));
        std::fs::create_dir(home.path().join("target")).expect("a folder");
        for profile in ["debug", "release"] {
            let built = home.path().join("target").join(profile);
            std::os::unix::fs::symlink(program_folder(), built).expect("a link");
        }
        let mut bash = command(home.path()).stdin(Stdio::piped()).spawn().expect("bash starts");
        let input = bash.stdin.take().expect("its input");
        let (instead, running) = (Vec::new(), Vec::new());
        Self { home, _bash: bash, input, instead, running, blocks: 0 }
    }

    /// From now on, commands have `real` wherever the page has `written`.
    pub(crate) fn replace(mut self, written: &str, real: &str) -> Self {
        self.instead(written, real);
        self
    }

    /// As [`Shell::replace`].
    pub(crate) fn instead(&mut self, written: &str, real: &str) {
        self.instead.push((written.to_owned(), real.to_owned()));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Runs every block of a page that can run, and checks what they print.
    pub(crate) async fn run(&mut self, page: &mut Page) {
        while let Some(step) = page.next() {
            self.step(&step).await;
        }
        self.finish().await;
    }

    /// Runs a block and checks what it prints; returns that.
    pub(crate) async fn step(&mut self, step: &Step) -> String {
        for (name, content) in &step.files {
            let file = self.home.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, self.real(content)).expect("a file");
        }
        if let Some(Mark::RunsOn(text)) = &step.mark {
            let printed = self.keep_running(&self.real(&step.commands), text).await;
            let running = self.running.last_mut().expect("what was started");
            running.at.clone_from(&step.at);
            running.shown.clone_from(&step.shown);
            return printed;
        }
        let (printed, codes) = self.execute(&self.real(&step.commands)).await;
        let expected = match step.mark {
            Some(Mark::ExitCode(code)) => Some(code),
            _ => None,
        };
        let at = &step.at;
        assert!(
            codes.iter().all(|code| Some(*code) == expected),
            "{at}: exit codes {codes:?}: {printed}"
        );
        assert_eq!(codes.is_empty(), expected.is_none(), "{at}: exit code: {printed}");
        for shown in &step.shown {
            let is_printed = printed.lines().any(|line| shown.is(line));
            assert!(is_printed, "{at}: no line `{}`: {printed}", shown.line());
        }
        printed
    }

    /// Checks what the blocks printed that ran on, and ends them.
    pub(crate) async fn finish(&mut self) {
        for running in self.running.drain(..) {
            for shown in &running.shown {
                let condition = format!("{}: prints `{}`", running.at, shown.line());
                eventually(WAIT_MAX, &condition, || async {
                    let printed = read(&running.output);
                    printed.lines().any(|line| shown.is(line)).then_some(())
                })
                .await;
            }
        }
    }

    /// Waits until one of the blocks that run on has printed a text.
    pub(crate) async fn until_printed(&self, text: &str) {
        let outputs = self.running.iter().map(|running| running.output.clone()).collect::<Vec<_>>();
        until_contains(&outputs, text).await;
    }

    /// Runs commands of the test; they succeed. Returns what they print.
    pub(crate) async fn say(&mut self, commands: &str) -> String {
        let (printed, codes) = self.execute(commands).await;
        assert!(codes.is_empty(), "{commands}: exit codes {codes:?}: {printed}");
        printed
    }

    fn real(&self, text: &str) -> String {
        let replace =
            |text: String, (written, real): &(String, String)| text.replace(written, real);
        self.instead.iter().fold(text.to_owned(), replace)
    }

    /// Returns what commands print, and the exit codes of those that fail.
    async fn execute(&mut self, commands: &str) -> (String, Vec<i32>) {
        self.blocks += 1;
        let number = self.blocks;
        let file = |kind: &str| self.home.path().join(format!(".block-{number}.{kind}"));
        let (script, output) = (file("sh"), file("out"));
        let (failed, done) = (file("failed"), file("done"));
        std::fs::write(&script, commands).expect("a file");
        std::fs::write(&failed, "").expect("a file");
        let line = format!(
            "set -E -o pipefail; trap 'echo $? >> {}' ERR\nsource {} > {} 2>&1 < /dev/null\n\
             trap - ERR; : > {}\n",
            failed.display(),
            script.display(),
            output.display(),
            done.display()
        );
        self.input.write_all(line.as_bytes()).await.expect("bash reads");
        eventually(WAIT_MAX, &format!("this ends: {commands}"), || async {
            done.exists().then_some(())
        })
        .await;
        let codes = read(&failed).lines().map(|code| code.parse().expect("a number")).collect();
        (read(&output), codes)
    }

    /// Starts commands in a shell of their own, which run until the end of the page; waits until they print a
    /// text, and returns what they printed.
    pub(crate) async fn keep_running(&mut self, commands: &str, text: &str) -> String {
        self.blocks += 1;
        let output = self.home.path().join(format!(".block-{}.out", self.blocks));
        let file = || {
            let file = std::fs::File::options().append(true).create(true).open(&output);
            Stdio::from(file.expect("a file"))
        };
        let child = command(self.home.path())
            .args(["-c", commands])
            .stdin(Stdio::null())
            .stdout(file())
            .stderr(file())
            .process_group(0)
            .spawn()
            .expect("bash starts");
        let (at, shown) = (commands.to_owned(), Vec::new());
        self.running.push(Running { child, output: output.clone(), at, shown });
        until_contains(&[output], text).await
    }
}

/// Waits until one of the files contains a text; returns what they contain.
async fn until_contains(files: &[PathBuf], text: &str) -> String {
    let all = || files.iter().map(|file| read(file)).collect::<Vec<_>>().join("\n");
    let waiting = async {
        while !all().contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(WAIT_MAX, waiting).await;
    assert!(waited.is_ok(), "`{text}` is not printed: {}", all());
    all()
}

/// The first digits of three free ports that end with 1, 2 and 3, below those that outgoing connections have.
pub(crate) fn free_ports() -> String {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let start = std::process::id() as usize * 7 + ASKED.fetch_add(1, Relaxed);
    let is_free = |port: String| TcpListener::bind(format!("127.0.0.1:{port}")).is_ok();
    let mut prefixes = (2_000..3_000).cycle().skip(start % 1_000);
    let free = prefixes.find(|prefix| (1..=3).all(|digit| is_free(format!("{prefix}{digit}"))));
    free.expect("free ports").to_string()
}

/// The folder of the built program.
fn program_folder() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_switchyard")).parent().expect("a folder")
}

/// Bash for a user with the program on the path, and nothing of the environment of the test.
fn command(home: &Path) -> Command {
    let system = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(program_folder().to_owned()).chain(std::env::split_paths(&system));
    let mut command = Command::new("bash");
    for name in ["SERVER", "TOKEN", "TOKEN_FILE", "ADMIN_TOKEN", "CONTEXT"] {
        command.env_remove(format!("SWITCHYARD_{name}"));
    }
    command
        .env("PATH", std::env::join_paths(path).expect("a path"))
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("NATS_SERVER", binary())
        .current_dir(home)
        .kill_on_drop(true);
    command
}

/// What a file has; nothing before it exists.
fn read(file: &Path) -> String {
    match std::fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("{}: {error}", file.display()),
    }
}
