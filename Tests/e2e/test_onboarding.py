"""Annex A: a lot on its way into service, in review and in trust."""
import hashlib
import json
import os
import re
import subprocess

import pytest
import requests

from berth import BIN, Lot, Server, booking, eventually, lot_info, now
from test_pictures import png

ATTESTED = ["recognitionRate", "networkFallback", "backupPower", "videoRetention", "eventRetention", "signage"]


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("review"), onboarding="review").start()
    yield server
    server.stop()


def standing(server, park):
    answer = json.loads(server.cli("lots", "onboarding", "--park", park))
    return answer["stage"], answer["opened"], {i["id"]: i["verdict"] for i in answer["items"]}


def approve(server, park):
    return subprocess.run([BIN / "berth", "lots", "approve", "--data", server.data, "--park", park], capture_output=True, text=True)


def test_a_lot_is_proved_item_by_item(city):
    """applied → testing → live → suspended: each item fails first, then passes by the message that proves it, or by attestation."""
    key, provider = city.issue("lot", "P1", rate=1000), city.issue("provider", rate=1000)
    assert standing(city, "P1")[0] == "applied"
    info = lambda **changes: city.call(key, "lot.info.report", lot_info("P1", shareSpace=5, shareEnabled=True, **changes)).code
    assert info(offlineCapable=False) == 0
    stage, opened, items = standing(city, "P1")
    assert stage == "testing" and opened == [] and items["capacity"] == "passed" and items["offline"] == "failed"
    assert items["gates"] == items["clock"] == items["picture"] == items["backupPower"] == "missing"
    refused = city.call(provider, "order.create", booking("P1"))
    assert (refused.status, refused.code) == (422, 1001), "not before it is live"
    assert city.call(provider, "slot.query", {"parkCode": "P1", "date": "2026-11-25"}).code == 1001
    early = approve(city, "P1")
    assert early.returncode == 1 and "gates" in early.stderr and "backupPower" in early.stderr
    item = lambda name: standing(city, "P1")[2][name]
    assert info(offlineCapable=True) == 0 and item("offline") == "passed"
    gates = [{"gateCode": "G1", "gateName": "入口", "direction": 1}, {"gateCode": "G2", "gateName": "出口", "direction": 2}]
    report = lambda rows: city.call(key, "lot.gate.report", {"gates": rows}).code
    assert report(gates[:1]) == 0 and item("gates") == "failed"
    assert report(gates) == 0 and item("gates") == "passed" and item("plateRecognition") == "failed" and item("barrier") == "failed"
    assert report([{**g, "cameraCount": 1, "remoteControl": True} for g in gates]) == 0
    assert item("plateRecognition") == item("barrier") == "passed"
    assert city.call(key, "device.status.report", {"devices": [{"deviceCode": "L1", "type": 5, "status": 1}]}).code == 0
    assert item("display") == "passed"
    lot = Lot(city, key).connect()
    eventually(lambda: item("mqtt") == "passed")
    beat = lambda offset: lot.publish("sys.heartbeat", {"clockOffsetMs": offset, "queueDepth": 0})
    beat(9_000)
    eventually(lambda: item("clock") == "failed" and item("heartbeat") == "passed")
    beat(12)
    eventually(lambda: item("clock") == "passed")
    # Resume: it has acknowledged its down log and asked where it stands.
    operator = city.issue("operator", rate=1000)
    assert item("resume") == "missing" and city.call(operator, "config.push", {"heartbeatSec": 30}, park="P1").code == 0
    lot.wait(lambda: lot.ack == 1)
    eventually(lambda: city.sql("SELECT down_ack FROM positions") == [(1,)])
    city.call(key, "sync.cursor.query")
    eventually(lambda: item("resume") == "passed")
    web = requests.Session()
    web.verify, web.trust_env = city.ca, False

    def upload(width, height):
        data = png(width, height)
        ticket = city.call(key, "image.ticket.apply", {"type": 1, "ext": "png", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}).data
        assert web.put(ticket["uploadUrl"], data=data).status_code == 204
        assert city.call(key, "image.upload.complete", {"imageId": ticket["imageId"]}).code == 0
    upload(640, 480)
    eventually(lambda: item("picture") == "failed")
    upload(1280, 720)
    eventually(lambda: item("picture") == "passed")
    attest = lambda name, *more: subprocess.run([BIN / "berth", "lots", "attest", "--data", city.data, "--park", "P1", "--item", name, "--by", "王工", *more],
                                                capture_output=True, text=True)
    assert attest("gates").returncode == 1 and attest("nonsense").returncode == 1
    for name in ATTESTED:
        assert attest(name).returncode == 0 and item(name) == "passed"
    # Reservation is opened; sharing is not, since neither tariff nor spaces are there.
    assert approve(city, "P1").returncode == 0 and standing(city, "P1")[:2] == ("live", [1])
    assert city.call(provider, "order.create", booking("P1")).code == 0
    # At any hour of the day at which this test runs.
    city.cli("lots", "set", "--park", "P1", "shareWindow=00:00-24:00")
    shared = city.call(provider, "order.create", booking("P1", bizType=2))
    assert (shared.status, shared.code) == (422, 1200)
    assert city.call(key, "lot.tariff.report", {"tariffId": "T1", "effectiveFrom": now(), "rules": [{"stepMin": 60, "stepFee": 500}]}).code == 0
    assert city.call(key, "lot.space.report", {"spaces": [{"spaceNo": "A1"}]}).code == 0
    eventually(lambda: standing(city, "P1")[:2] == ("live", [1, 2]))
    assert city.call(provider, "order.create", booking("P1", bizType=2)).code == 0
    # What fails later closes the business again; what passes again opens it.
    assert report([{**g, "cameraCount": 0, "remoteControl": True} for g in gates]) == 0
    eventually(lambda: standing(city, "P1")[1] == [])
    assert city.call(provider, "order.create", booking("P1")).code == 1001
    assert report([{**g, "cameraCount": 2, "remoteControl": True} for g in gates]) == 0
    eventually(lambda: standing(city, "P1")[1] == [1, 2])
    city.cli("lots", "suspend", "--park", "P1")
    assert standing(city, "P1")[0] == "suspended" and city.call(provider, "order.create", booking("P1")).code == 1001
    city.kill()
    city.start()
    assert standing(city, "P1")[0] == "suspended", "the stage is kept"
    eventually(lambda: item("mqtt") == "passed")
    beat(0)
    eventually(lambda: item("clock") == "passed")
    city.cli("lots", "resume", "--park", "P1")
    assert city.call(provider, "order.create", booking("P1")).code == 0
    assert attest("signage", "--withdraw").returncode == 0 and item("signage") == "missing"
    lot.disconnect()


