//! Annealing through machines whose moments are averages of those of both ends.
//!
//! ```text
//! knots   E_k[v] = (1 − β_k) E_0[v] + β_k E_1[v],  so too E_k[h] and E_k[v hᵀ],     β_k = k/K
//! between W_β, b_β, c_β run straight from knot to knot:  q_β(v) = exp(b_β·v) Π_j (1 + e^{f_j}),  f = c_β + W_βᵀ v
//! ```
//!
//! The geometric path weakens all couplings together, so that it passes laws that are neither the base nor like the
//! machine; averages of moments keep on the way what both ends share. Moments of the machine come from its chains, and
//! knots from persistent contrastive divergence against the averages. Whatever either misses costs variance and no
//! truth: both ends are exact, and the weights of any path between them are unbiased.
//!
//! | symbol | shape | meaning |
//! |--------|-------|---------|
//! | `W, b, c` | `(D, H)`, `(D,)`, `(H,)` | couplings and biases of a machine of binary units |
//! | `f` | `(n, H)` | fields on the hidden units |
//!
//! Source: Grosse, Maddison & Salakhutdinov (2013), "Annealing between distributions by averaging moments", §3 and 6.2;
//! Montavon & Müller (2012) for centred steps.

use genzoo_core::{Error, Noise, Result, Tensor, math};
use genzoo_kernels::sum_rows;
use genzoo_numerics::likelihood::ais::BipartitePath;

use super::{Beta, Machine, Units};

/// Stretches of the path; nine knots lie between the ends, as in the source.
const STRETCHES: usize = 10;
/// Sweeps before the machine's moments are taken, and sweeps over which they are.
const SETTLE: usize = 100;
const LISTEN: usize = 50;
/// Updates per knot; the mean of the second half is kept.
const UPDATES: usize = 100;
/// Step of an update in centred coordinates.
const RATE: f64 = 0.1;

/// The path of this name to a machine, `geometric` or `moments`; the latter listens to chains from the states `v`, or
/// to `chains` new ones.
///
/// # Errors
/// For another name, and for moments of units that are not binary.
pub fn annealing_path(
    name: &str,
    machine: &Machine,
    v: Option<&Tensor>,
    chains: usize,
    noise: &mut Noise,
) -> Result<Box<dyn BipartitePath>> {
    match (name, v) {
        ("geometric", _) => Ok(Box::new(machine.clone())),
        ("moments", Some(v)) => Ok(Box::new(Averages::fit(machine, v, noise)?)),
        ("moments", None) => {
            let v = machine.draw_base(chains, noise)?;
            Ok(Box::new(Averages::fit(machine, &v, noise)?))
        }
        (other, _) => Err(Error::unknown("path", other, ["geometric", "moments"])),
    }
}

/// Machines from the base to the target.
pub(super) struct Averages {
    knots: Vec<Machine>,
}

/// `E[v]`, `E[h]` and `E[v hᵀ]`.
struct Moments {
    visible: Tensor, // (D,)
    hidden: Tensor,  // (H,)
    product: Tensor, // (D, H)
}

impl Averages {
    /// The path to `machine`, of binary units, with its moments as chains from the states `v`, `(n, D)`, tell them.
    ///
    /// # Errors
    /// For units of another kind.
    pub(super) fn fit(machine: &Machine, v: &Tensor, noise: &mut Noise) -> Result<Self> {
        if !matches!(machine.units(), Units::Binary) {
            let want = "'geometric': moments are averaged for machines of binary units only";
            return Err(Error::config("path", want, "moments"));
        }
        let start = machine.independent()?;
        let mut chains = v.clone();
        for _ in 0..SETTLE {
            chains = machine.sweep(&chains, Beta::TARGET, noise)?;
        }
        let mut target = Moments::of(machine, &chains)?;
        for k in 1..LISTEN {
            chains = machine.sweep(&chains, Beta::TARGET, noise)?;
            let own = 1.0 / (k + 1) as f64;
            target = target.mixed(&Moments::of(machine, &chains)?, own)?;
        }
        let base = Moments::of_base(machine)?;
        let mut chains = start.draw_base(v.dim(0)?, noise)?;
        let mut knots = vec![start];
        for k in 1..STRETCHES {
            let beta = k as f64 / STRETCHES as f64;
            let first = knots[k - 1].clone();
            let (knot, moved) = matched(first, &base.mixed(&target, beta)?, chains, noise)?;
            chains = moved;
            knots.push(knot);
        }
        knots.push(machine.clone());
        Ok(Self { knots })
    }

