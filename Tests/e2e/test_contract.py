"""Sections 2, 3, 9 and 10 of the contract, by an independent client."""
import datetime
import json
import secrets
import time
import uuid

import pytest

from berth import Lot, Reply, booking, envelope, entry, exit_, lot_info, now, plate, sign, string_to_sign

MINUTE = 60_000


@pytest.fixture(scope="module")
def lot(server):
    key = server.lot("C1", rate=100_000)
    reply = server.call(key, "lot.gate.report", {"gates": [
        {"gateCode": "G1", "gateName": "北门", "direction": 1}, {"gateCode": "G2", "gateName": "南门", "direction": 2}]})
    assert reply.code == 0
    return key


def test_vectors_of_section_3():
    data = {"bizType": 1, "enterEnd": 1677632400000, "enterStart": 1677628800000, "orderNo": "YY202303010000000001",
            "plateColor": 0, "plateNo": "粤B12345"}
    push = {"appId": "sz10000001", "data": data, "nonce": "9f86d081884c7d65", "parkCode": "440305000000001",
            "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e", "service": "order.reserve.push",
            "timestamp": 1677628500000, "version": "1.0"}
    assert sign(push, "k7Qd2vXw9ZtY4mNb8RsC1pLf6HjA3eUg") == "41d32f67885260af7e4168bcd75a6210327cff55f529168a39cbec502280358d"


def test_the_command_line_signs_the_same(server, tmp_path):
    message = envelope(server.issue("provider"), "order.create", {"b": [1, {"z": "粤", "a": None}], "a": "x\"\n"})
    file = tmp_path / "m.json"
    file.write_text(json.dumps(message, ensure_ascii=False))
    import subprocess
    from berth import BIN
    out = subprocess.run([BIN / "berth", "sign", "--secret-file", "-", "--message", file, "--explain"],
                         input="s3cret\n", capture_output=True, text=True).stdout
    assert out.split()[-1] == sign(message, "s3cret")
    assert string_to_sign(message) in out


def refused(server, reply, code, status, before=None):
    assert (reply.code, reply.status) == (code, status), reply
    assert reply.json["version"] == "1.0"
    if before is not None:
        assert server.stored() == before, "a refusal changed the store"


def test_every_refusal_of_the_envelope(own_server):
    """Each code of section 3 once, in the order of its checks; the store is as before."""
    server = own_server.start()  # of its own: nothing else changes what is stored meanwhile
    provider, lot = server.issue("provider", rate=100_000), server.lot("C1", rate=100_000)
    before = server.stored()
    ok = lambda **extra: envelope(provider, "order.create", booking("C1"), **extra)
    post = lambda message, **kw: server.send(provider, message, **kw)
    path = "/api/v1/order/create"

    refused(server, server.post(path, b"x" * (1 << 20) + b"yy"), 104, 413, before)
    refused(server, server.post(path, b"{}", {"content-type": "text/plain"}), 101, 415, before)
    for body in [b"", b"{", b"[1]", b"nonsense", b'{"a":1,"a":2}', b'"\\ud800"', b'{"a":"\xff"}', b'{"a":01}', b"\xef\xbb\xbf{}"]:
        reply = server.post(path, body)
        refused(server, reply, 101, 400)
        assert reply.json["sign"] == "" and reply.json["requestId"] == "" and reply.json["appId"] == ""
    deep = json.dumps(ok())[:-1] + ',"x":' + "[" * 32 + "]" * 32 + "}"
    refused(server, server.post(path, deep.encode()), 101, 400, before)
    for number in [b"1.5", b"1e3", b"-0", b"9007199254740992"]:
        refused(server, server.post(path, b'{"version":"1.0","data":{"n":' + number + b"}}"), 102, 400)
        # Who it is from could be read: the refusal is his, and signed.
        message = json.dumps(ok()).encode()
        reply = server.post(path, message[:-1] + b',"x":' + number + b"}")
        refused(server, reply, 102, 400, before)
        assert reply.json["appId"] == provider.app_id and reply.json["sign"] == sign(reply.json, provider.secret)
    for name in ["version", "requestId", "appId", "service", "timestamp", "nonce", "sign"]:
        for missing in (Ellipsis, None, ""):
            message = {**ok(), name: missing}
            message = {k: v for k, v in message.items() if v is not Ellipsis}
            refused(server, server.post(path, json.dumps(message).encode()), 100, 400)
    for name, value in [("requestId", "not-a-uuid"), ("appId", "ab"), ("nonce", "short"), ("nonce", "has&amp=and"),
                        ("timestamp", "x"), ("timestamp", 5), ("parkCode", "_x"), ("extra", "a=b"), ("extra", {"a": 1}),
                        ("extra", [1]), ("data", [1]), ("signType", "MD5"), ("service", 7)]:
        message = {**ok(), name: value}
        refused(server, server.post(path, json.dumps(message).encode()), 102, 400)
    refused(server, post(ok(version="2.0")), 103, 400, before)
    stranger = type(provider)({"appId": "nobody000", "appSecret": "x"})
    reply = server.send(stranger, envelope(stranger, "order.create", booking("C1")))
    refused(server, reply, 200, 401, before)
    assert reply.json["sign"] == ""
    for skew in (-301_000, 301_000):
        refused(server, post(ok(timestamp=now() + skew)), 202, 401, before)
    refused(server, post({**ok(), "sign": "0" * 64}), 201, 401, before)
    refused(server, post({**ok(), "extra": 1}), 201, 401, before)  # unknown members are signed too
    tampered = ok()
    tampered["data"]["planTime"] += 1
    refused(server, post(tampered), 201, 401, before)
    first = envelope(provider, "lot.detail", {"parkCode": "C1"}, nonce="nonce-" + secrets.token_hex(4))
    assert post(first).code == 0
    refused(server, post(first), 203, 401, before)
    refused(server, post(envelope(provider, "no.such.service")), 103, 400, before)
    refused(server, server.post("/api/v1/order/cancel", json.dumps(ok()).encode()), 103, 400, before)
    refused(server, server.call(provider, "order.reserve.push", {}), 103, 400, before)
    refused(server, server.call(provider, "recon.inlot.count", {}, parkCode="C1"), 204, 403, before)
    refused(server, server.call(lot, "order.create", booking("C1")), 204, 403, before)
    refused(server, server.call(lot, "recon.inlot.count", {}, parkCode=Ellipsis), 100, 400, before)
    refused(server, server.call(lot, "recon.inlot.count", {}, parkCode="C2"), 205, 403, before)
    refused(server, server.call(provider, "order.create", booking("C1"), epoch="e", seq=1), 105, 400, before)
    refused(server, server.call(lot, "vehicle.entry.report", entry("r", plate())), 100, 400, before)


