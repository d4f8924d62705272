"""Section 13: personal data sealed at rest and masked outside the lot, every look and every operator's write on record."""
import json
import sqlite3
import subprocess

import requests

from berth import BIN, Lot, booking, entry, eventually, exit_, now, plate

PHONE = "13912345678"


def test_no_plate_and_no_phone_at_rest(own_server):
    """The raw database, its log, the server's log and the metrics, after a whole day's kinds of messages, and after the server was killed."""
    server = own_server.start()
    key, provider, operator = server.lot("P1", rate=1000), server.issue("provider", rate=1000), server.issue("operator", rate=1000)
    plates = [f"粤B{n}" for n in range(54321, 54327)] + ["粤BD98765"]
    first = server.call(provider, "order.create", booking("P1", now() + 20 * 60_000, plateNo=plates[0], mobile=PHONE)).data
    second = server.call(provider, "order.create", booking("P1", plateNo=plates[1], mobile=PHONE)).data
    server.call(provider, "order.modify", {"orderNo": second["orderNo"], "plateNo": plates[2]})
    server.call(provider, "vehicle.bind", {"userToken": "u1", "plateNo": plates[3], "plateColor": 0})
    inside = entry("r1", plates[0], order=first["orderNo"])
    assert server.call(key, "vehicle.entry.report", inside, epoch="e", seq=1).code == 0
    assert server.call(key, "vehicle.exit.report", exit_(inside), epoch="e", seq=2).code == 0
    server.call(key, "list.local.report", {"listType": 1, "items": [{"plateNo": plates[4]}]}, epoch="e", seq=3)
    server.call(key, "event.report", {"eventId": "x", "eventType": 7001, "occurTime": now(), "plateNo": plates[5]}, epoch="e", seq=4)
    server.call(operator, "list.black.push", {"plateNo": plates[6], "plateColor": 4, "status": 1}, park="P1")
    server.call(key, "vehicle.entry.report", {"plateNo": plates[5], "plateColor": "broken"}, epoch="e", seq=5)
    lot = Lot(server, key).connect()
    lot.wait(lambda: len(lot.applied) >= 4)
    lot.disconnect()
    metrics = requests.Session()
    metrics.trust_env = False
    text = metrics.get(server.ready["https"] + "/metrics", verify=server.ca).text
    server.kill()
    found = {}
    places = {f.name: f.read_bytes() for f in [*server.data.glob("berth.sqlite*"), server.folder / "server.log", *server.data.glob("broker/*")]}
    places["/metrics"] = text.encode()
    assert len(places["berth.sqlite"]) + len(places["berth.sqlite-wal"]) > 100_000 and "berth_lots 1" in text
    for secret in plates + [PHONE, "B54321", "D98765"]:
        found |= {(name, secret) for name, content in places.items() if secret.encode() in content} and {secret: "is readable"}
    assert not found, found
    # And nothing is lost by it.
    server.start()
    shown = server.call(provider, "order.detail", {"orderNo": first["orderNo"]}).data
    assert shown["plateNo"] == plates[0] and shown["status"] == 3
    assert server.call(provider, "order.list", {"plateNo": plates[2]}).data["orders"][0]["orderNo"] == second["orderNo"], "by its keyed hash"


def audit(server, after=0):
    return [json.loads(line) for line in server.cli("audit", "list", "--after", after).split("\n") if line]


