"""Section 9: every service of the catalogue takes what its shape says, and refuses what it does not."""
import hashlib
import http.client
import json
import secrets
import threading
import time
import uuid

import pytest

from berth import Lot, booking, entry, envelope, eventually, exit_, now, plate
from catalogue import SERVICES, fields, message, wrong

MINUTE = 60_000


@pytest.fixture(scope="module")
def parties(server):
    lot = server.lot("SHAPE", rate=100_000)  # raised: this is not about the rate limit
    return {"lot": lot, "provider": server.issue("provider", rate=100_000), "operator": server.issue("operator", rate=100_000),
            "web": server.issue("web", rate=100_000)}


def callers(service):
    if service["direction"] == "callback":
        return []
    return [r for r in service["roles"] if service["direction"] != "down" or r in ("provider", "operator")]


SEQ = {"n": 0}


def send(server, parties, service, data):
    """A call by the first role that may; an entry of the up log as the next of its epoch."""
    role = callers(service)[0]
    key = parties["lot" if role == "cloud" else role]
    extra = {}
    if service["direction"] == "up" and service["kind"] == "log":
        SEQ["n"] += 1
        extra = {"epoch": SEQ.setdefault("epoch", uuid.uuid4().hex[:8]), "seq": SEQ["n"]}
    return server.call(key, service["name"], data, park="SHAPE", **extra)


CONTEXT = {"parkCode": "SHAPE", "scene": "ORDER", "bizCode": "hospital", "action": "OPEN", "stream": "up", "ext": "jpg",
           "channel": "sandbox", "repeatType": "daily", "service": "event.report"}
CHOSEN = {"space.lock.control": {"action": "UP"}, "vehicle.record.correct": {"correctType": 4}}
#: What a good message needs beyond its mandatory fields: "one of these", as the reference says.
COMPLETED = {
    "lot.info.report": lambda: {"lotType": 4, "totalSpace": 9, "reserveSpace": 9, "reserveEnabled": True},
    "lot.gate.report": lambda: {"gates": [{"gateCode": "G1", "gateName": "北门", "direction": 1}]},
    "order.modify": lambda: {"planTime": now() + 50 * MINUTE}, "order.detail": lambda: {"orderNo": "YY1"},
    "fee.query": lambda: {"orderNo": "YY1"}, "sync.batch.report": lambda: {"entries": []},
    "share.offer.publish": lambda: {"count": 2}, "share.offer.update": lambda: {"price": {"mode": 2, "amount": 500}},
    "policy.set": lambda: {"scope": "lot:SHAPE", "values": {"lateMin": 30}}, "calendar.set": lambda: {"kind": "normal"},
    "flow.policy.set": lambda: {"parkCode": "SHAPE"}, "flow.policy.preview": lambda: {"parkCode": "SHAPE"},
    "saturation.query": lambda: {"parkCode": "SHAPE"}, "share.review": lambda: {"offerId": "SO1"},
    "ledger.statement.query": lambda: {"account": "lot"}, "share.auth.push": lambda: {"validTo": now() + 60 * MINUTE},
    "vehicle.bind": lambda: {"ownerToken": "o"}, "vehicle.unbind": lambda: {"userToken": "u"}, "vehicle.list": lambda: {"ownerToken": "o"},
    "lot.search": lambda: {"lng": "114.05", "lat": "22.54"}, "person.save": lambda: {"login": secrets.token_hex(8), "userToken": secrets.token_hex(8)},
    "share.list": lambda: {"userToken": "u"}, "share.offer.list": lambda: {"providerToken": "o"},
    "person.find": lambda: {"personId": "nobody"}, "person.code.check": lambda: {"login": secrets.token_hex(8)}, "policy.preview": lambda: {"scope": "lot:SHAPE", "values": {"lateMin": 30}},
}
FACTS = ("vehicle.entry.report", "vehicle.exit.report")
CALLABLE = [s for s in SERVICES if callers(s)]