def test_get_is_refused_with_an_envelope(server):
    connection = server.connection()
    connection.request("GET", "/api/v1/order/create")
    answer = connection.getresponse()
    assert answer.status == 400 and json.loads(answer.read())["code"] == 103


def test_rate_limit_says_when(server):
    slow = server.issue("provider", rate=1)
    replies = [server.call(slow, "lot.detail", {"parkCode": "C1"}) for _ in range(14)]
    late = [r for r in replies if r.code == 301]
    assert late and all(r.status == 429 and r.headers["Retry-After"] == "1" for r in late)
    assert all(1 <= r.data["retryAfterMs"] <= 1000 for r in late)


def test_time_needs_no_clock(server, provider):
    sent = now() - 3_600_000
    reply = server.call(provider, "sys.time.get", {"deviceSendTime": sent}, timestamp=sent)
    assert reply.code == 0 and abs(reply.data["serverRecvTime"] - now()) < 5000
    assert reply.data["serverSendTime"] >= reply.data["serverRecvTime"]


def test_field_errors(own_server):
    server = own_server.start()  # of its own: nothing else changes what is stored meanwhile
    provider, lot = server.issue("provider", rate=100_000), server.lot("C1", rate=100_000)
    good = booking("C1")
    for name, value, code in [("plateNo", Ellipsis, 100), ("plateNo", "粤B1234", 1010), ("plateNo", "ABC", 1010),
                              ("plateNo", "粤B1234I", 1010), ("plateColor", 8, 102), ("plateColor", "0", 102),
                              ("planTime", "soon", 102), ("planTime", 12, 102), ("bizType", 9, 102), ("bizType", Ellipsis, 100),
                              ("parkCode", "a/b", 102), ("userToken", "x" * 65, 102), ("userToken", Ellipsis, 100),
                              ("clientOrderNo", Ellipsis, 100), ("waitlist", "yes", 102)]:
        data = {k: v for k, v in {**good, name: value}.items() if v is not Ellipsis}
        before = server.stored()
        reply = server.call(provider, "order.create", data)
        assert reply.code == code, (name, value, reply)
        assert server.stored() == before
    for name in lot_info("C1"):
        data = {k: v for k, v in lot_info("C1").items() if k != name}
        assert server.call(lot, "lot.info.report", data).code == 100, name
    for name, value in [("parkCode", "C2"), ("lng", "190"), ("lat", "22.12345678"), ("lat", 22), ("lotType", 13),
                        ("totalSpace", -1), ("reserveSpace", 101), ("regionCode", "44"), ("reserveEnabled", 1),
                        ("openHours", [{"days": [8], "start": "00:00", "end": "24:00"}]),
                        ("openHours", [{"days": [1], "start": "24:00", "end": "24:00"}])]:
        assert server.call(lot, "lot.info.report", lot_info("C1", **{name: value})).code == 102, (name, value)


