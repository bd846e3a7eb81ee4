# shellcheck shell=bash
# Tools that Debian does not package, at pinned versions.

readonly CARGO_DENY_VERSION=0.20.2
# Outside the repository, so that fresh clones share it.
readonly TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/kettle-tools
PATH=$TOOLS/bin:$PATH

has_cargo_deny() { [[ $(cargo-deny --version 2>/dev/null) == "cargo-deny $CARGO_DENY_VERSION" ]]; }
