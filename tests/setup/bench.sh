#!/usr/bin/env bash
# Speed, beside the peers, on this machine: only ratios within one run count.
#
# The store in process, then etcd and our REST by clients on the wire, the queue, the table of routes, updates under
# load beside a script, and beside raw Docker calls and Swarm, thirty replicas, and the idle agent. Needs root, installs etcd-server without starting it, and cleans up.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
. "$HERE/packages.sh"
[ "$(id -u)" = 0 ] || { echo "bench: root is needed: sudo make bench" >&2; exit 1; }
title() { printf '\n== %s\n' "$*"; }

if [ "${1:-}" != inside ]; then
  cargo_of_caller
  install_packages etcd-server
  cargo bench --no-run
  exec "$HERE/lab.sh" run "$HERE/bench.sh" inside
fi

# In the namespace of the lab from here on; whatever this starts ends with it.
bench() { timeout 1800 cargo bench --offline --quiet --bench "$1" -- "${@:2}"; }

title "store (our clients are in this process, etcd's are not)"
bench store
title "REST beside etcd's gRPC, both by clients on the wire"
bench wire
title "queue"
bench queue
title "10,000 routes"
bench routes
title "updates: their time, changes of health, and twenty under load"
bench updates
title "thirty replicas, and the idle agent"
bench replicas
