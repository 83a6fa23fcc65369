//! `process_cpu:cpu:nanoseconds:cpu:nanoseconds`, in its parts.

use crate::query::Error;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileType {
    pub id: String,
    pub name: String,
    pub sample_type: String,
    pub sample_unit: String,
    pub period_type: String,
    pub period_unit: String,
}

impl ProfileType {
    /// Five parts; a sixth, `delta`, is tolerated and says nothing.
    pub fn parse(text: &str) -> Result<ProfileType, Error> {
        let wrong = || Error::ProfileType(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let (name, sample_type, sample_unit, period_type, period_unit) = match parts.as_slice() {
            [name, a, b, c, d] | [name, a, b, c, d, "delta"] => (*name, *a, *b, *c, *d),
            _ => return Err(wrong()),
        };
        if name.is_empty() || sample_type.is_empty() {
            return Err(wrong());
        }
        Ok(ProfileType {
            id: format!("{name}:{sample_type}:{sample_unit}:{period_type}:{period_unit}"),
            name: name.to_owned(),
            sample_type: sample_type.to_owned(),
            sample_unit: sample_unit.to_owned(),
            period_type: period_type.to_owned(),
            period_unit: period_unit.to_owned(),
        })
    }
}
