//! Files and folders that only the user of the process can read.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a private folder.
const FOLDER_MODE: u32 = 0o700;
/// Mode of a private file.
const FILE_MODE: u32 = 0o600;
/// Permissions of group and others.
const OTHERS: u32 = 0o077;
/// Others may write, or the sticky bit is set as on `/tmp`: other programs use the folder, too.
const SHARED: u32 = 0o1002;

/// Creates a private folder, with its parents, or makes an existing one private.
///
/// # Errors
/// The folder cannot be created, belongs to another user, or is shared like `/tmp`.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
        }
        Err(error) => return Err(error),
    };
    if mode & SHARED != 0 {
        return Err(io::Error::other(format!(
            "other users may write to it (mode {:o}); name a folder that only switchyard uses, or run `chmod 700`",
            mode & 0o7777
        )));
    }
    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("other users may read it (mode {:o}), and `chmod 700` fails: {error}; name a folder of your own", mode & 0o7777),
            )
        })?;
        tracing::warn!(folder = %path.display(), "the data folder was open to other users; its mode is 0700 now");
    }
    Ok(())
}

/// Replaces a private file as a whole: a reader finds the old text or the new one.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_added_extension("new");
    // A file that an interrupted write left may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Makes a file private, if it exists.
///
/// # Errors
/// The file belongs to another user.
pub(super) fn close_file(path: &Path) -> io::Result<()> {
    match fs::set_permissions(path, Permissions::from_mode(FILE_MODE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        changed => changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn folder_of_mode(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[test]
    fn folder_is_created_private_with_its_parents_and_an_existing_one_is_closed() {
        let folder = folder_of_mode(0o755);
        let inner = folder.path().join("a/b");
        private_folder(&inner).unwrap();
        assert_eq!((mode(&inner), mode(&folder.path().join("a"))), (0o700, 0o700));
        private_folder(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn folder_that_others_write_to_is_refused_and_stays_as_it_is() {
        for shared in [0o777, 0o1777, 0o1755] {
            let folder = folder_of_mode(shared);
            let error = private_folder(folder.path()).unwrap_err().to_string();
            assert!(error.contains("chmod 700"), "{error}");
            assert_eq!(mode(folder.path()), shared);
        }
    }

    #[test]
    fn file_is_private_from_the_start_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conf");
        fs::write(&path, "old").unwrap();
        fs::write(folder.path().join("x.conf.new"), "interrupted").unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o600));
        assert!(close_file(&folder.path().join("none")).is_ok());
    }
}
