//! What can be done with a block's gradients: measure them, or step with them.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{FloatDType, Tensor},
};

use super::{blockwise::GradientSink, optimizer::Optimizer, rounding::Rounding};
use crate::models::flux::checkpoint_name;

/// Steps every parameter with its gradient.
pub struct Update<'a> {
    /// What computes the steps.
    pub optimizer: &'a mut Optimizer,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Factor on the gradients, below 1 where they are clipped.
    pub scale: f64,
    /// How bf16 results are stored.
    pub rounding: Rounding,
}

impl GradientSink for Update<'_> {
    fn take<M: Module>(&mut self, place: &[&str], part: M, gradients: GradientsParams) -> M {
        let path = place.iter().map(|&segment| segment.to_owned()).collect();
        part.map(&mut Walk { update: self, gradients, path })
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
        let Some(mut gradient) = self.gradients.remove::<D>(parameter.id) else { return parameter };
        let name = checkpoint_name(&self.path);
        let Update { optimizer, learning_rate, scale, rounding } = &mut *self.update;
        if *scale != 1.0 {
            gradient = gradient.cast(FloatDType::F32) * *scale;
        }
        parameter.map(|value| optimizer.update(&name, *learning_rate, value, gradient, rounding))
    }
}

/// Adds up the squares of all gradients and changes nothing: the first of two passes where the norm of
/// all gradients together is to be clipped.
#[derive(Default)]
pub struct GradientNorm {
    squares: f64,
}

impl GradientNorm {
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

impl GradientSink for GradientNorm {
    fn take<M: Module>(&mut self, _place: &[&str], part: M, gradients: GradientsParams) -> M {
        let mut sum = SumOfSquares { gradients, squares: 0.0 };
        part.visit(&mut sum);
        self.squares += sum.squares;
        part
    }
}

struct SumOfSquares {
    gradients: GradientsParams,
    squares: f64,
}

impl ModuleVisitor for SumOfSquares {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(parameter.id) {
            let squares = gradient.cast(FloatDType::F32).square().sum();
            self.squares += f64::from(squares.into_scalar::<f32>());
        }
    }
}
