#!/bin/sh
# Installs what is missing, builds everything and runs the tests.
#
#   sh packaging/test.sh [CTEST-OPTION...]     e.g. -L unit, -R Teardown
#   sh packaging/test.sh --vm [--kernel 5.10]  only those in emulated machines
#
# The exit status is that of ctest, or of the tests in machines: these take
# minutes, see tests/rig/vm/run_tests. Environment:
#   TREEKILL_PRESET           release (default), debug, asan or tsan
#   TREEKILL_CMAKE_ARGS       more arguments for the configure step
#   TREEKILL_REQUIRE_CGROUP   1: a test that finds no cgroup fails, not skips
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
# shellcheck source-path=SCRIPTDIR source=dependencies.sh disable=SC1091
. packaging/dependencies.sh

vm=
if [ "${1:-}" = --vm ]; then
  vm=1
  shift
fi
preset=${TREEKILL_PRESET:-release}
install_build_packages
install_test_packages
[ -z "$vm" ] || install_vm_packages

# BUILD_TESTING is said because quickstart.sh may have turned it off here.
# shellcheck disable=SC2086 # A list of arguments.
cmake --preset "$preset" -DBUILD_TESTING=ON ${TREEKILL_CMAKE_ARGS:-}
cmake --build --preset "$preset"

if [ -n "$vm" ]; then
  # Building a root file system is root's, and so is what was built.
  as_root env ${TREEKILL_VM_DIR:+"TREEKILL_VM_DIR=$TREEKILL_VM_DIR"} \
    tests/rig/vm/run_tests "$@" "build/$preset"
  exit
fi

# Most tests wait more than they compute.
set -- -j "$((2 * $(nproc)))" "$@"

# Ends the script, with its status.
finish() {
  echo "Not run: those under other kernels and versions of systemd; see --vm."
  exit "$1"
}

# Real cgroups are root's, unless a subtree was delegated.
status=0
if [ "$(id -u)" -eq 0 ]; then
  ctest --preset "$preset" "$@" || status=$?
  finish "$status"
fi
if ! command -v sudo >/dev/null 2>&1 || ! sudo true; then
  echo "Neither root nor sudo: tests that need a cgroup of their own may skip."
  ctest --preset "$preset" "$@" || status=$?
  finish "$status"
fi
echo "Not root: running the tests with sudo."
require=${TREEKILL_REQUIRE_CGROUP:-}
sudo env ${CI:+"CI=$CI"} ${require:+"TREEKILL_REQUIRE_CGROUP=$require"} \
  "$(command -v ctest)" --preset "$preset" "$@" || status=$?
# ctest's logs must not keep this user from removing the build folder.
sudo chown -R "$(id -u):$(id -g)" "build/$preset" || :
finish "$status"
