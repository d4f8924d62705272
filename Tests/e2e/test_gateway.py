"""The real gateway: its spool through kills and lost disks, its local API against strangers, its carriers, its clock, and servers that lie."""
import contextlib
import http.server
import json
import os
import pathlib
import random
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from berth import BIN, Gateway, Key, Process, Server, booking, eventually, free_port, lot_info, now, plate, sign
from callback import certificate
from test_clock import BY_SHELL, FAKETIME

MINUTE = 60_000
DAY = 86_400_000


@pytest.fixture(autouse=True)
def no_gateway_outlives_its_test(monkeypatch):
    """A test that fails in the middle leaves no process behind."""
    started, start = [], Gateway.start

    def begin(self, env=None):
        started.append(self)
        return start(self, env)
    monkeypatch.setattr(Gateway, "start", begin)
    yield
    for gateway in started:
        if gateway.process and gateway.process.process.poll() is None:
            gateway.process.kill()


@pytest.fixture
def box(own_server, tmp_path):
    """A server, the key of its lot P1, the lot's gateway and a provider; in step with each other."""
    server = own_server.start()
    key = server.issue("lot", "P1")
    gateway = Gateway(server, tmp_path, [(key, {})]).start()
    eventually(lambda: gateway.status()["synchronised"])
    yield server, key, gateway, server.issue("provider", rate=100_000)
    gateway.process.stop()


def inside(server, key):
    return server.call(key, "recon.inlot.count").data["count"]


def drained(gateway, seconds=40):
    return eventually(lambda: gateway.status()["up"]["backlog"] == 0, seconds)


# The spool


def test_a_kill_leaves_no_hole(own_server, tmp_path):
    """20 kills in the middle of concurrent entries: every entry that was answered arrives once, and the log never has a hole."""
    server = own_server.start()
    key = server.issue("lot", "P1")
    gateway = Gateway(server, tmp_path, [(key, {"totalSpace": 20_000})])
    answered, lock, seed = [], threading.Lock(), random.Random(11)

    def write(round_, stop, enough):
        while not stop.is_set():
            number = plate()
            try:
                status, answer = gateway.pms("P1", "entry", plateNo=number, gateCode="G1")
            except OSError:
                return  # the kill
            assert status == 200, answer
            with lock:
                answered.append(answer["recordNo"])
                if len(answered) >= enough:
                    stop.set()
    for round_ in range(20):
        gateway.start()
        status = gateway.status()
        assert "hole" not in status.get("lastError", "") and status["badRows"] == 0
        stop = threading.Event()
        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(write, round_, stop, len(answered) + seed.randint(1, 40)) for _ in range(8)]
            assert stop.wait(20)
            gateway.process.kill()
            for one in running:
                one.result()
        (epoch, last, ack), = gateway.rows("SELECT up_epoch, up_last, up_ack FROM positions WHERE lot = 'P1'")
        rows = gateway.rows("SELECT seq FROM up WHERE lot = 'P1' AND epoch = ? AND seq > ? ORDER BY seq", epoch, ack)
        assert [seq for seq, in rows] == list(range(ack + 1, last + 1)), "a hole, or a number given twice"
    gateway.start()
    drained(gateway)
    stored = [number for number, in server.sql("SELECT record_no FROM visits WHERE lot = 'P1'")]
    assert len(stored) == len(set(stored)) and set(answered) <= set(stored)
    assert len(server.sql("SELECT DISTINCT epoch FROM up_log WHERE lot = 'P1'")) == 1
    gateway.process.stop()


def test_a_hole_is_renumbered_and_said(box):
    server, key, gateway, _ = box
    server.stop()
    records = [gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[1]["recordNo"] for _ in range(6)]
    gateway.process.kill()
    old = gateway.rows("SELECT up_epoch FROM positions")
    gateway.write("DELETE FROM up WHERE seq = 3")
    gateway.start()
    status = gateway.status()
    assert status["up"]["lastSeq"] == 5 and status["up"]["epoch"] != old[0][0] and "hole" in status["lastError"]
    assert "hole" in gateway.log()
    server.start()
    drained(gateway)
    stored = {number for number, in server.sql("SELECT record_no FROM visits")}
    assert stored == set(records) - {records[2]}


def copies(folder, source, target):
    target.mkdir(exist_ok=True)
    for file in [*folder.glob(source)]:
        shutil.copy2(file, target / file.name)


def test_an_old_spool_is_put_back(box, tmp_path):
    """New entries are not swallowed as duplicates, not even when the box is restarted before it meets the server; the down log catches up."""
    server, key, gateway, provider = box
    enter = lambda count: [gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[1]["recordNo"] for _ in range(count)]
    first = enter(3)
    drained(gateway)
    gateway.process.stop()
    copies(gateway.folder, "spool.sqlite*", tmp_path / "copy")
    gateway.start()
    eventually(lambda: gateway.status()["synchronised"])
    second = enter(6)
    order = server.call(provider, "order.create", booking("P1")).data["orderNo"]
    eventually(lambda: order in gateway.in_force("P1"))
    drained(gateway)
    epoch = gateway.status()["up"]["epoch"]
    gateway.process.stop()
    server.stop()
    for file in gateway.folder.glob("spool.sqlite*"):
        file.unlink()
    copies(tmp_path / "copy", "spool.sqlite*", gateway.folder)
    gateway.start()
    third = enter(2)
    gateway.process.kill()
    gateway.start()
    third += enter(5)  # more by now than the server had of the epoch
    server.start()
    eventually(lambda: gateway.status()["synchronised"], 60)
    drained(gateway)
    assert gateway.status()["up"]["epoch"] != epoch and "older than the server" in gateway.status()["lastError"]
    assert "older than the server" in gateway.log()
    stored = [number for number, in server.sql("SELECT record_no FROM visits")]
    assert sorted(stored) == sorted(first + second + third), "each once"
    eventually(lambda: order in gateway.in_force("P1"))


