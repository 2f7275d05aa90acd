//! The table of routes: 10,000 Routes, and what one change costs then.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

use std::{hint::black_box, sync::Arc};

use constellation::{
    model::route::{Backend, MiddlewareRef, PathKind, PathMatch, RouteSpec},
    plan::routes::{Backing, Endpoint, Input, Marker, Reached, Stored, table},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROUTES: u64 = 10_000;
const SERVICES: u64 = 500;

fn input() -> Input {
    let mut input = Input::default();
    for n in 0..SERVICES {
        let endpoint = |r| Endpoint {
            replica: format!("service-{n}-{r}").into(),
            address: format!("10.{}.{}.{r}", n / 250, n % 250).parse().unwrap(),
            own: None,
        };
        let declared = Reached { ports: vec![8080], ..Reached::default() };
        let service = Backing { declared, endpoints: (1..=3).map(endpoint).collect(), ..Backing::default() };
        input.services.insert(format!("service-{n}").into(), service);
    }
    let fine = serde_json::json!({"headers": {"frameDeny": true}});
    input.middlewares.insert("secure".into(), Arc::new(serde_json::from_value(fine).unwrap()));
    for n in 0..ROUTES {
        let spec = RouteSpec {
            hosts: vec![format!("host-{n}.example.com")],
            paths: vec![PathMatch { kind: PathKind::Prefix, value: format!("/api/{n}") }],
            backends: vec![Backend { service: Some(format!("service-{}", n % SERVICES)), ..Backend::default() }],
            middlewares: vec![MiddlewareRef::Name("secure".into())],
            ..RouteSpec::default()
        };
        input.routes.push(Stored { name: format!("route-{n}").into(), created_at: n, spec: Arc::new(spec) });
    }
    input
}

fn routes(c: &mut Criterion) {
    let input = input();
    let made = table(&input);
    assert_eq!(made.document.http.routers.len() as u64, ROUTES);
    let mut group = c.benchmark_group("routes");
    group.throughput(Throughput::Elements(ROUTES));
    group.bench_function("table of 10,000", |b| b.iter(|| table(black_box(&input))));
    group.bench_function("its bytes", |b| b.iter(|| made.document.bytes(Marker::default()).unwrap()));
    group.finish();
}

criterion_group!(benches, routes);
criterion_main!(benches);
