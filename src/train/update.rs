//! What can be done with a block's gradients: measure them, or step with them.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

use super::{
    blockwise::GradientSink,
    ema::Ema,
    optimizer::{Given, Optimizer},
    rounding::Rounding,
    trained::Trained,
};
use crate::{device::kernels, models::flux::checkpoint_name};

/// Steps every trained parameter with its gradient.
pub struct Update<'a> {
    /// What computes the steps.
    pub optimizer: &'a mut Optimizer,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Factor on the gradients, below 1 where they are clipped.
    pub scale: f64,
    /// How results are stored.
    pub rounding: Rounding,
    /// Which parameters are stepped.
    pub trained: &'a Trained,
    /// The averages that follow the weights, if any.
    pub ema: Option<&'a mut Ema>,
}

impl GradientSink for Update<'_> {
    fn take<M: Module>(&mut self, place: &[&str], part: M, gradients: GradientsParams) -> M {
        let path = place.iter().map(|&segment| segment.to_owned()).collect();
        part.map(&mut Walk { update: self, gradients, path })
    }

    fn wants(&self, place: &[&str]) -> bool {
        self.trained.any_in(place)
    }
}

struct Walk<'a, 'b> {
    update: &'a mut Update<'b>,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleMapper for Walk<'_, '_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(parameter.id) else { return parameter };
        let name = checkpoint_name(&self.path);
        let Update { optimizer, learning_rate, scale, rounding, trained, ema } = &mut *self.update;
        if !trained.contains(&name) {
            return parameter;
        }
        let given = Given { name: &name, learning_rate: *learning_rate, scale: *scale, rounding };
        parameter.map(|value| {
            let value = optimizer.step(given, value, gradient);
            if let Some(ema) = ema {
                ema.follow(&name, value.clone());
            }
            value
        })
    }
}

/// Adds up the squares of the gradients of all trained parameters and changes nothing: the first of two
/// passes where the norm of all gradients together is to be clipped.
pub struct GradientNorm<'a> {
    trained: &'a Trained,
    squares: f64,
}

impl<'a> GradientNorm<'a> {
    /// Starts at zero.
    #[must_use]
    pub fn new(trained: &'a Trained) -> Self {
        Self { trained, squares: 0.0 }
    }

    /// The norm of everything seen.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.squares.sqrt()
    }

    /// The factor that brings the norm down to `max_grad_norm`.
    #[must_use]
    pub fn clip(&self, max_grad_norm: f64) -> f64 {
        (max_grad_norm / (self.norm() + 1e-6)).min(1.0)
    }
}

impl GradientSink for GradientNorm<'_> {
    fn take<M: Module>(&mut self, place: &[&str], part: M, gradients: GradientsParams) -> M {
        let path = place.iter().map(|&segment| segment.to_owned()).collect();
        part.visit(&mut SumOfSquares { norm: self, gradients, path });
        part
    }

    fn wants(&self, place: &[&str]) -> bool {
        self.trained.any_in(place)
    }

    fn changes(&self) -> bool {
        false
    }
}

struct SumOfSquares<'a, 'b> {
    norm: &'a mut GradientNorm<'b>,
    gradients: GradientsParams,
    path: Vec<String>,
}

impl ModuleVisitor for SumOfSquares<'_, '_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(parameter.id) else { return };
        if self.norm.trained.contains(&checkpoint_name(&self.path)) {
            self.norm.squares += kernels::sum_of_squares(gradient);
        }
    }
}
