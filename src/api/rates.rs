//! How often somebody may do something: token buckets by source or caller, in a table of bounded size.
//!
//! Here: [`Rate`] and [`Buckets`], which know no clock, and [`source`], what counts as one. Not here: what is
//! refused (`dispatch`).
//! A bucket that is full again is as good as none and leaves the table when room is needed. When every bucket
//! in it is in use, whoever is not in it shares one with all the others of that kind: an attacker with many
//! addresses gets no more by that, and takes nothing from those who are in the table.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

/// So often, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In each second.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Sources or callers that are remembered at one time.
pub const REMEMBERED: usize = 4_096;

/// Between two looks for buckets that are full again.
const SWEEP: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: f64::from(rate.burst), at: now }
    }
    fn filled(&self, rate: Rate, now: Instant) -> f64 {
        let rest = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + rest * f64::from(rate.per_second)).min(f64::from(rate.burst))
    }
    /// Takes one, or says when there is one.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        (self.tokens, self.at) = (self.filled(rate, now), now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / f64::from(rate.per_second.max(1))))
    }
}

/// Buckets by key.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    table: Mutex<Table<K>>,
}

#[derive(Debug)]
struct Table<K> {
    by_key: HashMap<K, Bucket>,
    /// Of all that are not in the table.
    others: Option<Bucket>,
    swept: Option<Instant>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// At most `most` buckets of `rate`.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        let table = Table { by_key: HashMap::new(), others: None, swept: None };
        Self { rate, most, table: Mutex::new(table) }
    }

    /// Takes one for `key`.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let rate = self.rate;
        // Nothing in here panics while it is held.
        let mut table = self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bucket) = table.by_key.get_mut(&key) {
            return bucket.take(rate, now);
        }
        let due = table.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP);
        if table.by_key.len() >= self.most && due {
            table.swept = Some(now);
            table.by_key.retain(|_, bucket| bucket.filled(rate, now) < f64::from(rate.burst));
        }
        if table.by_key.len() >= self.most {
            return table.others.get_or_insert_with(|| Bucket::full(rate, now)).take(rate, now);
        }
        table.by_key.entry(key).or_insert_with(|| Bucket::full(rate, now)).take(rate, now)
    }
}

/// What counts as one source: an IPv4 address, or the 64 bits of an IPv6 network, of which everybody has all
/// addresses.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_says_when() {
        let buckets = Buckets::new(RATE, 8);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let table = [
            (0, "a", true),
            (0, "a", true),
            (0, "a", true),
            (0, "a", false),
            (0, "b", true),
            (99, "a", false),
            (101, "a", true),
            (101, "a", false),
            (10_000, "a", true),
            (10_000, "a", true),
            (10_000, "a", true),
            (10_000, "a", false),
        ];
        for (step, (ms, key, passes)) in table.into_iter().enumerate() {
            assert_eq!(buckets.take(key, at(ms)).is_ok(), passes, "step {step}");
        }
        let wait = buckets.take("a", at(10_050)).unwrap_err();
        assert!((40..=60).contains(&wait.as_millis()), "{wait:?}");
    }

    #[test]
    fn the_table_stays_small_and_whoever_is_not_in_it_shares_one() {
        let buckets = Buckets::new(RATE, 100);
        let now = Instant::now();
        let passed = (0..10_000).filter(|n| buckets.take(*n, now).is_ok()).count();
        assert_eq!(passed, 100 + 3, "each in the table, and the burst of all others together");
        assert_eq!(buckets.table.lock().unwrap().by_key.len(), 100);
        // A rest later there is room again.
        let later = now + Duration::from_secs(1);
        assert!((20_000..20_100).all(|n| buckets.take(n, later).is_ok()));
        assert_eq!(buckets.table.lock().unwrap().by_key.len(), 100);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let say = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(say("127.1.2.3"), "127.1.2.3");
        assert_eq!(say("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(say("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
