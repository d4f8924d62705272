#!/usr/bin/env python3
"""泊位接口示例 Python：签名与验签、下单、MQTT 接收下发、断点续传。 The interface in Python: sign and verify, order, receive over MQTT, resume.

    berth.py verify VECTORS.json
    berth.py order  https://host:port CA.pem KEY.json PARK
    berth.py listen host:port CA.pem KEY.json PARK STATE.json COUNT      (needs paho-mqtt)
    berth.py resume https://host:port CA.pem KEY.json PARK STATE.json COUNT [STOP_AFTER]

KEY.json is what `berth keys issue` prints. STATE.json stands for your disk: what is in it survives a break.
"""
import hashlib
import hmac
import json
import os
import pathlib
import secrets
import ssl
import sys
import time
import urllib.request
import uuid


def canon(value):
    """canon(data): names sorted by UTF-16 code unit, no white space, integers only."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(canon(n) + ":" + canon(value[n]) for n in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canon, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def sign(message, secret):
    data = message.get("data")
    members = {"data": hashlib.sha256(canon({} if data is None else data).encode()).hexdigest()}
    for name, value in message.items():
        if name in ("sign", "data", "message", "hint") or value is None or value == "":
            continue
        members[name] = str(value).lower() if isinstance(value, bool) else str(value)
    text = "&".join(f"{name}={members[name]}" for name in sorted(members))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_authentic(message, secret):
    return hmac.compare_digest(sign(message, secret), message.get("sign", ""))


def envelope(key, service, data, park=None, **more):
    message = {"version": "1.0", "requestId": str(uuid.uuid4()), "appId": key["appId"], "service": service,
               "timestamp": int(time.time() * 1000), "nonce": secrets.token_hex(8), "data": data, **more}
    if park:
        message["parkCode"] = park
    message["sign"] = sign(message, key["appSecret"])
    return message


def call(url, ca, key, service, data, park=None):
    body = json.dumps(envelope(key, service, data, park), ensure_ascii=False).encode()
    request = urllib.request.Request(f"{url}/api/v1/{service.replace('.', '/')}", body, {"content-type": "application/json"})
    context = ssl.create_default_context(cafile=ca)
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            reply = json.load(answer)
    except urllib.error.HTTPError as error:  # a refusal is an envelope too: `code` says why
        reply = json.load(error)
    if not is_authentic(reply, key["appSecret"]):
        sys.exit(f"the answer is not signed with our secret: {reply['code']} {reply['message']}")
    return reply


def save(file, state):
    """Store, then acknowledge: on the disk, whole, before anybody is answered."""
    with open(file + ".new", "w") as out:
        json.dump(state, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(file + ".new", file)


def load(file, empty):
    return json.loads(pathlib.Path(file).read_text()) if pathlib.Path(file).exists() else empty


def verify(file):
    vectors = json.loads(pathlib.Path(file).read_text())
    for good in vectors["good"]:
        data = good["message"].get("data")
        assert canon({} if data is None else data) == good["canonicalData"], good["what"]
        assert is_authentic(good["message"], vectors["secret"]), good["what"]
    for bad in vectors["bad"]:
        if bad["code"] < 200:
            continue  # refused for its shape, before its signature is looked at
        assert is_authentic(bad["message"], vectors["secret"]) == (bad["code"] != 201), bad["what"]
    print(f"{len(vectors['good'])} good, {len(vectors['bad'])} bad")


def order(url, ca, key, park):
    reply = call(url, ca, key, "order.create", {
        "clientOrderNo": uuid.uuid4().hex, "userToken": "example", "plateNo": f"粤B{secrets.randbelow(90000) + 10000}", "plateColor": 0,
        "parkCode": park, "bizType": 1, "planTime": int(time.time() * 1000) + 2_700_000, "mobile": "13800000000"})
    print(json.dumps({"code": reply["code"], "orderNo": reply["data"].get("orderNo")}))


def listen(broker, ca, key, park, file, count):
    import paho.mqtt.client as mqtt
    state = load(file, {"epoch": "", "ack": 0})
    client_id = f"{key['appId']}_{park}"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, protocol=mqtt.MQTTv311)
    client.username_pw_set(key["appId"], hmac.new(key["appSecret"].encode(), f"mqtt\n{client_id}".encode(), hashlib.sha256).hexdigest())
    client.tls_set(ca_certs=ca)
    client.will_set(f"rsp/v1/{park}/up/status", '{"online":false}', 1, True)
    client.on_connect = lambda c, *rest: c.subscribe(f"rsp/v1/{park}/down/#", 1)
    client.on_subscribe = lambda c, *rest: c.publish(
        f"rsp/v1/{park}/up/status", json.dumps({"online": True, "since": int(time.time() * 1000)}), 1, True)
    done = []

    def received(client, userdata, message):
        push = json.loads(message.payload)
        if message.topic.endswith("/reply") or not is_authentic(push, key["appSecret"]):
            return
        code, data = 0, {"accepted": True}
        if push["epoch"] != state["epoch"] and push["seq"] == 1:
            state.update(epoch=push["epoch"], ack=0)
        if push["epoch"] != state["epoch"] or push["seq"] > state["ack"] + 1:
            code, data = 610, {"expectedSeq": state["ack"] + 1 if push["epoch"] == state["epoch"] else 1}
        elif push["seq"] == state["ack"] + 1:
            # Here your system takes the order into its local list; then, and only then, it is acknowledged.
            state["ack"] = push["seq"]
            save(file, state)
            print(push["service"], push["data"]["orderNo"], flush=True)
            done.append(push["seq"])
        reply = {"version": "1.0", "requestId": push["requestId"], "appId": key["appId"], "service": push["service"], "parkCode": park,
                 "timestamp": int(time.time() * 1000), "nonce": secrets.token_hex(8), "code": code, "message": "",
                 "epoch": state["epoch"], "ackSeq": state["ack"], "data": data}
        reply["sign"] = sign(reply, key["appSecret"])
        client.publish(f"rsp/v1/{park}/up/reply", json.dumps(reply), 1)

    client.on_message = received
    host, port = broker.split(":")
    client.connect(host, int(port), keepalive=60)
    end = time.time() + 30
    while len(done) < count and time.time() < end:
        client.loop(0.2)
    for _ in range(5):
        client.loop(0.1)  # lets the last reply out
    client.disconnect()
    sys.exit(0 if len(done) >= count else 1)


def resume(url, ca, key, park, file, count, stop_after=None):
    """Our up log stands on our disk; the server says where it stands, and we go on from there."""
    state = load(file, None)
    if state is None:
        state = {"epoch": secrets.token_hex(4), "entries": [
            {"seq": n, "requestId": str(uuid.uuid4()), "service": "event.report", "timestamp": int(time.time() * 1000),
             "data": {"eventId": f"e{n}", "eventType": 1010, "occurTime": int(time.time() * 1000)}} for n in range(1, count + 1)]}
        save(file, state)
    cursor = call(url, ca, key, "sync.cursor.query", {"epoch": state["epoch"]}, park)["data"]["up"]
    rest = [{"epoch": state["epoch"], **e} for e in state["entries"] if e["seq"] > cursor["ackSeq"]]
    batch = rest[:stop_after] if stop_after else rest
    reply = call(url, ca, key, "sync.batch.report", {"entries": batch}, park)
    print(json.dumps({"code": reply["code"], "from": cursor["ackSeq"], "ackSeq": reply["data"]["ackSeq"]}))


if __name__ == "__main__":
    what, *args = sys.argv[1:] or ["help"]
    if what == "verify":
        verify(args[0])
    elif what in ("order", "listen", "resume"):
        args[2] = json.loads(pathlib.Path(args[2]).read_text())
        args[5:] = map(int, args[5:])
        {"order": order, "listen": listen, "resume": resume}[what](*args)
    else:
        print(__doc__)
