//! Checks of Routes, Middlewares and the short form below a Service.
//!
//! Here: where in the text stands what `model::route::problems` finds. Not here: what is wrong.

use crate::{
    manifest::{fault::Faults, tree::Node},
    model::{
        Spec,
        route::TlsMode,
        route::problems::{of_middleware, of_route, of_shorthand},
    },
};

/// `tls` that stands there and names no certificate: what was meant to be served over TLS is not.
pub(in crate::manifest) fn without_certificate(spec: &Spec, node: &Node) -> Vec<String> {
    let modes: Vec<(String, &Node, TlsMode)> = match spec {
        Spec::Route(spec) => vec![("tls".to_owned(), node, spec.tls.mode)],
        Spec::Service(spec) => {
            let written = node.get("routes").map(Node::items).unwrap_or_default();
            let each = written.iter().zip(&spec.routes).enumerate();
            each.map(|(i, (node, route))| (format!("routes[{i}].tls"), node, route.tls.mode)).collect()
        }
        Spec::Middleware(_) | Spec::Config(_) | Spec::Secret(_) | Spec::Node(_) => return Vec::new(),
    };
    let silent = modes.into_iter().filter(|(_, node, mode)| {
        // Who writes the mode has chosen it.
        *mode == TlsMode::None && node.get("tls").is_some_and(|tls| tls.get("mode").is_none())
    });
    silent
        .map(|(path, ..)| {
            format!(
                "spec.{path} names no certificate: it is served over plain HTTP, and at HTTPS Traefik shows a certificate \
                 of its own and knows no such host; write `tls: {{mode: secret, secretRef: NAME}}`, or leave it out"
            )
        })
        .collect()
}

/// Reports what is wrong with a spec, at its place below `node`.
pub(in crate::manifest) fn check(spec: &Spec, node: &Node, faults: &mut Faults) {
    let problems = match spec {
        Spec::Route(spec) => of_route(spec),
        Spec::Middleware(spec) => of_middleware("", spec),
        Spec::Service(spec) => {
            let each = spec.routes.iter().enumerate();
            each.flat_map(|(i, route)| of_shorthand(&format!("routes[{i}]"), route)).collect()
        }
        Spec::Config(_) | Spec::Secret(_) | Spec::Node(_) => return,
    };
    for problem in problems {
        let path = if problem.path.is_empty() { "spec".to_owned() } else { format!("spec.{}", problem.path) };
        faults.push(node.position(&problem.path), &path, problem.message, problem.fix);
    }
}
