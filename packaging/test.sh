#!/bin/sh
# Installs what is missing, builds everything and runs the tests.
#
#   sh packaging/test.sh [CTEST-OPTION...]     e.g. -L unit, -R Teardown
#
# The last lines and the exit status are ctest's. Environment:
#   TREEKILL_PRESET           release (default), debug, asan or tsan
#   TREEKILL_CMAKE_ARGS       more arguments for the configure step
#   TREEKILL_REQUIRE_CGROUP   1: a test that finds no cgroup fails, not skips
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
# shellcheck source-path=SCRIPTDIR source=dependencies.sh disable=SC1091
. packaging/dependencies.sh

preset=${TREEKILL_PRESET:-release}
install_build_packages
install_test_packages

# BUILD_TESTING is said because quickstart.sh may have turned it off here.
# shellcheck disable=SC2086 # A list of arguments.
cmake --preset "$preset" -DBUILD_TESTING=ON ${TREEKILL_CMAKE_ARGS:-}
cmake --build --preset "$preset"

set -- -j "$(nproc)" "$@"

# Real cgroups are root's, unless a subtree was delegated.
if [ "$(id -u)" -eq 0 ]; then
  exec ctest --preset "$preset" "$@"
fi
if ! command -v sudo >/dev/null 2>&1 || ! sudo true; then
  echo "Neither root nor sudo: tests that need a cgroup of their own may skip."
  exec ctest --preset "$preset" "$@"
fi
echo "Not root: running the tests with sudo."
require=${TREEKILL_REQUIRE_CGROUP:-}
status=0
sudo env ${CI:+"CI=$CI"} ${require:+"TREEKILL_REQUIRE_CGROUP=$require"} \
  "$(command -v ctest)" --preset "$preset" "$@" || status=$?
# ctest's logs must not keep this user from removing the build folder.
sudo chown -R "$(id -u):$(id -g)" "build/$preset" || :
exit "$status"
