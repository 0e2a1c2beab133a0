//! Manifests: declarative files of apps, and of installations with their modules.
//!
//! ```text
//! {"resource": "app", "id": "my-app", "spec": {"kind": "forge", ..}}
//! {"resource": "installation", "id": "first", "spec": {"app": "my-app", ..},
//!  "modules": [{"key": "assign", "type": "trigger", "data": {..}}]}
//! ```
//!
//! A file holds one resource. `spec` is the body of the operator's `PUT`. The router generates
//! secrets, so a file needs none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{ApiClient, ErrorStatus, path_segment};
use super::exit::UsageError;

/// Maximum number of files and folders below one folder.
const FILES_MAX: usize = 100_000;
/// Items requested in one page.
const PAGE: usize = 500;
/// Members of an app that its manifest holds; the others are derived or secret.
const APP_MEMBERS: &[&str] = &[
    "kind",
    "name",
    "version",
    "scopes",
    "permissions",
    "functions",
    "endpoints",
    "baseUrl",
    "staticModules",
    "translations",
    "lifecycle",
    "discovery",
    "notices",
    "delivery",
];
/// As [`APP_MEMBERS`], for an installation.
const INSTALLATION_MEMBERS: &[&str] = &[
    "app",
    "cloudId",
    "product",
    "clientKey",
    "licensed",
    "environment",
    "state",
    "appAccountId",
    "retention",
];

/// Kind of a resource; apps are ordered before installations, which depend on them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResourceKind {
    App,
    Installation,
}

impl ResourceKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Installation => "installation",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::App => "apps",
            Self::Installation => "installations",
        }
    }

    pub(super) fn members(self) -> &'static [&'static str] {
        match self {
            Self::App => APP_MEMBERS,
            Self::Installation => INSTALLATION_MEMBERS,
        }
    }
}

/// The content of one file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) resource: ResourceKind,
    pub(super) id: String,
    pub(super) spec: Map<String, Value>,
    /// Modules of an installation; absent = not managed by this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modules: Option<Vec<ManifestModule>>,
}

/// A module in a manifest.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct ManifestModule {
    pub(super) key: String,
    #[serde(rename = "type")]
    pub(super) module_type: String,
    pub(super) data: Map<String, Value>,
}

impl Manifest {
    /// Path of the resource in the operator API.
    pub(super) fn path(&self) -> String {
        format!("/admin/v1/{}/{}", self.resource.folder(), path_segment(&self.id))
    }

    pub(super) fn module_path(&self, key: &str) -> String {
        format!("{}/modules/{}", self.path(), path_segment(key))
    }

    /// Relative path of the file that `export` writes.
    pub(super) fn file(&self) -> PathBuf {
        let name = crate::domain::token(&self.id);
        Path::new(self.resource.folder()).join(format!("{name}.json"))
    }
}

/// Reads one file, or the `.json`, `.yaml` and `.yml` files below a folder.
pub(super) fn read_files(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let mut found: BTreeMap<(ResourceKind, String), Manifest> = BTreeMap::new();
    for file in files(path)? {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let read: Result<Manifest, String> = match file.extension() {
            Some(extension) if extension == "json" => {
                serde_json::from_str(&text).map_err(|error| error.to_string())
            }
            _ => serde_saphyr::from_str(&text).map_err(|error| error.to_string()),
        };
        let manifest =
            read.map_err(|reason| UsageError(format!("{}: {reason}", file.display())))?;
        let (kind, id) = (manifest.resource, manifest.id.clone());
        if found.insert((kind, id.clone()), manifest).is_some() {
            let (file, kind) = (file.display(), kind.as_str());
            bail!(UsageError(format!("{file}: {kind} `{id}` is declared twice")));
        }
    }
    Ok(found.into_values().collect())
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    if path.is_file() {
        return Ok(folders);
    }
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?.path();
            let name = entry.extension().and_then(|extension| extension.to_str());
            if entry.is_dir() && !entry.is_symlink() {
                folders.push(entry);
            } else if matches!(name, Some("json" | "yaml" | "yml")) {
                files.push(entry);
            }
            if files.len() + folders.len() > FILES_MAX {
                bail!(UsageError(format!("more than {FILES_MAX} files in {}", path.display())));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the router's version of a resource; none if it does not exist.
pub(super) async fn current(
    client: &ApiClient,
    wanted: &Manifest,
) -> anyhow::Result<Option<Manifest>> {
    let view = match client.send(Method::GET, &wanted.path(), &[], &Value::Null).await {
        Ok(view) => view,
        Err(error) if error.downcast_ref::<ErrorStatus>().is_some_and(|r| r.status == 404) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    from_view(client, wanted.resource, &view).await.map(Some)
}

/// Returns all resources of the router.
pub(super) async fn read_router(client: &ApiClient) -> anyhow::Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for kind in [ResourceKind::App, ResourceKind::Installation] {
        let mut cursor = String::new();
        loop {
            let path = format!("/admin/v1/{}?limit={PAGE}{cursor}", kind.folder());
            let page = client.send(Method::GET, &path, &[], &Value::Null).await?;
            for view in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                found.push(from_view(client, kind, view).await?);
            }
            let Some(next) = page.get("nextCursor").and_then(Value::as_str) else { break };
            cursor = format!("&cursor={next}");
        }
    }
    Ok(found)
}

async fn from_view(
    client: &ApiClient,
    resource: ResourceKind,
    view: &Value,
) -> anyhow::Result<Manifest> {
    let id = view.get("id").and_then(Value::as_str).context("a record without an id")?.to_owned();
    let member = |name: &&str| Some(((*name).to_owned(), view.get(*name)?.clone()));
    let spec = resource.members().iter().filter_map(member).filter(|(_, v)| !is_empty(v)).collect();
    let mut manifest = Manifest { resource, id, spec, modules: None };
    if resource == ResourceKind::Installation {
        let path = format!("{}/modules", manifest.path());
        let mut listed = client.send(Method::GET, &path, &[], &Value::Null).await?;
        let items = listed.get_mut("items").map(Value::take).unwrap_or_else(|| json!([]));
        let items: Vec<Map<String, Value>> = serde_json::from_value(items)?;
        // Discovered modules are declared by the app.
        let own = items.into_iter().filter(|m| m.get("door") != Some(&json!("discovery")));
        let read = own.map(|module| serde_json::from_value(Value::Object(module)));
        manifest.modules = Some(read.collect::<Result<_, _>>()?);
    }
    Ok(manifest)
}

/// Whether a member is left out of manifests; an empty member equals an absent one.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_read_in_dependency_order_and_a_duplicate_resource_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("a.yaml", "resource: installation\nid: i\nspec: {app: a}\n").unwrap();
        write("b.json", r#"{"resource": "app", "id": "a", "spec": {}}"#).unwrap();
        write("notes.txt", "not a resource").unwrap();
        let kinds: Vec<ResourceKind> =
            read_files(folder.path()).unwrap().iter().map(|found| found.resource).collect();
        assert_eq!(kinds, [ResourceKind::App, ResourceKind::Installation]);
        write("c.yml", "resource: app\nid: a\nspec: {}\n").unwrap();
        assert!(read_files(folder.path()).unwrap_err().to_string().contains("declared twice"));
        write("c.yml", "resource: app\nid: a\nspec: {}\nmodlues: []\n").unwrap();
        assert!(read_files(folder.path()).unwrap_err().to_string().contains("modlues"));
    }
}
