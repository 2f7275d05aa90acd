//! Every field of the manifest page: it works, or it is refused as not built at its own line.

use std::collections::BTreeSet;

use serde_yaml::Value as Yaml;

use super::*;
use crate::manifest::shape::{Field, State};

/// `+` works; `-` is refused, at each of its leaves or at the path before `|`.
pub(super) const SERVICE: &str = r#"
+ image: nginx:1.27
+ pullPolicy: always
- pullPolicy | pullPolicy: build
+ imagePullSecrets: [hub]
+ platform: linux/arm64
+ command: [serve, --all]
+ entrypoint: [/bin/sh]
+ workingDir: /srv
+ user: "1000:1000"
+ groupAdd: [video]
+ hostname: web
+ environment: {TZ: UTC}
+ ports: [{name: http, target: 80, published: 8080, protocol: udp, hostIp: 192.0.2.1, appProtocol: http, mode: host}]
- ports[0].mode | ports: [{target: 80, mode: edge}]
- ports[0].mode | ports: [{target: 80, mode: leader}]
+ expose: [8080]
+ volumes: [{type: bind, source: /srv/a, target: /a, readOnly: true, bind: {createHostPath: true, propagation: rslave}, dataPolicy: shared}, {type: volume, source: data, target: /b, volume: {nocopy: true}, perReplica: true, external: false}, {type: tmpfs, target: /c, tmpfs: {size: 64Mi, mode: "1777"}}]
- volumes[0].type | volumes: [{type: image, source: a, target: /a}]
- volumes[0].bind.selinux | volumes: [{type: bind, source: /a, target: /a, bind: {selinux: z}}]
- volumes[0].volume.subpath | volumes: [{type: volume, source: data, target: /a, volume: {subpath: b}}]
- volumes[0].exclude | volumes: [{type: volume, source: data, target: /a, exclude: [tmp]}]
- volumes[0].owner | volumes: [{type: volume, source: data, target: /a, owner: "1000"}]
+ tmpfs: [/tmp]
+ healthcheck: {test: [CMD, /check], interval: 10s, timeout: 5s, retries: 2, startPeriod: 1m, startInterval: 2s, disable: false}
+ readiness: {http: {path: /health, port: 8080, host: a.example, headers: {X-Probe: a}, status: 200-299, scheme: http}, interval: 2s, timeout: 1s, successThreshold: 2, failureThreshold: 4}
- readiness.http.scheme | readiness: {http: {port: 8443, scheme: https}}
+ readiness: {tcp: {port: 8080}}
+ readiness: {exec: [/check]}
+ resources: {reservations: {cpus: 500m, memory: 64Mi}, limits: {cpus: "1", memory: 128Mi, pids: 100}}
- resources.reservations.devices | resources: {reservations: {devices: [a]}}
+ devices: [/dev/dri:/dev/dri:rw]
+ capAdd: [NET_ADMIN]
+ capDrop: [ALL]
+ sysctls: {net.core.somaxconn: "1024"}
+ ulimits: {nofile: {soft: 1024, hard: 2048}}
+ labels: {a.example/team: web}
+ extraHosts: {db: 192.0.2.2}
+ dns: [192.0.2.53]
- dns | dns: {internal: {aliases: [a], ttl: 5s}, external: [{provider: cf, name: a.example, type: auto, proxied: true, ttl: 60s}]}
+ dnsSearch: [example.com]
+ dnsOpt: ["ndots:2"]
+ networks: [{name: default, aliases: [w], ipv4Address: 172.20.0.7, ipv6Address: "2001:db8::7", priority: 5}]
+ networkMode: bridge
+ networkMode: host
+ networkMode: none
- networkMode | networkMode: service:db
+ logging: {driver: json-file, options: {max-size: 10m}}
+ stopSignal: SIGINT
+ stopGracePeriod: 1m30s
+ init: true
+ ipc: private
+ pid: host
+ privileged: true
+ securityOpt: [no-new-privileges]
+ readOnly: true
+ shmSize: 64Mi
+ configs: [{source: web/conf, target: /etc/web.conf, uid: 10, gid: 10, mode: "0440"}]
- configs[0].content | configs: [{content: a, target: /a}]
+ secrets: [{source: key, target: /run/secrets/key, uid: 10, gid: 10, mode: "0400"}, {source: token, env: TOKEN}]
+ dependsOn: [{name: db, condition: service_healthy, required: false, restart: false}]
- dependsOn[0].restart | dependsOn: [{name: db, restart: true}]
+ restart: on-failure:3
+ autoRestart: {onUnhealthy: false, after: 5, backoff: 5s, maxBackoff: 1m}
- build: {ref: web, context: ., dockerfile: Dockerfile, dockerfileInline: FROM a, args: {A: b}, target: a, platforms: [linux/amd64], labels: {a: b}, tags: [a], secrets: [a], ssh: [a], cacheFrom: [a], cacheTo: [a], noCache: true, pull: true, network: host, shmSize: 64Mi, extraHosts: {a: 192.0.2.1}, additionalContexts: {a: b}, provenance: true, sbom: true, builder: {node: n1}, output: {distribute: peer}, trigger: {onApply: true}, keep: 5}
- imageResolve: always
- domainname: example.com
- containerName: web
- exactContainerName: true
- envFile: [a.env]
- envFrom: [{secretRef: a, configRef: b, prefix: A_}]
- gpus: all
- deviceCgroupRules: ["c 1:3 mr"]
- uts: host
- usernsMode: host
- cgroup: private
- cgroupParent: a
- oomScoreAdj: 100
- cpuShares: 512
- cpuset: 0-1
- memSwapLimit: 1Gi
- runtime: runsc
- storageOpt: {size: 1G}
- annotations: {a: b}
- attach: true
- tty: true
- stdinOpen: true
- macAddress: 02:42:ac:11:00:02
- blkioConfig: {weight: 300}
+ hooks: {preDeploy: [{command: [a], image: b, timeout: 1h, onFailure: continue}], postStart: [{command: [a], timeout: 5m, onFailure: abort}], preStop: [{command: [a], timeout: 6m, onFailure: continue}], postDeploy: [{command: [a, b], image: "b:1", timeout: 5m, onFailure: abort}]}
- hooks.postStart[0].image | hooks: {postStart: [{command: [a], image: b}]}
- hooks.preStop[0].image | hooks: {preStop: [{command: [a], image: b}]}
- profiles: [debug]
+ mode: replicated
+ mode: global
+ mode: job
+ mode: cron
+ replicas: 1
+ placement: {constraints: [node.labels.gpu == intel]}
- placement.preferences | placement: {preferences: [{spread: node.labels.zone, prefer: a, avoid: b, weight: 50}]}
- placement.maxReplicasPerNode | placement: {maxReplicasPerNode: 2}
- placement.colocateWith | placement: {colocateWith: [db]}
- placement.tolerations | placement: {tolerations: [{key: a, value: b, effect: NoSchedule}]}
+ suspend: true
+ schedule: 0 3 * * *
+ timeZone: Europe/Berlin
+ concurrencyPolicy: replace
+ concurrencyPolicy: forbid
+ completions: 2
+ backoffLimit: 5
+ activeDeadline: 1h
+ ttlAfterFinished: 12h
- priority: 5
+ update: {parallelism: 2, order: stop-first, delay: 1s, minHealthyTime: 11s, progressDeadline: 11m, maxFailures: 1, failureAction: pause, canary: 1, autoPromote: false, holdRequests: 16s, drainTimeout: 31s}
+ update: {parallelism: 1, order: auto, delay: 0s, minHealthyTime: 10s, progressDeadline: 10m, maxFailures: 0, failureAction: rollback, canary: 0, autoPromote: true, holdRequests: 15s, drainTimeout: 30s}
+ rollback: {parallelism: 1, order: stop-first}
+ revisionHistoryLimit: 21
- failover: {enabled: true, after: 30s, onNodeLoss: wait, lease: pinned, maxStaleness: 1h, fenceTTL: 10s, onReturn: bestScore}
- migration: {maxDowntime: 60s, precopy: true, verify: full, retainSource: 24h, bandwidth: 0, preQuiesce: [{command: [a], image: b, timeout: 5m, onFailure: abort}], postStart: [{command: [a], image: b, timeout: 5m, onFailure: abort}]}
- rebalance: {mode: auto, minResidence: 30m}
- disruption: {minAvailable: 1, maxUnavailable: 1}
+ routes: [{host: a.example, path: /, port: 80, middlewares: [a, {compress: {}}], entryPoints: [websecure], tls: {mode: secret, secretRef: b, minVersion: "1.2"}}]
- routes[0].tls.mode | routes: [{host: a.example, tls: {mode: acme}}]
- routes[0].tls.issuer | routes: [{host: a.example, tls: {issuer: a}}]
- routes[0].tls.domains | routes: [{host: a.example, tls: {domains: [a]}}]
- autoscale: {}
"#;

