"""Every way to connect: HTTPS callback to lots, clouds and providers, a cloud of 50 lots, subscriptions; and where we may not be steered."""
import json
import threading
import time
import uuid

import pytest

from berth import Lot, Server, booking, entry, envelope, eventually, exit_, lot_info, now, plate, sign
from callback import Callback, certificate

MINUTE = 60_000


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("party"))


@pytest.fixture(scope="module")
def city(tmp_path_factory, pem):
    """Loopback addresses may be called here, which the default forbids; retries are short. Both are settings, and said so."""
    server = Server(
        tmp_path_factory.mktemp("ways"), callback__allowPrivate="true", callback__ca=pem[0], callback__retrySeconds="1,1,1").start()
    yield server
    server.stop()


@pytest.fixture
def party(pem):
    party = Callback(*pem)
    yield party
    party.close()


def issue(server, party, role, park=None, **more):
    key = server.issue(role, park, rate=1000)  # raised: this is not about the rate limit
    server.cli("keys", "set", "--app-id", key.app_id, "--callback", party.url)
    party.secrets[key.app_id] = key.secret
    return key


def settled(server, lot, seq):
    return eventually(lambda: server.sql("SELECT down_ack FROM positions WHERE lot = ?", lot) == [(seq,)])


def test_a_lot_by_callback(city, party):
    """One entry after the other, in order, each until the lot's signed reply; a lot that is away gets what it missed, once."""
    key = issue(city, party, "lot", "CB1")
    assert city.call(key, "lot.info.report", lot_info("CB1")).code == 0
    provider = city.issue("provider", rate=1000)
    orders = [city.call(provider, "order.create", booking("CB1")).data for _ in range(5)]
    settled(city, "CB1", 5)
    assert [b["seq"] for b in party.received] == [1, 2, 3, 4, 5] and len({b["requestId"] for b in party.received}) == 5
    assert [b["data"]["orderNo"] for b in party.received] == [o["orderNo"] for o in orders]
    assert city.call(provider, "order.detail", {"orderNo": orders[0]["orderNo"]}).data["deliverStatus"] == 2
    # It hangs up, it is ill, it answers without a signature, it refuses for good: only the last is an answer.
    ill = [None, 500, 200]
    party.answer = lambda body: ill.pop(0) if ill else (1101, {})
    refused = city.call(provider, "order.create", booking("CB1")).data
    settled(city, "CB1", 6)
    tries = [b for b in party.received if b["seq"] == 6]
    assert len(tries) == 4 and len({b["requestId"] for b in tries}) == 1 and len({b["nonce"] for b in tries}) == 4
    assert eventually(lambda: city.call(provider, "order.detail", {"orderNo": refused["orderNo"]}).data["status"] == 6)
    # The carrier changes in the middle of the log: MQTT comes, and goes again.
    party.answer = lambda body: (0, {"accepted": True})
    lot = Lot(city, key)
    lot.epoch, lot.ack = tries[0]["epoch"], 6
    lot.connect()
    seen = len(party.received)
    over_mqtt = city.call(provider, "order.create", booking("CB1")).data
    settled(city, "CB1", 7)
    assert [b["data"]["orderNo"] for b in lot.applied] == [over_mqtt["orderNo"]] and len(party.received) == seen
    lot.disconnect()
    city.call(provider, "order.cancel", {"orderNo": over_mqtt["orderNo"]})
    settled(city, "CB1", 8)
    assert party.received[-1]["service"] == "order.reserve.cancel" and party.received[-1]["seq"] == 8


def test_a_lot_by_callback_is_asked_now(city, party):
    key = issue(city, party, "lot", "CB2")
    assert city.call(key, "lot.info.report", lot_info("CB2")).code == 0
    operator = city.issue("operator")
    party.answer = lambda body: (0, {"executed": True})
    answer = city.call(operator, "gate.control", {"gateCode": "G1", "action": "OPEN"}, park="CB2")
    assert answer.code == 0 and answer.data == {"executed": True}
    assert "seq" not in party.received[-1] and party.received[-1]["data"]["action"] == "OPEN"
    party.answer = lambda body: None
    assert city.call(operator, "gate.control", {"gateCode": "G1", "action": "OPEN"}, park="CB2").code == 600


