"""Storage that tells the truth: what the disk lost or changed is noticed, named, and gone on from only when somebody says so.

Each test has a city of its own: two lots that speak MQTT and keep what they are told, a provider that is notified, orders that are
made, moved and cancelled. Afterwards the two halves of the world are compared: no number means two things, and every lot has exactly the
orders in force.
"""
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
import uuid

import pytest

from berth import BIN, Lot, booking, envelope, eventually, now, sign
from callback import Callback, certificate
from harsh import HarshServer

MINUTE = 60_000


class Keeper(Lot):
    """A lot that keeps the orders it was told of, and takes a snapshot when the server's log is not the one it knows (sections 5.6 and 5.7)."""

    def __init__(self, server, key):
        super().__init__(server, key)
        self.orders, self.ids, self.snapshots = {}, {}, 0
        self.faults, self.busy = [], threading.Lock()

    def resume(self, other):
        """The same box after its line was broken."""
        self.epoch, self.ack, self.orders, self.ids, self.snapshots = other.epoch, other.ack, dict(other.orders), dict(other.ids), other.snapshots
        self.faults = other.faults
        return self

    def connect(self, wait=True):
        super().connect(wait)
        self.look()
        return self

    def look(self):
        """After a break the lot asks where both logs stand."""
        down = self.call("sync.cursor.query", {})["data"]["down"]
        if self.epoch is not None and (down["epoch"] != self.epoch or down["lastSeq"] < self.ack):
            self.snapshot()

    def snapshot(self):
        with self.busy:
            data = self.call("sync.snapshot.query", {})["data"]
            with self.changed:
                self.orders = {o["orderNo"]: o["orderVer"] for o in data["orders"]}
                self.epoch, self.ack = data["downEpoch"], data["downSeq"]
                self.snapshots += 1
                self.changed.notify_all()

    def _message(self, client, userdata, message):
        body = json.loads(message.payload)
        if not message.topic.endswith("/down/reply"):
            # What one requestId says it says for ever.
            told = (body["service"], json.dumps(body["data"], sort_keys=True))
            if self.ids.setdefault(body["requestId"], told) != told:
                self.faults.append(f"{body['requestId']} means two things: {self.ids[body['requestId']]} and {told}")
        super()._message(client, userdata, message)

    def answer(self, body, code=0, data=None):
        if "epoch" not in body:
            return self.reply(body, 0, {})
        if self.epoch is not None and body["epoch"] != self.epoch:
            # A new lineage: everything now in force, then on from there. Not on the thread that hears the answer.
            threading.Thread(target=self.catch_up, args=(body,), daemon=True).start()
            return None
        if self.epoch is None:
            self.epoch = body["epoch"] if body["seq"] == 1 else None
        if body["epoch"] != self.epoch or body["seq"] > self.ack + 1:
            return self.reply(body, 610, {"expectedSeq": self.ack + 1 if body["epoch"] == self.epoch else 1, "epoch": self.epoch or "", "ackSeq": self.ack})
        if body["seq"] <= self.ack:
            return self.reply(body, 0, {"accepted": True}, duplicate=True)
        self.ack = body["seq"]
        order = body["data"]
        if body["service"] in ("order.reserve.push", "order.reserve.modify") and order["orderVer"] > self.orders.get(order["orderNo"], 0):
            self.orders[order["orderNo"]] = order["orderVer"]
        if body["service"] == "order.reserve.cancel":
            self.orders.pop(order["orderNo"], None)
        with self.changed:
            self.applied.append(body)
            self.changed.notify_all()
        return self.reply(body, 0, {"accepted": True})

    def catch_up(self, body):
        try:
            if body["epoch"] != self.epoch:
                self.snapshot()
            self.answer(body)
        except AssertionError:
            # The line broke meanwhile; the entry comes again.
            pass

    def reply(self, body, code, data, **extra):
        if "epoch" in body:
            extra |= {"epoch": self.epoch or "", "ackSeq": self.ack}
        message = {"version": "1.0", "requestId": body["requestId"], "appId": self.key.app_id, "service": body["service"], "parkCode": self.key.park,
                   "timestamp": now(),
                   "nonce": uuid.uuid4().hex[:16], "code": code, "message": "", "data": data, **extra}
        message["sign"] = sign(message, self.key.secret)
        self.client.publish(f"rsp/v1/{self.key.park}/up/reply", json.dumps(message, ensure_ascii=False), 1)

    def digest(self):
        lines = sorted(f"{number}:{version}" for number, version in self.orders.items())
        return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()


