//! The schema for editors: current on disk, and of one mind with the parser.

use std::{fs, path::Path};

use serde_json::Value as Json;

use super::*;

const FILE: &str = "manifests/schema/constellation.schema.json";

#[test]
fn the_file_is_current() {
    let wanted = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    let found = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)).unwrap_or_default();
    assert!(found == wanted, "{FILE} is not current; renew it: cargo run -- schema >{FILE}");
}

/// Whether a value fits, by the words that our schema uses; another word is a failure of the test.
/// Patterns are the parser's matter.
pub(super) fn fits(value: &Json, schema: &Json, root: &Json) -> Result<(), String> {
    let Some(words) = schema.as_object() else {
        return if schema == &Json::Bool(false) { Err("nothing may stand here".into()) } else { Ok(()) };
    };
    let fail = |why: &str| Err(format!("{why}: {value}"));
    let each = |list: &Json| list.as_array().unwrap().iter().map(|s| fits(value, s, root)).collect::<Vec<_>>();
    for (word, rule) in words {
        match word.as_str() {
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/definitions/").unwrap();
                fits(value, root["definitions"].get(name).unwrap(), root)?;
            }
            "allOf" => each(rule).into_iter().collect::<Result<(), _>>()?,
            "anyOf" | "oneOf" => {
                let found = each(rule);
                let good = found.iter().filter(|r| r.is_ok()).count();
                if good == 0 || (word == "oneOf" && good > 1) {
                    return Err(format!("{good} of {word}: {found:?}"));
                }
            }
            "const" if rule != value => return fail("another constant"),
            "enum" if !rule.as_array().unwrap().contains(value) => return fail("not one of the words"),
            "type" => {
                let is = |t: &Json| match t.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => panic!("type {other}"),
                };
                if !rule.as_array().map_or_else(|| is(rule), |types| types.iter().any(is)) {
                    return fail(&format!("not {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        return fail(&format!("without {name}"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in rule.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        fits(field, inner, root).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
            }
            "additionalProperties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    if words.get("properties").and_then(|p| p.get(name)).is_none() {
                        fits(field, rule, root).map_err(|why| format!("{name}: {why}"))?;
                    }
                }
            }
            "items" => value.as_array().into_iter().flatten().try_for_each(|item| fits(item, rule, root))?,
            "minimum" if value.as_f64().is_some_and(|v| v < rule.as_f64().unwrap()) => return fail("too small"),
            "maximum" if value.as_f64().is_some_and(|v| v > rule.as_f64().unwrap()) => return fail("too large"),
            "maxLength" if value.as_str().is_some_and(|v| v.len() as u64 > rule.as_u64().unwrap()) => {
                return fail("too long");
            }
            "const" | "enum" | "minimum" | "maximum" | "maxLength" => {}
            "$schema" | "$id" | "title" | "description" | "default" | "definitions" | "examples" | "format"
            | "pattern" | "deprecationMessage" => {}
            other => panic!("the schema uses {other}, and this test does not know it"),
        }
    }
    Ok(())
}

fn of_yaml(text: &str) -> Json {
    // As our reader sees it: YAML 1.2, where `no` is a word and 0440 a number.
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn the_schema_takes_every_field_that_works_and_no_other() {
    let schema = schema();
    for (works, _, text, _) in fields::documents() {
        let verdict = fits(&of_yaml(&text), &schema, &schema);
        assert_eq!(verdict.is_ok(), works, "{text}\n{verdict:?}");
    }
}

#[test]
fn the_schema_takes_short_forms() {
    let schema = schema();
    for fields in [
        "command: a b\nentrypoint: a\nuser: 1000\ngroup_add: [44]\ntmpfs: /tmp\ndns: 192.0.2.1",
        "environment: [A=b]\nlabels: [a=b]\nsysctls: [net.a=1]\nextra_hosts: [\"a:192.0.2.1\"]",
        "environment: {A: 1, B: true}",
        "ports: [80, \"8080:80\", {target: 80, published: \"81\", mode: host}]\nexpose: [\"80\", 81]",
        "volumes: [\"aa:/aa\"]\nconfigs: [a]\nsecrets: [{source: a, uid: \"7\", mode: 0440}]\nnetworks: [a]",
        "networks: {a: {aliases: [b]}}\ndepends_on: {db: {condition: service_healthy, restart: false}}",
        "depends_on: [db]\nulimits: {nofile: 5}\ndevices: [{source: /dev/a}]\ncpus: 0.5\nmem_limit: 512m\npids_limit: 5",
        "healthcheck: {test: a, start_period: 5s}\nreadiness: {exec: a}\nrestart: on-failure:3\nstop_grace_period: 1m",
        "volumes: [{type: volume, source: aa, target: /a, dataPolicy: auto, read_only: true}]",
        "readiness: {http: {port: 80, status: 200, headers: [A=b], scheme: http}}\nlogging: {driver: local, options: [a=b]}",
    ] {
        let text = service(fields);
        assert!(errors(&text).is_empty(), "{text}\n{:#?}", errors(&text));
        let verdict = fits(&of_yaml(&text), &schema, &schema);
        assert!(verdict.is_ok(), "{text}\n{verdict:?}");
    }
}
