#!/bin/sh
# From a bare Debian 12 to a running treekill, with the proof that it works:
# one command that leaves processes behind, first without treekill, then with.
#
#   sh packaging/quickstart.sh          as root, or as a user with sudo
#
# Exits with 0 when nothing survived under treekill.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
# shellcheck source-path=SCRIPTDIR source=dependencies.sh disable=SC1091
. packaging/dependencies.sh
treekill=build/release/treekill

say() { printf '\n== %s\n' "$*"; }

# The command: it starts a child in a session of its own and a daemon (the
# double fork), and ends. The sleeps are long enough to be seen, and no longer.
job='
setsid sleep 300 </dev/null >/dev/null 2>&1 &
setsid sh -c "cd /; sleep 301 &" </dev/null >/dev/null 2>&1
sleep 0.5
echo "the command is done"
'

# The PIDs of all live processes that were started with the cookie in their
# environment, which no process of anybody else has.
survivors() {
  grep -lzxF "TREEKILL_DEMO=$cookie" /proc/[0-9]*/environ 2>/dev/null |
    cut -d/ -f3 || :
}

end_survivors() {
  for pid in $(survivors); do
    kill -KILL "$pid" 2>/dev/null || :
  done
}

# Prints the survivors; fails where there are none.
list_survivors() {
  pids=$(survivors | paste -sd, -)
  if [ -z "$pids" ]; then
    echo "alive afterwards: none"
    return 1
  fi
  echo "alive afterwards:"
  ps -o pid,ppid,pgid,sid,args -p "$pids" || :
}

demo() {
  cookie=$(cat /proc/sys/kernel/random/uuid)
  trap end_survivors EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  say "Without treekill: sh -c '...'"
  env TREEKILL_DEMO="$cookie" sh -c "$job"
  if ! list_survivors; then
    echo "error: the demonstration left nothing to show" >&2
    return 1
  fi
  end_survivors
  echo "(ended by this script, by PID)"

  say "With treekill: $treekill run -v -- sh -c '...'"
  status=0
  "$treekill" run -v -- env TREEKILL_DEMO="$cookie" sh -c "$job" || status=$?
  if list_survivors; then
    echo "error: processes survived under treekill" >&2
    return 1
  fi
  if [ "$status" -ne 0 ]; then
    echo "error: treekill run ended with status $status, not 0" >&2
    return 1
  fi
}

# This is how the script calls itself through sudo.
if [ "${1:-}" = --demo-only ]; then
  demo
  exit
fi

say "Packages and build"
install_build_packages
install_demo_packages
# A configured build folder is left as it is. A new one goes without the tests,
# so that it needs none of their packages.
[ -f build/release/build.ninja ] || cmake --preset release -DBUILD_TESTING=OFF
cmake --build --preset release --target treekill

# 125 is treekill's own failure: here, that it has no way to hold a tree.
status=0
"$treekill" run -- true || status=$?
if [ "$status" -eq 125 ] && [ "$(id -u)" -ne 0 ]; then
  say "This user cannot write a cgroup here: showing it with sudo"
  as_root sh "$root/packaging/quickstart.sh" --demo-only
elif [ "$status" -ne 0 ]; then
  echo "error: '$treekill run -- true' ended with status $status" >&2
  exit 1
else
  demo
fi

say "Yours to use: $treekill run [OPTION...] -- COMMAND [ARG...]"