@pytest.mark.parametrize("service", CALLABLE, ids=lambda s: s["name"])
def test_shapes(server, parties, service):
    """Each mandatory field left out is 100, each field of the wrong type 102 (a plate that cannot be 1010); a good message is neither."""
    shape = fields(service["request"])
    context = {**CONTEXT, "plateNo": plate()}
    context |= CHOSEN.get(service["name"], {})
    good = message(shape, context) | COMPLETED.get(service["name"], lambda: {})()
    for field in shape:
        if field.required:
            less = {k: v for k, v in good.items() if k != field.name}
            reply = send(server, parties, service, less)
            assert (reply.status, reply.code) == (400, 100), (field.name, reply)
            reply = send(server, parties, service, {**less, field.name: None})
            assert reply.code == 100, (field.name, reply)
        if field.type != "any":
            reply = send(server, parties, service, {**good, field.name: wrong(field)})
            if service["name"] in FACTS and not field.required:
                # A car that came in is a fact: a wrong optional field never loses its record (section 5.5).
                assert reply.code not in (100, 102), (field.name, reply)
            else:
                assert (reply.status, reply.code) == (400, 102), (field.name, reply)
        if field.type == "plateNo" and not field.count:
            reply = send(server, parties, service, {**good, field.name: "ABC"})
            assert (reply.status, reply.code) == (422, 1010), (field.name, reply)
    reply = send(server, parties, service, {**good, "unknownField": {"ignored": [1, 2, 3]}})
    assert reply.code not in (100, 101, 102, 103, 104, 105, 500), reply


@pytest.mark.parametrize("service", SERVICES, ids=lambda s: s["name"])
def test_roles(server, parties, service):
    """Who may not call a service is refused: 204, or 103 for a message that nobody calls at the server."""
    for role in ("lot", "provider", "operator"):
        if role in callers(service):
            continue
        reply = server.call(parties[role], service["name"], {}, park="SHAPE")
        assert reply.code == (204 if callers(service) else 103), (role, reply)


def log(server, key, service, data, _seq={}):
    _seq[key.app_id] = _seq.get(key.app_id, 0) + 1
    return server.call(key, service, data, epoch="e1", seq=_seq[key.app_id])


def test_reports_are_kept_by_name(server):
    key = server.lot("KEEP")
    rows = lambda kind: server.reports("KEEP", kind)
    assert server.call(key, "lot.space.report", {"spaces": [{"spaceNo": "A1", "floor": "B1"}, {"spaceNo": "A2"}]}).data == {"accepted": 2}
    assert rows("space") == {"A1": {"spaceNo": "A1", "floor": "B1"}, "A2": {"spaceNo": "A2"}}
    assert server.call(key, "lot.space.report", {"spaces": [{"spaceNo": "A1", "op": 3}, {"spaceNo": "A2", "secret": 1}]}).code == 0
    assert rows("space") == {"A2": {"spaceNo": "A2"}}, "gone is gone, and an unknown field is not kept"
    assert server.call(key, "space.status.report", {"items": [{"spaceNo": "A2", "status": 1}]}).code == 0
    assert server.call(key, "space.status.report", {"items": [{"spaceNo": "A9", "status": 1}]}).code == 1005
    assert rows("spaceStatus") == {"A2": {"spaceNo": "A2", "status": 1}}
    assert server.call(key, "device.status.report", {"devices": [{"deviceCode": "C1", "type": 1, "status": 1}]}).code == 0
    tariff = {"tariffId": "T1", "effectiveFrom": now(), "rules": [{"freeMin": 15, "stepMin": 60, "stepFee": 500}], "dailyCap": 5000}
    assert server.call(key, "lot.tariff.report", tariff).code == 0 and rows("tariff")[f"T1@{tariff['effectiveFrom']}"]["dailyCap"] == 5000
    one, two = plate(), plate()
    assert log(server, key, "list.local.report", {"listType": 1, "complete": True, "items": [{"plateNo": one}, {"plateNo": two}]}).code == 0
    assert log(server, key, "list.local.report", {"listType": 3, "items": [{"plateNo": one}]}).code == 0
    assert log(server, key, "list.local.report", {"listType": 1, "complete": True, "items": []}).code == 0
    assert rows("list1") == {} and list(rows("list3")) == [one]
    offer = {"offerId": "O1", "spaceNo": "A2", "segments": [{"repeatType": "weekly", "repeatData": [1, 2], "start": "18:00", "end": "24:00"}]}
    assert log(server, key, "share.space.report", {"offers": [offer]}).data == {"accepted": 1}
    kept = rows("=sharedOffer")["O1"]
    assert (kept["spaceNo"], kept["segments"][0]["days"], kept["status"]) == ("A2", [1, 2], 2)


