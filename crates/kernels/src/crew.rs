//! Work handed to threads that wait for it awake, and the same part of it to the same thread each time.
//!
//! The operations of small networks take ten microseconds. Two things make a second thread useless for them, or worse:
//! waking it, and data that lie in the other core's cache, half a microsecond away where the cores are far from each
//! other. Here the thread that runs a training step, the captain, cuts the pieces into one range per thread and writes
//! each range into a line that its thread watches. Worker w has the same rows of one operation after the other; who has
//! done its own takes what others have not begun.
//!
//! What a piece computes must not depend on who computes it: then bits do not depend on the number of threads.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

thread_local! {
    /// The crew whose captain this thread is, while it does not share work already.
    static CREW: Cell<Option<Arc<Crew>>> = const { Cell::new(None) };
}

/// Calls `work(i)` for each `i < pieces`, by several threads where there are several.
pub fn share<F: Fn(usize) + Sync>(pieces: usize, work: F) {
    if pieces < 2 || rayon::current_num_threads() < 2 {
        return (0..pieces).for_each(work);
    }
    match CREW.take() {
        Some(crew) if pieces < u32::MAX as usize => {
            let ended = crew.share(pieces, &work);
            CREW.set(Some(crew));
            if let Some(panic) = ended {
                resume_unwind(panic);
            }
        }
        // Within another share, or where no crew waits.
        crew => {
            (0..pieces).into_par_iter().with_max_len(1).for_each(&work);
            CREW.set(crew);
        }
    }
}

/// [`share`] with the results in order.
pub(crate) fn collect<R: Send + Default + Clone>(pieces: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let mut results = vec![R::default(); pieces];
    let to = crate::support::Shared::new(&mut results);
    // SAFETY: each piece writes its own element.
    share(pieces, |i| unsafe { to.part(i, 1) }[0] = work(i));
    results
}

/// What the threads of a pool do together, one share after the other.
pub(crate) struct Crew {
    posts: Vec<Post>,
    captain: usize,
    /// Where the captain was last seen; −1 where the system does not say.
    processor: AtomicI32,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// One worker's place.
#[derive(Default)]
struct Post {
    order: Order,
    done: Done,
}

/// Written by the captain, watched by the worker. A share is complete when `next` has reached `end` at every post and
/// every piece taken is done. Only then are the fields written, after `next` was closed: who then moves `next` on
/// within a share has read the fields of that share, because reading later ones means finding `next` changed.
#[derive(Default)]
#[repr(align(128))]
struct Order {
    /// The number of the share in the upper half, the next piece of this worker's range in the lower.
    next: AtomicU64,
    end: AtomicUsize,
    work: AtomicPtr<()>,
    /// `unsafe fn(*const (), usize)`, which calls the work.
    call: AtomicPtr<()>,
}

/// The number of the share, and how many of its pieces this worker has done.
#[derive(Default)]
#[repr(align(128))]
struct Done(AtomicU64);

impl Order {
    /// Takes the next piece of the share.
    fn take(&self, share: u64) -> Option<usize> {
        let mut now = self.next.load(Ordering::Acquire);
        loop {
            let piece = now as u32 as usize;
            if now >> 32 != share || piece >= self.end.load(Ordering::Acquire) {
                return None;
            }
            match self.next.compare_exchange_weak(now, now + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(piece),
                Err(changed) => now = changed,
            }
        }
    }
}

unsafe fn call<F: Fn(usize)>(work: *const (), piece: usize) {
    // SAFETY: `work` is the address of an F that lives until its share is complete.
    unsafe { (*work.cast::<F>())(piece) }
}

impl Crew {
    /// A crew of as many workers, and the calling one its captain until [`dismiss`].
    pub(crate) fn assemble(workers: usize, captain: usize) -> Arc<Self> {
        let posts = (0..workers).map(|_| Post::default()).collect();
        let crew = Arc::new(Self { posts, captain, processor: AtomicI32::new(-1), panic: Mutex::new(None) });
        CREW.set(Some(crew.clone()));
        crew
    }

    /// What a piece panicked with.
    fn share<F: Fn(usize) + Sync>(&self, pieces: usize, work: &F) -> Option<Box<dyn Any + Send>> {
        self.processor.store(processor(), Ordering::Relaxed);
        let workers = self.posts.len();
        // After 2³² shares the numbers begin again.
        let last = self.posts[self.captain].order.next.load(Ordering::Relaxed) >> 32;
        let share = u64::from((last as u32).wrapping_add(1));
        let address = std::ptr::from_ref(work).cast_mut().cast::<()>();
        for (w, Post { order, .. }) in self.posts.iter().enumerate() {
            let rank = (w + workers - self.captain) % workers;
            let (start, end) = ((pieces * rank).div_ceil(workers), (pieces * (rank + 1)).div_ceil(workers));
            if start == end {
                continue;
            }
            order.next.store(share << 32 | u64::from(u32::MAX), Ordering::Relaxed);
            order.end.store(end, Ordering::Release);
            order.work.store(address, Ordering::Release);
            order.call.store(call::<F> as *mut (), Ordering::Release);
            order.next.store(share << 32 | start as u64, Ordering::Release);
        }
        let mut mine = 0;
        // SAFETY: the work lives longer than this function.
        self.join(self.captain, share, |i| unsafe { call::<F>(address, i) }, |done| mine = done);
        let others = || {
            let done = |post: &Post| match post.done.0.load(Ordering::Acquire) {
                done if done >> 32 == share => done as u32 as usize,
                _ => 0,
            };
            self.posts.iter().map(done).sum::<usize>()
        };
        let mut rounds = 0u32;
        while mine + others() < pieces {
            rounds = rounds.saturating_add(1);
            // Somebody has a piece to finish, perhaps on this very processor.
            match rounds {
                0..2_000 => std::hint::spin_loop(),
                _ => std::thread::yield_now(),
            }
        }
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes and does pieces, of the worker's own range first, until none is left; tells how many were done.
    fn join(&self, worker: usize, share: u64, work: impl Fn(usize), mut done: impl FnMut(usize)) {
        let (before, from) = self.posts.split_at(worker);
        let mut count = 0;
        for Post { order, .. } in from.iter().chain(before) {
            while let Some(piece) = order.take(share) {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(piece))) {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
                count += 1;
                done(count);
            }
        }
    }

