//! The documented example of a configuration file, and the JSON Schema of one.
//!
//! Both are made from the settings themselves, so that they cannot say anything else.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    USUAL_FILE,
    settings::{ALL, NONE, SETTINGS, Setting},
};
use crate::model::Power;

/// Every key with what it means and its default, as comments: a file that changes nothing.
#[must_use]
pub fn example() -> String {
    let mut out = format!(
        "# Configuration of a Constellation agent, YAML or JSON: {USUAL_FILE}, or the file that --config or\n\
         # CONSTELLATION_CONFIG names. A flag wins over a variable of the environment, that over this file, that over\n\
         # the default. Each key is shown with its default, or with an example where there is none.\n\
         #\n\
         #   constellation agent config check     says what is wrong, with line and column\n\
         #   constellation agent config show      says what holds, and where it comes from\n\
         #   systemctl reload constellation       takes over what needs no restart, and logs what does\n"
    );
    let mut section = None;
    for setting in SETTINGS {
        let (inside, key) = setting.nested();
        if let Some(name) = inside.filter(|_| inside != section) {
            let _ = write!(out, "\n#{name}:\n");
        }
        section = inside;
        let indent = if inside.is_some() { "  " } else { "" };
        let effect = if setting.is_live() { "reload" } else { "restart" };
        // Writing to a String does not fail.
        let _ = write!(
            out,
            "\n# {}\n# {}, {}; takes effect at a {effect}\n#{indent}{key}: {}\n",
            setting.about(),
            setting.flag(),
            setting.variable(),
            setting.sample()
        );
    }
    out
}

/// What an editor checks a configuration file with.
#[must_use]
pub fn schema() -> Value {
    let property = |setting: Setting| {
        let mut property = json!({"description": setting.about()});
        let kind = match setting {
            Setting::PeerPort | Setting::JoinPort | Setting::GossipPort => {
                json!({"type": "integer", "minimum": 0, "maximum": u16::MAX})
            }
            Setting::Profile => json!({"enum": ["lan", "wan"]}),
            Setting::LogFormat => json!({"enum": ["text", "json"]}),
            Setting::DataDir
            | Setting::NodeName
            | Setting::DockerHost
            | Setting::ApiAddress
            | Setting::ApiSocket
            | Setting::RunDir
            | Setting::AdvertiseAddress
            | Setting::Join
            | Setting::LogFilter
            | Setting::EdgeHttpAddress
            | Setting::EdgeHttpsAddress
            | Setting::EdgeApiAddress => json!({"type": "string"}),
            Setting::GrantsAdmin | Setting::GrantsWrite => {
                let names: Vec<&str> = Power::ALL.into_iter().map(Power::name).collect();
                json!({"oneOf": [{"enum": [ALL, NONE]}, {"type": "array", "items": {"enum": names}}]})
            }
            Setting::GrantsBindRoots => {
                json!({"oneOf": [{"enum": [NONE]}, {"type": "array", "items": {"type": "string", "pattern": "^/."}}]})
            }
        };
        let default = match setting.default() {
            "" => None,
            text => Some(text.parse::<u16>().map_or_else(|_| Value::from(text), Value::from)),
        };
        if let (Value::Object(property), Value::Object(kind)) = (&mut property, kind) {
            property.extend(kind);
            property.extend(default.map(|default| ("default".to_owned(), default)));
        }
        property
    };
    let mapping = |properties: Map<String, Value>| json!({"type": "object", "additionalProperties": false, "properties": properties});
    let mut properties = Map::new();
    for setting in SETTINGS {
        match setting.nested() {
            (None, key) => drop(properties.insert(key.to_owned(), property(setting))),
            (Some(section), key) => {
                let section = properties.entry(section).or_insert_with(|| mapping(Map::new()));
                section["properties"][key] = property(setting);
            }
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of a Constellation agent",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
