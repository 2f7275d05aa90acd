#!/usr/bin/env bash
# Speed, beside the peers, on this machine: only ratios within one run count.
#
# The store in process, then etcd and our REST by clients on the wire, the queue, thirty replicas beside
# raw Docker calls, and the idle agent. Needs root, installs etcd-server without starting it, and cleans up.
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
WORK=$(mktemp -d /var/tmp/constellation-bench-XXXXXX)
ETCD_PID=
clean() {
  [ -z "$ETCD_PID" ] || { kill "$ETCD_PID" 2>/dev/null || true; wait "$ETCD_PID" 2>/dev/null || true; }
  rm -rf --one-file-system "$WORK"
}
trap clean EXIT
trap 'exit 130' INT TERM
# Criterion measures; the numbers without its files and plots.
bench() { timeout 1800 cargo bench --offline --quiet --bench "$1" -- "${@:2}"; }

etcd --data-dir "$WORK/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380 --auto-compaction-mode revision --auto-compaction-retention 1000 \
  --quota-backend-bytes 8589934592 >"$WORK/etcd.log" 2>&1 &
ETCD_PID=$!
for _ in $(seq 100); do curl -sf http://127.0.0.1:2379/health >/dev/null && break; sleep 0.1; done
export ETCD=127.0.0.1:2379

title "store (our clients are in this process, etcd's are not)"
bench store
title "REST beside etcd's gRPC, both by clients on the wire"
bench wire
title "queue"
bench queue
title "thirty replicas, and the idle agent"
bench replicas
