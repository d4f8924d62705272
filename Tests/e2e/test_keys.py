"""The life of a credential: two secrets during a rotation, the end of the old one, revocation, client certificates, broker passwords."""
import hashlib
import hmac
import http.client
import json
import ssl
import time

import pytest
import requests

from berth import Lot, booking, envelope, eventually, lot_info, now, sign


def rotate(server, key):
    made = json.loads(server.cli("keys", "rotate", "--app-id", key.app_id))
    assert made["appId"] == key.app_id and made["appSecret"] != key.secret
    return made["appSecret"]


class Other:
    """The same party with another secret."""
    def __init__(self, key, secret):
        self.app_id, self.secret, self.park, self.role = key.app_id, secret, key.park, key.role
        self.client_id = key.client_id

    @property
    def mqtt_password(self):
        return hmac.new(self.secret.encode(), f"mqtt\n{self.client_id}".encode(), hashlib.sha256).hexdigest()


def test_two_secrets_during_a_rotation(tmp_path):
    """Both are good; pushes keep the old one until the party has used the new one; then the old one ends after its grace (208)."""
    from berth import Server
    server = Server(tmp_path, secret__graceSeconds=12).start()
    key = server.lot("ROT", rate=1000)
    provider = server.issue("provider", rate=1000)
    lot = Lot(server, key).connect()
    new = Other(key, rotate(server, key))
    assert server.call(key, "recon.inlot.count").code == 0, "the old one is still good"
    server.call(provider, "order.create", booking("ROT"))
    lot.wait(lambda: len(lot.applied) == 1)  # Lot checks that it is signed with the old secret.
    # A reply is signed with the secret of its request; the first one with the new secret changes over, the broker's password too.
    assert server.call(new, "recon.inlot.count").code == 0
    old_lot = lot
    eventually(lambda: not old_lot.client.is_connected() or old_lot.refused)
    lot.disconnect(clean=False)
    again = Lot(server, new)
    again.epoch, again.ack = lot.epoch, lot.ack
    again.connect()
    server.call(provider, "order.create", booking("ROT"))
    again.wait(lambda: len(again.applied) == 1)
    assert server.call(key, "recon.inlot.count").code == 0, "within its grace"
    server.kill()
    server.start()
    gone = eventually(lambda: (answer := server.call(key, "recon.inlot.count")).code == 208 and answer, 30, 0.5)
    assert (gone.status, gone.code) == (401, 208) and server.call(new, "recon.inlot.count").code == 0
    forged = envelope(Other(key, "z" * 40), "recon.inlot.count")
    assert server.post("/api/v1/recon/inlot/count", json.dumps(forged), key=new).code == 201
    again.disconnect()
    server.stop()


def test_revocation_is_at_once(server):
    """Requests are refused, the open connection is closed, and the cloud that also speaks for the lot takes over."""
    key = server.lot("REV")
    cloud = server.issue("cloud", ["REV", "REV2"])
    lot = Lot(server, key).connect()
    lost = []
    lot.client.on_disconnect = lambda *a: lost.append(a)
    assert server.call(key, "recon.inlot.count").code == 0
    server.cli("keys", "revoke", "--app-id", key.app_id)
    refused = server.call(key, "recon.inlot.count")
    assert (refused.status, refused.code, refused.json["sign"]) == (401, 200, "")
    eventually(lambda: lost, 5)
    eventually(lambda: lot.refused, 10)
    lot.disconnect(clean=False)
    order = server.call(server.issue("provider"), "order.create", booking("REV"))
    assert order.code == 0 and server.call(cloud, "sync.down.pull", {"afterSeq": 0}, park="REV").data["entries"][0]["data"]["orderNo"] == order.data["orderNo"]
    listed = [json.loads(line) for line in server.cli("keys", "list").splitlines()]
    assert [k["enabled"] for k in listed if k["appId"] == key.app_id] == [False]
    assert key.secret not in server.cli("keys", "list")