def test_a_lost_disk_fetches_the_cars_inside(box):
    server, key, gateway, provider = box
    cars = {plate(): None for _ in range(4)}
    for number in cars:
        cars[number] = gateway.pms("P1", "entry", plateNo=number, gateCode="G1")[1]["recordNo"]
    gone = next(iter(cars))
    gateway.pms("P1", "exit", plateNo=gone, gateCode="G2")
    drained(gateway)
    gateway.process.kill()
    for file in gateway.folder.glob("spool.sqlite*"):
        file.unlink()
    gateway.start()
    eventually(lambda: gateway.status().get("lostDisk"))
    assert "lost its disk" in gateway.log()
    eventually(lambda: gateway.status()["inside"] == 3, 30)
    # A restart keeps them; their exit is that of the record that the server has.
    gateway.process.kill()
    gateway.start()
    assert gateway.status()["inside"] == 3 and gateway.status()["lostDisk"]
    number = [n for n in cars if n != gone][0]
    status, answer = gateway.pms("P1", "exit", plateNo=number, gateCode="G2")
    assert (status, answer["recordNo"]) == (200, cars[number])
    drained(gateway)
    assert server.sql("SELECT is_open FROM visits WHERE record_no = ?", cars[number]) == [(0,)]
    assert server.sql("SELECT count(*) FROM up_log WHERE service = 'vehicle.exit.report' AND code <> 0")[0][0] == 0


def test_a_new_lot_lost_nothing(box):
    server, key, gateway, _ = box
    eventually(lambda: "recon" in gateway.status())
    assert "lostDisk" not in gateway.status() and "lost its disk" not in gateway.log() and "lastError" not in gateway.status()


def test_one_bad_row_keeps_nobody_from_starting(own_server, tmp_path):
    server = own_server.start()
    one, two = server.issue("lot", "P1"), server.issue("lot", "P2")
    gateway = Gateway(server, tmp_path, [(one, {}), (two, {})]).start()
    eventually(lambda: all(lot["synchronised"] for lot in gateway.get("/status")))
    server.stop()
    numbers = [plate() for _ in range(4)]
    for park in ("P1", "P2"):
        for number in numbers:
            assert gateway.pms(park, "entry", plateNo=number, gateCode="G1")[0] == 200
    rot = ["UPDATE up SET data = 'rot' WHERE lot = 'P1' AND seq = 2", "UPDATE inside SET body = x'ff' WHERE lot = 'P1' AND plate = ?",
           "INSERT INTO orders VALUES('P1', 'YY1', '{}')", "INSERT INTO standing VALUES('P1', 'flow.policy.push', 'F', 'rot')"]
    gateway.process.kill()
    for sql in rot:
        gateway.write(sql, *([numbers[1]] if "?" in sql else []))
    gateway.start()
    first, second = gateway.status(0), gateway.status(1)
    assert (first["badRows"], second["badRows"]) == (4, 0) and (first["inside"], second["inside"]) == (3, 4)
    assert gateway.log().count("put aside") >= 4
    server.start()
    eventually(lambda: all(lot["up"]["backlog"] == 0 and lot["synchronised"] for lot in gateway.get("/status")), 60)
    count = lambda park: server.sql("SELECT count(*) FROM visits WHERE lot = ?", park)[0][0]
    assert (count("P1"), count("P2")) == (3, 4)
    # What stands in the way of one lot's positions is that lot's alone.
    gateway.process.kill()
    gateway.write("UPDATE positions SET up_last = 'rot', up_ack = -1 WHERE lot = 'P1'")
    gateway.start()
    eventually(lambda: all(lot["synchronised"] for lot in gateway.get("/status")), 60)
    assert gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[0] == 200
    drained(gateway)
    assert gateway.status(1)["badRows"] == 0
    gateway.process.stop()


def test_dead_letters_are_shown(box):
    server, key, gateway, _ = box
    status, answer = gateway.pms("P1", "entry", plateNo="粤B54321", gateCode="G1", enterTime=now() - 400 * DAY)
    assert status == 200
    eventually(lambda: gateway.status()["up"]["deadLetters"] == 1)
    letter, = gateway.get("/pms/P1/dead")
    assert (letter["code"], letter["service"], letter["data"]["recordNo"]) == (1503, "vehicle.entry.report", answer["recordNo"])
    assert letter["message"] and abs(letter["at"] - now()) < MINUTE
    line = next(line for line in gateway.log().splitlines() if "dead letter" in line)
    assert "warning" in line and "vehicle.entry.report" in line and "1503" in line
    page = gateway.request("GET", f"/?token={gateway.token}", headers={})[2].decode()
    assert '<td class=bad>1</td>' in page
    gateway.process.kill()
    gateway.start()
    assert len(gateway.get("/pms/P1/dead?limit=99999999999999999999")) == 1


def test_a_record_is_corrected(box):
    """POST correct mends a refused record and the car inside that the box knows, and corrects visits that are over; a car inside comes first out."""
    server, key, gateway, _ = box
    record = gateway.pms("P1", "entry", plateNo="粤B54321", gateCode="G1")[1]["recordNo"]
    refused = gateway.pms("P1", "entry", plateNo="粤B55555", gateCode="G1", enterTime=now() - 400 * DAY)[1]["recordNo"]
    eventually(lambda: gateway.status()["up"]["deadLetters"] == 1)
    status, answer = gateway.pms("P1", "correct", recordNo=record, correctType=1, after={"plateNo": "粤B12346"})
    assert (status, answer["code"]) == (422, 1502), answer
    assert gateway.pms("P1", "correct", recordNo=refused, correctType=2, after={"enterTime": now() - MINUTE}) == (200, {})
    drained(gateway)
    cars = server.call(key, "recon.inlot.list", {"detailType": 2}).data["items"]
    assert {car["recordNo"]: car["plateNo"] for car in cars} == {record: "粤B54321", refused: "粤B55555"}
    # The box knows what it corrected also after a restart.
    gateway.process.kill()
    gateway.start()
    assert gateway.pms("P1", "exit", plateNo="粤B55555", gateCode="G2") == (200, {"recordNo": refused})
    assert gateway.pms("P1", "exit", plateNo="粤B54321", gateCode="G2", totalFee=900) == (200, {"recordNo": record})
    assert gateway.pms("P1", "correct", recordNo=record, correctType=3, after={"totalFee": 500}, reason="wrong tariff") == (200, {})
    drained(gateway)
    assert inside(server, key) == 0 and gateway.status()["up"]["deadLetters"] == 1
    assert server.sql("SELECT service, code FROM up_log ORDER BY seq DESC LIMIT 1") == [("vehicle.record.correct", 0)]
    for body, status, code, field in (({"correctType": 1}, 400, 100, "recordNo"), ({"recordNo": record, "correctType": 9}, 400, 102, "correctType"),
                                      ({"recordNo": record, "correctType": 1, "after": {"plateNo": "X"}}, 422, 1010, "plateNo"),
                                      ({"recordNo": record, "correctType": 2}, 400, 100, "enterTime"), ({"recordNo": "R" * 49, "correctType": 4}, 400, 102, "recordNo")):
        answer = gateway.pms("P1", "correct", **body)
        assert (answer[0], answer[1]["code"]) == (status, code) and field in answer[1]["detail"], (body, answer)


