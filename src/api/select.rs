//! Label selectors: `app=web,tier!=db,gpu,!old`.

use std::collections::BTreeMap;

use super::problem::Failure;

/// Which objects are meant, by their labels. Every term must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    /// Reads one.
    ///
    /// # Errors
    /// 400 with the term that cannot be read.
    pub fn read(text: &str) -> Result<Self, Failure> {
        text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(term).collect::<Result<_, _>>().map(Self)
    }
    /// Whether labels fit.
    #[must_use]
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            // As in Kubernetes: without the label it is not that value either.
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }
    /// Whether everything fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn term(text: &str) -> Result<Term, Failure> {
    let parsed = if let Some((key, value)) = text.split_once("!=") {
        Term::IsNot(key.trim().into(), value.trim().into())
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        Term::Is(key.trim().into(), value.trim().into())
    } else if let Some(key) = text.strip_prefix('!') {
        Term::HasNot(key.trim().into())
    } else {
        Term::Has(text.into())
    };
    let key = match &parsed {
        Term::Is(key, _) | Term::IsNot(key, _) | Term::Has(key) | Term::HasNot(key) => key,
    };
    if key.is_empty() || key.contains([' ', '(', ')', '!', '=']) {
        let failure = Failure::bad_request(format!("{text:?} is not a term of a label selector"));
        return Err(failure.hint("terms are key=value, key!=value, key and !key, with commas between them"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_must_hold() {
        let labels = BTreeMap::from([("app".into(), "web".into()), ("gpu".into(), String::new())]);
        let table = [
            ("", Some(true)),
            ("app=web", Some(true)),
            ("app==web", Some(true)),
            ("app=db", Some(false)),
            ("app!=db", Some(true)),
            ("tier!=db", Some(true)),
            ("gpu", Some(true)),
            ("!gpu", Some(false)),
            ("!old, app=web", Some(true)),
            ("app=web,gpu=yes", Some(false)),
            ("gpu=", Some(true)),
            ("=web", None),
            ("app in (web)", None),
        ];
        for (text, want) in table {
            assert_eq!(Selector::read(text).ok().map(|s| s.fits(&labels)), want, "{text:?}");
        }
    }
}
