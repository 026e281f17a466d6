//! Every mistake that a manifest can hold, as a person sees it: no colours, 100 columns.
//!
//! Each case edits a sound manifest, so that a snapshot shows what the edit brings and nothing else.

use std::{fs, path::Path};

use fluxpipe::manifest::{Manifest, ManifestErrors};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

const SOUND: &str = r#"[project]
name = "cats"

[models]
blip = "models/blip.pth"
tagger = "models/wd"
ae = "models/ae.safetensors"
clip_l = "models/clip_l.safetensors"
t5xxl = "models/t5xxl.safetensors"
flux = "models/flux1-dev.safetensors"

[[dataset]]
image_dir = "pictures"
resolution = 512

[stages.label]
num_beams = 3

[stages.tag]
thresh = 0.4

[stages.merge]

[stages.cache]

[stages.finetune]
learning_rate = 1e-5
max_train_epochs = 4
"#;

fn errors(text: &str, overrides: &[(&str, &str)]) -> ManifestErrors {
    let overrides: Vec<_> =
        overrides.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    Manifest::with_overrides(Path::new("project.toml"), text, &overrides).unwrap_err()
}

fn seen(errors: &ManifestErrors) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_links(false)
        .with_width(100);
    let mut text = String::new();
    for error in &errors.errors {
        handler.render_report(&mut text, error).unwrap();
        text.push('\n');
    }
    text + &errors.to_string()
}

/// The sound manifest after replacing each `(old, new)`.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(SOUND.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old:?} must occur once");
        text.replace(old, new)
    })
}

fn codes(errors: &ManifestErrors) -> Vec<String> {
    let code = |error: &dyn Diagnostic| error.code().unwrap().to_string();
    errors.errors.iter().map(|error| code(error).replace("fluxpipe::manifest::", "")).collect()
}

/// The edits make exactly mistakes of these codes, and this is how they look.
fn case(name: &str, edits: &[(&str, &str)], expected: &[&str]) {
    let errors = errors(&edited(edits), &[]);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, seen(&errors));
    });
    assert_eq!(codes(&errors), expected, "{name}");
}

#[test]
fn the_sound_manifest_is_sound() {
    let manifest = Manifest::parse(Path::new("here/project.toml"), SOUND).unwrap();
    let needs: Vec<_> = manifest.stages.iter().map(|stage| stage.needs.join(",")).collect();
    assert_eq!(needs, ["", "", "label,tag", "merge", "cache"]);
    let (path, span) = manifest.place(manifest.stage("label").unwrap(), "num_beams");
    assert_eq!((path.as_str(), &SOUND[span.clone().unwrap()]), ("stages.label.num_beams", "3"));
    assert_eq!(manifest.source.line(span.unwrap().start), 17);
    let (path, span) = manifest.place(manifest.stage("tag").unwrap(), "general_threshold");
    assert_eq!((path.as_str(), &SOUND[span.unwrap()]), ("stages.tag.thresh", "0.4"));
    let (_, span) = manifest.dataset_place(0, "image_dir");
    assert_eq!(&SOUND[span.unwrap()], "\"pictures\"");
    assert_eq!(manifest.output(), Path::new("here/output"));
}

#[test]
fn syntax() {
    case("syntax", &[("num_beams = 3", "num_beams 3"), ("\"cats\"", "\"cats")], &["syntax"; 2]);
    case("syntax_header", &[("[stages.label]", "[stages.label")], &["syntax"]);
    case(
        "syntax_list",
        &[("[stages.merge]", "[stages.merge]\nprepend_tags = [\"a\", \"b\"")],
        &["syntax"],
    );
    case("syntax_twice", &[("[stages.tag]", "[stages.label]")], &["syntax"]);
}

#[test]
fn keys() {
    case(
        "unknown_key",
        &[
            ("num_beams = 3", "num_beam = 3\nthresh = 0.5\ntemperature = 1"),
            ("[models]", "[model]"),
            ("[[dataset]]", "[label]\n\n[[dataset]]"),
            ("learning_rate = 1e-5", "learning_rate = 1e-5\nmixed_precision = \"bf16\""),
        ],
        &["unknown_key"; 6],
    );
    case(
        "ignored_flag",
        &[(
            "learning_rate = 1e-5",
            "learning_rate = 1e-5\nfp8_base = true\nsdpa = true\nmin_snr_gamma = 5\nclip_skip = 1",
        )],
        &["ignored_flag"; 4],
    );
    case(
        "missing_key",
        &[
            ("learning_rate = 1e-5\n", ""),
            ("resolution = 512", ""),
            ("[project]\nname = \"cats\"", ""),
        ],
        &["missing_key"; 3],
    );
}