def test_a_client_that_asks_first_is_told_to_go_on(box):
    """`Expect: 100-continue` is answered where the body may come, and not where it is too long."""
    _, _, gateway, _ = box
    body = json.dumps({"plateNo": plate(), "gateCode": "G1"}).encode()
    head = lambda length: (f"POST /pms/P1/decide HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\nauthorization: {gateway.headers['authorization']}\r\n"
                           f"content-type: application/json\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as line:
        line.sendall(head(len(body)))
        assert line.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
        line.sendall(body)
        assert line.recv(1000).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", gateway.port), 1) as line:
        line.sendall(head(10 << 20))
        with pytest.raises(TimeoutError):
            line.recv(100)


def test_acknowledged_records_are_sent_again(box):
    """D20 names records by number or time; they go as they were, and the server answers duplicates."""
    server, key, gateway, _ = box
    operator = server.issue("operator", rate=1000)
    started = now() - MINUTE
    for _ in range(5):
        gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")
    drained(gateway)
    ask = lambda **data: server.call(operator, "record.resend", {"stream": "up", **data}, park="P1")
    before = server.sql("SELECT seq, request_id FROM up_log ORDER BY seq")
    assert ask(seqFrom=2, seqTo=4).data == {"accepted": True, "count": 3}
    eventually(lambda: ask(timeFrom=started, timeTo=now() + MINUTE).data.get("count") == 5)
    eventually(lambda: ask(seqFrom=4, seqTo=2).code == 102)
    assert server.sql("SELECT seq, request_id FROM up_log ORDER BY seq") == before and gateway.status()["up"]["deadLetters"] == 0
    assert gateway.rows("SELECT count(*) FROM sent") == [(5,)]


def test_reconciliation(own_server, tmp_path):
    """What only the server knows comes back: a car inside, an order in force."""
    server = own_server.start()
    key, provider = server.issue("lot", "P1"), server.issue("provider", rate=1000)
    gateway = Gateway(server, tmp_path, [(key, {})], reconSeconds=1).start()
    eventually(lambda: gateway.status()["synchronised"])
    orders = [server.call(provider, "order.create", booking("P1")).data["orderNo"] for _ in range(3)]
    cars = [plate() for _ in range(3)]
    for number in cars:
        gateway.pms("P1", "entry", plateNo=number, gateCode="G1")
    same = lambda: {k: gateway.status().get("recon", {}).get(k) for k in ("insideHere", "insideThere", "ordersMatch")}
    eventually(lambda: same() == {"insideHere": 3, "insideThere": 3, "ordersMatch": True}, 30)
    gateway.process.kill()
    gateway.write("DELETE FROM orders WHERE order_no = ?", orders[1])
    gateway.write("DELETE FROM inside WHERE plate = ?", cars[1])
    config = json.loads(gateway.config.read_text())
    gateway.config.write_text(json.dumps({**config, "reconSeconds": 86_400}))
    gateway.start()
    recon = eventually(lambda: gateway.status().get("recon"), 30)
    assert (recon["insideHere"], recon["insideThere"], recon["ordersMatch"], recon["carsAdded"]) == (2, 3, False, 1)
    assert "the reconciliation found a difference" in gateway.log()
    assert set(orders) <= set(gateway.in_force("P1")) and gateway.status()["inside"] == 3
    assert gateway.pms("P1", "exit", plateNo=cars[1], gateCode="G2")[0] == 200
    drained(gateway)
    eventually(lambda: inside(server, key) == 2)
    gateway.process.stop()


# What happened at the lot


def test_any_reading_is_a_fact(box):
    """A camera reads what it reads: the record is taken, survives a restart, and its exit finds it (contract 5.5)."""
    server, key, gateway, _ = box
    readings = ["粤B6O017", "粤BI2345", "?", "B12345"]
    records = {}
    for reading in readings:
        status, answer = gateway.pms("P1", "entry", plateNo=reading, gateCode="G1")
        assert status == 200, answer
        records[reading] = answer["recordNo"]
    assert gateway.pms("P1", "decide", plateNo="粤B6O017", gateCode="G1")[0] == 200
    gateway.process.kill()
    gateway.start()
    assert gateway.status()["inside"] == len(readings)
    drained(gateway)
    assert inside(server, key) == len(readings)
    for reading in readings:
        assert gateway.pms("P1", "exit", plateNo=reading, gateCode="G2") == (200, {"recordNo": records[reading]})
    drained(gateway)
    assert inside(server, key) == 0
    for bad in ("X" * 17, "粤B\u0007234"):
        assert gateway.pms("P1", "entry", plateNo=bad, gateCode="G1")[0] in (400, 422)


def test_a_record_counts_all_cars(box):
    """The free places that an entry and an exit carry include the cars that the PMS counts beside those that passed here; found on the city's
    own page, whose numbers jumped with every car."""
    server, _, gateway, provider = box
    remain = lambda: server.call(provider, "lot.detail", {"parkCode": "P1"}).data["remain"]
    assert gateway.pms("P1", "occupied", occupied=19_970)[0] == 200
    eventually(lambda: remain() == 30)
    number = plate()
    assert gateway.pms("P1", "entry", plateNo=number, gateCode="G1")[0] == 200
    drained(gateway)
    seen = {remain() for _ in range(100)}
    assert seen == {29}, seen
    assert gateway.pms("P1", "exit", plateNo=number, gateCode="G2")[0] == 200
    drained(gateway)
    seen = {remain() for _ in range(100)}
    assert seen == {30}, seen
    # A lot that is full of them lets nobody in on its own account.
    assert gateway.pms("P1", "occupied", occupied=20_000)[0] == 200
    assert not gateway.pms("P1", "decide", plateNo=plate(), plateColor=0, gateCode="G1")[1]["admit"]


def test_a_payment_taken_at_the_lot(box):
    """A PMS reports what it was paid; the day's reconciliation knows it. A body that the server would refuse for good is refused here."""
    server, _, gateway, _ = box
    number = plate()
    record = gateway.pms("P1", "entry", plateNo=number, gateCode="G1", enterTime=now() - 3_600_000)[1]["recordNo"]
    status, paid = gateway.pms("P1", "payment", recordNo=record, payType=2, amount=1000, totalFee=1000)
    assert status == 200 and paid["payNo"]
    assert gateway.pms("P1", "exit", plateNo=number, gateCode="G2", totalFee=1000)[0] == 200
    for data, field in (({"payType": 2, "amount": 1}, "recordNo"), ({"recordNo": record, "payType": 7, "amount": 1}, "payType"),
                        ({"recordNo": record, "payType": 2, "amount": -1}, "amount"), ({"recordNo": record, "payType": 2, "amount": 1, "payTime": 5}, "payTime")):
        status, answer = gateway.pms("P1", "payment", **data)
        assert status == 400 and answer["detail"].startswith(field), (data, answer)
    drained(gateway)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    operator = server.issue("operator")
    known = lambda: server.call(operator, "ledger.recon.query", {"parkCode": "P1", "date": day}).data
    recon = eventually(lambda: (r := known())["paymentsKnown"] == 1000 and r)
    assert recon["differences"] == [], recon


def test_a_picture_of_a_car(box):
    """A PMS sends a picture and names it when it asks; what is no picture, too much, or cannot go now has its answer."""
    server, _, gateway, _ = box
    png = b"\x89PNG\r\n\x1a\n" + bytes(1000)
    status, answer = gateway.picture("P1", png)
    assert status == 200, answer
    operator = server.issue("operator")
    shown = server.call(operator, "image.upload.query", {"imageId": answer["imageId"]}, parkCode="P1").data
    assert shown["complete"] and shown["size"] == len(png)
    server.lot("P2")
    assert server.call(operator, "image.upload.query", {"imageId": answer["imageId"]}, parkCode="P2").code == 400, "a picture of another lot"
    assert gateway.picture("P1", b"GIF89a" + bytes(99))[0] == 400
    assert gateway.picture("P1", png, "application/json")[0] == 415
    assert gateway.picture("P1", png + bytes(600_000))[0] == 413, "more than the server takes"
    assert gateway.picture("P1", png + bytes(2 << 20))[0] == 413
    assert gateway.picture("NOWHERE", png)[0] == 404
    assert gateway.request("POST", "/pms/P1/picture", png, {"content-type": "image/png"})[0] == 401
    assert gateway.pms("P1", "decide", plateNo="粤B12345", plateColor=0, gateCode="G1", imageId="x" * 65)[0] == 400
    server.stop()
    status, answer = gateway.picture("P1", png)
    assert (status, answer["error"]) == (503, "dependencyUnavailable")


def test_colours_of_another_system(own_server, tmp_path):
    """A PMS says colours in the codes of its cameras; the record has those of the contract (section 15.2)."""
    server = own_server.start()
    key = server.issue("lot", "P1")
    gateway = Gateway(server, tmp_path, [(key, {"plateColors": "hikvision"})]).start()
    eventually(lambda: gateway.status()["synchronised"])
    read = {"粤Z1234港": (3, 2), "粤B12345警": (2, 3), "粤BD12345": (4, 4), "粤B12345D": (4, 5), "粤B54321": (255, 9), "粤B65432": ("", 9)}
    for number, (theirs, _) in read.items():
        status, answer = gateway.pms("P1", "entry", plateNo=number, plateColor=theirs, gateCode="G1")
        assert status == 200, answer

    def sent():  # what was acknowledged is written after the status says so
        with contextlib.closing(sqlite3.connect(gateway.folder / "spool.sqlite")) as spool:
            return [json.loads(row[0]) for row in spool.execute("SELECT data FROM sent WHERE service = 'vehicle.entry.report'")]
    eventually(lambda: len(sent()) == len(read))
    assert {car["plateNo"]: car["plateColor"] for car in sent()} == {number: ours for number, (_, ours) in read.items()}
    for wrong in (7, "3", "blue", True, {}):
        status, answer = gateway.pms("P1", "entry", plateNo="粤B00001", plateColor=wrong, gateCode="G1")
        assert (status, answer["code"]) == (400, 102) and answer["detail"].startswith("plateColor: "), (wrong, answer)
    gateway.process.stop()


def test_a_second_entry_and_an_unknown_exit(box):
    server, key, gateway, _ = box
    number = plate()
    first = gateway.pms("P1", "entry", plateNo=number, gateCode="G1", enterTime=now() - 30 * MINUTE)[1]["recordNo"]
    status, again = gateway.pms("P1", "entry", plateNo=number, gateCode="G1", enterTime=now() - 26 * MINUTE)
    assert (status, again["code"]) == (409, 1133), "the camera saw it twice"
    status, later = gateway.pms("P1", "entry", plateNo=number, gateCode="G1")
    assert status == 200 and later["missedExit"] == first and later["recordNo"] != first
    assert gateway.status()["inside"] == 1
    assert gateway.pms("P1", "exit", plateNo=number, gateCode="G2")[1]["recordNo"] == later["recordNo"]
    # A car that nobody saw come in.
    enter = now() - 10 * MINUTE
    status, answer = gateway.pms("P1", "exit", plateNo=plate(), gateCode="G2", enterTime=enter)
    assert status == 200
    unknown = gateway.pms("P1", "exit", plateNo=plate(), gateCode="G2")[1]["recordNo"]
    drained(gateway)
    codes = dict(server.sql("SELECT v.record_no, u.code FROM visits v, up_log u WHERE u.service = 'vehicle.exit.report'"
                            " AND u.seq IN (SELECT max(seq) - 1 FROM up_log) AND v.record_no = ?", answer["recordNo"]))
    assert codes == {answer["recordNo"]: 1501} or codes == {answer["recordNo"]: 0}
    assert server.sql("SELECT count(*) FROM visits WHERE record_no IN (?, ?)", answer["recordNo"], unknown) == [(2,)]


def nested(depth):
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_what_the_server_would_refuse_is_refused_with_the_reason(box):
    server, key, gateway, _ = box
    G1 = {"plateNo": plate(), "gateCode": "G1"}
    for what, data, status, code, says in [
        ("entry", {**G1, "gateCode": "NOWHERE"}, 422, 1004, "NOWHERE"), ("exit", {**G1, "gateCode": "NOWHERE"}, 422, 1004, "NOWHERE"),
        ("decide", {**G1, "gateCode": "NOWHERE"}, 422, 1004, "NOWHERE"), ("event", {"eventType": 4999}, 400, 102, "4999"),
        ("event", {"eventType": 999}, 400, 102, "eventType"), ("event", {"eventType": "x"}, 400, 102, "eventType"),
        ("event", {}, 400, 102, "eventType"),
        ("event", {"eventType": 1001, "detail": nested(29)}, 400, 102, "nested"), ("event", {"eventType": 1001, "level": 9}, 400, 102, "level"),
        ("entry", {**G1, "plateNo": "X" * 17}, 422, 1010, "plateNo"), ("entry", {"gateCode": "G1"}, 400, 100, "plateNo"),
        ("entry", {**G1, "enterMode": 9}, 400, 102, "enterMode"), ("entry", {**G1, "enterTime": 2 ** 53 - 1}, 400, 102, "enterTime"),
        ("entry", {**G1, "enterTime": -1}, 400, 102, "enterTime"), ("exit", {**G1, "leaveTime": 5}, 400, 102, "leaveTime"),
        ("exit", {**G1, "totalFee": 2 ** 53 - 1}, 400, 102, "totalFee"), ("exit", {"gateCode": "G2"}, 400, 100, "plateNo"),
        ("exit", {"recordNo": "none", "gateCode": "G2"}, 404, 1134, "record"), ("occupied", {"occupied": -1}, 400, 102, "occupied"),
        ("occupied", {"occupied": 2 ** 53 - 1}, 400, 102, "occupied"), ("inbox", {"through": -1}, 400, 100, "through"),
        ("answer", {"id": "x", "code": 2 ** 53 - 1}, 400, 102, "code"), ("answer", {"id": "\u0301" * 30_000}, 409, 602, "nobody"),
        ("decide", {**G1, "confidence": 101}, 400, 102, "confidence"), ("nothing", {}, 404, None, "POST"),
    ]:
        got, answer = gateway.pms("P1", what, **data)
        assert got == status and says in answer["detail"] and code in (None, answer["code"]), (what, data, got, answer)
    for path, status in [("/pms/P1/commands?waitMs=abc", 400), ("/pms/P1/commands?waitMs=-9223372036854775808", 200),
                         ("/pms/P1/commands?waitMs=", 200), ("/pms/P1/dead?limit=-99999999999999999999999", 200), ("/pms/P1/dead?limit=1.5", 400),
                         ("/pms/NONE/list", 404), ("/pms/" + "e%CC%81" * 2_000 + "/list", 404), ("/pms/P1/what", 404), ("/x", 404)]:
        assert gateway.request("GET", path)[0] == status, path
    assert gateway.status()["up"]["lastSeq"] == 0, "nothing of it stands in the log"
    # What is at the limit goes through, alone and beside others.
    server.stop()
    for depth in (1, 28, 2):
        assert gateway.pms("P1", "event", eventType=9000, detail=nested(depth))[0] == 200
    server.start()
    drained(gateway, 60)
    assert server.sql("SELECT seq, code FROM up_log ORDER BY seq") == [(1, 0), (2, 0), (3, 0)]


# The local API


def test_the_token(own_server, tmp_path):
    """Made at the first start, kept in the configuration for its owner only, asked of every call but the probe."""
    server = own_server.start()
    gateway = Gateway(server, tmp_path, [(server.issue("lot", "P1"), {})], token=None)
    laid_out = json.dumps(json.loads(gateway.config.read_text()), indent=4)
    gateway.config.write_text(laid_out)
    gateway.config.chmod(0o644)
    gateway.start()
    token = json.loads(gateway.config.read_text())["token"]
    assert len(token) >= 32 and gateway.config.stat().st_mode & 0o777 == 0o600
    kept = gateway.config.read_text()
    assert kept.replace(f'\n  "token": "{token}",', "") == laid_out, "the rest stays as it was laid out"
    for file in ("spool.sqlite", "spool.sqlite-wal", "spool.sqlite-shm"):
        assert (gateway.folder / file).stat().st_mode & 0o777 == 0o600
    bearer = lambda text: {"authorization": text, "content-type": "application/json"}
    body = json.dumps({"plateNo": plate(), "gateCode": "G1"}).encode()
    for headers in ({}, bearer("Bearer wrong"), bearer(f"Basic {token}"), bearer(f"Bearer {token}x"), bearer(token)):
        for method, path in (("GET", "/status"), ("GET", "/pms/P1/list"), ("GET", "/pms/P1/commands"), ("POST", "/pms/P1/entry"),
                             ("POST", "/pms/P1/decide"), ("GET", "/"), ("GET", "/nothing"), ("DELETE", "/status")):
            status, _, answer = gateway.request(method, path, body if method == "POST" else None, headers)
            assert status == 401, (method, path, headers, answer)
            assert path == "/" or json.loads(answer)["detail"], "with the reason"
    assert gateway.request("GET", "/healthz", headers={})[0] == 200
    assert gateway.status()["up"]["lastSeq"] == 0 and gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[0] == 200
    assert gateway.request("PUT", "/status")[0] == 405
    # The page: once with the token, then by a cookie that is no token.
    status, headers, page = gateway.request("GET", f"/?token={token}", headers={})
    assert status == 200 and b"P1" in page and token.encode() not in page
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and token not in cookie
    pair = cookie.split(";")[0]
    assert gateway.request("GET", "/", headers={"cookie": pair})[0] == 200
    assert gateway.request("GET", "/status", headers={"cookie": pair})[0] == 401, "the cookie is the page's alone"
    assert gateway.request("GET", "/?token=wrong", headers={"cookie": pair})[0] == 401
    gateway.process.stop()
    gateway.start()
    assert gateway.config.read_text() == kept, "made once"
    assert gateway.request("GET", "/", headers={"cookie": pair})[0] == 200
    gateway.process.stop()


def test_strangers_in_the_browser(own_server, tmp_path):
    """A page of another site, or a name that points here, gets nothing, whatever it knows."""
    server = own_server.start()
    gateway = Gateway(server, tmp_path, [(server.issue("lot", "P1"), {})], hosts=["box.lan"]).start()
    port = gateway.port

    def ask(host=None, headers=None, method="GET", path="/status", body=None):
        return gateway.request(method, path, body, {**gateway.headers, **({"host": host} if host is not None else {}), **(headers or {})})[0]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "box.lan", f"box.lan:{port}", f"LOCALHOST:{port}"):
        assert ask(host) == 200, host
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"localhost.evil.example:{port}", ""):
        assert ask(host) in (400, 421), host
    assert gateway.request("GET", "/healthz", headers={"host": "evil.example"})[0] == 421
    for origin in (f"http://127.0.0.1:{port}", f"http://localhost:{port}", "http://box.lan"):
        assert ask(headers={"origin": origin}) == 200, origin
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}", "https://evil.example", "file://"):
        assert ask(headers={"origin": origin}) == 403, origin
        assert ask(headers={"origin": origin}, method="POST", path="/pms/P1/entry", body=b"{}") == 403
    good = json.dumps({"plateNo": plate(), "gateCode": "G1"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=gbk", ""):
        assert ask(headers={"content-type": kind}, method="POST", path="/pms/P1/entry", body=good) == 415, kind
    assert ask(headers={"content-type": "application/json; charset=UTF-8"}, method="POST", path="/pms/P1/entry", body=good) == 200
    assert ask(method="POST", path="/pms/P1/entry", body=b"x" * (70 << 10)) == 413
    assert gateway.status()["inside"] == 1
    gateway.process.stop()


def test_a_slow_request_loses_its_connection(own_server, tmp_path):
    """Heads and bodies that do not end, with and without the token, are given 20 s."""
    server = own_server.start()
    gateway = Gateway(server, tmp_path, [(server.issue("lot", "P1"), {})]).start()
    head = f"POST /pms/P1/entry HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\ncontent-type: application/json\r\n"
    starts = [b"GET /sta", head.encode(), (head + "content-length: 50000\r\n\r\n{").encode(),
              (head + f"authorization: Bearer {gateway.token}\r\ncontent-length: 50000\r\n\r\n{{").encode(),
              (head + "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n").encode()]

    def drip(start):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", gateway.port)) as link:
            link.sendall(start)
            link.settimeout(1)
            while time.monotonic() - began < 40:
                try:
                    if link.recv(4096) == b"":
                        return time.monotonic() - began
                except socket.timeout:
                    pass
                try:
                    link.sendall(b"a")
                except OSError:
                    return time.monotonic() - began
        return None
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(drip, starts))
        # Whoever is quick is not held up, and a connection that has been used stays.
    assert all(t is not None and t < 25 for t in taken), taken
    assert gateway.status()["parkCode"] == "P1"
    gateway.process.stop()


def test_a_command_is_answered_in_the_session_that_took_it(box):
    server, key, gateway, _ = box
    operator = server.issue("operator", rate=1000)
    assert gateway.get("/pms/P1/commands", **{"X-PMS-Session": "lane-1"}) == []
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(lambda: server.call(operator, "gate.control", {"gateCode": "G1", "action": "OPEN"}, park="P1"))
        command, = eventually(lambda: gateway.get("/pms/P1/commands?waitMs=2000", **{"X-PMS-Session": "lane-1"}))
        answer = lambda session: gateway.pms("P1", "answer", session=session, id=command["id"], code=0, data={"executed": True})
        for other in ("lane-2", None):
            status, body = answer(other)
            assert (status, body["error"]) == (409, "otherSession")
        assert answer("lane-1")[0] == 200 and answer("lane-1")[0] == 409
        assert asked.result(timeout=20).data["executed"] is True
    for odd in ("a b", "x" * 65, "岗亭".encode().decode("latin-1"), "a;b"):
        assert gateway.request("GET", "/pms/P1/commands", headers={**gateway.headers, "X-PMS-Session": odd})[0] == 400


# Carriers


class SilentBroker:
    """A live broker behind which no server listens, with the city's own certificate; and, when asked, a bridge to the city's broker."""

    def __init__(self, server, folder):
        self.server, self.port, self.clients = server, free_port(), []
        tls = pathlib.Path(server.ca).parent
        config = folder / "silent.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\ncafile {tls}/ca.pem\ncertfile {tls}/server.pem\n"
                          f"keyfile {tls}/server.key\npersistence false\nuser root\nset_tcp_nodelay true\n")
        program = next(p for p in ("/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto") if os.path.exists(p))
        self.process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def client(self, client_id, port, user=None):
        import paho.mqtt.client as mqtt
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True, protocol=mqtt.MQTTv311)
        if user:
            client.username_pw_set(*user)
        client.tls_set(ca_certs=self.server.ca)
        client.connect("127.0.0.1", port, keepalive=60)
        self.clients.append(client)
        return client

    def bridge(self, key):
        """From now on the lot is answered."""
        here = self.client("bridge", self.port)
        there = self.client(key.client_id, self.server.mqtt_port, (key.app_id, key.mqtt_password))
        here.on_message = lambda c, u, m: there.publish(m.topic, m.payload, m.qos, m.retain)
        there.on_message = lambda c, u, m: here.publish(m.topic, m.payload, m.qos)
        here.on_connect = lambda c, *rest: c.subscribe(f"rsp/v1/{key.park}/up/#", 1)
        there.on_connect = lambda c, *rest: c.subscribe(f"rsp/v1/{key.park}/down/#", 1)
        for client in (there, here):
            client.loop_start()

    def close(self):
        for client in self.clients:
            client.disconnect()
            client.loop_stop()
        self.process.terminate()
        self.process.wait()


