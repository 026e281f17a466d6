//! What was decided for one item, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ItemSpec, Origin, Output};
use crate::base::{Digest, Value};

/// One item with what is to become of it.
#[derive(Debug)]
pub struct Decision {
    /// The item.
    pub spec: ItemSpec,
    /// Its key, or `None` while an upstream item that it reads has still to run.
    pub key: Option<Digest>,
    /// What is to become of it, or became.
    pub state: ItemState,
    /// Index of an earlier item of the stage with the same key, whose output this item shares: two
    /// equal captions are encoded once.
    pub shares: Option<usize>,
    /// Digest of the parts in which an unknown value stands as the item and blob that it will be. Equal
    /// ones will have equal keys, which lets a plan count shared items before their keys are known.
    pub(super) expected: Digest,
}

/// What is to become of an item, or became of it.
#[derive(Debug)]
pub enum ItemState {
    /// Its output is given ([`ItemSpec::given`]), such as a caption written by hand.
    Kept,
    /// Its output is in the store.
    Reuse(Output),
    /// It must run.
    Run {
        /// The foremost reason.
        cause: Cause,
        /// Against what this item read last time; unknown parts are not in here but in `follows`.
        differences: Vec<Difference>,
        /// Items of needed stages that must run first.
        follows: Vec<ItemRef>,
    },
    /// It failed, in this run or in an earlier one with the very same key, and is left out.
    Failed(super::ItemFailure),
    /// It ran in this run.
    Made(Output),
}

impl Decision {
    /// What the item made, or `None` while it has still to run or where it failed.
    #[must_use]
    pub fn output(&self) -> Option<&Output> {
        match &self.state {
            ItemState::Kept => self.spec.given.as_ref().map(|given| &given.output),
            ItemState::Reuse(output) | ItemState::Made(output) => Some(output),
            ItemState::Run { .. } | ItemState::Failed { .. } => None,
        }
    }

    /// Whether the item has to run itself, rather than share what another item makes.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.state, ItemState::Run { .. }) && self.shares.is_none()
    }

    /// Whether it waits for what another item makes, so that its key is not known yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(&self.state, ItemState::Run { follows, .. } if !follows.is_empty())
    }
}

/// Why an item runs, or where a difference comes from.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The command line asked for it (`--force`).
    Forced,
    /// The store has never held this item.
    New,
    /// Its output was made, and its file is gone from the store.
    Lost,
    /// A value of the manifest changed.
    Manifest,
    /// A file of the user's changed.
    File,
    /// A model file changed.
    Model,
    /// The program changed what it does.
    Code,
    /// A needed stage made something else.
    Upstream,
    /// Nothing changed in its own parts: a needed stage has to run first, and may make something else.
    Follows,
}

impl Cause {
    /// The cause that a part of this origin stands for.
    #[must_use]
    pub fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Manifest { .. } => Self::Manifest,
            Origin::File(_) => Self::File,
            Origin::Model(_) => Self::Model,
            Origin::Code(_) => Self::Code,
            Origin::Upstream { .. } => Self::Upstream,
        }
    }
}

/// A part of a key that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// Name of the part.
    pub part: String,
    /// Where it comes from; for a part that an item kept by hand gives, the file of that item.
    pub origin: Origin,
    /// What it was; `None` where the part is new.
    #[serde(serialize_with = "plain")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub old: Option<Value>,
    /// What it is; `None` where the part is gone, or not made yet.
    #[serde(serialize_with = "plain")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub new: Option<Value>,
    /// Whether what it will be is not made yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

/// A value as plain JSON: a reader wants `0.0001`, not how keys spell it.
pub(super) fn plain<S: serde::Serializer>(
    value: &Option<Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(json).serialize(serializer)
}

/// A value as plain JSON.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Digest(digest) => digest.to_string().into(),
        Value::List(values) => values.iter().map(json).collect(),
        Value::Map(values) => {
            values.iter().map(|(name, value)| (name.clone(), json(value))).collect()
        }
    }
}

/// Names an item of a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
pub struct ItemRef {
    /// Name of the stage.
    pub stage: String,
    /// Id of the item.
    pub item: String,
}
