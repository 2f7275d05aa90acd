# Installs packages of the distribution without starting their services. Sourced, not run.
#
# Here: `install_packages NAME...` (Debian and Ubuntu, root; nothing happens when all are there) and
# `cargo_of_caller` (finds cargo under sudo too).
# How: the packages' scripts ask /usr/sbin/policy-rc.d whether a service may start. Ours says no while
# this process lives and is without effect afterwards, so that even a crash leaves no lasting rule;
# one that was there before is kept and put back.

POLICY=/usr/sbin/policy-rc.d
KEPT=/usr/sbin/policy-rc.d.before-constellation

process_start() { # start time of pid $1: tells a process from a later one with the same number
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

policy_is_ours() { [ -f "$POLICY" ] && grep -q '^# constellation: no services' "$POLICY"; }

restore_policy() {
  policy_is_ours || return 0
  if [ -e "$KEPT" ]; then mv -f "$KEPT" "$POLICY"; else rm -f "$POLICY"; fi
}

forbid_services() {
  restore_policy # of a run that crashed
  [ -e "$POLICY" ] && mv "$POLICY" "$KEPT"
  cat >"$POLICY" <<EOF
#!/bin/sh
# constellation: no services start while process $$ installs packages; without effect afterwards.
[ "\$(sed 's/.*) //' /proc/$$/stat 2>/dev/null | cut -d' ' -f20)" = "$(process_start $$)" ] && exit 101
[ -x $KEPT ] && exec $KEPT "\$@"
exit 0
EOF
  chmod 755 "$POLICY"
}

missing_packages() {
  local p
  for p in "$@"; do
    dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || echo "$p"
  done
}

install_packages() {
  local missing
  command -v dpkg-query >/dev/null || { echo "packages: this is neither Debian nor Ubuntu; install: $*" >&2; return 1; }
  missing=$(missing_packages "$@" | tr '\n' ' ')
  [ -n "${missing// /}" ] || return 0
  [ "$(id -u)" = 0 ] || { echo "packages: root is needed to install: $missing" >&2; return 1; }
  echo "packages: installing $missing" >&2
  (
    trap restore_policy EXIT
    forbid_services
    apt_get() {
      DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
        "$@" </dev/null
    }
    # shellcheck disable=SC2086 # names, one word each
    apt_get install -y --no-install-recommends $missing >/dev/null 2>&1 || {
      # The lists may be absent (a bare image) or old.
      apt_get update >/dev/null && apt_get install -y --no-install-recommends $missing >&2
    }
  ) || { echo "packages: could not install $missing" >&2; return 1; }
}

cargo_of_caller() { # with sudo, cargo belongs to the user who called it
  local home
  command -v cargo >/dev/null && return 0
  for home in "$HOME" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
    if [ -x "$home/.cargo/bin/cargo" ]; then
      export PATH="$home/.cargo/bin:$PATH" CARGO_HOME="$home/.cargo"
      if [ -d "$home/.rustup" ]; then export RUSTUP_HOME="$home/.rustup"; fi
      return 0
    fi
  done
  echo "cargo is missing: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env" >&2
  return 1
}
