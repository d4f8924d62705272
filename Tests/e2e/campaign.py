"""What takes too long for ./test: large cities, measured. The results of the last run stand in docs/benchmarks.md.

    .venv/bin/python Tests/e2e/campaign.py refused [ORDERS]    a commit is refused while so many orders are in force (300,000); needs wrk
    .venv/bin/python Tests/e2e/campaign.py shared [OFFERS]     a shared booking in a lot with so many offers of 100 places each (1,000)
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

from berth import BIN, booking, eventually, lot_info, now
from harsh import HarshServer, Probes, memory, signed
from test_rules import Desk, publish, segments, shared


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def line(name, seconds):
    print(f"{name:<46} {len(seconds):>6} calls   median {statistics.median(seconds) * 1000:7.2f} ms   p95 {percentile(seconds, 0.95) * 1000:7.2f} ms"
          f"   max {max(seconds) * 1000:7.1f} ms", flush=True)


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def refused(orders=300_000):
    """While the disk refuses, bookings are 501 and everything else is answered as before; afterwards every order is there once."""
    folder = pathlib.Path(tempfile.mkdtemp())
    server = HarshServer(folder, shim=True).start()
    provider = server.issue("provider", rate=1_000_000)
    lots = 50
    for number in range(1, lots + 1):
        server.lot(f"P{number}", reserve=1_000_000, total=1_000_000, freeMin=0, leaveBufferMin=0)
    key = folder / "key.json"
    key.write_text(json.dumps({"appId": provider.app_id, "appSecret": provider.secret}))
    made, step = 0, 40_000
    while server.sql("SELECT count(*) FROM orders")[0][0] < orders:
        for part in (1, 2):
            bodies = subprocess.run([BIN / "berth", "bench", "requests", "--key", key, "--service", "order.create", "--count", str(step // 2),
                                     "--first", str(made + (part - 1) * step // 2)], capture_output=True, check=True).stdout
            pathlib.Path(f"{folder}/bodies.{part}").write_bytes(bodies)
        script = pathlib.Path(__file__).parents[2] / "scripts/bench.lua"
        subprocess.run(["wrk", "-t2", "-c64", "-d8s", "-s", script, f"https://127.0.0.1:{server.https_port}"], check=True, capture_output=True,
                       env={**os.environ, "BODIES": f"{folder}/bodies", "TARGET": "/api/v1/order/create"})
        made += step
    rows = server.sql("SELECT count(*) FROM orders")[0][0]
    print(f"{rows:,} orders in force, {memory(server.process.pid):.0f} MiB", flush=True)
    order = server.call(provider, "order.create", booking("P1")).data["orderNo"]
    kinds = {"sys.time.get": signed(provider, "sys.time.get"), "order.detail": signed(provider, "order.detail", {"orderNo": order}),
             "lot.detail": signed(provider, "lot.detail", {"parkCode": "P2"})}
    for phase in ("before", "while the disk refuses", "while it refuses for 50 ms in each second", "after"):
        with Probes(server, kinds, each=1) as probes:
            end, codes, pauses, healthy = time.time() + 15, {}, [], time.time()
            if phase == "while the disk refuses":
                server.fault("full")
            while time.time() < end:
                if phase.startswith("while it refuses for"):
                    fails, failed = time.time() % 1 < 0.05, bool(list(server.faults.iterdir()))
                    if fails and not failed:
                        server.fault("full")
                    elif failed and not fails:
                        server.heal()
                        healthy = time.time()
                code = server.call(provider, "order.create", booking("P3")).code
                if code == 0 and healthy:
                    pauses.append(time.time() - healthy)
                    healthy = None
                codes[code] = codes.get(code, 0) + 1
            server.heal()
        assert not probes.faults, probes.faults
        if len(pauses) > 1:
            line("  from the disk's recovery to the next booking", pauses)
        print(f"{phase}: bookings by code {codes}", flush=True)
        for name, times in probes.times.items():
            line(f"  {name}", times)
    took = timed(lambda: eventually(lambda: server.call(provider, "order.create", booking("P3")).code == 0, 60))
    print(f"the first booking after the disk works again: {took:.1f} s")
    assert server.call(provider, "order.detail", {"orderNo": order}).data["status"] == 1
    server.stop()


def shared_booking(offers=1_000):
    """Bookings of a lot with many offers, beside the signed no-op and beside a lot with one offer."""
    folder = pathlib.Path(tempfile.mkdtemp())
    server = HarshServer(folder).start()
    desk = Desk(server)
    desk.provider = server.issue("provider", rate=1_000_000)
    shared(server, "FEW", 0)
    shared(server, "MANY", 0)
    publish(desk, "FEW", None, count=10_000)
    for number in range(offers):
        publish(desk, "MANY", None, owner=f"owner {number}", count=100, times=segments("00:00", "24:00"))
    connection = server.connection()
    call = lambda service, data: server.call(desk.provider, service, data, connection=connection)

    def book(park):
        answer = call("order.create", booking(park, now() + 40 * 60_000, bizType=2, stayMin=60, userToken=uuid.uuid4().hex))
        assert answer.code == 0, answer
    times = {"sys.time.get": [], "a booking of a lot with one offer": [], f"a booking of a lot with {offers:,} offers": []}
    for _ in range(500):
        times["sys.time.get"].append(timed(lambda: call("sys.time.get", {})))
        times["a booking of a lot with one offer"].append(timed(lambda: book("FEW")))
        times[f"a booking of a lot with {offers:,} offers"].append(timed(lambda: book("MANY")))
    for name, values in times.items():
        line(name, values)
    server.stop()


if __name__ == "__main__":
    what, *numbers = sys.argv[1:] or [""]
    work = {"refused": refused, "shared": shared_booking}.get(what)
    if work is None:
        sys.exit(__doc__)
    work(*[int(number) for number in numbers])
