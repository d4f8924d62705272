"""The same interface over MQTT: what lots do and are refused, told by the same tests over the other carrier."""
import hashlib
import json
import secrets
import threading

import pytest

import test_contract
import test_pictures
import test_services
from berth import Key, Lot, booking, entry, envelope, eventually, lot_info, now, plate


def status_of(code):
    """The HTTP status that the code has by the rule of section 3, so that the same assertions hold."""
    for codes, status in (((0, 611), 200), ((100, 101, 102, 103, 105), 400), ((104, 701), 413), ((200, 201, 202, 203, 206, 208), 401),
                          ((204, 205, 207), 403), ((300, 301, 302), 429), ((400,), 404), ((402, 403, 404, 602, 610, 612, 613, 700, 702), 409),
                          ((501, 502, 503, 600, 601), 503)):
        if code in codes:
            return status
    return 422 if code == 603 or 1000 <= code < 5000 else 500


class Answer:
    def __init__(self, body):
        self.json, self.code, self.data = body, body["code"], body["data"]
        self.status, self.duplicate = status_of(self.code), body.get("duplicate", False)

    def __repr__(self):
        return f"<mqtt {self.json}>"


class OverMQTT:
    """A server whose lots speak MQTT; everybody else goes the usual way."""

    def __init__(self, server, suffix):
        self.server, self.suffix, self.lots = server, suffix, {}

    def __getattr__(self, name):
        return getattr(self.server, name)

    def lot(self, park, *rest, **more):
        key = self.server.lot(park, *rest, **more)
        self.lots[key.app_id] = Lot(self.server, key).connect()
        return key

    def send(self, key, message, **kw):
        lot = self.lots.get(key.app_id)
        if lot is None:
            return self.server.send(key, message, **kw)
        lot.replies.pop(message["requestId"], None)
        lot.client.publish(f"rsp/v1/{key.park}/up/{message['service']}", json.dumps(message, ensure_ascii=False), 1)
        return Answer(lot.wait(lambda: lot.replies.get(message["requestId"]), 15))

    def call(self, key, service, data=None, **extra):
        extra.pop("connection", None)
        return self.send(key, envelope(key, service, data, **extra))

    def close(self):
        for lot in self.lots.values():
            lot.disconnect()


@pytest.mark.parametrize("test", [
    test_contract.test_the_up_log, test_contract.test_records_of_cars, test_services.test_reports_are_kept_by_name,
    test_services.test_records_are_corrected, test_services.test_digest_of_orders, test_pictures.test_refusals_of_pictures,
], ids=lambda t: t.__name__)
def test_the_same_over_mqtt(own_server, test):
    own_server.start()
    server = OverMQTT(own_server, "")
    arguments = {"server": server}
    names = test.__code__.co_varnames[:test.__code__.co_argcount]
    if "provider" in names:
        arguments["provider"] = own_server.issue("provider", rate=10_000)
    if "lot" in names:
        arguments["lot"] = server.lot("PIC", rate=1000)
    if "web" in names:
        import requests
        web = requests.Session()
        web.verify, web.trust_env = own_server.ca, False
        web.headers["Tus-Resumable"] = "1.0.0"
        arguments["web"] = web
    test(**arguments)
    server.close()


def test_every_refusal_of_the_envelope_over_mqtt(server):
    """Section 3 over MQTT: answered on the reply topic with the code, the store as before."""
    key = server.lot("MQERR", rate=1000)
    server.issue("cloud", ["MQA"])
    lot = Lot(server, key).connect()

    def send(message, service=None, raw=None):
        before = len(lot.replies)
        lot.replies.pop(message.get("requestId", ""), None)
        lot.client.publish(f"rsp/v1/MQERR/up/{service or message['service']}", raw or json.dumps(message, ensure_ascii=False), 1)
        return lot.wait(lambda: lot.replies.get(message.get("requestId", "")), 15)["code"]
    ok = lambda service="recon.inlot.count", data=None, **extra: envelope(key, service, data, **extra)
    assert send(ok()) == 0
    lot.replies.pop("", None)
    assert send({"requestId": ""}, "recon.inlot.count", b"{") == 101
    lot.replies.pop("", None)
    assert send({"requestId": ""}, "recon.inlot.count", b"x" * ((1 << 20) + 100)) == 104
    assert send({k: v for k, v in ok().items() if k != "nonce"}) == 100
    assert send({**ok(), "signType": "MD5"}) == 102
    assert send(ok(version="2.0")) == 103 and send(ok(), "sys.time.get") == 103
    assert send(ok(epoch="e", seq=1)) == 105 and send(ok("event.report", {})) == 100
    stranger = Key({"appId": "nobody000", "appSecret": "x"}, "MQERR")
    assert send(envelope(stranger, "recon.inlot.count")) == 200
    assert send({**ok(), "sign": "0" * 64}) == 201
    assert send(ok(timestamp=now() - 301_000)) == 202
    once = ok(nonce="nonce-" + secrets.token_hex(4))
    assert send(once) == 0 and send(once) == 203
    assert send(ok("order.create", booking("MQERR"))) == 204
    assert send(ok(parkCode="MQA")) == 205
    kept = ok("space.remain.report", {"total": 10, "remain": 5})
    assert send(kept) == 0
    assert send(ok("space.remain.report", {"total": 10, "remain": 6}, requestId=kept["requestId"])) == 404
    paid = {"payNo": secrets.token_hex(8), "recordNo": "r", "payType": 1, "amount": 500, "payTime": now()}
    assert send(ok("payment.record.report", paid, epoch="m", seq=1)) == 0
    assert send(ok("payment.record.report", {**paid, "amount": 1}, epoch="m", seq=2)) == 1404
    assert send(ok("vehicle.preentry.check", {"gateCode": "G1", "plateNo": "ABC", "plateColor": 0, "captureTime": now()})) == 0, "a reading need not be a plate"
    lot.disconnect()
    slow = server.lot("MQSLOW", rate=1)
    lot = Lot(server, slow).connect()
    codes = {lot.call("recon.inlot.count")["code"] for _ in range(4)}
    assert codes == {0, 301}
    lot.disconnect()


