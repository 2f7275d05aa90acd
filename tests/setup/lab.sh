#!/usr/bin/env bash
# A Docker engine of the tests' own, in a network namespace of its own, with two registries.
#
#   lab.sh test [ARGS]  set up, `cargo test ARGS` in the namespace, take everything down again
#   lab.sh run CMD...   the same around any command
#   lab.sh up | down    the same by hand, for work on one test
#   lab.sh env          prints the variables that a hand-started test needs (after `up`)
#   lab.sh exec CMD...  a command in the namespace of a lab that is up
#
# Needs root and Debian or Ubuntu; installs what is missing and starts none of its services. Nothing of
# it touches the host's network, engine or containers. Only recorded processes and those inside the
# namespace that was made here are ended; a run after a crash cleans up first.
#
# What the tests get: CONSTELLATION_TEST_DOCKER_HOST, CONSTELLATION_TEST_NETNS (for nsenter),
# CONSTELLATION_TEST_PYTHON (with `websockets`), CONSTELLATION_TEST_REGISTRY (open, 127.0.0.1:5000) and
# CONSTELLATION_TEST_PRIVATE_REGISTRY (127.0.0.1:5001, user `captain`, password `open-sesame`).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# One lab for each checkout: two checkouts on one machine do not meet.
ID=$(printf %s "$ROOT" | cksum | cut -d' ' -f1 | xargs printf %08x)
LAB=/var/tmp/constellation-lab-$ID
NS=constellation-$ID
SOCK=$LAB/docker.sock
DOCKER=/usr/bin/docker # the distribution's: a `docker` earlier in the path may be another program
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG
. "$HERE/packages.sh"
. "$HERE/images.sh"

PACKAGES="docker.io iproute2 iptables busybox-static docker-registry redis-server python3-venv curl ca-certificates util-linux procps"

die() { echo "lab: $*" >&2; exit 1; }
dk() { timeout 120 "$DOCKER" --config "$LAB/cli" -H "unix://$SOCK" "$@"; }
inside() { nsenter --net="/var/run/netns/$NS" "$@"; }
ready() { curl -sf --max-time 2 --unix-socket "$SOCK" http://d/_ping >/dev/null 2>&1; }

# ---- processes: recorded as "pid start-time name" -----------------------------------------------
record() { echo "$1 $(process_start "$1") $2" >>"$LAB/pids"; }
recorded_alive() { # pids that are still the processes that were recorded
  local pid start name
  [ -f "$LAB/pids" ] || return 0
  while read -r pid start name; do
    if [ -n "$start" ] && [ "$(process_start "$pid")" = "$start" ]; then echo "$pid"; fi
  done <"$LAB/pids"
}
descendants() {
  local pid kid
  for pid in "$@"; do
    for kid in $(cat /proc/"$pid"/task/*/children 2>/dev/null || true); do echo "$kid"; descendants "$kid"; done
  done
}
ours() { # what was recorded, what lives in our namespace, and their children
  local all
  all="$(recorded_alive) $(ip netns pids "$NS" 2>/dev/null || true)"
  # shellcheck disable=SC2086
  { echo $all; descendants $all; } | tr ' ' '\n' | grep -vx -e '' -e "$$" -e "$BASHPID" | sort -un | tr '\n' ' '
}
wait_for() { # wait_for SECONDS WHAT CMD...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $end ] || { echo "lab: $what: no success in time" >&2; return 1; }
    sleep 0.1
  done
}
background() { # background NAME CMD...: in the namespace, outlives this shell, its log beside it
  local name=$1
  shift
  setsid nsenter --net="/var/run/netns/$NS" "$@" >>"$LAB/$name.log" 2>&1 </dev/null 9>&- &
  record $! "$name"
}

# ---- up and down --------------------------------------------------------------------------------
up() {
  [ "$(id -u)" = 0 ] || die "the tests drive a Docker engine of their own and need root: sudo make test"
  # shellcheck disable=SC2086
  install_packages $PACKAGES
  down
  mkdir -p "$LAB/cli"
  ip netns add "$NS"
  ip -n "$NS" link set lo up
  # nsenter, not `ip netns exec`: that remounts /sys and loses cgroup v1.
  background dockerd /usr/sbin/dockerd --data-root "$LAB/data" --exec-root "$LAB/exec" --pidfile "$LAB/docker.pid" \
    -H "unix://$SOCK" --shutdown-timeout 2
  registry open 5000
  registry private 5001
  wait_for 60 "dockerd" ready || { tail -n 20 "$LAB/dockerd.log" >&2; die "the engine did not start"; }
  record "$(cat "$LAB/docker.pid")" dockerd
  for pid in $(ours); do record "$pid" below; done
  images
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
unmount_below() {
  { grep -F " $LAB/" /proc/self/mounts || true; } | cut -d' ' -f2 | sort -r | while read -r m; do
    umount "$m" 2>/dev/null || umount -l "$m" 2>/dev/null || true
  done
}
gone() { [ -z "$(ours | tr -d ' ')" ]; }
down() { (
  set +e # every step is tried
  if [ -d "$LAB" ] || [ -e "/var/run/netns/$NS" ]; then
    if ready; then
      left=$(dk ps -aq 2>/dev/null || true)
      # shellcheck disable=SC2086
      [ -z "$left" ] || dk rm -f $left >/dev/null 2>&1 || true
    fi
    left=$(ours)
    for pid in $(recorded_alive); do kill "$pid" 2>/dev/null || true; done
    wait_for 10 "end of the lab's processes" gone 2>/dev/null || true
    # What did not end when asked: as listed before, and what is still there now.
    for pid in $(ours); do kill -9 "$pid" 2>/dev/null || true; done
    wait_for 5 "end of the lab's processes" gone || true
    unmount_below
    if [ -e "/var/run/netns/$NS" ]; then ip netns del "$NS"; fi
    rm -rf --one-file-system "$LAB"
  fi
); }

# ---- what is run in it --------------------------------------------------------------------------
environment() {
  echo "export CONSTELLATION_TEST_DOCKER_HOST=unix://$SOCK"
  echo "export CONSTELLATION_TEST_NETNS=/var/run/netns/$NS"
  echo "export CONSTELLATION_TEST_PYTHON=$TARGET/test-venv/bin/python"
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
locked() { # one run at a time in a checkout
  mkdir -p "$TARGET"
  exec 9>"$TARGET/lab.lock"
  flock -w 1200 9 || die "another run holds $TARGET/lab.lock"
}
within() { # within CMD...: set up, run, take down whatever happens
  locked
  trap down EXIT
  trap 'exit 130' INT TERM HUP
  up
  eval "$(environment)"
  local status=0
  inside "$@" 9>&- || status=$?
  return $status
}
run_tests() {
  command -v cargo >/dev/null || die "cargo is missing: curl https://sh.rustup.rs -sSf | sh -s -- -y"
  command -v cc >/dev/null || install_packages gcc libc6-dev
  cd "$ROOT"
  # The build needs the network for crates; the namespace has none.
  cargo test --no-run "$@"
  # shellcheck disable=SC2086
  install_packages $PACKAGES
  venv
  within cargo test --offline "$@"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  test) run_tests "$@" ;;
  run) install_packages python3-venv && venv && within "$@" ;;
  up) install_packages python3-venv && venv && up && environment ;;
  down) down ;;
  env) environment ;;
  exec) inside "$@" ;;
  *) sed -n '2,15p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