def test_records_are_corrected(server):
    key = server.lot("FIX")
    number = plate()
    inside = entry("f1", number)
    assert log(server, key, "vehicle.entry.report", inside).code == 0
    assert server.call(key, "recon.inlot.list", {"detailType": 2}).data["items"] == [
        {"recordNo": "f1", "plateNo": number, "enterTime": inside["enterTime"]}]
    pre = {"recordNo": "f1", "plateNo": number, "gateCode": "G2", "leaveTime": now()}
    assert server.call(key, "vehicle.preexit.report", pre).data == {"recordNo": "f1", "billingParty": 1, "release": True}
    assert server.call(key, "vehicle.preexit.report", {**pre, "recordNo": "f9"}).code == 1134
    fix = lambda kind, **after: log(server, key, "vehicle.record.correct", {"recordNo": "f1", "correctType": kind, "after": after})
    assert fix(3, totalFee=700).code == 1502, "not while the car is inside"
    assert log(server, key, "vehicle.exit.report", exit_(inside, inside["enterTime"] + MINUTE)).code == 0
    body = lambda: json.loads(server.sql("SELECT body FROM visits WHERE lot = 'FIX' AND record_no = 'f1'")[0][0])
    right = plate()
    assert fix(1, plateNo=right).code == 0 and server.open(body()["p"]) == right
    assert fix(2, leaveTime=inside["enterTime"] + 2 * MINUTE).code == 0 and body()["lt"] - body()["et"] == 2 * MINUTE
    assert fix(3, totalFee=700).code == 0 and body()["fee"] == 700
    assert fix(2).code == 100 and fix(5, recordNo="f8").code == 1134
    assert fix(4).code == 0 and body()["void"] is True
    assert fix(3, totalFee=1).code == 1134, "what is void cannot be corrected again"
    assert [t for (t,) in server.sql("SELECT type FROM notices WHERE lot = 'FIX' AND type IN (1012, 1013) ORDER BY id")] == [1012, 1012, 1012, 1013]


def test_digest_of_orders(server, provider):
    key = server.lot("DIG")
    orders = [server.call(provider, "order.create", booking("DIG")).data for _ in range(3)]
    server.call(provider, "order.cancel", {"orderNo": orders[0]["orderNo"]})
    lines = sorted(f"{o['orderNo']}:{o['orderVer']}" for o in orders[1:])
    answer = server.call(key, "recon.order.digest").data
    assert answer["count"] == 2 and answer["digest"] == hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_delay_once(server, provider):
    key = server.lot("DELAY")
    order = server.call(provider, "order.create", booking("DELAY")).data
    later = server.call(provider, "order.delay", {"orderNo": order["orderNo"], "reason": "堵车"})
    assert "delayed" not in order and later.data["delayed"] is True
    assert later.code == 0 and later.data["enterEnd"] == order["enterEnd"] + 30 * MINUTE and later.data["orderVer"] == 2
    assert server.call(provider, "order.delay", {"orderNo": order["orderNo"]}).code == 1126
    assert server.call(provider, "order.delay", {"orderNo": "YY0"}).code == 1120
    told = server.call(key, "sync.down.pull", {"afterSeq": 0, "waitMs": 0}).data["entries"][-1]
    assert told["service"] == "order.reserve.modify" and told["data"]["enterEnd"] == later.data["enterEnd"]


