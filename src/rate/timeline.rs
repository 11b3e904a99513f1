//! Holds how often a key was asked for in one hour: by the second where few were active, else by the minute.

/// One hour of a key at one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// The minutes that are over, written.
    past: Vec<u8>,
    minute: u8,
    cell: Live,
}

/// What is known of one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The seconds that were active, each with its count.
    Exact(Vec<(u8, u32)>),
    /// No more than this.
    Summary(Summary),
}

/// A minute in which many seconds were active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many requests there were.
    pub total: u64,
    /// How many in the busiest second.
    pub busiest: u32,
    /// How many seconds had any.
    pub active: u8,
}

/// The minute that is being counted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Live {
    Exact {
        seconds: [u8; EXACT_MAX],
        counts: [u32; EXACT_MAX],
        length: u8,
    },
    /// With the last second that was active, and its count so far.
    Summary(Summary, u8, u32),
}

impl Default for Live {
    fn default() -> Self {
        Self::Exact { seconds: [0; EXACT_MAX], counts: [0; EXACT_MAX], length: 0 }
    }
}

impl Hour {
    /// Counts what happened in a second of it. What comes for a minute that is over already is
    /// counted in the one that is not.
    pub fn note(&mut self, second: u16, count: u32) {
        if count == 0 {
            return;
        }
        let second = second.min(SECONDS_MAX);
        let minute = u8::try_from(second / 60).unwrap_or_default();
        let second = u8::try_from(second % 60).unwrap_or_default();
        if minute > self.minute {
            let over = std::mem::take(&mut self.cell);
            over.write(self.minute, &mut self.past);
            self.minute = minute;
        }
        let second = if minute < self.minute { self.cell.last() } else { second };
        self.cell.note(second, count);
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        let cells = read(&self.written()).unwrap_or_default();
        cells.iter().map(|it| it.1.total()).sum()
    }

    /// As it is kept.
    pub fn written(&self) -> Vec<u8> {
        let mut bytes = self.past.clone();
        self.cell.write(self.minute, &mut bytes);
        bytes
    }
}

impl Cell {
    /// How many there were in all.
    pub fn total(&self) -> u64 {
        match self {
            Self::Exact(pairs) => pairs.iter().map(|it| u64::from(it.1)).sum(),
            Self::Summary(sum) => sum.total,
        }
    }
}

