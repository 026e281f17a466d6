//! Reading one case after the other, and what must hold for each.

use std::{
    any::Any,
    cell::Cell,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use miette::Diagnostic;

use crate::{memory, mutate, random::Random};

/// A reader of files of one format.
pub struct Reader {
    /// Also the name of its folder of findings.
    pub name: &'static str,
    /// Good files.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of the format.
    pub words: &'static [&'static [u8]],
    /// A change that keeps lengths, sums and brackets right, so that what lies behind them is reached.
    pub shape: fn(&mut Random, Vec<u8>) -> Vec<u8>,
    /// Reads a file as the program does.
    pub read: fn(&[u8]) -> Outcome,
}

/// What came of reading.
pub struct Outcome {
    /// Why the file is refused; `None` where it is read.
    pub refused: Option<Refused>,
    /// What the reader says that it takes beyond [`BASE`] and [`PER_BYTE`].
    pub announced: usize,
}

/// An error as its user sees it.
pub struct Refused {
    message: String,
    is_helpful: bool,
}

impl Outcome {
    /// Read or refused.
    pub fn of<T, E: Diagnostic>(read: Result<T, E>) -> Self {
        Self { refused: read.err().map(|error| Refused::of(&error)), announced: 0 }
    }
}

impl Refused {
    pub fn of(error: &dyn Diagnostic) -> Self {
        let alone = |error: &dyn Diagnostic| error.code().is_some() && error.help().is_some();
        let is_helpful = match error.related() {
            Some(all) => all.into_iter().all(alone),
            None => alone(error),
        };
        Self { message: error.to_string(), is_helpful }
    }
}

/// What any reader may take: tables, buffers of decoders and unpackers, the values of a memo; and 80 MB that
/// the parser of ONNX reserves for ten million numbers before it knows whether they come.
const BASE: usize = 96 << 20;

/// What it may take for each byte of a file: a byte may become a number of four bytes, a name of 24 bytes
/// and a place in a table.
const PER_BYTE: usize = 16;

/// Processor time of one case.
const SLOW: Duration = Duration::from_secs(1);

/// A case that takes so long by the clock does not come back; the machine may have other work too.
const HANGS: Duration = Duration::from_secs(30);

/// Cases of each reader, where nobody says how many.
const CASES: u64 = 3000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// The input of one case.
fn input(reader: &Reader, seeds: &[Vec<u8>], seed: u64, case: u64) -> Vec<u8> {
    let mut random = Random::of(reader.name, seed, case);
    let mut input = random.pick(seeds).clone();
    let shaped = random.below(3);
    if shaped > 0 {
        for _ in 0..random.few(4) {
            input = (reader.shape)(&mut random, input);
        }
    }
    if shaped < 2 {
        mutate::bytes(&mut random, &mut input, seeds, reader.words);
    }
    input
}

/// Reads so many cases as the environment asks for.
pub fn fuzz(reader: &Reader) {
    let seeds = (reader.seeds)();
    for seed in &seeds {
        let outcome = (reader.read)(seed);
        let refused = outcome.refused.map(|refused| refused.message);
        assert_eq!(refused, None, "{}: a seed is no good file", reader.name);
    }
    let seed = number("FLUXPIPE_FUZZ_SEED").unwrap_or(1);
    let cases = match number("FLUXPIPE_FUZZ_CASE") {
        Some(case) => case..case + 1,
        None => 0..number("FLUXPIPE_FUZZ_CASES").unwrap_or(CASES),
    };
    let watch = Watch::start(reader, seed, seeds.clone());
    let mut seen = Seen::default();
    for case in cases {
        let input = input(reader, &seeds, seed, case);
        watch.begin(case);
        let found = check(reader, &input, case, &mut seen);
        watch.end();
        if let Err(found) = found {
            let path = keep(reader, case, &input);
            panic!(
                "{}: {found}\n  FLUXPIPE_FUZZ_SEED={seed} FLUXPIPE_FUZZ_CASE={case}, {} bytes: {}",
                reader.name,
                input.len(),
                path.display()
            );
        }
    }
    println!("{}: {seen}", reader.name);
}

/// What was seen of all cases together.
#[derive(Default)]
pub struct Seen {
    cases: u64,
    refused: u64,
    caught: u64,
    slowest: (Duration, u64),
    largest: (usize, u64),
    time: Duration,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cases, refused, caught, slowest, largest, time } = self;
        write!(
            f,
            "{cases} cases in {:.1} s, {:.1} % refused, {caught} panics of decoders became errors, slowest \
             {:.1} ms (case {}), most memory {:.1} MiB (case {})",
            time.as_secs_f64(),
            *refused as f64 * 100.0 / (*cases).max(1) as f64,
            slowest.0.as_secs_f64() * 1e3,
            slowest.1,
            largest.0 as f64 / f64::from(1 << 20),
            largest.1,
        )
    }
}

