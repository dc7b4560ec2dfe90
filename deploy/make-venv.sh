#!/usr/bin/env bash
# Make .venv with the given Python; where Debian keeps venv in a package of its own, install that package first.
set -euo pipefail

python=${1:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Planbrug needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2
  exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  echo "installing $package, which $python lacks"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
fi
[ -x .venv/bin/pip ] || { rm -rf .venv && "$python" -m venv .venv; }
