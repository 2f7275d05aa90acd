//! `token create`, `token ls`, `token revoke`.

use crate::{
    api::wire::{TokenRequest, TokenView},
    cli::{
        args::{CreateToken, Form, RevokeToken, TokenCommand},
        client::{Api, Change},
        failure::CliError,
        screen::Screen,
        text::{self, Times, clean},
    },
    model::TokenRole,
};

/// Runs a `token` command.
///
/// # Errors
/// As the API.
pub async fn token(api: &Api, screen: &Screen, command: &TokenCommand) -> Result<(), CliError> {
    match command {
        TokenCommand::Create(args) => create(api, screen, args).await,
        TokenCommand::Ls { output } => list(api, screen, *output).await,
        TokenCommand::Revoke(args) => revoke(api, screen, args).await,
    }
}

async fn create(api: &Api, screen: &Screen, args: &CreateToken) -> Result<(), CliError> {
    let wanted = TokenRequest { name: args.name.clone(), role: args.role.into(), ttl: args.ttl };
    let change = Change { reason: args.reason.as_deref(), ..Change::default() };
    let made = api.create_token(&wanted, change).await?;
    if args.output != Form::Text {
        return screen.answer(&made);
    }
    let end =
        made.view.expires_at.map_or_else(|| "until it is revoked".into(), |at| format!("until {}", text::absolute(at)));
    screen.aside(&format!("token {} of the role {} is valid {end}", clean(&made.view.name), role(made.view.role)));
    screen.aside("It is told this once: CONSTELLATION_TOKEN_FILE=FILE lets a client read it from a file.");
    screen.line(&clean(&made.token))
}

async fn list(api: &Api, screen: &Screen, output: Form) -> Result<(), CliError> {
    let list = api.tokens().await?;
    if output != Form::Text {
        return screen.answer(&list);
    }
    if list.items.is_empty() {
        screen.aside("no tokens; the first one, of an administrator, is a file: <data dir>/admin.token");
        return Ok(());
    }
    screen.print(&table(&list.items, Times::new(false)))
}

fn table(tokens: &[TokenView], times: Times) -> String {
    let row = |token: &TokenView| {
        let end = match token.expires_at {
            Some(at) if token.expired => format!("expired {}", times.around(at)),
            Some(at) => times.around(at),
            None => "never".into(),
        };
        vec![
            token.name.to_string(),
            role(token.role).to_owned(),
            end,
            times.at(token.created_at),
            token.created_by.to_string(),
            token.id.to_string(),
        ]
    };
    text::table(0, &["NAME", "ROLE", "EXPIRES", "AGE", "BY", "ID"], &tokens.iter().map(row).collect::<Vec<_>>())
}

const fn role(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Edge => "edge",
        TokenRole::Read => "read",
        TokenRole::Write => "write",
        TokenRole::Admin => "admin",
    }
}

async fn revoke(api: &Api, screen: &Screen, args: &RevokeToken) -> Result<(), CliError> {
    let change = Change { reason: args.reason.as_deref(), ..Change::default() };
    let revoked = api.revoke_token(&args.name, change).await?;
    if args.output != Form::Text {
        return screen.answer(&revoked);
    }
    screen.line(&format!("token {} revoked", clean(&revoked.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_table() {
        let view = |name: &str, expires_at, expired| TokenView {
            id: "0102".into(),
            name: name.into(),
            role: TokenRole::Write,
            created_at: 40_000,
            created_by: "token \x1b[2Jboss".into(),
            expires_at,
            expired,
        };
        let tokens = [view("ci", Some(160_000), false), view("old", Some(70_000), true), view("on", None, false)];
        let said = table(&tokens, Times::RelativeTo(100_000));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines,
            [
                "NAME  ROLE   EXPIRES          AGE  BY          ID",
                "ci    write  in 1m            1m   token boss  0102",
                "old   write  expired 30s ago  1m   token boss  0102",
                "on    write  never            1m   token boss  0102",
            ]
        );
    }
}