#[test]
fn values() {
    case(
        "wrong_type",
        &[
            ("num_beams = 3", "num_beams = \"3\"\nprompt = 4\nexisting = true"),
            ("thresh = 0.4", "thresh = [0.4]\nremove_underscore = \"yes\""),
            ("resolution = 512", "resolution = \"512\""),
            ("[stages.merge]", "[stages.merge]\nprepend_tags = \"cat\""),
            ("1e-5", "inf"),
            ("max_train_epochs = 4", "max_train_epochs = 4.5"),
        ],
        &["wrong_type"; 9],
    );
    case(
        "pairs",
        &[("thresh = 0.4", "tag_replacement = [[\"day\"], [\"day\", \"\"], \"day,night\"]")],
        &["out_of_range", "wrong_type"],
    );
    case("wrong_type_of_table", &[("[[dataset]]", "[dataset]")], &["wrong_type"]);
    case(
        "unknown_value",
        &[
            ("num_beams = 3", "existing = \"kep\""),
            (
                "max_train_epochs = 4",
                "max_train_epochs = 4\nloss_type = \"huber\"\nlr_scheduler = \"inverse_sqrt\"\nhuber_schedule = \"snr\"",
            ),
            ("[stages.merge]", "[stages.merge]\ntemplate = \"{captoin}: {tags\""),
        ],
        &["unknown_value"; 4],
    );
    case(
        "out_of_range",
        &[
            ("num_beams = 3", "num_beams = 0\ncaption_extension = \".png\""),
            ("thresh = 0.4", "thresh = 40\ncaption_extension = \"txt\""),
            ("1e-5", "0"),
            ("resolution = 512", "resolution = [512]\nbucket_reso_steps = 40"),
            ("name = \"cats\"", "name = \"my/cats\"\ndevice = \"gpu\""),
            (
                "[stages.merge]",
                "[stages.merge]\nprepend_tags = [\"a, b\"]\nout_json = \"../x.json\"",
            ),
            ("max_train_epochs = 4", "max_train_epochs = 100001"),
        ],
        &["out_of_range"; 12],
    );
}

#[test]
fn shares_of_all_there_is_are_below_one() {
    case(
        "shares",
        &[(
            "resolution = 512",
            "resolution = 512\ntoken_warmup_step = 200\nvalidation_split = 1.0\nshuffle_caption = true",
        )],
        &["out_of_range"; 2],
    );
}

#[test]
fn keys_that_are_not_there_lead_to_those_that_are() {
    case(
        "nearest_keys",
        &[
            ("resolution = 512", "resolution = 512\nwildcard = true\nskip_image_resolution = 64"),
            ("t5xxl =", "t5 ="),
            ("[stages.cache]", "[stages.cache]\ntext_encoder_batch_size = 4"),
        ],
        &["unknown_key", "unknown_key", "unknown_key", "missing_model", "unknown_key"],
    );
}

#[test]
fn a_seed_of_a_cache_that_draws_nothing() {
    case(
        "cache_seed",
        &[("[stages.cache]", "[stages.cache]\nlatent = \"mean\"\nseed = 4")],
        &["no_effect"],
    );
    let draws = [
        ("[stages.cache]", "[stages.cache]\nlatent = \"mean\"\nseed = 4"),
        ("resolution = 512", "resolution = 512\nrandom_crop = true"),
    ];
    Manifest::parse(Path::new("project.toml"), &edited(&draws)).unwrap();
}

#[test]
fn options_of_the_tagger_script() {
    case(
        "tagger_script",
        &[
            ("num_beams = 3", "num_beams = 3\nrecursive = true\nexisting = \"append\""),
            (
                "thresh = 0.4",
                "thresh = 0.4\nrecursive = true\ntag_replacement = \"a,b,c\"\nuse_rating_tags = true\n\
                 use_rating_tags_as_last_tag = true\nappend_tags = true\nundesired_tags = 3\n\
                 order = \"probability\"\nalways_first_tags = [\"\"]\nonnx = true",
            ),
        ],
        &[
            "unknown_key",
            "unknown_value",
            "unknown_key",
            "unknown_value",
            "no_effect",
            "unknown_key",
            "wrong_type",
            "unknown_value",
            "out_of_range",
            "unknown_key",
        ],
    );
}

