//! What of the routes of a change is not served: a service may be ready, and nobody reaches it.
//!
//! Here: one line for each object that was applied, asked for when all else is done. Not here: what is said before
//! (`plan::change::served`), the table (`route`).

use crate::{
    api::wire::{ApplyAnswer, RouteTable, Routed},
    cli::{client::Api, screen::Screen, text::clean},
    model::{Condition, ConditionStatus, ConditionType, Kind, ObjectKey, Reason, rule::is_host},
    store::command::Outcome,
};

/// Looks at the table while no Traefik serves it, and the pause after each.
const LOOKS: u32 = 8;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// Says which routes of what was applied are left out. Asked for a word to people: an error is none.
pub async fn tell(api: &Api, screen: &Screen, answer: &ApplyAnswer) -> Vec<String> {
    let mut objects = answer.objects.iter().filter(|o| o.result != Outcome::Deleted);
    if !objects.any(|o| matches!(o.kind, Kind::Service | Kind::Route)) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for _ in 0..LOOKS {
        let Ok(table) = api.route_table().await else { return Vec::new() };
        warnings = left_out(&table, answer);
        if !of(&table, answer).any(|routed| late(routed).is_some()) {
            break;
        }
        // Of the change a Traefik may be that has just become ready.
        tokio::time::sleep(PAUSE).await;
    }
    for warning in &warnings {
        screen.aside(&format!("warning: {}", clean(warning)));
    }
    warnings
}

/// One line for each object of an answer of which something is left out.
fn left_out(table: &RouteTable, answer: &ApplyAnswer) -> Vec<String> {
    of(table, answer).filter_map(line).collect()
}

/// What a table says of the objects of an answer.
fn of<'t>(table: &'t RouteTable, answer: &ApplyAnswer) -> impl Iterator<Item = &'t Routed> {
    let there = answer.objects.iter().filter(|o| o.result != Outcome::Deleted);
    let there: Vec<ObjectKey> = there.map(|o| ObjectKey::new(o.kind, o.name.as_str())).collect();
    table.objects.iter().filter(move |routed| there.contains(&routed.object))
}

fn line(routed: &Routed) -> Option<String> {
    let Some((first, others)) = routed.left_out.split_first() else {
        let (object, condition) = (&routed.object, late(routed).or_else(|| shut(routed)).or_else(|| remarked(routed))?);
        let what = match condition.reason {
            Reason::NoEdge => "no route of it is served: ",
            _ if condition.status == ConditionStatus::False => "nobody comes to its routes: ",
            _ => "",
        };
        let look = asked(routed, &condition.message);
        let look = look.map_or_else(|| format!("constellation why {object}"), show);
        return Some(format!("{object}: {what}{}: {look}", condition.message));
    };
    let what = if first.message.contains(&first.what) { String::new() } else { format!("{} ", first.what) };
    let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
    let host = first.hosts.iter().chain(&routed.hosts).find(|host| is_host(host));
    let look = host.map_or_else(|| "constellation route ls".to_owned(), show);
    let (reason, message) = (first.reason, &first.message);
    Some(format!("{}: {what}is left out ({reason}): {message}{more}: {look}", routed.object))
}

fn show(host: &String) -> String {
    format!("constellation route show {host}")
}

/// The host of it that a message speaks of: somebody else asks for it too.
fn asked<'r>(routed: &'r Routed, message: &str) -> Option<&'r String> {
    let of_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '*');
    let words: Vec<&str> = message.split(|c| !of_host(c)).collect();
    routed.hosts.iter().find(|host| is_host(host) && words.contains(&host.as_str()))
}

/// That no Traefik serves it.
fn late(routed: &Routed) -> Option<&Condition> {
    programmed(routed).filter(|c| c.reason == Reason::NoEdge)
}

/// That no edge has its public port open.
fn shut(routed: &Routed) -> Option<&Condition> {
    let ports = [Reason::PortConflict, Reason::PortForbidden, Reason::PortUnavailable];
    programmed(routed).filter(|c| c.status == ConditionStatus::False && ports.contains(&c.reason))
}

