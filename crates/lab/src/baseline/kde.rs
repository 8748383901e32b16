//! `kde`: a normal around every training row (Parzen windows), as wide as held-out rows like it best.
//!
//! ```text
//! p(x) = 1/N Σ_i N(y; y_i, h² I) |det ∂y/∂x|        y = (x − m)/s per dimension for points, y = x for images
//! h    = argmax of mean_j log p(x_j)                over a tenth of the rows, with the windows around the others
//! ```
//!
//! | symbol | shape    | meaning                                                                   |
//! |--------|----------|---------------------------------------------------------------------------|
//! | `y_i`  | `(N, d)` | training rows; after the choice of `h` the held-out ones are windows too  |
//! | `h`    | number   | bandwidth, in standard deviations for points, in the range 0…1 for images |
//!
//! The density is exact, of this model; why it judges no other is said in [`genzoo_numerics::likelihood::parzen`].
//!
//! Source: Parzen (1962), Ann. Math. Statist. 33, 1065–1076; the bandwidth by Habbema, Hermans & van den Broek (1974).

use candle_core::{DType, Device, Tensor};
use genzoo_core::{
    Batch, DataSpec, Density, DensityInfo, Draw, Entry, Error, Evidence, Family, Kind, LogProb, Model,
    ModelInfo, Need, Noise, ParamStore, Result, Sampler, SamplerInfo, Samples, Space, Standardizer,
    StateDict, Stream, Table, Turn, Update, config,
};
use genzoo_numerics::likelihood::parzen::Parzen;

use super::fitted::{self, collect, flat, get, matrix, parameters, rows_of, set};

pub(super) const ENTRY: Entry = Entry {
    info: INFO,
    spaces: &[Space::Continuous, Space::U8],
    defaults: |_| {
        toml::toml! {
            [model]
            rows = 5000
            [train]
            steps = 1
        }
    },
    tiny: |_| {
        toml::toml! {
            [model]
            rows = 200
        }
    },
    build: |table, build| Ok(Box::new(Kde::new(table, build.spec, &build.noise)?)),
};

const INFO: ModelInfo = ModelInfo {
    name: "kde",
    family: Family::Baseline,
    summary: "a normal around every training row, its width chosen on held-out rows",
    citation: "Parzen (1962), Ann. Math. Statist. 33, 1065-1076",
};
const SAMPLERS: &[SamplerInfo] =
    &[SamplerInfo { name: "exact", summary: "a training row with the window's noise", defaults: Table::new }];
const DENSITIES: &[DensityInfo] =
    &[DensityInfo { name: "closed-form", summary: "the mean of the windows", defaults: Table::new }];

struct Kde {
    spec: DataSpec,
    params: ParamStore,
    most: usize,
    scaling: Standardizer,
    /// The windows' centres, scaled, `(N, d)`.
    centres: Tensor,
}

impl Kde {
    fn new(table: &Table, spec: &DataSpec, noise: &Noise) -> Result<Self> {
        let most: usize = config::get(table, "rows", "model")?;
        if most < 20 {
            return Err(Error::config("model.rows", "an integer ≥ 20", most));
        }
        Ok(Self {
            scaling: Standardizer::identity(spec)?,
            centres: matrix(&[], 0, spec.dims())?,
            spec: spec.clone(),
            params: parameters(noise, &[("bandwidth", matrix(&[1.0], 1, 1)?)])?,
            most,
        })
    }

    fn windows(&self) -> Result<Windows<'_>> {
        let centres = flat(&self.centres)?;
        let bandwidth = get(&self.params, "bandwidth")?.first().copied().unwrap_or(f64::NAN);
        let parzen = Parzen::new(rows_of(&centres, INFO.name)?, self.spec.dims(), bandwidth)?;
        let evidence = Evidence::new(Kind::Exact, "closed_form", self.spec.space);
        Ok(Windows { model: self, parzen, centres, evidence })
    }
}

/// The bandwidth under which the windows around the first nine tenths of `rows` make the rest most likely.
pub(super) fn bandwidth(rows: &[f64], d: usize) -> Result<f64> {
    let n = rows.len() / d;
    let (fit, held) = rows.split_at((n - n / 10) * d);
    Ok(Parzen::fit(fit, held, d)?.bandwidth())
}

impl Model for Kde {
    fn info(&self) -> &ModelInfo {
        &INFO
    }

