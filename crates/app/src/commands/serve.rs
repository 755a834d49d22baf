//! `levada serve`: settings, then the broker, then what is built on it and the doors, until it is told to stop.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use gateway::bounds::Bounds;
use settings::load::{Loaded, Sources, load};
use settings::{BrokerOptions, BrokerSettings, Listener};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::cli::{DataArgs, ServeArgs};
use crate::patterns::Patterns;
use crate::{data_directory, http, logging, wiring};

/// Read if it is there and no other file is named.
const DEFAULT_FILE: &str = "levada.toml";

pub fn run(arguments: &ServeArgs) -> anyhow::Result<()> {
    let (Loaded { settings, foreign_variables }, file) =
        read_settings(arguments, std::env::vars().collect())?;
    let options = settings.options();
    logging::start(&options.log_format, &options.log_level)?;
    for variable in foreign_variables {
        warn!(variable, "no setting has this name: the variable is not used");
    }
    check_listen(&options)?;
    if (arguments.kafka.is_some() || arguments.kafka_config.is_some()) && arguments.kafka_addr.is_some() {
        warn!(
            "there is no broker in this process beside --kafka or --kafka-config: --kafka-addr is not used"
        );
    }
    let found = data_directory::look(&options)?;
    data_directory::check_free(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("threads")?;
    let served = runtime.block_on(serve(settings, options, file, found));
    // Whoever was told to stop while it recovers does not wait for that.
    runtime.shutdown_background();
    served
}

async fn serve(
    settings: BrokerSettings,
    options: BrokerOptions,
    file: Option<PathBuf>,
    found: data_directory::Found,
) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let http = listen_http(&options).await?;
    let http_address = http.as_ref().map(TcpListener::local_addr).transpose().context("the HTTP door")?;
    let broker = if options.kafka_bootstrap.is_empty() && options.kafka_properties.is_empty() {
        let Some(broker) = wiring::Broker::start(&settings, stop.told()).await? else {
            info!("told to stop while starting");
            return Ok(());
        };
        Some(broker)
    } else {
        anyhow::ensure!(
            http.is_some(),
            "with --kafka or --kafka-config there is nothing to serve without HTTP: give --http-addr"
        );
        None
    };
    let kafka = broker.as_ref().map(|broker| broker.kafka_address);
    let inside = || broker.as_ref().map(|broker| (broker.kafka_address, broker.inside()));
    let mut patterns = http_address.map(|http| Patterns::start(&options, inside(), http)).transpose()?;
    if let (Some(listener), Some(patterns)) = (http, &patterns) {
        open_http(listener, &options, parts(broker.as_ref(), patterns), patterns);
    }
    data_directory::tell(found, &options);
    info!(
        kafka = kafka.map(tracing::field::display),
        cluster_of = Some(&options.kafka_bootstrap).filter(|text| !text.is_empty()),
        cluster_config = Some(&options.kafka_properties).filter(|text| !text.is_empty()),
        advertised = options.advertised_listener.as_ref().map(Listener::address),
        http = http_address.map(tracing::field::display),
        data = %whole(Path::new(&options.data_dir)).display(),
        config = file.map(|file| whole(&file).display().to_string()),
        cluster = broker.as_ref().map(|broker| broker.cluster_id().to_owned()),
        "ready"
    );
    let denied = async {
        match &mut patterns {
            Some(patterns) => patterns.denied().await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        biased;
        () = stop.told() => Ok(()),
        error = denied => Err(anyhow::Error::from(error).context("the event store cannot use this Kafka cluster")),
    };
    info!("stopping");
    let stopping = async {
        if let Some(patterns) = patterns {
            patterns.stop().await;
        }
        match broker {
            Some(broker) => broker.stop().await,
            None => Ok(()),
        }
    };
    tokio::select! {
        biased;
        stopped = stopping => {
            outcome.and(stopped)?;
            info!("stopped in order");
            Ok(())
        }
        () = stop.told_again() => bail!("told to stop a second time: stopped without waiting"),
    }
}

/// The path as it is found from anywhere.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The HTTP door's address is taken first, so that one that is taken is told before anything is touched.
async fn listen_http(options: &BrokerOptions) -> anyhow::Result<Option<TcpListener>> {
    if options.http_listen.is_empty() {
        return Ok(None);
    }
    #[expect(clippy::disallowed_methods, reason = "the outermost rim: a door of the real process")]
    let listener = TcpListener::bind(&options.http_listen).await.with_context(|| {
        format!(
            "cannot serve HTTP on {}; choose another with --http-addr HOST:PORT (port 0: a free one), or '' for none",
            options.http_listen
        )
    })?;
    Ok(Some(listener))
}

fn open_http(listener: TcpListener, options: &BrokerOptions, parts: http::Parts, patterns: &Patterns) {
    let front = patterns.front(http::router(parts));
    let bounds = Bounds::new(usize::try_from(options.http_memory_bytes).unwrap_or(usize::MAX));
    let connections_max = http_connections_max(env::raise_open_files_max());
    let limits = http::Limits { connections_max, ..http::Limits::default() };
    env::spawn(http::Door::new(listener, limits, bounds).serve(front));
}

/// An eighth of the files that the process may have open, at most.
fn http_connections_max(open_files_max: Option<u64>) -> usize {
    let most = open_files_max.map_or(u64::MAX, |files| files / 8);
    usize::try_from(most).unwrap_or(usize::MAX).clamp(1, http::CONNECTIONS_MAX)
}

/// What the door shows: the broker's own where there is one.
fn parts(broker: Option<&wiring::Broker>, patterns: &Patterns) -> http::Parts {
    match broker {
        Some(broker) => {
            let metrics = patterns.metrics(Some(broker.metrics()));
            http::Parts { metrics, readiness: patterns.readiness(Some(broker.readiness())) }
        }
        None => http::Parts { metrics: patterns.metrics(None), readiness: patterns.readiness(None) },
    }
}

/// The folder that a broker of these settings keeps everything in.
pub fn data_dir(arguments: &DataArgs) -> anyhow::Result<PathBuf> {
    let DataArgs { data_dir, config } = arguments.clone();
    let arguments = ServeArgs { data_dir, config, ..ServeArgs::default() };
    let (loaded, _) = read_settings(&arguments, std::env::vars().collect())?;
    Ok(loaded.settings.options().data_dir.into())
}

/// Puts file, environment and flags together; also says which file that was.
fn read_settings(
    arguments: &ServeArgs,
    environment: Vec<(String, String)>,
) -> anyhow::Result<(Loaded, Option<PathBuf>)> {
    let path = match &arguments.config {
        Some(path) => Some(path.clone()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
    };
    let file = path
        .as_ref()
        .map(|path| {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            anyhow::Ok((path.display().to_string(), text))
        })
        .transpose()?;
    let file = file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let flags = flags(arguments)?;
    Ok((load(&Sources { file, environment: &environment, flags: &flags })?, path))
}

/// Flags as settings: flag, name, value.
fn flags(arguments: &ServeArgs) -> anyhow::Result<Vec<(String, String, String)>> {
    for (flag, given) in [("--kafka-addr", &arguments.kafka_addr), ("--http-addr", &arguments.http_addr)] {
        if let Some(port) =
            given.as_deref().filter(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()))
        {
            bail!("{flag}: `{port}` has no host; write HOST:PORT, such as 127.0.0.1:{port}");
        }
    }
    let yes = arguments.allow_insecure_listen.then(|| "true".to_owned());
    let short = [
        ("--data-dir", "log.dirs", &arguments.data_dir),
        ("--kafka-addr", "listeners", &arguments.kafka_addr),
        ("--http-addr", "levada.http.listen", &arguments.http_addr),
        ("--kafka", "levada.kafka.bootstrap.servers", &arguments.kafka),
        ("--kafka-config", "levada.kafka.client.properties.file", &arguments.kafka_config),
        ("--advertised", "advertised.listeners", &arguments.advertised),
        ("--log-format", "levada.log.format", &arguments.log_format),
        ("--log-level", "levada.log.level", &arguments.log_level),
        ("--allow-insecure-listen", "levada.listen.insecure.allow", &yes),
    ];
    let short = short.into_iter().filter_map(|(flag, name, value)| Some((flag, name, value.as_ref()?)));
    let set = arguments.set.iter().map(|(name, value)| ("--set", name.as_str(), value));
    Ok(short
        .chain(set)
        .map(|(flag, name, value)| (flag.to_owned(), name.to_owned(), value.to_owned()))
        .collect())
}

/// Nobody is asked who they are, so nobody but this machine is let in unless that is meant.
fn check_listen(options: &BrokerOptions) -> anyhow::Result<()> {
    let http = Some(&options.http_listen).filter(|text| !text.is_empty());
    let http = http
        .map(|text| Listener::parse(text))
        .transpose()
        .map_err(|why| anyhow::anyhow!("--http-addr: {why}"))?;
    let is_one = http.as_ref().is_some_and(|http| http.address() == options.listener.address());
    if is_one && !options.listener.address().ends_with(":0") {
        bail!(
            "Kafka and HTTP cannot be served on one address, {}: give --http-addr or --kafka-addr another port (0: a free one)",
            options.listener.address()
        );
    }
    let kafka = (options.listener.clone(), "reads and writes everything");
    let http = http.map(|listener| (listener, "sees the metrics, with the names of all topics"));
    for (listener, what) in [Some(kafka), http].into_iter().flatten() {
        if listener.is_loopback() {
            continue;
        }
        let address = listener.address();
        if !options.listen_insecure_allow {
            bail!(
                "{address} can be reached from other machines, and there is no authentication yet: whoever connects \
                 {what}. If something else keeps strangers out (a firewall, a container's \
                 network), add --allow-insecure-listen"
            );
        }
        warn!(%address, "serving without authentication where other machines can connect");
    }
    Ok(())
}

/// Signals that come together are one order: `timeout` sends SIGTERM to the process and to its group.
const ONE_ORDER: Duration = Duration::from_secs(1);

/// SIGTERM, Ctrl-C, or that the terminal went away.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Stop> {
        let terminate = signal(SignalKind::terminate()).context("signals")?;
        let interrupt = signal(SignalKind::interrupt()).context("signals")?;
        let hangup = signal(SignalKind::hangup()).context("signals")?;
        Ok(Stop { terminate, interrupt, hangup })
    }

    async fn told(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// A second order; to be asked for right after the first.
    async fn told_again(&mut self) {
        let since = Instant::now();
        loop {
            self.told().await;
            if since.elapsed() >= ONE_ORDER {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