impl Live {
    fn note(&mut self, second: u8, count: u32) {
        match self {
            Self::Exact { seconds, counts, length } => {
                let held = usize::from(*length);
                let mut pairs = seconds.iter_mut().zip(counts.iter_mut());
                if let Some((_, known)) = pairs.by_ref().take(held).find(|it| *it.0 == second) {
                    *known = known.saturating_add(count);
                    return;
                }
                let mut pairs = seconds.iter_mut().zip(counts.iter_mut());
                if let Some((place, number)) = pairs.nth(held) {
                    (*place, *number) = (second, count);
                    *length += 1;
                    return;
                }
                *self = self.summed_up();
                self.note(second, count);
            }
            Self::Summary(sum, last, of_last) => {
                if second == *last {
                    *of_last = of_last.saturating_add(count);
                } else {
                    (*last, *of_last) = (second, count);
                    sum.active = sum.active.saturating_add(1).min(60);
                }
                sum.total = sum.total.saturating_add(count.into());
                sum.busiest = sum.busiest.max(*of_last);
            }
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (u8, u32)> {
        let (seconds, counts, length) = match self {
            Self::Exact { seconds, counts, length } => (*seconds, *counts, *length),
            Self::Summary(_, last, of_last) => ([*last; EXACT_MAX], [*of_last; EXACT_MAX], 1),
        };
        seconds.into_iter().zip(counts).take(length.into())
    }

    /// The last second that anything was counted in.
    fn last(&self) -> u8 {
        self.pairs().last().map_or(0, |it| it.0)
    }

    fn summed_up(&self) -> Self {
        let mut sum = Summary::default();
        for (_, count) in self.pairs() {
            sum.total += u64::from(count);
            sum.busiest = sum.busiest.max(count);
            sum.active += 1;
        }
        let (last, of_last) = self.pairs().last().unwrap_or_default();
        Self::Summary(sum, last, of_last)
    }

    /// First which minute and of which kind; then pairs behind their number, or a sum.
    fn write(&self, minute: u8, to: &mut Vec<u8>) {
        match self {
            Self::Exact { length: 0, .. } => {}
            Self::Exact { length, .. } => {
                to.extend([minute, *length]);
                for (second, count) in self.pairs() {
                    to.push(second);
                    put(count.into(), to);
                }
            }
            Self::Summary(sum, ..) => {
                to.extend([minute | SUMMARY, sum.active]);
                put(sum.busiest.into(), to);
                put(sum.total, to);
            }
        }
    }
}

/// The bytes are no hour of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is kept of an hour is not what this version of keyward writes")]
pub struct Malformed;

/// The minutes of an hour that was written, each with its number.
pub fn read(mut bytes: &[u8]) -> Result<Vec<(u8, Cell)>, Malformed> {
    let mut cells: Vec<(u8, Cell)> = Vec::new();
    while let Some(head) = bytes.split_off_first() {
        let minute = head & !SUMMARY;
        let follows = cells.last().is_none_or(|it| it.0 < minute);
        if minute >= 60 || !follows {
            return Err(Malformed);
        }
        let cell = if head & SUMMARY == 0 { pairs(&mut bytes) } else { summary(&mut bytes) };
        cells.push((minute, cell?));
    }
    Ok(cells)
}

fn pairs(bytes: &mut &[u8]) -> Result<Cell, Malformed> {
    let length = usize::from(byte(bytes)?);
    if length > EXACT_MAX {
        return Err(Malformed);
    }
    let mut pairs = Vec::with_capacity(length);
    for _ in 0..length {
        let second = byte(bytes)?;
        pairs.push((second, get(bytes)?.try_into().map_err(|_large| Malformed)?));
        if second >= 60 {
            return Err(Malformed);
        }
    }
    Ok(Cell::Exact(pairs))
}

fn summary(bytes: &mut &[u8]) -> Result<Cell, Malformed> {
    let active = byte(bytes)?;
    let busiest = get(bytes)?.try_into().map_err(|_large| Malformed)?;
    let sum = Summary { total: get(bytes)?, busiest, active };
    let is_sum = (1..=60).contains(&active) && sum.total >= busiest.into();
    if is_sum { Ok(Cell::Summary(sum)) } else { Err(Malformed) }
}

fn byte(bytes: &mut &[u8]) -> Result<u8, Malformed> {
    bytes.split_off_first().copied().ok_or(Malformed)
}

/// Seven bits each, the lowest first; the highest bit says that more follow.
fn put(mut number: u64, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    to.push(u8::try_from(number).unwrap_or_default());
}

fn get(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = byte(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// So many active seconds of a minute are kept one by one.
const EXACT_MAX: usize = 8;
const SECONDS_MAX: u16 = 3_599;
const SUMMARY: u8 = 0x40;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What is noted, in the order of time.
    fn notes() -> impl Strategy<Value = Vec<(u16, u32)>> {
        let second = prop_oneof![0..3_600_u16, 0..200_u16, (0..60_u16).prop_map(|it| it * 60)];
        let notes =
            prop::collection::vec((second, prop_oneof![1..9_u32, 1..2_000_000_u32]), 0..400);
        notes.prop_map(|mut notes| {
            notes.sort_by_key(|it| it.0);
            notes
        })
    }

    proptest! {
        #[test]
        fn an_hour_says_what_was_noted(notes in notes()) {
            let (mut hour, mut minutes) = (Hour::default(), BTreeMap::new());
            for (second, count) in notes {
                hour.note(second, count);
                let minute: &mut BTreeMap<u8, u32> = minutes.entry(u8::try_from(second / 60).unwrap()).or_default();
                *minute.entry(u8::try_from(second % 60).unwrap()).or_default() += count;
            }
            let expected: Vec<(u8, Cell)> = minutes
                .into_iter()
                .map(|(minute, seconds)| {
                    if seconds.len() <= EXACT_MAX {
                        return (minute, Cell::Exact(seconds.into_iter().collect()));
                    }
                    let total = seconds.values().map(|it| u64::from(*it)).sum();
                    let busiest = *seconds.values().max().unwrap();
                    let active = u8::try_from(seconds.len()).unwrap();
                    (minute, Cell::Summary(Summary { total, busiest, active }))
                })
                .collect();
            prop_assert_eq!(read(&hour.written()), Ok(expected));
        }

        #[test]
        fn nothing_that_is_noted_late_is_lost(
            notes in prop::collection::vec((0..3_700_u16, 1..100_u32), 0..200),
        ) {
            let mut hour = Hour::default();
            let mut sum = 0;
            for (second, count) in notes {
                hour.note(second, count);
                sum += u64::from(count);
            }
            prop_assert_eq!(hour.total(), sum);
        }

        #[test]
        fn whatever_the_bytes_are_reading_ends(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(cells) = read(&bytes) {
                prop_assert!(cells.len() <= 60);
            }
        }
    }

    #[test]
    fn an_hour_is_small() {
        let mut hour = Hour::default();
        (0..3_600).for_each(|it| hour.note(it, 1_000));
        assert_eq!((hour.written().len(), size_of::<Hour>()), (7 * 60, 80));
        let mut hour = Hour::default();
        (0..60).for_each(|minute| (0..8).for_each(|it| hour.note(minute * 60 + it * 7, 1_000)));
        assert_eq!(hour.written().len(), 26 * 60);
    }
}