def test_vehicles_belong_to_one_user(server):
    provider, other = server.issue("provider", rate=1000), server.issue("provider", rate=1000)
    number = plate()
    bind = lambda key, user: server.call(key, "vehicle.bind", {"userToken": user, "plateNo": number, "plateColor": 0}).code
    assert bind(provider, "u1") == 0 and bind(provider, "u1") == 0 and bind(provider, "u2") == 1013 and bind(other, "u1") == 1013
    assert server.call(provider, "vehicle.list", {"userToken": "u1"}).data["vehicles"] == [{"plateNo": number, "plateColor": 0}]
    assert server.call(provider, "vehicle.list", {"ownerToken": "u1"}).data["vehicles"] == [{"plateNo": number, "plateColor": 0}]
    operator = server.issue("operator")
    seen = server.call(operator, "vehicle.list", {"userToken": "u1", "appId": provider.app_id}).data["vehicles"]
    assert len(seen) == 1 and seen[0]["plateNo"] != number and "***" in seen[0]["plateNo"], "an operator sees it masked"
    assert server.call(operator, "user.credit.query", {"userToken": "u1", "appId": provider.app_id}).data["counters"]
    assert server.call(operator, "share.income.query", {"providerToken": "o1", "appId": provider.app_id}).data["rows"] == []
    verify = lambda key, user: server.call(key, "vehicle.verify", {"plateNo": number, "userToken": user, "plateColor": 0}).data
    assert verify(provider, "u1") == {"plateNo": number, "fits": True, "bound": True} and verify(other, "u1")["bound"] is False
    assert server.call(provider, "vehicle.bind", {"userToken": "u1", "plateNo": "粤BD12345", "plateColor": 1}).code == 1011
    unbind = lambda key, user: server.call(key, "vehicle.unbind", {"userToken": user, "plateNo": number}).code
    assert unbind(other, "u1") == 1013 and unbind(provider, "u1") == 0 and bind(other, "u9") == 0


def test_credit_shows_counters_before_they_hurt(server):
    provider = server.issue("provider", rate=1000)
    server.lot("CREDIT")
    data = booking("CREDIT")
    used = lambda: {c["name"]: (c["used"], c["max"]) for c in server.call(
        provider, "user.credit.query", {"userToken": data["userToken"]}).data["counters"]}
    assert used()["cancelMaxPerDay"] == (0, 3)
    order = server.call(provider, "order.create", data).data["orderNo"]
    assert server.call(provider, "order.cancel", {"orderNo": order}).code == 0
    assert used()["cancelMaxPerDay"] == (1, 3) and used()["cancelMaxPerMonth"] == (1, 5)


def test_operator_messages_stand_in_the_log_and_in_snapshots(server):
    key, operator = server.lot("POST"), server.issue("operator", rate=1000)
    bad, good = plate(), plate()
    push = lambda service, **data: server.call(operator, service, data, park="POST").code
    assert push("list.black.push", plateNo=bad, plateColor=0, status=1, reason="欠费") == 0
    assert push("list.white.push", plateNo=good, plateColor=0, status=1) == 0
    assert push("flow.policy.push", policyId="F1", mode=1, validFrom=now(), validTo=now() + MINUTE) == 0
    assert push("config.push", heartbeatSec=15) == 0
    assert server.call(operator, "config.push", {"heartbeatSec": 15}, park="NOWHERE").code == 1000
    entries = server.call(key, "sync.down.pull", {"afterSeq": 0, "waitMs": 0}).data["entries"]
    assert [e["service"] for e in entries] == ["list.black.push", "list.white.push", "flow.policy.push", "config.push"]
    assert entries[0]["data"] == {"plateNo": bad, "plateColor": 0, "status": 1, "reason": "欠费"}
    snapshot = server.call(key, "sync.snapshot.query").data
    assert entries[0]["data"] == snapshot["blackList"][-1] and snapshot["config"] == [{"heartbeatSec": 15}]
    ask = lambda number: server.call(key, "vehicle.preentry.check", {
        "gateCode": "G1", "plateNo": number, "plateColor": 0, "captureTime": now()}).data
    assert (ask(bad)["decision"], ask(bad)["reasonCode"]) == (-1, 1014) and ask(good)["decision"] == 1
    assert push("list.black.push", plateNo=bad, plateColor=0, status=-1) == 0
    # No longer on the list: what is left is flow control, which lets nobody in without a booking.
    assert (ask(bad)["decision"], ask(bad)["reasonCode"]) == (-1, 302)
    assert bad not in [row["plateNo"] for row in server.call(key, "sync.snapshot.query").data["blackList"]]
    assert server.call(key, "sync.snapshot.query").data["flowPolicies"][0]["policyId"] == "F1"


