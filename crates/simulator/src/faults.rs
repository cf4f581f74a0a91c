//! Seeded faults: rules that make single calls go wrong, and how often they did.
//!
//! Whether the n-th call that matches a rule is hit depends on the seed, the rule's place in the list and n alone; so
//! calls of other kinds, and their order, change nothing.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::calllog::CallClass;

/// Which calls a rule is for. Everything that is given must hold; an empty one matches every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Stable name of the endpoint, or its beginning followed by `*`: `workers.upload`, `r2.*`.
    pub operation: Option<String>,
    /// HTTP method, any case.
    pub method: Option<String>,
    /// Regular expression somewhere in the path (without query).
    pub path: Option<String>,
    /// Reads only or writes only.
    pub class: Option<CallClass>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers with this status.
    Status {
        /// HTTP status, usually 5xx.
        status: u16,
        /// Whether the body is a page of the edge instead of the envelope.
        #[serde(default)]
        html: bool,
        /// Error code in the envelope; 10002 if not given.
        #[serde(default)]
        code: Option<i64>,
        /// Whether the call is carried out first.
        #[serde(default)]
        after_commit: bool,
    },
    /// Drops the connection; nothing is done.
    ResetBefore,
    /// Carries the call out and drops the connection.
    ResetAfter,
    /// Never answers; nothing is done.
    TimeoutBefore,
    /// Carries the call out and does not answer, or answers that late.
    TimeoutAfter {
        /// Answer after this many milliseconds; never, if not given.
        #[serde(default)]
        answer_after_ms: Option<u64>,
    },
    /// Does not answer, and carries the call out later, whether or not the caller is still there.
    LandLate {
        /// Milliseconds until it lands.
        after_ms: u64,
    },
    /// Answers 429; nothing is done.
    Throttle {
        /// Seconds for `Retry-After`; no such header if not given.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Carries the call out this much later and then answers. Goes together with one other fault.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// Carries the call out twice and gives the second answer.
    Duplicate,
}

impl Fault {
    /// Its name in the call log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::TimeoutBefore => "timeout_before",
            Self::TimeoutAfter { .. } => "timeout_after",
            Self::LandLate { .. } => "land_late",
            Self::Throttle { .. } => "throttle",
            Self::Latency { .. } => "latency",
            Self::Duplicate => "duplicate",
        }
    }
}

/// One rule. The first rule that hits decides; latencies are added to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which calls.
    #[serde(rename = "match", default)]
    pub matching: Match,
    /// What happens to them.
    pub kind: Fault,
    /// How likely, for each matching call: 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// At most this often.
    #[serde(default)]
    pub times: Option<u64>,
    /// Spares this many matching calls first.
    #[serde(default)]
    pub skip: u64,
}

fn always() -> f64 {
    1.0
}

impl FaultRule {
    /// A rule for one operation that always hits.
    pub fn on(operation: &str, kind: Fault) -> Self {
        Self {
            matching: Match {
                operation: Some(operation.to_owned()),
                ..Match::default()
            },
            kind,
            probability: 1.0,
            times: None,
            skip: 0,
        }
    }

    /// A rule for every call of a class that always hits.
    pub fn on_class(class: CallClass, kind: Fault) -> Self {
        Self {
            matching: Match {
                class: Some(class),
                ..Match::default()
            },
            ..Self::on("", kind)
        }
    }

    /// The same rule, at most this often.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// The same rule with another probability.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// The same rule, after sparing some calls.
    pub fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }
}

/// A rule and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleReport {
    /// The rule.
    #[serde(flatten)]
    pub rule: FaultRule,
    /// Calls that matched.
    pub matched: u64,
    /// Calls that were hit.
    pub fired: u64,
}

/// A call as rules see it.
pub(crate) struct Subject<'a> {
    pub(crate) operation: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) class: CallClass,
}

/// What was decided for a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) latency_ms: u64,
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug)]
struct Armed {
    rule: FaultRule,
    path: Option<Regex>,
    /// Place in the order in which rules were ever added.
    ordinal: u64,
    matched: u64,
    fired: u64,
}

/// The rules in force.
#[derive(Debug)]
pub(crate) struct FaultEngine {
    seed: u64,
    armed: Vec<Armed>,
    next_ordinal: u64,
}

