//! Contexts: named routers of the user, one file for each with address, token and site.
//!
//! `switchyard dev` has a context of its own and holds a lock on the file while it runs, so that a
//! context whose process has ended, however it ended, is recognised.

mod file;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::exit::UsageError;
use crate::config;
pub(super) use file::{ContextFile, read_token};

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 64;
/// Most contexts that are read.
const CONTEXTS_MAX: usize = 1000;
/// Most bytes of a file.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Most `switchyard dev` with a context of their own at once.
const DEV_MAX: usize = 16;
/// Attempts to lock the file of an ended `switchyard dev`, which a reader locks for a moment.
const LOCK_ATTEMPTS_MAX: usize = 5;
/// Pause between two of them.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Name of the first context of `switchyard dev`.
const DEV: &str = "dev";

/// A context and whether it can be used.
#[derive(Clone, Debug)]
pub(super) struct NamedContext {
    pub(super) name: String,
    pub(super) file: ContextFile,
    pub(super) state: ContextState,
}

/// Whether the router of a context is known to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ContextState {
    /// It was added by the user; its router may run or not.
    Added,
    /// Its `switchyard dev` runs.
    DevRuns,
    /// Its `switchyard dev` has ended.
    DevEnded,
}

impl ContextState {
    /// Returns its name in lists.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::DevRuns => "running",
            Self::DevEnded => "ended",
        }
    }
}

/// The contexts of the user.
#[derive(Clone, Debug)]
pub(super) struct Contexts {
    folder: PathBuf,
}

impl Contexts {
    /// Returns the contexts of the user, none of which need exist.
    ///
    /// # Errors
    /// The user has no home.
    pub(super) fn open() -> anyhow::Result<Self> {
        let folder = config::user_config_dir();
        let missing = "there is no folder for contexts: set HOME or XDG_CONFIG_HOME";
        Ok(Self { folder: folder.ok_or_else(|| UsageError(missing.into()))? })
    }

    /// Returns the contexts in a folder.
    #[cfg(test)]
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns all contexts, sorted by name; a file that cannot be read is left out.
    pub(super) fn all(&self) -> anyhow::Result<Vec<NamedContext>> {
        let mut all = Vec::new();
        for name in self.names()? {
            // It may have been removed in between.
            if let Ok(Some(context)) = self.find(&name) {
                all.push(context);
            }
        }
        Ok(all)
    }

