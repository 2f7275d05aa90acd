//! `audit`: who changed what.

use crate::{
    api::wire::AuditList,
    cli::{
        args::{Audit, AuditForm},
        client::{Api, Query},
        failure::CliError,
        screen::Screen,
        text::{self, Times, visible},
    },
    model::{
        AuditRecord,
        audit::{AuditObject, AuditResult},
    },
};

/// Objects of a record that a table names.
const NAMED: usize = 3;

/// Runs `audit`.
///
/// # Errors
/// As the API.
pub async fn audit(api: &Api, screen: &Screen, args: &Audit) -> Result<(), CliError> {
    let query: Query = [
        ("who", args.who.clone()),
        ("object", args.object.clone()),
        ("since", args.since.map(|since| since.to_string())),
        ("limit", Some(args.limit.to_string())),
    ]
    .into();
    let list = api.audit(&query).await?;
    if matches!(args.output, AuditForm::Json | AuditForm::Yaml) {
        return screen.answer(&list);
    }
    if list.items.is_empty() {
        screen.aside("no records");
        return Ok(());
    }
    if list.more {
        screen.aside(&format!("the newest {} of more; --limit or --since shows others", list.items.len()));
    }
    screen.print(&table(&list, args.output == AuditForm::Wide, Times::new(args.timestamps)))
}

fn table(list: &AuditList, wide: bool, times: Times) -> String {
    let mut header = vec!["AGE", "WHO", "REQUEST", "OUTCOME", "REASON"];
    if wide {
        header.extend(["FROM", "NUMBER", "INDEX"]);
    }
    let row = |record: &AuditRecord| {
        let mut cells = vec![
            times.at(record.time),
            visible(&record.who).into_owned(),
            visible(&format!("{} {}", record.method, record.path)).into_owned(),
            outcome(record, wide),
            record.reason.as_deref().map_or_else(|| "-".into(), |reason| visible(reason).into_owned()),
        ];
        if wide {
            cells.extend([visible(&record.from).into_owned(), record.number.to_string(), record.index.to_string()]);
        }
        cells
    };
    text::table(0, &header, &list.items.iter().map(row).collect::<Vec<_>>())
}

fn outcome(record: &AuditRecord, wide: bool) -> String {
    if let Some(refusal) = &record.refusal {
        return format!("refused: {}", visible(refusal));
    }
    let named = if wide { record.objects.len() } else { NAMED };
    let mut said: Vec<String> = record.objects.iter().take(named).map(object).collect();
    let more = record.objects.len().saturating_sub(named) + record.more as usize;
    if more > 0 {
        said.push(format!("and {more} more"));
    }
    if said.is_empty() { "nothing".into() } else { said.join(", ") }
}

fn object(object: &AuditObject) -> String {
    let result = object.result.map_or("", |result| match result {
        AuditResult::Created => " created",
        AuditResult::Configured => " configured",
        AuditResult::Unchanged => " unchanged",
        AuditResult::Deleted => " deleted",
        AuditResult::Revoked => " revoked",
        AuditResult::Begun => " begun",
    });
    format!("{}{result}", visible(&object.object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Index;

    #[test]
    fn records_are_lines_whatever_their_texts_hold() {
        let object = |name: &str, result| AuditObject { object: name.into(), result };
        let record = |number, objects, refusal: Option<&str>| AuditRecord {
            number,
            index: Index(40 + number),
            time: 90_000,
            who: "token ci".into(),
            from: "10.0.0.9:4711".into(),
            method: "POST".into(),
            path: "/api/v1/apply".into(),
            reason: Some("new\nlogo\x1b[2J".into()),
            objects,
            more: 0,
            refusal: refusal.map(Into::into),
        };
        let created = Some(AuditResult::Created);
        let four = ["svc/a", "svc/b", "svc/c", "svc/d"].map(|name| object(name, created)).to_vec();
        let list = AuditList {
            items: vec![record(1, four, None), record(2, vec![object("svc/a", None)], Some("svc/a moved"))],
            ..AuditList::default()
        };
        let said = table(&list, false, Times::RelativeTo(100_000));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert_eq!(
            lines[1],
            "10s  token ci  POST /api/v1/apply  svc/a created, svc/b created, svc/c created, and 1 more  new\\u{a}logo\\u{1b}[2J"
        );
        assert!(lines[2].contains("refused: svc/a moved"), "{said}");
        let wide = table(&list, true, Times::RelativeTo(100_000));
        assert!(wide.contains("svc/d created") && wide.contains("10.0.0.9:4711  1       41"), "{wide}");
    }
}
