//! Data as visible states, and back.
//!
//! | data       | states                                                                                  |
//! |------------|-----------------------------------------------------------------------------------------|
//! | binary     | themselves                                                                              |
//! | vectors    | `u = (x − m)/s` per dimension                                                           |
//! | bytes      | one of L levels of 256/L bytes each, one-hot                                            |
//!
//! A machine of levels is a law of bytes: `P(k) = P(levels) Π P(k_i | level_i)`, where the share of a byte in its level is
//! counted over the train rows, with one more of each.

use genzoo_core::{DType, DataSpec, Error, Noise, Result, Space, Standardizer, StateDict, Stream, Tensor};
use genzoo_numerics::rows;

/// How data become states.
#[derive(Clone, Debug)]
pub(super) enum Encoding {
    Bits,
    Standardised(Standardizer),
    Levels {
        levels: usize,
        /// `log P(k | level of k)`, 256 numbers.
        within: Vec<f64>,
    },
}

/// Train rows that base rates and statistics are taken from.
pub(super) const ROWS: usize = Standardizer::ROWS;

impl Encoding {
    /// What fits data of this kind, before it has seen any.
    pub(super) fn new(spec: &DataSpec, levels: Option<usize>) -> Result<Self> {
        Ok(match spec.space {
            Space::BinaryStatic | Space::BinaryDynamic => Self::Bits,
            Space::Continuous => Self::Standardised(Standardizer::identity(&flat(spec))?),
            Space::U8 => {
                let levels = levels.unwrap_or(8);
                if !(2..=256).contains(&levels) || !256usize.is_multiple_of(levels) {
                    return Err(Error::config("model.levels", "a power of 2 from 2 to 256", levels));
                }
                Self::Levels { levels, within: vec![-(256.0 / levels as f64).ln(); 256] }
            }
        })
    }

    /// Number of visible units.
    pub(super) fn units(&self, spec: &DataSpec) -> usize {
        match self {
            Self::Levels { levels, .. } => spec.dims() * levels,
            _ => spec.dims(),
        }
    }

    /// Takes the statistics of train rows.
    pub(super) fn fit(&mut self, spec: &DataSpec, stream: &mut dyn Stream) -> Result<Tensor> {
        let n = stream.epoch().map_or(ROWS, |e| ROWS.min(e as usize)).max(2);
        let x = stream.next(n)?.x;
        match self {
            Self::Bits => {}
            Self::Standardised(scaling) => {
                let x = x.flatten_from(1)?.to_dtype(DType::F64)?;
                let mean = x.mean(0)?;
                let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?.to_vec1::<f64>()?;
                let sd = variance.into_iter().map(|v| if v > 1e-12 { v.sqrt() } else { 1.0 }).collect();
                *scaling = Standardizer::new(mean.to_vec1()?, sd, &flat(spec))?;
            }
            Self::Levels { levels, within } => {
                let mut counts = [1.0f64; 256];
                bytes(&x)?.into_iter().for_each(|k| counts[k] += 1.0);
                let width = 256 / *levels;
                for (k, log) in within.iter_mut().enumerate() {
                    let first = k / width * width;
                    *log = (counts[k] / counts[first..first + width].iter().sum::<f64>()).ln();
                }
            }
        }
        Ok(x)
    }

    /// `(n, event…) → (n, D)`.
    pub(super) fn states(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.flatten_from(1)?;
        match self {
            Self::Bits => Ok(x),
            Self::Standardised(scaling) => scaling.forward(&x),
            Self::Levels { levels, .. } => {
                let (n, sites) = x.dims2()?;
                let mut states = vec![0f32; n * sites * levels];
                for (k, site) in bytes(&x)?.into_iter().zip(states.chunks_mut(*levels)) {
                    site[k * levels / 256] = 1.0;
                }
                Ok(Tensor::from_vec(states, (n, sites * levels), x.device())?.to_dtype(x.dtype())?)
            }
        }
    }

    /// States as data, `(n, D) → (n, event…)`; bytes come as `(k + u)/256`.
    pub(super) fn data(&self, v: &Tensor, spec: &DataSpec, noise: &mut Noise) -> Result<Tensor> {
        let n = v.dim(0)?;
        let x = match self {
            Self::Bits => v.clone(),
            Self::Standardised(scaling) => scaling.inverse(v)?,
            Self::Levels { levels, within } => {
                let width = 256 / levels;
                let states = rows::host(v)?;
                let sites = states.len() / levels;
                let (which, inside) = (noise.uniforms(sites), noise.uniforms(sites));
                let each = states.chunks(*levels).zip(which).zip(inside);
                let x: Vec<f32> = each
                    .map(|((site, mut rest), u)| {
                        let first = site.iter().position(|s| *s > 0.5).unwrap_or(0) * width;
                        let within = &within[first..first + width];
                        let k = within.iter().position(|log| {
                            rest -= log.exp();
                            rest < 0.0
                        });
                        // u < 1 − 2⁻¹⁶ keeps the byte after rounding.
                        ((first + k.unwrap_or(width - 1)) as f64 + u.min(0.9999)) as f32 / 256.0
                    })
                    .collect();
                Tensor::from_vec(x, (n, spec.dims()), v.device())?.to_dtype(v.dtype())?
            }
        };
        Ok(x.reshape(spec.batch_shape(n))?)
    }

    /// What `log p` of the state lacks to be that of the data, `(n,)` in `f64`: a log-determinant, or the bytes' shares.
    pub(super) fn log_share(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.dim(0)?;
        let values = match self {
            Self::Bits => vec![0.0; n],
            Self::Standardised(scaling) => vec![scaling.ladj(); n],
            Self::Levels { within, .. } => {
                let each = x.elem_count() / n.max(1);
                bytes(x)?.chunks(each.max(1)).map(|row| row.iter().map(|k| within[*k]).sum()).collect()
            }
        };
        rows::tensor(values, x.device())
    }

    pub(super) fn state(&self) -> Result<StateDict> {
        Ok(match self {
            Self::Bits => StateDict::new(),
            Self::Standardised(scaling) => scaling.state()?,
            Self::Levels { within, .. } => {
                let within = Tensor::new(&within[..], &genzoo_core::Device::Cpu)?;
                StateDict::from([("levels.within".to_string(), within)])
            }
        })
    }

    pub(super) fn load(&mut self, state: &StateDict, spec: &DataSpec) -> Result<()> {
        match self {
            Self::Bits => {}
            Self::Standardised(scaling) => *scaling = Standardizer::load(state, &flat(spec))?,
            Self::Levels { within, .. } => {
                let like = Tensor::new(&within[..], &genzoo_core::Device::Cpu)?;
                *within = rows::host(&super::saved(state, "levels.within", &like)?)?;
            }
        }
        Ok(())
    }
}

/// Every dimension has its own statistics.
fn flat(spec: &DataSpec) -> DataSpec {
    DataSpec { shape: vec![spec.dims()], ..spec.clone() }
}

/// The bytes behind `x̃ = (k + u)/256`.
fn bytes(x: &Tensor) -> Result<Vec<usize>> {
    Ok(rows::host(x)?.into_iter().map(|x| (x * 256.0).floor().clamp(0.0, 255.0) as usize).collect())
}
