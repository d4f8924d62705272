#!/usr/bin/env bash
# Durable reservations beside the same server's signed no-op, over signed HTTPS with 64 connections, load generator on the
# same machine. Many short rounds alternate, so that the machine's moods, which change within seconds, meet all of them.
# Needs wrk (Debian). BERTH names another binary to measure.
#   scripts/bench.sh [--store sqlite|postgres] [--peer] [ROUNDS] [SECONDS]
# --store postgres  a city on a PostgreSQL of its own (synchronous_commit = on, fsync = on); the default is SQLite, synchronous = FULL
# --peer            beside each round, the same bookings by Benchmarks/peers (FastAPI, asyncpg, the same PostgreSQL);
#                   PEER_WORKERS says how many processes it has (2)
set -euo pipefail
cd "$(dirname "$0")/.."
store=sqlite peer=
while [ $# -gt 0 ]; do
  case $1 in
    --store) store=$2; shift 2 ;;
    --peer) peer=1; shift ;;
    *) break ;;
  esac
done
case $store in sqlite | postgres) ;; *) echo "--store $store: sqlite or postgres expected" >&2; exit 64 ;; esac
rounds=${1:-20} seconds=${2:-1}
berth=${BERTH:-$PWD/.build/release/berth}
command -v wrk >/dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 1; }
work=$(mktemp -d)
server= peerserver=
trap 'kill $server $peerserver 2>/dev/null || true; wait 2>/dev/null; rm -rf "$work"' EXIT
settings=()
if [ "$store" = postgres ] || [ -n "$peer" ]; then
  # Both use the same database server with the same settings; each booking is on disk before its answer.
  { read -r folder; read -r database; } < <(scripts/postgres.sh $$ shared_buffers=1GB max_wal_size=8GB checkpoint_timeout=15min synchronous_commit=on fsync=on)
fi
[ "$store" = sqlite ] || settings=(--set "store=$database&realm=bench")
"$berth" serve --data "$work/data" --https-port 0 --mqtt-port 0 --log-level error "${settings[@]}" >"$work/ready" &
server=$!
until [ -s "$work/ready" ]; do sleep 0.1; done
url=$(sed -E 's/.*"https":"([^"]*)".*/\1/' "$work/ready")
# The credential's rate limit is raised: this measures the server, not its limiter.
"$berth" keys issue --data "$work/data" --role provider --name bench --rate 1000000 >"$work/key"
for n in $(seq 1 50); do
  "$berth" keys issue --data "$work/data" --role lot --name "P$n" --park "P$n" >"$work/lot"
  "$berth" call lot.info.report --data "$work/data" --url "$url" --key "$work/lot" --park "P$n" --data-json \
    "{\"parkCode\":\"P$n\",\"parkName\":\"P$n\",\"address\":\"x\",\"regionCode\":\"440305\",\"lng\":\"114\",\"lat\":\"22.5\",\"coordType\":1,\"lotType\":4,\"lotClass\":1,\"totalSpace\":1000000,\"reserveSpace\":1000000,\"shareSpace\":0,\"publicBizSpace\":0,\"reserveEnabled\":true,\"shareEnabled\":false,\"publicBizEnabled\":false,\"freeMin\":0,\"leaveBufferMin\":0,\"openHours\":[{\"days\":[1,2,3,4,5,6,7],\"start\":\"00:00\",\"end\":\"24:00\"}]}" >/dev/null
done
if [ -n "$peer" ]; then
  python=.venv-peer/bin
  [ -x $python/python ] || python3 -m venv .venv-peer
  $python/python -c 'import fastapi, uvicorn, uvloop, httptools, asyncpg, orjson' 2>/dev/null || $python/pip install -q --disable-pip-version-check -r Benchmarks/peers/requirements.txt
  psql -q -d "$database" -c 'CREATE DATABASE peer'
  peerdata=${database/\/postgres?/\/peer?}
  psql -q -d "$peerdata" -f Benchmarks/peers/schema.sql -c "INSERT INTO lots SELECT 'P' || n, 1000000, 3, 3 FROM generate_series(1, 50) n"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout "$work/peer.key" -out "$work/peer.pem" 2>/dev/null
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  DATABASE=$peerdata KEY=$work/key $python/python -m uvicorn --app-dir Benchmarks/peers fastapi_postgres:app --host 127.0.0.1 --port "$port" \
    --workers "${PEER_WORKERS:-2}" --loop uvloop --http httptools --no-access-log --log-level warning \
    --ssl-keyfile "$work/peer.key" --ssl-certfile "$work/peer.pem" >"$work/peer.log" 2>&1 &
  peerserver=$!
  peerurl=https://127.0.0.1:$port
  until curl -sk -o /dev/null "$peerurl/"; do kill -0 $peerserver || { cat "$work/peer.log" >&2; exit 1; }; sleep 0.1; done
