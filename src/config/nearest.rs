//! Finds what was meant by a name that nothing has.

/// The nearest of `candidates`, if it is near.
pub fn nearest<T: AsRef<str>>(name: &str, candidates: impl Iterator<Item = T>) -> Option<T> {
    let scored = candidates.map(|it| (strsim::damerau_levenshtein(name, it.as_ref()), it));
    let (distance, nearest) = scored.min_by_key(|(distance, _name)| *distance)?;
    (distance <= 1 + name.len() / 4 && distance < name.len()).then_some(nearest)
}