def test_what_waited_goes_on_after_a_kill(tmp_path, pem, party):
    server = Server(tmp_path, callback__allowPrivate="true", callback__ca=pem[0], callback__retrySeconds="1,1,1").start()
    key = issue(server, party, "lot", "CB3")
    assert server.call(key, "lot.info.report", lot_info("CB3")).code == 0
    provider = issue(server, party, "provider")
    party.answer = lambda body: None
    order = server.call(provider, "order.create", booking("CB3")).data
    party.wait(lambda all: {b["service"] for b in all} == {"order.reserve.push", "order.status.notify"})
    server.kill()
    del party.received[:]
    party.answer = lambda body: (0, {"accepted": True})
    server.start()
    all_ = party.wait(lambda all: {b["service"] for b in all} == {"order.reserve.push", "order.status.notify"})
    told = [b for b in all_ if b["service"] == "order.status.notify"]
    assert told[0]["data"]["orderNo"] == order["orderNo"] and told[0]["data"]["status"] == 1
    eventually(lambda: json.loads(server.cli("callbacks", "list"))["open"] == [])
    server.stop()


def test_a_cloud_of_50_lots_over_callback(city, party):
    parks = [f"CC{n:02}" for n in range(50)]
    key = issue(city, party, "cloud", parks)
    for park in parks:
        assert city.call(key, "lot.info.report", lot_info(park), park=park).code == 0
    provider = city.issue("provider", rate=10_000)
    for park in parks:
        assert city.call(provider, "order.create", booking(park)).code == 0
        assert city.call(provider, "order.create", booking(park)).code == 0
    party.wait(lambda all: len(all) >= 100, 40)
    for park in parks:
        own = [b for b in party.received if b["parkCode"] == park]
        assert [b["seq"] for b in own] == [1, 2] and all(b["appId"] == key.app_id for b in own)
    assert city.call(key, "lot.info.report", lot_info("CB1"), park="CB1").code == 205


def test_a_cloud_of_50_lots_over_mqtt(city):
    """One connection, one credential: entries up and pushes down for 50 lots, each in its own order."""
    parks = [f"CM{n:02}" for n in range(50)]
    key = city.issue("cloud", parks, rate=1000)
    for park in parks:
        assert city.call(key, "lot.info.report", lot_info(park), park=park).code == 0
    cloud = CloudClient(city, key, parks).connect()
    eventually(lambda: city.sql("SELECT count(*) FROM notices WHERE lot LIKE 'CM%' AND type = 6001")[0][0] == 50)
    provider = city.issue("provider", rate=10_000)
    orders = {}
    for _ in range(3):
        for park in parks:
            orders.setdefault(park, []).append(city.call(provider, "order.create", booking(park, now() + 20 * MINUTE)).data)
    cloud.wait(lambda: all(len(cloud.pushes[p]) == 3 for p in parks), 30)
    for park in parks:
        assert [b["seq"] for b in cloud.pushes[park]] == [1, 2, 3]
    for park in parks:
        order = orders[park][0]
        cloud.publish("vehicle.entry.report", entry("r1", order["plateNo"], order=order["orderNo"]), park=park, epoch="c", seq=1)
    cloud.wait(lambda: sum(r["code"] == 0 and r["service"] == "vehicle.entry.report" for r in cloud.replies.values()) == 50, 30)
    assert all(city.call(provider, "order.detail", {"orderNo": orders[p][0]["orderNo"]}).data["status"] == 2 for p in parks)
    # A service without parkCode goes out under any lot; one lot alone may be away; the cloud's goodbye is the goodbye of all.
    request = cloud.publish("sys.time.get", {}, park=parks[7], parkCode=...)
    assert cloud.wait(lambda: cloud.replies.get(request), 10)["code"] == 0
    cloud.client.publish(f"rsp/v1/{parks[0]}/up/status", '{"online":false}', 1, True)
    eventually(lambda: city.sql("SELECT count(*) FROM notices WHERE lot LIKE 'CM%' AND type = 6002")[0][0] == 1)
    cloud.client.publish(f"rsp/v1/_cloud/{key.app_id}/status", '{"online":false}', 1, True)
    eventually(lambda: city.sql("SELECT count(*) FROM notices WHERE lot LIKE 'CM%' AND type = 6002")[0][0] == 50)
    cloud.close()


