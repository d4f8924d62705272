"""Settings in force, and the certificate: names, own ones, and read anew while the server runs."""
import json
import os
import re
import signal
import socket
import ssl
import subprocess

import pytest

from berth import BIN, ROOT, Lot, Server, booking, envelope, eventually
import callback


def config(data, *args, env=None):
    done = subprocess.run([BIN / "berth", "config", "--data", data, *map(str, args)], capture_output=True, text=True, env={**os.environ, **(env or {})})
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done


def test_where_a_setting_comes_from(tmp_path):
    """Flags before the environment, the environment before the file, the file before the default."""
    (tmp_path / "berth.json").write_text('// A comment.\n{"https": {"port": 1}, "mqtt.port": 2, "page.port": 3, "ntp.servers": ["a", "b"]}\n')
    code, rows, _ = config(tmp_path, "--changed", "--set", "https.port=7", env={"BERTH_MQTT_PORT": "8", "BERTH_HTTPS_PORT": "9"})
    assert code == 0
    assert {r["key"]: (r["value"], os.path.basename(r["source"])) for r in rows} == {
        "https.port": ("7", "--set"), "mqtt.port": ("8", "environment"), "page.port": ("3", "berth.json"), "ntp.servers": ("a,b", "berth.json")}
    code, rows, _ = config(tmp_path / "none")
    assert code == 0 and len(rows) > 60 and all(r["meaning"] and r["variable"].startswith("BERTH_") for r in rows)
    for text, why in (('{"https.prot": 1}', "the nearest is https.port"), ('{"https.port": 70000}', "https.port = 70000"), ('{"https.port": 1', "is not JSON"),
                      ('{"store": "disk"}', "sqlite, memory"), ('{"tls.key": "/etc/hostname"}', "both expected"), ('{"tls.names": "a b"}', "tls.names")):
        (tmp_path / "berth.json").write_text(text)
        code, _, done = config(tmp_path)
        assert code == 1 and why in done.stderr, (text, done.stderr)


def test_the_example_is_what_holds_without_a_file(tmp_path):
    """Every key and default, with comments in both languages; as a file it changes nothing."""
    example = subprocess.run([BIN / "berth", "config", "--example"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "berth.json").write_text(example)
    _, rows, _ = config(tmp_path)
    assert all(r["value"] == r["default"] and os.path.basename(r["source"]) == "berth.json" for r in rows) and len(rows) == example.count('": ')
    assert open(os.path.join(os.path.dirname(__file__), "../../docs/berth.example.json")).read() == example, "berth config --example > docs/berth.example.json"


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def certificate(folder, name, authority, host="parking.example.org"):
    """A certificate of an authority of our own, as an operator buys one."""
    if not (folder / f"{authority}.pem").exists():
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj", f"/CN={authority}",
                "-keyout", folder / f"{authority}.key", "-out", folder / f"{authority}.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{host}",
            "-keyout", folder / "new.key", "-out", folder / "new.csr")
    openssl("x509", "-req", "-in", folder / "new.csr", "-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}.key", "-CAcreateserial", "-days", 20,
            "-copy_extensions", "copy", "-out", folder / "new.pem")
    os.replace(folder / "new.key", folder / "own.key")
    os.replace(folder / "new.pem", folder / "own.pem")


def shown(port, ca, host):
    """The names and the serial number of the certificate that a port shows; it has to be the host's."""
    context = ssl.create_default_context(cafile=str(ca))
    with socket.create_connection(("127.0.0.1", port)) as line, context.wrap_socket(line, server_hostname=host) as tls:
        found = tls.getpeercert()
        return {value for _, value in found["subjectAltName"]}, found["serialNumber"], found["subject"][0][0][1]


def test_names_in_the_local_certificate(tmp_path):
    """--host-name; the same names keep the certificate, other names make another one, and one that the operator put there stays."""
    server = Server(tmp_path, tls__names="parking.example.org,10.1.2.3,2001:db8::1").start()
    names, serial, _ = shown(server.https_port, server.ca, "parking.example.org")
    assert {"parking.example.org", "10.1.2.3", "localhost", "127.0.0.1", "2001:DB8:0:0:0:0:0:1"} <= names and shown(server.mqtt_port, server.ca, "parking.example.org")[1] == serial
    server.stop()
    server.start()
    assert shown(server.https_port, server.ca, "parking.example.org")[1] == serial
    server.stop()
    server.settings["tls__names"] = "other.example.org"
    server.start()
    names, fresh, _ = shown(server.https_port, server.ca, "other.example.org")
    assert fresh != serial and "parking.example.org" not in names
    server.stop()
    (server.data / "tls/server.made").write_text("{}")
    server.settings["tls__names"] = "third.example.org"
    server.start()
    assert shown(server.https_port, server.ca, "other.example.org")[1] == fresh, "it is not the one that was made: it stays"
    server.stop()


