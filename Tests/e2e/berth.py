"""An independent client of the contract (interface.md), in Python: it shares no line with the Swift code it tests."""
import base64
import hashlib
import hmac
import http.client
import itertools
import json
import os
import pathlib
import random
import secrets
import signal
import socket
import ssl
import subprocess
import threading
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("BERTH_BIN", ROOT / ".build/release"))


def canon(value):
    """RFC 8785 for integers: names sorted by UTF-16 code unit, no white space."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda kv: kv[0].encode("utf-16-be"))
        return "{" + ",".join(json.dumps(k, ensure_ascii=False) + ":" + canon(v) for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canon(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def string_to_sign(envelope):
    data = envelope.get("data")
    digest = hashlib.sha256(canon({} if data is None else data).encode()).hexdigest()
    params = {"data": digest}
    for name, value in envelope.items():
        if name in ("sign", "data", "message", "hint") or value is None or value == "":
            continue
        params[name] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return "&".join(f"{k}={params[k]}" for k in sorted(params))


def sign(envelope, secret):
    return hmac.new(secret.encode(), string_to_sign(envelope).encode(), hashlib.sha256).hexdigest()


def now():
    return int(time.time() * 1000)


class Key:
    def __init__(self, line, park=None, role=None):
        self.app_id, self.secret = line["appId"], line["appSecret"]
        self.park, self.role = park, role

    @property
    def client_id(self):
        return f"{self.app_id}_cloud" if self.role == "cloud" else f"{self.app_id}_{self.park}"

    @property
    def mqtt_password(self):
        return hmac.new(self.secret.encode(), f"mqtt\n{self.client_id}".encode(), hashlib.sha256).hexdigest()


def envelope(key, service, data=None, park=None, **extra):
    message = {
        "version": "1.0", "requestId": str(uuid.uuid4()), "appId": key.app_id, "service": service,
        "timestamp": now(), "nonce": secrets.token_hex(8), "data": {} if data is None else data,
    }
    if park or key.park:
        message["parkCode"] = park or key.park
    message.update(extra)
    message = {k: v for k, v in message.items() if v is not Ellipsis}
    if "sign" not in message:
        message["sign"] = sign(message, key.secret)
    return message


#: Which test saw what, over which carrier: (test, carrier, service, code); a push that arrived has the code None.
SEEN = set()


def note(carrier, service, code):
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0].replace("Tests/e2e/", "").split("[")[0]
    SEEN.add((test, carrier, service, code))


#: For each service the data of one executed request and of its reply, for the documentation.
EXAMPLES = {}


def example(service, request, reply):
    """Keeps the fullest example that still fits on a page. Only a run that writes the documents anew keeps any."""
    if not os.environ.get("BERTH_WRITE_CONFORMANCE") or not isinstance(request, dict) or not isinstance(reply, dict):
        return
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if any(name in test for name in ("test_documents", "test_fuzz", "test_hostile", "test_exhaustion")):
        return
    reply = {name: value[:2] if isinstance(value, list) else value for name, value in reply.items()}
    request = {name: value[:2] if isinstance(value, list) else value for name, value in request.items()}
    size = len(json.dumps([request, reply], ensure_ascii=False))
    # One of the unusual cases stands only where there is no other.
    rank = ("test_cases" not in test, size <= 1_500, size if size <= 1_500 else -size)
    if service not in EXAMPLES or rank > EXAMPLES[service][0]:
        EXAMPLES[service] = (rank, request, reply)


class Reply:
    def __init__(self, status, headers, body, key=None):
        self.status, self.headers, self.raw = status, headers, body
        self.json = json.loads(body)
        self.code, self.data = self.json["code"], self.json["data"]
        note("https", self.json["service"], self.code)
        for row in self.data.get("failed", []) if isinstance(self.data, dict) else []:
            note("https", self.json["service"], row["code"])
        if self.data.get("reasonCode"):
            note("https", self.json["service"], self.data["reasonCode"])
        self.duplicate = self.json.get("duplicate", False)
        if key and self.json["sign"]:
            assert self.json["sign"] == sign(self.json, key.secret), "the reply is not signed with the request's secret"

    def __repr__(self):
        return f"<{self.status} {self.raw[:400]!r}>"


class Process:
    """A real binary; ended by its own pid."""

    def __init__(self, args, log, env=None):
        self.log = open(log, "ab")
        self.process = subprocess.Popen(
            [str(a) for a in args], stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})})

    def ready(self, seconds=60):
        line, timer = None, threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise AssertionError(f"not ready: {open(self.log.name).read()[-2000:]}")
        return json.loads(line)

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the process did not end on SIGTERM")

    def memory_mib(self):
        for line in open(f"/proc/{self.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0


#: Ports of this worker alone, below those that the system gives to outgoing connections: what is free now is free when its server starts.
_ports = itertools.cycle(random.sample(range(start := 12_000 + 4_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw4")[2:] or 0), start + 4_000), 4_000))


def free_port():
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Server:
    #: The database of all cities where the tests are run on PostgreSQL (BERTH_TEST_STORE=postgres, docs/campaigns.md).
    database, cities = None, itertools.count(1)

    def __init__(self, folder, **settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.settings = settings
        self.https_port, self.mqtt_port = free_port(), free_port()
        self.process = None
        self.store_env = {}
        if os.environ.get("BERTH_TEST_STORE") == "postgres" and "store" not in settings:
            if Server.database is None:
                from cluster import Postgres
                Server.database = Postgres("max_connections=200")
            self.store_env = {"BERTH_STORE": Server.database.city(f"e{next(Server.cities)}")}

    def on_sqlite(self):
        """A test that looks into the file of SQLite says nothing of another store."""
        if self.store_env:
            import pytest
            pytest.skip("it reads SQLite")

    def start(self):
        args = [BIN / "berth", "serve", "--data", self.data, "--https-port", self.https_port, "--mqtt-port", self.mqtt_port]
        for name, value in self.settings.items():
            args += ["--set", f"{name.replace('__', '.')}={value}"]
        self.process = Process(args, self.folder / "server.log", self.store_env)
        self.ready = self.process.ready()
        while self.ready["event"] != "ready":
            self.ready = self.process.ready()
        self.ca = self.ready["ca"]
        self.context = ssl.create_default_context(cafile=self.ca)
        return self

    def kill(self):
        self.process.kill()

    def stop(self):
        if self.process:
            self.process.stop()

    def cli(self, *args):
        done = subprocess.run(
            [str(BIN / "berth"), *[str(a) for a in args], "--data", str(self.data)], capture_output=True, text=True,
            env={**os.environ, **self.store_env})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def issue(self, role, park=None, rate=None):
        """Tests that raise a rate limit say so: `rate` is the credential's own setting."""
        parks = [park] if isinstance(park, str) else (park or [])
        args = ["keys", "issue", "--role", role, "--name", "test"]
        for code in parks:
            args += ["--park", code]
        if rate:
            args += ["--rate", rate]
        return Key(json.loads(self.cli(*args)), park=parks[0] if parks else None, role=role)

    def connection(self, timeout=60):
        return http.client.HTTPSConnection("127.0.0.1", self.https_port, context=self.context, timeout=timeout)

    def post(self, path, body, headers=None, connection=None, key=None):
        own = connection or self.connection()
        try:
            own.request("POST", path, body, {"content-type": "application/json", **(headers or {})})
            answer = own.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read(), key)
        finally:
            if connection is None:
                own.close()

    def send(self, key, message, connection=None):
        path = "/api/v1/" + message["service"].replace(".", "/")
        reply = self.post(path, json.dumps(message, ensure_ascii=False).encode(), connection=connection, key=key)
        if reply.code == 0:
            from catalogue import REPLIES, conforms
            fault = conforms(REPLIES[message["service"]], reply.data)
            assert fault is None, f"{message['service']} does not answer as its document says: {fault}"
            if not reply.duplicate:
                example(message["service"], message["data"], reply.data)
        return reply

    def call(self, key, service, data=None, connection=None, **extra):
        return self.send(key, envelope(key, service, data, **extra), connection)

    def lot(self, park, reserve=40, total=100, rate=None, **changes):
        key = self.issue("lot", park, rate)
        reply = self.call(key, "lot.info.report", lot_info(park, reserve, total, **changes))
        assert reply.code == 0, reply
        return key

    def stored(self):
        """What the domain is made of, as rows: everything but kept replies and the log of what was received."""
        self.on_sqlite()
        import sqlite3
        db = sqlite3.connect(f"file:{self.data}/berth.sqlite?mode=ro", uri=True)
        rows = {}
        for table in ["journal", "lots", "positions", "closed_epochs", "orders", "visits", "down_log", "counters"]:
            rows[table] = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        db.close()
        return rows

    def write(self, text, *args):
        """Changes the database of a server that is not running."""
        self.on_sqlite()
        import sqlite3
        with sqlite3.connect(self.data / "berth.sqlite") as db:
            db.execute(text, args)

    def vault(self):
        """The key under which the server seals what must not be readable at rest, derived as docs/operating.md says."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        master = bytes.fromhex((self.data / "master.key").read_text().strip())
        return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=b"berth/seal/1").derive(master))

    def open(self, text):
        if isinstance(text, str) and not text.startswith("~"):
            return text
        raw = text if isinstance(text, bytes) else base64.b64decode(text[1:])
        return self.vault().decrypt(raw[:12], raw[12:], None).decode()

    def reports(self, lot, kind):
        """What stands under names, by name."""
        rows = [self.open(b).split("\n", 1) for (b,) in self.sql("SELECT body FROM reports WHERE lot = ? AND kind = ?", lot, kind)]
        return {name: json.loads(body) for name, body in rows}

    def sql(self, text, *args):
        self.on_sqlite()
        import sqlite3
        db = sqlite3.connect(f"file:{self.data}/berth.sqlite?mode=ro", uri=True)
        try:
            return db.execute(text, args).fetchall()
        finally:
            db.close()


def lot_info(park, reserve=40, total=100, **changes):
    return {
        "parkCode": park, "parkName": f"测试车场 {park}", "address": "深圳市南山区", "regionCode": "440305", "lng": "113.9461",
        "lat": "22.5408", "coordType": 1, "lotType": 4, "lotClass": 2, "totalSpace": total, "reserveSpace": reserve,
        "shareSpace": 0, "publicBizSpace": 0, "reserveEnabled": True, "shareEnabled": False, "publicBizEnabled": False,
        "freeMin": 15, "leaveBufferMin": 15,
        "openHours": [{"days": [1, 2, 3, 4, 5, 6, 7], "start": "00:00", "end": "24:00"}], **changes,
    }


# With a letter: the examples draw theirs from all numbers of five digits, and must not meet another test's order of the same plate.
_plates = (f"粤B{letter}{number:04d}" for letter in "KMNPRTUVWXY" for number in range(10_000))
_plate_lock = threading.Lock()


def plate():
    with _plate_lock:
        return next(_plates)


def booking(park, plan=None, **changes):
    return {
        "clientOrderNo": uuid.uuid4().hex, "userToken": uuid.uuid4().hex, "plateNo": plate(), "plateColor": 0,
        "parkCode": park, "bizType": 1, "planTime": plan or now() + 50 * 60_000, "mobile": "13800000000", **changes,
    }


def entry(record, plate_no, enter=None, order=None, **changes):
    data = {
        "recordNo": record, "plateNo": plate_no, "plateColor": 0, "vehicleClass": 1, "carKind": 5 if order else 1,
        "enterTime": enter or now(), "gateCode": "G1", "gateName": "北门", "enterMode": 1,
        "remain": {"total": 100, "remain": 50}, **changes,
    }
    if order:
        data["orderNo"] = order
    return data


def exit_(entry_data, leave=None, **changes):
    return {
        **entry_data, "leaveTime": leave or now(), "parkSeconds": 60, "exitGateCode": "G2", "exitMode": 1, "leaveKind": 2,
        "totalFee": 0, "discountFee": 0, "paidFee": 0, "payableFee": 0, "payments": [], **changes,
    }


class Lot:
    """A lot that speaks MQTT, written from the contract alone."""

    def __init__(self, server, key, answer=True, clean=False):
        import paho.mqtt.client as mqtt
        self.server, self.key, self.answering = server, key, answer
        self.received, self.applied, self.replies, self.times = [], [], {}, {}
        self.epoch, self.ack = None, 0
        self.first = {}
        self.changed = threading.Condition()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=key.client_id, clean_session=clean, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(key.app_id, key.mqtt_password)
        self.client.tls_set(ca_certs=server.ca)
        self.client.will_set(f"rsp/v1/{key.park}/up/status", '{"online":false}', 1, True)
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.on_message = self._message
        self.client.reconnect_delay_set(1, 2)
        self.online = threading.Event()
        self.refused = None

    def connect(self, wait=True):
        # Without this the client's own TCP holds each message back until the one before is acknowledged: 40 ms.
        self.client.on_socket_open = lambda client, data, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.connect("127.0.0.1", self.server.mqtt_port, keepalive=60)
        self.client.loop_start()
        if wait:
            assert self.online.wait(10), "the broker did not admit the lot"
        return self

    def disconnect(self, clean=True):
        if clean:
            info = self.client.publish(f"rsp/v1/{self.key.park}/up/status", '{"online":false}', 1, True)
            info.wait_for_publish(5)
        self.client.disconnect()
        self.client.loop_stop()
        self.online.clear()

    def _connected(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            self.refused = str(reason)
            return
        client.subscribe(f"rsp/v1/{self.key.park}/down/#", 1)

    def _subscribed(self, client, userdata, mid, codes, properties):
        client.publish(f"rsp/v1/{self.key.park}/up/status", json.dumps({"online": True, "since": now()}), 1, True)
        self.online.set()

    def _message(self, client, userdata, message):
        arrived = time.perf_counter()
        body = json.loads(message.payload)
        assert not body["sign"] or body["sign"] == sign(body, self.key.secret), "not signed with the lot's secret"
        with self.changed:
            if message.topic.endswith("/down/reply"):
                note("mqtt", body["service"], body["code"])
                for row in body["data"].get("failed", []):
                    note("mqtt", body["service"], row["code"])
                if body["data"].get("reasonCode"):
                    note("mqtt", body["service"], body["data"]["reasonCode"])
                self.replies[body["requestId"]] = body
                self.changed.notify_all()
                return
            note("mqtt", body["service"], None)
            self.received.append(body)
            self.times[body["data"].get("orderNo")] = arrived
            self.changed.notify_all()
        if self.answering:
            self.answer(body)

    def answer(self, body, code=0, data=None):
        """Consumes in order; answers a repeat with its first result, a gap with 610."""
        extra = {}
        if body["epoch"] != self.epoch and body["seq"] == 1:
            self.epoch, self.ack = body["epoch"], 0
        if body["epoch"] != self.epoch or body["seq"] > self.ack + 1:
            code, data = 610, {"expectedSeq": self.ack + 1 if body["epoch"] == self.epoch else 1,
                               "epoch": self.epoch or "", "ackSeq": self.ack}
        elif body["seq"] == self.ack + 1:
            self.ack = body["seq"]
            self.applied.append(body)
            data = {"accepted": True} if data is None else data
            self.first[body["seq"]] = (code, data)
        else:
            code, data = self.first[body["seq"]]
            extra["duplicate"] = True
        if code == 0:
            example(body["service"], body["data"], data or {})
        reply = {
            "version": "1.0", "requestId": body["requestId"], "appId": self.key.app_id, "service": body["service"],
            "parkCode": self.key.park, "timestamp": now(), "nonce": secrets.token_hex(8), "code": code, "message": "",
            "epoch": self.epoch or "", "ackSeq": self.ack, "data": data, **extra,
        }
        reply["sign"] = sign(reply, self.key.secret)
        self.client.publish(f"rsp/v1/{self.key.park}/up/reply", json.dumps(reply, ensure_ascii=False), 1)

    def say(self, body, code=0, data=None):
        """Answers a question that stands in no log."""
        message = {"version": "1.0", "requestId": body["requestId"], "appId": self.key.app_id, "service": body["service"], "parkCode": self.key.park,
                   "timestamp": now(), "nonce": secrets.token_hex(8), "code": code, "message": "", "data": {} if data is None else data}
        message["sign"] = sign(message, self.key.secret)
        self.client.publish(f"rsp/v1/{self.key.park}/up/reply", json.dumps(message), 1)

    def publish(self, service, data, **extra):
        message = envelope(self.key, service, data, **extra)
        self.client.publish(f"rsp/v1/{self.key.park}/up/{service}", json.dumps(message, ensure_ascii=False), 1)
        return message["requestId"]

    def call(self, service, data=None, timeout=10, **extra):
        request = self.publish(service, data or {}, **extra)
        return self.wait(lambda: self.replies.get(request), timeout)

    def wait(self, condition, timeout=10):
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "what was waited for did not come"
            return condition()


class Gateway:
    """The real gateway of one lot or of several, with its PMS: every call of the local API carries the token of the configuration."""

    def __init__(self, server, folder, lots, token="the-token-of-the-tests", **settings):
        """`lots`: keys, each with members of its own; `token=None` leaves the making of one to the gateway."""
        self.folder, self.port, self._token = pathlib.Path(folder), free_port(), token
        self.config, self.spool = self.folder / "gateway.json", self.folder / "spool.sqlite"
        self.process = None
        config = {
            "server": server.ready["https"], "mqtt": f"127.0.0.1:{server.mqtt_port}", "ca": server.ca, "token": token,
            "spool": str(self.spool), "listen": f"127.0.0.1:{self.port}", "heartbeatSeconds": 1, **settings,
            "lots": [{"parkCode": key.park, "appId": key.app_id, "appSecret": key.secret, "info": lot_info(key.park, 100, 20_000),
                      "gates": [{"gateCode": "G1", "gateName": "入口", "direction": 1},
                                {"gateCode": "G2", "gateName": "出口", "direction": 2}], **extra} for key, extra in lots]}
        self.config.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))

    def start(self, env=None):
        args = [BIN / "berth-gateway", "run", "--config", self.config]
        # By a shell: a library that changes the clock also moves the arguments of the first process that loads it.
        if env:
            args = ["/bin/sh", "-c", 'exec "$0" "$@"', *args]
        self.process = Process(args, self.folder / "gateway.log", env)
        assert self.process.ready()["event"] == "ready"
        return self

    def log(self):
        return (self.folder / "gateway.log").read_text()

    @property
    def token(self):
        """The test's own; else the one that the gateway put into its configuration, or beside its spool."""
        if self._token:
            return self._token
        beside = self.folder / "spool.sqlite.token"
        return json.loads(self.config.read_text()).get("token") or beside.read_text().strip()

    @property
    def headers(self):
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}

    def request(self, method, path, body=None, headers=None, timeout=30):
        """One request as it is, with the headers given and no others but Host. Returns status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, self.headers if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        status, _, body = self.request("GET", path, headers={**self.headers, **headers})
        assert status == 200, (path, status, body)
        return json.loads(body)

    def status(self, index=0):
        return self.get("/status")[index]

    def pms(self, park, what, session=None, **data):
        """A POST of the PMS. Returns status and answer."""
        headers = {**self.headers, **({"X-PMS-Session": session} if session else {})}
        status, _, body = self.request("POST", f"/pms/{park}/{what}", json.dumps(data, ensure_ascii=False).encode(), headers)
        return status, json.loads(body)

    def picture(self, park, body, kind="image/png"):
        """A picture of a car at the gate. Returns status and answer."""
        status, _, body = self.request("POST", f"/pms/{park}/picture", body, {**self.headers, "content-type": kind})
        return status, json.loads(body)

    def in_force(self, park):
        return {o["orderNo"]: o["orderVer"] for o in self.get(f"/pms/{park}/list") if o["inForce"]}

    def rows(self, text, *args):
        """Rows of the spool, read beside the gateway."""
        import sqlite3
        db = sqlite3.connect(f"file:{self.spool}?mode=ro", uri=True)
        try:
            return db.execute(text, args).fetchall()
        finally:
            db.close()

    def write(self, text, *args):
        """Changes the spool of a gateway that is not running."""
        import sqlite3
        with sqlite3.connect(self.spool) as db:
            db.execute(text, args)
        db.close()


def eventually(condition, seconds=30, step=0.05):
    end = time.time() + seconds
    while time.time() < end:
        value = condition()
        if value:
            return value
        time.sleep(step)
    raise AssertionError("what was waited for did not come about")
