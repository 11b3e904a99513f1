//! Reads what `/metrics` says.

use std::collections::BTreeMap;

/// Every sample by its name with its labels.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Of what a scrape answers.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "a scrape says that it is whole: {text}");
        let samples = text.lines().filter(|it| !it.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// One sample that measures something; 0 where there is none.
    pub fn value(&self, sample: &str) -> f64 {
        self.0.get(sample).copied().unwrap_or_default()
    }

    /// One sample, `name{label="value"}`, that counts something; 0 where there is none.
    pub fn count(&self, sample: &str) -> u64 {
        whole(self.value(sample))
    }

    /// All samples of a name with a label like `code="200"` together.
    pub fn with(&self, name: &str, label: &str) -> u64 {
        let samples = self.0.iter().filter(|(it, _)| {
            let (bare, labels) = it.split_once('{').unwrap_or((it, ""));
            bare == name && labels.contains(label)
        });
        whole(samples.map(|(_, value)| value).sum())
    }
}

fn whole(value: f64) -> u64 {
    format!("{value}").parse().unwrap()
}
