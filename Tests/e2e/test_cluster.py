"""A city on PostgreSQL: one server leads, the others wait, and what was acknowledged stays (issue 14; the numbers are those of the design)."""
import http.client
import json
import os
import signal
import subprocess
import threading
import time
import uuid

import pytest
from berth import BIN, Server, booking, envelope
from cluster import Client, Member, Postgres, judge, longest_gap


@pytest.fixture(scope="module")
def database():
    return Postgres()


@pytest.fixture(autouse=True)
def nothing_stays():
    """A server that a failed test left behind, paused or not, ends with the test."""
    yield
    for process in Member.started:
        if process.process.poll() is None:
            process.kill()
    Member.started.clear()


def leave_room(server, *parks):
    """Lots that are never full, so that every booking is taken."""
    return [server.lot(park, reserve=90_000, total=100_000, rate=100_000) for park in parks]


def test_a_dead_leader_is_replaced(database, tmp_path):
    """T1, cold: the leading server is killed again and again under load. Nothing that was told is lost, nothing happens twice."""
    first = Member(tmp_path / "a", database.city("t1")).launch().leads(60)
    second = Member(tmp_path / "b", database.city("t1"), key_from=first).launch()
    key = first.issue("provider", rate=100_000)
    leave_room(first, "T1A", "T1B")
    clients = [Client([first, second], key, park) for park in ("T1A", "T1B", "T1A", "T1B")]
    for client in clients:
        client.start()
    leader, standby, gaps = first, second, []
    try:
        for _ in range(3):
            time.sleep(3)
            assert not standby.is_ready.is_set(), "two servers lead"
            killed = time.monotonic()
            leader.kill()
            standby.leads(10)
            time.sleep(2)
            gaps.append(longest_gap(clients, killed, time.monotonic()))
            leader.launch()
            leader, standby = standby, leader
    finally:
        for client in clients:
            client.finish()
    taken = judge(database, "t1", clients)
    assert taken > 100 and all(reply.code == 0 for client in clients for (_, _, _, reply) in client.told)
    assert database.sql("SELECT term FROM realm", "t1") == [["4"]]
    print(f"\n{taken} bookings; without one for at most {', '.join(f'{gap:.1f}' for gap in gaps)} s a kill; {sum(c.failures for c in clients)} sent again")
    assert max(gaps) <= 10
    # The handover of a server that is stopped in order needs no waiting.
    leader.stop()
    standby.leads(5)
    standby.stop()


def test_a_paused_leader_is_fenced(database, tmp_path):
    """T2: a leader that is stopped and goes on later answers nothing from its memory, writes nothing, and ends by itself."""
    first = Member(tmp_path / "a", database.city("t2")).launch().leads(60)
    second = Member(tmp_path / "b", database.city("t2"), key_from=first).launch()
    key = first.issue("provider")
    leave_room(first, "T2")
    order = first.call(key, "order.create", booking("T2")).data["orderNo"]
    open_line = first.connection(timeout=20)
    assert first.call(key, "order.detail", {"orderNo": order}, connection=open_line).data["status"] == 1
    os.kill(first.process.pid, signal.SIGSTOP)
    paused = time.monotonic()
    second.leads(9)
    took = second.led_at - paused
    assert second.call(key, "order.cancel", {"orderNo": order, "reasonCode": 1}).code == 0
    # This request waits in the paused server's socket, and is the first that it sees when it goes on.
    outcomes = []

    def probe(line):
        try:
            reply = first.send(key, envelope(key, "order.detail", {"orderNo": order}), connection=line)
            outcomes.append((reply.status, reply.data.get("status")))
        except (OSError, http.client.HTTPException) as error:
            outcomes.append(type(error).__name__)
    waiting = threading.Thread(target=probe, args=(open_line,))
    waiting.start()
    time.sleep(0.5)
    os.kill(first.process.pid, signal.SIGCONT)
    went_on = time.monotonic()
    assert first.ended(5) == 75, first.log()[-1000:]
    ended = time.monotonic() - went_on
    waiting.join(20)
    assert all(outcome != (200, 1) for outcome in outcomes), f"an old state was shown: {outcomes}"
    assert "leads the city no more" in first.log()
    terms = database.sql("SELECT DISTINCT term FROM journal ORDER BY 1", "t2")
    assert terms == [["1"], ["2"]] and database.sql("SELECT count(*) FROM journal WHERE term = 1 AND id > (SELECT min(id) FROM journal WHERE term = 2)", "t2") == [["0"]]
    print(f"\nnext leader after {took:.1f} s; the old one ended {ended:.2f} s after it went on; asked then: {outcomes}")
    assert took <= 8 and ended <= 2
    second.stop()


