//! Networks that an apply would make because a Service is the first to name them: perhaps by mistake.
//!
//! Not here: making them (`reconcile::agent::prepare`). What engines have is not asked: the names that
//! services carry say what people mean.

use std::collections::BTreeSet;

use crate::model::{ServiceSpec, service::NetworkMode};

/// The network of everything that names none.
const DEFAULT: &str = "default";
/// How alike two names are when one may be the other, mistyped.
const ALIKE: f64 = 0.84;

/// What to say of the networks of a Service. `known`: names that others use, or this one did before.
#[must_use]
pub fn made(spec: &ServiceSpec, known: &BTreeSet<&str>) -> Vec<String> {
    if spec.container.network_mode != NetworkMode::Bridge {
        return Vec::new();
    }
    let names = spec.container.networks.iter().map(|n| n.name.as_str());
    names
        .filter(|name| *name != DEFAULT && !known.contains(name))
        .map(|name| {
            let near = known
                .iter()
                .chain([&DEFAULT])
                .map(|other| (strsim::jaro_winkler(name, other), other))
                .filter(|(alike, _)| *alike >= ALIKE)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map_or_else(String::new, |(_, other)| format!("; did you mean `{other}`?"));
            format!("network `{name}` is named by no other service and will be created{near}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_network_that_nobody_else_names_is_told_with_the_name_that_was_meant() {
        let known = BTreeSet::from(["frontend", "db"]);
        let alone = |name: &str| format!("network `{name}` is named by no other service and will be created");
        for (networks, told) in [
            (json!([{"name": "frontend"}, {"name": "default"}]), vec![]),
            (json!([{"name": "fronted"}]), vec![alone("fronted") + "; did you mean `frontend`?"]),
            (json!([{"name": "db"}, {"name": "metrics"}]), vec![alone("metrics")]),
            (json!([{"name": "defualt"}]), vec![alone("defualt") + "; did you mean `default`?"]),
        ] {
            let spec = serde_json::from_value(json!({"image": "a", "networks": networks})).unwrap();
            assert_eq!(made(&spec, &known), told, "{networks}");
        }
        let host = json!({"image": "a", "networkMode": "host", "networks": [{"name": "x"}]});
        assert!(made(&serde_json::from_value(host).unwrap(), &known).is_empty());
    }
}
