//! The rules that every server of this protocol applies to names of profiles.

use crate::ingest::labels::{DELTA, Labels, NAME, TYPE};

const REPLACED: &str = "__name_replaced__";
const DELTA_PREFIX: &str = "godeltaprof_";

pub(super) fn relabel(labels: &mut Labels) {
    let name = labels.get(NAME).unwrap_or_default().to_owned();
    if let Some(plain) = name.strip_prefix(DELTA_PREFIX) {
        labels.set(NAME, plain);
        labels.set(REPLACED, &name);
        labels.set(DELTA, "false");
    } else if name == "wall" && labels.get(TYPE) == Some("cpu") {
        labels.set(NAME, "process_cpu");
        labels.set(REPLACED, &name);
    }
}
