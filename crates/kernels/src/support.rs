//! The bridge between candle tensors and slices.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

use crate::real::Real;

/// Whether the fast kernels serve this tensor: f32 or f64 on the CPU, with at least one element.
pub(crate) fn is_fast(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64) && x.elem_count() > 0
}

/// Whether candle keeps the graphs of gradients, so that second derivatives through `backward` exist.
/// Read on each call: candle reads it once per thread, at that thread's first backward.
pub(crate) fn keeps_gradient_graphs() -> bool {
    std::env::var_os("CANDLE_GRAD_DO_NOT_DETACH").is_some_and(|v| !v.is_empty() && v != "0")
}

/// Refuses to give a fused operation's gradient where its own graph would be asked for.
pub(crate) fn refuse_second_order(op: &str) -> Result<()> {
    if keeps_gradient_graphs() {
        bail!(
            "{op}: CANDLE_GRAD_DO_NOT_DETACH was set after the forward pass; set it before, so that the \
             forward pass uses operations that can be differentiated twice"
        )
    }
    Ok(())
}

/// The elements of a contiguous CPU storage.
pub(crate) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Calls `f` with the elements of a contiguous CPU tensor.
pub(crate) fn with_slice<T: Real, R>(x: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("expected a tensor on the CPU, got one on {:?}", x.device().location()),
    }
}

/// What a custom op returns.
pub(crate) fn output<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (T::to_cpu_storage_owned(data), shape.into())
}

/// A buffer whose contents are written before they are read.
pub(crate) fn uninit<T: Real>(len: usize) -> Vec<T> {
    let mut v = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`; T is f32 or f64 (the trait is sealed within this crate), plain data without
    // destructor, and every caller overwrites the whole buffer before reading it.
    #[allow(clippy::uninit_vec)]
    unsafe {
        v.set_len(len)
    };
    v
}

/// Runs `$body` with `$T` as the type that belongs to the dtype.
macro_rules! with_real {
    ($dtype:expr, $T:ident, $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("the CPU kernels serve f32 and f64, got {other:?}"),
        }
    };
}
pub(crate) use with_real;

/// A raw pointer that parallel tasks share to write disjoint parts of one buffer.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T, usize);

// SAFETY: the pointer is only turned into slices by `part`, whose callers hand out disjoint ranges.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(data: &mut [T]) -> Self {
        Self(data.as_mut_ptr(), data.len())
    }

    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// While the slice lives no other task may touch these elements, and the buffer must outlive it.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.1, "part of a shared buffer out of bounds");
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}
