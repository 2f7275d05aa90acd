#!/usr/bin/env bash
# Style and supply chain: formatting, clippy, shell syntax, top level, licences, bans and sources.
#
# Not here: advisories. cargo-deny fetches their database from GitHub, which a closed network refuses;
# `cargo deny check advisories` by hand does it. Last clean look at the list of dependencies: 2026-11.
set -euo pipefail
cd "$(dirname "$0")/../.."
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
. tests/setup/packages.sh
cargo_of_caller
step() { echo "lint: $*"; }

for part in fmt clippy; do
  cargo $part --version >/dev/null 2>&1 || rustup component add "${part/fmt/rustfmt}"
done

step "format"
cargo fmt --all -- --check

step "shell syntax"
while read -r script; do bash -n "$script"; done < <(git ls-files '*.sh' .ci/run)
while read -r script; do sh -n "$script"; done < <(git ls-files examples/hello/serve examples/web/serve examples/web/count)

step "top level"
allowed='^(\.gitignore|\.ci|Cargo\.toml|Cargo\.lock|Makefile|README\.md|CHANGELOG\.md|LICENSE|deny\.toml|clippy\.toml|rustfmt\.toml|src|manifests|examples|tests|benches)$'
if git ls-files | cut -d/ -f1 | sort -u | grep -vE "$allowed"; then
  echo "lint: these do not belong on the top level" >&2
  exit 1
fi

step "clippy"
cargo clippy --all-targets --quiet -- -D warnings

step "licences, bans, sources"
export PATH="$TARGET/tools/bin:$PATH"
if ! cargo deny --version >/dev/null 2>&1; then
  step "cargo-deny is missing: building it once under $TARGET/tools (minutes)"
  # Without optimisation: it is run for a second, and built far quicker.
  cargo install --quiet --locked --debug --root "$TARGET/tools" --target-dir "$TARGET/tools/build" 'cargo-deny@^0.19'
fi
# It reads the crates of every platform, also those that this one does not build.
cargo fetch --locked --quiet
cargo deny --offline --log-level error check --hide-inclusion-graph licenses bans sources
step "clean"
