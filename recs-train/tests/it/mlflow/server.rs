//! A real `mlflow server` with SQLite on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Its first start makes the tables, which takes some twenty seconds of a core.
const PATIENCE: Duration = Duration::from_secs(240);

pub(super) struct Server {
    pub(super) url: String,
    port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    /// An address where nothing listens yet; [`Server::start`] changes that.
    pub(super) fn at_rest() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        Self { url, port, folder: tempfile::tempdir().unwrap(), child: None }
    }

    /// Starts it, on what it had stored before, and waits until it answers.
    pub(super) fn start(&mut self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let log = File::options().create(true).append(true).open(path("log")).unwrap();
        let child = Command::new(program())
            .args(["server", "--host", "127.0.0.1", "--workers", "1", "--port", &self.port.to_string()])
            .args(["--backend-store-uri", &format!("sqlite:///{}", path("mlflow.db"))])
            .args(["--artifacts-destination", &path("artifacts")])
            // Seven processes of a job queue that nobody needs here.
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // It has children, which must be killed with it.
            .process_group(0)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let log = || std::fs::read_to_string(path("log")).unwrap_or_default();
            assert!(Instant::now() < until, "mlflow server does not start: {}", log());
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "mlflow server ended with {ended:?}: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// SIGKILL to it and its children.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = format!("kill -KILL -{}", child.id());
        let _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> PathBuf {
    let set = std::env::var_os("RECS_TEST_MLFLOW").map(PathBuf::from);
    set.expect("set RECS_TEST_MLFLOW to the program mlflow of a Python environment; `scripts/test mlflow` makes one and does so")
}
