//! What is chosen, and what is counted beside what is there.

use burn::tensor::FloatDType;

use super::*;
use crate::models::flux::FluxConfig;

const GB: u64 = 1_000_000_000;

/// FLUX.1-dev at 1024 x 1024 on a device of its own.
fn dev() -> Step {
    Step {
        config: FluxConfig::DEV,
        batch: 1,
        accumulated: 1,
        picture_tokens: 4096,
        text_tokens: 512,
        stored: FloatDType::BF16,
        compute: FloatDType::BF16,
        state: 0,
        averages: 0,
        backward: true,
        trained: vec![true; 57],
        has_memory: true,
    }
}

fn choose(step: &Step, wishes: Wishes, device: u64) -> Result<Plan, PlanError> {
    Plan::choose(step, wishes, Free { device: device * GB, host: 64 * GB })
}

#[test]
fn every_weight_is_counted() {
    let config = FluxConfig { depth: 2, depth_single_blocks: 1, ..FluxConfig::DEV };
    for config in [config.clone(), FluxConfig { guidance_embed: false, ..config }] {
        let step = Step { config: config.clone(), trained: vec![true; 3], ..dev() };
        let of = |prefix: &str| {
            let parameters = config.parameters().into_iter();
            let found = parameters.filter(|(name, _)| name.starts_with(prefix));
            found.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum::<u64>()
        };
        assert_eq!(step.weights(1), of("double_blocks.1."));
        assert_eq!(step.weights(2), of("single_blocks.0."));
        assert_eq!(step.all_weights(), of(""));
    }
    assert_eq!(dev().all_weights(), 11_901_408_320);
}

#[test]
fn more_memory_is_never_slower() {
    let mut before = (usize::MAX, 0);
    for device in 10..140 {
        let Ok(plan) = choose(&dev(), Wishes::default(), device) else { continue };
        assert!(plan.takes.device <= device * GB, "{device}: {plan}");
        let now = (plan.swapped(), plan.kept());
        assert!(now.0 < before.0 || now.0 == before.0 && now.1 >= before.1, "{device}: {plan}");
        before = now;
    }
    assert_eq!(before, (0, 57));
}

#[test]
fn averages_are_the_host_s() {
    let step = |averages, has_memory| Step { averages, has_memory, ..dev() };
    let takes = |averages, has_memory| step(averages, has_memory).takes(&Plan::of(57, 7, 0));
    let (before, after) = (takes(0, true), takes(GB, true));
    assert_eq!((after.device, after.host), (before.device, before.host + GB));
    let (before, after) = (takes(0, false), takes(GB, false));
    assert_eq!((after.device, after.scratch), (before.device + GB, before.scratch));
}

type Measured = (usize, [usize; 2], [usize; 2], usize, FloatDType, [usize; 2], u64);

const F32: FloatDType = FloatDType::F32;
const BF16: FloatDType = FloatDType::BF16;

/// Peaks of the program's own memory on a CPU of two threads: width; double and single blocks; picture and
/// text tokens; samples; storage type; blocks swapped, and kept; megabytes. Each is what
/// `fluxpipe bench finetune --shape mid --device cpu --steps 2 --warmup 0` prints with these sizes.
#[rustfmt::skip]
const MEASURED: &[Measured] = &[
    (768, [2, 4], [1024, 256], 1, F32, [0, 0], 540),
    (768, [2, 4], [1024, 256], 1, BF16, [0, 0], 485),
    (512, [2, 4], [2304, 512], 1, F32, [0, 0], 428),
    (1024, [2, 3], [256, 64], 1, F32, [0, 0], 751),
    (1024, [2, 3], [1024, 512], 1, BF16, [0, 0], 767),
    (512, [0, 6], [1024, 128], 2, F32, [0, 0], 336),
    (512, [4, 0], [1024, 128], 2, F32, [0, 0], 354),
    (768, [2, 4], [1024, 256], 1, F32, [6, 0], 417),
    (768, [2, 4], [1024, 256], 1, F32, [3, 0], 537),
    (1536, [1, 2], [256, 64], 1, F32, [3, 0], 1033),
    (1536, [1, 2], [256, 128], 1, BF16, [0, 0], 1205),
    (768, [2, 4], [1024, 256], 1, F32, [0, 6], 791),
    (768, [2, 4], [1024, 256], 1, BF16, [0, 6], 696),
    (512, [2, 4], [2304, 512], 1, F32, [0, 6], 787),
    (1024, [2, 3], [256, 64], 1, F32, [0, 5], 803),
    (1024, [2, 3], [1024, 512], 1, BF16, [0, 5], 1000),
    (512, [0, 6], [1024, 128], 2, F32, [0, 6], 615),
    (512, [4, 0], [1024, 128], 2, F32, [0, 4], 551),
    (768, [2, 4], [1024, 256], 1, F32, [6, 6], 656),
    (768, [2, 4], [1024, 256], 1, F32, [3, 6], 782),
    (1536, [1, 2], [256, 64], 1, F32, [3, 3], 1038),
    (1536, [1, 2], [256, 128], 1, BF16, [0, 3], 1231),
    (1536, [2, 4], [256, 512], 1, F32, [0, 0], 1854),
    (1536, [2, 4], [256, 512], 1, F32, [0, 6], 1986),
    (1536, [2, 4], [256, 512], 1, F32, [6, 0], 1380),
    (1536, [4, 8], [256, 512], 1, F32, [12, 12], 1744),
    (1536, [4, 8], [256, 512], 1, BF16, [6, 12], 2489),
    (1536, [4, 8], [1024, 512], 1, BF16, [0, 0], 2418),
    (3072, [2, 4], [256, 512], 1, BF16, [6, 0], 4765),
    (3072, [2, 2], [1024, 512], 1, BF16, [0, 0], 5559),
    (1024, [4, 8], [1024, 512], 1, BF16, [0, 0], 1168),
    (1024, [4, 8], [4096, 512], 1, F32, [0, 0], 2167),
];