/// What is to be said of what is served: a public port that is shut, another one that asks for the same.
fn remarked(routed: &Routed) -> Option<&Condition> {
    programmed(routed).filter(|c| c.status == ConditionStatus::True && !c.message.is_empty())
}

fn programmed(routed: &Routed) -> Option<&Condition> {
    let kinds = [ConditionType::RoutesProgrammed, ConditionType::Programmed];
    routed.conditions.iter().find(|c| kinds.contains(&c.kind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_object_of_the_change_has_one_line_with_where_to_look() {
        let part = |what: &str, hosts: &[&str]| json!({"what": what, "hosts": hosts, "reason": "HostConflict", "message": format!("{what} is another's")});
        let routed = |object: &str, hosts: &[&str], left_out: serde_json::Value| json!({"object": object, "conditions": [], "hosts": hosts, "leftOut": left_out});
        let condition = |status: &str, reason: &str, message: &str| json!([{"type": "RoutesProgrammed", "status": status, "reason": reason, "message": message, "lastTransitionTime": 1, "observedGeneration": 1}]);
        let judged = |object: &str, conditions: serde_json::Value| json!({"object": object, "conditions": conditions, "hosts": ["g.example"]});
        let table = json!({"index": 9, "entries": [], "objects": [
            judged("svc/alone", condition("False", "NoEdge", "no node has the role edge")),
            judged("svc/stranger", condition("False", "NoEdge", "no node has the role edge")),
            judged("svc/late", condition("False", "EdgeBehind", "Traefik on n1 does not serve index 9 yet")),
            judged("svc/shared", condition("True", "Programmed", "g.example/ is asked for by svc/late too, which came later")),
            judged("svc/taken", condition("False", "PortConflict", "on n1: port 80 is held by nginx (pid 7)")),
            judged("svc/held", condition("True", "Programmed", "on n1: port 80 is held by nginx (pid 7)")),
            routed("svc/web", &["a.example", "b.example"], json!([part("b.example/ on web", &["b.example"]), part("c", &[])])),
            routed("svc/other", &["a.example"], json!([part("x", &[])])),
            routed("svc/good", &["d.example"], json!([])),
            routed("route/raw", &["Path(`/x`)"], json!([{"what": "all of it", "reason": "InvalidRoute", "message": "no"}])),
            routed("route/gone", &["e.example"], json!([part("y", &[])])),
        ]});
        let made = |kind: &str, name: &str, result: &str| json!({"kind": kind, "name": name, "result": result, "generation": 1, "resourceVersion": 1});
        let answer = json!({"index": 9, "objects": [
            made("Service", "alone", "created"), made("Service", "shared", "unchanged"), made("Service", "late", "created"), made("Service", "held", "created"), made("Service", "taken", "created"),
            made("Service", "web", "unchanged"), made("Service", "good", "created"),
            made("Route", "raw", "configured"), made("Route", "gone", "deleted"),
        ]});
        let table: RouteTable = serde_json::from_value(table).unwrap();
        let answer: ApplyAnswer = serde_json::from_value(answer).unwrap();
        // What others lack is not looked at again.
        let waited: Vec<_> = of(&table, &answer).filter(|r| late(r).is_some()).map(|r| r.object.to_string()).collect();
        assert_eq!(waited, ["svc/alone"]);
        assert_eq!(
            left_out(&table, &answer),
            [
                "svc/alone: no route of it is served: no node has the role edge: constellation why svc/alone",
                "svc/shared: g.example/ is asked for by svc/late too, which came later: constellation route show g.example",
                "svc/taken: nobody comes to its routes: on n1: port 80 is held by nginx (pid 7): constellation why svc/taken",
                "svc/held: on n1: port 80 is held by nginx (pid 7): constellation why svc/held",
                "svc/web: is left out (HostConflict): b.example/ on web is another's (and 1 more): \
                 constellation route show b.example",
                "route/raw: all of it is left out (InvalidRoute): no: constellation route ls",
            ]
        );
    }
}
