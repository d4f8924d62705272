#!/usr/bin/env bash
# A PostgreSQL for tests and measurements: on a socket in a temporary folder, ended with the process that asked for it.
#   scripts/postgres.sh PID [OPTION=VALUE ...]     prints the folder, then the address
set -euo pipefail
owner=$1
shift
# The server outlives this script: it may hold nothing open that the caller waits for.
for descriptor in /proc/$$/fd/*; do
  number=${descriptor##*/}
  if [ "$number" -gt 2 ] && [ "$number" != 255 ]; then eval "exec $number>&-"; fi
done
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || { echo "PostgreSQL is missing: apt-get install postgresql-15" >&2; exit 1; }
folder=$(mktemp -d /tmp/berth-postgres-XXXXXX)
chmod 755 "$folder"
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
  chown postgres "$folder"
  as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
fi
cd "$folder"
as "$bin/initdb" -D "$folder/data" -A trust -U berth --no-sync -E UTF8 --locale=C.UTF-8 >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
{
  echo "listen_addresses = ''"
  echo "unix_socket_directories = '$folder'"
  echo "max_connections = 60"
  for option in "$@"; do echo "${option/=/ = }"; done
} | as tee -a "$folder/data/postgresql.conf" >/dev/null
as "$bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w start >/dev/null || { cat "$folder/server.log" >&2; exit 1; }
# Ends with its owner, whatever becomes of that.
(
  trap '' INT TERM HUP
  while kill -0 "$owner" 2>/dev/null; do sleep 1; done
  as "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
) >/dev/null 2>&1 </dev/null &
echo "$folder"
echo "postgres://berth@/postgres?host=${folder//\//%2F}"
