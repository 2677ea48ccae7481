#!/bin/sh
# Installs what is missing, builds everything and runs the tests.
#
#   sh packaging/test.sh [CTEST-OPTION...]        the quick pass: each claim once
#   sh packaging/test.sh --all [CTEST-OPTION...]  the thorough tests as well
#   sh packaging/test.sh --vm [--kernel 5.10]     those in emulated machines
#
# Options of ctest choose tests, e.g. -L unit or -R Teardown. A test that fails
# is run once more. One that passes then is named as flaky, and its first output
# is kept; the run passes with two of these at most.
#
# The exit status is that of ctest, or of the tests in machines: these take
# minutes, see tests/rig/vm/run_tests. Environment:
#   TREEKILL_PRESET           release (default), debug, asan or tsan
#   TREEKILL_CMAKE_ARGS       more arguments for the configure step
#   TREEKILL_REQUIRE_CGROUP   1: a test that finds no cgroup fails, not skips
#   TREEKILL_NO_SKIP          1: any test that skips is a failure
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
# shellcheck source-path=SCRIPTDIR source=dependencies.sh disable=SC1091
. packaging/dependencies.sh

what=quick
case ${1:-} in
  --all | --vm)
    what=${1#--}
    shift
    ;;
esac
preset=${TREEKILL_PRESET:-release}
install_build_packages
install_test_packages
[ "$what" != vm ] || install_vm_packages

# ccache, where it is installed. Not with another compiler: a precompiled header
# of clang's holds the times of files, which ccache does not bring back.
launcher=
case ${TREEKILL_CMAKE_ARGS:-} in
  *CMAKE_CXX_COMPILER*) ;;
  *)
    if command -v ccache >/dev/null 2>&1; then
      launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache
      # Or it would leave alone what uses precompiled headers, and what is
      # compiled in another folder.
      export CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_BASEDIR="$root"
    fi
    ;;
esac
began=$(date +%s)
# BUILD_TESTING is said because quickstart.sh may have turned it off here.
# shellcheck disable=SC2086 # A list of arguments.
cmake --preset "$preset" -DBUILD_TESTING=ON $launcher \
  ${TREEKILL_CMAKE_ARGS:-}
cmake --build --preset "$preset"
echo "Built in $(($(date +%s) - began)) s."

if [ "$what" = vm ]; then
  # Building a root file system is root's, and so is what was built.
  as_root env ${TREEKILL_VM_DIR:+"TREEKILL_VM_DIR=$TREEKILL_VM_DIR"} \
    tests/rig/vm/run_tests "$@" "build/$preset"
  exit
fi

# Real cgroups are root's, unless a subtree was delegated.
become=
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null 2>&1 && sudo true; then
    echo "Not root: running the tests with sudo."
    become=sudo
  else
    echo "Neither root nor sudo: tests that need a cgroup of their own may skip."
  fi
fi
folder=build/$preset/Testing/Temporary
flaky=build/$preset/flaky
# Most tests wait more than they compute.
at_a_time=$((2 * $(nproc)))

run_ctest() {
  # shellcheck disable=SC2086 # Empty, or one word.
  $become env ${CI:+"CI=$CI"} \
    ${TREEKILL_REQUIRE_CGROUP:+"TREEKILL_REQUIRE_CGROUP=1"} \
    "$(command -v ctest)" --preset "$preset" -j "$at_a_time" "$@"
}

# From ctest's log, what that test has printed.
output_of() { # NAME
  awk -v "name=$1" '
    / Testing: / { mine = ($0 == substr($0, 1, index($0, ": ")) " " name) }
    mine' "$folder/LastTest.log"
}

# After at most two failures: the status of a second try, with the names of
# those that pass now above its summary.
try_again() {
  rm -rf "$flaky"
  mkdir -p "$flaky"
  names=$(sed 's/^[0-9]*://' "$folder/LastTestsFailed.log")
  for name in $names; do
    output_of "$name" >"$flaky/$(echo "$name" | tr / _).log"
  done
  again=0
  run_ctest --rerun-failed >"$flaky/second-try.log" 2>&1 || again=$?
  sed '/% tests passed, /,$d' "$flaky/second-try.log"
  for name in $names; do
    # Those that fail again are in ctest's list.
    if [ "$again" -ne 0 ] && sed 's/^[0-9]*://' "$folder/LastTestsFailed.log" |
      grep -qxF "$name"; then
      continue
    fi
    echo "flaky: $name, first output in $flaky/$(echo "$name" | tr / _).log"
  done
  sed -n '/% tests passed, /,$p' "$flaky/second-try.log"
  return "$again"
}

echo "Not run: tests under other kernels and versions of systemd, see --vm."
status=0
if [ "$what" = quick ]; then
  set -- -LE 'thorough|benchmark' "$@"
fi
$become rm -f "$folder/LastTestsFailed.log"
run_ctest "$@" || status=$?
if [ "${TREEKILL_NO_SKIP:-}" = 1 ] &&
  grep -E '^\[  SKIPPED \]|^Test Not Run|^Test Skipped' "$folder/LastTest.log"
then
  echo "error: a test was skipped or did not run" >&2
  status=1
elif [ "$status" -ne 0 ] && [ -s "$folder/LastTestsFailed.log" ] &&
  [ "$(wc -l <"$folder/LastTestsFailed.log")" -le 2 ]; then
  status=0
  try_again || status=$?
fi
# ctest's logs must not keep this user from removing the build folder.
[ -z "$become" ] || sudo chown -R "$(id -u):$(id -g)" "build/$preset" || :
exit "$status"
