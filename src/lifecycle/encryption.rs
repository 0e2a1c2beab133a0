//! The keys that encrypt stored secrets, and when this replica begins to encrypt.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use aws_lc_rs::rand;
use data_encoding::BASE64;
use tokio::sync::watch;

use super::background::Background;
use super::broker::Broker;
use crate::bus::{OtherReplicas, ReplicaPresence, write_private};
use crate::config::Config;
use crate::registry::{EncryptionKeys, KeyId, Registry};

/// File of the key that `dev` generates, in its data folder.
const DEV_KEY_FILE: &str = "secrets.key";
/// Interval at which documents that are not encrypted with the current key are rewritten.
const REPEAT_INTERVAL: Duration = Duration::from_secs(600);

/// Returns the keys of the configuration. Without one, `generates_key` says whether one is generated in
/// the data folder, as `dev` does.
///
/// # Errors
/// Both places have keys, the file cannot be read, or a key is invalid. The message has no key.
pub(super) fn keys(config: &Config, generates_key: bool) -> anyhow::Result<EncryptionKeys> {
    let secrets = &config.secrets;
    match (secrets.key.is_empty(), secrets.key_file.as_str()) {
        (false, "") => EncryptionKeys::parse(secrets.key.reveal())
            .context("secrets.key (SWITCHYARD_SECRETS__KEY)"),
        (false, _) => bail!("secrets.key and secrets.key_file are both set; set one of them"),
        (true, "") if generates_key => of_file(&generated(&config.nats.data_dir)?),
        (true, "") => {
            tracing::warn!(
                "secrets are stored unencrypted; set secrets.key_file (`openssl rand -base64 32` makes a key)"
            );
            Ok(EncryptionKeys::default())
        }
        (true, file) => of_file(Path::new(file)),
    }
}

fn of_file(file: &Path) -> anyhow::Result<EncryptionKeys> {
    let name = || format!("secrets.key_file {}", file.display());
    let text = std::fs::read_to_string(file).with_context(name)?;
    EncryptionKeys::parse(&text).with_context(name)
}

/// Returns the key file of a data folder; generates it if there is none.
fn generated(data_dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let file = data_dir.join(DEV_KEY_FILE);
    if !file.try_exists()? {
        let mut key = [0; 32];
        rand::fill(&mut key).ok().context("the system provides no random bytes")?;
        std::fs::create_dir_all(data_dir)
            .and_then(|()| write_private(&file, &BASE64.encode(&key)))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(file)
}

/// The presence of this replica, published once, and the others as they were then.
pub(super) struct Announced {
    presence: ReplicaPresence,
    others: watch::Receiver<Option<OtherReplicas>>,
}

impl Announced {
    /// The other replicas, as they are known.
    pub(super) fn others(&self) -> watch::Receiver<Option<OtherReplicas>> {
        self.others.clone()
    }
}

/// Publishes which keys this replica has, and chooses the newest one that all replicas have: before
/// this replica writes for the first time.
pub(super) async fn announce(broker: &Broker, keys: &EncryptionKeys) -> Announced {
    let ids = keys.ids().map(ToString::to_string).collect();
    let (control, subjects) = (broker.connections.control.clone(), broker.subjects.clone());
    let (presence, others) = ReplicaPresence::new(control, subjects, ids);
    if let Err(error) = presence.exchange().await {
        tracing::warn!(%error, "other replicas not known yet, so nothing is encrypted yet");
    }
    choose(keys, others.borrow().as_ref());
    Announced { presence, others }
}

/// Follows the other replicas, and encrypts with the newest key that all have.
pub(super) fn follow_replicas(
    Announced { presence, others }: Announced,
    registry: &Arc<Registry>,
    background: &Background,
) {
    let stop = background.stop.clone();
    // Not dropped when the router stops: it deletes its document then.
    background.tasks.spawn(async move { presence.run(stop.cancelled()).await });
    let registry = Arc::clone(registry);
    background.spawn(async move { choose_keys(&registry, others).await });
}

fn choose(keys: &EncryptionKeys, others: Option<&OtherReplicas>) {
    let Some(others) = others else { return };
    if keys.choose(|id| can_all_read(others, id)) {
        let key = keys.writes_with().map(ToString::to_string);
        tracing::info!(key, "secrets are stored encrypted with this key");
    }
}

async fn choose_keys(registry: &Registry, mut others: watch::Receiver<Option<OtherReplicas>>) {
    loop {
        match tokio::time::timeout(REPEAT_INTERVAL, others.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            // What failed before, and what a replica wrote with an earlier key.
            Err(_) => {}
        }
        choose(&registry.settings().encryption, others.borrow_and_update().as_ref());
        if registry.encryption().status().outdated > 0 {
            registry.encryption().rewrite().await;
        }
    }
}

fn can_all_read(others: &OtherReplicas, id: &KeyId) -> bool {
    let has_key = |ids: &Vec<String>| ids.iter().any(|known| known == id.as_str());
    !others.has_earlier_release && others.key_ids.iter().all(has_key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::domain::Secret;

    fn config(key: &str, file: &str, data_dir: &Path) -> Config {
        let mut config = Config::defaults().unwrap();
        config.secrets.key = Secret::new(key);
        file.clone_into(&mut config.secrets.key_file);
        data_dir.clone_into(&mut config.nats.data_dir);
        config
    }

    #[test]
    fn dev_generates_a_key_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = keys(&config("", "", &data), true).unwrap();
        let again = keys(&config("", "", &data), true).unwrap();
        assert_eq!(first.ids().count(), 1);
        assert_eq!(first.ids().next(), again.ids().next());
        let mode = data.join(DEV_KEY_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let serve = keys(&config("", "", &data), false).unwrap();
        assert_eq!(serve.ids().count(), 0);
    }

    #[test]
    fn errors_name_the_place_and_show_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let path = file.to_str().unwrap();
        let error = |key: &str, file: &str| {
            let keys = keys(&config(key, file, folder.path()), false);
            format!("{:#}", keys.unwrap_err())
        };
        assert!(error("", path).contains(path));
        std::fs::write(&file, "too-short-key").unwrap();
        let found = error("", path);
        assert!(found.contains(path) && !found.contains("too-short"), "{found}");
        let found = error("too-short-key", "");
        assert!(
            found.contains("SWITCHYARD_SECRETS__KEY") && !found.contains("too-short"),
            "{found}"
        );
        assert!(error("x", path).contains("both set"));
    }

    #[test]
    fn key_is_used_when_every_replica_has_it() {
        let keys = EncryptionKeys::parse(&BASE64.encode(&[1; 32])).unwrap();
        let id = keys.ids().next().unwrap();
        let others = |ids: &[&[&str]], has_earlier_release| OtherReplicas {
            key_ids: ids
                .iter()
                .map(|ids| ids.iter().map(|id| (*id).to_owned()).collect())
                .collect(),
            has_earlier_release,
        };
        assert!(can_all_read(&others(&[], false), id));
        assert!(can_all_read(&others(&[&["other", id.as_str()]], false), id));
        assert!(!can_all_read(&others(&[&[id.as_str()], &[]], false), id));
        assert!(!can_all_read(&others(&[], true), id));
    }
}