def test_refusals_of_booking(own_server):
    """Every code of 1000-1124 that exists so far; nothing is stored of any."""
    server = own_server.start()
    provider = server.issue("provider", rate=100_000)
    server.lot("C1", rate=100_000)
    def create(code, **changes):
        before = server.stored()
        reply = server.call(provider, "order.create", booking(changes.pop("parkCode", "C1"), **changes))
        assert (reply.code, reply.status) == (code, 422), reply
        assert server.stored() == before
    create(1000, parkCode="NOWHERE")
    server.issue("lot", "BARE")
    create(1003, parkCode="BARE")
    server.lot("NORES", reserveEnabled=False)
    create(1001, parkCode="NORES")
    create(1200, bizType=2)
    server.lot("PUBLIC", publicBizEnabled=True, publicBizSpace=5)
    create(1300, parkCode="PUBLIC", bizType=3, extNo="A1")
    hour = lambda ahead: (datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=8))) + datetime.timedelta(hours=ahead)).hour
    shut = (hour(11), hour(12)) if hour(11) < hour(12) else (hour(13), hour(14))
    server.lot("SHUT", openHours=[{"days": [1, 2, 3, 4, 5, 6, 7], "start": f"{shut[0]:02}:00", "end": f"{shut[1]:02}:00"}])
    create(1002, parkCode="SHUT")
    create(1011, plateNo="粤BD12345", plateColor=0)
    create(1011, plateNo="粤B12345", plateColor=4)
    create(1108, planTime=now() - 31 * MINUTE)
    create(1100, planTime=now() + 61 * MINUTE)
    server.lot("FULL", reserve=0)
    create(1101, parkCode="FULL")

    user, number = uuid.uuid4().hex, plate()
    first = server.call(provider, "order.create", booking("C1", userToken=user, plateNo=number))
    assert first.code == 0
    create(1107, plateNo=number)
    assert server.call(provider, "order.create", booking("C1", userToken=user)).code == 0
    create(1103, userToken=user)


def test_a_reservation_and_its_words(server, provider, lot):
    plan = now() + 50 * MINUTE + 123
    wish = booking("C1", plan, plateNo="粤-B·9 9999")
    made = server.call(provider, "order.create", wish)
    order = made.data
    assert made.code == 0 and not made.duplicate
    assert order["status"] == 1 and order["orderVer"] == 1 and order["deliverStatus"] == 0
    assert order["planTime"] == plan and order["plateNo"] == "粤B99999"
    assert (order["enterStart"], order["enterEnd"]) == (plan - 30 * MINUTE, plan + 30 * MINUTE)
    assert server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["clientOrderNo"] == wish["clientOrderNo"]
    assert server.call(provider, "order.detail", {"clientOrderNo": wish["clientOrderNo"]}).data["orderNo"] == order["orderNo"]

    again = server.call(provider, "order.create", wish)
    assert again.code == 0 and again.duplicate and again.data["orderNo"] == order["orderNo"]
    other = server.call(provider, "order.create", {**wish, "planTime": plan + 1})
    assert (other.code, other.status) == (404, 409)

    moved = server.call(provider, "order.modify", {"orderNo": order["orderNo"], "planTime": plan - MINUTE})
    assert moved.code == 0 and moved.data["orderVer"] == 2 and moved.data["enterStart"] == plan - 31 * MINUTE
    renamed = server.call(provider, "order.modify", {"orderNo": order["orderNo"], "plateNo": plate()})
    assert renamed.code == 0 and renamed.data["orderVer"] == 3
    assert server.call(provider, "order.modify", {"orderNo": order["orderNo"], "plateNo": plate()}).code == 403
    assert server.call(provider, "order.modify", {"orderNo": order["orderNo"]}).code == 100

    gone = server.call(provider, "order.cancel", {"orderNo": order["orderNo"], "reason": "changed my mind"})
    assert gone.code == 0 and gone.data["cancelType"] == "free" and gone.data["status"] == 4
    assert server.call(provider, "order.cancel", {"orderNo": order["orderNo"]}).code == 1121
    assert server.call(provider, "order.modify", {"orderNo": order["orderNo"], "planTime": plan}).code == 1121
    present = server.call(provider, "order.create", wish)
    assert present.duplicate and present.data["status"] == 4, "the same order, in its present state"


