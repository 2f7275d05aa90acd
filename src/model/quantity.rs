//! Amounts as people write them: sizes, CPU, durations. Parsed at the door, printed canonically.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is wrong with an amount, with an example of a right one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}; write it like {example}")]
pub struct QuantityError {
    /// What stood there.
    pub text: String,
    /// What was expected.
    pub what: &'static str,
    /// A right one.
    pub example: &'static str,
}

/// A size in bytes: `512Mi`, `1Gi`; compose's `512m` is accepted and printed as `512Mi`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || QuantityError { text: text.into(), what: "a size", example: "512Mi or 1Gi" };
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor: u64 = match unit.trim() {
            "" | "b" | "B" => 1,
            "k" | "K" | "kb" | "KB" | "Ki" | "KiB" => 1 << 10,
            "m" | "M" | "mb" | "MB" | "Mi" | "MiB" => 1 << 20,
            "g" | "G" | "gb" | "GB" | "Gi" | "GiB" => 1 << 30,
            "t" | "T" | "tb" | "TB" | "Ti" | "TiB" => 1 << 40,
            _ => return Err(bad()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(bad);
        }
        let value: f64 = number.parse().map_err(|_| bad())?;
        let bytes = value * factor as f64;
        if !bytes.is_finite() || bytes < 0.0 || bytes >= u64::MAX as f64 || number.is_empty() {
            return Err(bad());
        }
        Ok(Self(bytes as u64))
    }
}
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Fewer cores than this in either form: no machine has so many, and both forms can say what the other can.
const MOST_CORES: u64 = 1_000_000_000;

/// CPU in thousandths of a core: `"0.5"` or `500m`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millicores(pub u64);

impl FromStr for Millicores {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || QuantityError { text: text.into(), what: "an amount of CPU", example: "\"0.5\" or 500m" };
        if let Some(milli) = text.strip_suffix('m') {
            let plain = milli.bytes().all(|b| b.is_ascii_digit());
            let amount = milli.parse().ok().filter(|milli| plain && *milli < MOST_CORES * 1000);
            return amount.map(Self).ok_or_else(bad);
        }
        let cores: f64 = text.parse().map_err(|_| bad())?;
        if !(0.0..MOST_CORES as f64).contains(&cores) {
            return Err(bad());
        }
        Ok(Self((cores * 1000.0).round() as u64))
    }
}
impl fmt::Display for Millicores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

/// A length of time: `10s`, `1m30s`, `250ms`, `1h`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(pub Duration);

impl Period {
    /// Whole seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}
impl FromStr for Period {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || QuantityError { text: text.into(), what: "a duration", example: "10s or 1m30s" };
        if text == "0" {
            return Ok(Self::default());
        }
        let (mut rest, mut total) = (text, 0f64);
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let (number, tail) = rest.split_at(split);
            let value: f64 = number.parse().map_err(|_| bad())?;
            let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            total += value
                * match unit {
                    "us" | "µs" => 1e-6,
                    "ms" => 1e-3,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    "d" => 86_400.0,
                    _ => return Err(bad()),
                };
            rest = tail;
        }
        // A hundred years is more than any wait; it also keeps the sum within Duration.
        if !(0.0..3.2e9).contains(&total) {
            return Err(bad());
        }
        Ok(Self(Duration::from_micros((total * 1e6).round() as u64)))
    }
}
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        if micros == 0 {
            return f.write_str("0s");
        }
        if !micros.is_multiple_of(1000) {
            return write!(f, "{micros}us");
        }
        let (mut seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        for (length, unit) in [(3600, "h"), (60, "m")] {
            if seconds >= length {
                write!(f, "{}{unit}", seconds / length)?;
                seconds %= length;
            }
        }
        if seconds > 0 {
            write!(f, "{seconds}s")?;
        }
        if millis > 0 {
            write!(f, "{millis}ms")?;
        }
        Ok(())
    }
}

macro_rules! text_form {
    ($type:ident, $pattern:literal, $example:literal, $number:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Raw {
                    Text(String),
                    Number(serde_json::Number),
                }
                let text = match Raw::deserialize(d).map_err(|_| de::Error::custom(concat!("expected a text like ", $example)))? {
                    Raw::Text(t) => t,
                    Raw::Number(n) if $number => n.to_string(),
                    Raw::Number(n) => return Err(de::Error::custom(format!(concat!("{} has no unit; write it like ", $example), n))),
                };
                text.parse().map_err(de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": ["string", "number"], "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}
text_form!(Bytes, r"^[0-9]+(\.[0-9]+)?([kKmMgGtT](i|b|B|iB)?|[bB])?$", "512Mi", true);
text_form!(Millicores, r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$", "500m", true);
text_form!(Period, r"^(0|([0-9.]+(us|µs|ms|s|m|h|d))+)$", "1m30s", false);

/// `4.2 s`, of milliseconds.
#[must_use]
pub fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1_000, millis % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_seconds() {
        assert_eq!((seconds(0), seconds(49), seconds(4_290)), ("0.0 s".into(), "0.0 s".into(), "4.2 s".to_owned()));
    }

    #[test]
    fn sizes_print_canonically() {
        for (text, bytes, canonical) in [
            ("512m", 512 << 20, "512Mi"),
            ("1Gi", 1 << 30, "1Gi"),
            ("1.5g", 3 << 29, "1536Mi"),
            ("100", 100, "100"),
            ("64kb", 64 << 10, "64Ki"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, canonical), "{text}");
        }
        for bad in ["", "m", "1x", "-1", "1e400g", "99999999999999999999"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_print_canonically() {
        for (text, canonical) in [
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("250ms", "250ms"),
            ("1h", "1h"),
            ("0", "0s"),
            ("0s", "0s"),
            ("1.5s", "1s500ms"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), canonical, "{text}");
        }
        for bad in ["", "10", "s", "1x", "-1s", "1s2", "9999999999999d"] {
            assert!(bad.parse::<Period>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn cpu_is_cores_or_thousandths() {
        for (text, milli) in [("0.5", 500), ("500m", 500), ("2", 2000)] {
            assert_eq!(text.parse::<Millicores>().unwrap().0, milli, "{text}");
        }
        for bad in ["", "m", "-1", "1c", "NaN", "inf", "+5m", "1000000000", "1000000000000m"] {
            assert!(bad.parse::<Millicores>().is_err(), "{bad:?}");
        }
    }
}
