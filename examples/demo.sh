#!/usr/bin/env bash
# One node from nothing: an agent builds, applies, repairs and updates, and you can watch it.
#
# `make demo`. Debian or Ubuntu. As root it installs and starts an engine when there is none; as a user it
# uses the engine that answers. An engine that is there already is used, and nothing on it is touched that
# was not made here. Everything is cleaned up at the end; packages stay.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
SETUP=$ROOT/tests/setup
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
. "$SETUP/packages.sh"

# ---- taking down: at the end, and what a demo left that was killed ------------------------------
ENGINE=                # the engine's socket
STARTED=               # how it was started here: own or systemd
LINEAGE=               # carried by every container and network of the demo
AGENT= AGENT_START=    # its process
MADE_IMAGES=()
ask_engine() { "$ROOT/examples/ask.pl" "unix:$ENGINE" "$@"; }
answers() { [ -S "$1" ] && timeout 10 "$ROOT/examples/ask.pl" "unix:$1" GET /_ping >/dev/null 2>&1; }
ids() { grep -o '"Id":"[0-9a-f]*"' | cut -d'"' -f4; }
filter() { printf '%%7B%%22label%%22%%3A%%5B%%22constellation.lineage%%3D%s%%22%%5D%%7D' "$LINEAGE"; }
agent_ended() { [ "$(process_start "$AGENT")" != "$AGENT_START" ]; }
remember() { # remember FILE WORDS...: for the next demo, should this one be killed
  local file=$1
  shift
  echo "$*" >>"$WORK/$file"
}
take_down() { # everything but $WORK
  local id image
  if [ -n "$AGENT" ] && ! agent_ended; then
    kill "$AGENT" 2>/dev/null
    wait_for 15 "end of the agent" agent_ended || kill -9 "$AGENT" 2>/dev/null
  fi
  if answers "$ENGINE"; then
    if [ -n "$LINEAGE" ]; then # whatever is left carries our lineage
      for id in $(ask_engine GET "/containers/json?all=1&filters=$(filter)" 2>/dev/null | ids); do
        ask_engine DELETE "/containers/$id?force=1" >/dev/null 2>&1
      done
      for id in $(ask_engine GET "/networks?filters=$(filter)" 2>/dev/null | ids); do
        ask_engine DELETE "/networks/$id" >/dev/null 2>&1
      done
    fi
    for image in "${MADE_IMAGES[@]}"; do ask_engine DELETE "/images/$image" >/dev/null 2>&1; done
  fi
  case $STARTED in
    own) engine_down ;;
    systemd) systemctl stop docker.service docker.socket >/dev/null 2>&1 ;;
  esac
}
boot() { cat /proc/sys/kernel/random/boot_id; }
after_a_crash() ( # takes down what a demo left that was killed
  set +e
  for WORK in /tmp/constellation-demo-*; do
    # Only our own: what stands in there says what to end and to remove.
    [ -f "$WORK/demo.pid" ] && [ -O "$WORK" ] && [ ! -L "$WORK" ] || continue
    read -r pid start <"$WORK/demo.pid"
    [ "$(process_start "$pid")" != "$start" ] || continue
    LAB=$WORK/engine NS=${WORK##*/}
    . "$SETUP/engine.sh"
    ENGINE= STARTED= LINEAGE= AGENT= AGENT_START= MADE_IMAGES=() booted=
    [ -f "$WORK/engine.at" ] && read -r booted STARTED ENGINE <"$WORK/engine.at"
    [ -d "$LAB" ] && STARTED=own
    [ -f "$WORK/agent.pid" ] && read -r AGENT AGENT_START <"$WORK/agent.pid"
    [ -f "$WORK/lineage" ] && read -r LINEAGE <"$WORK/lineage"
    [ -f "$WORK/images" ] && mapfile -t MADE_IMAGES <"$WORK/images"
    # Since then somebody may have started it, or rely on it.
    if [ "$STARTED" = systemd ] && { [ "$booted" != "$(boot)" ] || others_run; }; then STARTED=found; fi
    echo "demo: taking down what ${NS#constellation-demo-} left, which was killed" >&2
    take_down
    rm -rf --one-file-system "$WORK"
  done
)
others_run() { # whether the engine runs containers that are not the demo's
  local all ours
  all=$(ask_engine GET /containers/json 2>/dev/null | ids | sort)
  ours=
  [ -z "$LINEAGE" ] || ours=$(ask_engine GET "/containers/json?filters=$(filter)" 2>/dev/null | ids | sort)
  [ "$all" != "$ours" ]
}
after_a_crash
WORK=$(mktemp -d /tmp/constellation-demo-XXXXXX)
echo "$$ $(process_start $$)" >"$WORK/demo.pid"
LAB=$WORK/engine            # of an engine that has to be started here
NS=${WORK##*/}
. "$SETUP/engine.sh"

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }
say() { printf '   %s\n' "$*"; }
run() { # shows a command, then runs it
  local shown="$*"
  shown=${shown//$WORK\//}
  printf '   $ %s\n' "${shown/#$C/constellation}"
  "$@" 2>&1 | sed 's/^/     /'
}
give_up() { printf 'demo: %s\n' "$*" >&2; exit 1; }
agree() { # agree QUESTION: asks a person; without a terminal the answer is yes
  local answer
  [ -t 0 ] || return 0
  read -r -p "   $1 [Y/n] " answer
  [[ ${answer:-y} =~ ^[Yy] ]]
}

# ---- what has to be there -----------------------------------------------------------------------
RUSTUP="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"
AS_OWNER=() # with sudo, cargo belongs to the user who called it
find_cargo() {
  local home wanted found
  if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
    home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    if [ -x "$home/.cargo/bin/cargo" ]; then
      AS_OWNER=(sudo -u "$SUDO_USER" -H env "PATH=$home/.cargo/bin:$PATH" "CARGO_TARGET_DIR=$TARGET")
    fi
  fi
  [ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
  found=$("${AS_OWNER[@]}" cargo --version 2>/dev/null | sed 's/^cargo \([0-9.]*\).*/\1/') || true
  [ -n "$found" ] || give_up "cargo is missing (Rust $wanted or newer): $RUSTUP"
  [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
    give_up "cargo $found is too old, Rust $wanted or newer is needed: $RUSTUP"
  command -v cc >/dev/null || give_up "a C compiler is missing: $([ "$(id -u)" = 0 ] || echo sudo )apt-get install -y gcc libc6-dev"
}

# ---- the engine ---------------------------------------------------------------------------------
INSIDE=()          # a prefix that reaches its containers

find_engine() {
  local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
  case $host in
    unix://*) ENGINE=${host#unix://} ;;
    *) give_up "DOCKER_HOST=$host is not on this machine: its containers cannot be reached from here; use a unix:// socket" ;;
  esac
  if answers "$ENGINE"; then
    remember engine.at "$(boot)" found "$ENGINE"
    say "engine: the one at $ENGINE"
  elif [ -n "${DOCKER_HOST:-}" ]; then
    give_up "no engine answers at DOCKER_HOST=$DOCKER_HOST"
  elif [ "$(id -u)" != 0 ]; then
    give_up "no engine answers at $ENGINE for $(id -un); as root this installs or starts one: sudo make demo"
  else
    start_engine
  fi
  local info
  info=$(ask_engine GET /info) || give_up "the engine at $ENGINE does not tell what it is"
  case $info in
    *name=rootless*) give_up "the engine at $ENGINE is rootless: the addresses of its containers cannot be reached from the host" ;;
    *'Docker Desktop'*) give_up "the engine at $ENGINE is Docker Desktop: its containers live in a virtual machine" ;;
  esac
  say "version $(printf %s "$info" | sed -n 's/.*"ServerVersion":"\([^"]*\)".*/\1/p')"
}
start_engine() {
  if [ ! -x /usr/sbin/dockerd ] && ! command -v dockerd >/dev/null; then
    agree "No Docker engine is installed. Install docker.io from the distribution?" || give_up "no engine, no demo"
    say "installing docker.io (it stays installed)"
    install_packages docker.io iptables iproute2 util-linux procps || give_up "docker.io could not be installed"
  fi
  agree "The engine does not run. Start it for this demo?" || give_up "no engine, no demo"
  if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
    remember engine.at "$(boot)" systemd "$ENGINE"
    systemctl start docker.service || give_up "systemctl could not start docker: journalctl -u docker"
    STARTED=systemd
    wait_for 60 "the engine" answers "$ENGINE" || give_up "docker was started and does not answer"
  else
    # Without a service manager: an engine of its own in a network of its own, so that nothing is left behind.
    install_packages iptables iproute2 util-linux procps || give_up "packages are missing"
    STARTED=own
    ENGINE=$SOCK
    remember engine.at "$(boot)" own "$ENGINE"
    engine_up || give_up "the engine did not start"
    INSIDE=(nsenter "--net=/var/run/netns/$NS")
  fi
  say "engine: started for this demo, stopped at its end"
}

# ---- cleaning up --------------------------------------------------------------------------------
WATCH=
clean() {
  local status=$?
  set +e
  trap - EXIT INT TERM
  bold "Cleaning up"
  [ -n "$WATCH" ] && kill "$WATCH" 2>/dev/null
  take_down
  [ $status = 0 ] || { echo "demo: failed; the end of the agent's log:" >&2; tail -n 20 "$WORK/agent.log" >&2 2>/dev/null; }
  rm -rf --one-file-system "$WORK"
  say "containers, network, images and data of the demo are gone${STARTED:+, the engine is stopped}; packages stay"
  if [ $status = 0 ]; then epilogue; fi
  exit $status
}
epilogue() {
  bold "To go on by hand"
  local sudo='sudo '
  [ "$(id -u)" = 0 ] && sudo=
  [ -n "$STARTED" ] && say "${sudo}systemctl start docker     # or: ${sudo}dockerd &"
  cat <<EOF
   ${sudo}$TARGET/release/constellation agent
   # in another terminal
   ${sudo}$TARGET/release/constellation build examples/hello -t constellation/hello:1
   ${sudo}$TARGET/release/constellation apply -f examples/hello.yaml
   ${sudo}$TARGET/release/constellation events -w
EOF
}

# ---- the parts of the show ----------------------------------------------------------------------
C=$TARGET/release/constellation
start_agent() {
  "${INSIDE[@]}" env -u DOCKER_HOST "$C" agent --data-dir "$WORK/data" --run-dir "$WORK/run" \
    --api-socket "$WORK/api.sock" --api-address 127.0.0.1:0 --node-name demo --docker-host "unix://$ENGINE" \
    >"$WORK/agent.log" 2>&1 </dev/null &
  AGENT=$! AGENT_START=$(process_start $!)
  remember agent.pid "$AGENT" "$AGENT_START"
  export CONSTELLATION_API=unix://$WORK/api.sock
  wait_for 30 "the agent" agent_ready || give_up "the agent did not get ready"
  ADDRESS=$(cat "$WORK/run/api.address")
  TOKEN=$(cat "$WORK/data/admin.token")
  LINEAGE=$(rest GET /api/v1/status | sed -n 's/.*"lineage":"\([^"]*\)".*/\1/p')
  remember lineage "$LINEAGE"
  say "API at http://$ADDRESS and $WORK/api.sock, data in $WORK/data"
}
agent_ready() {
  kill -0 "$AGENT" 2>/dev/null || give_up "the agent ended"
  [ -s "$WORK/run/api.address" ] && timeout 5 "$ROOT/examples/ask.pl" "unix:$WORK/api.sock" GET /ready >/dev/null 2>&1
}
rest() { "${INSIDE[@]}" "$ROOT/examples/ask.pl" "$ADDRESS" "$@" "$TOKEN"; }

made() { MADE_IMAGES+=("$1"); remember images "$1"; }
pull_base() { # busybox:stable from a registry, if one answers; forgotten at the end unless it was there
  ask_engine GET /images/busybox:stable/json >/dev/null 2>&1 && return 0
  timeout 30 "$ROOT/examples/ask.pl" "unix:$ENGINE" POST '/images/create?fromImage=busybox&tag=stable' >/dev/null 2>&1 || true
  ask_engine GET /images/busybox:stable/json >/dev/null 2>&1 && made busybox:stable
}
static_busybox() { # prints the path of a static busybox: this machine's, or the distribution's package unpacked
  local binary
  for binary in /bin/busybox /usr/bin/busybox; do
    # No pipe: ldd fails then, and with it the pipe.
    if [ -x $binary ] && [[ $(LC_ALL=C ldd $binary 2>&1) == *'not a dynamic executable'* ]]; then echo $binary; return; fi
  done
  mkdir -p "$WORK/package"
  (cd "$WORK/package" && { timeout 120 apt-get -q download busybox-static ||
    { [ "$(id -u)" = 0 ] && timeout 300 apt-get -q update && timeout 120 apt-get -q download busybox-static; }; }) >/dev/null 2>&1 ||
    return 1
  dpkg -x "$WORK"/package/busybox-static_*.deb "$WORK/package" || return 1
  for binary in "$WORK/package/bin/busybox" "$WORK/package/usr/bin/busybox"; do
    [ -x "$binary" ] && echo "$binary" && return
  done
  return 1
}
NAME=${NS//[^a-z0-9]/}
NAME=$(printf %s "$NAME" | tr '[:upper:]' '[:lower:]' | cksum | cut -d' ' -f1)
HELLO=constellation-demo-$NAME/hello:1
make_base() {
  BASE=busybox:stable
  if pull_base; then say "base: busybox:stable"; return; fi
  local binary
  binary=$(static_busybox) || give_up "neither a registry nor the package busybox-static can be reached"
  mkdir "$WORK/base"
  cp "$binary" "$WORK/base/busybox"
  cat >"$WORK/base/Dockerfile" <<'EOF'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
EOF
  BASE=constellation-demo-$NAME/busybox:1
  say "no registry answers: a base is made from the distribution's static busybox"
  made "$BASE"
  "$C" build "$WORK/base" -t "$BASE" >"$WORK/base.log" 2>&1 || { cat "$WORK/base.log" >&2; give_up "the base was not built"; }
}
beside() { # desired beside actual, as REST tells it
  say "GET http://$ADDRESS/api/v1/services/hello/status"
  rest GET /api/v1/services/hello/status | perl -ne '
    printf "     %-10s %-22s %s\n", "REPLICA", "DESIRED", "ACTUAL";
    while (/"display":"([^"]+)".*?"desired":\{"state":"(\w+)","revision":(\d+).*?"epoch":"[^"]*"[^}]*\}(?:,"actual":\{"state":"(\w+)","ready":(\w+)(.*?)"restarts")?/g) {
      next if lc $2 eq "stop";
      my ($display, $want, $revision, $state, $ready, $more) = ($1, $2, $3, $4 // "nothing", $5 // "false", $6 // "");
      my $address = $more =~ /"address":"([^"]+)"/ ? " at $1" : "";
      printf "     %-10s %-22s %s\n", $display, "$want, revision $revision", $state . ($ready eq "true" ? ", ready" : "") . $address;
    }'
}
events_so_far() { # what the WebSocket brought since the last look
  local all
  all=$(wc -l <"$WORK/events")
  say "from the WebSocket (ws://$ADDRESS/api/v1/events):"
  sed -n "$((SHOWN + 1)),${all}p" "$WORK/events" | perl -ne '
    my ($index) = /"index":(\d+)/; my ($type) = /"type":"(\w+)"/; my ($reason) = /"reason":"(\w+)"/;
    my ($name) = /"object":\{[^}]*"name":"([^"]+)"/; my ($message) = /"message":"((?:[^"\\]|\\.)*)"/;
    printf "     %5s  %-8s %-22s %-16s %s\n", $index, $type, $reason, $name, substr($message // "", 0, 70) if defined $index;'
  SHOWN=$all
}
three_ready() { # three containers run, all of the replicas are ready, and none is the one in $1
  local answer
  answer=$(rest GET /api/v1/services/hello 2>/dev/null) || return 1
  [[ $answer == *'"replicas":{"desired":3,"running":3,"ready":3,"updated":3}'* ]] || return 1
  [ -z "${1:-}" ] || ! ask_engine GET "/containers/$1/json" >/dev/null 2>&1
}

# ---- the show -----------------------------------------------------------------------------------
trap clean EXIT
trap 'exit 130' INT TERM
SHOWN=0
bold "1. What is there"
find_cargo
say "$("${AS_OWNER[@]}" cargo --version)"
find_engine

bold "2. The binary (the first build takes minutes)"
"${AS_OWNER[@]}" cargo build --release --locked 2>&1 | sed 's/^ */   /' || give_up "the build failed"
say "$("$C" version 2>/dev/null | head -n 1)"

bold "3. An agent on an empty directory: a cluster of one"
start_agent

bold "4. An image from examples/hello"
make_base
made "$HELLO"
run "$C" build examples/hello -t "$HELLO" --build-arg "BASE=$BASE"

bold "5. Three replicas"
sed "s|image: constellation/hello:1|image: $HELLO|" examples/hello.yaml >"$WORK/hello.yaml"
sed -n '/^kind/,$p' "$WORK/hello.yaml" | sed 's/^/     /'
"${INSIDE[@]}" "$ROOT/examples/ask.pl" "$ADDRESS" watch /api/v1/events "$TOKEN" >"$WORK/events" 2>"$WORK/watch.log" &
WATCH=$!
run "$C" apply -f "$WORK/hello.yaml" -y --timeout 2m
wait_for 60 "three ready replicas" three_ready || give_up "three replicas did not get ready"
beside
events_so_far

bold "6. Somebody removes a container"
VICTIM=$(ask_engine GET "/containers/json?filters=$(filter)" | ids | head -n 1)
say "DELETE container ${VICTIM:0:12}"
BEGUN=$(date +%s%N)
ask_engine DELETE "/containers/$VICTIM?force=1" >/dev/null
wait_for 30 "the repair" three_ready "$VICTIM" || give_up "the replica was not repaired"
say "three ready again after $((($(date +%s%N) - BEGUN) / 1000000)) ms"
events_so_far
beside

bold "7. The spec changes"
sed -i 's/GREETING: hello/GREETING: good evening/' "$WORK/hello.yaml"
run "$C" apply -f "$WORK/hello.yaml" -y --timeout 2m
wait_for 60 "the update" three_ready || give_up "the update did not finish"
events_so_far
beside
PAGE=$(rest GET /api/v1/services/hello/status | grep -o '"address":"[0-9.]*"' | head -n 1 | cut -d'"' -f4)
say "GET http://$PAGE:8080/  ->  $("${INSIDE[@]}" "$ROOT/examples/ask.pl" "$PAGE:8080" GET / | head -n 1)"

bold "8. And gone"
run "$C" delete svc/hello -y
exit 0
