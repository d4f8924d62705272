"""Section 13 and the seed's NTP: clocks that are wrong, at the lot and at the server."""
import os
import subprocess
import time

import pytest

from berth import BIN, Lot, booking, eventually, free_port, now, plate
from test_resume import Gateway

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def skewed(seconds):
    """A process whose clock is off; its monotonic clock is left alone."""
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


#: Begun by a shell: the library changes the environment of the first process that loads it, and Swift finds its arguments beside that.
BY_SHELL = ["/bin/sh", "-c", 'exec "$0" "$@"']


def test_the_four_timestamps(server, provider):
    link = server.connection()
    link.connect()

    def look():
        sent = now()
        data = server.call(provider, "sys.time.get", {"deviceSendTime": sent}, connection=link).data
        received = now()
        assert sent - 5 <= data["serverRecvTime"] <= data["serverSendTime"] <= received + 5
        return received - sent, ((data["serverRecvTime"] - sent) + (data["serverSendTime"] - received)) / 2
    # As clocks are compared: the quickest way there and back says most.
    assert abs(min(look() for _ in range(20))[1]) <= 50


@pytest.mark.parametrize("skew", [-7, 1000])
def test_a_gateway_with_a_wrong_clock(own_server, tmp_path, skew):
    """It measures its offset, goes by the server's time in all that it signs and records, and reports event 6010; 1000 s would be 202."""
    server = own_server.start()
    key, provider = server.issue("lot", "P1"), server.issue("provider", rate=1000)
    gateway = Gateway(server, tmp_path, [(key, {})])
    from berth import Process
    gateway.process = Process([*BY_SHELL, BIN / "berth-gateway", "run", "--config", gateway.config], gateway.folder / "gateway.log", skewed(skew))
    assert gateway.process.ready()["event"] == "ready"
    eventually(lambda: gateway.status()["synchronised"])
    assert abs(gateway.status()["clockOffsetMs"] + skew * 1000) < 500
    eventually(lambda: server.sql("SELECT count(*) FROM notices WHERE lot = 'P1' AND type = 6010")[0][0] >= 1)
    assert server.sql("SELECT count(*) FROM up_log WHERE service = 'event.report'")[0][0] == 1
    order = server.call(provider, "order.create", booking("P1", now() + 20 * 60_000)).data
    eventually(lambda: server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["deliverStatus"] == 2)
    decided = gateway.pms("P1", "decide", plateNo=order["plateNo"], plateColor=0, gateCode="G1")[1]
    assert decided["admit"] and decided["orderNo"] == order["orderNo"]
    gateway.pms("P1", "entry", plateNo=order["plateNo"], gateCode="G1")
    entered = eventually(lambda: server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data.get("enterTime"))
    assert abs(entered - now()) < 5000
    gateway.process.stop()


def test_a_lot_says_that_its_clock_is_off(server):
    key = server.lot("OFFSET")
    lot = Lot(server, key).connect()
    count = lambda: server.sql("SELECT count(*) FROM notices WHERE lot = 'OFFSET' AND type = 6010")[0][0]
    beat = lambda offset: lot.publish("sys.heartbeat", {"clockOffsetMs": offset})
    beat(4_999)
    beat(-5_001)
    eventually(lambda: count() == 1)
    beat(6_000)
    beat(0)
    beat(7_000)
    eventually(lambda: count() == 2)
    time.sleep(0.3)
    assert count() == 2, "once each time that it goes beyond the limit"
    lot.disconnect()


def test_beyond_300_seconds_only_the_time_is_told(server, provider):
    from berth import envelope
    for skew in (-400_000, 400_000):
        late = server.send(provider, envelope(provider, "lot.search", {"lng": "114", "lat": "22"}, timestamp=now() + skew))
        assert (late.status, late.code) == (401, 202) and abs(late.data["serverTime"] - now()) < 2000
        assert server.send(provider, envelope(provider, "sys.time.get", {}, timestamp=now() + skew)).code == 0


@pytest.fixture
def chronyd(tmp_path):
    """A real NTP server on loopback that does not touch the machine's clock."""
    port = free_port()
    (tmp_path / "chrony.conf").write_text(
        f"port {port}\nbindaddress 127.0.0.1\nlocal stratum 8\nallow 127.0.0.1\ncmdport 0\npidfile {tmp_path}/chrony.pid\n")
    process = subprocess.Popen(["/usr/sbin/chronyd", "-x", "-d", "-f", str(tmp_path / "chrony.conf")],
                               stdout=subprocess.DEVNULL, stderr=open(tmp_path / "chrony.log", "w"))
    yield port
    process.terminate()
    process.wait()


def doctor(tmp_path, servers, env=None):
    done = subprocess.run([*BY_SHELL, BIN / "berth", "doctor", "--data", tmp_path / "none", "--ntp", servers], capture_output=True, text=True,
                          env={**os.environ, **(env or {})})
    return [line for line in done.stdout.splitlines() if "clock against" in line]


def test_the_doctor_asks_a_real_ntp_server(chronyd, tmp_path):
    server = f"127.0.0.1:{chronyd}"
    right = eventually(lambda: [line for line in doctor(tmp_path, server) if line.startswith("ok")])
    assert abs(int(right[0].split(": ")[1].split()[0])) < 200
    wrong = doctor(tmp_path, server, skewed(9))[0]
    assert wrong.startswith("FAILED") and abs(int(wrong.split(": ")[1].split()[0]) + 9000) < 300
    nobody, unknown = doctor(tmp_path, f"127.0.0.1:{free_port()},ntp.invalid")
    assert nobody.startswith("unknown") and unknown.startswith("unknown"), "without a network: unknown, not failed"
