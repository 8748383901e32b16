//! Encoder and decoder as perceptrons, and what they offer to estimators.

use candle_core::Var;
use genzoo_core::capability::{Decoder, Encoder};
use genzoo_core::math::log_normal;
use genzoo_core::nn::{Activation, Linear, Mlp};
use genzoo_core::{DType, DataSpec, Noise, ParamStore, Result, Standardizer, Tensor};

use crate::gaussian;
use crate::likelihood::Likelihood;

/// Where `log σ²` of `q(z|x)` starts: codes are legible from the first step. Starting at the prior, the decoder
/// learns to ignore them before the encoder has anything to say, and on toys it never unlearns that.
const FIRST_LOG_VARIANCE: f64 = -4.0;

/// `q(z|x)` and `p(x|z)`.
#[derive(Clone)]
pub(crate) struct Networks {
    pub(crate) scaling: Standardizer,
    pub(crate) likelihood: Likelihood,
    /// `None` without hidden layers: then the model is probabilistic PCA.
    encoder: Option<Mlp>,
    posterior: Linear,
    decoder: Mlp,
    /// What `x` and `z` are multiplied by on their way into the networks.
    gain: f64,
    spec: DataSpec,
    latent: usize,
}

impl Networks {
    /// Perceptrons with `layers` hidden layers of `hidden` units each; with none, both maps are linear.
    pub(crate) fn new(
        spec: &DataSpec,
        latent: usize,
        hidden: usize,
        layers: usize,
        gain: f64,
        params: &ParamStore,
    ) -> Result<Self> {
        let likelihood = Likelihood::of(spec.space);
        let root = params.group("main");
        let inner = std::iter::repeat_n(hidden, layers);
        let up: Vec<usize> = std::iter::once(spec.dims()).chain(inner.clone()).collect();
        let outputs = likelihood.outputs() * spec.dims();
        let down: Vec<usize> = std::iter::once(latent).chain(inner).chain([outputs]).collect();
        let (encoder, width) = match layers {
            0 => (None, spec.dims()),
            _ => {
                let body = Mlp::new(&up, Activation::Silu, Activation::Silu, &root.pp("encoder"))?;
                (Some(body), hidden)
            }
        };
        Ok(Self {
            scaling: Standardizer::identity(spec)?,
            likelihood,
            encoder,
            posterior: Linear::new(width, 2 * latent, Activation::Identity, &root.pp("posterior"))?,
            decoder: Mlp::new(&down, Activation::Silu, Activation::Identity, &root.pp("decoder"))?,
            gain,
            spec: spec.clone(),
            latent,
        })
    }

    /// The same networks with weights that no gradient reaches.
    pub(crate) fn frozen(&self) -> Self {
        Self {
            encoder: self.encoder.as_ref().map(Mlp::frozen),
            posterior: self.posterior.frozen(),
            decoder: self.decoder.frozen(),
            ..self.clone()
        }
    }

    /// What the likelihood is about, `(b, d)`, from data `(b, event…)`.
    pub(crate) fn target(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.flatten_from(1)?;
        match self.likelihood {
            Likelihood::Gaussian => self.scaling.forward(&rows),
            other => other.target(&rows),
        }
    }

    /// `μ` and `log σ²` of `q(z|x)`, `(b, k)` each.
    pub(crate) fn encode(&self, target: &Tensor) -> Result<(Tensor, Tensor)> {
        let input = match self.likelihood {
            Likelihood::Gaussian => target.clone(),
            // The centre of the byte's cell: a code is a function of bytes, not of their dequantisation.
            Likelihood::DiscretisedLogistic => {
                self.scaling.forward(&target.affine(1.0 / 256.0, 0.5 / 256.0)?)?
            }
            Likelihood::Bernoulli => self.scaling.forward(target)?,
        };
        let input = (input * self.gain)?;
        let hidden = match &self.encoder {
            Some(body) => body.forward(&input)?,
            None => input,
        };
        let both = self.posterior.forward(&hidden)?;
        let lv = both.narrow(1, self.latent, self.latent)?;
        Ok((both.narrow(1, 0, self.latent)?, lv.affine(1.0, FIRST_LOG_VARIANCE)?))
    }

    /// Outputs of the decoder, `(b, outputs·d)`.
    pub(crate) fn outputs(&self, z: &Tensor) -> Result<Tensor> {
        Ok(self.decoder.forward(&(z * self.gain)?)?)
    }

    /// Flat rows of the likelihood's units `(b, d)` as data `(b, event…)`.
    pub(crate) fn to_data(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = match self.likelihood {
            Likelihood::Gaussian => self.scaling.inverse(rows)?,
            _ => rows.clone(),
        };
        Ok(rows.reshape(self.spec.batch_shape(rows.dim(0)?))?)
    }

    /// What standardisation adds to a log-density of vectors.
    pub(crate) fn ladj(&self) -> f64 {
        match self.likelihood {
            Likelihood::Gaussian => self.scaling.ladj(),
            _ => 0.0,
        }
    }

    /// `log p(x|z)` of data in f64, with gradients towards `z`.
    fn log_prob(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let output = self.outputs(z)?.to_dtype(DType::F64)?;
        let target = self.target(x)?.to_dtype(DType::F64)?;
        Ok(self.likelihood.log_prob(&output, &target)?.affine(1.0, self.ladj())?)
    }
}

impl Encoder for Networks {
    fn sample_and_log_q(&self, x: &Tensor, noise: &mut Noise) -> Result<(Tensor, Tensor)> {
        let (mu, lv) = self.encode(&self.target(x)?)?;
        let (mu, lv) = (mu.detach(), lv.detach());
        let z = gaussian::sample(&mu, &lv, noise)?;
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let log_q = log_normal(&wide(&z)?, &wide(&mu)?, &wide(&lv)?)?;
        Ok((z, log_q))
    }
}

impl Decoder for Networks {
    fn latent_dim(&self) -> usize {
        self.latent
    }

    fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.to_data(&self.likelihood.mean(&self.outputs(z)?.detach())?)
    }

    fn log_likelihood(&self, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        Ok(self.log_prob(x, z)?.detach())
    }

    fn log_likelihood_and_gradient(&self, x: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let z = Var::from_tensor(&z.detach())?;
        let value = self.log_prob(x, z.as_tensor())?;
        let grads = value.sum_all()?.backward()?;
        let gradient = match grads.get(z.as_tensor()) {
            Some(g) => g.detach(),
            None => z.zeros_like()?,
        };
        Ok((value.detach(), gradient))
    }
}
