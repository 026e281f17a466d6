//! The manifest: TOML, types, rules between values, and the text that tells of mistakes.

use std::path::Path;

use fluxpipe::{
    manifest::{Manifest, ManifestErrors},
    report::{self, Look},
};

use super::{renumber, shuffle_lines};
use crate::{
    case::{Outcome, Reader, Refused},
    random::Random,
};

pub const MANIFEST: Reader = Reader {
    name: "manifest",
    seeds,
    words: &[
        b"[[dataset]]\n",
        b"[stages.",
        b"kind = \"",
        b"needs = [",
        b"[[",
        b"]]",
        b"[",
        b"]",
        b"{",
        b"}",
        b" = ",
        b".",
        b"a.b.c.d",
        b"\"\"\"",
        b"'''",
        b"\"",
        b"'",
        b"#",
        b"\\u0000",
        b"\\uD800",
        b"\\x1b",
        b"\x1b[31m",
        b"\r\n",
        b"\n",
        b"\xe2\x80\xae",
        b"nan",
        b"-inf",
        b"1e999",
        b"0x",
        b"1979-05-27T07:32:00Z",
        b"true",
        b"[[[[[[[[",
        b"{a={a=",
        b"resolution",
        b"learning_rate",
        b"max_train_epochs",
        b"optimizer_args",
        b"[project]\n",
        b"[models]\n",
    ],
    shape,
    read,
};

fn seeds() -> Vec<Vec<u8>> {
    let small = "[project]\nname = \"small\"\n\n[models]\nblip = \"b\"\ntagger = \"t\"\nae = \"a\"\nclip_l = \"c\"\n\
                 t5xxl = \"t\"\nflux = \"f\"\n\n[[dataset]]\nimage_dir = \"p\"\nresolution = [512, 768]\n\n\
                 [stages.label]\nnum_beams = 2\n\n[stages.tag]\nthresh = 0.5\n\n[stages.merge]\n\
                 prepend_tags = [\"a\"]\n\n[stages.cache]\n\n[stages.finetune]\nlearning_rate = 1e-4\n\
                 max_train_epochs = 2\n";
    let least = "[project]\nname = \"x\"\n[models]\nblip = \"b\"\n[[dataset]]\nimage_dir = \"p\"\nresolution = 512\n\
                 [stages.label]\n";
    let whole = include_str!("../../../manifests/demo.toml");
    [small, least, whole].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&input);
    match random.one_of(2) {
        true => renumber(random, &text),
        false => shuffle_lines(random, &text),
    }
    .into_bytes()
}

fn read(input: &[u8]) -> Outcome {
    // What is not UTF-8 is refused before it is parsed.
    let text = String::from_utf8_lossy(input);
    let path = Path::new("project.toml");
    let read = Manifest::parse(path, &text);
    let refused = read.err().map(|errors: ManifestErrors| {
        // To show all mistakes in their lines is a part of reading.
        let _ = report::diagnostics(&errors, path, Look::PLAIN);
        Refused::of(&errors)
    });
    Outcome { refused, announced: 0 }
}