def test_every_look_and_every_deed_is_on_record(server):
    provider, operator = server.issue("provider", rate=1000), server.issue("operator", rate=1000)
    key = server.lot("AUDIT")
    number = plate()
    order = server.call(provider, "order.create", booking("AUDIT", plateNo=number)).data
    start = audit(server)[-1]["id"]
    mine = lambda: [r for r in audit(server, start) if r["actor"] == operator.app_id]
    masked = server.call(operator, "order.detail", {"orderNo": order["orderNo"]}).data["plateNo"]
    assert masked == number[:2] + "***" + number[-2:] and mine() == []
    assert server.call(operator, "order.detail", {"orderNo": order["orderNo"], "reveal": True}).code == 100, "a reason is needed"
    assert server.call(operator, "order.detail", {"orderNo": order["orderNo"], "reveal": True, "reason": "投诉 2026-001"}).data["plateNo"] == number
    assert [(r["action"], r["target"], r["detail"]) for r in mine()] == [("look order.detail", order["orderNo"], "投诉 2026-001")]
    assert server.call(operator, "order.list", {"plateNo": number}).data["orders"][0]["plateNo"] == masked
    assert server.call(operator, "sync.snapshot.query", {"reveal": True, "reason": "核对"}, park="AUDIT").data["orders"][0]["plateNo"] == number
    assert server.call(operator, "recon.inlot.list", {"detailType": 2}, park="AUDIT").code == 0
    assert server.call(operator, "list.white.push", {"plateNo": number, "plateColor": 0, "status": 1}, park="AUDIT").code == 0
    assert server.call(operator, "gate.control", {"gateCode": "G1", "action": "OPEN", "plateNo": number}, park="AUDIT").code == 600
    assert [r["action"] for r in mine()] == [
        "look order.detail", "look order.list", "look sync.snapshot.query", "look recon.inlot.list", "list.white.push", "gate.control"]
    assert number not in json.dumps(mine(), ensure_ascii=False), "the record itself shows no plate"
    written = json.loads(mine()[4]["detail"])
    assert written["data"]["plateNo"] == masked and written["code"] == 0
    # What the desk does stands there too; a provider's own orders do not.
    server.cli("lots", "set", "--park", "AUDIT", "lateMin=20")
    assert [r["action"] for r in audit(server, start) if r["actor"] == "desk"][-1] == "lots.set"
    assert not [r for r in audit(server, start) if r["actor"] in (provider.app_id, key.app_id)]


def test_the_chain_shows_what_was_done_to_it(own_server):
    server = own_server.start()
    operator = server.issue("operator", rate=1000)
    server.lot("P1")
    for _ in range(5):
        assert server.call(operator, "config.push", {"heartbeatSec": 30}, park="P1").code == 0
    verify = lambda: subprocess.run([BIN / "berth", "audit", "verify", "--data", server.data], capture_output=True, text=True)
    whole = verify()
    assert whole.returncode == 0 and json.loads(whole.stdout)["intact"] is True and json.loads(whole.stdout)["records"] >= 7
    server.write("UPDATE audit SET detail = 'nothing happened' WHERE action = 'config.push' AND id = (SELECT max(id) FROM audit)")
    assert verify().returncode == 1
    last = server.sql("SELECT max(id) FROM audit")[0][0]
    assert json.loads(verify().stdout)["brokenAt"] == last
    server.write("DELETE FROM audit WHERE id = ?", last - 2)
    assert json.loads(verify().stdout)["brokenAt"] == last - 1


def test_what_is_over_is_deleted_once_a_day(own_server):
    """Records and audit are kept at least 365 days; a setting below that is refused."""
    server = own_server.start()
    provider, operator = server.issue("provider", rate=1000), server.issue("operator")
    server.lot("P1")
    old = server.call(provider, "order.create", booking("P1")).data
    server.call(provider, "order.cancel", {"orderNo": old["orderNo"]})
    kept = server.call(provider, "order.create", booking("P1")).data
    server.stop()
    long_ago = now() - 401 * 86_400_000
    server.write("UPDATE orders SET changed_at = ? WHERE serial = 1", long_ago)
    # Also what the order that is kept points at.
    server.write("UPDATE journal SET at = ? WHERE id <= 5", long_ago)
    server.write("UPDATE audit SET at = ? WHERE id = 1", long_ago)
    server.start()
    eventually(lambda: server.sql("SELECT serial FROM orders") == [(2,)])
    eventually(lambda: server.sql("SELECT count(*) FROM journal WHERE id <= 5") == [(0,)] and server.sql("SELECT min(id) FROM audit") == [(2,)])
    assert server.call(provider, "order.detail", {"orderNo": old["orderNo"]}).code == 1120
    assert server.call(provider, "order.detail", {"orderNo": kept["orderNo"]}).code == 0
    assert subprocess.run([BIN / "berth", "audit", "verify", "--data", server.data], capture_output=True).returncode == 0
    server.stop()
    for setting in ("retention.auditDays=364", "retention.recordsDays=30", "retention.picturesDays=29"):
        done = subprocess.run([BIN / "berth", "serve", "--data", server.data, "--set", setting], capture_output=True, text=True, timeout=30)
        assert done.returncode == 1 and setting.split("=")[0] in done.stderr
    server.start()
    again = server.call(provider, "order.detail", {"orderNo": kept["orderNo"]})
    assert again.code == 0 and again.data["plateNo"] == kept["plateNo"]