def test_live_messages(server):
    """Asked of the lot over MQTT and answered by it; 600 when it is away, 502 when it does not answer, its own code when it refuses."""
    key, operator = server.lot("LIVE"), server.issue("operator", rate=1000)
    control = lambda **data: server.call(operator, "gate.control", {"gateCode": "G1", "action": "OPEN", **data}, park="LIVE")
    away = control()
    assert (away.status, away.code) == (503, 600)
    lot = Lot(server, key, answer=False).connect()
    eventually(lambda: server.sql("SELECT count(*) FROM notices WHERE lot = 'LIVE' AND type = 6001")[0][0] == 1)

    def answering(code, data):
        seen = len(lot.received)
        thread = threading.Thread(target=lambda: (lot.wait(lambda: len(lot.received) > seen), reply(lot.received[seen], code, data)))
        thread.start()
        return thread

    def reply(body, code, data):
        from berth import sign
        assert "epoch" not in body and "seq" not in body
        message = {"version": "1.0", "requestId": body["requestId"], "appId": key.app_id, "service": body["service"], "parkCode": "LIVE",
                   "timestamp": now(), "nonce": uuid.uuid4().hex[:16], "code": code, "message": "", "data": data}
        message["sign"] = sign(message, key.secret)
        lot.client.publish("rsp/v1/LIVE/up/reply", json.dumps(message), 1)
    for code, data, status in ((0, {"executed": True}, 200), (601, {}, 503), (602, {}, 409), (7777, {}, 422)):
        thread = answering(code, data)
        answer = control(operator="张三", reason="测试")
        thread.join()
        assert (answer.status, answer.code, answer.data) == (status, 603 if code == 7777 else code, data)
    started = time.time()
    late = control(ttlMs=700)
    assert (late.status, late.code) == (503, 502) and 0.6 < time.time() - started < 3
    assert control(action="EXPLODE").code == 102
    lot.disconnect()


