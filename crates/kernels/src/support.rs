//! The bridge between candle tensors and slices.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

use crate::crew::share;
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
fn refuse_second_order(op: &str) -> Result<()> {
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

/// The elements of a tensor, whose storage is held meanwhile.
pub(crate) struct Elements<'a, S> {
    storage: S,
    layout: &'a Layout,
}

/// See [`Elements`].
pub(crate) fn elements(x: &Tensor) -> Elements<'_, impl Deref<Target = Storage> + '_> {
    let (storage, layout) = x.storage_and_layout();
    Elements { storage, layout }
}

impl<S: Deref<Target = Storage>> Elements<'_, S> {
    /// Of a contiguous tensor on the CPU.
    pub(crate) fn slice<T: Real>(&self) -> Result<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => slice(storage, self.layout),
            _ => bail!("expected a tensor on the CPU, got one elsewhere"),
        }
    }
}

/// Binds names to the elements of contiguous CPU tensors, for the rest of the block.
macro_rules! slices {
    ($T:ident; $($name:ident = $tensor:expr),+ $(,)?) => {
        $(
            let $name = $crate::support::elements($tensor);
            let $name = $name.slice::<$T>()?;
        )+
    };
}
pub(crate) use slices;

/// How the backward pass of a fused operation begins: without second derivatives, with a contiguous gradient.
pub(crate) fn incoming(op: &str, g: &Tensor) -> Result<Tensor> {
    refuse_second_order(op)?;
    g.contiguous()
}

/// Calls `f(start, block)` for the blocks of `out`, by several threads where there are several.
pub fn fill_blocks<T: Send>(out: &mut [T], block: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let (block, len) = (block.max(1), out.len());
    if len <= block {
        return f(0, out);
    }
    let out = Shared::new(out);
    share(len.div_ceil(block), |i| {
        let start = i * block;
        // SAFETY: blocks are disjoint.
        f(start, unsafe { out.part(start, block.min(len - start)) });
    });
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

    /// The address of an element.
    pub(crate) fn at(&self, start: usize) -> *mut T {
        self.0.wrapping_add(start)
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