    fn names(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.folder.join("contexts");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", folder.display()));
            }
        };
        let name = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.strip_suffix(".toml")?.to_owned();
            is_name(&name).then_some(name)
        };
        let entries = entries.take(CONTEXTS_MAX).flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| name(entry.path())).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Returns a context; none if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<Option<NamedContext>> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = self.path(name);
        let opened = match File::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut text = String::new();
        (&opened).take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        let unreadable = |error: toml::de::Error| {
            // Without the excerpt: the file has a token.
            UsageError(format!("{}: {}", path.display(), error.message()))
        };
        let file: ContextFile = toml::from_str(&text).map_err(unreadable)?;
        let state = match file.dev {
            None => ContextState::Added,
            // The process has the lock while it runs.
            Some(_) => match opened.try_lock_shared() {
                Err(TryLockError::WouldBlock) => ContextState::DevRuns,
                Ok(()) | Err(TryLockError::Error(_)) => ContextState::DevEnded,
            },
        };
        Ok(Some(NamedContext { name: name.to_owned(), file, state }))
    }

    /// Returns a context that must exist.
    ///
    /// # Errors
    /// There is none of this name; the error lists those that exist.
    pub(super) fn existing(&self, name: &str) -> anyhow::Result<NamedContext> {
        if let Some(found) = self.find(name)? {
            return Ok(found);
        }
        let names = self.names()?;
        let known = match switchyard_expr::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => "add one with `switchyard context add`".to_owned(),
            None => format!("known are {}", names.join(", ")),
        };
        bail!(UsageError(format!("no context `{name}`: {known}")))
    }

    /// Writes a context, replacing one of this name.
    ///
    /// # Errors
    /// The name is not one, belongs to a running `switchyard dev`, or the file cannot be written.
    pub(super) fn write(&self, name: &str, file: &ContextFile) -> anyhow::Result<()> {
        if !is_name(name) {
            bail!(UsageError(format!(
                "`{name}` is no name of a context: it has letters, digits, `-` and `_`, at most {NAME_CHARS_MAX}"
            )));
        }
        self.refuse_running(name)?;
        self.replace(&self.path(name), &toml::to_string(file)?)
    }

    /// Removes a context, and its selection.
    ///
    /// # Errors
    /// There is none of this name, it belongs to a running `switchyard dev`, or cannot be removed.
    pub(super) fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.existing(name)?;
        self.refuse_running(name)?;
        fs::remove_file(self.path(name))?;
        if self.selected()?.as_deref() == Some(name) {
            fs::remove_file(self.selection())?;
        }
        Ok(())
    }

    fn refuse_running(&self, name: &str) -> anyhow::Result<()> {
        let known = self.find(name).ok().flatten();
        if known.is_some_and(|known| known.state == ContextState::DevRuns) {
            bail!(UsageError(format!(
                "the context `{name}` is that of a running `switchyard dev`; it removes it when it ends"
            )));
        }
        Ok(())
    }

    /// Returns the name of the selected context; none if none is selected.
    pub(super) fn selected(&self) -> anyhow::Result<Option<String>> {
        match fs::read_to_string(self.selection()) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| is_name(name))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read which context is selected"),
        }
    }

    /// Selects a context for the next commands; none selects none.
    ///
    /// # Errors
    /// There is none of this name, or the selection cannot be written.
    pub(super) fn select(&self, name: Option<&str>) -> anyhow::Result<()> {
        match name {
            Some(name) => {
                self.existing(name)?;
                self.replace(&self.selection(), &format!("{name}\n"))
            }
            None => match fs::remove_file(self.selection()) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            },
        }
    }

    /// Writes the context of this `switchyard dev`: `dev`, or `dev-2` while another one runs, and so on.
    ///
    /// # Errors
    /// The file cannot be written, or too many of them run.
    pub(super) fn begin_dev(&self, file: &ContextFile) -> anyhow::Result<DevContext> {
        let text = toml::to_string(&file.clone().with_dev(std::process::id()))?;
        self.create_folder()?;
        for number in 1..=DEV_MAX {
            let name = match number {
                1 => DEV.to_owned(),
                number => format!("{DEV}-{number}"),
            };
            if let Ok(Some(known)) = self.find(&name)
                && known.state != ContextState::DevEnded
            {
                continue;
            }
            let path = self.path(&name);
            if let Some(mut locked) = lock(&path)? {
                locked.set_len(0)?;
                locked.write_all(text.as_bytes())?;
                return Ok(DevContext { name, path, _locked: locked });
            }
        }
        bail!("{DEV_MAX} contexts of `switchyard dev` are in use")
    }

    /// Writes a file of the user alone in one step.
    fn replace(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        self.create_folder()?;
        let written = path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file = private().create(true).truncate(true).open(&written)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&written, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn create_folder(&self) -> anyhow::Result<()> {
        let folder = self.folder.join("contexts");
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        created.with_context(|| format!("cannot create {}", folder.display()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join("contexts").join(format!("{name}.toml"))
    }

    fn selection(&self) -> PathBuf {
        self.folder.join("selected-context")
    }
}

/// The context of this `switchyard dev`; removed on drop.
#[derive(Debug)]
pub(super) struct DevContext {
    /// Its name.
    pub(super) name: String,
    path: PathBuf,
    _locked: File,
}

impl Drop for DevContext {
    fn drop(&mut self) {
        // The lock ends after that; a file that stays is one of an ended process.
        let _ = fs::remove_file(&self.path);
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Opens and locks a file, created if needed; none if another process has the lock.
fn lock(path: &Path) -> anyhow::Result<Option<File>> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let opened = private().create(true).truncate(false).open(path);
        let opened = opened.with_context(|| format!("cannot write {}", path.display()))?;
        match opened.try_lock() {
            // Another process may have removed it in between.
            Ok(()) if is_at(&opened, path) => {
                opened.set_permissions(fs::Permissions::from_mode(0o600))?;
                return Ok(Some(opened));
            }
            Ok(()) | Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    Ok(None)
}

/// Whether a path leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let at = fs::metadata(path).ok().map(place);
    at.is_some() && at == file.metadata().ok().map(place)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn contexts() -> (tempfile::TempDir, Contexts) {
        let folder = tempfile::tempdir().unwrap();
        let contexts = Contexts { folder: folder.path().join("switchyard") };
        (folder, contexts)
    }

    fn file() -> ContextFile {
        ContextFile::new("http://127.0.0.1:1", Some("site-1")).with_token(&Secret::new("t"))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn context_is_kept_for_its_user_alone_and_selected_by_name() {
        let (_folder, contexts) = contexts();
        assert!(contexts.all().unwrap().is_empty());
        contexts.write("prod", &file()).unwrap();
        assert_eq!(mode(&contexts.path("prod")), 0o600);
        assert_eq!(mode(contexts.path("prod").parent().unwrap()), 0o700);
        assert!(contexts.select(Some("other")).is_err());
        contexts.select(Some("prod")).unwrap();
        assert_eq!(contexts.selected().unwrap().as_deref(), Some("prod"));
        let found = contexts.existing("prod").unwrap();
        assert_eq!(found.state, ContextState::Added);
        assert_eq!(found.file.token().unwrap().unwrap().reveal(), "t");
        assert!(contexts.existing("prd").unwrap_err().to_string().contains("`prod`"));
        contexts.remove("prod").unwrap();
        assert_eq!(contexts.selected().unwrap(), None);
        for name in ["", "a/b", "..", "a b"] {
            assert!(contexts.write(name, &file()).is_err(), "{name}");
        }
    }

    #[test]
    fn each_dev_has_a_context_of_its_own_and_an_ended_one_is_recognised() {
        let (_folder, contexts) = contexts();
        let first = contexts.begin_dev(&file()).unwrap();
        let second = contexts.begin_dev(&file()).unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("dev", "dev-2"));
        assert_eq!(contexts.existing("dev").unwrap().state, ContextState::DevRuns);
        assert!(contexts.remove("dev").is_err());
        drop(second);
        assert!(contexts.find("dev-2").unwrap().is_none());
        // What a killed process leaves: the file without its lock.
        let left = fs::read(&first.path).unwrap();
        drop(first);
        fs::write(contexts.path("dev"), left).unwrap();
        assert_eq!(contexts.existing("dev").unwrap().state, ContextState::DevEnded);
        assert_eq!(contexts.begin_dev(&file()).unwrap().name, "dev");
    }

    #[test]
    fn context_that_the_user_added_as_dev_is_not_overwritten() {
        let (_folder, contexts) = contexts();
        contexts.write("dev", &file()).unwrap();
        assert_eq!(contexts.begin_dev(&file()).unwrap().name, "dev-2");
        assert_eq!(contexts.existing("dev").unwrap().state, ContextState::Added);
    }
}
