#!/usr/bin/env bash
# Builds the Debian packages of the server and of the gateway into a folder: the Swift runtime is in the programs, resources are in /usr/share/berth.
#   scripts/package.sh [FOLDER]          BERTH_PROGRAMS names a folder of programs that are built already
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
. scripts/prepare.sh
out=${1:-$PWD/.build/packages}
need_packages $RUN_PACKAGES binutils
version=$(sed -n 's/.*static let number = "\(.*\)"/\1/p' Sources/BerthWire/Version.swift)
programs=${BERTH_PROGRAMS:-}
if [ -z "$programs" ]; then
  scratch=$PWD/.build-package
  for product in berth berth-gateway; do
    swift build -c release --static-swift-stdlib --scratch-path "$scratch" --product "$product"
  done
  programs=$scratch/release
fi
commit=$(git rev-parse --short HEAD 2>/dev/null || true)
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The packages that hold the shared libraries of a program.
libraries() {
  ldd "$1" | awk '/=> \//{print $3}' | while read -r file; do dpkg -S "$(readlink -f "$file")" 2>/dev/null || dpkg -S "$file" 2>/dev/null; done |
    cut -d: -f1 | sort -u | paste -sd, | sed 's/,/, /g'
}

package() { # name, description, needed packages, documents
  local name=$1 root=$work/$1 program=$programs/$1
  mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/share/berth" "$root/usr/lib/systemd/system" "$root/usr/lib/sysusers.d" "$root/usr/lib/tmpfiles.d" \
    "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/usr/share/doc/$name"
  strip -o "$root/usr/bin/$name" "$program"
  # The gateway reads the dictionary alone; each package has files of its own.
  if [ "$name" = berth ]; then resources="BerthServer BerthScene BerthWeb BerthWire"; else resources="BerthWire"; fi
  local place=$root/usr/share/$name
  mkdir -p "$place"
  for target in $resources; do cp -r "$programs/berth_$target.resources" "$place/"; done
  [ -z "$commit" ] || echo "$commit" >"$place/berth_BerthWire.resources/BUILD"
  [ "$name" = berth ] || rmdir "$root/usr/share/berth"
  cp "packaging/$name.service" "$root/usr/lib/systemd/system/"
  [ "$name" != berth ] || cp packaging/berth-nightly.service packaging/berth-nightly.timer "$root/usr/lib/systemd/system/"
  cp "packaging/$name.sysusers" "$root/usr/lib/sysusers.d/$name.conf"
  cp "packaging/$name.tmpfiles" "$root/usr/lib/tmpfiles.d/$name.conf"
  python3 packaging/manual.py "$program" "$version" | gzip -9n >"$root/usr/share/man/man1/$name.1.gz"
  "$program" --generate-completion-script bash >"$root/usr/share/bash-completion/completions/$name"
  "$program" --generate-completion-script zsh >"$root/usr/share/zsh/vendor-completions/_$name"
  "$program" --generate-completion-script fish >"$root/usr/share/fish/vendor_completions.d/$name.fish"
  cp $4 "$root/usr/share/doc/$name/"
  [ "$name" != berth ] || cp -r packaging/monitoring "$root/usr/share/doc/$name/"
  cp LICENSE "$root/usr/share/doc/$name/copyright"
  gzip -9nc CHANGELOG.md >"$root/usr/share/doc/$name/changelog.gz"
  cat >"$root/DEBIAN/control" <<CONTROL
Package: $name
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The Berth project <berth@example.org>
Section: net
Priority: optional
Depends: $(libraries "$program")${3:+, $3}
Description: $2
CONTROL
  cat >"$root/DEBIAN/postinst" <<POSTINST
#!/bin/sh
set -e
if command -v systemd-sysusers >/dev/null; then systemd-sysusers $name.conf
elif ! getent passwd $name >/dev/null; then
  useradd --system --user-group --no-create-home --home-dir /var/lib/$name --shell /usr/sbin/nologin $name
fi
install -d -m 0700 -o $name -g $name /var/lib/$name
[ $name != berth ] || install -d -m 0700 -o berth -g berth /var/backups/berth
[ $name != berth-gateway ] || install -d -m 0750 -o $name -g $name /etc/berth
if [ -d /run/systemd/system ]; then systemctl daemon-reload; systemctl try-restart $name.service || true; fi
POSTINST
  cat >"$root/DEBIAN/prerm" <<PRERM
#!/bin/sh
set -e
if [ "\$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now $name.service $([ "$name" != berth ] || echo berth-nightly.timer) || true; fi
PRERM
  chmod 0755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
  chmod -R u=rwX,go=rX "$root/usr"
  dpkg-deb --build --root-owner-group "$root" "$out/${name}_${version}_$(dpkg --print-architecture).deb"
}

package berth "Berth server: reservation and sharing of parking in a city" "mosquitto, openssl, ca-certificates, libjs-leaflet, libjs-leaflet.markercluster" \
  "docs/berth.example.json docs/operating.md docs/operating.zh-CN.md docs/integrating.md docs/integrating.zh-CN.md docs/rules.md docs/rules.zh-CN.md docs/pages.md docs/pages.zh-CN.md docs/first-half-hour.md docs/first-half-hour.zh-CN.md docs/upgrading.md docs/upgrading.zh-CN.md"
package berth-gateway "Berth gateway: the box at a parking lot" "" "docs/gateway.md docs/gateway.zh-CN.md"
ls -l "$out"
