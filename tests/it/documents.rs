//! Runs every block of commands of README and documents, as a reader would, and compares what it prints with
//! what the page shows. A page with commands that no test runs is an error.

mod how_to;
mod operation;
mod page;
mod shell;
mod start;
mod verify;

use std::path::Path;

pub(crate) use page::{Page, Shown};
pub(crate) use shell::Shell;

use crate::why;

/// Blocks that cannot run, each with its reason on its page.
const NOT_RUN: usize = 5;

/// One test for each page: it runs all blocks of the page.
macro_rules! pages {
    ($($name:ident: $page:literal => $run:path,)*) => {
        /// The pages that a test runs.
        const PAGES: &[&str] = &[$($page),*];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let mut page = Page::read($page);
                $run(&mut page).await;
                assert!(page.next().is_none(), "{}: a block was not run", $page);
            }
        )*
    };
}

pages! {
    commands_of_the_readme: "README.md" => start::readme,
    commands_of_deploy: "deploy/README.md" => operation::deploy,
    commands_of_the_tutorial: "docs/tutorial.md" => start::tutorial,
    commands_of_verify: "docs/how-to/verify-signatures.md" => how_to::verify_signatures,
    commands_of_private: "docs/how-to/private-network.md" => how_to::private_network,
    commands_of_rotate: "docs/how-to/rotate-secrets.md" => how_to::rotate_secrets,
    commands_of_access: "docs/how-to/access.md" => how_to::access,
    commands_of_replicas: "docs/how-to/three-replicas.md" => how_to::three_replicas,
    commands_of_upgrade: "docs/how-to/upgrade.md" => how_to::upgrade,
    commands_of_why: "docs/why.md" => why::run,
    commands_of_backtest: "docs/backtest.md" => operation::backtest,
    commands_of_shadow: "docs/shadow.md" => operation::shadow,
    commands_of_guarantees: "docs/guarantees.md" => operation::guarantees,
}

/// README and all documents, as paths in the repository.
fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec!["README.md".into(), "ARCHITECTURE.md".into(), "expr/README.md".into()];
    let mut folders = vec![root.join("docs"), root.join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(root).expect("inside of the repository");
                found.push(path.to_str().expect("a path").to_owned());
            }
        }
    }
    found
}

#[test]
fn every_block_of_commands_is_run_by_a_test() {
    let mut reasons = Vec::new();
    let documents = documents();
    for name in &documents {
        let page = Page::read(name);
        let is_run = PAGES.contains(&name.as_str());
        assert_eq!(page.has_commands(), is_run, "{name}: pages with commands are in `pages!`");
        reasons.extend(page.reasons().iter().map(|reason| format!("{name}: {reason}")));
    }
    assert!(PAGES.iter().all(|page| documents.iter().any(|name| name == page)));
    assert_eq!(reasons.len(), NOT_RUN, "blocks that cannot run are counted: {reasons:#?}");
}
