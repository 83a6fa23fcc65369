//! What the calls that select profiles say -> a checked selection, and what it selects.

use crate::api::error::Error;
use crate::api::scope::Scope;
use crate::ingest::{labels, suffix};
use crate::query;
use crate::query::View;
use crate::query::pprof::{self, GoPgo, Shape};
use crate::query::profile_type::ProfileType;
use crate::query::profiles;
use crate::query::range::Range;
use crate::query::selector::Selector;
use crate::query::series::{self, Aggregation, SeriesQuery};
use crate::query::stacks::{self, Requests, StackSums};
use protocol::profile::Profile;
use protocol::types;
use std::collections::BTreeSet;

/// What all the calls that select profiles say.
#[derive(Clone)]
pub(super) struct Selection {
    pub profile_type: ProfileType,
    pub selector: Selector,
    pub range: Range,
    call_site: Vec<String>,
    requests: Requests,
    /// Of single profiles; empty for all.
    profile_ids: BTreeSet<u128>,
    pub shape: Shape,
}

impl Selection {
    pub(super) fn new(
        profile_type: &str,
        selector: &str,
        (start, end): (i64, i64),
        stack_selector: Option<&types::StackTraceSelector>,
    ) -> Result<Selection, Error> {
        let profile_type = ProfileType::parse(profile_type)?;
        if selector.trim().is_empty() {
            return Err(query::Error::NoSelector.into());
        }
        let selector = Selector::parse(selector).map_err(query::Error::from)?;
        let selector = selector.and(labels::PROFILE_TYPE, &profile_type.id);
        let call_site = stack_selector
            .map(|selector| selector.call_site.iter().map(|frame| frame.name.clone()).collect());
        let go_pgo = stack_selector.and_then(|selector| selector.go_pgo).map(|pgo| GoPgo {
            keep_locations: pgo.keep_locations as usize,
            aggregate_callees: pgo.aggregate_callees,
        });
        Ok(Selection {
            profile_type,
            selector,
            range: Range::new(start, end)?,
            call_site: call_site.unwrap_or_default(),
            requests: Requests::All,
            profile_ids: BTreeSet::new(),
            shape: Shape { max_nodes: None, go_pgo },
        })
    }

    /// Of an old name, `my.app.cpu{tag="value"}`: its suffix says the kind of profiles.
    pub(super) fn of_app(text: &str, range: Range) -> Result<Selection, Error> {
        let (app, selector) = text.split_at(text.find('{').unwrap_or(text.len()));
        let (service, prefix) = suffix::profile_type(app.trim());
        if service.is_empty() {
            return Err(Error::invalid("the name of an application is missing"));
        }
        let selector = if selector.trim().is_empty() { "{}" } else { selector };
        let selector = Selector::parse(selector).map_err(query::Error::from)?;
        let selector =
            selector.and(labels::SERVICE, service).and_begins_with(labels::PROFILE_TYPE, &prefix);
        Ok(Selection {
            profile_type: ProfileType::parse(&format!("{prefix}:"))?,
            selector,
            range,
            call_site: Vec::new(),
            requests: Requests::All,
            profile_ids: BTreeSet::new(),
            shape: Shape::default(),
        })
    }

    /// Narrows to spans, to traces, or to neither.
    pub(super) fn of_requests(
        mut self,
        spans: &[String],
        traces: &[String],
    ) -> Result<Selection, Error> {
        self.requests = match (spans, traces) {
            ([], []) => Requests::All,
            (spans, []) => Requests::Spans(ids(spans, 16, "span")?.map(|id| id as u64).collect()),
            ([], traces) => Requests::Traces(ids(traces, 32, "trace")?.collect()),
            _ => {
                return Err(Error::invalid(
                    "a span selector and a trace selector exclude each other",
                ));
            }
        };
        Ok(self)
    }

    /// Narrows to single profiles, if any are named.
    pub(super) fn of_profiles(mut self, ids: &[String]) -> Result<Selection, Error> {
        if ids.len() > profiles::MAX_IDS {
            let limit = profiles::MAX_IDS;
            return Err(Error::invalid(format!(
                "the query names {} profiles, the limit is {limit}; ask for fewer at once",
                ids.len()
            )));
        }
        for id in ids {
            let digits: String = id.chars().filter(|char| *char != '-').collect();
            let parsed = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
            let wrong = || Error::invalid(format!("'{id}' is no profile id; write a UUID"));
            self.profile_ids.insert(parsed.ok_or_else(wrong)?);
        }
        Ok(self)
    }

    /// Profiles are whole where no limit is asked for: they may be saved, the default is for what is drawn.
    pub(super) fn truncated(mut self, api: &Scope, asked: Option<i64>) -> Result<Selection, Error> {
        if let Some(asked) = asked.filter(|asked| *asked != 0) {
            self.shape.max_nodes = Some(max_nodes(api, Some(asked))?);
        }
        Ok(self)
    }

    pub(super) fn pprof(&self, api: &Scope) -> Result<Profile, Error> {
        Ok(pprof::merge(&self.stacks(api)?, &self.profile_type, &self.range, self.shape))
    }

    pub(super) fn stacks(&self, api: &Scope) -> Result<Vec<StackSums>, Error> {
        let sources = api.view(self.range.start_ns(), self.range.end_ns())?;
        let (selector, range, call_site) = (&self.selector, &self.range, self.call_site.as_slice());
        let mut selected = if self.profile_ids.is_empty() {
            stacks::select(&sources, selector, range, call_site)?
        } else {
            profiles::select(&sources, selector, range, call_site, &self.profile_ids)?
        };
        self.requests.keep(&mut selected);
        Ok(selected)
    }

    pub(super) fn series(
        &self,
        api: &Scope,
        step_ms: i64,
        group_by: &[String],
        aggregation: Aggregation,
    ) -> Result<Vec<series::Points>, Error> {
        let query = self.series_query(step_ms, group_by, aggregation);
        Ok(series::select(&self.reached(api, step_ms)?, &query)?)
    }

    pub(super) fn series_query<'a>(
        &'a self,
        step_ms: i64,
        group_by: &'a [String],
        aggregation: Aggregation,
    ) -> SeriesQuery<'a> {
        let (selector, range, call_site) = (&self.selector, self.range, self.call_site.as_slice());
        SeriesQuery { selector, range, step_ms, group_by, aggregation, call_site }
    }

    /// What a question about steps looks at.
    pub(super) fn reached(&self, api: &Scope, step_ms: i64) -> Result<View, Error> {
        let reach = series::reach(&self.range, step_ms);
        api.view(reach.start_ns(), reach.end_ns())
    }
}

/// Hexadecimal numbers of so many digits.
fn ids<'a>(
    texts: &'a [String],
    len: usize,
    what: &'static str,
) -> Result<impl Iterator<Item = u128> + use<'a>, Error> {
    let id =
        move |text: &'a String| u128::from_str_radix(text, 16).ok().filter(|_| text.len() == len);
    if let Some(wrong) = texts.iter().find(|text| id(text).is_none()) {
        return Err(Error::invalid(format!(
            "'{wrong}' is no {what} id of {len} hexadecimal digits"
        )));
    }
    Ok(texts.iter().filter_map(id))
}

/// 0 and nothing mean the default.
pub(super) fn max_nodes(api: &Scope, asked: Option<i64>) -> Result<i64, Error> {
    let limit = api.config.max_max_nodes;
    match asked {
        None | Some(0) => Ok(api.config.default_max_nodes),
        Some(asked) if (1..=limit).contains(&asked) => Ok(asked),
        Some(asked) => Err(query::Error::MaxNodes { asked, limit }.into()),
    }
}
