//! Flags of `flux_train.py`, but for those of pictures and captions; what it shares with the programs that encode
//! beforehand comes first.

use super::{Fate::*, Flag, Takes::*, flag, switch};

const TRACKING: (&str, &str) =
    ("nothing is sent anywhere", "read the events in logs in the output folder");
const HUB: (&str, &str) = ("nothing is uploaded or downloaded", "copy the models yourself");
const DEEPSPEED: (&str, &str) = (
    "fluxpipe trains on one device, and keeps in main memory what does not fit",
    "say memory in [stages.finetune]",
);
const PROCESSES: &str = "there is one process";
const DIFFUSION: &str = "it is for Stable Diffusion, and no part of a FLUX training reads it";

/// Networks, and texts as they are encoded.
pub(in super::super) const MODELS: &[Flag] = &[
    flag(
        "pretrained_model_name_or_path",
        Path,
        "",
        Rule("models.flux", "the path; of a folder of diffusers its `transformer`"),
    ),
    flag("ae", Path, "", Key("models.ae")),
    flag("clip_l", Path, "", Key("models.clip_l")),
    flag("t5xxl", Path, "", Key("models.t5xxl")),
    flag("t5xxl_max_token_length", Number, "", Key("stages.cache.t5xxl_max_token_length")),
    switch("apply_t5_attn_mask", Rule("stages.cache.attend_padding", "`false` where it is given")),
    flag("text_encoder_batch_size", Number, "", Key("stages.cache.text_batch_size")),
    flag("controlnet_model_name_or_path", Path, "", NoEffect("flux_train.py trains no ControlNet")),
    flag("tokenizer_cache_dir", Path, "", Foreign),
    flag("vae", Path, "", NoEffect("the autoencoder of FLUX.1 is named by --ae")),
    switch("v2", NoEffect(DIFFUSION)),
    switch("v_parameterization", NoEffect(DIFFUSION)),
    switch("disable_mmap_load_safetensors", Foreign),
    switch("lowram", NoEffect("flux_train.py never reads it")),
    switch(
        "highvram",
        NoEffect("it keeps memory that was used for latents, and changes nothing else"),
    ),
    flag(
        "config_file",
        Path,
        "",
        Rule("", "its keys are read as flags; those of the command line count before them"),
    ),
    switch(
        "output_config",
        Missing("it writes the flags into a file and trains nothing", "take it out of the script"),
    ),
    flag(
        "console_log_level",
        Text,
        "",
        Missing("what is printed is not filtered", "set FLUXPIPE_LOG=debug to see more"),
    ),
    flag(
        "console_log_file",
        Path,
        "",
        Missing("messages go to stderr", "write `2> FILE` behind the command"),
    ),
    switch(
        "console_log_simple",
        Always("where the output is no terminal, plain lines are printed"),
    ),
];

/// What only the programs that encode beforehand have.
pub(in super::super) const CACHES: &[Flag] = &[
    switch("flux", Always("only FLUX.1 is encoded for")),
    switch("sdxl", Missing("only FLUX.1 is trained", "take the command out")),
    switch("no_half_vae", Always("the autoencoder computes in f32 on the CPU")),
    switch("skip_existing", Always("what is there already is found by content")),
    flag(
        "t5xxl_dtype",
        Text,
        "",
        Always("every number format of the file is read, and nothing is cast to 8 bits"),
    ),
];

