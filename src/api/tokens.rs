//! `/api/v1/tokens`: who may ask from afar.
//!
//! Here: list, create, revoke. Not here: what a token is (`model::token`), how one is known again (`auth`).
//! Invariant: a secret leaves once, in the answer of the request that made it. When that answer is lost, and the
//! request comes again with its key, the answer is a conflict: keeping the secret to tell it again would be worse.

use std::sync::Arc;

use warp::reply::Response;

use super::{
    commit::{Change, Commit},
    problem::Failure,
    reply,
    request::Request,
    wire::{List, TokenMade, TokenRequest, TokenRevoked, TokenView},
};
use crate::{
    model::{Token, meta::is_label, token::TokenText},
    store::command::Command,
};

/// `GET /api/v1/tokens`.
///
/// # Errors
/// When the answer has no JSON form.
pub async fn list(request: Request) -> Result<Response, Failure> {
    let store = &request.server.shared.store;
    let (state, now) = (store.state(), store.now());
    let mut items: Vec<TokenView> = state.tokens().map(|t| TokenView::of(t, now)).collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    reply::json(&List { items, index: state.index().0 })
}

/// `POST /api/v1/tokens`.
///
/// # Errors
/// 409 when the name is taken or the request was answered before, 422, and those of every write.
pub async fn create(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked: TokenRequest = request.json(&body)?;
    if !is_label(&asked.name, 63) {
        return Err(Failure::unprocessable(format!("{:?} is no name of a token", asked.name))
            .hint("1 to 63 of a-z, 0-9 and -, and - neither first nor last"));
    }
    if asked.ttl.is_some_and(|ttl| ttl.0.as_secs() == 0) {
        return Err(Failure::unprocessable("a token is valid for a second at least").hint("like ttl: 30d"));
    }
    let store = request.server.shared.store.clone();
    let now = store.now();
    let ttl = asked.ttl.map(|ttl| u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX));
    let text = TokenText::new(rand::random(), rand::random());
    let token = Token {
        id: text.id().into(),
        name: asked.name.as_str().into(),
        role: asked.role,
        hash: text.hash(),
        created_at: now,
        created_by: request.caller.name.clone(),
        expires_at: ttl.map(|ttl| now.saturating_add(ttl)),
    };
    let wanted = token.clone();
    let made =
        move |_: &_| Ok(Change { commands: vec![Command::CreateToken { token: wanted.clone() }], read: Vec::new() });
    let answer = Commit::of(&request, body)?.run(made).await?;
    if store.state().token(&token.id).is_none() {
        return Err(Failure::new(
            409,
            "token-told",
            "The token was told already",
            "this request made a token before, and its secret is told once",
        )
        .hint(format!("if it got lost: constellation token revoke {}, then create it again", asked.name)));
    }
    reply::json(&TokenMade { token: text.tell(), view: TokenView::of(&token, now), index: answer.index })
}

/// `DELETE /api/v1/tokens/{name}`.
///
/// # Errors
/// 404, and those of every write.
pub async fn revoke(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let name: Arc<str> = request.name.as_str().into();
    let gone = name.clone();
    let answer = Commit::of(&request, body)?
        .run(move |state| {
            // Without this look a name that is none would be in the log of changes.
            if !state.tokens().any(|t| t.name == gone) {
                return Err(Failure::no_such_token(&gone));
            }
            Ok(Change { commands: vec![Command::RevokeToken { name: gone.clone() }], read: Vec::new() })
        })
        .await?;
    reply::json(&TokenRevoked { name: name.to_string(), index: answer.index })
}
