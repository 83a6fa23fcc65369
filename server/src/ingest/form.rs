//! `POST /ingest`: query parameters and a body in one of several formats -> normalized profiles.

use crate::ingest::builder::Bounds;
use crate::ingest::folded::{self, Counting};
use crate::ingest::labels::{self, Labels};
use crate::ingest::name::{self, Name};
use crate::ingest::old_pprof::{self, SampleTypes};
use crate::ingest::suffix::{self, Kind};
use crate::ingest::{
    Config, NormalizedProfile, attime, cumulative, jfr, multipart, normalize, speedscope, trie,
};
use protocol::pprof;
use protocol::profile::Profile;
use serde::Deserialize;

const DEFAULT_SAMPLE_RATE: u32 = 100;
const DAY_NS: i64 = 86_400 * 1_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// The query parameters, all texts: clients send empty ones and wrong numbers, which mean the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Query {
    pub name: String,
    pub from: String,
    #[serde(rename = "sampleRate")]
    pub sample_rate: String,
    #[serde(rename = "spyName")]
    pub spy_name: String,
    pub format: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("query parameter 'name' is missing; send the name of the application in it")]
    NoName,
    #[error(transparent)]
    Name(#[from] name::Error),
    #[error("form has no part '{0}'")]
    NoPart(&'static str),
    #[error("body is no multipart form")]
    NotAForm,
    #[error("part 'sample_type_config' is not JSON: {0}")]
    SampleTypes(#[source] serde_json::Error),
    #[error(transparent)]
    Folded(#[from] folded::Error),
    #[error(transparent)]
    Trie(#[from] trie::Error),
    #[error(transparent)]
    Speedscope(#[from] speedscope::Error),
    #[error(transparent)]
    Jfr(#[from] jfr::Error),
    #[error(transparent)]
    Pprof(#[from] pprof::Error),
    #[error(transparent)]
    Profile(#[from] super::Error),
}

impl Error {
    /// Whether the body, not the request, is what cannot be read.
    pub fn is_of_body(&self) -> bool {
        !matches!(self, Error::NoName | Error::Name(_) | Error::Profile(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Trie,
    Tree,
    Folded(Counting),
    Jfr,
    Pprof,
    Speedscope,
    Form,
}

/// A body as it was decoded, still to be normalized.
struct Decoded {
    profile: Profile,
    labels: Labels,
}

/// All of the body's profiles, or what is wrong with the first bad one.
pub fn read(
    query: &Query,
    content_type: &str,
    body: &[u8],
    config: &Config,
    now_ns: i64,
) -> Result<Vec<NormalizedProfile>, Error> {
    if query.name.is_empty() {
        return Err(Error::NoName);
    }
    let name = name::parse(&query.name)?;
    let from_ns = attime::parse(&query.from, now_ns).unwrap_or(now_ns);
    let upload = Upload { query, content_type, name, config };
    let mut normalized = Vec::new();
    for Decoded { mut profile, labels } in upload.decode(body)? {
        // Profiles without a time of their own, or with one in the first day of 1970 (milliseconds taken for nanoseconds).
        if profile.time_nanos < DAY_NS {
            profile.time_nanos = from_ns;
        }
        normalized.push(normalize::normalize(&profile, &labels, None, config, now_ns)?);
    }
    Ok(normalized)
}

/// The order of these questions is visible to clients.
fn format(query: &Query, content_type: &str) -> Format {
    let format = query.format.as_str();
    if format == "trie" || content_type == "binary/octet-stream+trie" {
        return Format::Trie;
    }
    if format == "tree" || content_type == "binary/octet-stream+tree" {
        return Format::Tree;
    }
    match format {
        "lines" => Format::Folded(Counting::Lines),
        "jfr" => Format::Jfr,
        "pprof" => Format::Pprof,
        "speedscope" => Format::Speedscope,
        _ if content_type.contains("multipart/form-data") => Format::Form,
        _ => Format::Folded(Counting::Folded),
    }
}

/// A request, and what was understood of it.
struct Upload<'a> {
    query: &'a Query,
    content_type: &'a str,
    name: Name,
    config: &'a Config,
}

impl Upload<'_> {
    fn decode(&self, body: &[u8]) -> Result<Vec<Decoded>, Error> {
        let max_bytes = self.config.max_profile_bytes;
        let format = format(self.query, self.content_type);
        match format {
            Format::Pprof => self.pprof(body, None, &SampleTypes::new()),
            Format::Form => self.form(&pprof::gunzip(body, max_bytes)?),
            Format::Jfr => self.jfr(&pprof::gunzip(body, max_bytes)?),
            Format::Speedscope => self.speedscope(&pprof::gunzip(body, max_bytes)?),
            Format::Trie | Format::Tree | Format::Folded(_) => {
                self.stacks(format, &pprof::gunzip(body, max_bytes)?)
            }
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            samples: self.config.max_samples,
            frames: self.config.max_profile_bytes,
            depth: self.config.max_stack_depth,
        }
    }

    /// The app, the kind of its samples, and what each of them counts.
    fn kind(&self) -> (&str, Kind, i64) {
        let (app, kind) = suffix::split(&self.name.app);
        if !kind.is_time {
            return (app, kind, 1);
        }
        match SECOND_NS.checked_div(self.sample_rate()) {
            None => (app, suffix::UNSCALED, 1),
            Some(period_ns) => (app, kind, period_ns),
        }
    }

    fn sample_rate(&self) -> i64 {
        i64::from(self.query.sample_rate.parse::<u32>().unwrap_or(DEFAULT_SAMPLE_RATE))
    }

    fn stacks(&self, format: Format, body: &[u8]) -> Result<Vec<Decoded>, Error> {
        // Agents of the 0.x line sent each traced request's samples once more: they are in the whole already.
        if self.name.labels.iter().any(|(name, _)| name == "profile_id") {
            return Ok(Vec::new());
        }
        let (app, kind, scale) = self.kind();
        let mut builder = kind.builder(self.bounds());
        if kind.is_time {
            builder.set_period(scale);
        }
        match format {
            Format::Trie => trie::trie(body, scale, &mut builder)?,
            Format::Tree => trie::tree(body, scale, &mut builder)?,
            Format::Folded(counting) => folded::read(body, counting, scale, &mut builder)?,
            _ => unreachable!("the other formats have no counted stacks"),
        }
        Ok(vec![Decoded { profile: builder.finish(), labels: self.labels(app, kind.name) }])
    }

    fn speedscope(&self, body: &[u8]) -> Result<Vec<Decoded>, Error> {
        let (app, kind, scale) = self.kind();
        let read = speedscope::read(body, kind, scale, self.bounds())?;
        let decoded = read.into_iter().map(|named| {
            let mut labels = self.labels(app, named.kind.name);
            if !named.name.is_empty() {
                let end = named.name.floor_char_boundary(self.config.max_label_value_bytes);
                let name = named.name.get(..end).unwrap_or_default();
                labels.set_if_absent("profile_name", name);
            }
            Decoded { profile: named.profile, labels }
        });
        Ok(decoded.collect())
    }

    /// Raw, or a form with the labels of its contexts.
    fn jfr(&self, body: &[u8]) -> Result<Vec<Decoded>, Error> {
        let max_bytes = self.config.max_profile_bytes;
        let parts;
        let (recording, snapshot) = if self.content_type.contains("multipart/form-data") {
            parts = multipart::parts(self.content_type, body).ok_or(Error::NotAForm)?;
            let recording = parts.get("jfr").ok_or(Error::NoPart("jfr"))?;
            let snapshot = parts.get("labels").copied().unwrap_or_default();
            (pprof::gunzip(recording, max_bytes)?, pprof::gunzip(snapshot, max_bytes)?)
        } else {
            (body.into(), (&[][..]).into())
        };
        let period_ns = SECOND_NS.checked_div(self.sample_rate()).unwrap_or(1);
        let recording = jfr::read(&recording, &snapshot, period_ns, self.bounds())?;
        let decoded = recording.profiles.into_iter().map(|named| {
            let mut labels = self.labels(&self.name.app, named.name);
            if !recording.event.is_empty() {
                labels.set_if_absent("jfr_event", &recording.event);
            }
            Decoded { profile: named.profile, labels }
        });
        Ok(decoded.collect())
    }

    fn form(&self, body: &[u8]) -> Result<Vec<Decoded>, Error> {
        let parts = multipart::parts(self.content_type, body).ok_or(Error::NotAForm)?;
        let types = match parts.get("sample_type_config") {
            Some(json) => serde_json::from_slice(json).map_err(Error::SampleTypes)?,
            None => SampleTypes::new(),
        };
        let profile = parts.get("profile").ok_or(Error::NoPart("profile"))?;
        let previous = parts.get("prev_profile").copied().filter(|bytes| !bytes.is_empty());
        self.pprof(profile, previous, &types)
    }

    fn pprof(
        &self,
        raw: &[u8],
        previous: Option<&[u8]>,
        types: &SampleTypes,
    ) -> Result<Vec<Decoded>, Error> {
        let max_bytes = self.config.max_profile_bytes;
        let spy = self.query.spy_name.as_str();
        let mut profile = pprof::parse(raw, max_bytes)?;
        if spy == "dotnetspy" {
            old_pprof::repair_dotnet(&mut profile);
        }
        pprof::check(&profile)?;
        if let Some(previous) = previous {
            let previous = pprof::decode(previous, max_bytes)?;
            let is_cumulative = |name: &str| old_pprof::is_cumulative(types, name);
            cumulative::subtract(&mut profile, &previous, is_cumulative);
        }
        if matches!(spy, "pyspy" | "rbspy" | "scripting") {
            old_pprof::file_before_function(&mut profile, spy == "pyspy", max_bytes);
        }
        let metric_name = old_pprof::metric_name(&profile, types);
        let labels = self.labels(&self.name.app, &metric_name);
        Ok(vec![Decoded { profile, labels }])
    }

    fn labels(&self, app: &str, metric_name: &str) -> Labels {
        let mut labels = Labels::new(self.name.labels.iter().cloned());
        let spy = if self.query.spy_name.is_empty() { "unknown" } else { &self.query.spy_name };
        labels.set(labels::NAME, metric_name);
        labels.set_if_absent(labels::DELTA, "false");
        labels.set_if_absent("pyroscope_spy", spy);
        if labels.get(labels::SERVICE).is_some() {
            labels.set_if_absent("app_name", app);
        } else {
            labels.set(labels::SERVICE, app);
        }
        labels
    }
}
