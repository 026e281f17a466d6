use super::*;
use crate::pipeline::Draft;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

#[test]
fn blobs_come_back_and_short_texts_make_no_files() {
    let (_folder, store) = store();
    let scratch = store.scratch(&Digest::of(b"item")).unwrap();
    fs_err::write(scratch.join("big"), vec![7; 9000]).unwrap();
    let draft = Draft::bytes("text", "a caption").and("binary", vec![0, 159]);
    let output = store.put(draft.and_file("big", scratch.join("big"))).unwrap();
    let names: Vec<_> = output.blobs.iter().map(|blob| blob.name.as_str()).collect();
    assert_eq!(names, ["big", "binary", "text"]);
    assert_eq!(store.read(output.blob("big").unwrap()).unwrap(), vec![7; 9000]);
    assert_eq!(store.read(output.blob("binary").unwrap()).unwrap(), [0, 159]);
    let text = output.blob("text").unwrap();
    assert_eq!(text.text.as_deref(), Some("a caption"));
    assert!(!store.object(&text.digest).exists());
    assert_eq!(fs_err::read(store.path(text).unwrap()).unwrap(), b"a caption");
    assert!(store.holds(&output));
    assert_eq!(fs_err::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_lost_or_damaged_blob_is_noticed() {
    let (_folder, store) = store();
    let output = store.put(Draft::bytes("x", vec![9; 5000])).unwrap();
    let path = store.path(&output.blobs[0]).unwrap();
    assert!(fs_err::metadata(&path).unwrap().permissions().readonly());
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, vec![8; 5000]).unwrap();
    assert!(store.holds(&output));
    assert!(matches!(store.read(&output.blobs[0]), Err(StoreError::Damaged { .. })));
    // It is out of the way, and nothing is lost.
    assert!(!store.holds(&output) && !path.exists());
    let [Lost { damaged: true, moved: Some(moved), .. }] = &store.lost(0)[..] else { panic!() };
    assert_eq!(fs_err::read(moved).unwrap(), vec![8; 5000]);
    fs_err::write(&path, "short").unwrap();
    assert!(!store.holds(&output));
    fs_err::remove_file(&path).unwrap();
    assert!(!store.holds(&output));
    assert!(matches!(store.read(&output.blobs[0]), Err(StoreError::Read { .. })));
    // It is told of once, and again once it was made again.
    assert_eq!(store.lost(0).len(), 1);
    store.put(Draft::bytes("x", vec![9; 5000])).unwrap();
    fs_err::remove_file(&path).unwrap();
    assert!(store.read(&output.blobs[0]).is_err());
    let [_, Lost { damaged: false, .. }] = store.lost(0)[..] else { panic!() };
}

#[test]
fn a_file_that_is_handed_out_is_checked_once() {
    let (folder, store) = store();
    let output = store.put(Draft::bytes("x", vec![9; 5000])).unwrap();
    let path = store.path(&output.blobs[0]).unwrap();
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, vec![8; 5000]).unwrap();
    // This process knows what it wrote; the next one looks.
    assert!(store.path(&output.blobs[0]).is_ok());
    let store = Store::open(&folder.path().join("store")).unwrap();
    assert!(matches!(store.path(&output.blobs[0]), Err(StoreError::Damaged { .. })));
    assert!(!store.holds(&output));
    // What is made again takes its place, also over one that nobody has looked at.
    fs_err::write(&path, vec![7; 5000]).unwrap();
    store.put(Draft::bytes("x", vec![9; 5000])).unwrap();
    assert_eq!(store.read(&output.blobs[0]).unwrap(), vec![9; 5000]);
}

#[test]
fn what_was_derived_and_is_damaged_is_made_again() {
    let (_folder, store) = store();
    let (digest, whole) = (Digest::of(b"picture"), b"thumbnail".to_vec());
    let derived = |made: Option<&Vec<u8>>| store.derived("small", &digest, || made.cloned());
    assert_eq!(derived(Some(&whole)), Some(whole.clone()));
    assert_eq!(derived(None), Some(whole.clone()));
    let path = store.root().join("derived").join("small").join(digest.hex());
    for place in 0..fs_err::read(&path).unwrap().len() {
        let mut bytes = fs_err::read(&path).unwrap();
        bytes[place] ^= 4;
        fs_err::write(&path, &bytes).unwrap();
        assert_eq!(derived(None), None, "changed at {place}");
        assert_eq!(derived(Some(&whole)), Some(whole.clone()));
    }
}

#[test]
fn stage_names_never_leave_the_folder() {
    assert_eq!(file_name("cache-2"), "cache-2");
    assert_eq!(file_name("tag.probabilities"), "tag.probabilities");
    for name in ["", ".", "..", "../a", "a/b", "Label", "über"] {
        assert!(file_name(name).starts_with('+'), "{name}");
    }
}