const CONFIG: &str = r#"
+ data: {a.conf: "x"}
+ valueFrom: {file: a}
+ valueFrom: {env: A}
+ valueFrom: {command: [a]}
+ rotation: {strategy: reload, signal: SIGHUP, graceVersions: 1}
+ rotation: {strategy: manual}
- valueFrom.generate | valueFrom: {generate: {}}
- rotation.every | rotation: {every: 24h}
+ keepVersions: 5
- template: true
"#;

const SECRET: &str = r#"
+ type: password
+ data: {value: YQ==}
+ stringData: {value: a}
+ valueFrom: {file: a}
+ valueFrom: {env: A}
+ valueFrom: {command: [a]}
+ valueFrom: {generate: {length: 32, charset: alnum}}
+ valueFrom: {edge: {}}
+ rotation: {strategy: rolling, graceVersions: 1}
+ rotation: {every: 24h}
+ rotation: {strategy: reload, signal: SIGHUP}
+ keepVersions: 5
"#;

const NODE: &str = r#"
+ roles: [server, agent, edge, builder]
+ schedulable: false
+ reserved: {cpus: 100m, memory: 256Mi}
+ capacityOverride: {cpus: "4", memory: 8Gi}
- drain: {deadline: 1h, ignoreGlobal: false, message: a}
- taints: [{key: battery, value: "true", effect: NoExecute}]
- addresses: [{type: mesh, address: 192.0.2.1}]
- sharedPaths: [/mnt/media]
- dataRoots: [/srv]
- edge: {publicAddresses: [192.0.2.1], httpPort: 80, httpsPort: 443, weight: 100}
- failureDomain: garage
- dockerHost: unix:///var/run/docker.sock
- maintenanceWindows: [{cron: 0 3 * * *, duration: 1h}]
"#;

