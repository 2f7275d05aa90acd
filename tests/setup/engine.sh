# A Docker engine of its own in a network namespace of its own. Sourced by the tests' lab and by the demo.
#
# Here: `engine_up` and `engine_down`, what can happen to it meanwhile (`engine_stop`, `engine_restart`, `engine_live`,
# `engine_freeze`, `engine_thaw`), `background` (a process in the namespace), `inside`, `dk` (the distribution's docker
# against this engine), `wait_for`. Set before: LAB (directory of all state, short:
# it holds a socket), NS (name of the namespace).
# Nothing touches the host's network, engine or containers: no link leads out of the namespace. Only
# recorded processes and those inside the namespace are ended. `engine_down` also clears what a crashed
# run left, and does nothing where there is nothing.
SOCK=$LAB/docker.sock
DOCKER=/usr/bin/docker # the distribution's: a `docker` earlier in the path may be another program

dk() { timeout 120 "$DOCKER" --config "$LAB/cli" -H "unix://$SOCK" "$@"; }
inside() { nsenter --net="/var/run/netns/$NS" "$@"; }
engine_ready() { [ -S "$SOCK" ] && timeout 5 "$DOCKER" -H "unix://$SOCK" version >/dev/null 2>&1; }

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
  all="$(recorded_alive) $(ip netns pids "$NS" 2>/dev/null || true) $(ip netns pids "$NS-clients" 2>/dev/null || true)"
  # shellcheck disable=SC2086
  { echo $all; descendants $all; } | tr ' ' '\n' | grep -vx -e '' -e "$$" -e "$BASHPID" | sort -un | tr '\n' ' '
}
gone() { [ -z "$(ours | tr -d ' ')" ]; }
wait_for() { # wait_for SECONDS WHAT CMD...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $end ] || { echo "$what: not in time" >&2; return 1; }
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
engine_up() {
  mkdir -p "$LAB/cli"
  echo '{}' >"$LAB/daemon.json"
  ip netns add "$NS"
  ip -n "$NS" link set lo up
  engine_start
}
engine_start() {
  local pid
  # nsenter, not `ip netns exec`: that remounts /sys and loses cgroup v1.
  background dockerd /usr/sbin/dockerd --data-root "$LAB/data" --exec-root "$LAB/exec" --pidfile "$LAB/docker.pid" \
    -H "unix://$SOCK" --shutdown-timeout 2 --config-file "$LAB/daemon.json"
  wait_for 60 "the engine" engine_ready || { tail -n 20 "$LAB/dockerd.log" >&2; return 1; }
  record "$(cat "$LAB/docker.pid")" dockerd
  for pid in $(ours); do record "$pid" below; done
}
engine_pid() { # of the engine, which is one of the recorded processes
  local pid
  pid=$(cat "$LAB/docker.pid")
  case " $(recorded_alive | tr '\n' ' ') " in
    *" $pid "*) echo "$pid" ;;
    *) echo "the engine does not run" >&2; return 1 ;;
  esac
}
engine_stop() { # as a service manager does it: the containers end with the engine, unless it lets them live
  local pid
  pid=$(engine_pid)
  kill "$pid"
  wait_for 60 "end of the engine" engine_ended "$pid"
}
engine_restart() {
  engine_stop
  engine_start
}
engine_live() { # engine_live true|false: whether containers outlive the engine
  echo "{\"live-restore\": $1}" >"$LAB/daemon.json"
  kill -HUP "$(engine_pid)"
  wait_for 10 "the engine's new settings" engine_is_live "$1"
}
engine_is_live() { [ "$(dk info --format '{{.LiveRestoreEnabled}}')" = "$1" ]; }
engine_freeze() { kill -STOP "$(engine_pid)"; } # takes every call, answers none
engine_thaw() { kill -CONT "$(engine_pid)"; }
engine_ended() { [ ! -e "/proc/$1" ]; }
unmount_below() {
  { grep -F " $LAB/" /proc/self/mounts || true; } | cut -d' ' -f2 | sort -r | while read -r m; do
    umount "$m" 2>/dev/null || umount -l "$m" 2>/dev/null
  done
}
engine_down() { (
  set +e # every step is tried
  [ -d "$LAB" ] || [ -e "/var/run/netns/$NS" ] || [ -e "/var/run/netns/$NS-clients" ] || return 0
  local left pid
  engine_thaw 2>/dev/null
  if engine_ready; then
    left=$(dk ps -aq 2>/dev/null)
    # shellcheck disable=SC2086
    [ -z "$left" ] || dk rm -f $left >/dev/null 2>&1
  fi
  for pid in $(recorded_alive); do kill "$pid" 2>/dev/null; done
  wait_for 10 "end of the engine" gone 2>/dev/null
  for pid in $(ours); do kill -9 "$pid" 2>/dev/null; done # what did not end when asked
  wait_for 5 "end of the engine" gone
  unmount_below
  if [ -e "/var/run/netns/$NS-clients" ]; then ip netns del "$NS-clients"; fi
  if [ -e "/var/run/netns/$NS" ]; then ip netns del "$NS"; fi
  rm -rf --one-file-system "$LAB"
); }
