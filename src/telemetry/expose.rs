//! Writes what was counted as `OpenMetrics` text.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::telemetry::histogram::Sum;

/// One family of metrics.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    samples: Samples,
}

#[derive(Clone, Debug)]
enum Samples {
    Counters(Vec<(Labels, u64)>),
    Seconds(Vec<(Labels, Duration)>),
    Gauges(Vec<(Labels, u64)>),
    Left(Vec<(Labels, Duration)>),
    Histograms(Vec<(Labels, Sum)>),
}

/// The labels of one sample.
pub type Labels = Vec<(&'static str, String)>;

impl Family {
    /// Something that only grows. The name stands without `_total`.
    pub fn counter(name: &'static str, help: &'static str, samples: Vec<(Labels, u64)>) -> Self {
        Self { name, help, samples: Samples::Counters(samples) }
    }

    /// Time that was spent. The name stands without `_total`.
    pub fn seconds(name: &'static str, help: &'static str, spent: Duration) -> Self {
        Self { name, help, samples: Samples::Seconds(vec![(vec![], spent)]) }
    }

    /// Something that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, u64)>) -> Self {
        Self { name, help, samples: Samples::Gauges(samples) }
    }

    /// Time that is left of something.
    pub fn left(name: &'static str, help: &'static str, left: Duration) -> Self {
        Self { name, help, samples: Samples::Left(vec![(vec![], left)]) }
    }

    /// Durations in buckets, in seconds.
    pub fn histogram(name: &'static str, help: &'static str, samples: Vec<(Labels, Sum)>) -> Self {
        Self { name, help, samples: Samples::Histograms(samples) }
    }

    fn kind(&self) -> MetricType {
        match &self.samples {
            Samples::Counters(_) | Samples::Seconds(_) => MetricType::Counter,
            Samples::Gauges(_) | Samples::Left(_) => MetricType::Gauge,
            Samples::Histograms(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, self.kind())?;
        match &self.samples {
            Samples::Counters(samples) => each(&mut metric, samples, |metric, value| {
                metric.encode_counter::<NoLabelSet, _, f64>(value, None)
            }),
            Samples::Seconds(samples) => each(&mut metric, samples, |metric, spent| {
                metric.encode_counter::<NoLabelSet, _, f64>(&spent.as_secs_f64(), None)
            }),
            Samples::Gauges(samples) => each(&mut metric, samples, |metric, level| {
                // Named as a method this closure would not be general enough.
                let level: u64 = *level;
                metric.encode_gauge(&level)
            }),
            Samples::Left(samples) => {
                each(&mut metric, samples, |metric, left| metric.encode_gauge(&left.as_secs_f64()))
            }
            Samples::Histograms(samples) => each(&mut metric, samples, |metric, sum| {
                let (seconds, count) = (sum.seconds(), sum.count());
                metric.encode_histogram::<NoLabelSet>(seconds, count, &sum.buckets(), None)
            }),
        }
    }
}

/// Encodes every sample; one without labels has no braces either.
fn each<T>(
    metric: &mut MetricEncoder<'_>,
    samples: &[(Labels, T)],
    encode: impl Fn(&mut MetricEncoder<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    samples.iter().try_for_each(|(labels, value)| match labels.as_slice() {
        [] => encode(metric, value),
        _ => encode(&mut metric.encode_family(labels)?, value),
    })
}

/// All families as text that ends with `# EOF`.
pub fn openmetrics(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(families)));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        Err(fmt::Error) => "# EOF\n".to_owned(),
    }
}

/// The content type of [`openmetrics`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::histogram::Histogram;

    #[test]
    fn a_scrape_is_openmetrics_text() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(70));
        let mut sum = Sum::default();
        histogram.add_to(&mut sum);
        let text = openmetrics(vec![
            Family::counter(
                "keyward_requests",
                "Answered",
                vec![(vec![("route", "a\"b".to_owned())], 3)],
            ),
            Family::gauge("keyward_open", "Open", vec![(vec![], 2)]),
            Family::left("keyward_left_seconds", "Left", Duration::from_millis(1_500)),
            Family::histogram("keyward_duration_seconds", "Took", vec![(vec![], sum)]),
        ]);
        assert!(text.contains("keyward_requests_total{route=\"a\\\"b\"} 3\n"), "{text}");
        assert!(text.contains("keyward_open 2\n"), "{text}");
        assert!(text.contains("keyward_left_seconds 1.5\n"), "{text}");
        assert!(text.contains("keyward_duration_seconds_bucket{le=\"0.0001\"} 1\n"), "{text}");
        assert!(text.contains("keyward_duration_seconds_count 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