def test_lost_answers_are_looked_for(database, tmp_path):
    """T9: connections to the database are broken all the time. No commit is lost or made twice, and the server goes on."""
    server = Member(tmp_path / "a", database.city("t9")).launch().leads(60)
    key = server.issue("provider", rate=100_000)
    leave_room(server, "T9")
    clients = [Client([server], key, "T9") for _ in range(4)]
    for client in clients:
        client.start()
    end = time.time() + 8
    while time.time() < end:
        database.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'berth'")
        time.sleep(0.15)
    for client in clients:
        client.finish()
    taken = judge(database, "t9", clients)
    doubts = server.metric("berth_commit_in_doubt_total")
    print(f"\n{taken} bookings, doubts {doubts}")
    assert taken > 50 and sum(doubts.values()) > 5 and server.metric("berth_term") == {"berth_term": 1}
    assert server.cli("verify").strip() in ("the database is what its journal makes of it", "数据库与其日志一致"), server.cli("verify")
    server.stop()


def test_the_database_is_gone_for_a_while(tmp_path):
    """T6: the database ends and is started again. The server stays, says that it is not sure, and goes on."""
    database = Postgres()
    server = Member(tmp_path / "a", database.city("t6")).launch().leads(60)
    key = server.issue("provider", rate=100_000)
    leave_room(server, "T6")
    order = server.call(key, "order.create", booking("T6")).data["orderNo"]
    database.kill()
    gone = time.monotonic()
    late = threading.Thread(target=lambda: server.call(key, "order.create", {**booking("T6"), "clientOrderNo": "waits"}), daemon=True)
    late.start()
    # The connection has ended: another server may lead at any moment. It answers no more.
    # (A question about the lot waits for the booking that is under way.)
    while (reply := server.call(key, "sys.time.get")).code == 0:
        assert time.monotonic() - gone < 2, "it answers although another server could lead by now"
        time.sleep(0.02)
    refused = time.monotonic() - gone
    assert reply.code == 501 and "not sure" in server.log()
    connection = server.connection()
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    assert answer.status == 503 and json.loads(answer.read())["checks"]["leader"] == "unsure"
    connection.close()
    database.start()
    up = time.monotonic()
    while server.call(key, "order.detail", {"orderNo": order}).code != 0:
        assert time.monotonic() - up < 12
        time.sleep(0.1)
    late.join(20)
    assert not late.is_alive(), "the booking that waited is answered"
    assert [status for status, in database.sql("SELECT status FROM orders WHERE client_no = 'waits'", "t6")] == ["1"]
    print(f"\nanswers ended {refused:.1f} s after the database; they came back {time.monotonic() - up:.1f} s after it")
    server.stop()