#[test]
fn values_that_do_not_go_together() {
    case(
        "conflict",
        &[
            ("num_beams = 3", "min_length = 80\ncaption_extension = \".txt\""),
            ("resolution = 512", "resolution = [512, 128]"),
        ],
        &["conflict"; 3],
    );
    case(
        "conflict_of_sizes",
        &[("resolution = 512", "resolution = 512\nmax_bucket_reso = 448")],
        &["conflict"],
    );
    case(
        "no_effect",
        &[
            (
                "max_train_epochs = 4",
                "max_train_epochs = 4\nlr_warmup_steps = 10\ndiscrete_flow_shift = 3.0\nsigmoid_scale = 1.0\ntimestep_sampling = \"uniform\"",
            ),
            ("resolution = 512", "resolution = 512\nenable_bucket = false\nmin_bucket_reso = 256"),
        ],
        &["no_effect"; 4],
    );
    case(
        "no_effect_of_views",
        &[(
            "resolution = 512",
            "resolution = 512\nimage_variants = 3\nvalidation_seed = 1\nenable_bucket = false\naspect = \"linear\"",
        )],
        &["no_effect"; 3],
    );
    case(
        "no_effect_of_regularisation",
        &[("max_train_epochs = 4", "max_train_epochs = 4\nprior_loss_weight = 0.5")],
        &["no_effect"],
    );
    case(
        "conflict_of_regularisation",
        &[("resolution = 512", "resolution = 512\nis_reg = true\nvalidation_split = 0.1")],
        &["conflict", "no_effect"],
    );
    case(
        "foreign_keys_of_a_dataset",
        &[(
            "resolution = 512",
            "resolution = 512\nbatch_size = 4\nface_crop_aug_range = \"2.0,4.0\"\nnetwork_multiplier = 1.0\ncustom_attributes = \"x\"\ncache_info = true\nmetadata_file = \"meta.json\"",
        )],
        &[
            "unknown_key",
            "ignored_flag",
            "ignored_flag",
            "ignored_flag",
            "ignored_flag",
            "unknown_key",
        ],
    );
    case(
        "no_effect_of_draws",
        &[("num_beams = 3", "num_beams = 3\ntop_p = 0.9\ntop_k = 5\nseed = 1")],
        &["no_effect"; 3],
    );
    case(
        "no_effect_of_beams",
        &[("num_beams = 3", "num_beams = 3\nbeam_search = false\nseed = 1")],
        &["no_effect"],
    );
    case(
        "no_effect_of_captions",
        &[
            (
                "resolution = 512",
                "resolution = 512\nkeep_tokens = 1\ncaption_separator = \";\"\ntoken_warmup_min = 2\ncaption_variants = 3",
            ),
            ("[stages.merge]", "[stages.merge]\nseed = 1"),
        ],
        &["no_effect"; 5],
    );
}

#[test]
fn tables() {
    let without_dataset = &[("[[dataset]]\nimage_dir = \"pictures\"\nresolution = 512\n", "")];
    case("no_dataset", without_dataset, &["no_dataset"]);
    let start = SOUND.find("[stages.label]").unwrap();
    case("no_stages", &[(&SOUND[start..], "")], &["no_stages"]);
    case(
        "missing_model",
        &[("ae = ", "# ae = "), ("t5xxl = ", "# t5xxl = "), ("blip = ", "# ")],
        &["missing_model"; 2],
    );
}

#[test]
fn kinds_and_needs() {
    case(
        "unknown_kind",
        &[
            ("[stages.label]", "[stages.lable]"),
            ("[stages.tag]", "[stages.tags]\nkind = \"tagg\""),
            ("[stages.merge]", "[stages.merge]\nkind = \"cache\""),
        ],
        &["unknown_kind"; 3],
    );
    case(
        "stage_name",
        &[("[stages.label]", "[stages.\"my label\"]\nkind = \"label\"")],
        &["stage_name"],
    );
    case(
        "unknown_stage",
        &[("[stages.merge]", "[stages.merge]\nneeds = [\"labels\", \"pictures\"]")],
        &["unknown_stage"; 2],
    );
    case(
        "cycle",
        &[
            ("[stages.tag]", "[stages.tag]\nneeds = [\"cache\"]"),
            ("[stages.merge]", "[stages.merge]\nneeds = [\"tag\"]"),
            ("[stages.cache]", "[stages.cache]\nneeds = [\"merge\"]"),
            ("[stages.label]", "[stages.label]\nneeds = [\"label\"]"),
        ],
        &["cycle"; 2],
    );
    case(
        "wrong_need",
        &[
            ("[stages.tag]", "[stages.tag]\nneeds = [\"label\"]"),
            ("[stages.finetune]", "[stages.finetune]\nneeds = [\"merge\"]"),
        ],
        &["wrong_need"; 2],
    );
    case(
        "ambiguous_needs",
        &[("[stages.cache]", "[stages.other]\nkind = \"merge\"\n\n[stages.cache]")],
        &["ambiguous_needs"],
    );
    // Of two stages that make captions, a merge could use only one.
    case(
        "ambiguous_captions",
        &[(
            "[stages.tag]",
            "[stages.more]\nkind = \"label\"\ncaption_extension = \".cap\"\n\n[stages.tag]",
        )],
        &["ambiguous_needs"],
    );
    case(
        "missing_stage",
        &[("[stages.merge]\n", ""), ("[stages.finetune]", "[stages.finetune]\nneeds = []")],
        &["missing_stage"; 2],
    );
}

