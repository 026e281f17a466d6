//! What `accelerate` is told: flags of `accelerate launch`, and keys of its configuration.

use super::{Fate::*, Flag, Takes::*, flag, switch};

const MACHINES: &str = "there is one machine and one process";
const OWN: &str = "flux_train.py's own --mixed_precision counts, also where it is not said";
const SHARDS: (&str, &str) = (
    "fluxpipe trains on one device, and keeps in main memory what does not fit",
    "say memory in [stages.finetune]",
);
const PYTHON: &str = "nothing is compiled by Python";
const PROCESSES: super::Fate = Rule(
    "stages.finetune.gradient_accumulation_steps",
    "multiplies it: one step of the original sees a batch of each process",
);
const DEVICE: super::Fate = Rule("project.device", "`cuda:N`; of several the first");

/// Flags of `accelerate launch`.
pub(in super::super) const LAUNCH: &[Flag] = &[
    flag(
        "config_file",
        Path,
        "",
        Rule("", "read where it is given as --accelerate-config, or is there"),
    ),
    flag("num_processes", Number, "", PROCESSES),
    switch("multi_gpu", Always("several processes become gradient_accumulation_steps")),
    flag("gpu_ids", Text, "", DEVICE),
    switch("cpu", Rule("project.device", "`cpu`")),
    flag("mixed_precision", Text, "", NoEffect(OWN)),
    flag("num_cpu_threads_per_process", Number, "", Always("all cores work")),
    flag("num_machines", Number, "", Always(MACHINES)),
    flag("machine_rank", Number, "", Always(MACHINES)),
    flag("main_process_ip", Text, "", Always(MACHINES)),
    flag("main_process_port", Text, "", Always(MACHINES)),
    flag("rdzv_backend", Text, "", Always(MACHINES)),
    switch("same_network", Always(MACHINES)),
    flag("dynamo_backend", Text, "", Always(PYTHON)),
    flag("dynamo_mode", Text, "", Always(PYTHON)),
    switch("dynamo_use_fullgraph", Always(PYTHON)),
    switch("dynamo_use_dynamic", Always(PYTHON)),
    switch("use_deepspeed", Missing(SHARDS.0, SHARDS.1)),
    switch("use_fsdp", Missing(SHARDS.0, SHARDS.1)),
    switch("module", Always("programs are found by their names")),
    switch("no_python", Always("no Python is started")),
    switch("enable_cpu_affinity", Always("all cores work")),
    switch("quiet", Always("what is printed is short already")),
    switch("debug", Always(MACHINES)),
];

/// Keys of its configuration.
pub(in super::super) const CONFIG: &[Flag] = &[
    flag("num_processes", Number, "1", PROCESSES),
    flag("gpu_ids", Text, "all", DEVICE),
    flag("use_cpu", Text, "false", Rule("project.device", "`cpu`")),
    flag("mixed_precision", Text, "no", NoEffect(OWN)),
    flag(
        "distributed_type",
        Text,
        "NO",
        Rule("", "`MULTI_GPU` as num_processes says; DeepSpeed and FSDP are not there"),
    ),
    flag("compute_environment", Text, "LOCAL_MACHINE", Always("it runs where it is started")),
    flag("num_machines", Number, "1", Always(MACHINES)),
    flag("machine_rank", Number, "0", Always(MACHINES)),
    flag("main_process_ip", Text, "", Always(MACHINES)),
    flag("main_process_port", Text, "", Always(MACHINES)),
    flag("main_training_function", Text, "main", Always(MACHINES)),
    flag("rdzv_backend", Text, "static", Always(MACHINES)),
    flag("same_network", Text, "true", Always(MACHINES)),
    flag("debug", Text, "false", Always(MACHINES)),
    flag("downcast_bf16", Text, "no", Always("it is for TPUs, and there are none")),
    flag("tpu_env", Text, "", Always("there are no TPUs")),
    flag("tpu_use_cluster", Text, "false", Always("there are no TPUs")),
    flag("tpu_use_sudo", Text, "false", Always("there are no TPUs")),
    flag("enable_cpu_affinity", Text, "false", Always("all cores work")),
    flag("num_cpu_threads_per_process", Number, "", Always("all cores work")),
    flag("dynamo_backend", Text, "NO", Always(PYTHON)),
    flag("dynamo_config", Text, "", Always(PYTHON)),
    flag("deepspeed_config", Text, "", Missing(SHARDS.0, SHARDS.1)),
    flag("fsdp_config", Text, "", Missing(SHARDS.0, SHARDS.1)),
    flag("megatron_lm_config", Text, "", Missing(SHARDS.0, SHARDS.1)),
];
