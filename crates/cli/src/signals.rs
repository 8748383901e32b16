//! Interrupts: while training, the first one asks for a checkpoint and the second one exits at once.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

static TRAINING: AtomicBool = AtomicBool::new(false);
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Starts the thread that listens. Failing to listen is no reason not to work.
pub(crate) fn listen() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1]) else {
        return;
    };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let again = RECEIVED.swap(signal, Ordering::SeqCst) != 0;
            if again || !TRAINING.load(Ordering::SeqCst) {
                std::process::exit(exit_code());
            }
        }
    });
}

/// While this lives an interrupt waits for the end of the step.
pub(crate) struct Guard;

impl Guard {
    pub(crate) fn new() -> Self {
        TRAINING.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TRAINING.store(false, Ordering::SeqCst);
    }
}

/// Whether an interrupt has come.
pub(crate) fn stop_requested() -> bool {
    RECEIVED.load(Ordering::SeqCst) != 0
}

/// 130, or 75 where a scheduler asked to be told that the run should be queued again.
pub(crate) fn exit_code() -> i32 {
    if std::env::var("GENZOO_REQUEUE").is_ok_and(|v| v == "1") { 75 } else { 130 }
}