impl FaultEngine {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            armed: Vec::new(),
            next_ordinal: 0,
        }
    }

    /// Adds rules after those there are; none of them if a regular expression or a probability is bad.
    pub(crate) fn add(&mut self, rules: Vec<FaultRule>) -> Result<(), String> {
        let mut armed = Vec::new();
        for rule in rules {
            if !(0.0..=1.0).contains(&rule.probability) {
                return Err("probability must be between 0 and 1".to_owned());
            }
            let path = rule
                .matching
                .path
                .as_deref()
                .map(Regex::new)
                .transpose()
                .map_err(|e| format!("path is not a regular expression: {e}"))?;
            armed.push(Armed {
                rule,
                path,
                ordinal: self.next_ordinal + armed.len() as u64,
                matched: 0,
                fired: 0,
            });
        }
        self.next_ordinal += armed.len() as u64;
        self.armed.append(&mut armed);
        Ok(())
    }

    /// Drops all rules and starts the numbering anew.
    pub(crate) fn clear(&mut self) {
        self.armed.clear();
        self.next_ordinal = 0;
    }

    pub(crate) fn report(&self) -> Vec<RuleReport> {
        self.armed
            .iter()
            .map(|a| RuleReport {
                rule: a.rule.clone(),
                matched: a.matched,
                fired: a.fired,
            })
            .collect()
    }

    pub(crate) fn decide(&mut self, subject: &Subject<'_>) -> Decision {
        let seed = self.seed;
        let mut decision = Decision::default();
        for armed in &mut self.armed {
            if !armed.matches(subject) {
                continue;
            }
            let is_latency = matches!(armed.rule.kind, Fault::Latency { .. });
            if (!is_latency && decision.fault.is_some()) || !armed.hits(seed) {
                continue;
            }
            match &armed.rule.kind {
                Fault::Latency { ms } => decision.latency_ms += ms,
                other => decision.fault = Some(other.clone()),
            }
        }
        decision
    }
}

impl Armed {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let Match {
            operation,
            method,
            path: _,
            class,
        } = &self.rule.matching;
        operation
            .as_ref()
            .is_none_or(|o| match o.strip_suffix('*') {
                Some(start) => subject.operation.starts_with(start),
                None => o == subject.operation,
            })
            && method
                .as_ref()
                .is_none_or(|m| m.eq_ignore_ascii_case(subject.method))
            && class.is_none_or(|c| c == subject.class)
            && self.path.as_ref().is_none_or(|p| p.is_match(subject.path))
    }

    fn hits(&mut self, seed: u64) -> bool {
        let nth = self.matched;
        self.matched += 1;
        if nth < self.rule.skip || self.rule.times.is_some_and(|t| self.fired >= t) {
            return false;
        }
        let mixed = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.ordinal.wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(nth.wrapping_mul(0x94d0_49bb_1331_11eb));
        let hit = self.rule.probability >= 1.0
            || StdRng::seed_from_u64(mixed).random::<f64>() < self.rule.probability;
        self.fired += u64::from(hit);
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: Subject<'static> = Subject {
        operation: "workers.upload",
        method: "PUT",
        path: "/client/v4/accounts/a/workers/scripts/x",
        class: CallClass::Write,
    };
    const LIST: Subject<'static> = Subject {
        operation: "workers.list",
        method: "GET",
        path: "/client/v4/accounts/a/workers/scripts",
        class: CallClass::Read,
    };

    fn half() -> FaultRule {
        FaultRule::on("workers.*", Fault::ResetBefore).probability(0.5)
    }

    fn history(seed: u64) -> Vec<bool> {
        let mut engine = FaultEngine::new(seed);
        engine.add(vec![half()]).unwrap();
        (0..200)
            .map(|_| engine.decide(&UPLOAD).fault.is_some())
            .collect()
    }

    #[test]
    fn one_seed_one_history() {
        assert_eq!(history(7), history(7));
        assert_ne!(history(7), history(8));
        let hits = history(7).iter().filter(|h| **h).count();
        assert!((60..140).contains(&hits), "{hits}");
    }

    #[test]
    fn other_calls_do_not_disturb() {
        let mut engine = FaultEngine::new(7);
        let mut rule = half();
        rule.matching.operation = Some("workers.upload".to_owned());
        engine.add(vec![rule]).unwrap();
        let mixed: Vec<bool> = (0..200)
            .map(|_| {
                engine.decide(&LIST);
                engine.decide(&UPLOAD).fault.is_some()
            })
            .collect();
        assert_eq!(mixed, history(7));
    }

    #[test]
    fn times_skip_and_latency() {
        let mut engine = FaultEngine::new(1);
        engine
            .add(vec![
                FaultRule::on_class(CallClass::Write, Fault::Latency { ms: 5 }),
                FaultRule::on("workers.upload", Fault::ResetAfter)
                    .skip(1)
                    .times(1),
            ])
            .unwrap();
        let got: Vec<Decision> = (0..3).map(|_| engine.decide(&UPLOAD)).collect();
        assert!(got.iter().all(|d| d.latency_ms == 5));
        let faults: Vec<bool> = got.iter().map(|d| d.fault.is_some()).collect();
        assert_eq!(faults, [false, true, false]);
        assert_eq!(engine.decide(&LIST), Decision::default());
        assert_eq!(engine.report()[1].fired, 1);
    }

    #[test]
    fn bad_rules_are_refused() {
        let mut engine = FaultEngine::new(1);
        let mut rule = half();
        rule.matching.path = Some("(".to_owned());
        assert!(engine.add(vec![rule]).is_err());
        assert!(engine.add(vec![half().probability(1.5)]).is_err());
        assert!(engine.report().is_empty());
    }
}