def test_a_payment_from_fee_to_refund(own_server, tmp_path):
    """D09 relayed to the PMS through the gateway, A13 by the sandbox, D11 and D12 in the down log until the lot has them; a payNo pays once."""
    from test_resume import Gateway
    server = own_server.start()
    key, provider = server.issue("lot", "P1"), server.issue("provider", rate=1000)
    gateway = Gateway(server, tmp_path, [(key, {})]).start()
    eventually(lambda: gateway.status()["synchronised"])
    order = server.call(provider, "order.create", booking("P1", now() + 10 * MINUTE)).data
    fee = lambda: server.call(provider, "fee.query", {"orderNo": order["orderNo"], "scene": 0})
    assert fee().code == 1134, "the car is not inside"
    eventually(lambda: order["orderNo"] in gateway.in_force("P1"))
    record = gateway.pms("P1", "entry", plateNo=order["plateNo"], plateColor=0, gateCode="G1")[1]["recordNo"]
    eventually(lambda: server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["status"] == 2)
    assert fee().code == 601, "no PMS listens"
    done = threading.Event()

    def pms():
        while not done.is_set():
            for command in gateway.get("/pms/P1/commands?waitMs=500"):
                assert command["service"] == "fee.query" and command["data"]["recordNo"] == record
                bill = {"recordNo": record, "billNo": f"B{time.time_ns()}", "enterTime": now() - MINUTE, "parkSeconds": 60,
                        "total": 1000, "free": 200, "paid": 0, "payable": 800, "billingParty": 1, "notInTheContract": 1}
                assert gateway.pms("P1", "answer", id=command["id"], code=0, data=bill)[0] == 200
    worker = threading.Thread(target=pms)
    worker.start()
    eventually(lambda: fee().code == 0)
    bill = fee().data
    assert bill["payable"] == 800 and bill["expireAt"] > now() and "notInTheContract" not in bill
    pay = lambda **change: server.call(provider, "pay.create", {
        "billNo": bill["billNo"], "payNo": "pay1", "amount": 800, "channel": "sandbox", **change})
    assert pay(billNo="B0").code == 1400 and pay(amount=799).code == 1403 and pay(channel="bank").code == 102
    refused = fee().data["billNo"]
    assert pay(billNo=refused, payNo="pay0", channel="sandbox-fail").data["state"] == 0
    query = lambda number: server.call(provider, "pay.query", {"payNo": number})
    eventually(lambda: query("pay0").data["state"] == 2)
    begun = pay()
    assert begun.code == 0 and begun.data["state"] == 0
    assert pay().duplicate and pay(amount=1).code == 404 and pay(payNo="pay2").code == 1404
    eventually(lambda: query("pay1").data["state"] == 1)
    pushed = eventually(lambda: gateway.get("/pms/P1/inbox"))
    assert [(m["service"], m["data"]["payNo"], m["data"]["paid"]) for m in pushed] == [("payment.result.push", "pay1", 800)]
    eventually(lambda: server.sql("SELECT count(*) FROM down_log WHERE settled = 0")[0][0] == 0)
    refund = lambda number, amount: server.call(provider, "refund.apply", {"payNo": "pay1", "refundNo": number, "amount": amount})
    assert refund("r1", 300).data["refunded"] == 300 and refund("r1", 300).duplicate and refund("r1", 301).code == 404
    assert refund("r2", 501).code == 1411 and refund("r3", 500).data["refunded"] == 800 and query("pay1").data["state"] == 3
    assert refund("r4", 1).code == 1410 and server.call(provider, "refund.apply", {"payNo": "no", "refundNo": "r", "amount": 1}).code == 1405
    eventually(lambda: [m["service"] for m in gateway.get("/pms/P1/inbox")] == ["payment.result.push"] + ["refund.result.push"] * 2)
    last = gateway.get("/pms/P1/inbox")[-1]["id"]
    assert gateway.pms("P1", "inbox", through=last)[0] == 200 and gateway.get("/pms/P1/inbox") == []
    # A payment that is pending when the server dies is concluded after it comes up, once.
    third = fee().data["billNo"]
    assert pay(billNo=third, payNo="pay3").data["state"] == 0
    server.kill()
    server.start()
    eventually(lambda: query("pay3").data["state"] == 1)
    eventually(lambda: [m["data"]["payNo"] for m in gateway.get("/pms/P1/inbox")] == ["pay3"], 40)
    # Taken at the lot: the number counts once in the whole city.
    taken = {"payNo": "cash1", "recordNo": record, "payType": 1, "amount": 500, "payTime": now()}
    other = server.lot("P2")
    assert server.call(other, "payment.record.report", taken, epoch="e", seq=1).code == 0
    assert server.call(other, "payment.record.report", taken, epoch="e", seq=2).duplicate
    assert server.call(other, "payment.record.report", {**taken, "amount": 1}, epoch="e", seq=3).code == 1404
    assert server.call(other, "payment.result.query", {"payNo": "cash1"}).data["amount"] == 500
    assert query("cash1").code == 1405, "not this provider's payment"
    done.set()
    worker.join()
    gateway.process.stop()


def test_a_pms_answers_what_an_operator_asks(own_server, tmp_path):
    """Gates, a picture and an estimate: the operator's question goes to the PMS behind the gateway, and its answer comes back as the contract has it."""
    from test_resume import Gateway
    server = own_server.start()
    key, operator = server.issue("lot", "P1"), server.issue("operator", rate=1000)
    gateway = Gateway(server, tmp_path, [(key, {})]).start()
    eventually(lambda: gateway.status()["synchronised"])
    estimate = {"recordNo": "R1", "billNo": "E1", "plateNo": plate(), "enterTime": now() - MINUTE, "parkSeconds": 60, "total": 1000, "free": 300,
                "payable": 700, "billingParty": 1}
    answers = {"gate.status.query": {"gates": [{"gateCode": "G1", "online": True, "boom": 1}, {"gateCode": "G2", "online": False, "boom": 0}]},
               "gate.capture": {"imageId": "IMG-1"}, "fee.estimate": estimate}
    done, seen = threading.Event(), []

    def pms():
        while not done.is_set():
            for command in gateway.get("/pms/P1/commands?waitMs=500"):
                seen.append((command["service"], command["data"]))
                assert gateway.pms("P1", "answer", id=command["id"], code=0, data=answers[command["service"]])[0] == 200
    worker = threading.Thread(target=pms, daemon=True)
    worker.start()
    ask = lambda service, data: eventually(lambda: (reply := server.call(operator, service, data, park="P1")).code == 0 and reply)
    questions = [("gate.status.query", {"gateCode": "G1"}), ("gate.capture", {"gateCode": "G1"}), ("fee.estimate", {"recordNo": "R1", "freeAmount": 300})]
    for service, data in questions:
        assert ask(service, data).data == answers[service]
        assert (service, data) in seen
    done.set()
    worker.join()
    gateway.process.stop()


