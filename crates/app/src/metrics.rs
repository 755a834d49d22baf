//! What the process itself tells in `/metrics`: its HTTP and gRPC doors, the machine that it has.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use env::{Clock, Disk, RealDisk, SystemClock};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The last line of OpenMetrics text.
pub const END: &str = "# EOF\n";

/// Stands for every path, method and code that is none of ours: labels are as many as there are routes.
const OTHER: &str = "(other)";

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];

/// gRPC's codes by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const CANCELLED: usize = 1;
const UNIMPLEMENTED: usize = 12;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: String,
    method: String,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    route: String,
    method: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Called {
    method: String,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Procedure {
    method: String,
}

type Latency<L> = Family<L, Histogram, fn() -> Histogram>;

/// 100 µs to about 3 s, as the broker's.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 16))
}

/// Counters of the process, and the registry over them.
pub struct Own {
    http: Family<Answered, Counter>,
    http_latency: Latency<Asked>,
    grpc: Family<Called, Counter>,
    grpc_latency: Latency<Procedure>,
    machine: MachineGauges,
    data_dir: PathBuf,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct MachineGauges {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    open_files: Gauge,
    open_files_max: Gauge,
    threads: Gauge,
    disk_size: Gauge,
    disk_free: Gauge,
    disk_used: Gauge,
}

impl Own {
    /// `has_broker`: its metrics tell when the process began, and which version it is.
    pub fn new(data_dir: PathBuf, has_broker: bool) -> Arc<Own> {
        let own = Own {
            http: Family::default(),
            http_latency: Family::new_with_constructor(latency as fn() -> Histogram),
            grpc: Family::default(),
            grpc_latency: Family::new_with_constructor(latency as fn() -> Histogram),
            machine: MachineGauges::default(),
            data_dir,
            registry: Mutex::default(),
        };
        own.register(has_broker);
        Arc::new(own)
    }

    fn register(&self, has_broker: bool) {
        let mut registry = self.registry.lock();
        // Under the names that every Prometheus library gives them.
        let machine = &self.machine;
        let help = "Processor time of all threads";
        registry.register_with_unit("process_cpu", help, Unit::Seconds, machine.cpu.clone());
        let help = "Memory that is in RAM";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, machine.resident.clone());
        let help = "Memory that is mapped";
        let unit = Unit::Bytes;
        registry.register_with_unit("process_virtual_memory", help, unit, machine.virtual_memory.clone());
        registry.register("process_open_fds", "Open files and connections", machine.open_files.clone());
        let help = "As many files and connections may be open";
        registry.register("process_max_fds", help, machine.open_files_max.clone());
        registry.register("process_threads", "Threads", machine.threads.clone());
        if !has_broker {
            let began = Gauge::<f64, AtomicU64>::default();
            began.set(SystemClock::new().now().0 as f64 / 1000.0);
            let help = "When the process began to serve, in seconds since 1970";
            registry.register_with_unit("process_start_time", help, Unit::Seconds, began);
        }
        let registry = registry.sub_registry_with_prefix("levada");
        if !has_broker {
            let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
            registry.register("build", "The version that runs", build);
        }
        let help = "HTTP requests answered, by route and class of status";
        registry.register("http_requests", help, self.http.clone());
        let help = "From an HTTP request to the beginning of its answer, by route; also what its client asked to wait";
        registry.register_with_unit("http_request_latency", help, Unit::Seconds, self.http_latency.clone());
        let help = "gRPC calls ended, by method and code; CANCELLED: whoever called went away";
        registry.register("grpc_requests", help, self.grpc.clone());
        let help = "From a gRPC call to the beginning of its answer, by method";
        registry.register_with_unit("grpc_request_latency", help, Unit::Seconds, self.grpc_latency.clone());
        let help = "Size of the file system of the data directory";
        registry.register_with_unit("disk_size", help, Unit::Bytes, machine.disk_size.clone());
        let help = "What may still be written to the file system of the data directory";
        registry.register_with_unit("disk_free", help, Unit::Bytes, machine.disk_free.clone());
        let help = "What is not free of the file system of the data directory, whoever has it";
        registry.register_with_unit("disk_used", help, Unit::Bytes, machine.disk_used.clone());
    }

    /// OpenMetrics text, without the end mark.
    pub async fn text(&self) -> String {
        let data_dir = self.data_dir.clone();
        let looking = move || (env::process_usage(), RealDisk.space(&data_dir));
        let (usage, space) = env::run_blocking(looking).await;
        let machine = &self.machine;
        machine.cpu.inc_by((usage.cpu_seconds - machine.cpu.get()).max(0.0));
        let set = |gauge: &Gauge, value: Option<u64>| {
            gauge.set(value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX)));
        };
        set(&machine.resident, usage.resident_bytes);
        set(&machine.virtual_memory, usage.virtual_bytes);
        set(&machine.open_files, usage.open_files);
        set(&machine.open_files_max, usage.open_files_max);
        set(&machine.threads, usage.threads);
        let space = space.ok();
        set(&machine.disk_size, space.map(|space| space.total));
        set(&machine.disk_free, space.map(|space| space.free));
        set(&machine.disk_used, space.map(|space| space.total.saturating_sub(space.free)));
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock()).expect("a string takes everything");
        out.truncate(out.len() - END.len());
        out
    }

    /// An HTTP request was answered.
    pub fn answered(&self, method: &Method, response: &Response, took: Duration) {
        let route = response.extensions().get::<MatchedPath>();
        let route = route.map_or(OTHER, MatchedPath::as_str).to_owned();
        let method = if METHODS.contains(method) { method.as_str() } else { OTHER }.to_owned();
        let asked = Asked { route: route.clone(), method: method.clone() };
        self.http_latency.get_or_create(&asked).observe(took.as_secs_f64());
        let status = class(response.status());
        self.http.get_or_create(&Answered { route, method, status }).inc();
    }

    /// A gRPC call has its answer, or the beginning of it: how it ends stands behind it.
    pub fn called(self: &Arc<Self>, path: &str, response: Response, took: Duration) -> Response {
        let code = code_of(response.headers());
        let method = match code {
            // Whatever somebody has made up.
            Some(UNIMPLEMENTED) => OTHER,
            _ => path.strip_prefix('/').unwrap_or(path),
        };
        let procedure = Procedure { method: method.to_owned() };
        self.grpc_latency.get_or_create(&procedure).observe(took.as_secs_f64());
        let mut call = Call { own: self.clone(), method: procedure.method, code: CANCELLED };
        if let Some(code) = code {
            call.code = code;
            return response;
        }
        response.map(|body| {
            Body::new(body.inspect_frame(move |frame| {
                // The whole of it goes along, and not only its code.
                let call = &mut call;
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    call.code = code;
                }
            }))
        })
    }
}

/// A gRPC call under way; counted when it ends.
struct Call {
    own: Arc<Own>,
    method: String,
    code: usize,
}

impl Drop for Call {
    fn drop(&mut self) {
        let method = std::mem::take(&mut self.method);
        self.own.grpc.get_or_create(&Called { method, code: CODES[self.code] }).inc();
    }
}

fn code_of(headers: &HeaderMap) -> Option<usize> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse::<usize>().ok();
    // What is none is UNKNOWN.
    Some(code.filter(|code| *code < CODES.len()).unwrap_or(2))
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests;
