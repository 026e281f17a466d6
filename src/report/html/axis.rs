//! Numbers along the axis of a chart.

/// Places of an axis that people can read: multiples of 1, 2 or 5 and a power of ten, about `count` of them,
/// all within `low` and `high`.
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let rough = span / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    let step = step.clone().find(|step| *step >= rough * 0.999).unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

/// The numbers in words, all with as many digits as tell them apart.
pub fn labels(ticks: &[f64]) -> Vec<String> {
    let largest = ticks.iter().fold(0.0_f64, |largest, tick| largest.max(tick.abs()));
    let step = match ticks {
        [first, second, ..] => (second - first).abs(),
        _ => largest,
    };
    if largest > 0.0 && largest < 0.01 {
        return ticks.iter().map(|tick| small(*tick)).collect();
    }
    let digits = (-step.log10() + 1e-9).ceil().clamp(0.0, 9.0);
    let digits = if step > 0.0 { digits as usize } else { 0 };
    let grouped = |tick: f64| super::super::words::grouped(tick.abs().round() as u64);
    let label = |tick: f64| match digits {
        0 if tick < 0.0 => format!("−{}", grouped(tick)),
        0 => grouped(tick),
        _ => format!("{tick:.digits$}"),
    };
    ticks.iter().map(|tick| label(*tick)).collect()
}

/// `1e-4`: plain digits of a learning rate are hard to count.
pub fn small(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    // Two digits are enough, and sums of steps have more.
    let text = format!("{number:.1e}");
    text.replace(".0e", "e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_round_numbers() {
        assert_eq!(labels(&ticks(0.31, 1.07, 4)), ["0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&ticks(1.0, 42.0, 5)), ["10", "20", "30", "40"]);
        assert_eq!(labels(&ticks(0.0, 120_000.0, 3)), ["0", "50 000", "100 000"]);
        assert_eq!(labels(&ticks(0.0, 1e-4, 2)), ["0", "5e-5", "1e-4"]);
        assert_eq!(labels(&ticks(-3.0, 3.0, 3)), ["−2", "0", "2"]);
        // One value, no span.
        assert_eq!(labels(&ticks(2.0, 2.0, 3)), ["2"]);
        assert_eq!(ticks(f64::NAN, 1.0, 3).len(), 1);
    }
}