class CloudClient:
    def __init__(self, server, key, parks):
        import paho.mqtt.client as mqtt
        self.server, self.key, self.parks = server, key, parks
        self.pushes, self.replies, self.changed = {p: [] for p in parks}, {}, threading.Condition()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=key.client_id, clean_session=False, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(key.app_id, key.mqtt_password)
        self.client.tls_set(ca_certs=server.ca)
        self.client.will_set(f"rsp/v1/_cloud/{key.app_id}/status", '{"online":false}', 1, True)
        self.client.on_connect = lambda c, *a: [c.subscribe(f"rsp/v1/{p}/down/#", 1) for p in parks]
        self.client.on_message = self._message
        self.ready = threading.Event()
        self.left = len(parks)
        self.client.on_subscribe = self._subscribed

    def _subscribed(self, client, *rest):
        self.left -= 1
        if self.left == 0:
            client.publish(f"rsp/v1/_cloud/{self.key.app_id}/status", json.dumps({"online": True, "since": now()}), 1, True)
            self.ready.set()

    def connect(self):
        self.client.connect("127.0.0.1", self.server.mqtt_port, keepalive=60)
        self.client.loop_start()
        assert self.ready.wait(15)
        return self

    def _message(self, client, userdata, message):
        body = json.loads(message.payload)
        assert body["sign"] == sign(body, self.key.secret)
        with self.changed:
            if message.topic.endswith("/down/reply"):
                self.replies[body["requestId"]] = body
            else:
                if all(b["seq"] != body["seq"] for b in self.pushes[body["parkCode"]]):
                    self.pushes[body["parkCode"]].append(body)
                reply = {"version": "1.0", "requestId": body["requestId"], "appId": self.key.app_id, "service": body["service"],
                         "parkCode": body["parkCode"], "timestamp": now(), "nonce": uuid.uuid4().hex[:16], "code": 0, "message": "",
                         "epoch": body["epoch"], "ackSeq": body["seq"], "data": {"accepted": True}}
                reply["sign"] = sign(reply, self.key.secret)
                client.publish(f"rsp/v1/{body['parkCode']}/up/reply", json.dumps(reply), 1)
            self.changed.notify_all()

    def publish(self, service, data, park, **extra):
        message = envelope(self.key, service, data, park=park, **extra)
        self.client.publish(f"rsp/v1/{park}/up/{service}", json.dumps(message, ensure_ascii=False), 1)
        return message["requestId"]

    def wait(self, condition, timeout):
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "what was waited for did not come"
            return condition()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_providers_are_told(city, party):
    """A17: every change of an order, until {"code":0}; what is not confirmed at the last attempt is parked, and sent again when asked."""
    lot = city.lot("TELL", rate=1000)
    provider = issue(city, party, "provider")
    first = city.call(provider, "order.create", booking("TELL", now() + 20 * MINUTE)).data
    second = city.call(provider, "order.create", booking("TELL")).data
    city.call(provider, "order.cancel", {"orderNo": second["orderNo"]})
    inside = entry("t1", first["plateNo"], order=first["orderNo"])
    assert city.call(lot, "vehicle.entry.report", inside, epoch="e", seq=1).code == 0
    assert city.call(lot, "vehicle.exit.report", exit_(inside), epoch="e", seq=2).code == 0
    party.wait(lambda all: len(all) >= 5)
    told = {(b["data"]["orderNo"], b["data"]["status"]) for b in party.received}
    assert told == {(first["orderNo"], 1), (first["orderNo"], 2), (first["orderNo"], 3), (second["orderNo"], 1), (second["orderNo"], 4)}
    assert all(b["service"] == "order.status.notify" and "parkCode" not in b and b["data"]["clientOrderNo"] for b in party.received)
    eventually(lambda: json.loads(city.cli("callbacks", "list"))["open"] == [])
    # A provider that never confirms: tried on the schedule, then parked; told again when an operator asks for it.
    del party.received[:]
    party.answer = lambda body: (1, {})
    order = city.call(provider, "order.create", booking("TELL")).data
    failed = eventually(lambda: json.loads(city.cli("callbacks", "list"))["failed"], 20)
    assert len(party.received) == 4 and len({b["requestId"] for b in party.received}) == 1
    assert failed[0]["data"]["orderNo"] == order["orderNo"] and failed[0]["appId"] == provider.app_id
    party.answer = lambda body: (0, {})
    assert json.loads(city.cli("callbacks", "retry", "--app-id", provider.app_id)) == {"retried": 1}
    party.wait(lambda all: len(all) == 5)
    eventually(lambda: json.loads(city.cli("callbacks", "list")) == {"open": [], "failed": []})