const ROUTE: &str = r#"
+ hosts: [a.example, "*.a.example"]
+ rule: Host(`a.example`) && PathPrefix(`/api`)
+ paths: [{type: Prefix, value: /api}, {type: Exact, value: /a}, {type: Regex, value: "^/a[0-9]+$"}]
+ entryPoints: [web]
+ priority: 10
+ protocol: http
- protocol | protocol: tcp
- protocol | protocol: tls-passthrough
+ backends: [{service: web, port: 80, scheme: h2c, weight: 3, preserveHost: false}, {url: "http://192.0.2.1:8080"}]
+ middlewares: [sso, {compress: {minResponseBodyBytes: 100}}]
+ tls: {mode: secret, secretRef: cert, minVersion: "1.3"}
+ tls: {mode: none}
- tls.mode | tls: {mode: acme}
- tls.mode | tls: {mode: passthrough}
- tls.issuer | tls: {issuer: a}
- tls.domains | tls: {domains: [a.example]}
+ loadBalancer: {strategy: p2c, sticky: {cookie: {name: s, secure: true, httpOnly: true, sameSite: lax, maxAge: 60, path: /, domain: a.example}}, healthCheck: {path: /h, port: 81, scheme: http, method: GET, status: 200, interval: 5s, unhealthyInterval: 1s, timeout: 1s, hostname: a.example, followRedirects: true, headers: {X-A: b}}, passiveHealthCheck: {failureWindow: 10s, maxFailedAttempts: 1}, serversTransport: {insecureSkipVerify: true, timeouts: {dial: 1s, responseHeader: 5s}}}
+ resilience: {retries: {attempts: 3, on: [network, "503"], methods: all, maxBodyBytes: 1000}, timeout: 5s, circuitBreaker: {expression: NetworkErrorRatio() > 0.30}}
- resilience.circuitBreaker.fallback | resilience: {circuitBreaker: {expression: NetworkErrorRatio() > 0.30, fallback: a}}
- resilience.failover.service | resilience: {failover: {service: a}}
- resilience.maintenancePage | resilience: {maintenancePage: a}
- dns: {publish: true, provider: a, proxied: true, ttl: 60s}
- nearest: true
"#;