/// Reads one input; the error says what was wrong with how it was read.
pub fn check(reader: &Reader, input: &[u8], case: u64, seen: &mut Seen) -> Result<(), String> {
    quiet();
    PANICS.set(0);
    let before = processor_time();
    let read = || catch_unwind(AssertUnwindSafe(|| (reader.read)(input)));
    let (outcome, peak) = memory::measured(reader.name, case, read);
    let time = processor_time().saturating_sub(before);
    let outcome = outcome.map_err(|panic| format!("panics: {}", words(panic.as_ref())))?;
    seen.cases += 1;
    seen.refused += u64::from(outcome.refused.is_some());
    seen.caught += PANICS.get();
    seen.time += time;
    seen.slowest = seen.slowest.max((time, case));
    seen.largest = seen.largest.max((peak, case));
    let limit = BASE + PER_BYTE * input.len() + outcome.announced;
    if peak > limit {
        return Err(format!("takes {peak} bytes of memory, more than {limit}"));
    }
    if time > SLOW {
        return Err(format!("takes {:.2} s", time.as_secs_f64()));
    }
    let Some(Refused { message, is_helpful }) = outcome.refused else { return Ok(()) };
    if message.trim().is_empty() || !is_helpful {
        return Err(format!("is refused without code or help: {message:?}"));
    }
    if message.len() > 4096 + 4 * input.len() {
        return Err(format!("is refused in {} bytes of words", message.len()));
    }
    Ok(())
}

/// Writes an input down, to be looked at.
fn keep(reader: &Reader, case: u64, input: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fluxpipe-{}-{case}.bin", reader.name));
    fs::write(&path, input).unwrap();
    path
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
    static READS: Cell<bool> = const { Cell::new(false) };
}

/// Panics that are caught are counted instead of printed.
fn quiet() {
    static ONCE: Once = Once::new();
    READS.set(true);
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            let inside = info.location().is_some_and(|place| !place.file().contains("hostile"));
            if !(READS.get() && inside) {
                usual(info);
            }
        }));
    });
}

/// Time that this thread had of the processor: other programs on the machine do not count.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library has no call for this")]
    // SAFETY: the call writes to the place that it is given.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A thread that looks whether the cases go on, and names the one that does not.
struct Watch {
    since: Instant,
    /// When the case began, in milliseconds, and 0 between cases.
    began: Arc<AtomicU64>,
    case: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn start(reader: &Reader, seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        let watch = Self {
            since: Instant::now(),
            began: Arc::default(),
            case: Arc::default(),
            over: Arc::default(),
        };
        let (since, began, case, over) =
            (watch.since, watch.began.clone(), watch.case.clone(), watch.over.clone());
        let reader = Reader { ..*reader };
        thread::spawn(move || {
            while !over.load(Relaxed) {
                thread::sleep(Duration::from_millis(100));
                let start = Duration::from_millis(began.load(Relaxed));
                if start.is_zero() || since.elapsed().saturating_sub(start) < HANGS {
                    continue;
                }
                let case = case.load(Relaxed);
                let path = keep(&reader, case, &input(&reader, &seeds, seed, case));
                eprintln!(
                    "{}: hangs\n  FLUXPIPE_FUZZ_SEED={seed} FLUXPIPE_FUZZ_CASE={case}: {}",
                    reader.name,
                    path.display()
                );
                std::process::abort();
            }
        });
        watch
    }

    fn begin(&self, case: u64) {
        self.case.store(case, Relaxed);
        self.began.store(self.since.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    fn end(&self) {
        self.began.store(0, Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

#[test]
fn each_harm_is_noticed() {
    let found = |read: fn(&[u8]) -> Outcome| {
        let (name, words) = ("none", &[]);
        let reader = Reader { name, seeds: Vec::new, words, shape: |_, input| input, read };
        check(&reader, b"input", 0, &mut Seen::default())
    };
    fn read() -> Outcome {
        Outcome { refused: None, announced: 0 }
    }
    assert_eq!(found(|_| read()), Ok(()));
    assert!(
        found(|input| [read()].into_iter().nth(input.len()).unwrap())
            .unwrap_err()
            .contains("panics")
    );
    let large = |_: &[u8]| {
        drop(std::hint::black_box(vec![1_u8; BASE + 4096]));
        read()
    };
    assert!(found(large).unwrap_err().contains("bytes of memory"));
    let slow = |_: &[u8]| {
        let before = processor_time();
        while processor_time() - before < SLOW + SLOW / 4 {}
        read()
    };
    assert!(found(slow).unwrap_err().contains("takes 1.2"));
    let silent = |_: &[u8]| Outcome {
        refused: Some(Refused { message: "no".to_owned(), is_helpful: false }),
        announced: 0,
    };
    assert!(found(silent).unwrap_err().contains("without code or help"));
    let wordy = |_: &[u8]| Outcome {
        refused: Some(Refused { message: "no".repeat(4000), is_helpful: true }),
        announced: 0,
    };
    assert!(found(wordy).unwrap_err().contains("bytes of words"));
}