def test_money_and_credit_are_told(city, party):
    """A17: a payment, a refund, a penalty; a late record takes the penalty back, and that is told too."""
    key = city.lot("MONEY", shareSpace=5, shareEnabled=True, rate=1000)
    city.cli("lots", "set", "--park", "MONEY", "shareWindow=00:00-24:00")
    provider = issue(city, party, "provider")
    city.call(key, "lot.tariff.report", {"tariffId": "T", "effectiveFrom": now() - 1000, "rules": [{"stepMin": 60, "stepFee": 500}]})
    order = city.call(provider, "order.create", booking("MONEY", now() + 20 * MINUTE, bizType=2)).data
    say = lambda seq, data: city.call(key, "vehicle.entry.report", data, epoch="e", seq=seq).code
    assert say(1, entry("m1", order["plateNo"], enter=now() - MINUTE, order=order["orderNo"], carKind=6)) == 0
    bill = city.call(provider, "fee.query", {"orderNo": order["orderNo"]}).data
    assert city.call(provider, "pay.create", {"billNo": bill["billNo"], "payNo": "m-pay", "amount": 500, "channel": "sandbox"}).code == 0
    told = lambda service: [b["data"] for b in party.received if b["service"] == service]
    party.wait(lambda all: told("pay.notify"))
    assert told("pay.notify")[0]["payNo"] == "m-pay" and told("pay.notify")[0]["state"] == 1
    assert city.call(provider, "refund.apply", {"payNo": "m-pay", "refundNo": "m-back", "amount": 200}).data["refunded"] == 200
    party.wait(lambda all: told("refund.notify"))
    assert told("refund.notify")[0] == {"payNo": "m-pay", "refundNo": "m-back", "amount": 200}
    city.cli("lots", "set", "--park", "MONEY", "earlyMin=1", "lateMin=0")
    lot = Lot(city, key).connect()
    missed = city.call(provider, "order.create", booking("MONEY", now() + 3_000)).data
    eventually(lambda: city.call(provider, "order.detail", {"orderNo": missed["orderNo"]}).data["deliverStatus"] == 2)
    eventually(lambda: (lot.publish("sys.heartbeat", {"queueDepth": 0}), time.sleep(0.5), told("credit.notify"))[2], 20)
    penalty = told("credit.notify")[0]
    assert penalty["orderNo"] == missed["orderNo"] and penalty["undone"] is False and penalty["reason"] == 1104
    assert say(2, entry("m2", missed["plateNo"], enter=missed["enterEnd"] - 500, order=missed["orderNo"])) == 0
    party.wait(lambda all: len(told("credit.notify")) == 2)
    assert told("credit.notify")[1]["undone"] is True
    lot.disconnect()


