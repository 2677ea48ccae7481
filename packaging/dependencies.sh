# shellcheck shell=sh
# The Debian packages that treekill needs, and how to install the missing ones.
# Sourced by quickstart.sh, test.sh and .ci/run; does nothing by itself.

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    echo "error: '$1' needs root: run this as root, or install sudo" >&2
    return 1
  fi
}

# Installs those of the named packages that are missing. Where none is, it
# neither needs root nor touches the network.
install_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "error: not a Debian system; install by hand: $*" >&2
    return 1
  fi
  missing=
  for package in "$@"; do
    # shellcheck disable=SC2016 # dpkg-query expands it.
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
      grep -qx installed || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  echo "Installing:$missing"
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
    echo "error: installing needs root or sudo; missing:$missing" >&2
    return 1
  fi
  as_root apt-get -qq update ||
    echo "warning: apt-get update failed; using the package lists at hand" >&2
  # shellcheck disable=SC2086 # A list of package names.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    install --no-install-recommends $missing || {
    echo "error: could not install:$missing" >&2
    return 1
  }
}

# What the `treekill` binary is built with.
install_build_packages() {
  # g++ cmake ninja-build  the tool chain; CMake 3.25 reads CMakePresets.json
  # pkg-config             finds Abseil's archives
  # libabsl-dev            Status, strings, time; linked statically
  # nlohmann-json3-dev     the JSON of --report and --json
  # libsystemd-dev         the header of sd-bus; the library is loaded on demand
  install_packages g++ cmake ninja-build pkg-config \
    libabsl-dev nlohmann-json3-dev libsystemd-dev
}

# What quickstart.sh needs in addition: ps, which a bare system may lack.
install_demo_packages() {
  install_packages procps
}

# What building and running the tests needs in addition.
install_test_packages() {
  # libgtest-dev libgmock-dev  the test framework
  # libsystemd0                what we say of cgroups is compared with it
  # coreutils                  timeout, which treekill is compared with
  # procps util-linux          watch, top, setsid: to make escapees
  # lsof                       what the guardian holds
  # python3                    a caller in another language
  # systemd                    PID 1 of the tests' machines; not started here
  # dbus dbus-user-session     the buses there, the system's and each user's
  # libpam-systemd             gives a login there a session
  # sudo                       becomes root there
  # openssh-client             an ssh-agent, to be kept
  # python3-jsonschema         checks what we write as JSON
  install_packages libgtest-dev libgmock-dev libsystemd0 \
    coreutils procps util-linux bash lsof python3 \
    systemd dbus dbus-user-session libpam-systemd sudo openssh-client \
    python3-jsonschema
}

# What the tests in emulated machines need in addition: tests/rig/vm.
install_vm_packages() {
  # qemu-system-x86               the machines
  # mmdebstrap e2fsprogs          their root file systems
  # cpio kmod busybox-static      what their kernels start from
  # xz-utils zstd                 modules are compressed
  # bash util-linux               the scripts; setpriv, flock
  install_packages qemu-system-x86 mmdebstrap e2fsprogs \
    cpio kmod busybox-static xz-utils zstd bash util-linux
}
