//! The process's threads and allocator, set once before the first tensor.

use std::sync::OnceLock;

use candle_core::{Result, bail};

use crate::simd::{Level, level};

/// An allocator that returns freed memory to the program, not to the system. A binary may declare it:
///
/// ```
/// #[global_allocator]
/// static GLOBAL: genzoo_kernels::runtime::Allocator = genzoo_kernels::runtime::ALLOCATOR;
/// ```
pub type Allocator = mimalloc::MiMalloc;

/// The value of [`Allocator`].
pub const ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// Room for graphs of a million chained operations: candle walks them recursively. Only touched pages cost memory.
const STACK: usize = 512 << 20;

/// What was set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads of the matrix products and kernels.
    pub threads: usize,
    /// `avx512`, `avx2` or `baseline`: the instruction set of the elementwise kernels.
    pub instructions: &'static str,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static POOL: OnceLock<rayon::ThreadPool> = OnceLock::new();

/// Sets threads and allocator; the first call decides, later calls return what it set.
///
/// `threads` defaults to `RAYON_NUM_THREADS`, else to the processors this process may use. candle's own
/// elementwise pool gets one thread: on few cores it would fight with the workers of the products.
/// Call it before other threads exist: it sets environment variables that candle reads.
pub fn configure(threads: Option<usize>) -> Runtime {
    RUNTIME
        .get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let asked = threads.or_else(|| std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok());
            let threads = asked.filter(|&n| n > 0).unwrap_or(cores);
            // SAFETY: documented to be called before other threads exist; candle and rayon read these through
            // std::env, which synchronises with this write.
            unsafe {
                std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
                std::env::set_var("CANDLE_NUM_THREADS", "1");
            }
            keep_freed_memory();
            Runtime { threads, instructions: instructions() }
        })
        .clone()
}

/// Runs `f` as a worker of a pool of [`Runtime::threads`] threads with large stacks, and returns its value.
///
/// As a worker it shares its products with the others at once instead of waking them from outside, and graphs may
/// be hundreds of thousands of operations deep. Nested calls run in place.
///
/// # Errors
/// When the threads cannot be started.
pub fn run<R: Send>(f: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = match POOL.get() {
        Some(pool) => pool,
        None => {
            let built = rayon::ThreadPoolBuilder::new()
                .num_threads(configure(None).threads)
                .stack_size(STACK)
                .thread_name(|i| format!("genzoo-{i}"))
                .build();
            match built {
                Ok(pool) => POOL.get_or_init(|| pool),
                Err(e) => bail!("cannot start the worker threads: {e}"),
            }
        }
    };
    Ok(pool.install(f))
}

fn instructions() -> &'static str {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => "avx512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => "avx2",
        Level::Baseline => "baseline",
    }
}

/// Where the system's allocator is glibc's: keep freed memory instead of returning it after each training step.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers and changes tunables only.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_call_returns_the_first_setting() {
        let first = configure(Some(2));
        assert_eq!(first, configure(Some(7)));
        assert_eq!(run(rayon::current_num_threads).unwrap(), first.threads);
    }

    #[test]
    fn the_stack_holds_deep_recursion() {
        fn depth(n: u64) -> u64 {
            let room = std::hint::black_box([n; 64]);
            if n == 0 { 0 } else { depth(n - 1) + u64::from(room[3] == n) }
        }
        assert_eq!(run(|| depth(200_000)).unwrap(), 200_000);
    }
}