def test_subscriptions_and_waiting_are_told(city, party):
    """A17: what becomes of a subscription and of an order that waits is told without asking."""
    city.lot("TOLD", 1, shareSpace=3, shareEnabled=True)
    provider = issue(city, party, "provider")
    number = plate()
    made = city.call(provider, "share.apply", {"parkCode": "TOLD", "userToken": "u", "plateNos": [number], "periodFrom": now(), "periodTo": now() + 86_400_000}).data
    told = lambda service: [b["data"] for b in party.received if b["service"] == service]
    party.wait(lambda all: told("share.status.notify"))
    assert (told("share.status.notify")[0]["authNo"], told("share.status.notify")[0]["shareStatus"]) == (made["authNo"], 1)
    assert city.call(provider, "share.cancel", {"authNo": made["authNo"]}).code == 0
    party.wait(lambda all: [d for d in told("share.status.notify") if d["shareStatus"] == 5])
    first = city.call(provider, "order.create", booking("TOLD", now() + 50 * MINUTE)).data
    waits = city.call(provider, "order.create", {**booking("TOLD", now() + 50 * MINUTE), "waitlist": True}).data
    assert city.call(provider, "order.cancel", {"orderNo": first["orderNo"]}).code == 0
    party.wait(lambda all: [d for d in told("order.status.notify") if d["orderNo"] == waits["orderNo"] and d["status"] == 1])


def test_remaining_spaces_by_subscription(city, party):
    """A18: the latest number, at most once in the interval, at a registered address only."""
    lot = city.lot("SUB", rate=1000)
    provider = issue(city, party, "provider")
    without = city.issue("provider")
    assert city.call(without, "space.subscribe", {"parkCodes": ["SUB"], "minInterval": 30}).code == 403
    assert city.call(provider, "space.subscribe", {"parkCodes": ["NOWHERE"], "minInterval": 30}).code == 1000
    assert city.call(provider, "space.subscribe", {"parkCodes": ["SUB"], "minInterval": 29}).code == 102
    assert city.call(provider, "space.subscribe", {"parkCodes": ["SUB"], "minInterval": 30}).data == {"subscribed": 1}
    party.wait(lambda all: len(all) == 1)
    for left in (50, 40, 30):
        city.call(lot, "space.remain.report", {"reportTime": now(), "total": 100, "occupied": 100 - left, "remain": left})
    time.sleep(3)
    assert len(party.received) == 1, "not before the interval is over"
    party.wait(lambda all: len(all) == 2, 40)
    told = [b["data"] for b in party.received]
    assert [d["remain"] for d in told] == [100, 30] and told[1]["parkCode"] == "SUB" and told[1]["total"] == 100
    assert party.received[1]["timestamp"] - party.received[0]["timestamp"] >= 29_000


def test_we_are_not_steered_elsewhere(server, city, party, pem):
    """Only https, only what was registered, no private address, no redirect."""
    key = server.issue("provider")

    def refused(owner, url):
        import subprocess
        from berth import BIN
        done = subprocess.run([BIN / "berth", "keys", "set", "--data", owner.data, "--app-id", key.app_id, "--callback", url],
                              capture_output=True, text=True)
        return done.returncode == 1 and done.stderr
    for url in ("http://example.com/", "ftp://example.com/", "https://127.0.0.1/", "https://10.0.0.1:8443/x", "https://192.168.1.1/",
                "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://[fd00::1]/", "https://[::ffff:127.0.0.1]/",
                "https://100.64.0.1/", "https://0.0.0.0/", "https://user:pass@example.com/", "nonsense", "https://"):
        assert refused(server, url), url
    # A name that leads to loopback is found out when it is called, not when it is registered.
    assert not refused(server, "https://localhost:9/x")
    server.lot("STEER")
    order = server.call(key, "order.create", booking("STEER"))
    assert order.code == 0
    time.sleep(1.5)
    assert json.loads(server.cli("callbacks", "list"))["open"], "nobody was told"
    server.cli("keys", "set", "--app-id", key.app_id, "--callback", "")
    # A redirect is no confirmation, and nobody follows it.
    elsewhere = Callback(*pem)
    owner = issue(city, party, "provider")
    city.lot("STEER")
    party.redirect, party.answer = elsewhere.url, lambda body: 307
    city.call(owner, "order.create", booking("STEER"))
    eventually(lambda: [f for f in json.loads(city.cli("callbacks", "list"))["failed"] if f["appId"] == owner.app_id], 20)
    assert elsewhere.received == []
    elsewhere.close()
