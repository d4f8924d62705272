"""The services that the pages need, called by whoever may: accounts and sessions by the pages' own role, boards, audit and calls by operators."""
import hashlib
import json
import secrets
import time
import uuid

import pytest

from berth import booking, envelope, eventually, Key, lot_info, now, plate

MINUTE = 60_000


@pytest.fixture(scope="module")
def web(server):
    return server.issue("web", rate=100_000)


@pytest.fixture(scope="module")
def operator(server):
    return server.issue("operator", rate=100_000)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def mobile():
    return "139" + str(secrets.randbelow(10**8)).zfill(8)


def account(server, web, **changes):
    reply = server.call(web, "person.save", {"login": mobile(), "kind": "user", "name": "李四", "roles": ["driver"], "userToken": secrets.token_hex(12), **changes})
    assert reply.code == 0, reply
    return reply.data


def test_accounts_of_people(server, web):
    """A new account, a change, a login that is taken, a list; the verifiers come to the pages alone, in person.find."""
    made = account(server, web, language="zh")
    assert made["personId"].startswith("P") and "passwordHash" not in made and made["hasTotp"] is False
    staff = server.call(web, "person.save", {
        "login": "staff." + secrets.token_hex(4), "kind": "staff", "name": "王岗亭", "roles": ["operator"], "parkCodes": ["WEB1"],
        "passwordHash": "pbkdf2$…", "totpSecret": "JBSWY3DPEHPK3PXP", "userToken": secrets.token_hex(12)}).data
    found = server.call(web, "person.find", {"login": staff["login"]}).data
    assert (found["personId"], found["passwordHash"], found["totpSecret"], found["hasTotp"]) == (staff["personId"], "pbkdf2$…", "JBSWY3DPEHPK3PXP", True)
    rows = server.call(web, "person.list", {"parkCode": "WEB1", "limit": 5}).data["persons"]
    assert [r["personId"] for r in rows] == [staff["personId"]] and "passwordHash" not in rows[0]
    assert server.call(web, "person.save", {"login": made["login"], "kind": "user", "userToken": "other"}).code == 404, "taken"
    assert server.call(web, "person.save", {"login": mobile(), "kind": "user"}).code == 100
    assert server.call(web, "person.save", {"personId": "P9999999999", "name": "x"}).code == 400
    assert server.call(web, "person.save", {"login": mobile(), "userToken": "k", "roles": ["king"]}).code == 102
    # A time step of the second factor is good once.
    step = {"personId": staff["personId"], "totpStep": 59_000_000}
    assert server.call(web, "person.save", step).code == 0
    assert server.call(web, "person.save", step).code != 0
    gone = server.call(web, "person.save", {"personId": made["personId"], "state": "deleted"}).data
    assert (gone["state"], gone["login"], gone["name"]) == ("deleted", "", "")
    account(server, web, login=made["login"])  # the number is free again


def test_one_time_codes(server, web):
    """A code is good once and for five minutes; five wrong answers end it; five codes an hour."""
    login, right = mobile(), digest("1")
    issued = server.call(web, "person.code.issue", {"login": login, "codeHash": right}).data
    assert issued["login"].startswith("139") and "*" in issued["login"] and issued["expireAt"] > now() + 4 * MINUTE
    check = lambda code: server.call(web, "person.code.check", {"login": login, "codeHash": code, "userToken": "u" + login, "language": "en"})
    wrong = check(digest("2"))
    assert (wrong.code, wrong.status) == (206, 401)
    person = check(right)
    assert person.code == 0 and person.data["userToken"] == "u" + login and "driver" in person.data["roles"]
    assert check(right).code == 206, "used"
    server.call(web, "person.code.issue", {"login": login, "codeHash": right})
    assert [check(digest("2")).code for _ in range(5)] == [206] * 5 and check(right).code == 206
    again = [server.call(web, "person.code.issue", {"login": login, "codeHash": right}).code for _ in range(4)]
    assert again == [0, 0, 0, 301]


