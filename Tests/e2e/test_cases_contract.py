"""The contract, clause by clause, as an outside check found it broken: one test a row of that table, with its siblings."""
import datetime
import json
import secrets
import threading
import time
import uuid

import pytest

import berth
from berth import Lot, booking, entry, envelope, eventually, exit_, lot_info, now, plate, sign
from test_cases_money_time import at, inside, notices, today
from test_rules import Desk, desk, publish, shared  # noqa: F401
from test_ways import city, issue, party, pem  # noqa: F401

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def park(prefix):
    return prefix + uuid.uuid4().hex[:6].upper()


def deliver(desk, key):
    """The lot takes what stands in its down log; it says nothing of itself."""
    down = desk.server.call(key, "sync.cursor.query", {}).data["down"]
    if down["lastSeq"] > down["ackSeq"]:
        assert desk.server.call(key, "sync.down.ack", {"epoch": down["epoch"], "ackSeq": down["lastSeq"], "results": []}).code == 0


def beat(desk, key, depth=0, **extra):
    """A heartbeat; `localTime` and `timestamp` are what the message itself says."""
    data = {"queueDepth": depth, **{k: extra.pop(k) for k in ("localTime", "clockOffsetMs") if k in extra}}
    assert desk.server.call(key, "sys.heartbeat", data, **extra).code == 0


def soon(desk, name, milliseconds, **changes):
    """An order whose window ends so soon, at a lot whose late minutes are 0."""
    for ahead in (milliseconds, 1_500, 5_000):
        made = desk.server.call(desk.provider, "order.create", booking(name, now() + ahead, **changes))
        if made.code != 1108:  # the request came after its own time: the machine is slow
            break
    assert made.code == 0, made
    return made.data


def stays(condition, seconds):
    """That something which would come within a second does not come."""
    end = time.time() + seconds
    while time.time() < end:
        assert condition()
        time.sleep(0.05)


def penalties(desk, user):
    return [p for p in desk.app("user.credit.query", userToken=user).data["penalties"] if p["state"] == "inForce"]


live = Lot.say


def heard(lot, service):
    return [b for b in lot.received if b["service"] == service]


def online(server, key, **more):
    """A connected lot that the server knows as reachable."""
    lot = Lot(server, key, **more).connect()
    eventually(lambda: server.sql("SELECT count(*) FROM notices WHERE lot = ? AND type = 6001", key.park)[0][0] >= 1)
    return lot


# 3: the dead-letter list can be read and mended

def dead(desk, key, **data):
    return desk.server.call(key, "sync.dead.list", {"limit": 100, **data}, park=key.park)


def test_3_dead_letters_can_be_read(desk):
    """The lot and an operator see each refused entry with its service, code and reason; another lot and a provider do not."""
    name = park("C3")
    key = desk.server.lot(name)
    assert desk.log(key, "vehicle.entry.report", entry("old", plate(), now() - 400 * DAY)).code == 1503
    assert desk.log(key, "event.report", {"eventId": "e"}).code == 100
    assert desk.log(key, "vehicle.entry.report", entry("good", plate())).code == 0
    mine = dead(desk, key)
    assert mine.code == 0, mine
    rows = [(r["service"], r["code"]) for r in mine.data["entries"]]
    assert sorted(rows) == [("event.report", 100), ("vehicle.entry.report", 1503)] and all(r["reason"] for r in mine.data["entries"])
    seen = desk.op("sync.dead.list", park=name, limit=100)
    assert seen.code == 0 and sorted((r["service"], r["code"]) for r in seen.data["entries"]) == sorted(rows)
    assert len(dead(desk, key, limit=1).data["entries"]) == 1 and dead(desk, key, since=now() + MINUTE).data["entries"] == []
    other = desk.server.lot(park("C3"))
    assert dead(desk, other).data["entries"] == []
    assert desk.server.call(other, "sync.dead.list", {}, park=name).code == 205
    assert desk.server.call(desk.provider, "sync.dead.list", {}, park=name).code == 204


def test_3_a_dead_entry_is_mended(desk):
    """A correction applies to a refused entry, which is then judged anew at its own time: its car is inside, and it leaves the list."""
    name = park("C3")
    key = desk.server.lot(name)
    assert desk.log(key, "vehicle.entry.report", entry("r", plate(), now() - 400 * DAY)).code == 1503
    came = now() - 10 * MINUTE
    mended = desk.log(key, "vehicle.record.correct", {"recordNo": "r", "correctType": 2, "after": {"enterTime": came}, "operator": "甲", "reason": "时钟"})
    assert mended.code == 0, mended
    assert inside(desk, key)["r"]["enterTime"] == came
    assert [e for e in dead(desk, key).data["entries"] if not e.get("mended")] == []


def test_3_a_refused_exit_is_mended(desk):
    """An exit that was refused for its times is mended while the car counts as inside: 1502 does not stand in its way."""
    name = park("C3")
    key = desk.server.lot(name)
    order = desk.book(name, 5).data
    came = entry("r", order["plateNo"], now() - 20 * MINUTE, order["orderNo"])
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    left = now() - MINUTE
    assert desk.log(key, "vehicle.exit.report", exit_({**came, "enterTime": came["enterTime"] - 1}, left)).code == 1500
    mended = desk.log(key, "vehicle.record.correct", {"recordNo": "r", "correctType": 2, "after": {"enterTime": came["enterTime"]}})
    assert mended.code == 0, mended
    assert inside(desk, key) == {}
    shown = desk.order(order["orderNo"])
    assert (shown["status"], shown["leaveTime"]) == (3, left)
    # The same for an exit that was dated before its entry.
    came = entry("s", plate(), now() - 20 * MINUTE)
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    assert desk.log(key, "vehicle.exit.report", exit_(came, came["enterTime"] - HOUR)).code == 102
    assert desk.log(key, "vehicle.record.correct", {"recordNo": "s", "correctType": 2, "after": {"leaveTime": left}}).code == 0
    assert inside(desk, key) == {}


def test_3_a_wrong_plate_is_mended(desk):
    """An entry by an order under another's plate is mended by its plate: the order has arrived at the record's own time."""
    name = park("C3")
    key = desk.server.lot(name)
    order = desk.book(name, 5).data
    came = entry("r", "京A9999" + order["plateNo"][-1], now() - MINUTE, order["orderNo"])
    assert desk.log(key, "vehicle.entry.report", came).code == 1131
    mended = desk.log(key, "vehicle.record.correct", {"recordNo": "r", "correctType": 1, "after": {"plateNo": order["plateNo"]}})
    assert mended.code == 0, mended
    shown = desk.order(order["orderNo"])
    assert (shown["status"], shown["recordNo"], shown["enterTime"]) == (2, "r", came["enterTime"])
    assert list(inside(desk, key)) == ["r"]


def test_3_a_dead_letter_that_means_nothing_is_voided(desk):
    """Voiding takes a record off the list; correcting a record that nobody ever sent is 1134."""
    name = park("C3")
    key = desk.server.lot(name)
    assert desk.log(key, "vehicle.entry.report", entry("r", plate(), now() - 400 * DAY)).code == 1503
    assert desk.log(key, "vehicle.record.correct", {"recordNo": "none", "correctType": 4, "after": {}}).code == 1134
    assert desk.log(key, "vehicle.record.correct", {"recordNo": "r", "correctType": 4, "after": {}}).code == 0
    assert [e for e in dead(desk, key).data["entries"] if e["service"] == "vehicle.entry.report" and not e.get("mended")] == []
    assert inside(desk, key) == {}


# 3b, 5: evidence is the lot's log alone, at the time that it speaks of

