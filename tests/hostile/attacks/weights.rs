//! Headers of safetensors files that say what is not so.

use std::path::Path;

use fluxpipe::weights::{Checkpoint, WeightsError};

use super::{Folder, refused};
use crate::made::safetensors::file;

fn open(bytes: Vec<u8>) -> Result<Checkpoint, WeightsError> {
    Checkpoint::from_bytes(Path::new("models/x.safetensors"), bytes)
}

#[test]
fn headers_larger_than_the_file_are_refused() {
    for length in [1_u64 << 63, u64::MAX, i64::MAX as u64, 1 << 40, 100_000_001, 5000] {
        let bytes = [&length.to_le_bytes()[..], b"{}"].concat();
        refused(open(bytes.clone()), &["models/x.safetensors", "safetensors"]);
        // The same as a file that is mapped.
        let folder = Folder::new();
        refused(Checkpoint::open(&folder.file("x.safetensors", bytes)), &["x.safetensors"]);
    }
    for bytes in [&b""[..], b"{}", &8_u64.to_le_bytes()] {
        refused(open(bytes.to_vec()), &["models/x.safetensors"]);
    }
}

/// A header of two tensors of two bytes, with these places.
fn two(one: [u64; 2], other: [u64; 2]) -> Vec<u8> {
    let tensor = |[from, to]: [u64; 2]| {
        format!(r#"{{"dtype":"U8","shape":[2],"data_offsets":[{from},{to}]}}"#)
    };
    file(&format!(r#"{{"a":{},"b":{}}}"#, tensor(one), tensor(other)), &[1, 2, 3, 4])
}

#[test]
fn tensors_that_overlap_or_lie_outside_are_refused() {
    assert!(open(two([0, 2], [2, 4])).is_ok());
    for (one, other) in [
        ([0, 2], [1, 3]),
        ([0, 2], [0, 2]),
        ([0, 2], [4, 6]),
        ([0, 2], [u64::MAX - 1, u64::MAX]),
        ([2, 0], [2, 4]),
        ([0, 2], [1 << 63, (1 << 63) + 2]),
        ([0, 1], [1, 3]),
    ] {
        refused(open(two(one, other)), &["models/x.safetensors"]);
    }
    // Bytes that belong to nothing could hold anything.
    refused(open([two([0, 2], [2, 4]), vec![0; 9]].concat()), &["models/x.safetensors"]);
}

#[test]
fn shapes_whose_product_overflows_are_refused() {
    for shape in
        ["[4294967296,4294967296]", "[9223372036854775808,2]", "[18446744073709551615]", "[3,-1]"]
    {
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#);
        refused(open(file(&header, &[])), &["models/x.safetensors"]);
    }
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let tensor = r#""a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#;
    let again = r#""a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}"#;
    refused(
        open(file(&format!("{{{tensor},{again}}}"), &[1, 2])),
        &["names a tensor twice", "`a`"],
    );
    // Written otherwise it is the same name.
    let again = again.replace("\"a\"", "\"\\u0061\"");
    refused(open(file(&format!("{{{tensor},{again}}}"), &[1, 2])), &["names a tensor twice"]);
}

#[test]
fn depth_and_names_that_act_are_refused() {
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
    refused(open(file(&deep, &[])), &["models/x.safetensors"]);
    let name = r"\u001b]0;owned\u0007\n  network     FLUX.1 dev";
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
    let told = refused(open(file(&header, &[1])), &["cannot be shown", r"\u001b]0;owned"]);
    assert!(!told.contains(['\u{1b}', '\n']));
}