#[test]
fn counted_is_within_a_tenth_of_what_was_measured() {
    for &(hidden, [depth, single], [picture, text], batch, stored, [swapped, kept], measured) in
        MEASURED
    {
        let blocks = depth + single;
        let step = Step {
            config: FluxConfig {
                hidden_size: hidden,
                mlp_size: 4 * hidden,
                num_heads: hidden / 128,
                axes_dim: FluxConfig::axes_of_head(128),
                depth,
                depth_single_blocks: single,
                ..FluxConfig::DEV
            },
            batch,
            picture_tokens: picture,
            text_tokens: text,
            stored,
            compute: F32,
            trained: vec![true; blocks],
            has_memory: false,
            ..dev()
        };
        let counted = step.takes(&Plan::of(blocks, swapped, kept)).device;
        let share = counted as f64 / (measured * 1_000_000) as f64;
        let case = format!("{hidden} {depth} {single} {stored:?} {swapped} {kept}");
        assert!((0.9..=1.1).contains(&share), "{case}: {counted} for {measured} MB, {share:.3}");
    }
}

#[test]
fn cards_of_usual_sizes_get_a_plan() {
    // 80 GB hold everything but the values of all blocks; 24 GB hold some of the blocks.
    let large = choose(&dev(), Wishes::default(), 140).unwrap();
    assert_eq!((large.swapped(), large.kept()), (0, 57), "{large}");
    let card = choose(&dev(), Wishes::default(), 40).unwrap();
    assert_eq!(card.swapped(), 0, "{card}");
    assert!(card.kept() < 57, "{card}");
    let card = choose(&dev(), Wishes::default(), 23).unwrap();
    assert!((1..57).contains(&card.swapped()), "{card}");
    assert!(card.takes.host > 0, "{card}");
}

#[test]
fn what_is_set_by_hand_stays() {
    let wishes = |blocks_to_swap, gradient_checkpointing| Wishes {
        memory: None,
        blocks_to_swap,
        gradient_checkpointing,
    };
    for (set, expected) in [
        (wishes(Some(35), None), (35, 57)),
        (wishes(Some(35), Some(true)), (35, 0)),
        (wishes(None, Some(false)), (0, 57)),
    ] {
        let plan = choose(&dev(), set, 200).unwrap();
        assert_eq!((plan.swapped(), plan.kept()), expected);
    }
    let limited = Wishes { memory: Some(20 * GB), ..Wishes::default() };
    assert!(choose(&dev(), limited, 140).unwrap().takes.device <= 20 * GB);
    let PlanError::Blocks { wanted: 58, blocks: 57 } =
        choose(&dev(), wishes(Some(58), None), 200).unwrap_err()
    else {
        panic!("58 blocks are too many")
    };
}

#[test]
fn what_would_fit_is_said() {
    let error = |step: &Step, wishes, device| match choose(step, wishes, device).unwrap_err() {
        PlanError::Device { help, .. } => help,
        other => panic!("{other}"),
    };
    let by_hand = Wishes { blocks_to_swap: Some(0), ..Wishes::default() };
    let help = error(&dev(), by_hand, 20);
    assert!(help.contains("set by hand"), "{help}");
    let help = error(&Step { batch: 16, ..dev() }, Wishes::default(), 24);
    assert!(help.contains("train_batch_size"), "{help}");
    let help = error(&Step { picture_tokens: 16_384, ..dev() }, Wishes::default(), 16);
    assert!(help.contains(" x "), "{help}");
    let help = error(&dev(), Wishes::default(), 1);
    assert!(help.contains("a device with more memory"), "{help}");
    let host = Plan::choose(&dev(), Wishes::default(), Free { device: 16 * GB, host: GB });
    assert!(matches!(host, Err(PlanError::Host { .. })), "{host:?}");
}

#[test]
fn swapped_blocks_are_spread_and_kept_ones_last() {
    let plan = Plan::of(12, 4, 3);
    let is_swapped = |block: &BlockPlan| block.weights == Weights::Swapped;
    let places = plan.blocks.iter().enumerate().filter(|(_, block)| is_swapped(block));
    assert_eq!(places.map(|(index, _)| index).collect::<Vec<_>>(), [2, 5, 8, 11]);
    assert!(plan.blocks[9..].iter().all(|block| block.values == Values::Kept));
    assert_eq!(plan.to_string(), "12 blocks, 4 swapped, values of 3 kept");
}