class City:
    """A server, its lots, its provider, and everything that was ever said by it."""

    def __init__(self, folder, pem):
        self.server = HarshServer(folder, callback__allowPrivate="true", callback__ca=pem[0], callback__retrySeconds="1,1,1", environment="test").start()
        self.party = Callback(*pem)
        self.provider = self.server.issue("provider", rate=100_000)
        self.server.cli("keys", "set", "--app-id", self.provider.app_id, "--callback", self.party.url)
        self.party.secrets[self.provider.app_id] = self.provider.secret
        self.operator = self.server.issue("operator", rate=100_000)
        self.keys = [self.server.lot(f"STORE{n}", reserve=1000, total=1000, rate=100_000) for n in (1, 2)]
        self.lots = [Keeper(self.server, key).connect() for key in self.keys]
        self.numbers, self.versions = {}, {}
        self.generation = 0

    def rush(self, count=12):
        """Orders at both lots; some are moved, some cancelled. Returns what is in force afterwards, by lot."""
        made = []
        for index in range(count):
            park = self.keys[index % 2].park
            wish = booking(park, now() + (35 + index % 20) * MINUTE)
            reply = self.server.call(self.provider, "order.create", wish)
            assert reply.code == 0, reply
            number = reply.data["orderNo"]
            assert number not in self.numbers, f"{number} was given before, in generation {self.numbers.get(number)}"
            self.numbers[number] = self.generation
            made.append((park, number, wish["planTime"]))
        for park, number, plan in made[:2]:
            assert self.server.call(self.provider, "order.modify", {"orderNo": number, "planTime": plan + MINUTE}).code == 0
        for park, number, plan in made[2:4]:
            assert self.server.call(self.provider, "order.cancel", {"orderNo": number, "confirmBreach": True}).code == 0
        return made

    def settle(self):
        """Every lot has exactly the orders in force, by its own list and by the server's digest; every notification is confirmed."""
        def same():
            for key, lot in zip(self.keys, self.lots):
                there = self.server.call(key, "recon.order.digest").data
                if lot.digest() != (there["count"], there["digest"]):
                    return False
            return True
        try:
            eventually(same, 30)
        except AssertionError:
            for key, lot in zip(self.keys, self.lots):
                there = self.server.call(key, "recon.order.digest").data
                force = {o["orderNo"]: o["orderVer"] for o in self.server.call(key, "sync.snapshot.query").data["orders"]}
                assert lot.orders == force, f"{key.park}: the lot has {sorted(set(lot.orders.items()) - set(force.items()))} too many and lacks {sorted(set(force.items()) - set(lot.orders.items()))}; {there}"
        self.check_notices()

    def check_notices(self):
        """No requestId of a message or notification means two things."""
        assert not [f for lot in self.lots for f in lot.faults], self.lots[0].faults + self.lots[1].faults
        seen = {}
        for body in list(self.party.received):
            told = (body["service"], json.dumps(body["data"], sort_keys=True))
            assert seen.setdefault(body["requestId"], told) == told, f"notification {body['requestId']} means {seen[body['requestId']]} and {told}"

    def notices(self):
        return {body["requestId"] for body in list(self.party.received)}

    def leave(self):
        for lot in self.lots:
            lot.disconnect(clean=False)

    def come_back(self):
        self.lots = [Keeper(self.server, key).resume(old) for key, old in zip(self.keys, self.lots)]
        for lot in self.lots:
            lot.connect()

    def quiet(self):
        """Until every lot has acknowledged what is for it, and every notification is confirmed."""
        eventually(lambda: all(lot.ack == self.server.call(key, "sync.cursor.query").data["down"]["lastSeq"] for key, lot in zip(self.keys, self.lots)), 20)
        eventually(lambda: self.server.sql("SELECT count(*) FROM reports WHERE kind = 'tiding'")[0][0] == 0, 20)

    def close(self):
        self.leave()
        self.party.close()
        if self.server.process and self.server.lives():
            self.server.stop()

    # What an operator does

    def berth(self, *args):
        """(exit code, output) of a command on the data folder."""
        done = subprocess.run([str(BIN / "berth"), *args, "--data", str(self.server.data)], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def refused(self):
        """The server does not start, and says why and how to go on."""
        process = subprocess.Popen([str(a) for a in self.server.args()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "SWIFT_BACKTRACE": "enable=no"})
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            line = process.stdout.readline()
            if '"ready"' in line:
                process.kill()
                process.wait()
                pytest.fail("the server started as if nothing had happened")
            out, err = process.communicate()
        finally:
            timer.cancel()
        said = line + out + err
        assert process.returncode not in (0, None) and process.returncode > 0, (process.returncode, said)
        assert "--accept-loss" in said, said
        assert "Fatal error" not in said and "Illegal instruction" not in said, said
        return said

    def new_lineage(self, before):
        """After a loss was accepted: new down epochs, other numbers, other requestIds, and it stands on the audit record."""
        epochs = [self.server.call(key, "sync.cursor.query").data["down"]["epoch"] for key in self.keys]
        self.generation += 1
        notices = self.notices()
        heard = [set(lot.ids) for lot in self.lots]
        self.come_back()
        made = self.rush(8)
        self.quiet()
        self.settle()
        for lot, old, known in zip(self.lots, before, heard):
            assert lot.epoch != old, "the down log has a new epoch"
            fresh = {b["requestId"] for b in lot.applied if b["data"].get("orderNo") in {n for _, n, _ in made}}
            assert fresh and not fresh & known, "requestIds of down entries do not repeat"
        orders = {n for _, n, _ in made}
        eventually(lambda: {b["data"].get("orderNo") for b in list(self.party.received)} >= {n for _, n, _ in made[2:4]} or not notices, 15)
        fresh = {b["requestId"] for b in list(self.party.received) if b["data"].get("orderNo") in orders}
        assert not fresh & notices, "notification numbers do not repeat"
        record = self.server.cli("audit", "list")
        assert any(word in record for word in ("lineage", "accept", "restored", "loss")), record[-1500:]
        assert json.loads(self.server.cli("audit", "verify"))["intact"] is True
        assert epochs is not None


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("pem"))


