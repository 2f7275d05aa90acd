//! `version`: of this program and of the agent.

use crate::cli::{
    args::{Form, Version},
    client::Api,
    failure::CliError,
    form::{Program, Server, Versions},
    screen::Screen,
    text::clean,
};

/// Runs `version`. `api` makes the connection only when it is needed.
///
/// # Errors
/// As the API: the client's version is printed all the same.
pub async fn version(
    api: impl FnOnce() -> Result<Api, CliError>,
    screen: &Screen,
    args: &Version,
) -> Result<(), CliError> {
    let client = Program::this();
    let text = args.output == Form::Text;
    if text {
        let commit = client.commit.as_deref().map(|commit| format!("  commit {commit}")).unwrap_or_default();
        // Before the agent is asked: it may take its time.
        screen.line(&format!("client  {}{commit}", client.version))?;
    }
    let server = if args.client { Ok(None) } else { server(api).await.map(Some) };
    let (server, result) = match server {
        Ok(server) => (server, Ok(())),
        Err(error) => (None, Err(error)),
    };
    if text && let Some(Server { version, endpoint, node }) = &server {
        screen.line(&format!("server  {}  at {endpoint}, node {}", clean(version), clean(node)))?;
    }
    screen.answer(&Versions { client, server })?;
    result
}

async fn server(api: impl FnOnce() -> Result<Api, CliError>) -> Result<Server, CliError> {
    let api = api()?;
    let status = api.status().await?;
    Ok(Server { version: status.version, endpoint: api.endpoint(), node: status.node })
}
