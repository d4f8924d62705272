"""The place is never sold twice, and every reply that a client saw stays true."""
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from berth import booking, envelope, eventually, now

MINUTE = 60_000


def create_many(server, key, park, count, threads=60, collect=None):
    local = threading.local()

    def one(_):
        wish = booking(park, now() + 50 * MINUTE)
        try:
            if not hasattr(local, "connection"):
                local.connection = server.connection()
            reply = server.send(key, envelope(key, "order.create", wish), local.connection)
            if collect is not None:
                collect.append((wish, reply))
            return reply
        except Exception as error:
            local.__dict__.pop("connection", None)
            return error
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(count)))


def test_300_at_once_for_40_places(server, provider):
    server.lot("RUSH", reserve=40)
    replies = create_many(server, provider, "RUSH", 300, threads=300)
    codes = [r.code for r in replies]
    assert codes.count(0) == 40 and codes.count(1101) == 260, {c: codes.count(c) for c in set(codes)}
    orders = [r.data["orderNo"] for r in replies if r.code == 0]
    assert len(set(orders)) == 40
    for number in orders[:15]:
        assert server.call(provider, "order.cancel", {"orderNo": number}).code == 0
    again = [r.code for r in create_many(server, provider, "RUSH", 60)]
    assert again.count(0) == 15, "cancels give back exactly what they held"


def test_a_server_killed_in_the_middle(own_server):
    """kill -9 while 300 ask for 40 places; started again, the rest ask; every reply seen is still true, and 40 are sold."""
    server = own_server.start()
    provider = server.issue("provider", rate=100_000)
    server.lot("RUSH", reserve=40)
    seen = []
    rush = threading.Thread(target=lambda: create_many(server, provider, "RUSH", 300, collect=seen))
    rush.start()
    eventually(lambda: len(seen) >= 12, step=0.001)
    server.kill()
    rush.join()
    accepted = {reply.data["orderNo"]: (wish, reply) for wish, reply in list(seen) if reply.code == 0}
    assert accepted, "some were answered before the kill"
    server.start()
    for number, (wish, reply) in accepted.items():
        detail = server.call(provider, "order.detail", {"orderNo": number})
        assert detail.code == 0 and detail.data["status"] == 1 and detail.data["planTime"] == wish["planTime"]
        again = server.call(provider, "order.create", wish)
        assert again.duplicate and again.data["orderNo"] == number, "the same request gives the same order"
    create_many(server, provider, "RUSH", 300)
    sold = server.sql("SELECT count(*) FROM orders WHERE status = 1")[0][0]
    assert sold == 40
    numbers = [r[0] for r in server.sql("SELECT serial FROM orders")]
    assert len(numbers) == len(set(numbers)) == 40
    # What was cancelled before a kill stays cancelled after it, and its place is free once.
    some = list(accepted)[:5]
    for number in some:
        assert server.call(provider, "order.cancel", {"orderNo": number}).code == 0
    server.kill()
    server.start()
    assert [server.call(provider, "order.detail", {"orderNo": n}).data["status"] for n in some] == [4] * len(some)
    assert [r.code for r in create_many(server, provider, "RUSH", 30)].count(0) == len(some)


def test_nonces_and_results_survive_a_restart(own_server):
    server = own_server.start()
    provider = server.issue("provider")
    server.lot("KEEP")
    message = envelope(provider, "order.create", booking("KEEP"))
    first = server.send(provider, message)
    assert first.code == 0
    server.kill()
    server.start()
    assert server.send(provider, message).code == 203, "a replay of a write is refused after a restart too"
    again = server.send(provider, envelope(provider, "order.create", message["data"], requestId=message["requestId"]))
    assert again.duplicate and again.data["orderNo"] == first.data["orderNo"]


def test_two_servers_do_not_share_a_folder(own_server):
    import subprocess
    from berth import BIN
    server = own_server.start()
    second = subprocess.run([BIN / "berth", "serve", "--data", server.data, "--https-port", "0", "--mqtt-port", "0"],
                            capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and "another server is running" in second.stderr


def test_a_full_disk(own_server, tmp_path):
    """A commit that the disk refuses is answered 501 and leaves nothing; when there is room again, all goes on."""
    import os
    import subprocess
    import pytest
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"a small disk cannot be mounted here: {mounted.stderr}")
        pytest.skip(f"needs the right to mount: {mounted.stderr.strip()}")
    try:
        server = own_server
        server.data = disk / "data"
        server.start()
        provider = server.issue("provider", rate=100_000)
        server.lot("DISK", reserve=100)
        order = server.call(provider, "order.create", booking("DISK")).data
        filler = disk / "filler"
        file = os.open(filler, os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(file, b"x" * 4096):
                pass
        except OSError:
            os.close(file)
        codes = [server.call(provider, "order.create", booking("DISK")).code for _ in range(60)]
        assert 501 in codes, codes
        assert set(codes) <= {0, 501}
        assert server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["status"] == 1
        sold = codes.count(0) + 1
        filler.unlink()
        eventually(lambda: server.call(provider, "order.create", booking("DISK")).code == 0)
        sold += 1
        after = [server.call(provider, "order.create", booking("DISK")).code for _ in range(5)]
        assert after == [0] * 5
        assert server.sql("SELECT count(*) FROM orders")[0][0] == sold + 5
        server.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)])