def test_a_late_cancel_is_a_breach(server, provider, lot):
    order = server.call(provider, "order.create", booking("C1", now() + 10 * MINUTE)).data
    reply = server.call(provider, "order.cancel", {"orderNo": order["orderNo"]})
    assert (reply.code, reply.status) == (1124, 422)
    reply = server.call(provider, "order.cancel", {"orderNo": order["orderNo"], "confirmBreach": True})
    assert reply.code == 0 and reply.data["cancelType"] == "breach" and reply.data["status"] == 5


def test_cancels_have_a_limit(server, provider, lot):
    user = uuid.uuid4().hex
    for left in (2, 1, 0):
        order = server.call(provider, "order.create", booking("C1", userToken=user)).data
        reply = server.call(provider, "order.cancel", {"orderNo": order["orderNo"]})
        assert reply.code == 0 and reply.data["cancelsLeftToday"] == left
    order = server.call(provider, "order.create", booking("C1", userToken=user)).data
    assert server.call(provider, "order.cancel", {"orderNo": order["orderNo"]}).code == 1105


def test_orders_of_another_provider_are_not_found(server, provider, lot):
    order = server.call(provider, "order.create", booking("C1")).data
    other = server.issue("provider")
    for service in ("order.detail", "order.cancel"):
        assert server.call(other, service, {"orderNo": order["orderNo"]}).code == 1120
    assert server.call(other, "order.modify", {"orderNo": order["orderNo"], "planTime": now() + MINUTE}).code == 1120
    assert server.call(other, "order.list", {}).data["orders"] == []
    seen = server.call(server.issue("operator"), "order.detail", {"orderNo": order["orderNo"]})
    assert seen.code == 0 and "***" in seen.data["plateNo"]


def test_lists_page_by_cursor(server, lot):
    app = server.issue("provider", rate=1000)
    made = [server.call(app, "order.create", booking("C1")).data["orderNo"] for _ in range(5)]
    found, cursor = [], {}
    while True:
        page = server.call(app, "order.list", {"limit": 2, **cursor}).data
        found += [o["orderNo"] for o in page["orders"]]
        if not page["hasMore"]:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert found == made[::-1]


def test_results_are_kept_by_request_id(server, provider, lot):
    wish = booking("C1")
    message = envelope(provider, "order.create", wish)
    first = server.send(provider, message)
    again = server.send(provider, envelope(provider, "order.create", wish, requestId=message["requestId"]))
    assert again.duplicate and again.code == 0 and again.data["orderNo"] == first.data["orderNo"]
    other = server.send(provider, envelope(provider, "order.create", booking("C1"), requestId=message["requestId"]))
    assert (other.code, other.status) == (404, 409)
    bad = envelope(provider, "order.create", booking("NOWHERE"))
    assert server.send(provider, bad).code == 1000
    again = server.send(provider, envelope(provider, "order.create", bad["data"], requestId=bad["requestId"]))
    assert again.code == 1000 and again.status == 422 and again.duplicate, "refusals are repeated with their own code"