def test_client_certificates(server, tmp_path):
    """207 without the credential's own certificate; another party's certificate does not do."""
    key, other = server.issue("provider"), server.issue("provider")
    for one in (key, other):
        server.cli("keys", "certificate", "--app-id", one.app_id, "--out", tmp_path)
    bare = server.call(key, "sys.time.get", {})
    assert (bare.status, bare.code) == (403, 207)

    def call(certificate):
        context = ssl.create_default_context(cafile=server.ca)
        context.load_cert_chain(tmp_path / f"{certificate.app_id}.pem", tmp_path / f"{certificate.app_id}.key")
        connection = http.client.HTTPSConnection("127.0.0.1", server.https_port, context=context, timeout=20)
        return server.call(key, "sys.time.get", {}, connection=connection).code
    assert call(key) == 0 and call(other) == 207
    assert (tmp_path / f"{key.app_id}.key").stat().st_mode & 0o077 == 0
    server.cli("keys", "set", "--app-id", key.app_id, "--no-certificate")
    assert server.call(key, "sys.time.get", {}).code == 0


def mac(key, message):
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


def stamp(hours=0):
    return time.strftime("%Y%m%d%H", time.gmtime(time.time() + hours * 3600))


def password(key, mode, when):
    client = key.client_id if mode == "static" else f"{key.client_id}_{when}"
    text = {"static": lambda: mac(key.secret, f"mqtt\n{client}"),
            "hourly": lambda: mac(key.secret, f"clientId={client}&timestamp={when}&username={key.app_id}"),
            "huawei": lambda: mac(when, key.secret)}[mode]()
    return client, text


def test_password_vectors():
    class Vector:
        app_id, secret, client_id = "sz10000001", "k7Qd2vXw9ZtY4mNb8RsC1pLf6HjA3eUg", "sz10000001_440305000000001"
    assert password(Vector, "static", "")[1] == "bdf9d649d93a2fc75cf07aaba77ee92fa9d705800952a810585f1aee9701efc1"
    assert password(Vector, "hourly", "2023030100")[1] == "202b7fe01af0fef8f71819dd1b315c324110f4dfcd060faada54e9613b6aff24"
    assert password(Vector, "huawei", "2023030100")[1] == "9ba6478e44f61a319f125452ff2c3b8454081fa877040768c4af1e1e9f4cc9ff"