def test_trust_opens_at_the_first_description(server, provider):
    """The default, for demos and tests: `lot.info.report` opens the lot; an operator may still take it out of service."""
    server.lot("TRUST")
    assert server.call(provider, "order.create", booking("TRUST")).code == 0
    server.cli("lots", "suspend", "--park", "TRUST")
    assert server.call(provider, "order.create", booking("TRUST")).code == 1001
    server.cli("lots", "resume", "--park", "TRUST")
    assert server.call(provider, "order.create", booking("TRUST")).code == 0

def test_a_sheet_for_a_vendor(tmp_path):
    """`keys issue --sheet` writes what one sends to a vendor, without the secret; a gateway that is set up by it connects, and `check` says so."""
    from berth import Server
    server = Server(tmp_path / "server", tls__names="city.test,127.0.0.1").start()
    sheet = tmp_path / "vendor.md"
    made = json.loads(server.cli("keys", "issue", "--role", "lot", "--name", "人民医院", "--park", "SHEET", "--sheet", sheet, "--host", "127.0.0.1"))
    text = sheet.read_text()
    assert made["appSecret"] not in text and sheet.stat().st_mode & 0o777 == 0o600
    for word in (made["appId"], f"https://127.0.0.1:{server.https_port}/api/v1/…", f"127.0.0.1:{server.mqtt_port}", f"{made['appId']}_SHEET",
                 "rsp/v1/SHEET/down/#", "UTC+8", "泊位接入信息单", "how to connect"):
        assert word in text, word
    # The authority in the sheet is the server's; its fingerprint is what openssl says of it.
    authority = tmp_path / "ca.pem"
    authority.write_text(text.split("## ca.pem")[1].split("```\n")[1].split("```")[0])
    said = subprocess.run(["openssl", "x509", "-in", authority, "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True, check=True).stdout
    assert said.strip().split("=")[1] in text
    # The draft, completed with the secret, is a gateway's file.
    draft = json.loads(text.split("```json\n")[1].split("```")[0])
    draft["lots"][0] |= {"appSecret": made["appSecret"], "totalSpace": 10}
    draft |= {"ca": str(authority), "spool": str(tmp_path / "spool.sqlite"), "listen": "127.0.0.1:0"}
    file = tmp_path / "gateway.json"

    def check(**changes):
        file.write_text(json.dumps(draft | changes))
        done = subprocess.run([BIN / "berth-gateway", "check", "--config", file], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        return done.returncode, done.stdout
    code, lines = check()
    assert code == 0 and "FAILED" not in lines, lines
    assert re.search(rf"ok +SHEET HTTPS: https://127.0.0.1:{server.https_port}, \d+ ms", lines) and "SHEET credential" in lines and "SHEET MQTT" in lines, lines
    assert not (tmp_path / "spool.sqlite").exists(), "a check leaves nothing"
    # Beside a gateway that runs, its connection is left alone: the broker knows one for each credential.
    import socket
    with socket.create_server(("127.0.0.1", 0)) as running:
        code, lines = check(listen=f"127.0.0.1:{running.getsockname()[1]}")
        assert code == 0 and re.search("unknown +SHEET MQTT: .*a gateway runs", lines), lines
    # Each thing that may be wrong is named at its step.
    wrong = [dict(draft["lots"][0], appSecret="x" * 40)]
    for changes, step in (({"lots": wrong}, "SHEET HTTPS"), ({"mqtt": "127.0.0.1:1"}, "SHEET MQTT"), ({"server": "https://127.0.0.1:1"}, "SHEET HTTPS"),
                          ({"ca": str(tmp_path / "none.pem")}, "authority"), ({"spool": "/nowhere/spool.sqlite"}, "spool"), ({"lots": []}, "configuration")):
        code, lines = check(**changes)
        assert code == 1 and re.search(rf"FAILED +{step}", lines), (changes, lines)
    # A file that is there already costs no credential.
    before = server.cli("keys", "list")
    again = subprocess.run([BIN / "berth", "keys", "issue", "--data", server.data, "--role", "lot", "--name", "x", "--park", "SHEET", "--sheet", sheet],
                           capture_output=True, text=True)
    assert again.returncode == 1 and "is there already" in again.stderr and server.cli("keys", "list") == before
    refused = subprocess.run([BIN / "berth", "keys", "issue", "--data", server.data, "--role", "lot", "--name", "x", "--sheet", tmp_path / "other.md"],
                             capture_output=True, text=True)
    assert refused.returncode == 1 and not (tmp_path / "other.md").exists(), "nothing was issued, and no empty file stays"
    server.stop()
