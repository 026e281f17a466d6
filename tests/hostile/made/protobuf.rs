//! Messages of protocol buffers as trees, so that a field can change and all lengths around it stay right.

/// A field: its number and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Field(pub u64, pub Value);

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u64),
    Eight([u8; 8]),
    Four([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Vec<Field>> for Value {
    fn from(fields: Vec<Field>) -> Self {
        Self::Message(fields)
    }
}

pub fn field(number: u64, value: impl Into<Value>) -> Field {
    Field(number, value.into())
}

/// The bytes of a message.
pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field(number, value) in fields {
        let key = |kind: u64| varint(number << 3 | kind);
        let (head, data) = match value {
            Value::Number(value) => (key(0), varint(*value)),
            Value::Eight(data) => (key(1), data.to_vec()),
            Value::Four(data) => (key(5), data.to_vec()),
            Value::Bytes(data) => (key(2), [varint(data.len() as u64), data.clone()].concat()),
            Value::Message(fields) => {
                let data = encode(fields);
                (key(2), [varint(data.len() as u64), data].concat())
            }
        };
        bytes.extend([head, data].concat());
    }
    bytes
}

/// The fields of a message; what could be a message inside is taken for one. `None` where bytes are none.
pub fn decode(bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(read_varint(&mut rest)?),
            1 => Value::Eight(*take(&mut rest, 8)?.first_chunk()?),
            5 => Value::Four(*take(&mut rest, 4)?.first_chunk()?),
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                let data = take(&mut rest, length)?;
                let inside = decode(data, depth.saturating_sub(1));
                let inside = inside.filter(|_| depth > 0 && !data.is_empty());
                inside.map_or_else(|| Value::Bytes(data.to_vec()), Value::Message)
            }
            _ => return None,
        };
        fields.push(Field(key >> 3, value));
    }
    // No field of ONNX has a larger number, and texts are no messages.
    fields.iter().all(|Field(number, _)| (1..64).contains(number)).then_some(fields)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}
