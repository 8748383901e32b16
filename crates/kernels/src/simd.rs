//! One loop, compiled three times: for AVX-512, for AVX2 and for the baseline; the processor chooses at run time.
//!
//! The loops are plain Rust that the compiler vectorises; none uses fused multiply-add unless it says so, so the
//! three versions differ only where a reduction has more lanes than another (none does: lanes are fixed at 16).

use std::sync::OnceLock;

/// A loop body. `run` must be `#[inline(always)]` so that it is compiled inside each version.
pub(crate) trait Job {
    type Out;
    fn run(self) -> Self::Out;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

pub(crate) fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = AT_MOST.get() {
        return level;
    }
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(detect)
}

#[cfg(test)]
thread_local! {
    static AT_MOST: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Runs `f` as on a processor of this level, one that this one has; threads that `f` begins see their own.
#[cfg(test)]
pub(crate) fn at_most(level: Level, f: impl FnOnce()) {
    AT_MOST.set(Some(level));
    f();
    AT_MOST.set(None);
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("fma")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512<J: Job>(job: J) -> J::Out {
    job.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<J: Job>(job: J) -> J::Out {
    job.run()
}

/// Runs the version for this processor.
pub(crate) fn dispatch<J: Job>(job: J) -> J::Out {
    match level() {
        // SAFETY: `level` found these features on the running processor.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { run_avx512(job) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { run_avx2(job) },
        Level::Baseline => job.run(),
    }
}