const MIDDLEWARE: &str = r#"
+ addPrefix: {prefix: /v1}
+ stripPrefix: {prefixes: [/v1]}
+ stripPrefixRegex: {regex: ["^/v[0-9]+"]}
+ replacePath: {path: /v1}
+ replacePathRegex: {regex: "^/a/(.*)", replacement: /b/$1}
+ chain: {middlewares: [a, b]}
+ ipAllowList: {sourceRange: [192.0.2.0/24], ipStrategy: {depth: 1, ipv6Subnet: 64}, rejectStatusCode: 404}
+ ipAllowList: {sourceRange: [192.0.2.7], ipStrategy: {excludedIPs: [192.0.2.1]}}
+ headers: {customRequestHeaders: {X-A: b}, customResponseHeaders: {X-A: b}, accessControlAllowCredentials: true, accessControlAllowHeaders: [X-A], accessControlAllowMethods: [GET], accessControlAllowOriginList: ["https://a.example"], accessControlAllowOriginListRegex: ["^https://a"], accessControlExposeHeaders: [X-A], accessControlMaxAge: 60, addVaryHeader: true, allowedHosts: [a.example], hostsProxyHeaders: [X-Forwarded-Host], sslProxyHeaders: {X-Forwarded-Proto: https}, stsSeconds: 60, stsIncludeSubdomains: true, stsPreload: true, forceSTSHeader: true, frameDeny: true, customFrameOptionsValue: SAMEORIGIN, contentTypeNosniff: true, browserXssFilter: true, customBrowserXSSValue: "0", contentSecurityPolicy: default-src, contentSecurityPolicyReportOnly: default-src, publicKey: a, referrerPolicy: no-referrer, permissionsPolicy: camera=(), isDevelopment: true}
+ errors: {status: ["500-599"], service: pages, port: 80, query: "/{status}.html", statusRewrites: {"500": 404}}
+ rateLimit: {average: 10, period: 1m, burst: 5, sourceCriterion: {ipStrategy: {excludedIPs: [192.0.2.1]}}}
+ rateLimit: {average: 10, sourceCriterion: {requestHeaderName: X-A}}
+ rateLimit: {average: 10, sourceCriterion: {ipStrategy: {depth: 1, ipv6Subnet: 64}}}
+ rateLimit: {average: 10, sourceCriterion: {requestHost: true}}
- rateLimit.redis | rateLimit: {average: 10, redis: a}
+ redirectRegex: {regex: "^http://a/(.*)", replacement: "https://b/${1}", permanent: true}
+ redirectScheme: {scheme: https, port: 8443, permanent: true}
+ basicAuth: {secretRef: users, realm: a, removeHeader: true, headerField: X-User}
+ digestAuth: {secretRef: users, realm: a, removeHeader: true, headerField: X-User}
+ forwardAuth: {address: "http://auth:9000/check", tls: {secretRef: ca, insecureSkipVerify: true}, trustForwardHeader: true, authResponseHeaders: [X-User], authResponseHeadersRegex: ^X-, authRequestHeaders: [Cookie], addAuthCookiesToResponse: [a], headerField: X-User, forwardBody: true, maxBodySize: 1000, maxResponseBodySize: 1000, preserveLocationHeader: true, preserveRequestMethod: true}
+ inFlightReq: {amount: 10, sourceCriterion: {requestHost: true}}
+ inFlightReq: {amount: 10, sourceCriterion: {requestHeaderName: X-A}}
+ inFlightReq: {amount: 10, sourceCriterion: {ipStrategy: {depth: 1, ipv6Subnet: 64}}}
+ inFlightReq: {amount: 10, sourceCriterion: {ipStrategy: {excludedIPs: [192.0.2.1]}}}
+ buffering: {maxRequestBodyBytes: 1000, memRequestBodyBytes: 100, maxResponseBodyBytes: 1000, memResponseBodyBytes: 100, retryExpression: IsNetworkError()}
+ circuitBreaker: {expression: NetworkErrorRatio() > 0.30, checkPeriod: 1s, fallbackDuration: 1s, recoveryDuration: 1s, responseCode: 503}
+ compress: {excludedContentTypes: [text/event-stream], minResponseBodyBytes: 100, encodings: [gzip, br], defaultEncoding: gzip}
+ compress: {includedContentTypes: [text/html]}
+ passTLSClientCert: {pem: true, info: {notAfter: true, notBefore: true, sans: true, serialNumber: true, subject: {country: true, province: true, locality: true, organization: true, organizationalUnit: true, commonName: true, serialNumber: true, domainComponent: true}, issuer: {country: true, province: true, locality: true, organization: true, commonName: true, serialNumber: true, domainComponent: true}}}
+ retry: {attempts: 2, initialInterval: 100ms, timeout: 5s, status: ["503"], maxRequestBodyBytes: 1000, disableRetryOnNetworkError: true, retryNonIdempotentMethod: true}
+ contentType: {}
+ grpcWeb: {allowOrigins: ["*"]}
- plugin.demo.a | plugin: {demo: {a: b}}
"#;

