#!/usr/bin/env bash
# Installs the program and what belongs to it, or takes it away again.
#
#   install.sh install | uninstall
#
# PREFIX (/usr/local) for the program, its unit, completions and manual; SYSCONFDIR (/etc) for the configuration;
# DESTDIR puts everything below another root, for packages; BINARY is a program that is built already, without it
# one is built. An agent.yaml that is there is never written over, and data is never touched. A running agent goes
# on with the program that it was started from, until it is restarted.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
. "$HERE/packages.sh"

PREFIX=${PREFIX:-/usr/local} SYSCONFDIR=${SYSCONFDIR:-/etc} DESTDIR=${DESTDIR:-} BINARY=${BINARY:-}
BIN=$PREFIX/bin/constellation
UNIT=$PREFIX/lib/systemd/system/constellation.service
MAN=$PREFIX/share/man/man1
BASH_COMPLETION=$PREFIX/share/bash-completion/completions/constellation
ZSH_COMPLETION=$PREFIX/share/zsh/site-functions/_constellation
FISH_COMPLETION=$PREFIX/share/fish/vendor_completions.d/constellation.fish
SCHEMA=$PREFIX/share/constellation/agent.schema.json
CONFIG=$SYSCONFDIR/constellation/agent.yaml

build() {
  local as=()
  cargo_of_caller
  # What sudo builds would belong to root, in the folder of the one who called it.
  if [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then as=(runuser -u "$SUDO_USER" -- env "PATH=$PATH"); fi
  "${as[@]}" cargo build --release --locked --manifest-path "$ROOT/Cargo.toml"
  BINARY=${CARGO_TARGET_DIR:-$ROOT/target}/release/constellation
}
put() { # put MODE PATH < content: whole or not at all
  local to=$DESTDIR$2
  install -d -m 0755 "$(dirname "$to")"
  cat >"$to.new"
  chmod "$1" "$to.new"
  mv -f "$to.new" "$to"
}
systemd() { # nothing where the files are only laid out, or where no systemd runs
  [ -z "$DESTDIR" ] && [ -d /run/systemd/system ] || return 0
  systemctl "$@"
}

do_install() {
  [ -n "$BINARY" ] || build
  [ -x "$BINARY" ] || { echo "install: $BINARY is no program" >&2; exit 2; }
  put 0755 "$BIN" <"$BINARY"
  "$BINARY" agent unit --binary "$BIN" | put 0644 "$UNIT"
  "$BINARY" completion bash | put 0644 "$BASH_COMPLETION"
  "$BINARY" completion zsh | put 0644 "$ZSH_COMPLETION"
  "$BINARY" completion fish | put 0644 "$FISH_COMPLETION"
  "$BINARY" agent config schema | put 0644 "$SCHEMA"
  "$BINARY" man "$DESTDIR$MAN"
  if [ -e "$DESTDIR$CONFIG" ]; then
    echo "install: $DESTDIR$CONFIG is kept as it is"
  else
    # For root alone: a token to join with may stand in it.
    "$BINARY" agent config example | put 0600 "$CONFIG"
  fi
  systemd daemon-reload
  echo "installed $DESTDIR$BIN"
  [ -z "$DESTDIR" ] || return 0
  echo "look at the machine: constellation doctor"
  echo "start it:            systemctl enable --now constellation"
  echo "after an update:     systemctl restart constellation    (containers go on)"
}
do_uninstall() {
  if systemd is-active --quiet constellation && [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
    systemd disable --now constellation
  fi
  rm -f "$DESTDIR$BIN" "$DESTDIR$UNIT" "$DESTDIR$BASH_COMPLETION" "$DESTDIR$ZSH_COMPLETION" \
    "$DESTDIR$FISH_COMPLETION" "$DESTDIR$SCHEMA" "$DESTDIR$MAN"/constellation.1 "$DESTDIR$MAN"/constellation-*.1
  rmdir "$DESTDIR$(dirname "$SCHEMA")" 2>/dev/null || true
  systemd daemon-reload
  echo "uninstalled $DESTDIR$BIN"
  echo "kept: the configuration $DESTDIR$CONFIG, and what the agent knows, in its dataDir (/var/lib/constellation)."
  echo "Containers go on, volumes and networks stay with Docker."
}

case ${1:-} in
  install) do_install ;;
  uninstall) do_uninstall ;;
  *) sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
