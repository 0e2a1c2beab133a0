//! The key pair of clients of a managed server: a file has the seed, the server knows the public key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nkeys::KeyPair;

use super::private_files::{close_file, write_private};

/// File of the seed. Its whole text is the seed, without a line end: clients differ in what they
/// trim.
const FILE: &str = "client.nk";

/// The key pair of a data folder.
#[derive(Debug)]
pub(super) struct ClientKey {
    /// The file with the seed.
    pub(super) file: PathBuf,
    /// The public key.
    pub(super) public: String,
}

impl ClientKey {
    /// Reads the key pair of `folder`, or generates one.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not a seed.
    pub(super) fn of_folder(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE);
        let pair = match fs::read_to_string(&file) {
            Ok(seed) => KeyPair::from_seed(seed.trim()).map_err(|_| not_a_seed(&file))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => generate(&file)?,
            Err(error) => return Err(error),
        };
        close_file(&file)?;
        Ok(Self { public: pair.public_key(), file })
    }
}

/// Generates a key pair for a client of a server: writes the seed to `file`, mode 0600, and returns
/// the public key.
///
/// # Errors
/// The file exists or cannot be written.
pub fn new_client_key(file: &Path) -> io::Result<String> {
    if file.try_exists()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists"));
    }
    generate(file).map(|pair| pair.public_key())
}

fn generate(file: &Path) -> io::Result<KeyPair> {
    let pair = KeyPair::new_user();
    write_private(file, &pair.seed().map_err(io::Error::other)?)?;
    Ok(pair)
}

fn not_a_seed(file: &Path) -> io::Error {
    io::Error::other(format!(
        "{} is not the seed of an nkey; delete it, and the next start generates another",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_pair_is_generated_once_for_each_folder() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = ClientKey::of_folder(folders[0].path()).unwrap();
        let seed = fs::read_to_string(&first.file).unwrap();
        assert!(seed.starts_with("SU") && seed.trim() == seed, "the seed alone");
        assert!(first.public.starts_with('U'), "{}", first.public);
        let again = ClientKey::of_folder(folders[0].path()).unwrap();
        let other = ClientKey::of_folder(folders[1].path()).unwrap();
        assert_eq!(again.public, first.public);
        assert_ne!(other.public, first.public);
    }

    #[test]
    fn damaged_file_is_an_error_that_shows_no_seed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "SUNOTASEED").unwrap();
        let error = ClientKey::of_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("delete it") && !error.contains("SUNOTASEED"), "{error}");
    }
}