const KINDS: [(Kind, &str); 6] = [
    (Kind::Service, SERVICE),
    (Kind::Config, CONFIG),
    (Kind::Secret, SECRET),
    (Kind::Node, NODE),
    (Kind::Route, ROUTE),
    (Kind::Middleware, MIDDLEWARE),
];

/// One line of a table: whether it works, where it is refused, the field.
pub(super) fn rows(table: &str) -> impl Iterator<Item = (bool, Option<&str>, &str)> {
    table.lines().filter(|l| !l.is_empty()).map(|line| {
        let (mark, rest) = line.split_once(' ').unwrap();
        match rest.split_once(" | ") {
            Some((path, field)) => (mark == "+", Some(path), field),
            None => (mark == "+", None, rest),
        }
    })
}

/// Every table's documents of one field each, with whether the field works.
pub(super) fn documents() -> impl Iterator<Item = (bool, Option<&'static str>, String, Yaml)> {
    KINDS.into_iter().flat_map(|(kind, table)| {
        rows(table).map(move |(works, path, field)| {
            let of_job =
                ["concurrencyPolicy:", "completions:", "backoffLimit:", "activeDeadline:", "ttlAfterFinished:"];
            let most = match kind {
                Kind::Service if field == "mode: cron" => "  image: nginx:1.27\n  schedule: \"@daily\"\n",
                Kind::Service if field.starts_with("schedule:") => "  image: nginx:1.27\n  mode: cron\n",
                Kind::Service if field.starts_with("timeZone:") => {
                    "  image: nginx:1.27\n  mode: cron\n  schedule: \"@daily\"\n"
                }
                Kind::Service if of_job.iter().any(|own| field.starts_with(own)) => {
                    "  image: nginx:1.27\n  mode: job\n"
                }
                Kind::Service if !field.starts_with("image:") && !field.starts_with("build:") => {
                    "  image: nginx:1.27\n"
                }
                Kind::Config if !field.starts_with("data:") => "  data: {k: v}\n",
                Kind::Secret if field.starts_with("valueFrom:") => "  stringData: {k: v}\n",
                Kind::Secret if field.starts_with("rotation:") => "  valueFrom: {generate: {}}\n",
                Kind::Secret if !field.starts_with("data:") && !field.starts_with("stringData:") => {
                    "  stringData: {value: v}\n"
                }
                Kind::Route if field.starts_with("rule:") => "  backends: [{service: web}]\n",
                Kind::Route if field.starts_with("hosts:") => "  backends: [{service: web}]\n",
                Kind::Route if field.starts_with("backends:") => "  hosts: [a.example]\n",
                Kind::Route => "  hosts: [a.example]\n  backends: [{service: web}]\n",
                _ => "",
            };
            let text = format!(
                "apiVersion: constellation.dev/v1\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{most}  {field}\n"
            );
            (works, path, text, serde_yaml::from_str(field).unwrap())
        })
    })
}

#[test]
fn a_field_works_or_is_refused_at_its_own_line() {
    for (works, path, text, value) in documents() {
        let parsed = read_text(&text);
        if works {
            assert!(parsed.errors.is_empty() && parsed.documents.len() == 1, "{text}\n{:#?}", parsed.errors);
            continue;
        }
        let expected = match path {
            Some("dns") => leaves(&value, ""),
            Some(path) => BTreeSet::from([path.to_owned()]),
            None => leaves(&value, ""),
        };
        let found: BTreeSet<String> =
            parsed.errors.iter().map(|e| e.path.strip_prefix("spec.").unwrap().to_owned()).collect();
        assert_eq!(found, expected, "{text}\n{:#?}", parsed.errors);
        for error in &parsed.errors {
            let said =
                ["not built yet", "never drawn", "which has its image"].iter().any(|why| error.message.contains(why));
            assert!(said && !error.fix.is_empty(), "{text}\n{error}");
            assert_eq!(error.line, text.lines().count(), "{error}");
        }
        assert!(parsed.documents.is_empty(), "{text}");
    }
}

