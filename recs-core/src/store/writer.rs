//! Who writes a folder, and whether it still lives.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A process. Parts that a platform does not tell are empty; such a writer is never taken for dead.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Writer {
    pid: u32,
    /// Start of the process in clock ticks since boot: process ids are used again.
    start: String,
    /// Boot of the machine and namespace of process ids: containers have their own.
    machine: String,
}

impl Writer {
    /// This process.
    pub(super) fn this() -> Self {
        let pid = std::process::id();
        Self { pid, start: start(pid).unwrap_or_default(), machine: machine().unwrap_or_default() }
    }

    /// Reads a claim; what is not understood is a writer that nothing is known of.
    pub(super) fn parse(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// The content of a claim.
    pub(super) fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// True when it ran on this machine and does no more.
    pub(super) fn is_dead(&self) -> bool {
        !self.start.is_empty()
            && machine().is_some_and(|machine| machine == self.machine)
            && start(self.pid).is_none_or(|start| start != self.start)
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => write!(f, "another process"),
            pid if machine().is_some_and(|machine| machine == self.machine) => write!(f, "process {pid}"),
            pid => write!(f, "process {pid} of another machine"),
        }
    }
}

/// Field 22 of `/proc/{pid}/stat` (proc(5)); the name before it may hold anything but ends with the last parenthesis.
fn start(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19).map(str::to_owned)
}

fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_ended_here_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let writer = Writer { pid: child.id(), start: start(child.id()).unwrap(), ..Writer::this() };
        assert!(!writer.is_dead() && !Writer::this().is_dead());
        assert_eq!(Writer::parse(&writer.to_json()), writer);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(writer.is_dead());
        assert!(!Writer { machine: "elsewhere".into(), ..writer.clone() }.is_dead());
        assert!(!Writer::parse(b"{").is_dead());
        // Its id was given to another process since.
        assert!(Writer { start: "1".into(), ..Writer::this() }.is_dead());
    }
}