def test_everybody_repeats_after_a_takeover(database, tmp_path):
    """T14: the leader dies with requests under way, and all of them come again at once with the same ids. Each has one effect and one result; the
    same bytes once more are refused."""
    first = Member(tmp_path / "a", database.city("t14")).launch().leads(60)
    second = Member(tmp_path / "b", database.city("t14"), key_from=first).launch()
    key = first.issue("provider", rate=100_000)
    leave_room(first, "T14")
    asked = [(str(uuid.uuid4()), booking("T14")) for _ in range(400)]
    told, lock = {}, threading.Lock()

    def ask(server, part):
        connection = server.connection(timeout=10)
        for name, data in part:
            try:
                reply = server.send(key, envelope(key, "order.create", data, requestId=name), connection=connection)
            except (OSError, http.client.HTTPException):
                return
            if reply.status < 500:
                with lock:
                    told.setdefault(name, []).append((reply.data.get("orderNo"), reply.duplicate))

    def rush(server):
        threads = [threading.Thread(target=ask, args=(server, asked[n::8])) for n in range(8)]
        for thread in threads:
            thread.start()
        return threads
    threads = rush(first)
    while len(told) < 150:
        time.sleep(0.005)
    first.kill()
    for thread in threads:
        thread.join(20)
    before = len(told)
    second.leads(10)
    started = time.monotonic()
    for thread in rush(second):
        thread.join(60)
    took = time.monotonic() - started
    assert set(told) == {name for name, _ in asked}
    assert all(len({number for number, _ in replies}) == 1 for replies in told.values()), "one request, two results"
    assert database.sql("SELECT count(*), count(DISTINCT client_no) FROM orders", "t14") == [["400", "400"]]
    repeated = sum(1 for replies in told.values() if len(replies) == 2 and replies[1][1])
    assert repeated == before
    same = envelope(key, "order.create", booking("T14"))
    assert second.send(key, same).code == 0 and second.send(key, same).code == 203
    print(f"\n{before} answered before, 400 in {took:.1f} s after the takeover")
    second.stop()