/// The deepest named fields of a value; what is in lists counts to the field that holds the list.
fn leaves(value: &Yaml, path: &str) -> BTreeSet<String> {
    match value.as_mapping() {
        Some(map) if !map.is_empty() => {
            map.iter().flat_map(|(key, value)| leaves(value, &shape::join(path, key.as_str().unwrap()))).collect()
        }
        _ => BTreeSet::from([path.to_owned()]),
    }
}

/// Every named field of a value, lists as `[]`.
pub(super) fn paths(value: &Yaml, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Yaml::Mapping(map) => {
            for (key, value) in map {
                let here = shape::join(path, key.as_str().unwrap_or_default());
                out.insert(here.clone());
                paths(value, &here, out);
            }
        }
        Yaml::Sequence(items) => items.iter().for_each(|item| paths(item, &format!("{path}[]"), out)),
        _ => {}
    }
}

/// Every field of the table of fields that `keep` takes, lists as `[]`.
pub(super) fn known(shape: &Shape, path: &str, keep: &dyn Fn(&Field) -> bool, out: &mut BTreeSet<String>) {
    match shape {
        Shape::Form(_, inner) => known(inner, path, keep, out),
        Shape::List(inner) => known(inner, &format!("{path}[]"), keep, out),
        Shape::Object(fields) => {
            for field in fields.iter().filter(|f| keep(f)) {
                let here = shape::join(path, field.name);
                out.insert(here.clone());
                known(&field.shape, &here, keep, out);
            }
        }
        Shape::Text
        | Shape::Loose
        | Shape::Bool
        | Shape::Int(..)
        | Shape::Size
        | Shape::Cpu
        | Shape::Duration
        | Shape::Word { .. }
        | Shape::Map(_)
        // Another kind's: it has a table of its own.
        | Shape::NameOr(_)
        | Shape::Any => {}
    }
}

/// Whether a field is taken with some value.
pub(super) fn built(field: &Field) -> bool {
    matches!(field.state, State::Works | State::Required(_) | State::Only(_))
}

#[test]
fn the_tables_here_and_in_the_code_hold_the_same_fields() {
    for (kind, table) in KINDS {
        let (mut here, mut there) = (BTreeSet::new(), BTreeSet::new());
        for (_, _, field) in rows(table) {
            paths(&serde_yaml::from_str(field).unwrap(), "", &mut here);
        }
        known(&crate::manifest::fields::spec(kind).unwrap(), "", &|_| true, &mut there);
        let missing: Vec<_> = there.difference(&here).collect();
        assert!(missing.is_empty(), "{kind}: no row for {missing:?}");
    }
}

#[test]
fn kinds_that_are_not_built_are_refused_by_name() {
    for kind in ["Issuer", "DNSProvider", "Redis", "Build", "Volume", "Migration"] {
        let text = format!("apiVersion: constellation.dev/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}\n");
        let found = errors(&text);
        let wanted = format!("web.yaml:2:7: kind: kind {kind} is not built yet; this version has one of");
        assert!(found.len() == 1 && found[0].starts_with(&wanted), "{found:?}");
    }
}

#[test]
fn what_the_cluster_writes_is_refused() {
    for (field, path) in [
        ("metadata: {name: web, uid: a}", "metadata.uid"),
        ("metadata: {name: web, generation: 3}", "metadata.generation"),
        ("metadata: {name: web, createdAt: a}", "metadata.createdAt"),
        ("metadata: {name: web, namespace: a}", "metadata.namespace"),
        ("metadata: {generateName: web-}", "metadata.generateName"),
        ("metadata: {name: web}\nstatus: {ready: true}", "status"),
    ] {
        let text = format!("apiVersion: constellation.dev/v1\nkind: Service\nspec: {{image: a}}\n{field}\n");
        let parsed = read_text(&text);
        let found: Vec<_> = parsed.errors.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(found, [path], "{:#?}", parsed.errors);
    }
}