def test_slots_of_a_whole_day(server, provider, lot):
    import datetime
    zone = datetime.timezone(datetime.timedelta(hours=8))
    today = datetime.datetime.now(zone)
    reply = server.call(provider, "slot.query", {"parkCode": "C1", "date": today.strftime("%Y-%m-%d"), "bizType": 1})
    slots = reply.data["slots"]
    start = int(today.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    assert len(slots) == 48 and slots[0]["start"] == start and slots[-1]["end"] == start + 24 * 60 * MINUTE
    for slot in slots:
        assert slot["end"] - slot["start"] == 30 * MINUTE and slot["quota"] == 40
        if slot["end"] <= now() - 2000:
            assert slot["full"] and slot["reason"] == 1108
        else:
            assert slot["full"] == (slot["remain"] == 0)
    assert server.call(provider, "slot.query", {"parkCode": "C1", "date": "2026-02-30", "bizType": 1}).code == 102


def test_search_finds_the_near_ones_first(server, provider):
    server.lot("NEAR", lng="114.0500", lat="22.5500")
    server.lot("FAR", lng="114.0540", lat="22.5500")
    server.lot("AWAY", lng="114.2", lat="22.55")
    reply = server.call(provider, "lot.search", {"lng": "114.0500", "lat": "22.5500", "coordType": 1, "radius": 1000, "bizType": 1})
    found = [(l["parkCode"], l["distance"]) for l in reply.data["lots"]]
    assert [f[0] for f in found] == ["NEAR", "FAR"] and found[0][1] == 0 and 400 < found[1][1] < 425
    assert server.call(provider, "lot.search", {"lng": "114", "lat": "22.5", "radius": 5001}).code == 102


def test_the_up_log(server, provider):
    """Section 5: order, repeats, gaps, epochs, batches and dead letters."""
    key = server.lot("UP1", rate=1000)
    say = lambda seq, data, epoch="e1", service="vehicle.entry.report", **kw: server.call(key, service, data, epoch=epoch, seq=seq, **kw)
    cars = [entry(f"r{i}", plate()) for i in range(20)]

    reply = say(2, cars[0])
    assert (reply.code, reply.status) == (610, 409) and reply.data["expectedSeq"] == 1 and reply.json["ackSeq"] == 0
    reply = say(1, cars[0])
    assert reply.code == 0 and reply.json["epoch"] == "e1" and reply.json["ackSeq"] == 1 and reply.data["recordNo"] == "r0"
    again = say(1, cars[0])
    assert again.code == 0 and again.duplicate and again.json["ackSeq"] == 1
    message = envelope(key, "vehicle.entry.report", cars[1], epoch="e1", seq=2)
    assert server.send(key, message).code == 0
    assert server.send(key, message).duplicate, "a byte-identical redelivery is not a nonce error"
    assert say(5, cars[2]).data == {"expectedSeq": 3, "epoch": "e1", "ackSeq": 2}
    assert say(3, cars[2], timestamp=now() - 400_000).code == 202

    bad = say(3, {**cars[2], "vehicleClass": 99})
    assert (bad.code, bad.json["ackSeq"]) == (102, 3), "final: the log goes on"
    assert say(3, {**cars[2], "vehicleClass": 99}).code == 102
    assert server.sql("SELECT count(*) FROM up_log WHERE lot = 'UP1' AND code <> 0")[0][0] == 1
    assert server.sql("SELECT count(*) FROM notices WHERE lot = 'UP1' AND type = 6090")[0][0] == 1

    def batch(seqs, epoch="e1", cars=cars):
        return server.call(key, "sync.batch.report", {"entries": [
            {"epoch": epoch, "seq": s, "requestId": str(uuid.uuid4()), "service": "vehicle.entry.report",
             "timestamp": now() - 10_000_000, "data": cars[s]} for s in seqs]})
    reply = batch([4, 5, 6])
    assert reply.code == 0 and reply.data == {"epoch": "e1", "ackSeq": 6, "failed": []}
    assert batch([5, 6, 7]).data["ackSeq"] == 7, "repeats are skipped"
    reply = batch([9, 10])
    assert reply.code == 610 and reply.data["expectedSeq"] == 8
    reply = batch([8, 9, 11])
    assert reply.code == 610 and reply.data["expectedSeq"] == 10 and reply.data["ackSeq"] == 9
    partly = batch([10, 11], cars={10: cars[4], 11: cars[11]})  # the same record again is no error; the same plate is
    assert partly.code == 0
    partly = batch([12, 13], cars={12: {**cars[12], "plateNo": cars[13]["plateNo"]}, 13: cars[13]})
    assert (partly.code, partly.status) == (611, 200) and [f["seq"] for f in partly.data["failed"]] == [13]
    assert partly.data["failed"][0]["code"] == 1133
    two = server.call(key, "sync.batch.report", {"entries": [
        {"epoch": e, "seq": 14, "requestId": str(uuid.uuid4()), "service": "vehicle.entry.report", "timestamp": now(),
         "data": cars[14]} for e in ("e1", "e2")]})
    assert two.code == 102
    assert batch(range(14, 14 + 501), cars={s: cars[0] for s in range(14, 600)}).code == 104

    cursor = server.call(key, "sync.cursor.query", {}).data
    assert cursor["up"] == {"epoch": "e1", "ackSeq": 13}
    assert server.call(key, "sync.cursor.query", {"epoch": "nope"}).data["up"]["ackSeq"] == 0
    assert say(1, cars[15], epoch="e2").json["ackSeq"] == 1, "a new epoch closes the old one"
    closed = say(14, cars[16])
    assert (closed.code, closed.status) == (613, 409) and closed.data["epoch"] == "e2"
    count = server.call(key, "recon.inlot.count", {})
    assert count.data["asOfSeq"] == 1 and count.data["count"] == server.sql(
        "SELECT count(*) FROM visits WHERE lot = 'UP1' AND is_open = 1")[0][0]


def test_records_of_cars(server, provider):
    key = server.lot("REC1", rate=1000)
    server.call(key, "lot.gate.report", {"gates": [{"gateCode": "G1", "gateName": "a", "direction": 3}]})
    seq = iter(range(1, 100))
    say = lambda service, data: server.call(key, service, data, epoch="e", seq=next(seq))
    make = lambda plan=None, **kw: server.call(provider, "order.create", booking("REC1", plan or now() + 20 * MINUTE, **kw)).data
    detail = lambda order: server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data

    order = make()
    inside = entry("a1", order["plateNo"], order=order["orderNo"])
    reply = say("vehicle.entry.report", inside)
    assert reply.code == 0 and reply.data["orderStatus"] == 2
    assert detail(order)["status"] == 2 and detail(order)["recordNo"] == "a1"
    assert server.call(provider, "order.cancel", {"orderNo": order["orderNo"]}).code == 1123
    assert server.call(provider, "order.modify", {"orderNo": order["orderNo"], "planTime": now() + MINUTE}).code == 1125
    assert say("vehicle.entry.report", {**inside, "recordNo": "a2"}).code == 1133
    assert say("vehicle.exit.report", exit_({**inside, "enterTime": inside["enterTime"] - 1})).code == 1500
    out = exit_(inside)
    assert say("vehicle.exit.report", out).data["orderStatus"] == 3
    assert say("vehicle.exit.report", out).data["duplicate"] is True
    assert say("vehicle.exit.report", {**out, "leaveTime": out["leaveTime"] + 1}).code == 1122
    assert detail(order)["status"] == 3 and detail(order)["leaveTime"] == out["leaveTime"]
    assert server.call(provider, "order.cancel", {"orderNo": order["orderNo"]}).code == 1122
    used = say("vehicle.entry.report", entry("a3", order["plateNo"], order=order["orderNo"]))
    assert used.code == 1129
    assert say("vehicle.exit.report", exit_(entry("pair", plate()))).code == 1501
    assert say("vehicle.entry.report", entry("x1", plate(), order=make()["orderNo"])).code == 1131
    assert say("vehicle.entry.report", entry("x2", plate(), order="YY000")).code == 1120
    assert say("vehicle.entry.report", entry("x3", plate(), gateCode="G9")).data["flags"] == ["unknownGate"]
    assert say("vehicle.entry.report", entry("x4", plate(), carKind=5)).code == 100
    late = make()
    assert say("vehicle.entry.report", entry("x5", late["plateNo"], now() + 200 * MINUTE, late["orderNo"])).data["flags"] == ["timeAhead"], "it counts as now"
    over = make(now() - 29 * MINUTE)
    assert say("vehicle.entry.report", entry("x7", over["plateNo"], now() + 4 * MINUTE, over["orderNo"])).code == 1128, "after its window"
    assert say("vehicle.exit.report", {**exit_(entry("x6", plate())), "leaveTime": now() - 99 * MINUTE}).code == 102

    status = lambda order, code, ver=1: say("order.status.report", {
        "orderNo": order["orderNo"], "orderVer": ver, "status": code, "occurTime": now()})
    asked = make()
    assert status(asked, 2).data["orderStatus"] == 1 and detail(asked)["deliverStatus"] == 2
    assert status(asked, 5).code == 1134
    assert status(asked, 3).data["orderStatus"] == 6, "the lot refuses: no penalty, place free"
    moved = make(now() + 30 * MINUTE)
    server.call(provider, "order.modify", {"orderNo": moved["orderNo"], "planTime": now() + 25 * MINUTE})
    assert status(moved, 3, ver=1).code == 402
    assert status(moved, 8).data["orderStatus"] == 8 and detail(moved)["compensated"] is True
    assert status(moved, 7).code == 403
    assert say("event.report", {"eventId": "e1", "eventType": 6005, "occurTime": now()}).code == 0
    assert say("event.report", {"eventId": "e2", "eventType": 8888, "occurTime": now()}).code == 0, "unknown events are kept"
    remain = lambda **kw: server.call(key, "space.remain.report", {"reportTime": now(), "total": 100, "remain": 40, **kw})
    assert remain().code == 0 and remain(remain=101).code == 1504
    assert server.call(provider, "lot.detail", {"parkCode": "REC1"}).data["remain"] == 40


def test_long_poll_and_acknowledgement(server, provider):
    """A lot without MQTT: pull, acknowledge, refuse; nothing is lost between two pulls."""
    import threading
    import time
    key = server.lot("POLL1", rate=1000)
    pull = lambda after, wait=0, **kw: server.call(key, "sync.down.pull", {"afterSeq": after, "limit": 10, "waitMs": wait, **kw})
    empty = pull(0).data
    assert empty["entries"] == [] and empty["hasMore"] is False
    started, result = time.time(), {}
    waiting = threading.Thread(target=lambda: result.update(reply=pull(0, 8000)))
    waiting.start()
    time.sleep(0.3)
    order = server.call(provider, "order.create", booking("POLL1")).data
    waiting.join()
    assert time.time() - started < 5
    first = result["reply"].data["entries"][0]
    assert first["seq"] == 1 and first["service"] == "order.reserve.push" and first["data"]["orderNo"] == order["orderNo"]
    assert first["data"]["contactMobile"] == "138****0000"
    epoch = first["epoch"]
    second = server.call(provider, "order.create", booking("POLL1")).data
    page = pull(0, limit=1).data
    assert len(page["entries"]) == 1 and page["hasMore"] is True
    ack = lambda seq, results: server.call(key, "sync.down.ack", {"epoch": epoch, "ackSeq": seq, "results": results})
    assert ack(9, []).code == 102
    assert ack(2, [{"seq": 1, "code": 0, "data": {"accepted": True}}, {"seq": 2, "code": 1101, "data": {}}]).code == 0
    detail = lambda o: server.call(provider, "order.detail", {"orderNo": o["orderNo"]}).data
    assert (detail(order)["status"], detail(order)["deliverStatus"]) == (1, 2)
    assert (detail(second)["status"], detail(second)["deliverStatus"]) == (6, 3)
    assert server.call(key, "sync.cursor.query", {}).data["down"] == {"epoch": epoch, "lastSeq": 2, "ackSeq": 2}
    assert server.call(key, "sync.down.pull", {"epoch": "other", "afterSeq": 0, "limit": 1}).code == 613
    snapshot = server.call(key, "sync.snapshot.query", {}).data
    assert [o["orderNo"] for o in snapshot["orders"]] == [order["orderNo"]]
    assert (snapshot["downEpoch"], snapshot["downSeq"]) == (epoch, 2)


def test_a_lot_that_is_asked(server, provider):
    """Confirm mode `ask`: held until the lot accepts."""
    key = server.lot("ASK1", rate=1000)
    server.cli("lots", "set", "--park", "ASK1", "confirmMode=ask")
    order = server.call(provider, "order.create", booking("ASK1")).data
    assert order["status"] == 0 and order["holdDeadline"] > now()
    entry = server.call(key, "sync.down.pull", {"afterSeq": 0, "limit": 1}).data["entries"][0]
    server.call(key, "sync.down.ack", {"epoch": entry["epoch"], "ackSeq": 1, "results": [
        {"seq": 1, "code": 0, "data": {"accepted": True}}]})
    assert server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["status"] == 1
    refusedOrder = server.call(provider, "order.create", booking("ASK1")).data
    server.call(key, "sync.down.ack", {"epoch": entry["epoch"], "ackSeq": 2, "results": [
        {"seq": 2, "code": 0, "data": {"accepted": False}}]})
    assert server.call(provider, "order.detail", {"orderNo": refusedOrder["orderNo"]}).data["status"] == 6


def test_the_gate_asks_the_server(server, provider, lot):
    order = server.call(provider, "order.create", booking("C1", now() + 20 * MINUTE)).data
    soon = server.call(provider, "order.create", booking("C1", now() + 55 * MINUTE)).data
    ask = lambda plate_no: server.call(lot, "vehicle.preentry.check", {
        "gateCode": "G1", "plateNo": plate_no, "plateColor": 0, "captureTime": now()}).data
    allowed = ask(order["plateNo"])
    assert allowed["decision"] == 1 and allowed["orderNo"] == order["orderNo"] and allowed["allowUntil"] == order["enterEnd"]
    early = ask(soon["plateNo"])
    assert early["decision"] == -1 and early["reasonCode"] == 1127
    assert ask(plate())["decision"] == 0


def test_a_cloud_speaks_for_its_lots(server):
    cloud = server.issue("cloud", ["CL1", "CL2"])
    for park in ("CL1", "CL2"):
        assert server.call(cloud, "lot.info.report", lot_info(park), parkCode=park).code == 0
    assert server.call(cloud, "recon.inlot.count", {}, parkCode="C1").code == 205


def test_mqtt_rights(server, lot):
    """Own credential, own clientId, own topics; anonymous clients and foreign passwords are refused."""
    import threading

    import paho.mqtt.client as mqtt
    from berth import eventually

    def result(username, password, client_id):
        done, seen = threading.Event(), {}
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        if username:
            client.username_pw_set(username, password)
        client.tls_set(ca_certs=server.ca)
        client.on_connect = lambda c, u, f, reason, p: (seen.update(failed=reason.is_failure), done.set())
        client.connect("127.0.0.1", server.mqtt_port)
        client.loop_start()
        assert done.wait(10)
        client.disconnect()
        client.loop_stop()
        return not seen["failed"]
    other = server.lot("MQ2")
    assert not result(None, None, "anon")
    assert not result(other.app_id, lot.mqtt_password, other.client_id)
    assert result(other.app_id, other.mqtt_password, other.client_id)

    mine = Lot(server, server.lot("MQ1")).connect()
    thief = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=mine.key.client_id, protocol=mqtt.MQTTv311)
    thief.username_pw_set(other.app_id, other.mqtt_password)
    thief.tls_set(ca_certs=server.ca)
    heard = []
    thief.on_message = lambda c, u, m: heard.append(m.topic)
    thief.connect("127.0.0.1", server.mqtt_port)
    thief.loop_start()
    eventually(thief.is_connected)
    thief.subscribe("rsp/v1/MQ1/down/#", 1)
    thief.subscribe("#", 1)
    # What it publishes for the other lot never reaches the server.
    forged = envelope(mine.key, "sync.cursor.query", {})
    thief.publish("rsp/v1/MQ1/up/sync.cursor.query", json.dumps(forged), 1).wait_for_publish(5)
    answer = mine.call("sync.cursor.query")
    assert answer["code"] == 0
    assert forged["requestId"] not in mine.replies and heard == []
    assert mine.client.is_connected(), "nobody takes over another's clientId"
    thief.disconnect()
    thief.loop_stop()
    mine.disconnect()