def test_auto_takes_https_when_nobody_answers_behind_the_broker(own_server, tmp_path):
    server = own_server.start()
    key, provider = server.issue("lot", "P1"), server.issue("provider", rate=1000)
    broker = SilentBroker(server, tmp_path)
    gateway = Gateway(server, tmp_path, [(key, {})], mqtt=f"127.0.0.1:{broker.port}").start()
    try:
        eventually(lambda: gateway.status()["online"])
        assert gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[0] == 200
        eventually(lambda: gateway.status()["carrier"] == "https", 60)
        assert gateway.status()["online"], "the broker is up all the time"
        eventually(lambda: gateway.status()["synchronised"], 20)
        drained(gateway)
        # Orders arrive, and the gate asks the server, over HTTPS.
        order = server.call(provider, "order.create", booking("P1", now() + 10 * MINUTE)).data
        eventually(lambda: order["orderNo"] in gateway.in_force("P1"), 30)
        ask = lambda: gateway.pms("P1", "decide", plateNo=order["plateNo"], gateCode="G1")[1]
        decided = eventually(lambda: (one := ask())["by"] == "server" and one)
        assert decided["admit"] and decided["orderNo"] == order["orderNo"]
        broker.bridge(key)
        eventually(lambda: gateway.status()["carrier"] == "mqtt", 60)
        assert gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[0] == 200
        drained(gateway)
        assert "MQTT is answered again" in gateway.log()
    finally:
        gateway.process.stop()
        broker.close()