def test_3b_coming_back_convicts_nobody(desk):
    """A lot that was away over the end of a window comes back: nobody is a no-show before its backlog, and the backlog shows that the driver came."""
    name = park("C3B")
    key = desk.server.lot(name)
    desk.set(f"lot:{name}", lateMin=0)
    lot = online(desk.server, key)
    user = uuid.uuid4().hex
    order = soon(desk, name, 1500, userToken=user)
    eventually(lambda: desk.order(order["orderNo"])["deliverStatus"] == 2)
    lot.disconnect()
    eventually(lambda: now() > order["enterEnd"])
    gone = notices(desk, name, 6001)
    lot.connect()
    eventually(lambda: notices(desk, name, 6001) > gone)
    stays(lambda: desk.order(order["orderNo"])["status"] == 1, 2.2)
    came = lot.call("vehicle.entry.report", entry("r", order["plateNo"], order["planTime"], order["orderNo"]), epoch="e", seq=1)
    assert (came["code"], came["data"]["orderStatus"]) == (0, 2), came
    assert penalties(desk, user) == []
    lot.disconnect()


def test_3b_events_of_the_server_are_no_evidence(desk):
    """6001, 6002 and 6010 that the server itself raises say nothing of the lot's log; an entry of the log after the window does."""
    name = park("C3B")
    key = desk.server.lot(name)
    desk.set(f"lot:{name}", lateMin=0)
    order = soon(desk, name, 600)
    deliver(desk, key)
    eventually(lambda: now() > order["enterEnd"])
    # Its queue is not empty, and its clock is off; it comes and goes.
    beat(desk, key, depth=7, clockOffsetMs=9000)
    eventually(lambda: notices(desk, name, 6010) == 1)
    lot = online(desk.server, key)
    lot.disconnect()
    eventually(lambda: notices(desk, name, 6002) >= 1)
    stays(lambda: desk.order(order["orderNo"])["status"] == 1, 2.2)
    assert desk.log(key, "event.report", {"eventId": "e", "eventType": 1005, "occurTime": now()}).code == 0
    eventually(lambda: desk.order(order["orderNo"])["status"] == 7)


def test_3b_shared_stays_get_no_strike(desk):
    """A shared stay whose time ran out while the lot was away gets no strike when the lot comes back; the late record shows that it left in time."""
    name = park("C3B")
    key = shared(desk.server, name, 0)
    desk.set(f"lot:{name}", shareLateGraceMin=0, shareWindow="00:00-24:00")
    lot = online(desk.server, key)
    until = now() + 6_000
    offer = {"offerId": "O1", "spaceNo": "A1", "validTo": until, "price": {"mode": 2, "amount": 100}}
    assert desk.log(key, "share.space.report", {"offers": [offer]}).code == 0
    user = uuid.uuid4().hex
    order = soon(desk, name, 300, bizType=2, stayMin=15, userToken=user)
    assert order["leaveDeadline"] == until
    came = entry("r", order["plateNo"], order["planTime"], order["orderNo"], carKind=6)
    assert desk.log(key, "vehicle.entry.report", came).data["orderStatus"] == 2
    lot.disconnect()
    eventually(lambda: now() > until)
    gone = notices(desk, name, 6001)
    lot.connect()
    eventually(lambda: notices(desk, name, 6001) > gone)
    stays(lambda: penalties(desk, user) == [], 2.2)
    assert desk.log(key, "vehicle.exit.report", exit_(came, until - 100)).code == 0
    assert penalties(desk, user) == []
    lot.disconnect()


def test_5_a_heartbeat_counts_at_its_own_time(desk):
    """One that was sent before the window's end and came after it is no evidence, with localTime or without; one that was sent after it is."""
    name = park("C5")
    key = desk.server.lot(name)
    desk.set(f"lot:{name}", lateMin=0)
    order = soon(desk, name, 3_000)
    deliver(desk, key)
    sent = now()
    assert sent < order["enterEnd"]
    eventually(lambda: now() > order["enterEnd"])
    beat(desk, key, timestamp=sent)
    beat(desk, key, timestamp=sent, localTime=sent)
    beat(desk, key, localTime=sent)
    beat(desk, key, timestamp=sent, localTime=now() + MINUTE)
    stays(lambda: desk.order(order["orderNo"])["status"] == 1, 1.5)
    beat(desk, key, localTime=now())
    eventually(lambda: desk.order(order["orderNo"])["status"] == 7)


def test_5_what_is_dated_ahead_is_no_evidence(desk):
    """A record or an event that was sent before the window's end passes the log through its sending only, however late it is dated or comes."""
    name = park("C5")
    key = desk.server.lot(name)
    desk.set(f"lot:{name}", lateMin=0)
    user = uuid.uuid4().hex
    order = soon(desk, name, 6_000, userToken=user)
    deliver(desk, key)
    sent = now()
    seq = iter(range(1, 100))
    send = lambda service, data, **more: desk.server.call(key, service, data, epoch="e", seq=next(seq), **more).code
    event = lambda ahead: {"eventId": uuid.uuid4().hex, "eventType": 1005, "occurTime": now() + ahead}
    for ahead in (200_000, 400_000, DAY):
        assert send("event.report", event(ahead)) == 0
        assert send("vehicle.entry.report", entry(f"r{ahead}", plate(), now() + ahead)) == 0
    beat(desk, key, localTime=now() + 200_000)
    assert sent < now() < order["enterEnd"], "all of it was sent before the end"
    eventually(lambda: now() > order["enterEnd"])
    # What was sent before and comes now.
    assert send("event.report", event(200_000), timestamp=sent) == 0
    assert send("vehicle.entry.report", entry("s", plate(), now() + 100_000), timestamp=sent) == 0
    said = {"orderNo": desk.book(name).data["orderNo"], "orderVer": 1, "status": 2, "occurTime": now() + 100_000}
    assert send("order.status.report", said, timestamp=sent) == 0
    # And what is dated so far ahead that its time means nothing, with a sending that says nothing either.
    assert send("event.report", event(DAY), timestamp=sent) == 0
    stays(lambda: desk.order(order["orderNo"])["status"] == 1, 1.5)
    late = entry("his", order["plateNo"], order["planTime"], order["orderNo"])
    answer = desk.server.call(key, "vehicle.entry.report", late, epoch="e", seq=next(seq))
    assert (answer.code, answer.data.get("orderStatus")) == (0, 2) and penalties(desk, user) == [], answer


# 4, 9: what a provider is told

def told(party, order):
    return [b["data"] for b in party.received if b["service"] == "order.status.notify" and b["data"]["orderNo"] == order]


def test_4_a_lot_that_never_got_the_order(city, party):
    """Offline through the whole window: at its end the provider is told (deliverStatus 4, occurTime), and the deposit comes back or waits openly."""
    key = city.lot(park("C4"), rate=1000)
    name = key.park
    desk = Desk(city)
    desk.provider = issue(city, party, "provider")
    desk.set(f"lot:{name}", lateMin=0, prepayFen=500)
    order = soon(desk, name, 3000)
    number = uuid.uuid4().hex
    pay = {"billNo": order["payInfo"]["billNo"], "payNo": number, "amount": 500, "channel": "sandbox"}
    assert desk.app("pay.create", **pay).code == 0
    eventually(lambda: desk.order(order["orderNo"])["status"] == 1)
    party.wait(lambda all: any(d.get("deliverStatus") == 4 for d in told(party, order["orderNo"])), 8)
    notice = [d for d in told(party, order["orderNo"]) if d.get("deliverStatus") == 4][0]
    assert notice["status"] in (1, 6) and order["enterEnd"] <= notice["occurTime"] <= now(), notice
    shown = desk.order(order["orderNo"])
    assert shown["deliverStatus"] == 4
    assert desk.app("pay.query", payNo=number).data["state"] == 3 or "waiting" in json.dumps(shown), shown