def test_a_city_moves_there_and_back(database, tmp_path):
    """T16: a city moves from one machine's database to PostgreSQL and back. Both copies are proven equal; the source does not start again."""
    alone = Server(tmp_path / "a").start()
    key = alone.issue("provider", rate=100_000)
    leave_room(alone, "MOVED")
    orders = [alone.call(key, "order.create", booking("MOVED")).data["orderNo"] for _ in range(30)]
    assert alone.call(key, "order.cancel", {"orderNo": orders[0], "reasonCode": 1}).code == 0
    kept = envelope(key, "order.create", booking("MOVED"))
    number = alone.send(key, kept).data["orderNo"]
    alone.stop()
    run = lambda data, *args: subprocess.run([str(BIN / "berth"), *args, "--data", str(data)], capture_output=True, text=True)
    there = run(alone.data, "store", "copy", "--to", database.city("moved"), "-o", "json")
    assert there.returncode == 0, there.stderr
    facts = json.loads(there.stdout)
    assert facts["tables"]["orders"] == 31 and len(facts["digest"]) == 16
    refused = run(alone.data, "serve", "--https-port", "0", "--mqtt-port", "0")
    assert refused.returncode != 0 and "--again" in refused.stderr
    again = run(alone.data, "store", "copy", "--to", database.city("moved"))
    assert again.returncode != 0
    # A copy that was broken off is no city: no server starts from it, and the next copy begins anew.
    database.sql("UPDATE realm SET moved_to = 'another store: a copy was not finished; `berth store copy` begins it anew'", "moved")
    database.sql("DELETE FROM orders WHERE serial % 2 = 0", "moved")
    half = Member(tmp_path / "half", database.city("moved"), key_from=alone).launch()
    assert half.ended(30) != 0 and "not finished" in half.log()
    whole = run(alone.data, "store", "copy", "--to", database.city("moved"), "-o", "json")
    assert whole.returncode == 0 and json.loads(whole.stdout) == facts, whole.stderr

    server = Member(tmp_path / "b", database.city("moved"), key_from=alone).launch().leads(60)
    seen = {row["orderNo"]: row["status"] for row in server.call(key, "order.list", {"limit": 100}).data["orders"]}
    assert seen == {**{order: 1 for order in orders[1:] + [number]}, orders[0]: 4}
    repeat = envelope(key, "order.create", kept["data"], requestId=kept["requestId"])
    reply = server.send(key, repeat)
    assert (reply.data["orderNo"], reply.duplicate) == (number, True), "a kept result moves too"
    more = [server.call(key, "order.create", booking("MOVED")).data["orderNo"] for _ in range(5)]
    assert len(set(orders + [number] + more)) == 36
    server.stop()

    empty = tmp_path / "c"
    empty.mkdir(mode=0o700)
    (empty / "master.key").write_bytes((alone.data / "master.key").read_bytes())
    back = run(empty, "store", "copy", "--from", database.city("moved"), "-o", "json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["tables"]["orders"] == 36
    home = Server(tmp_path / "d")
    home.data = empty
    home.start()
    shown = home.call(key, "order.list", {"limit": 100}).data["orders"]
    assert {row["orderNo"] for row in shown} == set(orders + [number] + more)
    assert home.cli("verify").strip() in ("the database is what its journal makes of it", "数据库与其日志一致") and home.call(key, "order.create", booking("MOVED")).code == 0
    home.stop()
    moved = Member(tmp_path / "e", database.city("moved"), key_from=alone).launch()
    assert moved.ended(30) != 0 and "two copies" in moved.log()


def test_who_leads_is_asked_of_the_database(database, tmp_path):
    """`berth cluster status`, the metrics of the lease, a password that is not shown, and servers that cannot take part."""
    address = database.city("status")
    status = lambda data: subprocess.run(
        [str(BIN / "berth"), "cluster", "status", "--store", address, "--data", str(data), "-o", "json"], capture_output=True, text=True)
    assert json.loads(status(tmp_path / "none").stdout) == {"realm": "status", "exists": False}
    server = Member(tmp_path / "a", address).launch().leads(60)
    shown = json.loads(status(tmp_path / "none").stdout)
    assert shown["leads"] and shown["term"] == 1 and str(server.process.pid) in shown["leader"] and shown["leaseMillis"] <= 5000
    assert server.metric("berth_leader") == {"berth_leader": 1} and 2 < server.metric("berth_lease_margin_seconds")["berth_lease_margin_seconds"] <= 4
    # Another master key, or a clock that is wrong, cannot lead; a command beside the leader says where it has to be given.
    stranger = Member(tmp_path / "b", address).launch()
    assert stranger.ended(30) != 0 and "master key" in stranger.log()
    beside = Member(tmp_path / "c", address, key_from=server)
    (beside.data / "berth.json").write_text(json.dumps({"store": address}))
    (beside.data / "lock").touch()
    done = subprocess.run(
        [str(BIN / "berth"), "keys", "issue", "--role", "provider", "--name", "x", "--data", str(beside.data)], capture_output=True, text=True)
    assert done.returncode != 0 and str(server.process.pid) in done.stderr, done.stderr
    (beside.data / "berth.json").write_text(json.dumps({"store": "postgres://u:geheim@h/db"}))
    shown = subprocess.run([str(BIN / "berth"), "config", "--data", str(beside.data)], capture_output=True, text=True).stdout
    assert "geheim" not in shown and "postgres://u:" in shown
    wrong = subprocess.run(
        [str(BIN / "berth"), "serve", "--data", str(tmp_path / "f"), "--store", "postgres://u:geheim@h/db?realm=A;b"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "store" in wrong.stderr and "geheim" not in wrong.stderr
    server.stop()
    ended = status(tmp_path / "none")
    assert ended.returncode == 1 and json.loads(ended.stdout)["leads"] is False


def test_a_wrong_clock_does_not_lead(database, tmp_path):
    """T15: a server whose clock is 20 s ahead says why it cannot lead."""
    from test_clock import BY_SHELL, skewed
    from berth import Process
    server = Member(tmp_path / "a", database.city("clock"))
    process = Process(
        [*BY_SHELL, BIN / "berth", "serve", "--data", server.data, "--https-port", server.https_port, "--mqtt-port", server.mqtt_port,
         "--store", server.settings["store"]], server.folder / "server.log", skewed(20))
    assert process.process.wait(60) != 0
    assert "clocks" in server.log() or "时钟" in server.log(), server.log()