#[test]
fn five_mistakes_of_one_table_are_five_diagnostics() {
    case(
        "five",
        &[(
            "num_beams = 3",
            "num_beam = 3\nmin_length = \"5\"\nmax_length = 0\nexisting = \"keap\"\nfp8_base = true",
        )],
        &["unknown_key", "wrong_type", "out_of_range", "unknown_value", "ignored_flag"],
    );
}

#[test]
fn a_broken_line_does_not_hide_the_other_mistakes() {
    case(
        "syntax_among_others",
        &[
            ("name = \"cats\"", "name = \"cats"),
            ("num_beams = 3", "num_beams 3\nnum_beam = 4"),
            ("thresh = 0.4", "thresh = 4"),
            ("1e-5", "fast"),
            ("max_train_epochs = 4", "max_train_epochs = \"4\""),
        ],
        &["syntax", "syntax", "unknown_key", "out_of_range", "syntax", "wrong_type"],
    );
}

#[test]
fn overrides() {
    let set = [
        ("stages.label.num_beams", "0"),
        ("stages.label.num_beam", "4"),
        ("stages.lable.num_beams", "4"),
        ("stages.label.num_beams.deep", "4"),
        ("dataset.1.num_repeats", "2"),
        ("stages.finetune.learning_rate", "fast"),
        ("project.name", "[1,"),
    ];
    let errors = errors(SOUND, &set);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("overrides", seen(&errors));
    });
    let expected = ["set", "set", "set", "set", "out_of_range", "unknown_key", "wrong_type"];
    let mut found = codes(&errors);
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn an_override_changes_the_value_and_has_no_place_in_the_file() {
    let set = [
        ("stages.label.num_beams", "5"),
        ("project.device", "cpu"),
        ("project.output", "\"else where\""),
        ("dataset.0.resolution", "[640, 512]"),
    ]
    .map(|(path, value)| (path.to_owned(), value.to_owned()));
    let manifest = Manifest::with_overrides(Path::new("project.toml"), SOUND, &set).unwrap();
    let label = manifest.stage("label").unwrap();
    assert_eq!(manifest.place(label, "num_beams"), ("stages.label.num_beams".to_owned(), None));
    assert!(format!("{:?}", label.config).contains("num_beams: 5"));
    assert_eq!(manifest.project.device, "cpu");
    assert_eq!(manifest.project.output, Path::new("else where"));
    assert_eq!(
        (manifest.dataset[0].resolution.width, manifest.dataset[0].resolution.height),
        (640, 512)
    );
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    for name in ["blip.pth", "ae.safetensor", "wd", "clip_l.safetensors", "t5xxl.safetensors"] {
        fs::write(models.join(name), "").unwrap();
    }
    fs::write(folder.path().join("pictures"), "").unwrap();
    let path = folder.path().join("project.toml");
    let text = SOUND.replace("[stages.label]", "[[dataset]]\nimage_dir = \"more\"\nresolution = 64\nmin_bucket_reso = 64\n\n[stages.label]");
    fs::write(&path, text).unwrap();

    let errors = Manifest::read(&path).unwrap().check_files().unwrap_err();
    assert_eq!(codes(&errors), ["missing_file", "missing_file", "not_a_folder", "missing_file"]);
    let seen = seen(&errors).replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("files", seen);
    });
}

