//! The device that networks run on, and what their numbers may then differ by.
//!
//! The packs' tolerances are for f32 on the CPU. On a CUDA device Burn multiplies f32 matrices by tensor
//! cores where it finds that quicker, and those round their operands to TF32: 11 significant bits, of
//! which the unit roundoff is 2⁻¹¹, 2¹³ times that of f32. Sums stay f32. So:
//!
//! - Relative tolerances of results that went through products are 2¹¹ times as large: of the factor 2¹³
//!   the packs' tolerances hold at least 2² already, since they lie above what f32 gives. A largest
//!   difference that stands beside a relative tolerance grows with it.
//! - A largest difference that stands alone is a looser bound to begin with, on values of about 1: 2⁸.
//! - What goes through no product (optimizers, flow matching) may differ by eight times the tolerance:
//!   division, roots and powers are good to a few units in the last place there.
//! - bf16 is judged by its distance from f32, as on the CPU: the reference's times 1.5.
//! - Texts that are written token by token turn on the last digits, so they are compared on the CPU
//!   alone; the logits behind them are compared everywhere.

use std::{env, sync::OnceLock};

use burn::tensor::Device;
use fluxpipe::device::{self, Chosen, is_cpu};
use serde_json::Value;

/// For relative tolerances behind products.
const PRODUCTS: f64 = 2048.0;
/// For largest differences that stand alone.
const ALONE: f64 = 256.0;
/// For what goes through no product.
const ELEMENTWISE: f64 = 8.0;

/// Kinds of packs in which no product of matrices is computed on the device.
const WITHOUT_PRODUCTS: [&str; 3] = ["adafactor", "flow", "lr_schedules"];

fn chosen() -> &'static Chosen {
    static CHOSEN: OnceLock<Chosen> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let spec = env::var("FLUXPIPE_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        device::choose(&spec).unwrap_or_else(|error| panic!("FLUXPIPE_TEST_DEVICE={spec}: {error}"))
    })
}

/// Where tensors go.
pub fn device() -> Device {
    chosen().device.clone()
}

fn on_cpu() -> bool {
    is_cpu(&chosen().device)
}

/// Whether texts cannot be compared here; says so.
pub fn texts_turn_on_the_last_digits() -> bool {
    if !on_cpu() {
        eprintln!("skipped: {} has other last digits than the CPU", chosen().name);
    }
    !on_cpu()
}

/// A relative bound that stands in a test, for results that went through products.
pub fn relative_bound(bound: f64) -> f64 {
    if on_cpu() { bound } else { (bound * PRODUCTS).max(4e-3) }
}

/// A largest difference that stands in a test, for results that went through products.
pub fn absolute_bound(bound: f64) -> f64 {
    if on_cpu() { bound } else { bound * ALONE }
}

/// A bound on the way that weights went from that of the reference. The first steps of both optimizers
/// go by the sign of a gradient, and the sign of one gradient in a thousand is within TF32's rounding:
/// each turns 2 of its way, which together is 0.06 of the way of all.
pub fn way_bound(bound: f64) -> f64 {
    if on_cpu() { bound } else { bound.max(0.25) }
}

/// Puts the tolerances of this device in the place of the manifest's.
pub fn fit_tolerances(manifest: &mut Value) {
    if !on_cpu() {
        let kind = manifest["fixture"].as_str().unwrap_or_default();
        let products = !WITHOUT_PRODUCTS.contains(&kind);
        widen(&mut manifest["tolerance"], products);
    }
}

fn widen(tolerance: &mut Value, products: bool) {
    if let Some(bound) = tolerance.as_f64() {
        *tolerance = (bound * if products { ALONE } else { ELEMENTWISE }).into();
    }
    let Some(table) = tolerance.as_object_mut() else { return };
    let is_relative = |name: &str| name.starts_with("rel");
    let with_relative = table.keys().any(|name| is_relative(name));
    for (name, bound) in table {
        match bound.as_f64() {
            Some(number) if products && (is_relative(name) || with_relative) => {
                *bound = (number * PRODUCTS).into();
            }
            _ => widen(bound, products),
        }
    }
}

#[test]
fn tolerances_grow_by_what_the_device_rounds() {
    let mut table = serde_json::json!({
        "fp32": { "output": { "max_abs": 2e-5, "rel_l2": 2e-6 }, "grad": { "rel_l2_per_tensor": 2e-5 } },
        "probs": 2e-5,
        "text": "exact",
    });
    let mut elementwise = table.clone();
    widen(&mut table, true);
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} is not {expected}");
    };
    near(&table["fp32"]["output"]["rel_l2"], 2e-6 * 2048.0);
    near(&table["fp32"]["output"]["max_abs"], 2e-5 * 2048.0);
    near(&table["fp32"]["grad"]["rel_l2_per_tensor"], 2e-5 * 2048.0);
    near(&table["probs"], 2e-5 * 256.0);
    assert_eq!(table["text"], "exact");
    widen(&mut elementwise, false);
    near(&elementwise["fp32"]["output"]["rel_l2"], 1.6e-5);
    near(&elementwise["probs"], 1.6e-4);
}
