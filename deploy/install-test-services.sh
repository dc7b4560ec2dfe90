#!/bin/sh
# Install what the tests run against, from Debian's packages: RabbitMQ, PostgreSQL, Chromium and Node; and the FHIR clients
# of tests/clients, at the versions of its lock file, into its node_modules.
# Says nothing when all are there; needs root, or sudo. The tests start their own servers (tests/services.py),
# so the services that Debian would start are kept from starting, unless they were installed already.
set -eu

clients=$(dirname "$0")/../tests/clients
install_clients() {
  done=$clients/node_modules/.installed
  [ ! "$done" -nt "$clients/package-lock.json" ] || return 0
  echo "install-test-services: installing the FHIR clients of tests/clients"
  (cd "$clients" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error --silent) || {
    echo "install-test-services: npm ci in tests/clients failed" >&2
    return 1
  }
  touch "$done"
}

missing=""
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
[ -n "$missing" ] || { install_clients; exit; }

command -v apt-get >/dev/null 2>&1 || { echo "install-test-services: install by hand (no apt-get here):$missing" >&2; exit 1; }
as_root=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "install-test-services: run as root to install:$missing" >&2; exit 1; }
  as_root=sudo
fi
echo "install-test-services: installing$missing"

# invoke-rc.d asks policy-rc.d whether a service may start (101: no). One that is there already is left as it is.
policy=/usr/sbin/policy-rc.d
guarded=no
remove_guard() { [ "$guarded" = no ] || $as_root rm -f "$policy"; }
trap remove_guard EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$policy" ]; then
  guarded=yes
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod 755 "$policy"
fi

log=$(mktemp)
install_missing() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    # shellcheck disable=SC2086 # a list of package names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}
if ! install_missing >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  rm -f "$log"
  exit 1
fi
rm -f "$log"
install_clients