@pytest.fixture
def city(tmp_path, pem):
    city = City(tmp_path, pem)
    yield city
    city.close()


# A healthy folder

def test_verify_of_a_healthy_folder(city):
    """Exit code 0 while the server runs, after its end, and after a kill; the server starts as ever."""
    city.rush()
    city.quiet()
    code, said = city.berth("verify")
    assert code == 0, f"while it runs: {said}"
    city.leave()
    city.server.kill()
    code, said = city.berth("verify")
    assert code == 0, f"after a kill: {said}"
    city.server.start()
    city.come_back()
    city.rush()
    city.settle()
    city.leave()
    city.server.stop()
    code, said = city.berth("verify")
    assert code == 0, f"after its end: {said}"
    assert (city.server.data / "mark").exists()
    city.server.start()
    city.come_back()
    city.settle()


# One byte of the database

def bring_in(server):
    """Everything in the write-ahead log of a stopped server comes into the database file."""
    db = sqlite3.connect(server.data / "berth.sqlite")
    assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    db.close()


def place_of(server, value):
    """Where the bytes of a value lie in the database file."""
    bring_in(server)
    raw = value if isinstance(value, bytes) else str(value).encode()
    file = (server.data / "berth.sqlite").read_bytes()
    at = file.find(raw[:60])
    assert at >= 0, "not found in the file"
    return at + min(len(raw), 60) // 2


def flip(path, at, mask=0x10):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ mask]))


def test_a_byte_of_the_last_entry(city):
    """The end of the journal is not what the mark knows: refused at start, `verify` says so; with --accept-loss it goes on in a new lineage."""
    city.rush()
    city.quiet()
    city.settle()
    city.leave()
    city.server.stop()
    number, body = city.server.sql("SELECT id, body FROM journal ORDER BY id DESC LIMIT 1")[0]
    flip(city.server.data / "berth.sqlite", place_of(city.server, body))
    code, said = city.berth("verify")
    assert code != 0 and str(number) in said, said
    before = [lot.epoch for lot in city.lots]
    said = city.refused()
    assert "mark" in said or "entry" in said, said
    city.server.start("--accept-loss")
    city.new_lineage(before)


@pytest.mark.parametrize("what", ["an entry of the journal", "an entry that an order points at", "a kept reply", "a row of an order", "a record of the audit",
                                  "a posting of the ledger"])
