//! The endless line of addresses of a fixed set: address → (epoch, item).
//!
//! ```text
//! epoch = address / n        item = order_epoch[address mod n]
//! ```
//!
//! The training order is a permutation redrawn each epoch from the data set's own noise, so every epoch
//! shows every item once and a run can resume at any address. Validation and test keep the stored order.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use genzoo_core::{Error, Noise, Result, Split};

/// The order in which the items of a fixed set are served.
#[derive(Debug)]
pub struct Epochs {
    noise: Noise,
    train: u64,
    validation: u64,
    test: u64,
    /// The last orders used, newest first: a batch may straddle two epochs.
    recent: Mutex<Vec<(u64, Arc<Vec<u32>>)>>,
}

impl Epochs {
    /// Orders for splits of these sizes. `noise` is the data set's stream; only forks of it are used.
    pub fn new(noise: &Noise, train: u64, validation: u64, test: u64) -> Self {
        Self { noise: noise.fork("epochs"), train, validation, test, recent: Mutex::new(Vec::new()) }
    }

    /// The number of items of a split.
    pub fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }

    /// Whether the training split has no items.
    pub fn is_empty(&self) -> bool {
        self.train == 0
    }

    /// The item at each address.
    ///
    /// # Errors
    /// If the split is empty or the range runs backwards.
    pub fn items(&self, split: Split, rows: Range<u64>) -> Result<Vec<u64>> {
        let n = self.len(split);
        if n == 0 {
            return Err(Error::data("rows", format!("a {split:?} split with rows"), "an empty one"));
        }
        if rows.start > rows.end {
            return Err(Error::data(
                "rows",
                "a range that runs forwards",
                format!("{}..{}", rows.start, rows.end),
            ));
        }
        if split != Split::Train {
            return Ok(rows.map(|address| address % n).collect());
        }
        let mut out = Vec::with_capacity((rows.end - rows.start) as usize);
        let mut address = rows.start;
        while address < rows.end {
            let epoch = address / n;
            let order = self.order(epoch);
            let end = rows.end.min((epoch + 1).saturating_mul(n));
            out.extend((address..end).map(|a| u64::from(order[(a % n) as usize])));
            address = end;
        }
        Ok(out)
    }

    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, order)) = recent.iter().find(|(e, _)| *e == epoch) {
            return Arc::clone(order);
        }
        let order = self.noise.at(epoch).permutation(self.train as usize);
        let order = Arc::new(order.into_iter().map(|i| i as u32).collect::<Vec<_>>());
        recent.insert(0, (epoch, Arc::clone(&order)));
        recent.truncate(3);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> Epochs {
        Epochs::new(&Noise::new(5), 101, 7, 10)
    }

    #[test]
    fn every_epoch_serves_every_item_once_in_its_own_order() {
        let e = epochs();
        let first = e.items(Split::Train, 0..101).unwrap();
        let second = e.items(Split::Train, 101..202).unwrap();
        assert_ne!(first, second);
        for mut items in [first, second] {
            items.sort_unstable();
            assert_eq!(items, (0..101).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_item_depends_on_its_address_alone() {
        let whole = epochs().items(Split::Train, 0..500).unwrap();
        let e = epochs();
        let mut pieces = Vec::new();
        for start in (0..500).step_by(37) {
            pieces.extend(e.items(Split::Train, start..(start + 37).min(500)).unwrap());
        }
        assert_eq!(whole, pieces);
        assert_eq!(e.items(Split::Train, 3..4).unwrap(), whole[3..4]);
    }

    #[test]
    fn validation_and_test_keep_their_order() {
        let e = epochs();
        assert_eq!(e.items(Split::Test, 8..13).unwrap(), [8, 9, 0, 1, 2]);
        assert_eq!(e.items(Split::Validation, 0..7).unwrap(), (0..7).collect::<Vec<_>>());
        assert!(Epochs::new(&Noise::new(0), 0, 0, 0).items(Split::Train, 0..1).is_err());
    }
}