def test_sessions(server, web):
    """A session is found by the hash of its cookie, ends by its number, and a closed account has none."""
    person = account(server, web)["personId"]
    hashes = [digest(secrets.token_hex(8)) for _ in range(2)]
    for one in hashes:
        opened = server.call(web, "session.open", {"personId": person, "sessionHash": one, "idleMin": 30, "endsAt": now() + 60 * MINUTE, "device": "Chrome · Android"})
        assert opened.code == 0 and opened.data["sessions"][-1]["sessionId"] == one[:16]
    assert server.call(web, "person.find", {"sessionHash": hashes[0].upper()}).data["personId"] == person
    assert server.call(web, "session.end", {"personId": person, "sessionId": hashes[0][:16]}).code == 0
    assert server.call(web, "person.find", {"sessionHash": hashes[0]}).code == 206
    assert server.call(web, "person.find", {"sessionHash": hashes[1]}).code == 0
    server.call(web, "person.save", {"personId": person, "state": "disabled"})
    assert server.call(web, "person.find", {"sessionHash": hashes[1]}).code == 206
    # Eleven browsers: the oldest goes.
    person = account(server, web)["personId"]
    many = [digest(secrets.token_hex(8)) for _ in range(11)]
    for one in many:
        server.call(web, "session.open", {"personId": person, "sessionHash": one, "idleMin": 30, "endsAt": now() + 60 * MINUTE})
    assert [server.call(web, "person.find", {"sessionHash": one}).code for one in (many[0], many[1], many[10])] == [206, 0, 0]
    assert server.call(web, "session.end", {"personId": person}).data["sessions"] == []


@pytest.mark.parametrize("service", ["person.save", "person.find", "person.list", "person.code.issue", "person.code.check", "session.open", "session.end"])
def test_accounts_are_the_pages_alone(server, operator, provider, service):
    for key in (operator, provider):
        assert server.call(key, service, {"login": "x", "personId": "x", "codeHash": "0" * 64, "sessionHash": "0" * 64}).code == 204


def test_search_by_text_and_price(server, operator, provider):
    """By the name of a lot instead of a point: what is free then, the price of the stay, and why not."""
    name = "WEBFIND"
    key = server.lot(name, parkName="观澜版画村停车场", address="龙华区观澜街道", lng="114.0700", lat="22.7300", limits={"maxHeightMm": 2100})
    server.call(key, "lot.gate.report", {"gates": [{"gateCode": "G1", "gateName": "北门", "direction": 1}]})
    reply = server.call(provider, "lot.search", {"text": "版画村", "arriveTime": now() + 50 * MINUTE, "stayMin": 90, "bizType": 1})
    assert reply.code == 0 and reply.data["center"]["name"] and reply.data["lots"][0]["parkCode"] == name
    lot = reply.data["lots"][0]
    assert lot["freeInWindow"] == 40 and lot["maxHeightMm"] == 2100 and lot["entrances"][0]["gateName"] == "北门" and lot["walkMin"] == 0
    full = server.lot("WEBFULL", reserve=0, reserveEnabled=True, parkName="观澜版画村二号", lng="114.0701", lat="22.7301")
    found = {l["parkCode"]: l for l in server.call(provider, "lot.search", {"text": "版画村", "bizType": 1}).data["lots"]}
    assert found["WEBFULL"]["freeInWindow"] == 0 and found["WEBFULL"]["reason"] > 0 and found["WEBFULL"]["reasonTextEn"], full
    assert server.call(provider, "lot.search", {}).code == 100
    assert server.call(provider, "lot.search", {"text": "无此地方" * 4}).data["lots"] == []