#[test]
fn a_manifest_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"[project]\nname = \"caf\xe9\"").unwrap();
    let both = [folder.path().join("absent.toml"), latin]
        .map(|path| seen(&Manifest::read(&path).unwrap_err()))
        .join("\n")
        .replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("read", both);
    });
}

#[test]
fn an_empty_file() {
    case("empty", &[(SOUND, "")], &["missing_key", "no_dataset", "no_stages"]);
    assert_eq!(codes(&errors("# only a comment", &[])), ["missing_key", "no_dataset", "no_stages"]);
}

#[test]
fn every_diagnostic_says_what_to_do() {
    let broken = SOUND.replace("num_beams = 3", "num_beams = 0\nx = 1\nexisting = \"k\"");
    for error in errors(&broken, &[]).errors {
        assert!(error.help().is_some(), "{error}");
        assert!(error.span().is_some(), "{error}");
    }
}

/// The manifests for a real training are sound; what they lack are files that nobody can ship.
#[test]
fn the_manifests_that_come_along_lack_nothing_but_files() {
    for name in ["flux-dev-finetune.toml", "flux-schnell-finetune.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name);
        let manifest = Manifest::read(&path).unwrap_or_else(|errors| panic!("{}", seen(&errors)));
        let errors = manifest.check_files().unwrap_err();
        let codes = codes(&errors);
        assert_eq!(codes.len(), 7, "{name}: {}", seen(&errors));
        assert!(codes.iter().all(|code| code == "missing_file"), "{name}: {}", seen(&errors));
    }
}

#[test]
fn parameters_of_the_optimizer() {
    case(
        "optimizer_args",
        &[(
            "1e-5",
            "1e-5\noptimizer_type = \"adamw\"\nlr_warmup_steps = \"10\"\nlr_scheduler = \"cosine\"\n\
             optimizer_args = { betas = [0.9, 1.0], beta1 = 0.9, eps = [1e-30, 1e-3], weigt_decay = 1, weight_decay = -1 }",
        )],
        &["out_of_range", "no_effect", "unknown_key", "out_of_range"],
    );
    case(
        "optimizer_args_of_another",
        &[(
            "1e-5",
            "1e-5\noptimizer_type = \"adamw\"\nlr_warmup_steps = \"10\"\nlr_scheduler = \"cosine\"\n\
             optimizer_args = { betas = [0.9, 1.0], beta1 = 0.9, eps = [1e-30, 1e-3] }",
        )],
        &["out_of_range", "out_of_range", "no_effect", "out_of_range"],
    );
    case(
        "relative_step",
        &[("1e-5", "1e-5\noptimizer_args = { relative_step = true, betas = [0.9, 0.99] }")],
        &["no_effect", "no_effect"],
    );
    case(
        "warmup_init",
        &[(
            "1e-5",
            "1e-5\nlr_scheduler = \"warmup_stable_decay\"\noptimizer_args = { warmup_init = true }",
        )],
        &["conflict", "conflict"],
    );
}

/// The right way to write it is told, not only that it is wrong.
#[test]
fn values_of_a_training_that_are_nearly_right() {
    case(
        "finetune_nearly_right",
        &[(
            "1e-5",
            "1e-5\nmemory = \"24GB\"\ngradient_checkpointing = \"yes\"\nlr_scheduler = \"warmup_stable_decay\"\n\
             lr_warmup_steps = \"0.1\"\nlr_decay_steps = \"x\"\n\
             optimizer_args = [\"relative_step=False\", \"weight_decay=0.01\"]",
        )],
        &["unknown_value", "unknown_value", "out_of_range", "out_of_range", "wrong_type"],
    );
    case("polynomial", &[("1e-5", "1e-7\nlr_scheduler = \"polynomial\"")], &["conflict"]);
}

#[test]
fn keys_of_a_training_that_nothing_reads() {
    case(
        "finetune_no_effect",
        &[(
            "max_train_epochs = 4",
            "max_train_epochs = 4\nlr_scheduler_power = 2.0\nweighting_scheme = \"cosmap\"\nlogit_std = 2.0\n\
             huber_c = 0.2\nsave_last_n_steps = 3\nmin_timestep = 500\nmax_timestep = 400\nmemory = 20\n\
             blocks_to_swap = 4\ngradient_checkpointing = true\ncpu_offload_checkpointing = true\nresume = \"state\"",
        )],
        &[
            "no_effect",
            "no_effect",
            "no_effect",
            "no_effect",
            "no_effect",
            "conflict",
            "no_effect",
            "ignored_flag",
            "unknown_key",
        ],
    );
}
