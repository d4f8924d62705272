#!/usr/bin/env bash
# Makes a release: the version in the source, the changelog's heading, all tests, a commit, a tag, and the packages with their sums in .build/release-VERSION.
#   scripts/release.sh 0.2.0             scripts/release.sh --draft 0.2.0 does the files, the commit and the tag alone
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/prepare.sh
draft=
if [ "${1:-}" = --draft ]; then draft=1; shift; fi
version=${1:-}
stop() { echo "release: $*" >&2; exit 1; }

[[ "$version" =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] || stop "a version such as 0.2.0 expected, not '$version'"
[ -z "$(git status --porcelain)" ] || stop "the work tree has changes that are not committed"
git rev-parse -q --verify "refs/tags/v$version" >/dev/null && stop "there is a tag v$version already"
last=$(sed -n 's/^## \([0-9][0-9.]*\) .*/\1/p' CHANGELOG.md | head -1)
if [ -n "$last" ]; then
  [ "$last" != "$version" ] && [ "$(printf '%s\n%s\n' "$last" "$version" | sort -V | tail -1)" = "$version" ] || stop "$version is not later than $last"
fi
awk '/^## Unreleased/{on=1; next} /^## /{on=0} on && NF{found=1} END{exit !found}' CHANGELOG.md || stop "nothing stands under Unreleased in CHANGELOG.md"

sed -i "s/static let number = \".*\"/static let number = \"$version\"/" Sources/BerthWire/Version.swift
sed -i "0,/^## Unreleased/s//## Unreleased\n\n## $version — $(date +%F)/" CHANGELOG.md
if [ -z "$draft" ]; then
  # A test that fails leaves the files as they were.
  trap 'git checkout -q -- Sources/BerthWire/Version.swift CHANGELOG.md' EXIT
  ./test
  ./test package
  trap - EXIT
fi
git add Sources/BerthWire/Version.swift CHANGELOG.md
git commit -q -m "Release $version"
if [ -z "$draft" ]; then
  out=$PWD/.build/release-$version
  rm -rf "$out"
  scripts/package.sh "$out"
  (cd "$out" && sha256sum ./*.deb >SHA256SUMS)
fi
git tag -a "v$version" -m "Berth $version"
say "v$version is tagged. Push it with: git push --follow-tags"
