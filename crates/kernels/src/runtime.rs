//! The process's threads and allocator, set once before the first tensor.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use candle_core::{Result, bail};
use rayon::{ThreadPool, Yield};

use crate::crew::{self, Crew};
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
static POOL: OnceLock<ThreadPool> = OnceLock::new();

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
    if pool.current_thread_index().is_some() {
        return Ok(f());
    }
    Ok(pool.install(|| {
        let _awake = Awake::new(pool);
        f()
    }))
}

/// Whether some thread's [`run`] keeps the workers awake: one is enough.
static KEPT_AWAKE: AtomicBool = AtomicBool::new(false);

/// Keeps the other workers looking for work while it lives: the pool's, and the [`Crew`]'s of the thread that made it.
///
/// rayon's workers go to sleep after some microseconds without work. The products of small networks take as long as
/// waking a thread up, so that a second thread came too late to most of them.
struct Awake(Option<Arc<AtomicBool>>);

impl Awake {
    /// To be called by a worker of `pool`.
    fn new(pool: &ThreadPool) -> Self {
        if pool.current_num_threads() < 2 || KEPT_AWAKE.swap(true, Ordering::AcqRel) {
            return Self(None);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let captain = pool.current_thread_index().unwrap_or_default();
        let crew = Crew::assemble(pool.current_num_threads(), captain);
        let stopped = stop.clone();
        pool.spawn_broadcast(move |worker| {
            if worker.index() != captain {
                look_for_work(&stopped, &crew, worker.index());
            }
        });
        Self(Some(stop))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            crew::dismiss();
            stop.store(true, Ordering::Release);
            KEPT_AWAKE.store(false, Ordering::Release);
        }
    }
}

/// Helps the crew and does the pool's work as it comes; without any for some milliseconds it only looks now and then.
///
/// It yields to none but its captain. A thread that yields forfeits its share of the processor (since Linux 6.18), and
/// the least of other programs then keeps it away for milliseconds; whoever else wants the processor is given it by the
/// scheduler.
fn look_for_work(stop: &AtomicBool, crew: &Crew, worker: usize) {
    /// Looks at the crew's post between two into the pool's queues, which take longer.
    const LOOKS: u32 = 8;
    const PATIENCE: Duration = Duration::from_millis(3);
    let mut since = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let helped = (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            crew.help(worker)
        });
        if helped || rayon::yield_now() == Some(Yield::Executed) {
            since = Instant::now();
        } else if since.elapsed() > PATIENCE {
            std::thread::sleep(Duration::from_micros(50));
        } else if crew.is_in_the_way() {
            std::thread::yield_now();
        }
    }
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

/// Keeps freed memory instead of returning it after each training step: page faults were a seventh of a U-Net's step.
/// For [`ALLOCATOR`], and for the system's allocator where it is glibc's.
fn keep_freed_memory() {
    unsafe extern "C" {
        fn mi_option_set(option: libc::c_int, value: libc::c_long);
    }
    /// `mi_option_purge_delay` of mimalloc 2 and 3; −1 is never.
    const PURGE_DELAY: libc::c_int = 15;
    // SAFETY: the function of the linked mimalloc, which may be called at any time; it stores one number.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
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
    fn awake_workers_serve_nested_and_concurrent_runs() {
        configure(Some(2));
        let sum = |n: u64| {
            use rayon::prelude::*;
            run(|| run(|| (0..n).into_par_iter().sum::<u64>()).unwrap()).unwrap()
        };
        std::thread::scope(|s| {
            let others: Vec<_> =
                (0..3).map(|_| s.spawn(|| (0..50).map(|_| sum(1000)).sum::<u64>())).collect();
            for other in others {
                assert_eq!(other.join().unwrap(), 50 * 499_500);
            }
        });
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