def test_a_byte_in_the_middle(city, what):
    """`berth verify` says what differs and exits non-zero, on a stopped server's folder and while a server runs on it, which does not crash on it."""
    city.rush(16)
    assert city.server.call(city.operator, "policy.set", {"scope": "lot:STORE1", "values": {"lateMin": 31}}).code == 0
    city.quiet()
    city.leave()
    city.server.stop()
    server = city.server
    file = server.data / "berth.sqlite"
    word = None
    if what == "an entry of the journal":
        rows = server.sql("SELECT id, body FROM journal ORDER BY id")
        number, body = rows[len(rows) // 2]
        flip(file, place_of(server, body))
        word = str(number)
    elif what == "an entry that an order points at":
        number, body = server.sql("SELECT id, body FROM journal WHERE id IN (SELECT entry FROM orders WHERE entry > 0) ORDER BY id LIMIT 1")[0]
        flip(file, place_of(server, body))
        word = str(number)
    elif what == "a kept reply":
        rows = server.sql("SELECT id, data FROM replies WHERE length(data) > 40 ORDER BY id")
        number, body = rows[len(rows) // 2]
        flip(file, place_of(server, body))
        word = "repl"
    elif what == "a row of an order":
        # A row is not sealed as a whole: another status, as a bit on the disk would make it.
        server.write("UPDATE orders SET status = 3 WHERE serial = (SELECT serial FROM orders WHERE status = 1 LIMIT 1)")
        word = "order"
    elif what == "a record of the audit":
        server.write("UPDATE audit SET detail = detail || 'x' WHERE id = (SELECT max(id) - 2 FROM audit)")
        word = "audit"
    else:
        if not server.sql("SELECT count(*) FROM ledger")[0][0]:
            server.write("INSERT INTO ledger(at, kind, ref, account, fen) VALUES(1, 'payment', 'x', 'platform', 1)")
        else:
            server.write("UPDATE ledger SET fen = fen + 1 WHERE id = (SELECT min(id) FROM ledger)")
        word = "ledger"
    code, said = city.berth("verify")
    assert code != 0, f"verify sees nothing: {said}"
    assert word in said.lower(), said
    assert "Fatal error" not in said
    # It may be refused at the start, with its reason; when it starts, verify still says so, and others are served.
    try:
        server.start()
    except AssertionError as refusal:
        assert "berth: " in str(refusal) and "another master key" not in str(refusal), refusal
        return
    code, said = city.berth("verify")
    assert code != 0 and word in said.lower(), f"while it runs: {said}"
    assert server.call(city.provider, "sys.time.get").code == 0 and server.lives()


def test_the_look_after_a_start_says_what_differs(city):
    """In the background after a start the server looks through its database by itself; the log says what differs."""
    city.rush()
    city.quiet()
    city.leave()
    city.server.stop()
    city.server.write("UPDATE orders SET status = 3 WHERE serial = (SELECT serial FROM orders WHERE status = 1 LIMIT 1)")
    city.server.start()
    eventually(lambda: "order" in city.server.since_start().lower() and any(w in city.server.since_start().lower() for w in ("differ", "verify", "journal",
        "not what")), 40)


# The write-ahead log

def cut_to_half(wal):
    os.truncate(wal, os.path.getsize(wal) // 2)


def cut_by_a_page(wal):
    os.truncate(wal, os.path.getsize(wal) - 2_000)


def cut_off(wal):
    os.truncate(wal, 0)


def taken_away(wal):
    wal.unlink()


def one_bit_in_a_page(wal):
    # Pages of the latest group of writes: what stands before it is whole.
    size = os.path.getsize(wal)
    flip(wal, 32 + (size - 32) // 4120 // 2 * 4120 + 24 + 100)


def a_page_of_zeros(wal):
    size = os.path.getsize(wal)
    with open(wal, "r+b") as file:
        file.seek(32 + (size - 32) // 4120 // 2 * 4120)
        file.write(b"\0" * 4120)


@pytest.mark.parametrize("damage", [cut_to_half, cut_by_a_page, cut_off, taken_away, one_bit_in_a_page, a_page_of_zeros], ids=lambda f: f.__name__)
def test_a_damaged_write_ahead_log(city, damage):
    """What was acknowledged and is in the log only is gone: noticed at the start, refused with its reason, and gone on from in a new lineage."""
    city.rush()
    city.quiet()
    city.leave()
    city.server.stop()
    # The credentials are in the database file, and what follows is in the log.
    bring_in(city.server)
    city.server.start()
    city.come_back()
    city.rush()
    city.quiet()
    city.settle()
    before = [lot.epoch for lot in city.lots]
    city.leave()
    city.server.kill()
    wal = city.server.data / "berth.sqlite-wal"
    assert os.path.getsize(wal) > 50_000, "there is something to lose"
    damage(wal)
    shm = city.server.data / "berth.sqlite-shm"
    if shm.exists():
        shm.unlink()
    code, said = city.berth("verify")
    assert code != 0, f"verify sees nothing: {said}"
    said = city.refused()
    assert "mark" in said or "missing" in said or "lost" in said, said
    city.server.start("--accept-loss")
    city.new_lineage(before)
    # Accepted once, it is past: the next start is an ordinary one.
    city.leave()
    city.server.stop()
    code, said = city.berth("verify")
    assert code == 0, f"after the loss was accepted: {said}"
    city.server.start()
    city.come_back()
    city.rush(4)
    city.settle()


# A backup put back

def backed_up(city, tmp_path):
    """A backup of the stopped server's folder, and then more of the city's life, which the backup does not know."""
    city.rush()
    city.quiet()
    city.leave()
    city.server.stop()
    backup = tmp_path / "backup"
    shutil.copytree(city.server.data, backup, ignore=shutil.ignore_patterns("admin.sock", "*.pid"))
    city.server.start()
    city.come_back()
    city.rush()
    city.quiet()
    city.settle()
    before = [lot.epoch for lot in city.lots]
    city.leave()
    city.server.stop()
    return backup, before


def put_back(city, backup, with_mark):
    data = city.server.data
    if with_mark:
        shutil.rmtree(data)
        shutil.copytree(backup, data)
        return
    for file in data.glob("berth.sqlite*"):
        file.unlink()
    for file in backup.glob("berth.sqlite*"):
        shutil.copy2(file, data / file.name)


def test_a_backup_put_back_over_a_newer_database(city, tmp_path):
    """The mark survives beside it: the start is refused as after any loss; --accept-loss goes on."""
    backup, before = backed_up(city, tmp_path)
    put_back(city, backup, with_mark=False)
    code, said = city.berth("verify")
    assert code != 0, said
    city.refused()
    city.server.start("--accept-loss")
    city.new_lineage(before)


@pytest.mark.parametrize("with_mark", [True, False], ids=["with its mark", "without its mark"])
def test_a_backup_of_which_the_operator_tells(city, tmp_path, with_mark):
    """`berth restored` says it: the server starts without a flag, in a new lineage."""
    backup, before = backed_up(city, tmp_path)
    put_back(city, backup, with_mark)
    code, said = city.berth("restored")
    assert code == 0, said
    city.server.start()
    city.new_lineage(before)
    city.leave()
    city.server.stop()
    assert city.berth("verify")[0] == 0
    city.server.start()
    city.come_back()
    city.settle()


def test_a_backup_that_nobody_tells_of(city, tmp_path):
    """With its own old mark nothing shows at the start; the first lot that is ahead shows it."""
    backup, before = backed_up(city, tmp_path)
    put_back(city, backup, with_mark=True)
    city.server.start()
    city.generation += 1
    # The lots come back first: each knows more than the server.
    city.lots = [Keeper(city.server, key).resume(old) for key, old in zip(city.keys, city.lots)]
    for lot in city.lots:
        # This box does not compare cursors itself: the server sees that it is ahead.
        Lot.connect(lot)
        lot.call("sync.cursor.query", {"epoch": lot.epoch})
    made = []
    for index in range(6):
        key = city.keys[index % 2]
        reply = city.server.call(city.provider, "order.create", booking(key.park, now() + 30 * MINUTE))
        assert reply.code == 0, reply
        made.append(reply.data["orderNo"])
    eventually(lambda: all(lot.epoch != old for lot, old in zip(city.lots, before)), 30)
    # What the server said before it saw it could only be said as before.
    for lot in city.lots:
        lot.faults.clear()
    city.party.received.clear()
    city.settle()
    assert set(made) <= {n for lot in city.lots for n in lot.orders}


# Numbers

def test_numbers_go_on_over_quick_restarts(city):
    """A rush, a kill, a rush, a kill: order numbers and the requestIds of messages and notifications never repeat."""
    for _ in range(3):
        city.generation += 1
        city.rush(30)
        city.leave()
        city.server.kill()
        city.server.start()
        city.come_back()
    city.quiet()
    city.settle()
    serials = [r[0] for r in city.server.sql("SELECT serial FROM orders")]
    assert len(serials) == len(set(serials)) == len(city.numbers)
    started = time.monotonic()
    message = envelope(city.provider, "order.create", booking("STORE1"))
    first = city.server.send(city.provider, message)
    city.server.kill()
    city.server.start()
    again = city.server.send(city.provider, envelope(city.provider, "order.create", message["data"], requestId=message["requestId"]))
    assert again.duplicate and again.data["orderNo"] == first.data["orderNo"], time.monotonic() - started
