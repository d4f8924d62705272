#!/usr/bin/env bash
# Durable reservations beside the same server's signed no-op, over signed HTTPS with 64 connections, load generator on the
# same machine; SQLite, synchronous=FULL. Rounds alternate, so that the machine's moods meet both. Needs wrk (Debian).
#   scripts/bench.sh [ROUNDS] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-4}
berth=$PWD/.build/release/berth
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
run() { # service, bodies per second expected
  local service=$1 count=$(($2 * seconds / 2))
  for part in 1 2; do "$berth" bench requests --key "$work/key" --service "$service" --count "$count" --first "$first" >"$work/bodies.$part"; first=$((first + count)); done
  local before after line
  before=$(cpu)
  line=$(BODIES="$work/bodies" TARGET="/api/v1/${service//.//}" wrk -t2 -c64 -d${seconds}s -s scripts/bench.lua "$url" | tee -a "$work/wrk.log" | grep RESULT)
  after=$(cpu)
  set -- $line
  printf '%-14s %8s /s   p50 %6s ms   p99 %6s ms   refused %s   server CPU %s us/request\n' "$service" "$2" "$5" "$6" "$4" \
    "$(awk -v c=$((after - before)) -v n="$3" 'BEGIN{printf "%.0f", n ? c * 10000 / n : 0}')"
  echo "$service $2" >>"$work/rates"
}
echo "cores $(nproc), load $(cut -d' ' -f1-3 /proc/loadavg), fdatasync probe $(probe)/s"
for round in $(seq 1 "$rounds"); do run sys.time.get 24000; run order.create 16000; done
echo "fdatasync probe $(probe)/s"
python3 - "$work/rates" <<'PY'
import statistics, sys
rates = {}
for line in open(sys.argv[1]):
    service, rate = line.split(); rates.setdefault(service, []).append(float(rate))
pairs = [b / a for a, b in zip(rates["sys.time.get"], rates["order.create"])]
for service, values in rates.items():
    print(f"{service}: median {statistics.median(values):.0f}/s (min {min(values):.0f}, max {max(values):.0f})")
print(f"reservations / no-op: median {statistics.median(pairs):.2f} (min {min(pairs):.2f}, max {max(pairs):.2f})")
PY
ls -la "$work/data"/berth.sqlite* | awk '{print $9, int($5 / 1048576) " MiB"}' | sed "s#$work/##"