def test_the_gateway_keeps_what_the_platform_sets(own_server, tmp_path):
    """Black and white lists work at the gate with the line down, and come back from a snapshot after the lot lost its disk."""
    from test_resume import Gateway
    server = own_server.start()
    key, operator = server.issue("lot", "P1"), server.issue("operator", rate=1000)
    gateway = Gateway(server, tmp_path, [(key, {})]).start()
    eventually(lambda: gateway.status()["synchronised"])
    bad, good = plate(), plate()
    for service, number in (("list.black.push", bad), ("list.white.push", good)):
        assert server.call(operator, service, {"plateNo": number, "plateColor": 0, "status": 1}, park="P1").code == 0
    eventually(lambda: server.sql("SELECT count(*) FROM down_log WHERE settled = 0")[0][0] == 0)
    ask = lambda what, **data: server.call(operator, what, data, park="P1")
    assert ask("space.realtime.query").data == {"total": 20_000, "occupied": 0, "remain": 20_000}
    assert ask("order.query", orderNo="YY1").data == {"orderNo": "YY1", "known": False}
    assert abs(ask("time.sync", serverSendTime=now()).data["deviceRecvTime"] - now()) < 2000
    assert ask("gate.status.query").code == 601, "only the PMS knows its gates, and none listens"
    for file in ([], sorted(tmp_path.glob("spool.sqlite*"))):
        gateway.process.kill()
        for path in file:
            path.unlink()
        gateway.start()
        eventually(lambda: gateway.status()["synchronised"])
        gate = lambda number: gateway.pms("P1", "decide", plateNo=number, plateColor=0, gateCode="G1")[1]
        eventually(lambda: gate(bad)["reasonCode"] == 1014)
    server.stop()
    eventually(lambda: not gateway.status()["online"])
    assert gate(bad)["by"] == "local" and gate(bad)["admit"] is False and gate(bad)["reasonCode"] == 1014
    assert gate(good)["by"] == "local" and gate(good)["admit"] is True
    gateway.process.stop()


def test_what_the_city_bills(server):
    """A shared session is billed by the city (billingParty 2): by the lot's tariff for sharing, without asking the lot; paid once, and free to go."""
    provider, other = server.issue("provider", rate=1000), server.issue("provider")
    key = server.lot("SHARED", shareSpace=5, shareEnabled=True, rate=1000)
    server.cli("lots", "set", "--park", "SHARED", "shareWindow=00:00-24:00")
    say = lambda seq, service, data: server.call(key, service, data, epoch="e", seq=seq)
    tariff = lambda id, fee, **more: server.call(key, "lot.tariff.report", {
        "tariffId": id, "effectiveFrom": now() - 1000, "rules": [{"freeMin": 15, "stepMin": 60, "stepFee": fee}], "overtimeMultiplierPct": 200, **more}).code
    assert tariff("T0", 300) == 0 and tariff("T2", 700, bizType=2) == 0
    order = server.call(provider, "order.create", booking("SHARED", now() + 20 * MINUTE, bizType=2)).data
    assert order["leaveDeadline"]
    inside = entry("s1", order["plateNo"], enter=now() - 90 * MINUTE, order=order["orderNo"], carKind=6)
    assert say(1, "vehicle.entry.report", inside).code == 0
    fee = lambda who=provider, **more: server.call(who, "fee.query", {"orderNo": order["orderNo"], **more})
    bill = fee().data
    assert (bill["total"], bill["payable"], bill["billingParty"], bill["recordNo"]) == (1400, 1400, 2, "s1"), "two started hours by the tariff for sharing"
    assert fee(other).code == 1120
    leaving = {"recordNo": "s1", "plateNo": order["plateNo"], "gateCode": "G2", "leaveTime": now()}
    pre = server.call(key, "vehicle.preexit.report", leaving).data
    assert (pre["billingParty"], pre["payable"], pre["release"], pre["orderNo"]) == (2, 1400, False, order["orderNo"])
    pay = lambda no, amount=1400: server.call(provider, "pay.create", {"billNo": bill["billNo"], "payNo": no, "amount": amount, "channel": "sandbox"})
    assert pay("city1", 1).code == 1403 and pay("city1").code == 0
    eventually(lambda: server.call(provider, "pay.query", {"payNo": "city1"}).data["state"] == 1)
    assert pay("city2").code == 1404
    pre = server.call(key, "vehicle.preexit.report", leaving).data
    assert (pre["payable"], pre["release"]) == (0, True)
    pushed = [e for e in server.call(key, "sync.down.pull", {"afterSeq": 0}).data["entries"] if e["service"] == "payment.result.push"]
    assert [e["data"]["payNo"] for e in pushed] == ["city1"]
    nothing = fee().data
    assert nothing["payable"] == 0
    assert server.call(provider, "pay.create", {"billNo": nothing["billNo"], "payNo": "city3", "amount": 0, "channel": "sandbox"}).code == 1401