def test_the_gate_does_not_wait_for_a_server_that_is_away(own_server, tmp_path):
    server = own_server.start()
    gateway = Gateway(server, tmp_path, [(server.issue("lot", "P1"), {})], carrier="https").start()
    eventually(lambda: gateway.status()["synchronised"])
    decide = lambda: gateway.pms("P1", "decide", plateNo=plate(), gateCode="G1")[1]
    eventually(lambda: decide()["by"] == "server")
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert decide()["by"] == "local" and time.monotonic() - started < 3
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    eventually(lambda: decide()["by"] == "server", 30)
    gateway.process.stop()


# Clocks


class StepClock:
    """The realtime clock of a process, which the test sets while it runs; its monotonic clock is left alone."""

    def __init__(self, folder, name):
        self.file = folder / f"{name}.clock"
        self.step(0)

    def step(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.replace(self.file)

    @property
    def env(self):
        return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


class SteppedServer(Server):
    def start(self, env=None):
        args = [BIN / "berth", "serve", "--data", self.data, "--https-port", self.https_port, "--mqtt-port", self.mqtt_port]
        self.process = Process([*BY_SHELL, *args], self.folder / "server.log", env)
        self.ready = self.process.ready()
        self.ca = self.ready["ca"]
        self.context = ssl.create_default_context(cafile=self.ca)
        return self

    def end(self):
        """At once: its clock has been stepped, and so may its timers have been."""
        pid = self.data / "broker/mosquitto.pid"
        broker = int(pid.read_text()) if pid.exists() else None
        self.kill()
        if broker and b"mosquitto" in pathlib.Path(f"/proc/{broker}/cmdline").read_bytes():
            os.kill(broker, signal.SIGTERM)


@pytest.mark.parametrize("seconds", [600, -600])
@pytest.mark.parametrize("who", ["server", "gateway"])
@pytest.mark.parametrize("carrier", ["auto", "https"])
def test_a_step_of_either_clock(tmp_path, who, seconds, carrier):
    """Records flow again within 10 s, and their times are the server's."""
    if (who, seconds, carrier) == ("gateway", -600, "https"):
        pytest.skip("ten minutes ago the certificate of this test was not valid yet: TLS itself refuses")
    clocks = {name: StepClock(tmp_path, name) for name in ("server", "gateway")}
    server = SteppedServer(tmp_path / "server").start(clocks["server"].env)
    gateway = None
    try:
        key = server.issue("lot", "P1")
        gateway = Gateway(server, tmp_path, [(key, {})], carrier=carrier).start(clocks["gateway"].env)
        eventually(lambda: gateway.status()["synchronised"])
        assert gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[0] == 200
        drained(gateway)
        clocks[who].step(seconds)
        stepped = time.monotonic()
        number = plate()
        record = gateway.pms("P1", "entry", plateNo=number, gateCode="G1")[1]["recordNo"]
        row = lambda: server.sql("SELECT body FROM visits WHERE record_no = ?", record)
        eventually(row, 20)
        assert time.monotonic() - stepped < 20
        ahead = seconds if who == "server" else 0
        eventually(lambda: abs(gateway.status()["clockOffsetMs"] - (ahead if who == "server" else -seconds) * 1000) < 1_000, 10)
        # What is recorded from now on carries the server's time; what the machine itself did is not seen in it at all.
        entered = now()
        again = gateway.pms("P1", "entry", plateNo=plate(), gateCode="G1")[1]["recordNo"]
        eventually(lambda: server.sql("SELECT count(*) FROM visits WHERE record_no = ?", again)[0][0] == 1, 20)
        times = {}
        for text, in gateway.rows("SELECT data FROM up UNION ALL SELECT data FROM sent"):
            times[json.loads(text).get("recordNo")] = json.loads(text).get("enterTime")
        assert abs(times[again] - (entered + ahead * 1000)) < 5_000
        assert who == "server" or abs(times[record] - now()) < 45_000
        # Regular reports go on too. (libfaketime 0.9.10 shifts absolute timerfds by the step, also monotonic ones: a step back stops them.)
        if (who, seconds) != ("gateway", -600):
            gateway.pms("P1", "occupied", occupied=13_575)
            eventually(lambda: server.sql("SELECT count(*) FROM lots WHERE remaining LIKE '%13578%'")[0][0] == 1, 12)
    finally:
        if gateway:
            gateway.process.stop()
        server.end()


# A server that lies


class Liar:
    """An HTTPS server that signs whatever it is told to say: `lies[service]` are tried in turn."""

    def __init__(self, folder, key):
        self.ca, key_file = certificate(folder)
        self.lies, self.turns, self.heard = {}, {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = outer.reply(body, key)
                if text is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key_file)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.ready = {"https": f"https://127.0.0.1:{self.server.server_address[1]}"}
        self.mqtt_port, self.ca = free_port(), str(self.ca)

    def reply(self, body, key):
        service = body["service"]
        self.heard.append(service)
        lies = self.lies.get(service) or [{}]
        turn = self.turns.get(service, 0)
        self.turns[service] = turn + 1
        lie = lies[turn % len(lies)]
        if callable(lie):
            lie = lie(body)
        if lie is None or isinstance(lie, bytes):
            return lie
        reply = {"version": "1.0", "requestId": body["requestId"], "appId": body["appId"], "service": service, "parkCode": body["parkCode"],
                 "timestamp": now(), "nonce": secrets.token_hex(8), "code": 0, "message": "", "data": {}, **lie}
        reply["sign"] = sign(reply, key.secret)
        return json.dumps(reply, ensure_ascii=False).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


BIG = 2 ** 53 - 1
ODD = [BIG, -BIG, 0, -1, 1, 10 ** 12, "x", None, [], {}, True]


def honest_time(body):
    return {"data": {"serverRecvTime": now(), "serverSendTime": now(), "ntpServers": []}}


def test_a_server_that_lies(own_server, tmp_path):
    """Numbers, epochs, lists and times of every kind: the box lives, answers its PMS, believes nothing that was never sent, and loses nothing."""
    real = own_server.start()
    key = real.issue("lot", "P1")
    liar = Liar(tmp_path, key)
    cursor = lambda up, down: {"data": {"up": {"epoch": "x", "ackSeq": up}, "down": down}}
    snapshot = lambda **data: {"data": {"downEpoch": "d", "downSeq": 0, "orders": [], "shareAuths": [], "blackList": [], "whiteList": [],
                                        "flowPolicies": [], "config": [], "vehicleLocks": [], **data}}
    order = {"orderNo": "YY1", "orderVer": 1, "plateNo": "粤B12345", "enterStart": -BIG, "enterEnd": BIG, "bizType": 1, "entryLimit": BIG,
             "entriesUsed": BIG}
    entry = lambda seq, epoch="d": {"epoch": epoch, "seq": seq, "requestId": "x", "service": "order.reserve.push", "timestamp": 0, "data": order}
    sane = cursor(0, {"epoch": "d", "lastSeq": 0, "ackSeq": 0})
    liar.lies = {
        "sys.time.get": [{"data": {"serverRecvTime": BIG, "serverSendTime": -BIG}}, honest_time, honest_time,
                         *({"data": {"serverRecvTime": odd, "serverSendTime": odd}} for odd in ODD)],
        "sync.cursor.query": [*(cursor(odd, {"epoch": "d", "lastSeq": odd, "ackSeq": odd}) for odd in ODD), *(cursor(0, odd) for odd in ODD),
                              {"data": []}, {"code": BIG}, {"code": -BIG}, b"", b"[" * 100_000, b'{"code":0', None] + [sane] * 3,
        "sync.snapshot.query": [*(snapshot(downSeq=odd) for odd in ODD), *(snapshot(downEpoch=odd) for odd in ODD), snapshot(downEpoch="é" * 5000),
                                snapshot(downEpoch="a&b="), snapshot(orders=[order, order, {}, 5, None]), snapshot(orders=BIG),
                                snapshot(flowPolicies=[{"policyId": "F", "validFrom": -BIG, "validTo": BIG, "mode": BIG}], blackList=[{}, 5]),
                                {"code": 104}, snapshot()],
        "sync.down.pull": [*({"data": {"epoch": "d", "entries": [entry(odd), entry(odd)], "hasMore": True}} for odd in ODD),
                           *({"data": {"epoch": odd, "entries": [entry(1)]}} for odd in ODD), {"data": {"epoch": "d", "entries": BIG}},
                           {"code": 610, "data": {"expectedSeq": -BIG, "snapshot": True}}, {"code": 613, "data": {"epoch": BIG}},
                           {"data": {"epoch": "d", "entries": []}}],
        "sync.down.ack": [{"data": {"ackSeq": odd}} for odd in ODD],
        "recon.inlot.count": [{"data": {"count": odd, "asOfSeq": odd}} for odd in ODD],
        "recon.inlot.list": [{"data": {"asOfSeq": 0, "hasMore": True, "items": [{"recordNo": odd, "plateNo": "粤B12345", "enterTime": odd}] * 3}}
                             for odd in ODD] + [{"data": {"items": BIG}}],
        "recon.order.digest": [{"data": {"digest": odd, "downSeq": odd, "count": odd}} for odd in ODD],
    }
    answers = [*({"code": 0, "epoch": "e", "ackSeq": odd} for odd in (BIG, -BIG, -1, 0)), {"code": 202}, {"code": 301}, {"code": 104}, {"code": BIG},
               *({"code": 610, "data": {"expectedSeq": odd, "epoch": "x", "ackSeq": odd}} for odd in ODD), {"code": 613}, {"code": 613},
               {"code": 611, "data": {"failed": [{"seq": odd, "code": odd} for odd in ODD]}}, b"\xff" * 50, None]

    def own(lie):
        # The same lies about the very epoch that the box sends.
        def make(body):
            epoch = body.get("epoch") or body["data"].get("entries", [{}])[0].get("epoch", "")
            said = json.loads(json.dumps(lie))
            if "epoch" in said:
                said["epoch"] = epoch
            if isinstance(said.get("data"), dict) and "epoch" in said["data"]:
                said["data"]["epoch"] = epoch
            return said
        return make if isinstance(lie, dict) else lie
    for service in ("vehicle.entry.report", "event.report", "sync.batch.report"):
        liar.lies[service] = [own(lie) for lie in answers]
    # Each lot waits longer after each lie: many of them hear more.
    plain = {"info": None, "gates": None, "totalSpace": 20_000}
    others = [(Key({"appId": f"liar{n:04}", "appSecret": key.secret}, park=f"L{n}"), plain) for n in range(60)]
    gateway = Gateway(liar, tmp_path, [(key, plain), *others], carrier="https", reconSeconds=1).start()
    records, end = [], time.monotonic() + 25
    while time.monotonic() < end:
        for park in ("P1", *(f"L{n}" for n in range(20))):
            status, answer = gateway.pms(park, "entry", plateNo=plate(), gateCode="G1")
            assert status == 200, answer
            if park == "P1":
                records.append(answer["recordNo"])
        assert gateway.pms("P1", "decide", plateNo=plate(), gateCode="G1")[0] == 200 and len(gateway.get("/status")) == 61
        heard = len(liar.heard)
        eventually(lambda: len(liar.heard) > heard or gateway.process.process.poll() is not None, 70)
        assert gateway.process.process.poll() is None, gateway.log()[-3000:]
    assert "Fatal error" not in gateway.log()
    missing = {"sync.cursor.query", "sync.snapshot.query", "sync.down.pull", "sync.batch.report", "recon.inlot.count"} - set(liar.heard)
    assert not missing, missing
    assert len(liar.heard) > 300
    gateway.process.stop()
    liar.close()
    # Nothing was believed that was never sent, and nothing is lost: the true server gets every record.
    held = {number for text, in gateway.rows("SELECT data FROM up WHERE lot = 'P1' UNION ALL SELECT data FROM sent WHERE lot = 'P1'")
            for number in re.findall(r'"recordNo":"([^"]+)"', text)}
    assert set(records) <= held
    config = json.loads(gateway.config.read_text())
    config |= {"server": real.ready["https"], "mqtt": f"127.0.0.1:{real.mqtt_port}", "ca": real.ca, "carrier": "auto"}
    config["lots"] = [config["lots"][0] | {"info": lot_info("P1", 100, 20_000)}]
    gateway.config.write_text(json.dumps(config))
    acknowledged = {number for text, in gateway.rows("SELECT data FROM sent WHERE lot = 'P1'")
                    for number in re.findall(r'"recordNo":"([^"]+)"', text)}
    gateway.start()
    eventually(lambda: gateway.status()["synchronised"], 60)
    drained(gateway, 60)
    stored = {number for number, in real.sql("SELECT record_no FROM visits")}
    assert set(records) - acknowledged <= stored, real.sql("SELECT code, count(*) FROM up_log GROUP BY code")
    gateway.process.stop()