def test_board_compliance_audit(server, operator, provider):
    name = "WEBBOARD"
    server.lot(name)
    assert server.call(provider, "order.create", booking(name)).code == 0
    board = server.call(operator, "lot.board.query", {"parkCode": name}).data["lots"][0]
    assert (board["booked"], board["due60"], board["reserveQuota"], board["reserveFree"]) == (1, 1, 40, 40), "nothing is held yet at this moment"
    rows = server.call(operator, "lot.compliance.query", {"parkCode": name}).data["lots"]
    assert rows[0]["required"] > rows[0]["passed"] and rows[0]["open"][0]["zh"]
    assert len(rows[0]["met"]) == rows[0]["passed"] and len(rows[0]["met"]) + len(rows[0]["open"]) == rows[0]["required"]
    assert [i["id"] for i in rows[0]["met"]] == ["capacity"]
    # The sums by vendor are over all lots of the caller, however few rows are asked for.
    assert server.call(server.issue("lot", "WEBVENDOR"), "lot.info.report", lot_info("WEBVENDOR", vendor="捷停测试")).code == 0
    whole = server.call(operator, "lot.compliance.query", {"limit": 1, "vendors": True}).data
    own = [row for row in whole["vendors"] if row["vendor"] == "捷停测试"]
    assert whole["mode"] == "trust" and [(v["lots"], v["online"]) for v in own] == [(1, 0)] and own[0]["required"] == rows[0]["required"]
    assert sum(v["lots"] for v in whole["vendors"]) > 1 and "vendors" not in server.call(operator, "lot.compliance.query", {"limit": 1}).data
    by = lambda vendor: [row["parkCode"] for row in server.call(operator, "lot.compliance.query", {"vendor": vendor, "text": "WEB"}).data["lots"]]
    assert by("捷停测试") == ["WEBVENDOR"] and name in by("") and "WEBVENDOR" not in by("") and by("nobody") == []
    pages = server.call(operator, "lot.board.query", {"limit": 2}).data
    assert len(pages["lots"]) == 2 and pages["hasMore"]
    after = server.call(operator, "lot.board.query", {"limit": 1, "after": pages["lots"][0]["parkCode"]}).data["lots"]
    assert after[0]["parkCode"] == pages["lots"][1]["parkCode"]
    assert server.call(operator, "policy.set", {"scope": f"lot:{name}", "values": {"lateMin": 20}}).code == 0
    records = server.call(operator, "audit.list", {"action": "policy.set", "text": name, "limit": 5}).data["records"]
    assert records and records[0]["actor"] and name in records[0]["target"] + records[0]["detail"]
    both = lambda person, text: server.call(operator, "audit.list", {"action": "policy.set", "person": person, "text": text}).data["records"]
    assert both("lateMin", name) and not both("nobody", name) and not both("lateMin", "nowhere"), "person and text both have to stand there"
    first = server.call(operator, "audit.list", {"limit": 1}).data
    assert first["hasMore"] and server.call(operator, "audit.list", {"limit": 1, "cursor": first["nextCursor"]}).data["records"][0]["id"] < first["records"][0]["id"]
    assert server.call(operator, "lot.board.query", {"parkCode": "NOSUCHLOT"}).code == 1000
    limited = server.issue("operator", park=[name])
    assert sum(v["lots"] for v in server.call(limited, "lot.compliance.query", {"vendors": True}).data["vendors"]) == 1
    assert [l["parkCode"] for l in server.call(limited, "lot.board.query", {}).data["lots"]] == [name]
    assert server.call(limited, "lot.board.query", {"parkCode": "SILENT"}).code == 205


def test_a_change_of_a_rule_is_tried_first(server, operator, provider):
    """policy.preview says what a value would have done on a day, and changes nothing."""
    name = "WEBWHATIF"
    server.lot(name)
    assert server.call(provider, "order.create", booking(name)).code == 0
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    ask = {"scope": f"lot:{name}", "values": {"advanceMaxMin": 30, "lateMin": 45}, "date": today}
    reply = server.call(operator, "policy.preview", ask)
    effects = {e["name"]: e for e in reply.data["effects"]}
    assert reply.data["orders"] == 1 and effects["advanceMaxMin"]["known"] and effects["advanceMaxMin"]["changed"] == 1, reply
    values = server.call(operator, "policy.query", {"scope": f"lot:{name}"}).data
    assert "45" not in str({k: v for k, v in values.items() if k == "lateMin"})
    assert server.call(operator, "policy.preview", {**ask, "values": {"noSuchValue": 1}}).code == 102
    assert server.call(operator, "policy.preview", {**ask, "scope": "moon"}).code == 102


