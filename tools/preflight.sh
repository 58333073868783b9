#!/usr/bin/env bash
# Checks that the tools named as arguments are here and new enough, and names
# every one that is not, with how to get it: preflight.sh git make go node cc
#
# It installs nothing but the C compiler, which `go test -race` needs and which
# Debian's package manager can bring when run as root.
set -euo pipefail
cd "$(dirname "$0")/.."

problems=0
problem() {
  echo "$1" >&2
  problems=1
}

# on_debian PACKAGE… says how to get Debian packages, elsewhere where to look.
on_debian() {
  if command -v apt-get >/dev/null; then
    echo "apt-get install $* (as root)"
  else
    echo "install it with this system's package manager"
  fi
}

# require NAME LEAST FOUND HOW: FOUND is the version, empty if there is none.
require() {
  if [ -z "$3" ]; then
    problem "missing: $1 $2 or later; $4"
  elif [ "$(printf '%s\n%s\n' "$2" "$3" | sort -V | head -n 1)" != "$2" ]; then
    problem "too old: $1 $3, need $2 or later; $4"
  fi
}

# first_version COMMAND… prints the first thing in its output that looks like one.
first_version() {
  command -v "$1" >/dev/null || return 0
  "$@" 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1 || true
}

check_cc() {
  local cc
  cc=$(go env CC 2>/dev/null || echo cc)
  command -v "${cc%% *}" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "==> installing a C compiler for go test -race"
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev; then
      return
    fi
  fi
  problem "missing: a C compiler ($cc), which go test -race needs; $(on_debian gcc libc6-dev)"
}

for tool in "$@"; do
  case $tool in
    git) require git 2.20 "$(first_version git --version)" "$(on_debian git)" ;;
    make) require "GNU make" 4.0 "$(first_version make --version)" "$(on_debian make)" ;;
    # In this folder an older go fetches the toolchain that go.mod asks for,
    # unless GOTOOLCHAIN forbids it, and then tells that one's version.
    go) require Go 1.26 "$(first_version go env GOVERSION)" "see https://go.dev/doc/install" ;;
    node)
      require Node.js 20.19 "$(first_version node --version)" "see https://nodejs.org/en/download"
      require npm 9.0 "$(first_version npm --version)" "it comes with Node.js"
      ;;
    cc) check_cc ;;
    *)
      echo "preflight.sh: unknown tool $tool" >&2
      exit 2
      ;;
  esac
done
exit "$problems"