def test_9_each_change_has_its_own_version(city, party):
    """Booked, arrived, left: three notices with three rising versions, each with the state that it speaks of."""
    key = city.lot(park("C9"), rate=1000)
    desk = Desk(city)
    desk.provider = issue(city, party, "provider")
    order = desk.book(key.park, 5).data
    versions = [order["orderVer"]]
    came = entry("r", order["plateNo"], order=order["orderNo"])
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    versions.append(desk.order(order["orderNo"])["orderVer"])
    assert desk.log(key, "vehicle.exit.report", exit_(came)).code == 0
    versions.append(desk.order(order["orderNo"])["orderVer"])
    assert versions == [1, 2, 3]
    party.wait(lambda all: {d["status"] for d in told(party, order["orderNo"])} == {1, 2, 3})
    assert {(d["status"], d["orderVer"]) for d in told(party, order["orderNo"])} == {(1, 1), (2, 2), (3, 3)}
    # The same when the lot says it by order.status.report.
    order = desk.book(key.park, 5).data
    for status in (4, 5):
        said = {"orderNo": order["orderNo"], "orderVer": 1, "status": status, "occurTime": now(), "recordNo": "s"}
        assert desk.log(key, "order.status.report", said).code == 0
    party.wait(lambda all: {d["status"] for d in told(party, order["orderNo"])} == {1, 2, 3})
    assert {(d["status"], d["orderVer"]) for d in told(party, order["orderNo"])} == {(1, 1), (2, 2), (3, 3)}


def test_9_what_is_old_is_marked_late(city, party):
    """The provider is told of everything with occurTime; what is older than ten minutes is marked late."""
    key = city.lot(park("C9"), rate=1000)
    desk = Desk(city)
    desk.provider = issue(city, party, "provider")
    order = desk.book(key.park, 5).data
    came = entry("r", order["plateNo"], now() - 11 * MINUTE, order["orderNo"])
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    party.wait(lambda all: any(d["status"] == 2 for d in told(party, order["orderNo"])))
    by = {d["status"]: d for d in told(party, order["orderNo"])}
    assert by[2]["occurTime"] == came["enterTime"] and by[2].get("late") is True and not by[1].get("late"), by


# 6: what moves a barrier happens once

COMMANDS = [("gate.control", {"gateCode": "G1", "action": "OPEN"}, {"action": "CLOSE"}),
            ("space.lock.control", {"spaceNo": "A1", "action": "UP"}, {"action": "DOWN"}),
            ("display.push", {"gateCode": "G1", "text": "欢迎"}, {"text": "再见"})]


@pytest.mark.parametrize("service,data,change", COMMANDS, ids=[c[0] for c in COMMANDS])
def test_6_a_command_is_done_once(desk, service, data, change):
    """The same requestId again is answered with its first result and duplicate, and the lot hears nothing; with other data it is 404."""
    key = desk.server.lot(park("C6"))
    lot = online(desk.server, key)
    lot.answer = lambda body: live(lot, body, 0, {"executed": True})
    request = str(uuid.uuid4())
    send = lambda **more: desk.server.call(desk.operator, service, {**data, **more}, park=key.park, requestId=request)
    first = send()
    assert (first.code, first.data, first.duplicate) == (0, {"executed": True}, False), first
    again = send()
    assert (again.code, again.data, again.duplicate) == (0, {"executed": True}, True), again
    other = send(**change)
    assert (other.code, other.status) == (404, 409), other
    assert len(heard(lot, service)) == 1
    assert desk.server.call(desk.operator, service, data, park=key.park).code == 0, "another request is another act"
    assert len(heard(lot, service)) == 2
    lot.disconnect()


def test_6_a_command_that_is_under_way_is_not_done_again(desk):
    """Sent twice at the same moment, a command reaches the lot once, and both are answered with its one result."""
    key = desk.server.lot(park("C6"))
    lot = online(desk.server, key, answer=False)
    request, answers = str(uuid.uuid4()), []
    send = lambda: answers.append(desk.server.call(desk.operator, "gate.control", {"gateCode": "G1", "action": "OPEN"}, park=key.park, requestId=request))
    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    lot.wait(lambda: heard(lot, "gate.control"))
    stays(lambda: len(heard(lot, "gate.control")) == 1, 0.6)
    live(lot, heard(lot, "gate.control")[0], 0, {"executed": True})
    for thread in threads:
        thread.join()
    done = [a for a in answers if a.code == 0]
    assert done and all(a.code in (0, 300, 403, 502) for a in answers) and len(heard(lot, "gate.control")) == 1, answers
    again = desk.server.call(desk.operator, "gate.control", {"gateCode": "G1", "action": "OPEN"}, park=key.park, requestId=request)
    assert (again.code, again.duplicate) == (0, True) and len(heard(lot, "gate.control")) == 1
    lot.disconnect()


def test_6_a_command_is_done_once_over_a_restart(own_server):
    """The result of a command is kept: a server that was killed in between does not raise the barrier again."""
    server = own_server.start()
    desk = Desk(server)
    key = server.lot("P1")
    lot = online(server, key)
    lot.answer = lambda body: live(lot, body, 0, {"executed": True})
    request = str(uuid.uuid4())
    send = lambda: server.call(desk.operator, "gate.control", {"gateCode": "G1", "action": "OPEN"}, park="P1", requestId=request)
    assert send().code == 0
    server.kill()
    server.start()
    again = eventually(lambda: (r := send()).code != 600 and r)
    assert (again.code, again.duplicate) == (0, True) and len(heard(lot, "gate.control")) == 1
    lot.disconnect(clean=False)


# 7: one bad entry never blocks the log

def test_7_an_entry_of_an_unknown_service_is_consumed(desk):
    """103 and 105 are final: the entry is a dead letter, and the next one is taken; over HTTPS and MQTT alike."""
    key = desk.server.lot(park("C7"))
    send = lambda seq, service, data: desk.server.call(key, service, data, epoch="e", seq=seq)
    for seq, service, code in ((1, "no.such.service", 103), (2, "recon.inlot.count", 105), (3, "vehicle.fly.report", 103), (4, "lot.space.report", 105)):
        answer = send(seq, service, {"spaces": []} if service.startswith("lot") else {})
        assert (answer.code, answer.json.get("ackSeq"), answer.json.get("epoch")) == (code, seq, "e"), answer
    assert send(1, "no.such.service", {}).duplicate
    taken = send(5, "vehicle.entry.report", entry("r", plate()))
    assert (taken.code, taken.json["ackSeq"]) == (0, 5)
    lot = Lot(desk.server, key).connect()
    answer = lot.call("no.such.service", {}, epoch="e", seq=6)
    assert (answer["code"], answer.get("ackSeq")) == (103, 6), answer
    assert lot.call("vehicle.entry.report", entry("s", plate()), epoch="e", seq=7)["ackSeq"] == 7
    lot.disconnect()
    assert notices(desk, key.park, 6090) == 5


@pytest.mark.parametrize("text", ["1.5", "1e3", "-0", "9007199254740992", "-123456789012345678901234567890"])
def test_7_a_number_that_the_wire_does_not_allow_is_its_entrys_fault(desk, monkeypatch, text):
    """A fraction in an entry, alone or in a batch, is 102 for that entry, which is consumed; in an optional field of a record it is nothing at all."""
    odd, canon = 7_770_007, berth.canon
    # The sender signs what it writes.
    monkeypatch.setattr(berth, "canon", lambda value: canon(value).replace(str(odd), text))
    key = desk.server.lot(park("C7"))

    def send(key, service, data, **extra):
        message = json.dumps(berth.envelope(key, service, data, **extra), ensure_ascii=False).replace(str(odd), text)
        return desk.server.post("/api/v1/" + service.replace(".", "/"), message.encode(), key=key)
    event = lambda n, level: {"eventId": f"f{n}", "eventType": 6005, "occurTime": now(), "level": level}
    answer = send(key, "event.report", event(1, odd), epoch="e", seq=1)
    assert (answer.code, answer.json["ackSeq"]) == (102, 1) and "level" in answer.json["hint"], answer
    assert send(key, "vehicle.entry.report", {**entry("r2", plate()), "confidence": odd}, epoch="e", seq=2).code == 0
    rows = [{"epoch": "e", "seq": seq, "requestId": str(uuid.uuid4()), "service": service, "timestamp": now(), "data": data}
            for seq, service, data in ((3, "event.report", event(3, 2)), (4, "event.report", event(4, odd)),
                                       (5, "vehicle.entry.report", {**entry("r5", plate()), "confidence": odd, "any": [odd]}))]
    answer = send(key, "sync.batch.report", {"entries": rows})
    assert (answer.code, answer.data["ackSeq"], [(f["seq"], f["code"]) for f in answer.data["failed"]]) == (611, 5, [(4, 102)]), answer
    assert [(row["seq"], row["data"]["level"]) for row in dead(desk, key).data["entries"]] == [(4, text), (1, text)]
    # Elsewhere nothing is consumed, and the member is named; with a wrong signature it is 102 as well.
    answer = send(desk.provider, "lot.search", {"limit": odd})
    assert answer.code == 102 and answer.json["hint"] == "data.limit: numbers are integers below 2^53", answer
    assert send(desk.provider, "lot.search", {"limit": odd}, sign="0" * 64).code == 102


