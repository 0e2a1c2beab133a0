//! Three nats-servers that form a cluster; stopped with the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use async_nats::jetstream;
use tempfile::TempDir;

use super::nats::binary;
use super::{WAIT_MAX, eventually};

/// How often a cluster is started with other ports, if another process took one of them first.
const STARTS_MAX: usize = 5;

/// A running cluster. Dropping it kills all servers.
pub(crate) struct NatsCluster {
    nodes: Vec<Node>,
    _folder: TempDir,
}

struct Node {
    child: Child,
    config: std::path::PathBuf,
    port: u16,
}

impl NatsCluster {
    /// Starts three servers and waits until JetStream answers.
    pub(crate) async fn start() -> Self {
        for _ in 0..STARTS_MAX {
            let mut cluster = Self::spawn();
            if cluster.is_leading().await {
                return cluster;
            }
        }
        panic!("a server of the cluster ended at each of {STARTS_MAX} starts");
    }

    fn spawn() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports(6);
        let (ports, routes) = ports.split_at(3);
        let peers: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let nodes = (0..3).map(|number| {
            let config = folder.path().join(format!("n{number}.conf"));
            let text = format!(
                "server_name: n{number}\nlisten: \"127.0.0.1:{}\"\nmax_payload: 2MB\n\
                 jetstream {{ store_dir: {:?}, max_mem: 1G, max_file: 16G }}\n\
                 cluster {{ name: lab, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                ports[number],
                folder.path().join(format!("n{number}")),
                routes[number],
                peers.join(", ")
            );
            std::fs::write(&config, text).expect("a configuration file");
            Node { child: spawn(&config), config, port: ports[number] }
        });
        Self { nodes: nodes.collect(), _folder: folder }
    }

    /// The addresses of all servers.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<_> =
            self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// Kills the servers of these numbers.
    pub(crate) fn kill(&mut self, numbers: &[usize]) {
        for number in numbers {
            let _ = self.nodes[*number].child.kill();
            let _ = self.nodes[*number].child.wait();
        }
    }

    /// Starts killed servers on the same data and ports.
    pub(crate) fn restart(&mut self, numbers: &[usize]) {
        for number in numbers {
            let node = &mut self.nodes[*number];
            node.child = spawn(&node.config);
        }
    }

    /// Waits until a stream with three replicas can be created; false if a server ended.
    async fn is_leading(&mut self) -> bool {
        let url = format!("nats://127.0.0.1:{}", self.nodes[0].port);
        let nodes = std::sync::Mutex::new(&mut self.nodes);
        eventually(WAIT_MAX, "the cluster stores a stream", || async {
            let has_ended = |node: &mut Node| node.child.try_wait().is_ok_and(|end| end.is_some());
            if nodes.lock().unwrap().iter_mut().any(has_ended) {
                return Some(false);
            }
            let context = super::jetstream(async_nats::connect(&url).await.ok()?);
            let config = jetstream::stream::Config {
                name: "PROBE".into(),
                subjects: vec!["probe".into()],
                num_replicas: 3,
                ..Default::default()
            };
            context.create_stream(config).await.ok()?;
            context.delete_stream("PROBE").await.ok().map(|_| true)
        })
        .await
    }
}

impl Drop for NatsCluster {
    fn drop(&mut self) {
        self.kill(&[0, 1, 2]);
    }
}

fn spawn(config: &Path) -> Child {
    Command::new(binary())
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server starts")
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let bound: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port"))
        .collect();
    bound.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}
