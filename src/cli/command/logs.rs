//! `logs`: what the containers of a service write.

use crate::{
    api::wire::LogLine,
    cli::{
        args::Logs,
        client::{Api, Query},
        failure::CliError,
        replicas::Replicas,
        screen::Screen,
        text::clean,
    },
    model::{Kind, Uid, event::Subject},
};

/// Runs `logs`.
///
/// # Errors
/// As the API.
pub async fn logs(api: &Api, screen: &Screen, args: &Logs) -> Result<(), CliError> {
    let flag = |on: bool| on.then(|| "true".to_owned());
    let query: Query = [
        ("follow", flag(args.follow)),
        ("tail", args.tail.map(|n| n.to_string())),
        ("since", args.since.map(|since| since.to_string())),
        ("replica", args.replica.clone()),
        ("allReplicas", flag(args.all_replicas)),
        ("timestamps", flag(args.timestamps)),
    ]
    .into();
    let known = Replicas::from_list(&api.list(Kind::Replica).await?.items);
    let mut stream = api.stream::<LogLine>(query.onto(&format!("/api/v1/services/{}/logs", args.service))).await?;
    while let Some(line) = stream.next().await? {
        let subject = Subject { kind: Kind::Replica, name: line.replica.as_str().into(), uid: Uid("".into()) };
        let replica = known.display(&subject);
        let replica = replica.strip_prefix("replica/").unwrap_or(&replica);
        let time = line.time.as_deref().map(|time| format!("{} ", clean(time))).unwrap_or_default();
        let text = format!("{time}{} | {}", clean(replica), clean(&line.line));
        match line.stream.as_str() {
            "error" => screen.aside(&text),
            _ => screen.line(&text)?,
        }
    }
    Ok(())
}