def test_a_renewal_that_was_cut_off(tmp_path):
    """The new key has its name and the new certificate has not: the next start makes both, and the city goes on."""
    server = Server(tmp_path).start()
    server.stop()
    tls = server.data / "tls"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tls / "server.key")
    (tls / "server.made.new").write_text((tls / "server.made").read_text())
    server.start()
    assert shown(server.https_port, server.ca, "localhost") and not (tls / "server.made.new").exists()
    server.stop()


def test_an_own_certificate_is_read_anew(tmp_path):
    """SIGHUP: new connections of both carriers see the new certificate, open ones go on; what is no certificate changes nothing."""
    own = tmp_path / "own"
    own.mkdir()
    certificate(own, "first", "Authority A")
    settings = {"tls__certificate": own / "own.pem", "tls__key": own / "own.key", "tls__authority": own / "Authority A.pem"}
    server = Server(tmp_path / "city", **settings).start()
    try:
        assert server.ready["ca"] == str(own / "Authority A.pem")
        local = server.data / "tls/ca.pem"
        server.context.check_hostname = False
        key = server.lot("TLS1")
        lot = Lot(server, key)
        lot.client.tls_insecure_set(True)
        lot.connect()
        look = lambda port: shown(port, own / "Authority A.pem", "parking.example.org")
        assert lot.call("sys.time.get")["code"] == 0
        assert look(server.https_port)[2] == look(server.mqtt_port)[2] == "first"
        assert subprocess.run(["openssl", "verify", "-CAfile", local, own / "own.pem"], capture_output=True).returncode != 0
        certificate(own, "second", "Authority A")
        assert look(server.https_port)[2] == "first"
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: look(server.https_port)[2] == look(server.mqtt_port)[2] == "second")
        assert lot.call("sys.time.get")["code"] == 0, "the open connection goes on"
        (own / "own.pem").write_text("no certificate")
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: "the certificate stays as it was" in open(server.folder / "server.log").read())
        assert look(server.https_port)[2] == "second" and server.call(key, "sys.time.get").code == 0
        lot.disconnect()
    finally:
        server.stop()
    certificate(own, "third", "Authority A")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", own / "own.key")
    done = subprocess.run([BIN / "berth", "serve", "--data", server.data, "--https-port", "0", "--mqtt-port", "0",
                           *[w for k, v in settings.items() for w in ("--set", f"{k.replace('__', '.')}={v}")]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "no certificate with its key" in done.stderr, done.stderr


def test_what_prometheus_reads(tmp_path):
    """/metrics passes promtool; every name in the rules and in the dashboard is there; the rules fire for what they are about, and for nothing else."""
    server = Server(tmp_path).start()
    provider, key = server.issue("provider"), server.lot("METER1")
    assert server.call(provider, "order.create", {"clientOrderNo": "x"}).code == 100
    lot = Lot(server, key).connect()
    lot.publish("sys.heartbeat", {"queueDepth": 3, "clockOffsetMs": 1500})
    connection = server.connection()

    def scrape():
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    text = eventually(lambda: next((t for t in [scrape()] if 'berth_lot_queue{lot="METER1"} 3' in t), None))
    assert 'berth_requests_total{service="order.create",code="100"} 1' in text and 'berth_lot_clock_offset_seconds{lot="METER1"} 1.5' in text
    assert 'berth_request_duration_seconds_count{service="order.create"} 1' in text and "berth_broker_connected 1" in text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    lot.disconnect()
    server.stop()
    folder = ROOT / "packaging/monitoring"
    # The lease is one of a city on PostgreSQL (test_cluster).
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} | {"berth_lease_margin_seconds"}
    for file in ("berth.rules.yml", "grafana-berth.json"):
        used = set(re.findall(r"\b(?:berth|process)_[a-z0-9_]+\b", re.sub(r'"(?:uid|title)": "[^"]*"', "", (folder / file).read_text())))
        assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} <= names, (file, used - names)
    for command in (["check", "rules", folder / "berth.rules.yml"], ["test", "rules", folder / "berth.rules.test.yml"]):
        done = subprocess.run(["promtool", *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_trace_goes_through(tmp_path):
    """traceparent: accepted, returned with a span of our own, and in the log of a refusal; what is none is left out."""
    server = Server(tmp_path, log__format="json").start()
    provider = server.issue("provider")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = lambda: json.dumps(envelope(provider, "lot.detail", {"parkCode": "NOBODY"})).encode()
    ask = lambda text: server.post("/api/v1/lot/detail", body(), {"Content-Type": "application/json", "traceparent": text}).headers.get("traceparent")
    answer = ask(f"00-{trace}-00f067aa0ba902b7-01")
    assert re.fullmatch(rf"00-{trace}-[0-9a-f]{{16}}-01", answer) and "00f067aa0ba902b7" not in answer
    for text in ("", "x", f"00-{trace}-00f067aa0ba902b7", f"ff-{trace}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01",
                 f"00-{trace.upper()}-00f067aa0ba902b7-01", f"00-{trace}-{'0' * 16}-01", f"00-{trace}-00f067aa0ba902b7-01-x", "é" * 55):
        assert ask(text.encode("utf-8").decode("latin1")) is None, text
    assert ask(f"01-{trace}-00f067aa0ba902b7-01-more")
    server.stop()
    refused = [row for row in map(json.loads, open(tmp_path / "server.log").read().splitlines()) if row["message"] == "refused"]
    assert refused[0]["trace"] == trace and "trace" not in refused[1]


def test_a_log_of_json(tmp_path):
    """Each line of the log is JSON with time, level and message; a refusal names the request."""
    server = Server(tmp_path, log__format="json").start()
    provider = server.issue("provider")
    answer = server.call(provider, "lot.detail", {"parkCode": "NOBODY"})
    assert answer.code == 1000
    server.stop()
    rows = [json.loads(line) for line in open(tmp_path / "server.log").read().splitlines()]
    assert all({"time", "level", "message"} <= row.keys() and row["time"].endswith("Z") for row in rows)
    refused = [row for row in rows if row["message"] == "refused"]
    assert refused[0]["requestId"] == answer.json["requestId"] and refused[0]["code"] == "1000"


def test_one_number_from_request_to_push(tmp_path):
    """log.requests=all: the answer, the commit, the entry of the lot's log and the notification of a reservation carry its requestId."""
    pem, key_file = callback.certificate(tmp_path)
    server = Server(tmp_path / "city", log__format="json", log__requests="all", callback__allowPrivate="true", callback__ca=pem).start()
    key = server.lot("TRAIL1")
    lot = Lot(server, key).connect()
    provider = server.issue("provider")
    party = callback.Callback(pem, key_file)
    server.cli("keys", "set", "--app-id", provider.app_id, "--callback", party.url)
    made = server.call(provider, "order.create", booking("TRAIL1"))
    assert made.code == 0
    number = made.json["requestId"]
    rows = lambda: [row for row in map(json.loads, open(tmp_path / "city/server.log").read().splitlines()) if row.get("requestId") == number]
    steps = lambda what: [row for row in rows() if row["message"] == what]
    pushed = lot.wait(lambda: next(iter(lot.applied), None))
    eventually(lambda: len(steps("confirmed")) >= 1)
    cancelled = server.call(provider, "order.cancel", {"orderNo": made.data["orderNo"]})
    assert cancelled.code == 0
    assert [row["code"] for row in steps("answered")] == ["0"] and steps("answered")[0]["service"] == "order.create"
    [committed] = steps("committed")
    assert committed["orders"] == made.data["orderNo"] and int(committed["entry"]) > 0
    [sent] = [row for row in steps("sent") if row.get("lot") == "TRAIL1"]
    assert sent["over"] == "mqtt" and sent["push"] == pushed["requestId"] and sent["push"] in committed["pushes"].split(",")
    assert steps("confirmed")[0]["push"] == sent["push"] and steps("confirmed")[0]["code"] == "0"
    told = lambda: [row["push"] for row in steps("confirmed") if row["service"] == "order.status.notify"]
    assert eventually(told)[0] in committed["pushes"].split(",")
    # The cancel is another request with another number, and its notification carries that one.
    number = cancelled.json["requestId"]
    assert eventually(told)[0] in steps("committed")[0]["pushes"].split(",")
    assert {body["requestId"] for body in party.received} >= set(told())
    lot.disconnect()
    server.stop()
    party.close()


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("desk")).start()
    yield server
    server.stop()


def test_tables_for_people(city):
    """-o table: a heading, a line each, local times, the language of the locale; elsewhere JSON, as programs want it."""
    key, provider = city.lot("TABLE1"), city.issue("provider")
    assert city.call(provider, "order.create", {"clientOrderNo": "x"}).code == 100
    show = lambda *args, lang="C.UTF-8": subprocess.run([BIN / "berth", *args, "--data", city.data], capture_output=True, text=True,
                                                        env={**os.environ, "LC_ALL": lang, "TZ": "Asia/Shanghai"}, check=True).stdout
    lots = show("lots", "list", "-o", "table").splitlines()
    assert lots[0].split()[:2] == ["lot", "name"] and lots[1].startswith("TABLE1") and "no" in lots[1].split()
    assert show("lots", "list", "-o", "table", lang="zh_CN.UTF-8").splitlines()[0].startswith("车场编码")
    assert json.loads(show("lots", "list"))["parkCode"] == "TABLE1" and json.loads(show("lots", "show", "--park", "TABLE1"))["totalSpace"] == 100
    calls = show("calls", "--app-id", provider.app_id, "-o", "table", "--refused").splitlines()
    assert "order.create" in calls[1] and "100" in calls[1].split() and "parkCode" in calls[1]
    assert [json.loads(line)["meaning"] for line in show("calls", "--app-id", provider.app_id).splitlines()]
    for command in (["keys", "list"], ["audit", "list", "--last", "3"], ["callbacks", "list"], ["lots", "dead"], ["status"], ["lots", "show", "--park", "TABLE1"]):
        for lang in ("C.UTF-8", "zh_CN.UTF-8"):
            text = show(*command, "-o", "table", lang=lang)
            assert text and not text.startswith("{") and key.secret not in text, (command, text)
    status = json.loads(show("status"))
    assert status["version"] and status["certificateEnds"] > status["startedAt"] > 0
    assert len(show("audit", "list", "--last", "1").splitlines()) == 1
    for words, nearest in ((["stauts", "--data", "x"], "status"), (["lots", "lst"], "list"), (["key", "list"], "keys")):
        done = subprocess.run([BIN / "berth", *words], capture_output=True, text=True)
        assert done.returncode == 64 and f"the nearest is {nearest}" in done.stderr, done.stderr
    for words, nearest in ((["lots", "show", "--parc", "X"], "--park"), (["backup", "--too", "/x"], "--to"), (["calls", "--app-id", "x", "--refuse"], "--refused")):
        done = subprocess.run([BIN / "berth", *words], capture_output=True, text=True)
        assert done.returncode == 64 and f"the nearest is {nearest}" in done.stderr, done.stderr
        done = subprocess.run([BIN / "berth", *words], capture_output=True, text=True, env={**os.environ, "LC_ALL": "zh_CN.UTF-8"})
        assert f"最接近的是 {nearest}" in done.stderr, done.stderr
    code, rows, _ = config(city.data, "--changed")
    assert code == 0 and {r["key"]: r["source"] for r in rows}["https.port"] == "--set", "what the running server has"
    # The file as the next start would read it.
    file = city.data / "berth.json"
    kept = file.read_text() if file.exists() else None
    file.write_text('{"log": {"requests": "all"}, "https.port": 1}')
    code, rows, _ = config(city.data, "--changed")
    rows = {r["key"]: r for r in rows}
    assert code == 0 and (rows["log.requests"]["value"], rows["log.requests"]["next"]) == ("refused", "all") and "next" not in rows["https.port"], "a flag wins"
    for text, why in (('{"log.requests": "evrything"}', "refused or all expected"), ('{"log.requsts": "all"}', "the nearest is log.requests"), ("{", "berth.json")):
        file.write_text(text)
        code, _, done = config(city.data)
        assert code == 1 and why in done.stderr, done
    file.unlink() if kept is None else file.write_text(kept)
    done = subprocess.run([BIN / "berth", "lots", "show", "--park", "NONE", "--data", city.data], capture_output=True, text=True)
    assert done.returncode == 1 and "NONE" in done.stderr
