//! What is counted, for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

/// Upper bounds of the buckets of answer times, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Counters of answers. Labels are routes, never paths: there are as many as routes, whatever is asked for.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    answers: BTreeMap<(String, String, u16), u64>,
    times: BTreeMap<String, Times>,
}

#[derive(Debug, Default)]
struct Times {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    /// Counts one answer.
    pub fn count(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        // Methods are the client's words: only those that mean something have a label of their own.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            _ => "other",
        };
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method.to_owned(), route.to_owned(), status.as_u16());
        *counted.answers.entry(key).or_default() += 1;
        let seconds = took.as_secs_f64();
        let times = counted.times.entry(route.to_owned()).or_default();
        times.count += 1;
        times.sum += seconds;
        for (bucket, bound) in times.buckets.iter_mut().zip(BOUNDS) {
            if seconds <= bound {
                *bucket += 1;
            }
        }
    }

    /// Everything counted, in Prometheus' text format.
    pub fn write(&self, out: &mut String) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.push_str("# TYPE talon_http_requests_total counter\n");
        for ((method, route, status), n) in &counted.answers {
            // Writing to a String does not fail.
            let _ = writeln!(
                out,
                "talon_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {n}"
            );
        }
        out.push_str("# TYPE talon_http_request_seconds histogram\n");
        for (route, times) in &counted.times {
            for (bucket, bound) in times.buckets.iter().zip(BOUNDS) {
                let _ = writeln!(
                    out,
                    "talon_http_request_seconds_bucket{{route=\"{route}\",le=\"{bound}\"}} {bucket}"
                );
            }
            let count = times.count;
            let _ = writeln!(
                out,
                "talon_http_request_seconds_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}\n\
                 talon_http_request_seconds_sum{{route=\"{route}\"}} {}\n\
                 talon_http_request_seconds_count{{route=\"{route}\"}} {count}",
                times.sum
            );
        }
    }
}