fi
probe() { python3 - "$work" <<'PY'
import os, sys, time
f = os.open(sys.argv[1] + "/probe", os.O_RDWR | os.O_CREAT)
n, start = 0, time.time()
while time.time() - start < 1:
    os.pwrite(f, b"x" * 4096, 4096 * (n % 256)); os.fdatasync(f); n += 1
print(f"{n / (time.time() - start):.0f}")
PY
}
first=0
cpu() { awk '{print $14 + $15}' /proc/$server/stat; }
# Processor time of the whole machine, and of it what nobody used.
machine() { awk '/^cpu /{print $2 + $3 + $4 + $7 + $8}' /proc/stat; }
idle() { awk '/^cpu /{print $5 + $6}' /proc/stat; }
run() { # name, service, url, bodies per second expected
  local name=$1 service=$2 url=$3 count=$(($4 * (seconds + 1) / 2))
  for part in 1 2; do "$berth" bench requests --key "$work/key" --service "$service" --count "$count" --first "$first" >"$work/bodies.$part"; first=$((first + count)); done
  local busy rest all used line
  busy=$(cpu) rest=$(idle) all=$(machine)
  TIMEFORMAT='%U %S'
  { time BODIES="$work/bodies" TARGET="/api/v1/${service//.//}" wrk -t2 -c64 -d${seconds}s -s scripts/bench.lua "$url" >"$work/wrk.out" 2>"$work/wrk.err"; } 2>"$work/used"
  busy=$(($(cpu) - busy)) rest=$(($(idle) - rest)) all=$(($(machine) - all))
  line=$(grep RESULT "$work/wrk.out") || { cat "$work/wrk.out" "$work/wrk.err" >&2; exit 1; }
  set -- $line
  # Everything but the load generator: server, database, kernel.
  used=$(awk -v all=$all -v n=$(($3 + 1)) '{printf "%d", (all / 100 - $1 - $2) * 1000000 / n}' "$work/used")
  case $name in peer*) busy=0 ;; esac
  printf '%-18s %8s /s   p50 %6s ms   p99 %6s ms   refused %s   server CPU %s us, all but the load %s us, idle %s us a request\n' "$name" "$2" "$5" "$6" "$4" \
    $((busy * 10000 / ($3 + 1))) "$used" $((rest * 10000 / ($3 + 1)))
  echo "$name $2 $((busy * 10000 / ($3 + 1))) $((rest * 10000 / ($3 + 1))) $6 $used $4" >>"$work/rates"
}
echo "store $store, cores $(nproc), load $(cut -d' ' -f1-3 /proc/loadavg), fdatasync probe $(probe)/s"
for round in $(seq 1 "$rounds"); do
  run sys.time.get sys.time.get "$url" 24000
  run order.create order.create "$url" 16000
  [ -z "$peer" ] || { run peer:sys.time.get sys.time.get "$peerurl" 8000; run peer:order.create order.create "$peerurl" 6000; }
done
echo "fdatasync probe $(probe)/s"
python3 - "$work/rates" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    service, *values = line.split(); rows.setdefault(service, []).append([float(v) for v in values])
for service, values in rows.items():
    rate, busy, rest, p99, used, refused = (statistics.median(v[i] for v in values) for i in range(6))
    print(f"{service}: median {rate:.0f}/s, server CPU {busy:.0f} us, all but the load {used:.0f} us, idle {rest:.0f} us a request, p99 {p99:.0f} ms, refused {refused:.0f}")
def compare(title, of, to):
    of, to = ([v[0] for v in rows[s]] for s in (of, to))
    pairs = sorted(a / b for a, b in zip(of, to))
    q = lambda part: pairs[min(len(pairs) - 1, int(part * len(pairs)))]
    print(f"{title}: median {statistics.median(pairs):.2f} (quartiles {q(.25):.2f}, {q(.75):.2f}; {pairs[0]:.2f} to {pairs[-1]:.2f}; sums {sum(of) / sum(to):.2f})")
compare("reservations / no-op", "order.create", "sys.time.get")
if "peer:order.create" in rows:
    compare("reservations / the peer's", "order.create", "peer:order.create")
    compare("no-op / the peer's", "sys.time.get", "peer:sys.time.get")
PY
[ "$store" = sqlite ] && ls -la "$work/data"/berth.sqlite* | awk '{print $9, int($5 / 1048576) " MiB"}' | sed "s#$work/##"
[ -z "$peer" ] || psql -qAt -d "$peerdata" -c "SELECT 'peer: ' || count(*) || ' reservations, ' || (SELECT sum(taken) FROM slots) || ' places of half hours, ' || (SELECT count(*) FROM outbox) || ' messages for lots' FROM reservations"
