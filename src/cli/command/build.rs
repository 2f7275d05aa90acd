//! `build`: a directory goes to the node's engine, its output comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::env;
use crate::{
    api::wire::BuildLine,
    cli::{
        args::Build,
        client::{Api, Query},
        context::Context,
        failure::CliError,
        form::Built,
        screen::Screen,
        text::clean,
    },
};

/// Runs `build`.
///
/// # Errors
/// When the context cannot be read, the engine fails, or the API refuses.
pub async fn build(api: &Api, screen: &Screen, args: &Build) -> Result<(), CliError> {
    let context = Context::open(&args.context, args.dockerfile.as_deref())?;
    let flag = |on: bool| on.then(|| "true".to_owned());
    let mut query: Query = [
        ("tag", Some(args.tag.clone())),
        ("dockerfile", Some(context.dockerfile.clone())),
        ("target", args.target.clone()),
        ("platform", args.platform.clone()),
        ("noCache", flag(args.no_cache)),
        ("pull", flag(args.pull)),
    ]
    .into();
    for argument in &args.build_arg {
        // As with Docker: a name alone takes its value from the environment, and nothing when there is none.
        match argument.split_once('=') {
            Some(_) => query.push("arg", argument.as_str()),
            None => {
                if let Some(value) = env(argument) {
                    query.push("arg", format!("{argument}={value}"));
                }
            }
        }
    }
    let read = Arc::new(AtomicU64::new(0));
    let bar = (screen.animates() && !args.quiet).then(|| spinner(read.clone()));
    let sent = api.build::<BuildLine>(query.onto("/api/v1/builds"), context.stream(read)).await;
    if let Some((bar, task)) = bar {
        task.abort();
        bar.finish_and_clear();
    }
    let mut lines = sent?;
    while let Some(line) = lines.next().await? {
        if let Some(problem) = line.error {
            if problem.slug() == "build-failed" {
                let message = format!("the build of {} failed: {}", args.tag, problem.detail);
                return Err(CliError::No { message, hint: problem.hint });
            }
            return Err(CliError::Refused(Box::new(problem)));
        }
        if let Some(output) = line.output.filter(|_| !args.quiet) {
            for line in output.lines().filter(|line| !line.trim().is_empty()) {
                screen.aside(&clean(line));
            }
        }
        if let Some(image) = line.image {
            let text = if args.quiet { image.clone() } else { format!("built {} ({image})", args.tag) };
            screen.line(&clean(&text))?;
            return screen.answer(&Built { image: args.tag.clone(), id: image });
        }
    }
    Err(CliError::No {
        message: format!("the build of {} ended without an image and without an error", args.tag),
        hint: Some("look at the agent's log, and build again".into()),
    })
}

/// Shows how much of the context was read, until the answer begins.
fn spinner(read: Arc<AtomicU64>) -> (ProgressBar, tokio::task::JoinHandle<()>) {
    let style = ProgressStyle::with_template("{spinner} sending the context  {binary_bytes}  {binary_bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    let shown = bar.clone();
    let task = tokio::spawn(async move {
        loop {
            shown.set_position(read.load(Ordering::Relaxed));
            shown.tick();
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    });
    (bar, task)
}