def test_3_dead_letters_come_page_by_page(desk):
    """`nextCursor` leads through all dead letters of a lot, the newest first, each once."""
    key = desk.server.lot(park("C7"))
    rows = [{"epoch": "e.1", "seq": seq, "requestId": str(uuid.uuid4()), "service": "no.such.service", "timestamp": now(), "data": {}}
            for seq in range(1, 26)]
    assert desk.server.call(key, "sync.batch.report", {"entries": rows}).code == 611
    seen, cursor = [], None
    while True:
        page = dead(desk, key, limit=7, **({"cursor": cursor} if cursor else {})).data
        seen += [row["seq"] for row in page["entries"]]
        cursor = page.get("nextCursor")
        assert page["hasMore"] == (cursor is not None)
        if not cursor:
            break
    assert seen == list(range(25, 0, -1))
    for wrong in ("x", "1.2", "1.2.", "..", "9" * 30 + ".1.e"):
        assert dead(desk, key, cursor=wrong).code == 102, wrong


FAULTS = [{"requestId": "not-a-uuid"}, {"requestId": None}, {"requestId": 7}, {"timestamp": "yesterday"}, {"timestamp": ...}, {"timestamp": -1},
          {"service": "no.such.service"}, {"service": ...}, {"service": 7}, {"service": "x" * 49}, {"service": "recon.inlot.count"}, {"data": [1]},
          {"data": "x"}, {"data": {}}, {"data": None}]


def test_7_a_malformed_entry_is_its_own_fault(desk):
    """In a batch, whatever is wrong with one entry is that entry's: it stands in `failed`, and all others are taken."""
    key = desk.server.lot(park("C7"))
    rows = []
    for seq, fault in enumerate(FAULTS, 1):
        row = {"epoch": "e", "seq": 2 * seq, "requestId": str(uuid.uuid4()), "service": "vehicle.entry.report", "timestamp": now(),
               "data": entry(f"bad{seq}", plate()), **fault}
        rows += [{**row, **{"seq": 2 * seq - 1, "requestId": str(uuid.uuid4()), "service": "vehicle.entry.report", "timestamp": now(),
                            "data": entry(f"r{seq}", plate())}}, {k: v for k, v in row.items() if v is not ...}]
    answer = desk.server.call(key, "sync.batch.report", {"entries": rows})
    assert (answer.code, answer.status, answer.data.get("ackSeq")) == (611, 200, 2 * len(FAULTS)), answer
    assert [f["seq"] for f in answer.data["failed"]] == [2 * n for n in range(1, len(FAULTS) + 1)]
    assert {f["code"] for f in answer.data["failed"]} <= {100, 102, 103, 105}
    assert len(inside(desk, key)) == len(FAULTS)


@pytest.mark.parametrize("fault", [{"epoch": ...}, {"epoch": "a&b"}, {"epoch": 7}, {"epoch": "x" * 17}, {"seq": ...}, {"seq": "2"}, {"seq": 0}, {"seq": -1}],
                         ids=str)
def test_7_an_unreadable_position_refuses_a_batch(desk, fault):
    """Only an epoch or a seq that cannot be read refuses the batch as a whole, and nothing of it is taken."""
    key = desk.server.lot(park("C7"))
    rows = [{"epoch": "e", "seq": seq, "requestId": str(uuid.uuid4()), "service": "vehicle.entry.report", "timestamp": now(),
             "data": entry(f"r{seq}", plate())} for seq in (1, 2, 3)]
    rows[1] = {k: v for k, v in {**rows[1], **fault}.items() if v is not ...}
    answer = desk.server.call(key, "sync.batch.report", {"entries": rows})
    assert answer.code in (100, 102) and inside(desk, key) == {}, answer
    # A repeat under the same requestId after mending is possible: the refusal is of this message.
    rows[1] |= {"epoch": "e", "seq": 2}
    assert desk.server.call(key, "sync.batch.report", {"entries": rows}).data["ackSeq"] == 3


def test_7_more_dead_letters_than_anybody_mends(desk):
    """More than 10,000 unmended ones freeze the log: 612, which is not consumed."""
    key = desk.server.lot(park("C7"), rate=1000)
    seq = 0
    for _ in range(20):
        rows = [{"epoch": "e", "seq": seq + n, "requestId": str(uuid.uuid4()), "service": "event.report", "timestamp": now(), "data": {"eventId": "e"}}
                for n in range(1, 501)]
        answer = desk.server.call(key, "sync.batch.report", {"entries": rows})
        seq += 500
        assert (answer.code, answer.data["ackSeq"]) == (611, seq), answer
    last = [desk.server.call(key, "event.report", {"eventId": "e"}, epoch="e", seq=n) for n in (seq + 1, seq + 2)]
    assert last[1].code in (612, 610) and 612 in (last[0].code, last[1].code), last
    stands = desk.server.call(key, "sync.cursor.query", {}).data["up"]["ackSeq"]
    assert stands <= seq + 1
    lot = Lot(desk.server, key).connect()
    assert lot.call("vehicle.entry.report", entry("r", plate()), epoch="e", seq=stands + 1)["code"] == 612
    lot.disconnect()


# 8: a lot that is ill is left alone

class Ill(Lot):
    """A lot that refuses its oldest entry for now, and asks for it before all others."""
    code = None

    def answer(self, body, code=0, data=None):
        if self.code is None:
            return super().answer(body, code, data)
        gap = {"expectedSeq": 1, "epoch": body["epoch"], "ackSeq": 0}
        reply = {"version": "1.0", "requestId": body["requestId"], "appId": self.key.app_id, "service": body["service"], "parkCode": self.key.park,
                 "timestamp": now(), "nonce": secrets.token_hex(8), "code": self.code if body["seq"] == 1 else 610, "message": "",
                 "epoch": body["epoch"], "ackSeq": 0, "data": {} if body["seq"] == 1 else gap}
        reply["sign"] = sign(reply, self.key.secret)
        self.client.publish(f"rsp/v1/{self.key.park}/up/reply", json.dumps(reply), 1)


def test_8_a_lot_that_cannot_take_its_oldest_entry(desk):
    """It gets a few messages in some seconds and not hundreds, the oldest first; when it is well again it gets everything, in order."""
    lots = []
    for code in (503, 501, 301, 500):
        lot = Ill(desk.server, desk.server.lot(park("C8"), 100)).connect()
        eventually(lambda: notices(desk, lot.key.park, 6001) >= 1)
        lot.code = code
        lots.append(lot)
    orders = {lot: [desk.book(lot.key.park).data["orderNo"] for _ in range(20)] for lot in lots}
    for lot in lots:
        lot.wait(lambda: lot.received)
    stays(lambda: max(len(lot.received) for lot in lots) <= 45, 3.5)
    for lot in lots:
        lot.code = None
    for lot in lots:
        lot.wait(lambda: len(lot.applied) == 20, 15)
        assert [b["data"]["orderNo"] for b in lot.applied] == orders[lot] and len(lot.received) <= 90
        lot.disconnect()


# 10: payState of stay and deposit

def test_10_pay_state_of_a_deposit(desk):
    """0 nothing to pay, 1 unpaid, 2 paid, 3 given back."""
    name = park("C10")
    desk.server.lot(name)
    state = lambda order: desk.order(order["orderNo"])["payState"]
    assert state(desk.book(name).data) == 0
    desk.set(f"lot:{name}", prepayFen=500)
    order = desk.book(name).data
    assert order["payState"] == 1 == state(order)
    pay = {"billNo": order["payInfo"]["billNo"], "payNo": uuid.uuid4().hex, "amount": 500, "channel": "sandbox"}
    assert desk.app("pay.create", **pay).code == 0
    eventually(lambda: state(order) == 2)
    assert desk.app("order.cancel", orderNo=order["orderNo"]).code == 0
    assert state(order) == 3