def test_an_old_secret_over_mqtt(tmp_path):
    """208 on the reply topic: a message that is signed with a secret whose time is over."""
    from berth import Server
    from test_keys import Other, rotate
    server = Server(tmp_path, secret__graceSeconds=0).start()
    key = server.lot("P1")
    new = Other(key, rotate(server, key))
    assert server.call(new, "recon.inlot.count").code == 0
    lot = Lot(server, new)
    lot.check = key
    eventually(lambda: lot.connect(wait=False) and lot.online.wait(3))
    message = envelope(key, "recon.inlot.count")
    seen = []
    lot.client.on_message = lambda c, u, m: seen.append(json.loads(m.payload))
    lot.client.publish("rsp/v1/P1/up/recon.inlot.count", json.dumps(message), 1)
    eventually(lambda: [b for b in seen if b["requestId"] == message["requestId"] and b["code"] == 208])
    from berth import note
    note("mqtt", "recon.inlot.count", 208)
    lot.disconnect(clean=False)
    server.stop()


def test_every_event_of_the_dictionary(server):
    """Section 11: each event is taken over the up log and kept under its number, and so is one that the dictionary does not know."""
    from berth import ROOT, note
    events = [e["code"] for e in json.loads((ROOT / "Sources/BerthWire/Profile/berth-1.0/events.json").read_text())]
    key = server.lot("EVENTS", rate=1000)
    lot = Lot(server, key).connect()
    for seq, number in enumerate(events + [9001, 8999], 1):
        answer = lot.call("event.report", {"eventId": f"e{number}", "eventType": number, "level": 2, "occurTime": now(), "detail": {"x": 1}}, epoch="e", seq=seq)
        assert answer["code"] == 0, (number, answer)
        note("mqtt", f"event {number}", 0)
    kept = {t for (t,) in server.sql("SELECT type FROM notices WHERE lot = 'EVENTS'")}
    assert kept >= set(events) | {9001, 8999}
    lot.disconnect()


def test_what_the_gate_is_told_over_mqtt(own_server):
    """The reasons of a pre-entry check (1014 blacklisted, 1127 too early), and 501 when the server's disk takes nothing."""
    from test_resume import limit_files
    server = own_server.start()
    key, provider, operator = server.lot("P1", rate=1000), server.issue("provider", rate=1000), server.issue("operator", rate=1000)
    lot = Lot(server, key).connect()
    ask = lambda number: lot.call("vehicle.preentry.check", {"gateCode": "G1", "plateNo": number, "plateColor": 0, "captureTime": now()})["data"]
    bad = plate()
    assert server.call(operator, "list.black.push", {"plateNo": bad, "plateColor": 0, "status": 1}, park="P1").code == 0
    early = server.call(provider, "order.create", booking("P1")).data
    assert (ask(bad)["decision"], ask(bad)["reasonCode"]) == (-1, 1014)
    assert (ask(early["plateNo"])["decision"], ask(early["plateNo"])["reasonCode"]) == (-1, 1127)
    lot.wait(lambda: lot.ack == 2)
    eventually(lambda: server.sql("SELECT down_ack FROM positions") == [(2,)])
    limit_files(server.process.pid, 4096)
    car = entry("r1", plate())
    full = lot.call("vehicle.entry.report", car, epoch="e", seq=1)
    assert full["code"] == 501
    limit_files(server.process.pid, -1)
    again = eventually(lambda: (reply := lot.call("vehicle.entry.report", car, epoch="e", seq=1))["code"] != 501 and reply)
    assert again["code"] == 0 and again["ackSeq"] == 1 and not again.get("duplicate"), "what was not consumed is taken when there is room"
    lot.disconnect()