    /// Helps with what the captain shares, if anything; whether it did.
    pub(crate) fn help(&self, worker: usize) -> bool {
        let Some(Post { order, done }) = self.posts.get(worker) else { return false };
        let now = order.next.load(Ordering::Acquire);
        if now as u32 as usize >= order.end.load(Ordering::Acquire) {
            return false;
        }
        let (share, address) = (now >> 32, order.work.load(Ordering::Acquire).cast_const());
        let call = order.call.load(Ordering::Acquire);
        let work = |piece| {
            // SAFETY: a piece of this share was taken, so `call` and `address` are its, and its captain waits until
            // `done` has counted the piece.
            unsafe { std::mem::transmute::<*mut (), unsafe fn(*const (), usize)>(call)(address, piece) }
        };
        self.join(worker, share, work, |count| done.0.store(share << 32 | count as u64, Ordering::Release));
        true
    }

    /// Whether the calling helper keeps the captain from its processor.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let here = processor();
        here >= 0 && here == self.processor.load(Ordering::Relaxed)
    }
}

/// The calling thread is captain no longer.
pub(crate) fn dismiss() {
    CREW.take();
}

/// The number of the processor this thread runs on, −1 where the system does not say.
fn processor() -> i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: takes nothing and changes nothing.
    return unsafe { libc::sched_getcpu() };
    #[cfg(not(target_os = "linux"))]
    -1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{configure, run};

    /// Every piece once, whoever does it, also where pieces share work themselves.
    #[test]
    fn every_piece_is_done_once() {
        configure(Some(3));
        let counts = |pieces: usize| {
            let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
            share(pieces, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
                share(i % 3, |_| {
                    counts[i].fetch_add(10, Ordering::Relaxed);
                });
            });
            counts.into_iter().map(AtomicUsize::into_inner).collect::<Vec<_>>()
        };
        let want = |pieces: usize| (0..pieces).map(|i| 1 + 10 * (i % 3)).collect::<Vec<_>>();
        for pieces in (0..20).chain([1000]) {
            assert_eq!(counts(pieces), want(pieces), "outside");
        }
        run(|| {
            for round in 0..2000 {
                assert_eq!(counts(round % 20), want(round % 20), "within");
            }
            assert_eq!(collect(100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
        })
        .unwrap();
    }

    /// A helper that looks all the time, a captain that shares all the time: no piece is lost, none is done twice, and
    /// none is done for a share that is over.
    #[test]
    fn helpers_may_come_at_any_time() {
        for workers in [2, 4] {
            let crew = Crew::assemble(workers, 0);
            let over = AtomicUsize::new(0);
            std::thread::scope(|s| {
                for w in 1..workers {
                    let (crew, over) = (&crew, &over);
                    s.spawn(move || {
                        while over.load(Ordering::Acquire) == 0 {
                            if !crew.help(w) {
                                std::thread::yield_now();
                            }
                        }
                    });
                }
                for round in 0..3000usize {
                    let (pieces, sum) = (2 + round % 9, AtomicUsize::new(0));
                    let ended = crew.share(pieces, &|i| {
                        sum.fetch_add(1 << (4 * i), Ordering::Relaxed);
                    });
                    assert!(ended.is_none());
                    assert_eq!(sum.into_inner(), (0..pieces).map(|i| 1 << (4 * i)).sum::<usize>());
                }
                over.store(1, Ordering::Release);
            });
            dismiss();
        }
    }

    /// Long trainings count further than 32 bits.
    #[test]
    fn numbers_of_shares_may_begin_again() {
        let crew = Crew::assemble(2, 0);
        for Post { order, .. } in &crew.posts {
            order.next.store(u64::from(u32::MAX - 2) << 32, Ordering::Release);
        }
        for _ in 0..5 {
            let sum = AtomicUsize::new(0);
            let ended = crew.share(4, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert!(ended.is_none());
            assert_eq!(sum.into_inner(), 6);
        }
        dismiss();
    }

    /// A panic in any piece reaches the captain once all pieces have ended, and the crew lives on.
    #[test]
    fn a_panic_reaches_the_captain() {
        configure(Some(3));
        run(|| {
            for bad in [0, 5, 63] {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    share(64, |i| assert!(i != bad, "piece {i}"));
                }));
                assert!(caught.is_err());
                let sum = AtomicUsize::new(0);
                share(64, |i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
                assert_eq!(sum.into_inner(), 64 * 63 / 2);
            }
        })
        .unwrap();
    }
}