def test_lists_of_sharing_and_areas(server, operator, provider):
    name = "WEBSHARE"
    server.lot(name, reserve=0, shareEnabled=True, reserveEnabled=False, shareSpace=10)
    server.cli("lots", "set", "--park", name, "shareWindow=00:00-24:00")
    owner, user = secrets.token_hex(8), secrets.token_hex(8)
    offer = server.call(provider, "share.offer.publish", {"parkCode": name, "providerToken": owner, "count": 2, "proofImages": ["i"], "agreementVersion": "1.0"})
    assert offer.code == 0, offer
    mine = server.call(provider, "share.offer.list", {"providerToken": owner}).data["offers"]
    assert [o["offerId"] for o in mine] == [offer.data["offerId"]]
    assert server.call(provider, "share.offer.list", {}).code == 100 and server.call(provider, "share.list", {}).code == 100
    share = server.call(provider, "share.apply", {"parkCode": name, "userToken": user, "plateNos": [plate()], "periodFrom": now() + MINUTE, "periodTo": now() + 20 * 86_400_000})
    assert share.code == 0, share
    rows = server.call(provider, "share.list", {"userToken": user}).data["subscriptions"]
    assert [r["authNo"] for r in rows] == [share.data["authNo"]]
    seen = server.call(operator, "share.list", {"parkCode": name}).data["subscriptions"]
    assert [r["authNo"] for r in seen] == [share.data["authNo"]] and "*" in seen[0]["plateNos"][0], "masked for operators"
    stranger = server.issue("provider")
    assert server.call(stranger, "share.list", {"userToken": user}).data["subscriptions"] == []
    assert server.call(operator, "flow.area.set", {"areaId": "WEBAREA", "name": "观澜", "parkCodes": [name]}).code == 0
    assert {a["areaId"]: a for a in server.call(operator, "flow.area.list").data["areas"]}["WEBAREA"]["parkCodes"] == [name]


def test_the_last_calls_name_the_field(server, operator):
    """A developer sees the last calls with their codes and the field that was wrong; a provider its own, an operator anybody's."""
    provider = server.issue("provider")
    assert server.call(provider, "order.create", {"clientOrderNo": "x"}).code == 100
    assert server.call(provider, "lot.detail", {"parkCode": "SILENT"}).code == 0
    calls = server.call(provider, "sys.call.list").data["calls"]
    assert [(c["service"], c["code"]) for c in calls[:2]] == [("lot.detail", 0), ("order.create", 100)] and "parkCode" in calls[1]["hint"]
    seen = server.call(operator, "sys.call.list", {"appId": provider.app_id}).data["calls"]
    assert calls[1]["requestId"] in [c["requestId"] for c in seen]
    limited = server.issue("operator", ["SILENT"])
    assert server.call(limited, "sys.call.list", {"appId": provider.app_id}).code == 205, "not a party of its lots"
    assert server.call(limited, "sys.call.list", {"appId": limited.app_id}).code == 0
    other = server.issue("provider")
    assert server.call(other, "sys.call.list", {"appId": provider.app_id}).data["calls"] == [], "its own alone"


def test_the_bill_behind_a_link(server, web, operator):
    """W08, W09: the bill of an order in the name of its provider; nobody else's order, no other bill, and no other amount."""
    provider = server.issue("provider", rate=1000)
    server.lot("LINK1", reserve=5)
    assert server.call(operator, "policy.set", {"scope": "lot:LINK1", "values": {"prepayFen": 900}}).code == 0
    order = server.call(provider, "order.create", booking("LINK1")).data
    other = server.call(provider, "order.create", booking("LINK1")).data
    ask = lambda **more: server.call(web, "link.bill.query", {"appId": provider.app_id, "orderNo": order["orderNo"], **more})
    bill = ask().data
    assert (bill["kind"], bill["payable"], bill["billNo"], bill["status"], bill["payState"]) == ("deposit", 900, order["payInfo"]["billNo"], 0, 1)
    assert ask(appId=server.issue("provider").app_id).code == 1120 and ask(orderNo="YY0").code == 1120
    assert ask(appId="").code == 100
    pay = lambda **more: server.call(web, "link.pay", {
        "appId": provider.app_id, "orderNo": order["orderNo"], "billNo": bill["billNo"], "amount": 900, "channel": "sandbox", **more})
    assert pay(amount=899).code == 1403
    assert pay(billNo="B0").code == 1400
    assert pay(billNo=other["payInfo"]["billNo"]).code == 1400, "the bill of another order of the same provider"
    assert pay(channel="gold").code == 102 and pay(attempt=21).code == 102
    assert pay(appId=server.issue("provider").app_id).code == 1120
    failed = pay(channel="sandbox-fail")
    assert failed.code == 0 and failed.data["payNo"].startswith("L")
    eventually(lambda: pay(channel="sandbox-fail").data["state"] == 2)
    assert pay().code == 404, "one attempt is one payment"
    again = pay(attempt=2)
    assert again.code == 0 and again.data["payNo"] != failed.data["payNo"]
    eventually(lambda: pay(attempt=2).data["state"] == 1)
    assert pay(attempt=3).code == 1404
    eventually(lambda: server.call(provider, "order.detail", {"orderNo": order["orderNo"]}).data["status"] == 1)
    done = ask().data
    assert (done["payable"], done["status"], done["payState"]) == (0, 1, 2) and "billNo" not in done
    for key in (provider, operator):
        assert server.call(key, "link.bill.query", {"appId": provider.app_id, "orderNo": order["orderNo"]}).code == 204


