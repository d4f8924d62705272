#!/usr/bin/env bash
# Durable reservations beside the same server's signed no-op, over signed HTTPS with 64 connections, load generator on the
# same machine; SQLite, synchronous=FULL. Many short rounds alternate, so that the machine's moods, which change within seconds,
# meet both. Needs wrk (Debian). BERTH names another binary to measure.
#   scripts/bench.sh [ROUNDS] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-20} seconds=${2:-1}
berth=${BERTH:-$PWD/.build/release/berth}
work=$(mktemp -d)
trap 'kill $server 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
"$berth" serve --data "$work/data" --https-port 0 --mqtt-port 0 --log-level error >"$work/ready" &
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
idle() { awk '/^cpu /{print $5 + $6}' /proc/stat; }
run() { # service, bodies per second expected
  local service=$1 count=$(($2 * (seconds + 1) / 2))
  for part in 1 2; do "$berth" bench requests --key "$work/key" --service "$service" --count "$count" --first "$first" >"$work/bodies.$part"; first=$((first + count)); done
  local busy rest line
  busy=$(cpu) rest=$(idle)
  line=$(BODIES="$work/bodies" TARGET="/api/v1/${service//.//}" wrk -t2 -c64 -d${seconds}s -s scripts/bench.lua "$url" | tee -a "$work/wrk.log" | grep RESULT)
  busy=$(($(cpu) - busy)) rest=$(($(idle) - rest))
  set -- $line
  printf '%-14s %8s /s   p50 %6s ms   p99 %6s ms   refused %s   server CPU %s us, idle %s us a request\n' "$service" "$2" "$5" "$6" "$4" \
    $((busy * 10000 / ($3 + 1))) $((rest * 10000 / ($3 + 1)))
  echo "$service $2 $((busy * 10000 / ($3 + 1))) $((rest * 10000 / ($3 + 1))) $6" >>"$work/rates"
}
echo "cores $(nproc), load $(cut -d' ' -f1-3 /proc/loadavg), fdatasync probe $(probe)/s"
for round in $(seq 1 "$rounds"); do run sys.time.get 24000; run order.create 16000; done
echo "fdatasync probe $(probe)/s"
python3 - "$work/rates" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    service, *values = line.split(); rows.setdefault(service, []).append([float(v) for v in values])
for service, values in rows.items():
    rate, busy, rest, p99 = (statistics.median(v[i] for v in values) for i in range(4))
    print(f"{service}: median {rate:.0f}/s, server CPU {busy:.0f} us, idle {rest:.0f} us a request, p99 {p99:.0f} ms")
noop, booking = ([v[0] for v in rows[s]] for s in ("sys.time.get", "order.create"))
pairs = sorted(b / a for a, b in zip(noop, booking))
q = lambda part: pairs[min(len(pairs) - 1, int(part * len(pairs)))]
print(f"reservations / no-op: median {statistics.median(pairs):.2f} (quartiles {q(.25):.2f}, {q(.75):.2f}; {pairs[0]:.2f} to {pairs[-1]:.2f}; sums {sum(booking) / sum(noop):.2f})")
PY
ls -la "$work/data"/berth.sqlite* | awk '{print $9, int($5 / 1048576) " MiB"}' | sed "s#$work/##"