/// What belongs to a training.
pub(in super::super) const TRAINING: &[Flag] = &[
    // How long, and in what steps.
    flag(
        "learning_rate",
        Number,
        "2e-6",
        Rule(
            "stages.finetune.learning_rate",
            "the same; left out where Adafactor sets its own (`relative_step`)",
        ),
    ),
    flag("max_train_epochs", Number, "", Key("stages.finetune.max_train_epochs")),
    flag(
        "max_train_steps",
        Number,
        "1600",
        Rule(
            "stages.finetune.max_train_epochs",
            "steps become epochs, by the number of pictures where their folder is there",
        ),
    ),
    flag(
        "gradient_accumulation_steps",
        Number,
        "1",
        Rule(
            "stages.finetune.gradient_accumulation_steps",
            "times the number of processes, since one step sees a batch of each",
        ),
    ),
    flag("max_grad_norm", Number, "1.0", Key("stages.finetune.max_grad_norm")),
    flag(
        "optimizer_type",
        Text,
        "AdamW",
        Rule(
            "stages.finetune.optimizer_type",
            "`adafactor` and `adamw`; those in 8 bits and paged ones become `adamw`",
        ),
    ),
    switch(
        "use_8bit_adam",
        Rule("stages.finetune.optimizer_type", "as --optimizer_type AdamW8bit"),
    ),
    switch(
        "use_lion_optimizer",
        Rule("stages.finetune.optimizer_type", "as --optimizer_type Lion"),
    ),
    flag(
        "optimizer_args",
        Words,
        "",
        Rule(
            "stages.finetune.optimizer_args",
            "one key each; what Adafactor assumes there without being told is written out",
        ),
    ),
    flag(
        "lr_scheduler",
        Text,
        "constant",
        Rule(
            "stages.finetune.lr_scheduler",
            "the same; others become the nearest one and are told",
        ),
    ),
    flag(
        "lr_scheduler_type",
        Text,
        "",
        Missing("schedules written in Python are not run", "say lr_scheduler in [stages.finetune]"),
    ),
    flag(
        "lr_scheduler_args",
        Words,
        "",
        Missing("schedules written in Python are not run", "say lr_scheduler in [stages.finetune]"),
    ),
    flag(
        "lr_warmup_steps",
        Text,
        "0",
        Rule("stages.finetune.lr_warmup_steps", "a count or a share"),
    ),
    flag("lr_decay_steps", Text, "0", Rule("stages.finetune.lr_decay_steps", "a count or a share")),
    flag("lr_scheduler_num_cycles", Number, "1", Key("stages.finetune.lr_scheduler_num_cycles")),
    flag("lr_scheduler_power", Number, "1", Key("stages.finetune.lr_scheduler_power")),
    flag("lr_scheduler_min_lr_ratio", Number, "", Key("stages.finetune.lr_scheduler_min_lr_ratio")),
    flag(
        "lr_scheduler_timescale",
        Number,
        "",
        Missing("there is no inverse_sqrt schedule", "say lr_scheduler in [stages.finetune]"),
    ),
    flag("seed", Number, "", Key("stages.finetune.seed")),
    flag(
        "prior_loss_weight",
        Number,
        "",
        Missing(
            "flux_train.py has no such flag and ends at it; its regularisation pictures weigh 1",
            "say prior_loss_weight in [stages.finetune], where it works",
        ),
    ),
    // Noise and loss.
    flag("timestep_sampling", Text, "sigma", Key("stages.finetune.timestep_sampling")),
    flag("discrete_flow_shift", Number, "3.0", Key("stages.finetune.discrete_flow_shift")),
    flag("sigmoid_scale", Number, "1.0", Key("stages.finetune.sigmoid_scale")),
    flag(
        "weighting_scheme",
        Text,
        "uniform",
        Rule("stages.finetune.weighting_scheme", "the same; `none` is `uniform`"),
    ),
    flag("logit_mean", Number, "0.0", Key("stages.finetune.logit_mean")),
    flag("logit_std", Number, "1.0", Key("stages.finetune.logit_std")),
    flag("mode_scale", Number, "1.29", Key("stages.finetune.mode_scale")),
    flag(
        "min_timestep",
        Number,
        "",
        NoEffect("no part of a FLUX training reads it; min_timestep in [stages.finetune] works"),
    ),
    flag(
        "max_timestep",
        Number,
        "",
        NoEffect("no part of a FLUX training reads it; max_timestep in [stages.finetune] works"),
    ),
    flag("guidance_scale", Number, "3.5", Key("stages.finetune.guidance_scale")),
    flag(
        "model_prediction_type",
        Text,
        "sigma_scaled",
        Key("stages.finetune.model_prediction_type"),
    ),
    flag("loss_type", Text, "l2", Key("stages.finetune.loss_type")),
    flag(
        "huber_schedule",
        Text,
        "snr",
        Rule(
            "stages.finetune.huber_schedule",
            "the same; `snr`, the default, ends the original with an error and becomes `constant`",
        ),
    ),
    flag("huber_c", Number, "0.1", Key("stages.finetune.huber_c")),
    flag("huber_scale", Number, "1.0", Key("stages.finetune.huber_scale")),
    flag("ip_noise_gamma", Number, "", Key("stages.finetune.ip_noise_gamma")),
    switch("ip_noise_gamma_random_strength", Foreign),
    switch("masked_loss", NoEffect("alpha_mask of a subset says it already")),
    flag(
        "conditioning_data_dir",
        Path,
        "",
        Missing(
            "masks are read from the transparency of a picture, not from other files",
            "make the mask the alpha channel, and say alpha_mask in [[dataset]]",
        ),
    ),
    flag("noise_offset", Number, "", Foreign),
    switch("noise_offset_random_strength", Foreign),
    flag("multires_noise_iterations", Number, "", Foreign),
    flag("multires_noise_discount", Number, "0.3", Foreign),
    flag("adaptive_noise_scale", Number, "", Foreign),
    flag("min_snr_gamma", Number, "", Foreign),
    switch("debiased_estimation_loss", Foreign),
    switch("zero_terminal_snr", Foreign),
    switch("scale_v_pred_loss_like_noise_pred", Foreign),
    flag("v_pred_like_loss", Number, "", Foreign),
    switch("weighted_captions", Foreign),
    flag("clip_skip", Number, "", Foreign),
    flag("max_token_length", Number, "", Foreign),
    // Number formats and memory.
    flag(
        "mixed_precision",
        Text,
        "no",
        Rule(
            "stages.finetune.weights",
            "`bf16`, and `f32` for `no`; without it the original trains in f32, whatever accelerate was told",
        ),
    ),
    switch("full_bf16", NoEffect("with --mixed_precision bf16 the weights are bf16 already")),
    switch(
        "full_fp16",
        Missing("FLUX.1 leaves the range of fp16", "say weights = \"bf16\" in [stages.finetune]"),
    ),
    switch("fp8_base", NoEffect("flux_train.py never reads it: it is for LoRA")),
    switch("fp8_base_unet", NoEffect("flux_train.py has no such flag: it is for LoRA")),
    switch("gradient_checkpointing", Key("stages.finetune.gradient_checkpointing")),
    switch("cpu_offload_checkpointing", Foreign),
    flag(
        "blocks_to_swap",
        Number,
        "",
        Rule(
            "stages.finetune.blocks_to_swap",
            "counted in blocks: the original's 35 are 17 double and 36 single ones, 53",
        ),
    ),
    flag(
        "double_blocks_to_swap",
        Number,
        "",
        Rule("stages.finetune.blocks_to_swap", "as blocks_to_swap = double + single / 2 there"),
    ),
    flag(
        "single_blocks_to_swap",
        Number,
        "",
        Rule("stages.finetune.blocks_to_swap", "as blocks_to_swap = double + single / 2 there"),
    ),
    switch("fused_backward_pass", Foreign),
    switch("blockwise_fused_optimizers", Foreign),
    flag("fused_optimizer_groups", Number, "", Foreign),
    switch("mem_eff_save", Foreign),
    switch("sdpa", Foreign),
    switch("xformers", Foreign),
    switch("mem_eff_attn", Foreign),
    switch("torch_compile", Foreign),
    flag("dynamo_backend", Text, "inductor", Always("nothing is compiled by Python")),
    // What is saved.
    flag("output_dir", Path, "", Key("project.output")),
    flag(
        "output_name",
        Text,
        "",
        Rule("stages.finetune.output_name", "and the name of the project"),
    ),
    flag(
        "save_precision",
        Text,
        "",
        Rule(
            "stages.finetune.save_precision",
            "`bf16`, and `f32` for `float`; without it as the weights are trained",
        ),
    ),
    flag("save_model_as", Text, "", Foreign),
    switch("use_safetensors", Always("models are always saved as safetensors")),
    flag("save_every_n_epochs", Number, "", Key("stages.finetune.save_every_n_epochs")),
    flag("save_every_n_steps", Number, "", Key("stages.finetune.save_every_n_steps")),
    flag(
        "save_n_epoch_ratio",
        Number,
        "",
        Rule("stages.finetune.save_every_n_epochs", "epochs divided by it"),
    ),
    flag("save_last_n_epochs", Number, "", Key("stages.finetune.save_last_n_epochs")),
    flag("save_last_n_steps", Number, "", Key("stages.finetune.save_last_n_steps")),
    flag("save_last_n_epochs_state", Number, "", Foreign),
    flag("save_last_n_steps_state", Number, "", Foreign),
    switch("save_state", Always("the state is kept by itself, with every saved model")),
    switch(
        "save_state_on_train_end",
        Always("the last state is kept, unless keep_state = false in [stages.finetune]"),
    ),
    flag(
        "resume",
        Path,
        "",
        Missing(
            "states of other programs are not read",
            "a training of fluxpipe goes on from its last state by itself; name the last saved model as flux in [models]",
        ),
    ),
    flag("metadata_title", Text, "", Key("stages.finetune.metadata_title")),
    flag("metadata_author", Text, "", Key("stages.finetune.metadata_author")),
    flag("metadata_description", Text, "", Key("stages.finetune.metadata_description")),
    flag("metadata_license", Text, "", Key("stages.finetune.metadata_license")),
    flag("metadata_tags", Text, "", Key("stages.finetune.metadata_tags")),
    // Pictures while it trains.
    flag("sample_prompts", Path, "", Key("stages.finetune.samples.prompts_file")),
    flag("sample_every_n_epochs", Number, "", Key("stages.finetune.samples.every_n_epochs")),
    flag(
        "sample_every_n_steps",
        Number,
        "",
        Rule(
            "stages.finetune.samples.every_n_steps",
            "the same; without effect there beside --sample_every_n_epochs",
        ),
    ),
    switch("sample_at_first", Key("stages.finetune.samples.at_first")),
    flag("sample_sampler", Text, "ddim", Foreign),
    // Logs, and other machines.
    flag("logging_dir", Path, "", Foreign),
    flag("log_with", Text, "", Foreign),
    flag("log_prefix", Text, "", Foreign),
    flag("log_tracker_name", Text, "", Foreign),
    flag("log_tracker_config", Path, "", Missing(TRACKING.0, TRACKING.1)),
    switch(
        "log_config",
        Always("every run keeps its manifest: `fluxpipe why` shows what decided it"),
    ),
    flag("wandb_run_name", Text, "", Missing(TRACKING.0, TRACKING.1)),
    flag("wandb_api_key", Text, "", Missing(TRACKING.0, TRACKING.1)),
    flag("huggingface_repo_id", Text, "", Missing(HUB.0, HUB.1)),
    flag("huggingface_repo_type", Text, "", Missing(HUB.0, HUB.1)),
    flag("huggingface_path_in_repo", Text, "", Missing(HUB.0, HUB.1)),
    flag("huggingface_token", Text, "", Missing(HUB.0, HUB.1)),
    flag("huggingface_repo_visibility", Text, "", Missing(HUB.0, HUB.1)),
    switch("save_state_to_huggingface", Missing(HUB.0, HUB.1)),
    switch("resume_from_huggingface", Missing(HUB.0, HUB.1)),
    switch("async_upload", Missing(HUB.0, HUB.1)),
    flag("max_data_loader_n_workers", Number, "8", Always("all cores read pictures")),
    switch("persistent_data_loader_workers", Always("pictures are read ahead by themselves")),
    flag("ddp_timeout", Number, "", Always(PROCESSES)),
    switch("ddp_gradient_as_bucket_view", Always(PROCESSES)),
    switch("ddp_static_graph", Always(PROCESSES)),
    switch("deepspeed", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    flag("zero_stage", Number, "2", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    flag("offload_optimizer_device", Text, "", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    flag("offload_optimizer_nvme_path", Path, "", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    flag("offload_param_device", Text, "", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    flag("offload_param_nvme_path", Path, "", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    switch("zero3_init_flag", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    switch("zero3_save_16bit_model", Missing(DEEPSPEED.0, DEEPSPEED.1)),
    switch("fp16_master_weights_and_gradients", Missing(DEEPSPEED.0, DEEPSPEED.1)),
];