def test_a_broker_that_asks(server):
    """/mqtt/auth and /mqtt/acl in RabbitMQ's form (fields, allow or deny) and EMQX's (JSON); the three password modes; the hour."""
    key, provider = server.lot("BRK.1"), server.issue("provider")
    cloud = server.issue("cloud", ["BRK.2", "BRK.3"])
    web = requests.Session()
    web.verify, web.trust_env = server.ca, False
    base = server.ready["https"]

    def rabbit(path, method="post", **fields):
        answer = web.get(base + path, params=fields) if method == "get" else web.post(base + path, data=fields)
        assert answer.status_code == 200
        return answer.text

    def emqx(path, **fields):
        answer = web.post(base + path, json=fields)
        assert answer.status_code == 200
        return answer.json()["result"]
    for mode in ("static", "hourly", "huawei"):
        for hours in ((0,) if mode == "static" else (0, 1, -1)):
            client, text = password(key, mode, stamp(hours))
            assert rabbit("/mqtt/auth", username=key.app_id, password=text, client_id=client, vhost="/") == "allow", (mode, hours)
            assert rabbit("/mqtt/auth", "get", username=key.app_id, password=text, client_id=client, vhost="/") == "allow"
            assert emqx("/mqtt/auth", username=key.app_id, password=text, clientid=client) == "allow"
            assert emqx("/mqtt/auth", username=key.app_id, password=text, clientid=client + "x") == "deny"
            assert emqx("/mqtt/auth", username=cloud.app_id, password=text, clientid=client) == "deny"
    for hours in (2, -2, 24):
        client, text = password(key, "hourly", stamp(hours))
        assert emqx("/mqtt/auth", username=key.app_id, password=text, clientid=client) == "deny"
    assert emqx("/mqtt/auth", username=provider.app_id, password="x", clientid=f"{provider.app_id}_") == "deny"
    client, text = password(cloud, "static", "")
    assert client.endswith("_cloud") and emqx("/mqtt/auth", username=cloud.app_id, password=text, clientid=client) == "allow"
    acl = lambda topic, action, who=key: emqx("/mqtt/acl", username=who.app_id, clientid=who.client_id, topic=topic, action=action)
    assert acl("rsp/v1/BRK.1/up/event.report", "publish") == "allow" and acl("rsp/v1/BRK.1/down/#", "subscribe") == "allow"
    for topic, action in (("rsp/v1/BRK.1/up/#", "subscribe"), ("rsp/v1/BRK.1/down/x", "publish"), ("rsp/v1/BRK.2/up/x", "publish"),
                          ("rsp/v1/+/down/#", "subscribe"), ("#", "subscribe"), ("rsp/v1/BRK.1/up/#", "publish"), ("rsp/v1/_cloud/x/status", "publish")):
        assert acl(topic, action) == "deny", (topic, action)
    assert acl(f"rsp/v1/_cloud/{cloud.app_id}/status", "publish", cloud) == "allow" and acl("rsp/v1/BRK.3/down/#", "subscribe", cloud) == "allow"
    topic = lambda name, permission: rabbit("/mqtt/acl", username=key.app_id, vhost="/", resource="topic", name="amq.topic",
                                            permission=permission, routing_key=name)
    assert topic("rsp.v1.BRK.1.up.vehicle.entry.report", "write") == "allow" and topic("rsp.v1.BRK.1.down.#", "read") == "allow"
    assert topic("rsp.v1.BRK.2.up.vehicle.entry.report", "write") == "deny" and topic("rsp.v1.BRK.1.down.x", "write") == "deny"
    assert topic("rsp.v1.*.down.#", "read") == "deny" and topic("#", "read") == "deny"
    assert rabbit("/mqtt/acl", username=key.app_id, vhost="/", ip="127.0.0.1") == "allow"
    queue = lambda name: rabbit("/mqtt/acl", username=key.app_id, vhost="/", resource="queue", name=name, permission="configure")
    assert queue(f"mqtt-subscription-{key.client_id}qos1") == "allow" and queue("another") == "deny"
    assert web.post(base + "/mqtt/auth", data=b"\xff", headers={"content-type": "application/json"}).status_code == 400


def test_neighbours_only(tmp_path):
    from berth import Server
    server = Server(tmp_path, internal__from="192.0.2.1").start()
    web = requests.Session()
    web.verify, web.trust_env = server.ca, False
    for path in ("/metrics", "/mqtt/auth", "/mqtt/acl"):
        assert web.get(server.ready["https"] + path).status_code == 403
    server.stop()


def test_secrets_are_sealed(server):
    key = server.issue("provider")
    second = rotate(server, key)
    for file in server.data.glob("berth.sqlite*"):
        content = file.read_bytes()
        assert key.secret.encode() not in content and second.encode() not in content
    assert (server.data / "master.key").stat().st_mode & 0o077 == 0


def test_another_master_key_is_refused(own_server, tmp_path):
    import os
    import subprocess
    from berth import BIN
    server = own_server.start()
    server.lot("P1")
    server.stop()
    (tmp_path / "other.key").write_text("ab" * 32)
    done = subprocess.run([BIN / "berth", "serve", "--data", server.data, "--https-port", "0", "--mqtt-port", "0"], capture_output=True, text=True,
                          env={**os.environ, "BERTH_MASTER_KEY_FILE": str(tmp_path / "other.key")}, timeout=60)
    assert done.returncode == 1 and "another master key" in done.stderr
    server.start()
