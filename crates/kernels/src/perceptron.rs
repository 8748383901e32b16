//! A perceptron as one operation: rows go through all layers, and back, while one core has them in its cache.
//!
//! ```text
//! groups of rows, cut by the shape alone     each by one thread, the same forward and backward
//!   h₀ = x,  hₗ = fₗ(hₗ₋₁ Wₗᵀ + bₗ)           blocks of rows through all layers
//!   dₗ = gₗ ⊙ f'ₗ,  gₗ₋₁ = dₗ Wₗ              ∂Wₗ = Σ dₗᵀ hₗ₋₁, ∂bₗ = Σ dₗ, summed over the groups in order
//! ```
//! As single operations each layer sends half of its rows to the other core, three times a step, and candle adds each
//! hidden gradient to zeros. Of wide or few rows nothing is won: they take [`linear`] layer by layer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, D, Device, Layout, Result, Shape, Tensor, bail};

use crate::activation::{Activation, Bias, finish_row, multiply, slope_from_value, times_slope_of_value};
use crate::crew::share;
use crate::gradients::hand_over;
use crate::linear::linear;
use crate::matrix::{Threads, View, product};
use crate::real::Real;
use crate::reduce::add_rows;
use crate::support::{
    Shared, elements, fill_blocks, incoming, is_fast, keeps_gradient_graphs, output, slice, slices, uninit,
    with_real,
};

/// One layer `f(x wᵀ + b)`.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a> {
    /// `(o, i)`.
    pub weight: &'a Tensor,
    /// `(o)`.
    pub bias: Option<&'a Tensor>,
    /// Behind the affine map.
    pub activation: Activation,
}

