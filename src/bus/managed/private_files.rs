//! Files and folders that only the user of the process can read.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of a private folder.
const FOLDER_MODE: u32 = 0o700;
/// Mode of a private file.
const FILE_MODE: u32 = 0o600;
/// Permissions of group and others.
const OTHERS: u32 = 0o077;
/// Group or others may write, or the sticky bit is set as on `/tmp`: other programs use the folder, too.
const SHARED: u32 = 0o1022;

/// Creates a private folder, with its parents, or makes an existing one private that is empty or has
/// nothing but `own` entries, if these are given.
///
/// # Errors
/// The folder cannot be created, belongs to another user, is shared like `/tmp`, or is open to others
/// and has entries of other programs.
pub(super) fn private_folder(path: &Path, own: Option<&[&str]>) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Ok(found) => {
            check_owner(&found)?;
            found.permissions().mode()
        }
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
        if let Some(own) = own
            && let Some(other) = foreign_entry(path, own)?
        {
            return Err(io::Error::other(format!(
                "other users may read it (mode {:o}), and it has files of other programs, such as {other:?}; name a folder that only switchyard uses, or run `chmod 700`",
                mode & 0o7777
            )));
        }
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

fn check_owner(found: &fs::Metadata) -> io::Result<()> {
    if !found.is_dir() {
        return Err(io::Error::other(
            "it is not a folder; name a folder that only switchyard uses",
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Err(io::Error::other(format!(
            "it belongs to user {}, and switchyard runs as user {user}; name a folder of your own, or run `chown`",
            found.uid()
        )));
    }
    Ok(())
}

/// Returns the name of an entry of a folder that is not one of `own`.
fn foreign_entry(path: &Path, own: &[&str]) -> io::Result<Option<OsString>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !own.iter().any(|own| name == *own) {
            return Ok(Some(name));
        }
    }
    Ok(None)
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
        private_folder(&inner, None).unwrap();
        assert_eq!((mode(&inner), mode(&folder.path().join("a"))), (0o700, 0o700));
        let error = private_folder(folder.path(), Some(&["nats"])).unwrap_err().to_string();
        assert!(error.contains("files of other programs, such as \"a\""), "{error}");
        assert_eq!(mode(folder.path()), 0o755, "a folder of other programs stays as it is");
        private_folder(folder.path(), Some(&["a"])).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn file_in_place_of_a_folder_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert!(private_folder(&file, None).unwrap_err().to_string().contains("not a folder"));
        assert_eq!(mode(&file), 0o644);
    }

    #[test]
    fn folder_that_others_write_to_is_refused_and_stays_as_it_is() {
        for shared in [0o777, 0o775, 0o2775, 0o1777, 0o1755] {
            let folder = folder_of_mode(shared);
            let error = private_folder(folder.path(), None).unwrap_err().to_string();
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