def test_10_pay_state_of_a_shared_stay(desk):
    """A stay that the city bills: unpaid while it costs, paid, refunded."""
    name = park("C10")
    key = shared(desk.server, name, 0)
    publish(desk, name, "A1", price={"mode": 2, "amount": 1000})
    order = desk.book(name, 1, bizType=2, stayMin=60).data
    state = lambda: desk.order(order["orderNo"])["payState"]
    assert state() == 0
    came = entry("r", order["plateNo"], now() - 30 * MINUTE, order["orderNo"], carKind=6)
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    assert state() == 1
    bill = desk.app("fee.query", orderNo=order["orderNo"]).data
    number = uuid.uuid4().hex
    assert desk.app("pay.create", billNo=bill["billNo"], payNo=number, amount=bill["payable"], channel="sandbox").code == 0
    eventually(lambda: state() == 2)
    assert desk.log(key, "vehicle.exit.report", exit_(came)).code == 0 and state() == 2
    assert desk.app("refund.apply", payNo=number, refundNo="R", amount=bill["payable"]).code == 0
    assert state() == 3
    # Another one leaves without having paid.
    order = desk.book(name, 1, bizType=2, stayMin=60).data
    came = entry("s", order["plateNo"], now() - 30 * MINUTE, order["orderNo"], carKind=6)
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    assert desk.log(key, "vehicle.exit.report", exit_(came, leaveKind=5)).code == 0
    assert state() == 4


def test_10_pay_state_of_a_stay_that_the_lot_bills(desk):
    """What the exit says: nothing to pay, paid, or left in arrears, which is event 5005."""
    name = park("C10")
    key = desk.server.lot(name)
    cash = lambda amount: [{"payNo": uuid.uuid4().hex, "payType": 1, "amount": amount, "payTime": now()}]
    for record, more, state in (("a", {}, 0), ("b", {"totalFee": 500, "paidFee": 500, "leaveKind": 1, "payments": cash(500)}, 2),
                                ("c", {"totalFee": 500, "payableFee": 500, "leaveKind": 5}, 4)):
        order = desk.book(name, 5).data
        came = entry(record, order["plateNo"], order=order["orderNo"])
        assert desk.log(key, "vehicle.entry.report", came).code == 0
        assert desk.log(key, "vehicle.exit.report", exit_(came, **more)).code == 0
        assert desk.order(order["orderNo"])["payState"] == state, record
    assert notices(desk, name, 5005) == 1


# 11: whole plates are shown for a reason

def test_11_an_operator_sees_plates_masked(desk):
    """recon.inlot.list and sync.snapshot.query mask plates for an operator, unless the operator asks with `reveal` and a reason, which is on record."""
    name = park("C11")
    key = desk.server.lot(name)
    number, black, booked = plate(), plate(), desk.book(name, 20, mobile="13812345678").data
    assert desk.log(key, "vehicle.entry.report", entry("r", number)).code == 0
    assert desk.op("list.black.push", park=name, plateNo=black, status=1).code == 0
    assert desk.op("vehicle.lock", park=name, plateNo=number, locked=True).code == 0
    whole = [number, black, booked["plateNo"]]
    masked = lambda text: not any(p in text for p in whole)
    looks = {"recon.inlot.list": {"detailType": 2}, "sync.snapshot.query": {}}
    for service, data in looks.items():
        assert not masked(json.dumps(desk.server.call(key, service, data).data, ensure_ascii=False)), "the lot itself sees what is its own"
        bare = desk.op(service, park=name, **data)
        text = json.dumps(bare.data, ensure_ascii=False)
        assert bare.code == 0 and masked(text) and "***" in text, (service, text)
        reasonless = desk.op(service, park=name, reveal=True, **data)
        assert reasonless.code == 100 or masked(json.dumps(reasonless.data, ensure_ascii=False)), "a reason is needed"
        shown = desk.op(service, park=name, reveal=True, reason="投诉 2026-11", **data)
        assert shown.code == 0 and not masked(json.dumps(shown.data, ensure_ascii=False))
        audit = [json.loads(line) for line in desk.server.cli("audit", "list", "--after", 0).split("\n") if line][-400:]
        assert [r for r in audit if r["actor"] == desk.operator.app_id and service in r["action"] and r["detail"] == "投诉 2026-11"], service


# 13: what does not fit into a message