def test_reviews_of_some_lots(server, operator):
    """`parkCodes` keeps the long list of a city short for the operator of two lots."""
    for park in ("REV1", "REV2"):
        server.lot(park, reserve=0, shareEnabled=True, reserveEnabled=False, shareSpace=5)
        provider = server.issue("provider")
        assert server.call(provider, "share.offer.publish", {
            "parkCode": park, "providerToken": secrets.token_hex(8), "spaceNo": "A1", "proofImages": ["x"], "agreementVersion": "1.0",
            "segments": [{"repeatType": "daily", "start": "00:00", "end": "24:00"}], "price": {"mode": 2, "amount": 500}}).code == 0
    shown = lambda **data: {row["parkCode"] for row in server.call(operator, "share.review.list", data).data["offers"]}
    assert {"REV1", "REV2"} <= shown() and shown(parkCodes=["REV1"]) == {"REV1"} and shown(parkCodes=[]) == set()
    limited = server.issue("operator", ["REV1"])
    own = lambda **data: server.call(limited, "share.review.list", data)
    assert {row["parkCode"] for row in own().data["offers"]} == {"REV1"} and own(parkCode="REV2").code == 205
    assert own(parkCodes=["REV2"]).data["offers"] == []


def test_credentials_of_lots(server, operator):
    """Who runs a lot sees its credentials without their secrets, and gives its box a new one: both are good until the new one is used."""
    one, cloud = server.lot("CRED1"), server.issue("cloud", ["CRED1", "CRED2"])
    server.lot("CRED2")
    limited = server.issue("operator", ["CRED1"])
    listed = lambda key=operator, **data: server.call(key, "credential.list", data)
    rows = {c["appId"]: c for c in listed(parkCode="CRED1").data["credentials"]}
    assert rows.keys() == {one.app_id, cloud.app_id, limited.app_id} and one.secret not in str(rows) and cloud.secret not in str(rows)
    mine = rows[one.app_id]
    assert (mine["role"], mine["parkCodes"], mine["enabled"], mine["delivers"], mine["rotating"]) == ("lot", ["CRED1"], True, 1, False)
    assert mine["lastCallAt"] and rows[cloud.app_id]["lots"] == 1 and not rows[cloud.app_id]["others"], "of the lot that is asked about"
    server.call(cloud, "sys.time.get")
    assert {c["appId"]: c for c in listed().data["credentials"]}[cloud.app_id]["lots"] == 2
    seen = {c["appId"]: c for c in listed(limited).data["credentials"]}
    assert seen.keys() == {one.app_id, cloud.app_id} and seen[cloud.app_id]["parkCodes"] == ["CRED1"], "of the other lot it learns nothing"
    assert seen[cloud.app_id]["others"] and "lastCallAt" not in seen[cloud.app_id] and not seen[one.app_id]["others"]
    assert {c["appId"]: c for c in listed(parkCodes=["CRED1"]).data["credentials"]}[cloud.app_id]["others"], "the pages ask for a person of some lots"
    assert listed(limited, parkCode="CRED2").code == 205
    first = listed(limit=1).data
    assert first["hasMore"] and listed(limit=1, after=first["credentials"][0]["appId"]).data["credentials"][0]["appId"] > first["credentials"][0]["appId"]
    assert server.call(server.issue("provider"), "credential.list").code == 204
    rotate = lambda key, app_id, replace=None, **more: server.call(
        key, "credential.rotate", {"appId": app_id, **({"replace": replace} if replace else {})}, **more)
    refusals = [rotate(limited, a) for a in (cloud.app_id, "nobody", server.issue("provider").app_id, operator.app_id)]
    assert {(r.code, r.json.get("hint")) for r in refusals} == {(205, refusals[0].json.get("hint"))}, "of other parties it learns nothing"
    assert rotate(operator, "nobody").code == 400 and rotate(operator, server.issue("provider").app_id).code == 403
    request = str(uuid.uuid4())
    made = rotate(limited, one.app_id, requestId=request)
    assert made.code == 0 and len(made.data["appSecret"]) == 40 and made.data["graceSec"] > 0, made
    assert rotate(limited, one.app_id, requestId=request).data == made.data, "the same request gets the same secret"
    assert rotate(operator, one.app_id).code == 403, "a new secret waits: its box may have it already"
    status = lambda: {c["appId"]: c for c in listed(limited).data["credentials"]}[one.app_id]
    assert status()["rotating"] and server.call(one, "sys.time.get").code == 0, "the old one is good"
    fresh = Key({"appId": one.app_id, "appSecret": made.data["appSecret"]}, park="CRED1", role="lot")
    assert server.call(fresh, "sys.time.get").code == 0
    assert not status()["rotating"] and status()["oldUntil"] > now() and server.call(one, "sys.time.get").code == 0, "its grace"
    another = rotate(limited, one.app_id, requestId=request).data["appSecret"]
    assert another != made.data["appSecret"], "a used secret is not shown again"
    third = rotate(operator, one.app_id, replace=True)
    assert third.code == 0 and third.data["appSecret"] != another
    stale = Key({"appId": one.app_id, "appSecret": another}, park="CRED1", role="lot")
    assert server.post("/api/v1/sys/time/get", json.dumps(envelope(stale, "sys.time.get")).encode()).code == 201
    records = server.call(operator, "audit.list", {"action": "credential.rotate", "limit": 9}).data["records"]
    assert any(one.app_id in r["detail"] for r in records) and made.data["appSecret"] not in str(records)
    server.cli("keys", "revoke", "--app-id", one.app_id)
    assert rotate(operator, one.app_id).code == 403


