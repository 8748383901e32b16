//! The machine as annealing sees it: the path from independent units, with the hidden layer summed out of the weights.

use genzoo_core::{Noise, Result, Tensor};
use genzoo_numerics::likelihood::ais::BipartitePath;

use super::{Beta, Machine};

impl BipartitePath for Machine {
    fn base_log_z(&self) -> f64 {
        Machine::base_log_z(self)
    }

    fn draw_base(&self, n: usize, noise: &mut Noise) -> Result<Tensor> {
        Machine::draw_base(self, n, noise)
    }

    fn fields(&self, visible: &Tensor) -> Result<Tensor> {
        Machine::fields(self, visible)
    }

    fn log_weight(&self, visible: &Tensor, fields: &Tensor, beta: f64) -> Result<Tensor> {
        Machine::log_weight(self, visible, fields, Beta::All(beta))
    }

    fn draw_hidden(&self, fields: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor> {
        self.draw_hidden_at(fields, Beta::All(beta), noise)
    }

    fn draw_visible(&self, hidden: &Tensor, beta: f64, noise: &mut Noise) -> Result<Tensor> {
        self.draw_visible_at(hidden, Beta::All(beta), noise)
    }
}
