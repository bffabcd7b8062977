//! `everynode server`: the Kubernetes API with its store, and our controllers and scheduler as its in-process client.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use store::etcd::{Address, TlsFiles};

use crate::flags::ServerArgs;
use crate::placing::Ahead;
use crate::reasons::FromApi;
use crate::{logging, signals, small};

/// How often a server lets go of code that it does not run now: seldom, because one at work maps most of it again.
const RELEASE_EVERY: Duration = Duration::from_secs(30);

/// Runs until a signal.
pub(crate) fn run(args: ServerArgs) -> Result<()> {
    logging::start();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    crate::runtime(threads)?.block_on(serve(args))
}

async fn serve(args: ServerArgs) -> Result<()> {
    let shutdown = signals::shutdown()?;
    let ca = args.data.data_dir.join("pki").join("ca.crt");
    let store = store(&args)?;
    let shared = matches!(store, server::StoreConfig::Etcd(_));
    let config = server::Config {
        store,
        san: args.tls_sans,
        token_auth_file: args.token_auth_file,
        event_ttl: args.event_ttl,
        service_range: args.service_cluster_ip_range,
        node_certificate_ttl: args.node_certificate_ttl,
        ..server::Config::new(args.data.data_dir, args.listen)
    };
    let server = server::Server::start(config).await?;
    let reader = FromApi { client: server.client("system:everynode:reasons"), grace: args.nodes.grace() };
    server.answer_reasons(Arc::new(reader));
    let placer = control::Placer::default();
    server.place_pods(Arc::new(Ahead(placer.clone())));
    let ca_pem = std::fs::read_to_string(&ca).with_context(|| ca.display().to_string())?;
    let controllers = (!args.no_controllers).then(|| {
        let options = control::Options {
            ca_pem: Some(ca_pem),
            node_monitor_grace: args.nodes.grace(),
            placer,
            ..control::Options::default()
        };
        let (client, stop) = (server.client("system:kube-controller-manager"), shutdown.clone());
        tokio::spawn(async move {
            match shared {
                // Others may run on the same store.
                true => {
                    let names = (crate::identity(), control::LEASE.to_owned());
                    control::run_elected(client, options, names, stop).await
                }
                false => control::run(client, options, stop).await,
            }
        })
    });
    let memory = tokio::spawn(small::stay(RELEASE_EVERY));
    server.serve(shutdown.clone()).await?;
    memory.abort();
    shutdown.cancel();
    if let Some(controllers) = controllers {
        controllers.await??;
    }
    Ok(())
}

/// Where objects are kept, by the flags.
fn store(args: &ServerArgs) -> Result<server::StoreConfig> {
    let files = TlsFiles { ca: args.store_ca.clone(), cert: args.store_cert.clone(), key: args.store_key.clone() };
    if args.store != "embedded" {
        return Ok(server::StoreConfig::Etcd(Address::parse(&args.store, files)?));
    }
    anyhow::ensure!(files == TlsFiles::default(), "--store-ca, --store-cert and --store-key are for --store etcds://");
    Ok(server::StoreConfig::Embedded)
}