def test_mqtt_speaks_the_same_interface(server, provider):
    lot = Lot(server, server.lot("MQ3")).connect()
    assert lot.call("sys.time.get", {"deviceSendTime": now()})["data"]["serverRecvTime"]
    reply = lot.call("vehicle.entry.report", entry("m1", plate()), epoch="e", seq=1)
    assert reply["code"] == 0 and reply["ackSeq"] == 1 and reply["epoch"] == "e"
    assert lot.call("vehicle.entry.report", entry("m3", plate()), epoch="e", seq=3)["code"] == 610
    # The carrier changes in the middle of the log.
    assert server.call(lot.key, "vehicle.entry.report", entry("m2", plate()), epoch="e", seq=2).json["ackSeq"] == 2
    assert lot.call("vehicle.entry.report", entry("m3", plate()), epoch="e", seq=3)["ackSeq"] == 3
    assert lot.call("no.such.service")["code"] == 103
    order = server.call(provider, "order.create", booking("MQ3")).data
    push = lot.wait(lambda: lot.applied and lot.applied[0])
    assert push["service"] == "order.reserve.push" and push["seq"] == 1 and push["data"]["orderNo"] == order["orderNo"]
    assert push["appId"] == lot.key.app_id and push["data"]["validTo"] == order["enterEnd"]
    from berth import eventually
    eventually(lambda: server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["deliverStatus"] == 2)
    lot.disconnect()