def test_the_preview_of_a_quota_says_what_is_over(server, operator, provider):
    """flow.policy.preview: what is booked in a pool at the worst moment of the rule's hours, beside the number of the rule."""
    server.lot("QUOTA1", reserve=10, total=12)
    plan = now() + 60 * MINUTE
    for _ in range(3):
        assert server.call(provider, "order.create", booking("QUOTA1", plan)).code == 0
    rule = lambda pool, count, **more: {"parkCode": "QUOTA1", "policyId": "q", "mode": 0, "validFrom": now(), "validTo": now() + 86_400_000,
                                        "pools": [{"pool": pool, "count": count}], **more}
    ask = lambda *args, **more: server.call(operator, "flow.policy.preview", rule(*args, **more)).data["pools"]
    assert ask("PERSONAL", 2) == [{"pool": "PERSONAL", "count": 2, "booked": 3, "excess": 1, "parkCode": "QUOTA1"}]
    assert ask("PERSONAL", 3)[0]["excess"] == 0 and ask("MERCHANT", 0)[0]["booked"] == 0
    assert (ask("WALK_IN", 9)[0]["excess"], ask("WALK_IN", 10)[0]["excess"]) == (0, 1), "twelve places in all"
    over = {"validFrom": now() + 20 * 3_600_000, "validTo": now() + 24 * 3_600_000}
    assert ask("PERSONAL", 2, **over)[0] == {"pool": "PERSONAL", "count": 2, "booked": 0, "excess": 0, "parkCode": "QUOTA1"}
    assert server.call(operator, "flow.policy.preview", {k: v for k, v in rule("PERSONAL", 2).items() if k != "pools"}).data["pools"] == []
    # It holds as it was told: three are booked, nobody more is taken, and with four a place is left.
    assert server.call(operator, "flow.policy.set", rule("PERSONAL", 3)).code == 0
    assert server.call(provider, "order.create", booking("QUOTA1", plan)).code == 1110
    assert server.call(operator, "flow.policy.set", rule("PERSONAL", 4)).code == 0
    assert server.call(provider, "order.create", booking("QUOTA1", plan)).code == 0


def test_what_is_on_record_is_as_long_as_its_document_says(server, operator):
    """The audit record counts like the wire: a thousand combining marks are a thousand characters, also in a refused request."""
    marks = "\u0301" * 900
    assert server.call(operator, "gate.case.decide", {"caseNo": "GC1", "parkCode": marks, "why": marks}).code == 102
    record = server.call(operator, "audit.list", {"action": "gate.case.decide", "limit": 1}).data["records"][0]
    assert len(record["target"]) <= 64 and len(record["detail"]) <= 1000, (len(record["target"]), len(record["detail"]))
