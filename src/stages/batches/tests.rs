use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;

/// `count` pictures; number `i` is `i + 1` pixels wide.
fn pictures(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |i: usize| {
        let path = folder.path().join(format!("{i}.png"));
        image::GrayImage::new(i as u32 + 1, 1).save(&path).unwrap();
        path
    };
    let paths = (0..count).map(path).collect();
    (folder, paths)
}

fn jobs(paths: &[PathBuf]) -> Vec<Job<'_>> {
    paths.iter().map(|path| Job { path, upright: true }).collect()
}

#[test]
fn pictures_come_in_order_and_broken_ones_as_errors() {
    let (_folder, paths) = pictures(40);
    fs_err::write(&paths[7], "none").unwrap();
    let mut taken = Vec::new();
    // Early ones take longest.
    let width = |index: usize, picture: Picture| {
        thread::sleep(Duration::from_millis(10 / (index as u64 + 1)));
        Ok(picture.width)
    };
    prepared(&jobs(&paths), 3, width, |index, outcome| {
        taken.push((index, outcome.ok()));
        Ok(Flow::GoOn)
    })
    .unwrap();
    let expected = (0..40).map(|i| (i, (i != 7).then_some(i + 1)));
    assert_eq!(taken, expected.collect::<Vec<_>>());
}

#[test]
fn no_more_are_begun_than_may_wait() {
    let (_folder, paths) = pictures(60);
    let (begun, ahead) = (AtomicUsize::new(0), 4);
    let most = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let count = |_, _| Ok(begun.fetch_add(1, Ordering::SeqCst));
    prepared(&jobs(&paths), ahead, count, |index, _| {
        thread::sleep(Duration::from_millis(2));
        most.fetch_max(begun.load(Ordering::SeqCst) - index, Ordering::SeqCst);
        Ok(Flow::GoOn)
    })
    .unwrap();
    let most = most.into_inner();
    // The one in the taker's hand is no longer waiting.
    assert!(most > 1 && most <= threads + ahead + 1, "{most}");
}

#[test]
fn decoded_bytes_are_bounded_and_a_large_picture_goes_alone() {
    let queue = Queue::<()>::new(9, 9);
    let half = queue.hold(DECODED_BYTES / 2);
    let other = queue.hold(DECODED_BYTES / 2);
    thread::scope(|scope| {
        let large = scope.spawn(|| queue.hold(DECODED_BYTES * 3).bytes);
        thread::sleep(Duration::from_millis(20));
        drop(half);
        thread::sleep(Duration::from_millis(20));
        assert!(!large.is_finished(), "it must wait for the second one too");
        drop(other);
        assert_eq!(large.join().unwrap(), DECODED_BYTES * 3);
    });
    assert_eq!(queue.lock().bytes, 0);
}

#[test]
fn the_taker_can_stop_and_fail() {
    let (_folder, paths) = pictures(200);
    let prepared_ones = AtomicUsize::new(0);
    let count = |_, _| {
        prepared_ones.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    prepared(&jobs(&paths), 2, count, |index, _| {
        Ok(if index < 3 { Flow::GoOn } else { Flow::Stop })
    })
    .unwrap();
    let error = prepared(&jobs(&paths), 2, count, |_, _| Err(miette::miette!("enough")));
    assert_eq!(error.unwrap_err().to_string(), "enough");
    let done = prepared_ones.into_inner();
    assert!(done < 100, "{done} were prepared for nothing");
}

#[test]
fn a_panic_of_a_thread_reaches_the_caller() {
    let (_folder, paths) = pictures(20);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let panics = |index: usize, _| if index == 5 { panic!("number five") } else { Ok(()) };
        prepared(&jobs(&paths), 2, panics, |_, _| Ok(Flow::GoOn))
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"number five"));
}

#[test]
fn no_pictures_are_no_work() {
    prepared(&[], 2, |_, _| Ok(()), |_, _| panic!("there is none")).unwrap();
}