def test_at_most_100_log_entries_in_flight(server):
    """While the disk is slow (here: another writer holds the database), a lot may have 100 entries under way; beyond that 300."""
    import sqlite3
    lot = Lot(server, server.lot("FLOW")).connect()
    blocker = sqlite3.connect(server.data / "berth.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    cars = [entry(f"f{seq}", plate()) for seq in range(121)]
    ids = [lot.publish("vehicle.entry.report", cars[seq], epoch="e", seq=seq) for seq in range(1, 121)]
    lot.wait(lambda: sum(i in lot.replies for i in ids) >= 19)
    time.sleep(0.5)
    early = [lot.replies[i]["code"] for i in ids if i in lot.replies]
    assert set(early) == {300}, "nothing is acknowledged before it is durable"
    blocker.execute("ROLLBACK")
    blocker.close()
    lot.wait(lambda: all(i in lot.replies for i in ids))
    codes = [lot.replies[i]["code"] for i in ids]
    done = codes.count(0)
    assert 100 <= done <= 101 and codes[:done] == [0] * done, codes
    for seq in range(done + 1, 121):
        assert lot.call("vehicle.entry.report", cars[seq], epoch="e", seq=seq)["ackSeq"] == seq
    lot.disconnect()


def test_at_most_100_log_entries_in_flight_over_https(server):
    """The same bound over HTTPS. The 100 go over the lot's one MQTT connection, where nothing overtakes; then one more comes over HTTPS."""
    import sqlite3
    key = server.lot("FLOW2")
    lot = Lot(server, key).connect()
    blocker = sqlite3.connect(server.data / "berth.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    cars = [entry(f"f{seq}", plate()) for seq in range(111)]
    ids = [lot.publish("vehicle.entry.report", cars[seq], epoch="e", seq=seq) for seq in range(1, 111)]
    lot.wait(lambda: ids[-1] in lot.replies)
    last = server.call(key, "vehicle.entry.report", cars[101], epoch="e", seq=101)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert (last.status, last.code, last.headers["Retry-After"]) == (429, 300, "1")
    lot.wait(lambda: all(i in lot.replies for i in ids))
    done = [lot.replies[i]["code"] for i in ids].count(0)
    again = server.call(key, "vehicle.entry.report", cars[done + 1], epoch="e", seq=done + 1)
    assert (again.code, again.json["ackSeq"]) == (0, done + 1), "come again, and it is taken"
    lot.disconnect()
