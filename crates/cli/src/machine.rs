//! The machine a number was measured on.

use std::fs;

use serde::{Deserialize, Serialize};

/// What `run.json` and every row say of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) threads: usize,
    pub(crate) instructions: String,
    pub(crate) device: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let runtime = genzoo_kernels::runtime::configure(None);
        Self {
            cpu: cpu(),
            threads: runtime.threads,
            instructions: runtime.instructions.to_string(),
            device: DEVICE.get().cloned().unwrap_or_else(|| "cpu".into()),
        }
    }
}

/// The device chosen on the command line.
pub(crate) static DEVICE: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// The commit the binary was built from, where git knew it.
pub(crate) fn commit() -> Option<String> {
    let c = env!("GENZOO_COMMIT");
    (!c.is_empty()).then(|| c.to_string())
}

/// The processor's name.
fn cpu() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|t| {
            t.lines().find_map(|l| Some(l.strip_prefix("model name")?.split_once(':')?.1.trim().to_string()))
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

pub(crate) fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "this host".into(), |s| s.trim().to_string())
}

/// Forgets the peak so far, so that the next reading is of what follows. Does nothing where it cannot.
pub(crate) fn reset_peak_rss() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Peak resident memory since the last reset, in bytes; `None` where the system does not tell.
pub(crate) fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|k| k * 1024)
}
