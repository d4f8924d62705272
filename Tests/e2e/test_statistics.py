"""Seed 6.1: what happened, per lot, provider and day, as a service and for Prometheus."""
import sqlite3
import subprocess

import requests

from berth import Lot, booking, entry, envelope, eventually, exit_, now

MINUTE = 60_000


def day():
    import datetime
    return datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=8))).date().isoformat()


def test_who_is_not_known_fills_no_table(own_server):
    server = own_server.start()
    known = server.issue("provider", rate=1000)
    for number in range(40):
        stranger = type(known)({"appId": f"stranger{number:04}", "appSecret": "x"})
        message = envelope(stranger, "lot.search", {}, nonce="!", parkCode=f"X{number}")
        assert server.send(stranger, message).code == 102
        assert server.send(known, {**envelope(known, "lot.search", {}, parkCode=f"X{number}"), "sign": "0" * 64}).code == 201
    assert server.call(known, "order.detail", {"orderNo": "none"}).code == 1120
    server.stop()
    database = sqlite3.connect(server.data / "berth.sqlite")
    rows = database.execute("SELECT DISTINCT app_id, lot FROM day_counts").fetchall()
    database.close()
    assert rows == [(known.app_id, "")], "a refusal is counted for whoever signed the request"


def test_a_day_is_counted(own_server):
    server = own_server.start()
    key, other = server.lot("P1", rate=1000), server.lot("P2", rate=1000)
    one, two, operator = (server.issue(r, rate=1000) for r in ("provider", "provider", "operator"))
    lot = Lot(server, key).connect()
    for n in range(6):
        order = server.call(one, "order.create", booking("P1", now() + 20 * MINUTE)).data
        if n < 4:
            inside = entry(f"r{n}", order["plateNo"], order=order["orderNo"], enter=now() - (20_000 if n == 0 else 100))
            lot.call("vehicle.entry.report", inside, epoch="e", seq=2 * n + 1)
            lot.call("vehicle.exit.report", exit_(inside, now()), epoch="e", seq=2 * n + 2)
        elif n == 4:
            server.call(one, "order.cancel", {"orderNo": order["orderNo"], "confirmBreach": True})
    server.call(two, "order.create", booking("P2"))
    free = server.call(two, "order.create", booking("P2")).data
    server.call(two, "order.cancel", {"orderNo": free["orderNo"]})
    server.call(two, "order.create", booking("P2", plateNo="ABC"))
    server.call(two, "order.create", booking("P9"))
    lot.wait(lambda: lot.ack >= 7)

    def rows(key, **data):
        reply = server.call(key, "stat.daily.query", data, **({} if key.park is None else {"park": key.park}))
        assert reply.code == 0, reply
        return reply.data["rows"]
    eventually(lambda: rows(operator) and rows(operator)[0]["deliveries"] >= 7)
    city = rows(operator)
    assert len(city) == 1 and city[0]["date"] == day()
    assert {k: city[0][k] for k in ("orders", "entered", "left", "cancelled", "breach", "noShows")} == {
        "orders": 8, "entered": 4, "left": 4, "cancelled": 1, "breach": 1, "noShows": 0}
    assert city[0]["honourPerMille"] == 800, "4 of 5 that were due"
    assert city[0]["entries"] == 4 and city[0]["entriesLate"] == 1
    by = {(r["parkCode"], r["appId"]): r for r in rows(operator, groupBy=["lot", "provider"])}
    assert by["P1", one.app_id]["orders"] == 6 and by["P2", two.app_id]["orders"] == 2
    assert {r["code"]: r["count"] for r in by["", two.app_id]["refusals"]} == {1000: 1, 1010: 1}
    assert rows(one)[0]["orders"] == 6 and rows(two)[0]["orders"] == 2, "a provider sees its own"
    assert rows(other)[0]["orders"] == 2 and rows(key, appId=one.app_id)[0]["entered"] == 4, "a lot sees itself"
    assert server.call(operator, "stat.daily.query", {"dateFrom": "2026-01-02", "dateTo": "2026-01-01"}).code == 102
    assert server.call(operator, "stat.daily.query", {"groupBy": ["week"]}).code == 102
    # Killed before it could write: the journal tells it again, and once.
    server.call(one, "order.create", booking("P1"))
    server.kill()
    server.start()
    assert rows(operator)[0]["orders"] == 9
    server.kill()
    server.start()
    assert rows(operator)[0]["orders"] == 9 and rows(operator)[0]["left"] == 4
    lot.disconnect(clean=False)


def test_prometheus_takes_the_metrics(server, provider):
    server.lot("METER")
    server.call(provider, "order.create", booking("METER"))
    server.call(provider, "order.create", booking("NOWHERE"))
    session = requests.Session()
    session.verify, session.trust_env = server.ca, False
    answer = session.get(server.ready["https"] + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=answer.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'berth_lot_saturation_permille{lot="METER"} 0' in answer.text and 'berth_refusals_total{code="1000"}' in answer.text
    assert "berth_commit_duration_seconds_bucket" in answer.text and 'berth_happenings_total{kind="orders"}' in answer.text
