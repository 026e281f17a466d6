use super::*;

const NAMES: [&str; 9] = [
    "img_in.weight",
    "double_blocks.0.img_mlp.0.weight",
    "double_blocks.1.img_mlp.0.weight",
    "double_blocks.10.img_mlp.0.weight",
    "single_blocks.3.linear1.weight",
    "single_blocks.30.linear1.weight",
    "single_blocks.37.linear1.bias",
    "single_blocks.38.linear1.bias",
    "final_layer.linear.weight",
];

fn named(patterns: &[&str]) -> Vec<&'static str> {
    let trained = trained(patterns).unwrap();
    NAMES.into_iter().filter(|name| trained.contains(name)).collect()
}

fn trained(patterns: &[&str]) -> Result<Trained, TrainError> {
    let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
    Trained::new(&patterns, NAMES)
}

#[test]
fn patterns_name_parameters() {
    assert_eq!(named(&[]), NAMES);
    assert_eq!(named(&["*"]), NAMES);
    assert_eq!(named(&["double_blocks.*"]), NAMES[1..4]);
    assert_eq!(named(&["double_blocks.1"]), NAMES[2..3], "a part, not what begins alike");
    assert_eq!(named(&["double_blocks.?"]), NAMES[1..3]);
    assert_eq!(named(&["single_blocks.3[0-7].*"]), NAMES[5..7]);
    assert_eq!(named(&["single_blocks.3[!0-7].*"]), NAMES[7..8]);
    assert_eq!(named(&["single_blocks.3[0178]"]), [NAMES[5], NAMES[6], NAMES[7]]);
    assert_eq!(named(&["*.bias", "img_in"]), [NAMES[0], NAMES[6], NAMES[7]]);
}

#[test]
fn places_tell_where_the_backward_pass_may_end() {
    let trained = trained(&["double_blocks.1.*", "single_blocks.3"]).unwrap();
    for (place, inside, below) in [
        (&["embedders"][..], false, false),
        (&["double_blocks", "0"], false, false),
        (&["double_blocks", "1"], true, false),
        (&["double_blocks", "2"], false, true),
        (&["single_blocks", "3"], true, true),
        (&["final_layer"], false, true),
    ] {
        assert_eq!(trained.any_in(place), inside, "in {place:?}");
        assert_eq!(trained.any_below(place), below, "below {place:?}");
    }
    let all = Trained::all();
    assert!(all.any_in(&["double_blocks", "7"]) && all.any_below(&["double_blocks", "0"]));
    assert!(all.any_in(&["embedders"]) && !all.any_below(&["embedders"]));
}

#[test]
fn what_fits_nothing_is_told_with_what_is_near() {
    let error = trained(&["single_block.3.*"]).unwrap_err().to_string();
    assert!(error.contains("`single_block.3.*`") && error.contains("`single_blocks.3`"), "{error}");
    let error = trained(&["double_blocks.[0-"]).unwrap_err().to_string();
    assert!(error.contains("not closed"), "{error}");
}
