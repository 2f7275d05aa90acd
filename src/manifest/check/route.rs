//! Checks of Routes, Middlewares and the short form below a Service.
//!
//! Here: where in the text stands what `model::route::problems` finds. Not here: what is wrong.

use crate::{
    manifest::{fault::Faults, tree::Node},
    model::{
        Spec,
        route::problems::{of_middleware, of_route, of_shorthand},
    },
};

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
