//! Which keys of `[stages.finetune]` are in the key of a model.

use super::{super::Params, Finetune, OptimizerArgs, Steps};

/// A name is no part of a model. What is kept or computed twice, what waits in main memory and how often
/// the state is kept change no number. `prior_loss_weight` is in the key with each regularisation picture.
/// Pictures drawn while it trains look at the weights and leave them as they are (ADR 17).
/// The models between and the headers of files are outputs too.
impl Params for Finetune {
    const NOT_IN_KEY: &'static [&'static str] = &[
        "output_name",
        "prior_loss_weight",
        "memory",
        "blocks_to_swap",
        "gradient_checkpointing",
        "save_state_every_n_steps",
        "save_state_every_n_minutes",
        "keep_state",
        "samples",
    ];

    fn resolved(&self) -> Self {
        let share = |steps: &Steps| steps.share().map_or_else(|| steps.clone(), Steps::Share);
        Self {
            lr_warmup_steps: share(&self.lr_warmup_steps),
            lr_decay_steps: share(&self.lr_decay_steps),
            optimizer_args: OptimizerArgs::of(self),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Eps, OptimizerType},
        *,
    };

    #[test]
    fn a_share_and_a_stated_default_of_the_optimizer_are_the_same_key() {
        let percent =
            Finetune { lr_warmup_steps: Steps::Percent("10 %".to_owned()), ..Finetune::default() };
        let share = Finetune { lr_warmup_steps: Steps::Share(0.1), ..Finetune::default() };
        assert_eq!(percent.key_values(), share.key_values());
        assert_ne!(share.key_values(), Finetune::default().key_values());
        for (optimizer_type, weight_decay) in
            [(OptimizerType::Adafactor, 0.0), (OptimizerType::AdamW, 0.01)]
        {
            let plain = Finetune { optimizer_type, ..Finetune::default() };
            let stated = |weight_decay| Finetune {
                optimizer_args: OptimizerArgs {
                    weight_decay: Some(weight_decay),
                    ..OptimizerArgs::default()
                },
                ..plain.clone()
            };
            assert_eq!(stated(weight_decay).key_values(), plain.key_values());
            assert_ne!(stated(0.5).key_values(), plain.key_values());
        }
    }

    #[test]
    fn the_least_size_of_a_tensor_is_in_the_key_where_it_is_read() {
        let key = |scale_parameter, eps| {
            let optimizer_args = OptimizerArgs {
                scale_parameter: Some(scale_parameter),
                eps: Some(Eps::Two(eps)),
                ..OptimizerArgs::default()
            };
            Finetune { optimizer_args, ..Finetune::default() }.key_values()
        };
        assert_eq!(key(false, [1e-30, 0.5]), key(false, [1e-30, 1e-3]));
        assert_ne!(key(true, [1e-30, 0.5]), key(true, [1e-30, 1e-3]));
        assert_ne!(key(false, [1e-20, 1e-3]), key(false, [1e-30, 1e-3]));
    }
}
