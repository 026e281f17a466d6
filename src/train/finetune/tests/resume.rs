//! A training that was killed and run again ends as if it had not been. A panic at a write, or after a
//! step, stands for the kill: nothing is cleaned up on its way.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::*;
use crate::{
    base::disk::{self, Call, Fault},
    train::{AdamW, LrScheduler, OptimizerKind, memory::Plan},
};

thread_local! {
    /// After so many changes of the file system this thread dies.
    static CHANGES_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Arms the writes of this thread; other tests of the process are not touched.
fn die_at_change(change: usize) {
    disk::watch(|call, path| {
        if matches!(call, Call::Read | Call::Map | Call::List) {
            return None;
        }
        let left = CHANGES_LEFT.get();
        if left != usize::MAX {
            // A killed process cleans nothing up.
            if std::thread::panicking() {
                return Some(Fault::Broken);
            }
            CHANGES_LEFT.set(left.saturating_sub(1));
            assert!(left > 0, "killed at {}", path.display());
        }
        None
    });
    CHANGES_LEFT.set(change);
}

/// A training in a folder, with what people see of it.
struct Run {
    folder: tempfile::TempDir,
    scratch: tempfile::TempDir,
    settings: Settings,
    shown: BTreeMap<String, PathBuf>,
}

/// What came of a training: its checkpoints by name, what its watcher wrote down, and how many steps
/// the last process took.
type Ended = (BTreeMap<String, Vec<u8>>, String, usize);

impl Run {
    fn new(settings: &Settings) -> Self {
        let [folder, scratch] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let settings = settings.clone();
        Self { folder, scratch, settings, shown: BTreeMap::new() }
    }

    /// Trains in one process; `None` if it was killed or cancelled.
    fn go(&mut self, mut watch: Watch) -> Option<Ended> {
        let samples = Told::new(vec![0, 1, 2, 3, 4], |sample| match sample {
            4 => Role::HeldOut,
            _ => Role::Trained,
        });
        watch.shown = std::mem::take(&mut self.shown);
        let place = place(self.folder.path(), &self.settings);
        let device = Device::flex();
        let flux = || Flux::random(config(true), 5, &device, self.settings.weights);
        let network = match &place.state {
            Some(state) => {
                assert_eq!(place.folder.verify(state), Ok(()));
                let weights = place.folder.weights(state).unwrap();
                // Where blocks lie decides nothing.
                let plan = Plan::of(3, state.position.steps % 4, 1);
                let (stored, scratch) = (self.settings.weights, self.scratch.path());
                Network::load(&weights, plan, &device, stored, scratch).unwrap()
            }
            None => Network::resident(flux()),
        };
        let training = || finetune(network, &self.settings, &samples, place.clone(), &mut watch);
        let outcome = catch_unwind(AssertUnwindSafe(training));
        self.shown = watch.shown;
        let summary = match outcome {
            Err(_) | Ok(Err(TrainError::Cancelled { .. })) => return None,
            Ok(summary) => summary.unwrap(),
        };
        let bytes = |path: &PathBuf| std::fs::read(path).unwrap();
        let checkpoints = summary.checkpoints.iter();
        let checkpoints = checkpoints.map(|(name, path)| (name.clone(), bytes(path))).collect();
        Some((checkpoints, watch.lines, watch.metrics.len()))
    }

    /// Names of the files in the folder of the state.
    fn files(&self) -> Vec<String> {
        let folder = StateFolder::new(self.folder.path().to_owned());
        let names = |path: &Path| {
            let entries = std::fs::read_dir(path).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect::<Vec<_>>()
        };
        let mut all = names(folder.path());
        all.extend(names(&folder.path().join("checkpoints")));
        all.sort();
        all
    }
}

/// A training of 6 steps with all kinds of checkpoints; a state at each step.
fn eventful() -> Settings {
    Settings {
        max_train_epochs: 3,
        save_every_n_epochs: Some(1),
        save_last_n_epochs: Some(1),
        save_every_n_steps: Some(2),
        save_last_n_steps: Some(2),
        save_state_every_n_steps: Some(1),
        save_state_every_n_minutes: 0,
        ..settings()
    }
}

fn variants() -> Vec<Settings> {
    let adamw = OptimizerKind::AdamW(AdamW::default());
    let f32 = Settings { weights: FloatDType::F32, ..eventful() };
    let rounded = Settings { optimizer: adamw.clone(), ..f32.clone() };
    let exact = Settings { save_precision: Dtype::F32, train_batch_size: 1, ..f32 };
    let averaged = Settings { ema_decay: Some(0.5), ..rounded.clone() };
    let train_blocks = vec!["double_blocks".to_owned()];
    let partly = Settings { ema_decay: Some(0.9), train_blocks, ..eventful() };
    let plain = Settings { optimizer: adamw, ..eventful() };
    vec![eventful(), plain, rounded, exact, averaged, partly]
}

#[test]
fn a_training_killed_at_any_write_ends_as_if_it_had_not_been() {
    for (variant, settings) in variants().into_iter().enumerate() {
        let mut whole = Run::new(&settings);
        let (expected, lines, _) = whole.go(Watch::default()).unwrap();
        let shown = whole.shown.keys().cloned().collect::<Vec<_>>();
        assert_eq!(shown, expected.keys().cloned().collect::<Vec<_>>());
        let mut kills = 0;
        // Every write of the first variant; of the others one here and there, and kills in a row.
        let stride = if variant == 0 { 1 } else { 7 };
        for change in (variant..).step_by(stride) {
            let mut run = Run::new(&settings);
            die_at_change(change);
            let mut ended = run.go(Watch::default());
            let killed = ended.is_none();
            if killed && variant > 0 {
                die_at_change(stride);
                ended = run.go(Watch::default());
            }
            die_at_change(usize::MAX);
            while ended.is_none() {
                ended = run.go(Watch::default());
            }
            let (found, found_lines, _) = ended.unwrap();
            assert!(found == expected, "variant {variant}, killed at change {change}");
            assert_eq!(found_lines, lines, "variant {variant}, killed at change {change}");
            assert_eq!(
                run.shown.keys().collect::<Vec<_>>(),
                whole.shown.keys().collect::<Vec<_>>()
            );
            assert_eq!(run.files(), whole.files(), "nothing else is left");
            if !killed {
                break;
            }
            kills += 1;
        }
        assert!(kills > 4, "only {kills} kills");
    }
}

#[test]
fn a_training_killed_or_stopped_after_any_step_goes_on_there() {
    for settings in variants() {
        let settings = Settings { save_state_every_n_steps: Some(2), ..settings };
        let (expected, lines, steps) = Run::new(&settings).go(Watch::default()).unwrap();
        for step in 1..=steps {
            let mut killed = Run::new(&settings);
            assert!(killed.go(Watch { dies_after: Some(step), ..Watch::default() }).is_none());
            let (found, found_lines, _) = killed.go(Watch::default()).unwrap();
            assert!(found == expected, "killed after step {step}");
            assert_eq!(found_lines, lines);
        }
        for step in 1..steps {
            let mut stopped = Run::new(&settings);
            assert!(stopped.go(Watch { stop_after: Some(step), ..Watch::default() }).is_none());
            let (found, found_lines, taken) = stopped.go(Watch::default()).unwrap();
            assert!(found == expected, "stopped after step {step}");
            assert_eq!((found_lines, taken), (lines.clone(), steps - step));
        }
    }
}

#[test]
fn a_longer_training_goes_on_from_a_shorter_one() {
    for settings in variants() {
        let long = Settings { max_train_epochs: 5, ..settings.clone() };
        let (expected, lines, steps) = Run::new(&long).go(Watch::default()).unwrap();
        let mut run = Run::new(&settings);
        let (_, _, before) = run.go(Watch::default()).unwrap();
        run.settings = long;
        let (found, found_lines, taken) = run.go(Watch::default()).unwrap();
        assert!(found == expected);
        assert_eq!((found_lines, taken), (lines, steps - before));
        // Once more: nothing is left to do.
        assert_eq!(run.go(Watch::default()).unwrap().2, 0);
    }
}

#[test]
fn a_state_that_does_not_fit_says_why() {
    let mut run = Run::new(&Settings { lr_scheduler: LrScheduler::Cosine, ..eventful() });
    run.go(Watch::default()).unwrap();
    let fits = |change: &dyn Fn(&mut Settings, &mut Form)| {
        let mut settings = run.settings.clone();
        let Place { state, mut form, .. } = place(run.folder.path(), &settings);
        change(&mut settings, &mut form);
        let length = settings.depends_on_length().then_some(settings.max_train_epochs);
        let ends = (1..=settings.max_train_epochs).map(|epoch| 2 * epoch).collect::<Vec<_>>();
        let training = crate::train::Training::new(&settings, &ends, length, &form);
        state.unwrap().fits(&training)
    };
    assert_eq!(fits(&|_, _| {}), Ok(()));
    let longer = fits(&|settings, _| settings.max_train_epochs = 4);
    assert!(longer.unwrap_err().contains("number of epochs"));
    // A checkpoint that was not saved cannot be made afterwards; the last one can, in any form.
    let more = fits(&|settings, _| settings.save_last_n_steps = None);
    assert_eq!(more, Err("the checkpoint of step 2 is gone, or was not kept".to_owned()));
    let other = |form: &mut Form| form.texts.clear();
    assert!(fits(&|_, form| other(form)).is_err());
    let last = |settings: &mut Settings| {
        settings.save_every_n_epochs = None;
        settings.save_every_n_steps = None;
    };
    assert_eq!(
        fits(&|settings, form| {
            last(settings);
            other(form)
        }),
        Ok(())
    );
    let ema = fits(&|settings, _| settings.ema_decay = Some(0.9));
    assert!(ema.is_err());
}

#[test]
fn a_damaged_state_is_noticed() {
    let mut run = Run::new(&Settings { save_precision: Dtype::F32, ..eventful() });
    run.go(Watch::default()).unwrap();
    let folder = StateFolder::new(run.folder.path().to_owned());
    let files = run.files();
    let optimizer = files.iter().find(|name| name.contains("optimizer")).unwrap();
    let (state, optimizer) = (folder.path().join("state.json"), folder.path().join(optimizer));
    let Found::State(found) = folder.find() else { panic!("no state") };
    // A flipped bit is seen by the digest, a cut file by its size, a damaged record by its sum.
    let bytes = std::fs::read(&optimizer).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&optimizer, flipped).unwrap();
    assert!(matches!(folder.find(), Found::State(_)));
    assert!(folder.verify(&found).unwrap_err().ends_with("is damaged"));
    std::fs::write(&optimizer, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(folder.find(), Found::Damaged(reason) if reason.ends_with("not of its size")));
    std::fs::write(&optimizer, bytes).unwrap();
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\"epoch\":3", "\"epoch\":2")).unwrap();
    assert!(matches!(folder.find(), Found::Damaged(_)));
    std::fs::write(&state, &text[..text.len() / 2]).unwrap();
    assert!(matches!(folder.find(), Found::Damaged(_)));
    std::fs::write(&state, text).unwrap();
    assert!(matches!(folder.find(), Found::State(again) if again == found));
}

/// A moment that its watcher is not done with ends the run, and the next begins with it.
#[test]
fn a_training_goes_on_from_a_moment_that_was_refused() {
    let settings = eventful();
    let (expected, lines, _) = Run::new(&settings).go(Watch::default()).unwrap();
    for steps in [0, 1, 3, 6] {
        let mut run = Run::new(&settings);
        let refusing = || Watch { refuses: Some(steps), ..Watch::default() };
        // The second begins with the same moment, and ends with it.
        assert!(run.go(refusing()).is_none(), "step {steps}");
        assert!(run.go(refusing()).is_none(), "step {steps}");
        let (found, found_lines, taken) = run.go(Watch::default()).unwrap();
        assert!(found == expected, "step {steps}");
        assert_eq!((found_lines, taken), (lines.clone(), 6 - steps), "step {steps}");
    }
}
