//! The server under test: the real binary as a child on its own core, and what the kernel says about it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offhook::clock;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// A running `offhook serve`; dropped, it is asked to end and its folder is removed.
pub struct Server {
    child: Child,
    sip: SocketAddrV4,
    http: SocketAddr,
    folder: PathBuf,
}

/// What the process has used so far, or in between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub at: Duration,
    /// Of all threads.
    pub cpu: Duration,
    /// Of the media thread alone.
    pub media: Duration,
    pub rss_kb: u64,
    /// Everything that ran on the server's core.
    pub core_busy: Duration,
}

impl Usage {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            at: self.at - before.at,
            cpu: self.cpu - before.cpu,
            media: self.media - before.media,
            rss_kb: self.rss_kb,
            core_busy: self.core_busy - before.core_busy,
        }
    }

    /// Share of one core, %.
    pub fn percent(&self, used: Duration) -> f64 {
        100.0 * used.as_secs_f64() / self.at.as_secs_f64()
    }
}

impl Server {
    /// Starts it on `core` with room for exactly `max_calls`, and waits until it is ready.
    pub fn start(max_calls: usize, core: usize) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("offhook-bench-{}-{max_calls}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let (sip, http) = (free_port()?, free_port()?);
        let settings = [
            format!("sip.listen={sip}"),
            format!("http.listen={http}"),
            format!("data.dir={}", folder.display()),
            "media.shards=1".to_owned(),
            format!("limits.max_calls={max_calls}"),
            // Below the ports that the system gives away by itself; an even one per call.
            "rtp.ports=10000-31999".to_owned(),
            // What is dialled has no words. Programs that make those of the other lines would be measured with it.
            "flite.program=\"\"".to_owned(),
            "espeak.program=\"\"".to_owned(),
        ];
        let log = fs::File::create(folder.join("log")).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        // The driver's own priority is not the server's: it has to ask for what it needs.
        let child = Command::new("chrt")
            .args(["--other", "0", "taskset", "--cpu-list", &core.to_string()])
            .args([env!("CARGO_BIN_EXE_offhook"), "serve"])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("chrt, taskset and offhook: {e}"))?;
        let mut server = Self { child, sip, http: http.into(), folder };
        server.becomes_ready()?;
        Ok(server)
    }

    pub const fn sip(&self) -> SocketAddrV4 {
        self.sip
    }

    /// What the kernel has counted.
    pub fn usage(&self) -> Result<Usage, String> {
        let process = format!("/proc/{}", self.child.id());
        let media = self.media_thread().map_or(Ok(Duration::ZERO), |thread| cpu_time(&format!("{thread}/stat")))?;
        let status = read(&format!("{process}/status"))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        Ok(Usage {
            at: clock::now(),
            cpu: cpu_time(&format!("{process}/stat"))?,
            media,
            rss_kb: rss.ok_or("no VmRSS")?,
            core_busy: core_busy()?,
        })
    }

    /// Whether the media thread runs at real-time priority.
    pub fn realtime(&self) -> bool {
        let policy = || {
            let text = read(&format!("{}/stat", self.media_thread()?)).ok()?;
            let fields = text.rsplit_once(") ")?.1;
            // Field 41 of proc(5); the first one here is field 3.
            fields.split(' ').nth(41 - 3)?.parse::<u32>().ok()
        };
        matches!(policy(), Some(1 | 2))
    }

    /// The value of a counter without labels in `/metrics`.
    pub fn counter(&self, name: &str) -> Result<u64, String> {
        let text = self.get("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("/metrics has no {name}"))
    }

    fn becomes_ready(&mut self) -> Result<(), String> {
        for _ in 0..200 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("offhook ended with {status}: {}", self.log()));
            }
            if self.get("/metrics").is_ok() {
                pause(Duration::from_secs(1));
                return Ok(());
            }
            pause(Duration::from_millis(50));
        }
        Err(format!("offhook is not ready after 10 s: {}", self.log()))
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(self.http).map_err(|e| e.to_string())?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http);
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
        Ok(answer)
    }

    fn media_thread(&self) -> Option<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let mut folders = tasks.filter_map(|task| Some(task.ok()?.path().display().to_string()));
        folders.find(|task| read(&format!("{task}/comm")).is_ok_and(|name| name.starts_with("media-")))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            pause(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Keeps this thread and those that it starts on `core`.
pub fn pin_self(core: usize) -> Result<(), String> {
    let pid = std::process::id().to_string();
    let mut taskset = Command::new("taskset");
    taskset.args(["--cpu-list", "--pid", &core.to_string(), &pid]).stdout(Stdio::null());
    match taskset.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("taskset: {status}; two cores are needed")),
        Err(error) => Err(format!("taskset: {error}")),
    }
}

/// `granted` or `refused`.
pub fn ask_for_realtime(priority: u8) -> &'static str {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    let asked = ThreadPriority::try_from(priority)
        .ok()
        .is_some_and(|priority| set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok());
    if asked { "granted" } else { "refused" }
}

pub fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

#[expect(clippy::disallowed_methods, reason = "the bench waits for another process, by the clock")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// User and system time of a process or thread, fields 14 and 15 of proc(5).
fn cpu_time(path: &str) -> Result<Duration, String> {
    let text = read(path)?;
    let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = |field: usize| fields.split(' ').nth(field - 3)?.parse::<u64>().ok();
    let sum = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
    sum.map(from_ticks).ok_or_else(|| format!("{path}: no times"))
}

/// Time that the server's core was not idle.
fn core_busy() -> Result<Duration, String> {
    let text = read("/proc/stat")?;
    let name = format!("cpu{} ", super::SERVER_CORE);
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).ok_or("no such core in /proc/stat")?;
    let times: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq; guest time is within user time.
    Ok(from_ticks(times.iter().take(7).enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, t)| t).sum()))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// What Linux counts in for user space on every architecture that matters.
const TICKS_PER_SECOND: u64 = 100;

/// Free for UDP and TCP.
fn free_port() -> Result<SocketAddrV4, String> {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    let SocketAddr::V4(address) = udp.local_addr().map_err(|e| e.to_string())? else {
        return Err("no IPv4 on loopback".into());
    };
    TcpListener::bind(address).map_err(|e| e.to_string())?;
    Ok(address)
}
