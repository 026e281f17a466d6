//! ONNX graphs: the messages, the edges, the operators, and whether it is a tagger.

use std::path::Path;

use fluxpipe::models::{
    onnx::{Graph, OnnxError},
    tagger::{Signature, TagTable, TaggerError},
};

use crate::{
    case::{Outcome, Reader},
    made::{
        onnx::{branching, elsewhere, model, node, port, tagger},
        protobuf::{Field, Value, decode, encode},
    },
    random::Random,
};

pub const ONNX: Reader = Reader {
    name: "onnx",
    seeds,
    words: &[
        b"MatMul",
        b"Sigmoid",
        b"If",
        b"Loop",
        b"Scan",
        b"Constant",
        b"ConstantOfShape",
        b"com.microsoft",
        b"ai.onnx",
        b"picture",
        b"tags",
        b"logits",
        b"matrix",
        b"location",
        b"offset",
        b"length",
        b"../x",
        b"/etc/passwd",
        b"\x0a",
        b"\x12",
        b"\x1a",
        b"\x22",
        b"\x2a",
        b"\x32",
        b"\x3a",
        b"\x42",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x08",
        b"\x0b",
        b"\x0c",
    ],
    shape,
    read,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut outside = tagger();
    let entries = [("location", "weights.bin"), ("offset", "0"), ("length", "48")];
    outside[4] = elsewhere("matrix", &[3, 4], &entries);
    let mut longer = tagger();
    longer.insert(3, node("Identity", &["tags"], &["unused"], vec![]));
    longer.push(port(11, "matrix", &[3, 4]));
    [tagger(), branching(), outside, longer].map(model).to_vec()
}

fn shape(random: &mut Random, input: Vec<u8>) -> Vec<u8> {
    let Some(mut fields) = decode(&input, 16) else { return input };
    change(random, &mut fields);
    encode(&fields)
}

/// Changes one field somewhere in the tree.
fn change(random: &mut Random, fields: &mut Vec<Field>) {
    if fields.is_empty() {
        return fields.push(Field(1 + random.below(20) as u64, Value::Number(random.edge())));
    }
    let at = random.below(fields.len());
    if let Value::Message(inside) = &mut fields[at].1
        && !random.one_of(5)
    {
        return change(random, inside);
    }
    match random.below(9) {
        0 => fields[at].0 = 1 + random.below(20) as u64,
        1 => drop(fields.remove(at)),
        2 => fields.push(fields[at].clone()),
        3 => {
            let other = random.below(fields.len());
            fields.swap(at, other);
        }
        4 => {
            let copy = vec![fields[at].clone(); 1 << random.below(8)];
            fields.splice(at..at, copy);
        }
        // One inside the other, as graphs in branches are.
        5 => {
            let depth = 1 << random.below(9);
            let number = fields[at].0;
            let inside = std::mem::replace(&mut fields[at].1, Value::Number(0));
            let nested = |value, _| Value::Message(vec![Field(number, value)]);
            fields[at].1 = (0..depth).fold(inside, nested);
        }
        _ => fields[at].1 = other(random, &fields[at].1),
    }
}

fn other(random: &mut Random, old: &Value) -> Value {
    const TEXTS: [&str; 10] = [
        "",
        "tags",
        "picture",
        "mean",
        "If",
        "Loop",
        "Reshape",
        "../x",
        "/etc/passwd",
        "\u{1b}[2J\n",
    ];
    match (random.below(6), old) {
        (0, _) => Value::from(*random.pick(&TEXTS)),
        (1, _) => Value::Bytes((0..random.below(40)).map(|_| random.byte()).collect()),
        (2, Value::Bytes(bytes)) => Value::Bytes(bytes[..random.below(bytes.len() + 1)].to_vec()),
        (3, _) => Value::Eight(random.next().to_le_bytes()),
        (4, _) => Value::Four((random.next() as u32).to_le_bytes()),
        _ => Value::Number(random.edge()),
    }
}

fn read(input: &[u8]) -> Outcome {
    let table = "tag_id,name,category\n1,a,0\n2,b,0\n3,c,0\n4,d,9\n";
    let table = TagTable::from_bytes(Path::new(TagTable::FILE), table.as_bytes()).unwrap();
    let read = || -> Result<(), TaggerError> {
        let path = Path::new("models/model.onnx");
        let graph = Graph::from_bytes(path, input)?;
        graph.data_files()?;
        let _ = graph.operators();
        let operators = graph.unsupported();
        if !operators.is_empty() {
            return Err(OnnxError::Operator { path: path.to_owned(), operators }.into());
        }
        Signature::of(&graph, &table).map(drop)
    };
    Outcome::of(read())
}

#[test]
fn messages_are_taken_apart_as_they_were_made() {
    for seed in seeds() {
        assert_eq!(encode(&decode(&seed, 16).unwrap()), seed);
    }
}