/// `x: (…, i)` through the layers, first to last: `(…, o)` of the last.
///
/// Error as that of [`linear`], layer by layer; sums over rows are taken in groups of at least 128.
///
/// # Errors
/// On shapes that do not fit.
pub fn perceptron(x: &Tensor, layers: &[Dense<'_>]) -> Result<Tensor> {
    match Net::new(x, layers)? {
        Some((net, arguments)) => {
            let mut shape = x.dims().to_vec();
            shape.pop();
            shape.push(net.outputs());
            let rows = x.reshape((net.rows, ()))?.contiguous()?;
            let y = rows.apply_op3(&arguments[0], &arguments[1], net)?;
            if shape.len() == 2 { Ok(y) } else { y.reshape(shape) }
        }
        None => layers.iter().try_fold(x.clone(), |x, l| linear(&x, l.weight, l.bias, l.activation)),
    }
}

/// Rows of a group, and of a block within it, at least.
const ROWS: usize = 128;
/// Groups at most: each has its own sums for all parameters.
const GROUPS: usize = 16;
/// Numbers in all sums of all groups at most.
const SUMS: usize = 1 << 20;

/// One layer's tensors, contiguous.
struct Layer {
    weight: Tensor,
    bias: Option<Tensor>,
    f: Activation,
    inputs: usize,
    outputs: usize,
}

struct Net {
    layers: Vec<Layer>,
    rows: usize,
    /// Whether anything asks for gradients.
    keep: bool,
    /// Per layer `h`, of all but the last, and slopes where they do not follow from `h`.
    kept: OnceLock<Vec<(Option<Tensor>, Option<Tensor>)>>,
    gradients: Gradients,
    /// Which parameters the second and third argument are.
    of: [Option<usize>; 2],
}

/// Of the parameters, weight and bias of each layer in turn, on their way from the operation to the [`Anchor`]s.
type Gradients = Arc<Mutex<Vec<Option<Tensor>>>>;

/// Ties three tensors, parameters or other anchors, to a graph: candle's operations have three arguments at most, and
/// copies of all weights into one would cost as much as the rest. Its value is one number that nobody reads.
struct Anchor {
    gradients: Gradients,
    of: [Option<usize>; 3],
}

impl Anchor {
    /// Two tensors that hold all tracked parameters, and which parameters they are themselves, if any.
    fn hold(
        parameters: Vec<(Tensor, usize)>,
        gradients: &Gradients,
        like: &Tensor,
    ) -> Result<([Tensor; 2], [Option<usize>; 2])> {
        let mut held: VecDeque<_> = parameters.into_iter().map(|(t, i)| (t, Some(i))).collect();
        while held.len() > 2 {
            let three: Vec<_> = held.drain(..3).collect();
            let op = Self { gradients: gradients.clone(), of: [three[0].1, three[1].1, three[2].1] };
            held.push_back((three[0].0.apply_op3(&three[1].0, &three[2].0, op)?, None));
        }
        while held.len() < 2 {
            held.push_back((Tensor::zeros(1, like.dtype(), like.device())?, None));
        }
        let (of, tensors): (Vec<_>, Vec<_>) = held.into_iter().map(|(t, i)| (i, t)).unzip();
        match <[Tensor; 2]>::try_from(tensors) {
            Ok(tensors) => Ok((tensors, [of[0], of[1]])),
            Err(_) => bail!("perceptron: expected two anchors"),
        }
    }
}

/// What backward returns for an argument that is a parameter or an anchor.
fn gradient_of(gradients: &Gradients, argument: &Tensor, of: Option<usize>) -> Result<Option<Tensor>> {
    let Some(i) = of else {
        return Ok(if argument.track_op() { Some(argument.zeros_like()?) } else { None });
    };
    let found = gradients.lock().unwrap_or_else(PoisonError::into_inner).get_mut(i).and_then(Option::take);
    match found {
        Some(gradient) => hand_over(argument, || Ok(gradient)),
        None => bail!("perceptron: the gradient of parameter {i} was asked for twice"),
    }
}

impl CustomOp3 for Anchor {
    fn name(&self) -> &'static str {
        "perceptron_parameters"
    }

    fn cpu_fwd(
        &self,
        s: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(s.dtype(), T, Ok(output(vec![T::ZERO], 1)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let of = |t: &Tensor, i: usize| gradient_of(&self.gradients, t, self.of[i]);
        Ok((of(a, 0)?, of(b, 1)?, of(c, 2)?))
    }
}

impl Net {
    /// The operation and its second and third argument; none where layer by layer is right or as fast.
    fn new(x: &Tensor, layers: &[Dense<'_>]) -> Result<Option<(Self, [Tensor; 2])>> {
        let Some(inputs) = x.dims().last().copied().filter(|_| is_fast(x)) else { return Ok(None) };
        let rows = x.elem_count() / inputs;
        let (mut width, mut count) = (inputs, 0);
        for Dense { weight, bias, .. } in layers {
            let fits = weight.rank() == 2
                && weight.dim(D::Minus1)? == width
                && weight.dim(0)? > 0
                && weight.dtype() == x.dtype()
                && bias.is_none_or(|b| b.dims() == [weight.dims()[0]] && b.dtype() == x.dtype());
            if !fits {
                return Ok(None);
            }
            width = weight.dim(0)?;
            count += weight.elem_count() + width;
        }
        if layers.len() < 2 || rows < 2 * ROWS || 2 * count > SUMS || keeps_gradient_graphs() {
            return Ok(None);
        }
        let layer = |l: &Dense<'_>| {
            let (outputs, inputs) = l.weight.dims2()?;
            let bias = l.bias.map(Tensor::contiguous).transpose()?;
            Ok(Layer { weight: l.weight.contiguous()?, bias, f: l.activation, inputs, outputs })
        };
        let layers = layers.iter().map(layer).collect::<Result<Vec<_>>>()?;
        let parameters = layers.iter().enumerate().flat_map(|(l, layer)| {
            let bias = layer.bias.as_ref().map(|b| (b.clone(), 2 * l + 1));
            [Some((layer.weight.clone(), 2 * l)), bias].into_iter().flatten()
        });
        let tracked: Vec<_> = parameters.filter(|(t, _)| t.track_op()).collect();
        let keep = x.track_op() || !tracked.is_empty();
        let gradients = Gradients::default();
        let (arguments, of) = Anchor::hold(tracked, &gradients, x)?;
        Ok(Some((Self { layers, rows, keep, kept: OnceLock::new(), gradients, of }, arguments)))
    }

    fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |l| l.outputs)
    }

    /// Calls `f(group, first row, rows)` for the blocks of each group in order, each group on one thread.
    fn for_blocks(&self, f: impl Fn(usize, usize, usize) + Sync) {
        let groups = self.groups();
        share(groups, |group| {
            let (first, end) = (self.rows * group / groups, self.rows * (group + 1) / groups);
            let blocks = ((end - first) / ROWS).max(1);
            for block in 0..blocks {
                let at = |i: usize| first + (end - first) * i / blocks;
                f(group, at(block), at(block + 1) - at(block));
            }
        });
    }

    fn groups(&self) -> usize {
        let parameters: usize = self.layers.iter().map(|l| l.outputs * (l.inputs + 1)).sum();
        (self.rows / ROWS).min(GROUPS).min(SUMS / parameters).max(1)
    }

    /// Numbers in the widest row.
    fn widest(&self) -> usize {
        self.layers.iter().map(|l| l.outputs.max(l.inputs)).max().unwrap_or(0)
    }

    fn forward<T: Real>(&self, x: &[T]) -> Result<Vec<T>> {
        let locks: Vec<_> = self.layers.iter().map(|l| elements(&l.weight)).collect();
        let weights = locks.iter().map(|l| l.slice::<T>()).collect::<Result<Vec<_>>>()?;
        let locks: Vec<_> = self.layers.iter().map(|l| l.bias.as_ref().map(elements)).collect();
        let biases = locks
            .iter()
            .map(|l| l.as_ref().map(|l| l.slice::<T>()).transpose())
            .collect::<Result<Vec<_>>>()?;
        let last = self.layers.len() - 1;
        // The values of all layers, and slopes where backward needs them.
        let room = |l: &Layer, wanted: bool| uninit::<T>(if wanted { self.rows * l.outputs } else { 0 });
        let mut values: Vec<Vec<T>> = self.layers.iter().map(|l| room(l, true)).collect();
        let mut slopes: Vec<Vec<T>> =
            self.layers.iter().map(|l| room(l, self.keep && !slope_from_value(l.f))).collect();
        let to: Vec<_> = values.iter_mut().map(|v| Shared::new(v)).collect();
        let to_slopes: Vec<_> = slopes.iter_mut().map(|v| Shared::new(v)).collect();
        self.for_blocks(|_, first, rows| {
            let mut input = &x[first * self.layers[0].inputs..][..rows * self.layers[0].inputs];
            for (i, l) in self.layers.iter().enumerate() {
                // SAFETY: the rows of a block are no other block's.
                let h = unsafe { to[i].part(first * l.outputs, rows * l.outputs) };
                let w = View::rows(weights[i], l.outputs, l.inputs, l.inputs).t();
                product(h, l.outputs, false, View::rows(input, rows, l.inputs, l.inputs), w, Threads::One);
                let bias = biases[i].map_or(Bias::All(T::ZERO), Bias::Each);
                for (r, row) in h.chunks_exact_mut(l.outputs).enumerate() {
                    let slope = (self.keep && !slope_from_value(l.f))
                        // SAFETY: as above.
                        .then(|| unsafe { to_slopes[i].part((first + r) * l.outputs, l.outputs) });
                    finish_row(l.f, bias, row, slope);
                }
                input = h;
            }
        });
        let y = values.pop().unwrap_or_default();
        if self.keep {
            let tensor = |v: Vec<T>, l: &Layer| match v.is_empty() {
                true => Ok(None),
                false => Tensor::from_vec(v, (self.rows, l.outputs), &Device::Cpu).map(Some),
            };
            values.resize_with(last + 1, Vec::new);
            let kept = values.into_iter().zip(slopes).zip(&self.layers);
            let kept = kept.map(|((h, s), l)| Ok((tensor(h, l)?, tensor(s, l)?))).collect::<Result<_>>()?;
            let _ = self.kept.set(kept);
        }
        Ok(y)
    }

    /// The gradient of x where it is asked for; those of the parameters are left in `gradients`.
    fn backward<T: Real>(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = self.kept.get() else { bail!("perceptron: no forward pass was run") };
        slices!(T; xs = x, ys = y, gs = g);
        let locks: Vec<_> = self.layers.iter().map(|l| elements(&l.weight)).collect();
        let weights = locks.iter().map(|l| l.slice::<T>()).collect::<Result<Vec<_>>>()?;
        // What the slopes of each layer follow from, and what each layer read.
        let last = self.layers.len() - 1;
        let source: Vec<_> = kept.iter().map(|(h, s)| s.as_ref().or(h.as_ref()).map(elements)).collect();
        let source: Vec<&[T]> =
            source.iter().map(|s| s.as_ref().map_or(Ok(ys), |s| s.slice::<T>())).collect::<Result<_>>()?;
        let read: Vec<_> = kept[..last].iter().map(|(h, _)| h.as_ref().map(elements)).collect();
        let read = read.iter().map(|h| h.as_ref().map_or(Ok(xs), |h| h.slice::<T>()));
        let read: Vec<&[T]> = std::iter::once(Ok(xs)).chain(read).collect::<Result<_>>()?;
        // Weight and bias of each layer in turn, of each group.
        let mut ends = vec![0];
        for l in &self.layers {
            let weight = ends.last().copied().unwrap_or(0) + l.outputs * l.inputs;
            ends.extend([weight, weight + l.outputs]);
        }
        let (count, groups) = (ends.last().copied().unwrap_or(0), self.groups());
        let mut sums = uninit::<T>(groups * count);
        let mut dx = uninit::<T>(if x.track_op() { xs.len() } else { 0 });
        let (to_sums, to_dx) = (Shared::new(&mut sums), Shared::new(&mut dx));
        let widest = self.widest();
        self.for_blocks(|group, first, rows| {
            let begins = first == self.rows * group / groups;
            let (mut d, mut g) = (uninit::<T>(rows * widest), uninit::<T>(rows * widest));
            g[..rows * self.outputs()]
                .copy_from_slice(&gs[first * self.outputs()..][..rows * self.outputs()]);
            for (i, l) in self.layers.iter().enumerate().rev() {
                let (n, at) = (rows * l.outputs, first * l.outputs);
                match l.f {
                    Activation::Identity => std::mem::swap(&mut d, &mut g),
                    f if slope_from_value(f) => {
                        times_slope_of_value(f, &source[i][at..at + n], &g[..n], &mut d[..n]);
                    }
                    _ => multiply(&g[..n], &source[i][at..at + n], &mut d[..n]),
                }
                let d = &d[..n];
                // SAFETY: a group's sums are its thread's alone.
                let part = |k: usize| unsafe { to_sums.part(group * count + ends[k], ends[k + 1] - ends[k]) };
                let input =
                    View::rows(&read[i][first * l.inputs..][..rows * l.inputs], rows, l.inputs, l.inputs);
                if l.weight.track_op() {
                    let down = View::rows(d, rows, l.outputs, l.outputs).t();
                    product(part(2 * i), l.inputs, !begins, down, input, Threads::One);
                }
                if l.bias.as_ref().is_some_and(Tensor::track_op) {
                    let sum = part(2 * i + 1);
                    if begins {
                        sum.fill(T::ZERO);
                    }
                    add_rows(sum, d);
                }
                let n = rows * l.inputs;
                let out = match i {
                    0 if !x.track_op() => continue,
                    // SAFETY: the rows of a block are no other block's.
                    0 => unsafe { to_dx.part(first * l.inputs, n) },
                    _ => &mut g[..n],
                };
                let w = View::rows(weights[i], l.outputs, l.inputs, l.inputs);
                product(out, l.inputs, false, View::rows(d, rows, l.outputs, l.outputs), w, Threads::One);
            }
        });
        let total = |k: usize, t: &Tensor| {
            let mut sum = uninit::<T>(ends[k + 1] - ends[k]);
            fill_blocks(&mut sum, 16 * 1024, |at, sum| {
                sum.copy_from_slice(&sums[ends[k] + at..][..sum.len()]);
                for group in 1..groups {
                    add_rows(sum, &sums[group * count + ends[k] + at..][..sum.len()]);
                }
            });
            Tensor::from_vec(sum, t.shape(), &Device::Cpu)
        };
        let mut gradients = Vec::with_capacity(2 * self.layers.len());
        for (i, l) in self.layers.iter().enumerate() {
            for (k, t) in [(2 * i, Some(&l.weight)), (2 * i + 1, l.bias.as_ref())] {
                gradients.push(t.filter(|t| t.track_op()).map(|t| total(k, t)).transpose()?);
            }
        }
        *self.gradients.lock().unwrap_or_else(PoisonError::into_inner) = gradients;
        if dx.is_empty() { Ok(None) } else { Tensor::from_vec(dx, x.shape(), &Device::Cpu).map(Some) }
    }
}

impl CustomOp3 for Net {
    fn name(&self) -> &'static str {
        "perceptron"
    }

    fn cpu_fwd(
        &self,
        s: &CpuStorage,
        l: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_real!(s.dtype(), T, Ok(output(self.forward(slice::<T>(s, l)?)?, (self.rows, self.outputs()))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = incoming("perceptron", g)?;
        let dx = with_real!(x.dtype(), T, self.backward::<T>(x, y, &g)?);
        let of = |t: &Tensor, i: usize| gradient_of(&self.gradients, t, self.of[i]);
        let dx = match dx {
            Some(dx) => hand_over(x, || Ok(dx))?,
            None => None,
        };
        Ok((dx, of(a, 0)?, of(b, 1)?))
    }
}
