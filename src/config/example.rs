//! The documented example of a configuration file, and the JSON Schema of one.
//!
//! Both are made from the settings themselves, so that they cannot say anything else.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    USUAL_FILE,
    settings::{SETTINGS, Setting},
};

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
    for setting in SETTINGS {
        let effect = if setting.is_live() { "reload" } else { "restart" };
        // Writing to a String does not fail.
        let _ = write!(
            out,
            "\n# {}\n# {}, {}; takes effect at a {effect}\n#{}: {}\n",
            setting.about(),
            setting.flag(),
            setting.variable(),
            setting.key(),
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
            | Setting::LogFilter => json!({"type": "string"}),
        };
        let default = match setting.default() {
            "" => None,
            text => Some(text.parse::<u16>().map_or_else(|_| Value::from(text), Value::from)),
        };
        if let (Value::Object(property), Value::Object(kind)) = (&mut property, kind) {
            property.extend(kind);
            property.extend(default.map(|default| ("default".to_owned(), default)));
        }
        (setting.key().to_owned(), property)
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of a Constellation agent",
        "type": "object",
        "additionalProperties": false,
        "properties": SETTINGS.into_iter().map(property).collect::<Map<_, _>>(),
    })
}