    fn params(&self) -> &ParamStore {
        &self.params
    }

    fn state(&self) -> Result<StateDict> {
        let mut state = self.scaling.state()?;
        state.insert("centres".into(), self.centres.clone());
        Ok(state)
    }

    fn set_state(&mut self, state: StateDict) -> Result<()> {
        self.scaling = Standardizer::load(&state, &self.spec)?;
        let centres = state.get("centres").filter(|t| t.dims().get(1) == Some(&self.spec.dims()));
        let centres =
            centres.ok_or_else(|| Error::data("model state", "a tensor 'centres' of rows", "none"))?;
        self.centres = centres.to_dtype(DType::F64)?;
        Ok(())
    }

    fn prepare(&mut self, stream: &mut dyn Stream, _: &mut Noise) -> Result<()> {
        let d = self.spec.dims();
        let rows = collect(stream, self.most)?;
        let n = rows.len() / d;
        let x = matrix(&rows, n, d)?;
        if self.spec.image().is_none() {
            let mean = x.mean(0)?;
            let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?.to_vec1::<f64>()?;
            let sd = variance.into_iter().map(|v| if v > 0.0 { v.sqrt() } else { 1.0 }).collect();
            self.scaling = Standardizer::new(mean.to_vec1()?, sd, &self.spec)?;
        }
        self.centres = self.scaling.forward(&x)?;
        Ok(())
    }

    /// The choice of the bandwidth.
    fn turns(&self, step: u64) -> Vec<Turn> {
        if step == 0 { vec![Turn { group: "main", need: Need::Nothing }] } else { Vec::new() }
    }

    fn update(&mut self, _: &Turn, _: &Batch, _: &mut Noise) -> Result<Update> {
        let n = self.centres.dim(0)?;
        if n < 20 {
            return Err(Error::data("training rows", "at least 20", n));
        }
        let h = bandwidth(&flat(&self.centres)?, self.spec.dims())?;
        set(&self.params, &[("bandwidth", matrix(&[h], 1, 1)?)])?;
        Ok(Update::Done { log: vec![("bandwidth", h)] })
    }

    fn samplers(&self) -> &[SamplerInfo] {
        SAMPLERS
    }

    fn sampler(&self, name: &str, _: &Table) -> Result<Box<dyn Sampler + '_>> {
        match name {
            "exact" => Ok(Box::new(self.windows()?)),
            other => Err(Error::unknown("sampler", other, ["exact"])),
        }
    }

    fn densities(&self) -> &[DensityInfo] {
        DENSITIES
    }

    fn density(&self, name: &str, _: &Table, _: &mut Noise) -> Result<Box<dyn Density + '_>> {
        match name {
            "closed-form" => Ok(Box::new(self.windows()?)),
            other => Err(Error::unknown("density", other, ["closed-form"])),
        }
    }
}

/// The windows, ready for use.
struct Windows<'a> {
    model: &'a Kde,
    parzen: Parzen,
    centres: Vec<f64>,
    evidence: Evidence,
}

impl Density for Windows<'_> {
    fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    fn log_prob(&self, batch: &Batch, _: &mut Noise) -> Result<LogProb> {
        let scaling = &self.model.scaling;
        let y = scaling.forward(&batch.x.to_dtype(DType::F64)?.flatten_from(1)?)?;
        let values: Vec<f64> =
            self.parzen.log_density(&flat(&y)?)?.into_iter().map(|l| l + scaling.ladj()).collect();
        Ok(LogProb { values: Tensor::from_vec(values, batch.len(), &Device::Cpu)?, shared_error: 0.0 })
    }
}

impl Sampler for Windows<'_> {
    fn info(&self) -> &SamplerInfo {
        &SAMPLERS[0]
    }

    fn sample(&self, draw: &Draw, noise: &mut Noise) -> Result<Samples> {
        let (n, d) = (draw.n, self.model.spec.dims());
        let (chosen, z) = (noise.below(self.parzen.len(), n), noise.normals(n * d));
        let at = |i: usize| self.centres[chosen[i / d] * d + i % d] + self.parzen.bandwidth() * z[i];
        let y = matrix(&(0..n * d).map(at).collect::<Vec<_>>(), n, d)?;
        fitted::samples(flat(&self.model.scaling.inverse(&y)?)?, n, &self.model.spec)
    }
}