    /// The machine at β, `q_β` up to its Z.
    pub(super) fn at(&self, beta: f64) -> Result<Machine> {
        let place = beta.clamp(0.0, 1.0) * STRETCHES as f64;
        let k = (place as usize).min(STRETCHES - 1);
        self.knots[k].towards(&self.knots[k + 1], place - k as f64)
    }
}

/// A machine with these moments, from `first` on, and the states of its chains.
fn matched(first: Machine, want: &Moments, chains: Tensor, noise: &mut Noise) -> Result<(Machine, Tensor)> {
    let (mut machine, mut chains) = (first, chains);
    let mut mean: Option<Machine> = None;
    for t in 0..UPDATES {
        chains = machine.sweep(&chains, Beta::TARGET, noise)?;
        let got = Moments::of(&machine, &chains)?;
        let visible = (&want.visible - got.visible)?;
        let hidden = (&want.hidden - got.hidden)?;
        let outer = |a: &Tensor, b: &Tensor| a.unsqueeze(1)?.broadcast_mul(&b.unsqueeze(0)?);
        let product = (&want.product - got.product)?;
        let slope = (product - (outer(&visible, &want.hidden)? + outer(&want.visible, &hidden)?)?)?;
        let times = |m: &Tensor, x: &Tensor| m.matmul(&x.unsqueeze(1)?)?.squeeze(1);
        let visible = ((visible - times(&slope, &want.hidden)?)? * RATE)?;
        let hidden = ((hidden - times(&slope.t()?, &want.visible)?)? * RATE)?;
        machine = machine.shifted(&(slope * RATE)?, &visible, &hidden)?;
        if 2 * t >= UPDATES {
            let count = t - UPDATES / 2 + 1;
            mean = Some(match mean {
                None => machine.clone(),
                Some(mean) => mean.towards(&machine, 1.0 / count as f64)?,
            });
        }
    }
    Ok((mean.unwrap_or(machine), chains))
}

impl Moments {
    /// Over the states `v`, `(n, D)`, with the hidden layer summed out.
    fn of(machine: &Machine, v: &Tensor) -> Result<Self> {
        let p = machine.hidden_means(v)?;
        let part = 1.0 / v.dim(0)? as f64;
        Ok(Self {
            visible: (sum_rows(v)? * part)?,
            hidden: (sum_rows(&p)? * part)?,
            product: (v.t()?.contiguous()?.matmul(&p)? * part)?,
        })
    }

    /// Of the independent units that the path starts from; hidden ones are fair coins.
    fn of_base(machine: &Machine) -> Result<Self> {
        let visible = math::sigmoid(machine.base())?;
        let hidden = (machine.hidden_bias().zeros_like()? + 0.5)?;
        let product = visible.unsqueeze(1)?.broadcast_mul(&hidden.unsqueeze(0)?)?;
        Ok(Self { visible, hidden, product })
    }

    /// `(1 − s)` of these and `s` of the others.
    fn mixed(&self, other: &Self, s: f64) -> Result<Self> {
        let mix = |a: &Tensor, b: &Tensor| (a * (1.0 - s))? + (b * s)?;
        Ok(Self {
            visible: mix(&self.visible, &other.visible)?,
            hidden: mix(&self.hidden, &other.hidden)?,
            product: mix(&self.product, &other.product)?,
        })
    }
}

/// Couplings differ from place to place, so a state brings nothing along but itself.
impl BipartitePath for Averages {
    fn base_log_z(&self) -> f64 {
        self.knots[0].base_log_z()
    }

    fn draw_base(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        self.knots[0].draw_base(n, noise)
    }

    fn fields(&self, visible: &Tensor) -> Result<Tensor> {
        Ok(visible.clone())
    }

    fn log_weight(&self, visible: &Tensor, _: &Tensor, beta: f64) -> Result<Tensor> {
        Ok(self.at(beta)?.free_energy(visible)?.neg()?)
    }

    fn draw_hidden(&self, visible: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor> {
        noise.bernoulli(&self.at(beta)?.hidden_means(visible)?)
    }

    fn draw_visible(&self, hidden: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor> {
        self.at(beta)?.draw_visible_at(hidden, Beta::TARGET, noise)
    }
}