def test_a_bill_has_its_time(own_server):
    """1402: a bill is good for five minutes, also over a restart; then the fee is asked again."""
    server = own_server.start()
    provider = server.issue("provider", rate=1000)
    key = server.lot("P1", shareSpace=5, shareEnabled=True, rate=1000)
    server.cli("lots", "set", "--park", "P1", "shareWindow=00:00-24:00")
    server.call(key, "lot.tariff.report", {"tariffId": "T", "effectiveFrom": now() - 1000, "rules": [{"stepMin": 60, "stepFee": 500}]})
    order = server.call(provider, "order.create", booking("P1", now() + 20 * MINUTE, bizType=2)).data
    server.call(key, "vehicle.entry.report", entry("s1", order["plateNo"], enter=now() - MINUTE, order=order["orderNo"], carKind=6), epoch="e", seq=1)
    bill = server.call(provider, "fee.query", {"orderNo": order["orderNo"]}).data
    assert bill["payable"] == 500 and 0 < bill["expireAt"] - now() <= 5 * MINUTE
    server.stop()
    server.write("UPDATE bills SET body = json_set(body, '$.x', ?)", now() - 1)
    server.start()
    pay = lambda bill, no: server.call(provider, "pay.create", {"billNo": bill, "payNo": no, "amount": 500, "channel": "sandbox"})
    assert pay(bill["billNo"], "p1").code == 1402
    again = server.call(provider, "fee.query", {"orderNo": order["orderNo"]}).data
    assert pay(again["billNo"], "p1").code in (0, 404)


def test_a_lot_that_cannot_say_the_fee(server):
    """1406: the lot answers without a bill."""
    provider, key = server.issue("provider", rate=1000), server.lot("NOFEE", rate=1000)
    lot = Lot(server, key).connect()
    order = server.call(provider, "order.create", booking("NOFEE", now() + 20 * MINUTE)).data
    assert lot.call("vehicle.entry.report", entry("n1", order["plateNo"], order=order["orderNo"]), epoch="e", seq=1)["code"] == 0
    lot.wait(lambda: lot.ack == 1)
    lot.answer = lambda body: _reply(lot, body, 0, {"recordNo": "n1"})
    failed = server.call(provider, "fee.query", {"orderNo": order["orderNo"]})
    assert (failed.status, failed.code) == (422, 1406)
    lot.disconnect()


def _reply(lot, body, code, data):
    from berth import sign
    message = {"version": "1.0", "requestId": body["requestId"], "appId": lot.key.app_id, "service": body["service"], "parkCode": lot.key.park,
               "timestamp": now(), "nonce": uuid.uuid4().hex[:16], "code": code, "message": "", "data": data}
    message["sign"] = sign(message, lot.key.secret)
    lot.client.publish(f"rsp/v1/{lot.key.park}/up/reply", json.dumps(message), 1)