def test_13_a_snapshot_over_one_mebibyte(desk):
    """Over MQTT it is answered: in pages, or 104 with the way over HTTPS, where it is whole."""
    name = park("C13")
    key = desk.server.lot(name, rate=10_000)
    operator = desk.server.issue("operator", rate=10_000)
    count, words = 1_600, "欠费" * 128
    numbers = [plate() for _ in range(count)]

    def post(part):
        link = desk.server.connection()
        for number in part:
            assert desk.server.call(operator, "list.black.push", {"plateNo": number, "status": 1, "reason": words}, park=name, connection=link).code == 0
    threads = [threading.Thread(target=post, args=(numbers[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lot = Lot(desk.server, key, answer=False).connect()
    answer = lot.call("sync.snapshot.query", {}, timeout=10)
    if answer["code"] == 104:
        assert "https" in (answer.get("hint", "") + answer.get("message", "") + json.dumps(answer["data"])).lower(), answer
    else:
        assert answer["code"] == 0 and 0 < len(answer["data"]["blackList"]) <= count
    lot.disconnect()
    whole, page = [], {}
    while True:
        reply = desk.server.call(key, "sync.snapshot.query", page)
        assert reply.code == 0
        whole += [row["plateNo"] for row in reply.data["blackList"]]
        if not reply.data.get("hasMore") or not reply.data.get("nextCursor"):
            break
        page = {"cursor": reply.data["nextCursor"]}
    assert sorted(whole) == sorted(numbers)


def test_13_a_list_of_ten_thousand_plates(desk):
    """A lot's own list of 10,000 plates is taken as a whole, over HTTPS and over MQTT, and decides at the gate."""
    key = desk.server.lot(park("C13"), rate=1000)
    numbers = [f"湘{'ABCDEFGHJK'[n // 1000]}{10_000 + n}" for n in range(10_000)]
    items = [{"plateNo": number} for number in numbers]
    taken = desk.log(key, "list.local.report", {"listType": 3, "complete": True, "items": items})
    assert (taken.code, taken.data["accepted"]) == (0, 10_000), taken
    epoch, seq = desk.seq[key.app_id]
    lot = Lot(desk.server, key).connect()
    again = lot.call("list.local.report", {"listType": 3, "complete": True, "items": items[5_000:] + items[:5_000]}, epoch=epoch, seq=seq + 1, timeout=15)
    assert (again["code"], again["data"].get("accepted")) == (0, 10_000), again
    lot.disconnect()
    assert desk.ask(key, numbers[0])["reasonCode"] == 1014 and desk.ask(key, numbers[-1])["reasonCode"] == 1014


# 14, 15, 16, 17

def test_14_the_latest_statement_of_what_is_left_counts(desk):
    """The remain of an entry or exit record follows a report; an older one changes nothing."""
    name = park("C14")
    key = desk.server.lot(name)
    shown = lambda: desk.app("lot.detail", parkCode=name).data["remain"]
    report = lambda left, when: desk.server.call(key, "space.remain.report", {"reportTime": when, "total": 100, "remain": left, "occupied": 100 - left})
    assert report(0, now() - 10 * MINUTE).code == 0 and shown() == 0
    first = entry("a", plate(), now() - 9 * MINUTE, remain={"total": 100, "remain": 42})
    assert desk.log(key, "vehicle.entry.report", first).code == 0 and shown() == 42
    second = entry("b", plate(), now() - 20 * MINUTE, remain={"total": 100, "remain": 77})
    assert desk.log(key, "vehicle.entry.report", second).code == 0 and shown() == 42, "a late record of before"
    out = exit_(first, now() - 5 * MINUTE, remain={"total": 100, "remain": 43})
    assert desk.log(key, "vehicle.exit.report", out).code == 0 and shown() == 43
    assert report(12, now() - 8 * MINUTE).code == 0 and shown() == 43
    assert report(11, now()).code == 0 and shown() == 11


def test_15_lists_reach_the_lot_bare(desk):
    """Plates of lists, locks and authorisations are stored and sent in their bare form, however the operator typed them."""
    name = park("C15")
    key = desk.server.lot(name)
    number = plate()
    typed = f"{number[0]}{number[1].lower()}·{number[2:4]} {number[4:]}"
    wide = number[0] + "".join(chr(ord(c) + 0xFEE0) for c in number[1:])
    end = now() + HOUR
    for version, written in enumerate((typed, wide, number[:2] + "-" + number[2:]), 1):
        assert desk.op("list.black.push", park=name, plateNo=written, status=1).code == 0
        assert desk.op("list.white.push", park=name, plateNo=written, status=1).code == 0
        assert desk.op("vehicle.lock", park=name, plateNo=written, locked=True).code == 0
        assert desk.op("share.auth.push", park=name, authNo="A1", authVer=version, plateNos=[written], validFrom=now(), validTo=end).code == 0
    entries = desk.server.call(key, "sync.down.pull", {"afterSeq": 0, "waitMs": 0}).data["entries"]
    sent = [(e["service"], e["data"].get("plateNo") or e["data"]["plateNos"]) for e in entries]
    assert sent == [(s, [number] if s == "share.auth.push" else number) for s in ("list.black.push", "list.white.push", "vehicle.lock", "share.auth.push")] * 3
    snapshot = desk.server.call(key, "sync.snapshot.query").data
    for part in ("blackList", "whiteList", "vehicleLocks"):
        assert [row["plateNo"] for row in snapshot[part]] == [number], part
    local = {"listType": 2, "items": [{"plateNo": typed}]}
    assert desk.log(key, "list.local.report", local).code == 0 and list(desk.server.reports(name, "list2")) == [number]


def test_16_a_discount_is_no_difference(desk):
    """The day balances when the fee less the discount has been paid; what is missing beyond it is still shown."""
    name = park("C16")
    key = desk.server.lot(name)
    for record, total, off, paid in (("a", 1000, 300, 700), ("b", 500, 500, 0), ("c", 1000, 300, 600)):
        came = entry(record, plate(), now() - 2 * HOUR)
        assert desk.log(key, "vehicle.entry.report", came).code == 0
        cash = [{"payNo": record, "payType": 1, "amount": paid, "discount": off, "payTime": now()}] if paid else []
        out = exit_(came, now() - 1000, totalFee=total, discountFee=off, paidFee=paid, payableFee=total - off - paid, payments=cash)
        assert desk.log(key, "vehicle.exit.report", out).code == 0
    day = datetime.datetime.fromtimestamp((now() - 1000) / 1000, datetime.timezone(datetime.timedelta(hours=8))).strftime("%Y-%m-%d")
    recon = desk.op("ledger.recon.query", parkCode=name, date=day).data
    assert [(r["recordNo"], r["difference"]) for r in recon["differences"]] == [("c", 100)], recon
    assert recon["paymentsKnown"] == 1300 and recon["balanced"] is False
    assert desk.server.call(key, "ledger.recon.query", {"date": day}).data["differences"] == recon["differences"], "the lot sees the same"


@pytest.mark.parametrize("code", [500, 501, 503, 1])
def test_17_a_lots_fault_is_not_the_citys(desk, code):
    """A lot that answers a fee query with a fault of its own is 1406 to the driver's app, not the city's HTTP 500."""
    key = desk.server.lot(park("C17"))
    lot = online(desk.server, key)
    order = desk.book(key.park, 5).data
    assert desk.log(key, "vehicle.entry.report", entry("r", order["plateNo"], order=order["orderNo"])).code == 0
    lot.answer = lambda body: live(lot, body, code)
    failed = desk.app("fee.query", orderNo=order["orderNo"])
    assert (failed.code, failed.status) == (1406, 422), failed
    lot.disconnect()


# 18, 19: what holds where nothing is set

def test_18_scenic_lots_have_their_own_defaults(desk):
    """Parks and scenic lots (8, 11): a delay adds six hours, and three no-shows a year end booking; others as before; a set value wins."""
    for kind, delay, yearly in ((8, 360, 3), (11, 360, 3), (4, 30, 0), (3, 30, 0)):
        name = park("C18")
        desk.server.lot(name, lotType=kind)
        force = desk.app("policy.query", parkCode=name, bizType=1).data["inForce"]
        assert (force["delayMin"], force["noShowMaxPerYear"]) == (delay, yearly), kind
        order = desk.book(name).data
        later = desk.app("order.delay", orderNo=order["orderNo"], reason="堵车")
        assert later.code == 0 and later.data["enterEnd"] == order["enterEnd"] + delay * MINUTE, (kind, later)
        desk.set(f"lot:{name}", delayMin=45)
        assert desk.app("policy.query", parkCode=name, bizType=1).data["inForce"]["delayMin"] == 45


def test_19_the_pool_of_a_lot_has_a_window(desk):
    """Where nothing is set, a lot's own shared places are open on weekdays from 18:00 to 08:00 and on days of rest all day."""
    name = park("C19")
    shared(desk.server, name, 5)
    desk.set(f"lot:{name}", advanceMaxMin=20_160, stayMin=30, earlyMin=0)
    ahead = lambda weekday: today() + datetime.timedelta(days=7 + (weekday - today().weekday()) % 7 - (7 if weekday > today().weekday() else 0))
    tuesday, sunday = ahead(1), ahead(6)
    ask = lambda day, clock: desk.server.call(desk.provider, "order.create", booking(name, at(day, clock), bizType=2)).code
    assert [ask(tuesday, c) for c in ("07:00", "08:00", "12:00", "17:59", "18:00", "23:30")] == [0, 1205, 1205, 1205, 0, 0]
    assert [ask(sunday, c) for c in ("00:00", "12:00", "23:00")] == [0, 0, 0]
    slots = desk.app("slot.query", parkCode=name, date=f"{tuesday:%Y-%m-%d}", bizType=2).data["slots"]
    assert {s["reason"] for s in slots[16:36]} == {1205}
    pool = [p for p in desk.app("share.product.list", parkCode=name).data["products"] if p["kind"] == "pool"][0]
    assert {"start": "18:00", "end": "08:00"}.items() <= pool["segments"][0].items() or any(s["start"] == "18:00" for s in pool["segments"]), pool


# 20, 21: types and colours of plates

TYPES = [f"{n:02}" for n in [*range(1, 28), 31, 32, 41, 42, 43, 51, 52, 99]]


def test_20_a_plate_type_is_of_the_table(desk):
    """Every type of section 15.3 is taken, any other two characters are 102; a record that has one is taken all the same."""
    name = park("C20")
    key = desk.server.lot(name)
    bind = lambda kind: desk.app("vehicle.bind", userToken="u" + kind, plateNo=plate(), plateType=kind).code
    assert [kind for kind in TYPES if bind(kind) != 0] == []
    assert [kind for kind in ("00", "28", "30", "33", "40", "50", "53", "98", "ZZ", "2", "０２", "x1", " 2") if bind(kind) != 102] == []
    assert desk.book(name, plateType="ZZ").code == 102 and desk.book(name, plateType="02").code == 0
    assert desk.server.call(key, "lot.info.report", lot_info(name, limits={"plateTypes": ["02", "ZZ"]})).code == 102
    odd = desk.log(key, "vehicle.entry.report", entry("r", plate(), plateType="ZZ"))
    assert list(inside(desk, key)) == ["r"], odd


FITS = {"粤BD12345": {4}, "粤BA12345": {4}, "粤B12345D": {5}, "粤B12345F": {5}, "粤B0123警": {3}, "VA12345": {3}, "WJ粤1234X": {3}, "224578使": {2},
        "粤B1234应急": {3}}


@pytest.mark.parametrize("number", FITS)
def test_21_a_colour_fits_its_plate(desk, number):
    """Small NEV 4, large NEV 5, police and military white, embassy black; undetermined fits anything, and another colour is 1011."""
    verify = lambda color: desk.app("vehicle.verify", plateNo=number, plateColor=color)
    assert verify(0).code == 0, verify(0)
    fits = {color for color in (0, 1, 2, 3, 4, 5, 9) if verify(color).data["fits"]}
    assert fits == FITS[number] | {9}
    assert desk.app("vehicle.bind", userToken="u", plateNo=number, plateColor=0).code == 1011


def test_21_green_is_not_for_others(desk):
    """An ordinary plate is neither of the greens."""
    number = plate()
    assert [desk.app("vehicle.verify", plateNo=number, plateColor=c).data["fits"] for c in (0, 1, 4, 5, 9)] == [True, True, False, False, True]


def test_21_a_camera_that_reads_another_colour_loses_no_entry(desk):
    """A colour that does not fit is the camera's: the booked car is inside by its order."""
    name = park("C21")
    key = desk.server.lot(name)
    order = desk.book(name, 5).data
    taken = desk.log(key, "vehicle.entry.report", entry("r", order["plateNo"], order=order["orderNo"], plateColor=4))
    assert (taken.code, taken.data.get("orderStatus")) == (0, 2), taken


# 23, 24, 25, 26, 27, 28

def test_23_who_left_in_time_did_not_overstay(desk):
    """A late exit record that shows a leave in time takes `overstay` back."""
    name = park("C23")
    key = shared(desk.server, name, 0)
    desk.set(f"lot:{name}", shareWindow="00:00-24:00")
    until = now() + 5_000
    assert desk.log(key, "share.space.report", {"offers": [{"offerId": "O1", "spaceNo": "A1", "validTo": until}]}).code == 0
    order = soon(desk, name, 200, bizType=2, stayMin=15)
    came = entry("r", order["plateNo"], order["planTime"], order["orderNo"], carKind=6)
    assert desk.log(key, "vehicle.entry.report", came).data["orderStatus"] == 2
    eventually(lambda: desk.order(order["orderNo"]).get("overstay") is True)
    assert desk.log(key, "vehicle.exit.report", exit_(came, until - 300)).code == 0
    shown = desk.order(order["orderNo"])
    assert (shown["status"], shown.get("overstay", False)) == (3, False), shown


def test_24_an_income_is_never_negative(desk):
    """After a refund that follows a withdrawal the owner owes: balance 0 and `owed` beside it, until new income has paid it off."""
    name = park("C24")
    key = shared(desk.server, name, 0)
    owner = uuid.uuid4().hex
    publish(desk, name, "A1", owner=owner, price={"mode": 2, "amount": 1000})

    def paid(record):
        order = desk.book(name, 1, bizType=2, stayMin=60).data
        came = entry(record, order["plateNo"], now() - 30 * MINUTE, order["orderNo"], carKind=6)
        assert desk.log(key, "vehicle.entry.report", came).code == 0
        assert desk.log(key, "vehicle.exit.report", exit_(came)).code == 0
        bill = desk.app("fee.query", orderNo=order["orderNo"]).data
        number = uuid.uuid4().hex
        assert desk.app("pay.create", billNo=bill["billNo"], payNo=number, amount=1000, channel="sandbox").code == 0
        eventually(lambda: desk.app("pay.query", payNo=number).data["state"] == 1)
        return number
    income = lambda: desk.app("share.income.query", providerToken=owner).data
    first = paid("a")
    assert income()["balance"] == 700 and income().get("owed", 0) == 0
    assert desk.app("share.withdraw.apply", providerToken=owner, amount=700).data["balance"] == 0
    assert desk.app("refund.apply", payNo=first, refundNo="R", amount=600).code == 0
    after = income()
    assert (after["balance"], after.get("owed")) == (0, 420), after
    assert desk.app("share.withdraw.apply", providerToken=owner, amount=1).code == 1411
    paid("b")
    assert (income()["balance"], income().get("owed", 0)) == (280, 0)


POSTED = {"share.auth.push": lambda: {"authNo": "A1", "authVer": 1, "plateNos": [plate()], "validFrom": now(), "validTo": now() + HOUR},
          "share.auth.revoke": lambda: {"authNo": "A1", "authVer": 2}, "list.black.push": lambda: {"plateNo": plate(), "status": 1},
          "list.white.push": lambda: {"plateNo": plate(), "status": 1}, "config.push": lambda: {"heartbeatSec": 30},
          "flow.policy.push": lambda: {"policyId": "F", "mode": 0, "validFrom": now(), "validTo": now() + HOUR},
          "vehicle.lock": lambda: {"plateNo": plate(), "locked": True}}


@pytest.mark.parametrize("service", POSTED)
def test_25_an_operators_message_is_sent_once(desk, service):
    """A byte-identical second sending is 203 for what an operator puts into a lot's log too; with a new nonce it is a repeat."""
    name = park("C25")
    key = desk.server.lot(name)
    message = envelope(desk.operator, service, POSTED[service](), park=name)
    first = desk.server.send(desk.operator, message)
    assert first.code == 0, first
    replayed = desk.server.send(desk.operator, message)
    assert (replayed.code, replayed.status) == (203, 401), replayed
    again = desk.server.send(desk.operator, envelope(desk.operator, service, message["data"], park=name, requestId=message["requestId"]))
    assert (again.code, again.duplicate) == (0, True)
    other = envelope(desk.operator, service, POSTED[service](), park=name, nonce=message["nonce"])
    assert desk.server.send(desk.operator, other).code == 203
    assert desk.server.call(key, "sync.cursor.query", {}).data["down"]["lastSeq"] == 1


def test_26_an_unknown_gate(desk):
    """The question at a gate that nobody reported is 1004; what came in through it is inside, and its order has arrived."""
    name = park("C26")
    key = desk.server.lot(name)
    assert desk.server.call(key, "lot.gate.report", {"gates": [{"gateCode": "G1", "gateName": "北门", "direction": 3}]}).code == 0
    order = desk.book(name, 5).data
    asked = desk.server.call(key, "vehicle.preentry.check", {"gateCode": "G9", "plateNo": order["plateNo"], "plateColor": 0, "captureTime": now()})
    assert (asked.code, asked.status) == (1004, 422), asked
    lot = Lot(desk.server, key, answer=False).connect()
    over = lot.call("vehicle.preentry.check", {"gateCode": "G9", "plateNo": plate(), "plateColor": 0, "captureTime": now()})
    assert over["code"] == 1004, over
    lot.disconnect()
    assert desk.ask(key, order["plateNo"])["decision"] == 1
    came = [entry("a", order["plateNo"], order=order["orderNo"], gateCode="G9"), entry("b", plate(), gateCode="G9")]
    codes = [desk.log(key, "vehicle.entry.report", c).code for c in came]
    assert set(codes) <= {0, 1004} and sorted(inside(desk, key)) == ["a", "b"], codes
    assert desk.order(order["orderNo"])["status"] == 2
    assert [desk.log(key, "vehicle.exit.report", exit_(c, exitGateCode="G8")).code for c in came] == [0, 0] and inside(desk, key) == {}


def test_27_a_plates_bookings_are_its_users_affair(desk):
    """user.credit.query says how often a plate is booked only to the provider whose user has bound it."""
    name = park("C27")
    desk.server.lot(name)
    number, user = plate(), uuid.uuid4().hex
    assert desk.app("vehicle.bind", userToken=user, plateNo=number, plateColor=0).code == 0
    assert desk.book(name, 50, plateNo=number, userToken=user).code == 0
    assert desk.op("list.black.push", park=name, plateNo=number, status=1).code == 0
    mine = desk.app("user.credit.query", userToken=user, plateNo=number, parkCode=name)
    # In the last hour of a day the booking is for the next day, whose counter it is.
    booked = int((now() + 8 * 3_600_000) // 86_400_000 == (now() + 50 * MINUTE + 8 * 3_600_000) // 86_400_000)
    assert mine.code == 0 and [c["used"] for c in mine.data["counters"] if c["name"] == "dailyMaxPerPlate"] == [booked]
    stranger = desk.server.issue("provider", rate=1000)
    for provider, token in ((stranger, user), (stranger, "x"), (desk.provider, "another user")):
        asked = desk.server.call(provider, "user.credit.query", {"userToken": token, "plateNo": number, "parkCode": name})
        if asked.code == 0:
            assert asked.data["bans"] == [] and not [c for c in asked.data["counters"] if c["used"]], asked


def test_28_an_acknowledgement_of_what_was_never_sent(desk):
    """An ackSeq beyond the last entry is not believed over MQTT either: nothing is taken as delivered, and what comes later is sent."""
    name = park("C28")
    key = desk.server.lot(name)
    lot = online(desk.server, key, answer=False)

    def reply(body, ack):
        message = {"version": "1.0", "requestId": body["requestId"], "appId": key.app_id, "service": body["service"], "parkCode": name,
                   "timestamp": now(), "nonce": secrets.token_hex(8), "code": 0, "message": "", "epoch": body["epoch"], "ackSeq": ack,
                   "data": {"accepted": True}}
        message["sign"] = sign(message, key.secret)
        lot.client.publish(f"rsp/v1/{name}/up/reply", json.dumps(message), 1)
    first = desk.book(name).data
    lot.wait(lambda: len(lot.received) == 1)
    down = lambda: desk.server.call(key, "sync.cursor.query", {}).data["down"]
    reply(lot.received[0], 1000)
    stays(lambda: down()["ackSeq"] == 0 and desk.order(first["orderNo"])["deliverStatus"] in (0, 1), 0.7)
    second = desk.book(name).data
    lot.wait(lambda: [b for b in lot.received if b["seq"] == 2])
    assert desk.order(second["orderNo"])["deliverStatus"] in (0, 1)
    reply(lot.received[0], 1)
    reply([b for b in lot.received if b["seq"] == 2][0], 2)
    eventually(lambda: [desk.order(o["orderNo"])["deliverStatus"] for o in (first, second)] == [2, 2])
    assert down()["ackSeq"] == 2
    lot.disconnect()


# What the contract settles beside these

def test_settled_a_closed_epoch_says_so(desk):
    """sync.cursor.query of an epoch that another one closed has closed:true; an open or unknown one has not."""
    key = desk.server.lot(park("SET"))
    for epoch in ("e1", "e2"):
        assert desk.server.call(key, "vehicle.entry.report", entry("r" + epoch, plate()), epoch=epoch, seq=1).code == 0
    ask = lambda **data: desk.server.call(key, "sync.cursor.query", data).data["up"]
    assert ask(epoch="e1").get("closed") is True
    assert not ask(epoch="e2").get("closed") and not ask(epoch="never").get("closed") and not ask().get("closed")


def test_settled_what_a_lot_cannot_be(desk):
    """No opening hours at all and an area inside itself are 102; more left for booking than there are places is 1504."""
    name = park("SET")
    key = desk.server.lot(name)
    report = lambda **changes: desk.server.call(key, "lot.info.report", lot_info(name, **changes))
    assert report(openHours=[]).code == 102
    ring = [{"areaCode": "A", "parentAreaCode": "B"}, {"areaCode": "B", "parentAreaCode": "C"}, {"areaCode": "C", "parentAreaCode": "A"}]
    assert report(areas=ring).code == 102 and report(areas=[{"areaCode": "A", "parentAreaCode": "A"}]).code == 102
    assert report(areas=ring[:2] + [{"areaCode": "C"}]).code == 0
    remain = lambda **more: desk.server.call(key, "space.remain.report", {"reportTime": now(), "total": 100, "remain": 50, **more}).code
    assert remain(reserveTotal=10, reserveRemain=11) == 1504 and remain(shareTotal=10, shareRemain=11) == 1504
    assert remain(reserveTotal=10, reserveRemain=10) == 0


def test_settled_states_of_a_device(desk):
    """-1 unknown, 0 offline, 1 online, 2 faulty."""
    key = desk.server.lot(park("SET"))
    report = lambda status: desk.server.call(key, "device.status.report", {"devices": [{"deviceCode": "C", "type": 1, "status": status}]}).code
    assert [report(s) for s in (-1, 0, 1, 2, 3, -2)] == [0, 0, 0, 0, 102, 102]


def test_settled_operators_read_events(desk):
    """event.list shows a lot's events by type and time, page by page, and the blacklisted car of a refused pre-entry is among them."""
    name = park("SET")
    key = desk.server.lot(name)
    start = now() - MINUTE
    for n in range(5):
        assert desk.log(key, "event.report", {"eventId": f"e{n}", "eventType": 6005, "occurTime": now()}).code == 0
    bad = plate()
    assert desk.op("list.black.push", park=name, plateNo=bad, status=1).code == 0
    assert desk.ask(key, bad)["reasonCode"] == 1014
    window = {"parkCode": name, "from": start, "to": now() + MINUTE}
    page = desk.op("event.list", **window, eventType=6005)
    assert page.code == 0, page
    rows = page.data["events"]
    assert [r["eventType"] for r in rows] == [6005] * 5 and {r["parkCode"] for r in rows} == {name}
    eventually(lambda: [r for r in desk.op("event.list", **window, eventType=7001).data["events"]])
    assert bad not in json.dumps(desk.op("event.list", **window).data, ensure_ascii=False), "plates are masked"
    assert desk.app("event.list", **window).code == 204


def test_settled_capacity_that_changes_is_an_event(desk):
    """Event 4006 says what changed, before and after; a report that changes no number of places raises none."""
    name = park("SET")
    key = desk.server.lot(name, reserve=40, total=100)
    window = {"parkCode": name, "from": now() - MINUTE, "to": now() + MINUTE, "eventType": 4006}
    assert desk.server.call(key, "lot.info.report", lot_info(name, 40, 100, parkName="新名")).code == 0
    assert desk.server.call(key, "lot.info.report", lot_info(name, 50, 120)).code == 0
    rows = eventually(lambda: desk.op("event.list", **window).data["events"])
    assert [r["detail"] for r in rows] == ["totalSpace 100>120 reserveSpace 40>50"], rows


def test_settled_a_backlog_for_a_lot_is_told_of(desk):
    """Events 6012 and 6013 stand around the orders that waited for a lot (more than 100); a short backlog is no event."""
    name = park("SET")
    key = desk.server.lot(name, reserve=500, total=1000)
    window = {"parkCode": name, "from": now() - MINUTE, "to": now() + 10 * MINUTE}
    told = lambda: [(r["eventType"], r["detail"]) for r in sorted(desk.op("event.list", **window).data["events"], key=lambda r: r["eventType"])
                    if r["eventType"] in (6012, 6013)]
    last = 0
    for count, expected in ((5, []), (120, [(6012, "down 120"), (6013, "down 120")])):
        for _ in range(count):
            assert desk.book(name, 20).code == 0
        last += count
        lot = Lot(desk.server, key).connect()
        eventually(lambda: desk.server.sql("SELECT down_ack FROM positions WHERE lot = ?", name) == [(last,)], 30)
        eventually(lambda: told() == expected)
        gone = notices(desk, name, 6002)
        lot.disconnect()
        eventually(lambda: notices(desk, name, 6002) > gone)


def test_settled_when_to_come_back(desk):
    """Retry-After of 302 is the time until the policy ends, an hour at most."""
    for length, most in ((10 * MINUTE, 600), (5 * HOUR, 3600)):
        name = park("SET")
        desk.server.lot(name)
        assert desk.op("flow.policy.set", parkCode=name, policyId="F", mode=3, validFrom=now() - 1, validTo=now() + length).code == 0
        refused = desk.book(name, 5)
        assert refused.code == 302 and most - 5 <= int(refused.headers["Retry-After"]) <= most, refused.headers
