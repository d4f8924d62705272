"""Inputs that failed once, one test a row: fields (E, J, S7, K), plates (P) and HTTP (J7, K4) of the table of cases, with their siblings."""
import hashlib
import json
import socket
import time
import uuid

import pytest

from berth import Lot, booking, entry, envelope, exit_, lot_info, now, plate
from catalogue import SERVICES, fields, message
from test_pictures import PICTURE
from test_rules import desk, shared  # noqa: F401
from test_services import CHOSEN, COMPLETED, CONTEXT, callers

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def park(prefix):
    return prefix + uuid.uuid4().hex[:6].upper()


def inside(desk, key):
    """The record numbers of the cars that are inside, as the lot itself sees them."""
    return [i["recordNo"] for i in desk.server.call(key, "recon.inlot.list", {"detailType": 1}).data["items"]]


def pulled(desk, key, service=None):
    entries = desk.server.call(key, "sync.down.pull", {"afterSeq": 0, "waitMs": 0, "limit": 500}).data["entries"]
    return [e["data"] for e in entries if service is None or e["service"] == service]


# E: in `data` an optional member that is null or "" is absent

def test_E1_empty_order_no_in_an_entry(desk):
    """An entry whose optional members are "" or null is an entry without them: the car is inside."""
    name = park("E1")
    key = desk.server.lot(name)
    blank = {"orderNo": "", "plateType": "", "releaseReason": "", "operator": ""}
    for record, more in (("a", {"orderNo": ""}), ("b", {"orderNo": None}), ("c", blank), ("d", {**blank, "plateConfidence": None, "images": None}),
                         ("e", {"images": [{"type": 1, "imageId": "p1", "url": "", "sha256": ""}], "plateConfidence": ""})):
        taken = desk.log(key, "vehicle.entry.report", {**entry(record, plate()), **more})
        assert taken.code == 0, (record, taken)
    assert inside(desk, key) == ["a", "b", "c", "d", "e"]


def test_E1_empty_members_in_an_exit(desk):
    """The same for the exit: the car is out, its order and its gate of entry are those that were known."""
    name = park("E1")
    key = desk.server.lot(name)
    order = desk.book(name, 10).data
    came = entry("a", order["plateNo"], order=order["orderNo"])
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    left = {**exit_(came), "orderNo": "", "plateColor": None, "carKind": "", "gateCode": "", "gateName": "", "plateType": "", "leaveKind": None,
            "payments": None, "discountFee": ""}
    answer = desk.log(key, "vehicle.exit.report", left)
    assert (answer.code, answer.data.get("orderStatus")) == (0, 3), answer
    assert inside(desk, key) == []


def test_E1_empty_members_in_the_log(desk):
    """The other entries of the up log: an event, a payment, a statement, a correction with "" where nothing is meant."""
    name = park("E1")
    key = desk.server.lot(name)
    order = desk.book(name, 10).data
    event = {"eventId": "e", "eventType": 6005, "occurTime": now(), "gateCode": "", "plateNo": "", "recordNo": "", "orderNo": "", "deviceCode": "",
             "endTime": None, "level": ""}
    assert desk.log(key, "event.report", event).code == 0
    said = {"orderNo": order["orderNo"], "orderVer": 1, "status": 2, "occurTime": now(), "recordNo": "", "remark": "", "refuseCode": None}
    assert desk.log(key, "order.status.report", said).code == 0
    paid = {"payNo": uuid.uuid4().hex, "recordNo": "r", "amount": 5, "payType": 1, "payTime": now(), "plateNo": "", "orderNo": "", "billNo": "", "channel": ""}
    assert desk.log(key, "payment.record.report", paid).code == 0
    came = entry("r", plate())
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    right = plate()
    fix = {"recordNo": "r", "correctType": 1, "before": None, "after": {"plateNo": right, "recordNo": "", "enterTime": None, "totalFee": ""},
           "operator": "", "reason": ""}
    assert desk.log(key, "vehicle.record.correct", fix).code in (0, 1502)
    local = {"listType": 1, "complete": None, "items": [{"plateNo": plate(), "from": "", "to": None, "plateColor": "", "op": ""}]}
    assert desk.log(key, "list.local.report", local).code == 0


def test_E3_empty_order_no_of_a_walk_in(desk):
    """A walk-in whose question has orderNo "" is asked about like one without it."""
    key = desk.server.lot(park("E3"))
    bare = desk.ask(key, plate())
    for more in ({"orderNo": ""}, {"orderNo": None}, {"orderNo": "", "imageId": "", "confidence": ""}):
        asked = desk.ask(key, plate(), **more)
        assert asked == bare and asked["decision"] == 0, (more, asked)


@pytest.mark.parametrize("blank", ["", None])
def test_E4_E5_empty_filters_of_a_list(desk, blank):
    """A cursor or a filter that is "" or null is no cursor and no filter."""
    name = park("E4")
    desk.server.lot(name)
    made = [desk.book(name).data["orderNo"] for _ in range(3)][::-1]
    for member in ("cursor", "parkCode", "userToken", "plateNo", "status", "page", "limit", "reason"):
        page = desk.app("order.list", **{member: blank})
        assert page.code == 0 and [o["orderNo"] for o in page.data["orders"]] == made, (member, page)
    for member in ("userToken", "parkCode"):
        assert desk.app("waitlist.list", **{member: blank}).code == 0, member
    assert desk.app("order.detail", orderNo=made[0], clientOrderNo=blank).data["orderNo"] == made[0]
    assert desk.app("order.detail", orderNo=blank, clientOrderNo=blank).code == 100, "nothing is named"
    for service, data in (("share.review.list", {"parkCode": blank}), ("credit.appeal.list", {"state": blank}), ("flow.policy.list", {"areaId": blank}),
                          ("policy.query", {"parkCode": blank, "bizType": blank}), ("stat.daily.query", {"dateFrom": blank, "parkCode": blank})):
        assert desk.op(service, **data).code == 0, (service, data)


def test_E7_empty_members_of_a_shared_booking(desk):
    """A shared booking that leaves offerId, extNo, mobile, slotId and plateType "" takes any place; the same for the waitlist and a subscription."""
    name = park("E7")
    shared(desk.server, name, 1)
    desk.set(f"lot:{name}", shareWindow="00:00-24:00")
    blank = {"offerId": "", "extNo": "", "mobile": "", "slotId": "", "plateType": "", "poolType": "", "seats": None, "heightMm": "", "plateNos": None}
    made = desk.book(name, 20, bizType=2, stayMin=15, **blank)
    assert made.code == 0, made
    waits = desk.app("waitlist.join", **booking(name, now() + 20 * MINUTE, bizType=2, stayMin=15, **blank))
    assert (waits.code, waits.data.get("status")) == (0, 9), waits
    other = park("E7")
    shared(desk.server, other, 1)
    period = {"periodFrom": now() + MINUTE, "periodTo": now() + 20 * DAY}
    share = desk.app("share.apply", parkCode=other, userToken="u", plateNos=[plate()], offerId="", segments=None, **period)
    assert share.code == 0, share


def test_E7_empty_members_of_an_offer(desk):
    """An offer of an owner with spaceNo "" and a count is an offer of that many places."""
    name = park("E7")
    shared(desk.server, name, 0)
    made = desk.app("share.offer.publish", parkCode=name, providerToken="业主", spaceNo="", count=3, proofImages=["i"], agreementVersion="1.0",
                    areaCode="", segments=None, quietHours=None, validFrom="", validTo=None)
    assert made.code == 0 and made.data.get("count") == 3 and not made.data.get("spaceNo"), made


def test_E9_empty_plate_in_a_change(desk):
    """A new planTime with plateNo "" moves the time and leaves the plate."""
    name = park("E9")
    desk.server.lot(name)
    order = desk.book(name, 50).data
    moved = desk.app("order.modify", orderNo=order["orderNo"], planTime=order["planTime"] - MINUTE, plateNo="", plateColor=None)
    assert moved.code == 0 and (moved.data["planTime"], moved.data["plateNo"]) == (order["planTime"] - MINUTE, order["plateNo"]), moved
    other = plate()
    changed = desk.app("order.modify", orderNo=order["orderNo"], planTime="", plateNo=other, plateColor="")
    assert changed.code == 0 and (changed.data["planTime"], changed.data["plateNo"]) == (order["planTime"] - MINUTE, other), changed
    assert desk.app("order.modify", orderNo=order["orderNo"], planTime="", plateNo="").code == 100, "nothing to change"


def test_E10_empty_space_and_a_count(desk):
    """An offer of a lot with spaceNo "" and count 12 is an offer of twelve places."""
    name = park("E10")
    key = shared(desk.server, name, 0)
    offer = {"offerId": "O1", "spaceNo": "", "count": 12, "areaCode": "", "providerId": "", "validFrom": "", "validTo": None, "op": ""}
    assert desk.log(key, "share.space.report", {"offers": [offer]}).code == 0
    rows = desk.app("share.product.list", parkCode=name).data["products"]
    assert [(r["count"], r.get("spaceNo")) for r in rows if r["kind"] == "space"] == [(12, None)], rows


NAMES = ["clientOrderNo", "userToken", "recordNo", "payNo", "eventId", "offerId", "orderNo", "extNo", "refundNo", "requestId", "deviceCode",
         "spaceNo", "tariffId", "policyId", "billNo", "authNo"]
CALLABLE = [s for s in SERVICES if callers(s)]


@pytest.fixture(scope="module")
def anybody(server):
    """A lot, a provider and an operator that the catalogue's messages are sent by."""
    key = server.lot("BLANK", rate=100_000)
    parties = {"lot": key, "provider": server.issue("provider", rate=100_000), "operator": server.issue("operator", rate=100_000),
               "web": server.issue("web", rate=100_000), "seq": 0}
    return parties


def send(server, parties, service, data):
    role = callers(service)[0]
    key = parties["lot" if role == "cloud" else role]
    extra = {}
    if service["direction"] == "up" and service["kind"] == "log":
        parties["seq"] += 1
        extra = {"epoch": "e", "seq": parties["seq"]}
    return server.call(key, service["name"], data, park="BLANK", **extra)


def good(service):
    """A message of the service with its mandatory fields and what it needs beside them, about things that nobody has named before."""
    context = {**CONTEXT, "parkCode": "BLANK", "plateNo": plate(), **{n: uuid.uuid4().hex[:20] for n in NAMES if n != "requestId"}}
    context |= CHOSEN.get(service["name"], {})
    more = json.loads(json.dumps(COMPLETED.get(service["name"], dict)()).replace("SHAPE", "BLANK"))
    if service["name"] == "lot.info.report":
        more |= {"totalSpace": 900, "reserveSpace": 900}  # Room for an order of each message.
    return context, message(fields(service["request"]), context) | more


def blanked(shape, data, blank):
    """The message with every optional member that it does not have, at every depth, given as `blank`."""
    out = dict(data)
    for field in shape:
        if field.name not in out:
            if not field.required:
                out[field.name] = blank
        elif field.children and isinstance(out[field.name], list):
            out[field.name] = [blanked(field.children, one, blank) for one in out[field.name]]
        elif field.children and isinstance(out[field.name], dict):
            out[field.name] = blanked(field.children, out[field.name], blank)
    return out


@pytest.mark.parametrize("service", CALLABLE, ids=lambda s: s["name"])
def test_E_every_optional_member_may_be_empty(server, anybody, service):
    """In every service, a message whose optional members are all "" or null is answered like one that leaves them out."""
    without = send(server, anybody, service, good(service)[1])
    shape = fields(service["request"])
    for blank in ("", None):
        for field in [None] + [f for f in shape if not f.required]:
            data = good(service)[1]
            data = blanked(shape, data, blank) if field is None else {field.name: blank, **data}
            answer = send(server, anybody, service, data)
            assert answer.code == without.code, (blank, field and field.name, answer, without)


# J3, S7, K

def raw(server, key, service, text, **extra):
    """Sends `data` as the bytes that they are, with a signature over what a reader by code points sees."""
    message = envelope(key, service, json.loads(text), **extra)
    head = {k: v for k, v in message.items() if k != "data"}
    body = json.dumps(head, ensure_ascii=False)[:-1] + ',"data":' + text + "}"
    return server.post("/api/v1/" + service.replace(".", "/"), body.encode(), key=key)


def test_J3_names_are_compared_by_code_points(desk):
    """Two names that look the same and are other code points are two names; only the same code points twice are 101."""
    server = desk.server
    server.lot("J3")
    park_code = '"parkCode":"J3"'
    for one, two in (("é", "e\u0301"), ("\u212b", "\u00c5"), ("가", "\u1100\u1161"), ("\uf900", "豈"), ("\u0344", "\u0308\u0301")):
        assert one != two
        answer = raw(server, desk.provider, "lot.detail", f'{{{park_code},"{one}":1,"{two}":2}}')
        assert answer.code == 0, (one, two, answer)
        answer = raw(server, desk.provider, "lot.detail", f'{{{park_code},"x":{{"{two}":[{{"{one}":1,"{two}":2}}],"{one}":null}}}}')
        assert answer.code == 0, (one, two, answer)
        twice = raw(server, desk.provider, "lot.detail", f'{{{park_code},"{one}":1,"{two}":2,"{one}":1}}')
        assert (twice.code, twice.status) == (101, 400), twice
    # An escape is the same code point as the letter itself.
    assert raw(server, desk.provider, "lot.detail", f'{{{park_code},"é":1,"\\u00e9":1}}').code == 101
    # A name that is only equivalent to a known one is an unknown one.
    assert raw(server, desk.provider, "lot.detail", '{"park\u0043\u0327ode":"J3"}').code == 100


def test_J3_identifiers_are_compared_by_code_points(desk):
    """Numbers and tokens that look the same and are other code points belong to different things."""
    server = desk.server
    name = park("J3")
    key = server.lot(name, operatorName="同名公司")
    one, two = "é" + name, "e\u0301" + name
    first, second = desk.book(name, clientOrderNo=one), desk.book(name, clientOrderNo=two)
    assert (first.code, second.code) == (0, 0) and first.data["orderNo"] != second.data["orderNo"], (first, second)
    assert desk.app("order.detail", clientOrderNo=two).data["orderNo"] == second.data["orderNo"]
    assert desk.app("order.detail", clientOrderNo=one).data["orderNo"] == first.data["orderNo"]
    # Users: each has a day and a list of their own.
    for token in (one, two):
        for _ in range(2):
            assert desk.book(name, userToken=token).code == 0, token
    assert [len(desk.app("order.list", userToken=t).data["orders"]) for t in (one, two)] == [2, 2]
    # Records, gates and payments of a lot.
    assert server.call(key, "lot.gate.report", {"gates": [{"gateCode": "G1" + one, "gateName": "a", "direction": 3},
                                                          {"gateCode": "G1" + two, "gateName": "b", "direction": 3}]}).code == 0
    cars = [entry(record, plate(), gateCode="G1" + record) for record in (one, two)]
    assert [desk.log(key, "vehicle.entry.report", c).code for c in cars] == [0, 0]
    assert sorted(inside(desk, key)) == sorted([one, two])
    for record, amount in ((one, 100), (two, 200)):
        paid = {"payNo": record, "recordNo": record, "amount": amount, "payType": 1, "payTime": now()}
        assert desk.log(key, "payment.record.report", paid).code == 0, record
    till = desk.op("ledger.statement.query", account="till", parkCode=name).data
    assert till["closing"] == 300, till


NO_DATES = ["2026-+9-+9", " 2026-09-09", "2026-9-9", "2026-09-9", "2026-09-09 ", "+2026-09-09", "2026-09-+9", "２０２６-09-09", "2026/09/09",
            "20260909", "2026-09-09T00:00", "02026-09-09", "-026-09-09", "2026-02-30", "2026-13-01", "2026-00-10", "2026-09-00", "2026--9-09", "x"]


def test_S7_a_date_is_yyyy_mm_dd(desk):
    """Only ten characters yyyy-MM-dd of a day that exists are a date, wherever a date is taken."""
    server = desk.server
    name = park("S7")
    key = server.lot(name, shareEnabled=True, shareSpace=1)
    taken = []
    for text in NO_DATES:
        for service, data in (("slot.query", {"parkCode": name, "date": text, "bizType": 1}), ("stat.daily.query", {"dateFrom": text, "dateTo": text}),
                              ("biz.quota.query", {"placeCode": name, "date": text})):
            if desk.app(service, **data).code != 102:
                taken.append((service, text))
        for service, data in (("calendar.set", {"date": text, "kind": "normal"}), ("ledger.recon.query", {"parkCode": name, "date": text})):
            if desk.op(service, **data).code != 102:
                taken.append((service, text))
        times = [{"repeatType": "date", "repeatData": [text], "start": "08:00", "end": "09:00"}]
        if desk.log(key, "share.space.report", {"offers": [{"offerId": "D", "count": 1, "segments": times}]}).code != 102:
            taken.append(("segments", text))
    assert taken == []
    assert desk.app("slot.query", parkCode=name, date="2028-02-29", bizType=1).code == 0


NO_CLOCKS = ["+8:00", "8:00", " 8:00", "08:0", "08:+0", "08:00 ", "0８:00", "08：00", "08:60", "24:01", "25:00", "-1:00", "08:00:00", "0800", "08.00"]


def test_S7_a_clock_is_hh_mm(desk):
    """Only five characters HH:mm are a time of day, in opening hours, tariffs, offers and windows."""
    server = desk.server
    name = park("S7")
    key = server.lot(name, shareEnabled=True, shareSpace=1)
    taken = []
    for text in NO_CLOCKS:
        for part in ({"start": text, "end": "23:00"}, {"start": "07:00", "end": text}):
            hours = server.call(key, "lot.info.report", lot_info(name, openHours=[{"days": [1], **part}]))
            tariff = server.call(key, "lot.tariff.report", {"tariffId": "T", "effectiveFrom": now(), "rules": [{"stepMin": 5, "stepFee": 1, **part}]})
            offer = {"offerId": "D", "count": 1, "segments": [{"repeatType": "daily", **part}]}
            offered = desk.log(key, "share.space.report", {"offers": [offer]})
            taken += [(what, part) for what, reply in (("openHours", hours), ("tariff", tariff), ("offer", offered)) if reply.code != 102]
        window = desk.op("policy.set", scope=f"lot:{name}", values={"shareWindow": f"{text}-23:00"})
        taken += [("shareWindow", text)] if window.code != 102 else []
    assert taken == []


def test_S7_numbers_in_text_are_digits(desk):
    """A coordinate, a region or a digest is written in plain digits: no sign, no space, no other alphabet, no exponent."""
    name = park("S7")
    key = desk.server.lot(name)
    wrong = []
    for member, texts in {"lng": ["+113.9", "1e2", "nan", "inf", "0x16.8", "１１３.9", "113,9", "113.", ".9", "113..9", "113.9E"],
                          "lat": ["+22.5", "22.5N", "nan", "0x16.8", "２２.5", "2e1", "--22"],
                          "regionCode": ["+40305", " 40305", "４４０３０５", "44030", "44O305", "4403051"]}.items():
        for text in texts:
            if desk.server.call(key, "lot.info.report", lot_info(name, **{member: text})).code != 102:
                wrong.append((member, text))
    for text in ("+9", "９", "0x9", "9.0", "-9"):
        if desk.app("order.list", cursor=text).code != 102:
            wrong.append(("cursor", text))
    assert wrong == []


PHONES = ["2345678", "123456", "0755-82345678", "+8613800138000", "13800138000", "110", "12345", "(0755) 8234 5678", "１３８００１３８０００",
          "+852 9123 4567", "400-800-1234", "95588"]


def test_K1_a_masked_telephone_hides_at_least_four_digits(desk):
    """However long a number is and however it is written, its masked form hides four of its digits, or all of a shorter one."""
    name = park("K1")
    key = desk.server.lot(name)
    for number in PHONES:
        assert desk.book(name, mobile=number).code == 0, number
    shown = dict(zip(PHONES, [d.get("contactMobile") for d in pulled(desk, key, "order.reserve.push")]))
    assert len(shown) == len(PHONES)
    digits = lambda text: sum(c.isdigit() for c in text or "")
    open_ = {n: m for n, m in shown.items() if digits(n) - digits(m) < min(4, digits(n)) or m == n}
    assert open_ == {}
    assert shown["13800138000"] == "138****8000", "as contract and peers write it"
    snapshot = desk.server.call(key, "sync.snapshot.query").data["orders"]
    assert sorted(str(o.get("contactMobile")) for o in snapshot) == sorted(str(m) for m in shown.values())


PERSONS = ["13800138000", "+8613800138000", "008613800138000", "8613800138000", "+86 138 0013 8000", "138-0013-8000", "138 0013 8000",
           "(+86)13800138000", "１３８００１３８０００", "＋８６１３８００１３８０００", "0755-82345678", "075582345678", "+85291234567", "+852 9123 4567",
           "440305199001011234", "44030519900101123X", "44030519900101123x", "440305 19900101 1234", "440305-19900101-1234", "４４０３０５１９９００１０１１２３４",
           "44030519900101123Ｘ", "440305900101123", "440305 900101 123", "810000199001011234", "830000199001011234",
           "A123456(3)", "A123456（3）", "A1234563", "AB123456(7)", "a123456(3)", "Ａ１２３４５６（３）", "A123456789", "a123456789", "A-123456789", " 13800138000 "]
PSEUDONYMS = ["p", "pseudonym-of-somebody", "0f8fad5b-d9cb-469f-a165-70867728950e", "c4ca4238a0b923820dcc509a6f75849b", "u_20261128_a", "张三的假名",
              "Zm9vYmFyYmF6", "user 7", "10042", "ｐ７", "3f"]


def test_K6_a_person_token_is_no_number_of_a_person(desk):
    """A telephone's or a card's number is refused as pseudonym however people write it; a pseudonym is taken."""
    name = park("K6")
    desk.server.lot(name, publicBizEnabled=True, publicBizSpace=5)
    push = lambda token: desk.app("biz.appointment.push", extNo=uuid.uuid4().hex, bizCode="hospital", placeCode=name, appointTime=now() + DAY,
                                  personToken=token).code
    assert [token for token in PERSONS if push(token) != 102] == []
    assert [token for token in PSEUDONYMS if push(token) != 0] == []


def test_K7_case_of_an_extension_and_a_digest_does_not_matter(desk):
    """JPG, JPEG, .jpg and a digest in capitals are what they mean, from the ticket to the finished picture."""
    import requests
    server = desk.server
    key = server.lot(park("K7"))
    digest = hashlib.sha256(PICTURE).hexdigest()
    apply = lambda **changes: server.call(key, "image.ticket.apply", {"type": 1, "ext": "png", "size": len(PICTURE), "sha256": digest, **changes})
    refused = [c for c in ({"ext": "JPG"}, {"ext": "JPEG"}, {"ext": ".jpg"}, {"ext": "Jpg"}, {"ext": "PNG"}, {"ext": ".png"}, {"ext": ".PNG"},
                           {"sha256": digest.upper()}) if apply(**c).code != 0]
    assert refused == []
    assert [c for c in ("gif", "..jpg", "jpg.", "exe") if apply(ext=c).code != 102] == []
    given = apply(ext="PNG", sha256=digest.upper()).data
    web = requests.Session()
    web.verify, web.trust_env = server.ca, False
    assert web.put(given["uploadUrl"], data=PICTURE).status_code in (200, 201, 204)
    done = server.call(key, "image.upload.complete", {"imageId": given["imageId"]})
    assert done.code == 0 and done.data["sha256"] == digest, "what the server says is lower case"
    # A record names the picture by the same digest.
    came = entry("k7", plate(), images=[{"type": 1, "imageId": given["imageId"], "sha256": digest.upper()}])
    assert desk.log(key, "vehicle.entry.report", came).code == 0


# P: plates

@pytest.mark.parametrize("booked,read", [("粤B60017", "粤B6O017"), ("粤B71234", "粤B7I234"), ("粤BD01234", "粤BDO1234")])
def test_P1_P2_a_reading_with_O_or_I_is_almost_the_plate(desk, booked, read):
    """What the camera reads need not be a legal plate: an O or an I where 0 or 1 stands admits the booked car, and is put on record."""
    name = park("P1")
    key = desk.server.lot(name)
    order = desk.book(name, 5, plateNo=booked, plateColor=9).data
    asked = desk.server.call(key, "vehicle.preentry.check", {
        "gateCode": "G1", "plateNo": read, "plateColor": 9, "captureTime": now(), "confidence": 70})
    assert asked.code == 0, asked
    assert (asked.data["decision"], asked.data["orderNo"], asked.data["matchedBy"]) == (1, order["orderNo"], "almost") and asked.data["caseNo"]
    case = [c for c in desk.op("gate.case.list", parkCode=name).data["cases"] if c["caseNo"] == asked.data["caseNo"]][0]
    assert (case["plateNo"], case["state"]) == (read, "admittedByRule"), "as it was read"
    taken = desk.log(key, "vehicle.entry.report", entry("p1", read, order=order["orderNo"], plateColor=9))
    assert (taken.code, taken.data.get("orderStatus")) == (0, 2), taken
    left = desk.log(key, "vehicle.exit.report", exit_(entry("p1", read, taken_time(desk, key, "p1"), order["orderNo"], plateColor=9)))
    assert (left.code, left.data.get("orderStatus")) == (0, 3), left
    assert desk.app("order.cancel", orderNo=order["orderNo"]).code == 1122


def taken_time(desk, key, record):
    return {i["recordNo"]: i["enterTime"] for i in desk.server.call(key, "recon.inlot.list", {"detailType": 2}).data["items"]}[record]


@pytest.mark.parametrize("read", ["粤B6O017", "粤B12", "ABC", "?", "粤粤粤粤粤", "B12345", "粤B123456789", "未识别"])
def test_P1_a_car_that_was_misread_is_inside(desk, read):
    """A walk-in under a reading that is nobody's plate is kept as it was read: it is inside, and can leave."""
    key = desk.server.lot(park("P1"))
    came = entry("w1", read, plateColor=9)
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    assert inside(desk, key) == ["w1"]
    assert desk.log(key, "vehicle.exit.report", exit_(came)).code == 0
    assert inside(desk, key) == []


def test_P1_a_reading_of_nobody_arrives_by_its_order(desk):
    """An entry that names its order under a reading that is no legal plate is that order's arrival."""
    name = park("P1")
    key = desk.server.lot(name)
    order = desk.book(name, 5).data
    taken = desk.log(key, "vehicle.entry.report", entry("n1", "未识别", order=order["orderNo"], plateColor=9))
    assert (taken.code, taken.data.get("orderStatus")) == (0, 2) and inside(desk, key) == ["n1"], taken


def test_P1_an_exit_that_was_misread_is_the_records(desk):
    """At the exit the record says which car it is, whatever the second camera read; events and the bill before the exit take readings too."""
    key = desk.server.lot(park("P1"))
    came = entry("x1", plate())
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    pre = desk.server.call(key, "vehicle.preexit.report", {"recordNo": "x1", "plateNo": "粤B1O0I7", "gateCode": "G2", "leaveTime": now()})
    assert pre.code == 0, pre
    assert desk.log(key, "event.report", {"eventId": "e", "eventType": 1007, "occurTime": now(), "plateNo": "粤B1O0I7"}).code == 0
    left = desk.log(key, "vehicle.exit.report", exit_({**came, "plateNo": "粤B1O0I7"}))
    assert left.code == 0 and inside(desk, key) == [], left


def test_P1_what_somebody_types_is_still_a_plate(desk):
    """A booking, a list and a vehicle of a user need a legal plate: readings are for cameras."""
    name = park("P1")
    key = desk.server.lot(name)
    assert desk.book(name, plateNo="粤B6O017").code == 1010 and desk.book(name, plateNo="粤B7I234").code == 1010
    assert desk.app("vehicle.bind", userToken="u", plateNo="粤B6O017").code == 1010
    assert desk.op("list.white.push", park=name, plateNo="粤B6O017", status=1).code == 1010
    lot = Lot(desk.server, key).connect()
    assert lot.call("list.local.report", {"listType": 1, "items": [{"plateNo": "粤B6O017"}]}, epoch="e", seq=1)["code"] == 1010
    lot.disconnect()


def test_P9_a_fire_engine(desk):
    """粤B1234应急 is a legal plate of the emergency class: filed, asked about and recorded, admitted when nobody else is."""
    name = park("P9")
    key = desk.server.lot(name)
    fire = f"粤B{plate()[-4:]}应急"
    assert desk.op("flow.policy.set", parkCode=name, policyId="F", mode=3, validFrom=now() - 1, validTo=now() + HOUR).code == 0
    asked = lambda number, color: desk.server.call(key, "vehicle.preentry.check", {
        "gateCode": "G1", "plateNo": number, "plateColor": color, "captureTime": now()})
    assert asked(plate(), 0).data["decision"] == -1
    for color in (3, 9):
        seen = asked(fire, color)
        assert (seen.code, seen.data.get("decision")) == (0, 1), (color, seen)
    assert desk.app("vehicle.verify", plateNo=fire, plateColor=3).data == {"plateNo": fire, "fits": True, "bound": False}
    assert desk.op("list.white.push", park=name, plateNo=fire, plateColor=3, status=1, scope="lot", exempt=True).code == 0
    assert desk.book(name, plateNo=fire, plateColor=3).code == 1016
    assert desk.log(key, "vehicle.entry.report", entry("f1", fire, plateColor=3, carKind=8)).code == 0 and inside(desk, key) == ["f1"]
    for number in ("粤B123应急", "粤B12345应急", "粤B1234应", "粤BO234应急", "应急"):
        assert desk.book(name, plateNo=number).code == 1010, number


def test_P9_a_class_is_exempt_only_in_its_colour(desk):
    """A reading of an emergency or police plate in blue is a misreading: it is not let in past flow control for its class."""
    name = park("P9")
    key = desk.server.lot(name)
    assert desk.op("flow.policy.set", parkCode=name, policyId="F", mode=1, validFrom=now() - 1, validTo=now() + HOUR).code == 0
    asked = lambda number, color: desk.server.call(key, "vehicle.preentry.check", {
        "gateCode": "G1", "plateNo": number, "plateColor": color, "captureTime": now()})
    for number in ("粤B0123警", "VA12345", "粤X0119应急"):
        assert asked(number, 3).data.get("decision") == 1, number
        for color in (0, 1, 4):
            seen = asked(number, color)
            assert seen.code == 0 and seen.data["decision"] == -1, (number, color, seen)


# HTTP

@pytest.fixture
def link(server):
    """A bare TLS connection to the server, closed whatever becomes of the test."""
    link = server.context.wrap_socket(socket.create_connection(("127.0.0.1", server.https_port)), server_hostname="127.0.0.1")
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    yield link
    link.close()


def said(link, seconds):
    """What the server says within so many seconds, as far as it has come."""
    link.settimeout(seconds)
    try:
        return link.recv(65536)
    except (TimeoutError, socket.timeout):
        return b""


def test_J7_expect_100_continue(desk, link):
    """A client that asks before it sends is told `100 Continue` at once, so that its one second is not spent on waiting."""
    server = desk.server
    name = park("J7")
    key = server.lot(name)
    for word in ("100-continue", "100-Continue"):
        body = json.dumps(envelope(key, "vehicle.preentry.check", {
            "gateCode": "G1", "plateNo": plate(), "plateColor": 0, "captureTime": now()}), ensure_ascii=False).encode()
        link.sendall(f"POST /api/v1/vehicle/preentry/check HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: {word}\r\n"
                     f"content-length: {len(body)}\r\n\r\n".encode())
        # Nothing of the body is sent: without the word there would be no answer until the time of the body ends.
        first = said(link, 5)
        assert first.startswith(b"HTTP/1.1 100 "), first
        link.sendall(body)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
            more = said(link, 5)
            assert more, answer
            answer += more
        assert answer.startswith(b"HTTP/1.1 200") and b'"decision":0' in answer, answer


def test_J7_a_body_that_is_too_long_is_refused_before_it_is_sent(link):
    """A client that announces more than the limit is answered at once, and 413 at the latest when it has sent that much."""
    link.sendall(b"POST /api/v1/order/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n"
                 b"content-length: 20000000\r\n\r\n")
    answer = said(link, 1)
    assert answer[:12] in (b"HTTP/1.1 100", b"HTTP/1.1 413", b"HTTP/1.1 417"), answer
    if answer[:12] == b"HTTP/1.1 100":
        answer = answer.partition(b"\r\n\r\n")[2]
        try:
            for _ in range(20):
                link.sendall(b"x" * 65_536)
        except OSError:
            pass
        answer += said(link, 5)
        assert answer.startswith(b"HTTP/1.1 413"), answer


def test_J7_a_head_has_no_body(link):
    """HEAD is answered with the head of GET and nothing after it: the next answer on the connection begins where it should."""
    link.sendall(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\nHEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = b""
    while more := said(link, 5):
        answer += more
    heads = [part for part in answer.split(b"\r\n\r\n") if part]
    assert len(heads) == 2 and all(h.startswith(b"HTTP/1.1 ") for h in heads), answer[:2000]


def test_K4_a_search_in_pages(desk):
    """pageSize, bizType 0 and any page of the published schema are done as the document says."""
    server = desk.server
    names = [f"K4{n}" for n in range(5)]
    for n, name in enumerate(names):
        server.lot(name, lng=f"110.50{n}0", lat="21.1000")
    ask = lambda **data: desk.app("lot.search", lng="110.5000", lat="21.1000", radius=5000, **data)
    found = lambda reply: [l["parkCode"] for l in reply.data["lots"]]
    pages = [ask(pageSize=2, page=n) for n in (1, 2, 3, 4)]
    assert [found(p) for p in pages] == [names[:2], names[2:4], names[4:], []], pages
    assert [p.data["hasMore"] for p in pages] == [True, True, False, False] and {p.data["total"] for p in pages} == {5}
    assert found(ask(pageSize=1)) == names[:1] and found(ask(pageSize=100)) == names
    ordinary = ask(bizType=0)
    assert ordinary.code == 0 and found(ordinary) == names, ordinary
    for page in (1001, 1_000_000):
        far = ask(page=page, pageSize=100)
        assert (far.code, far.data.get("lots"), far.data.get("hasMore")) == (0, [], False), far
    assert ask(pageSize=0).code == 102 and ask(pageSize=101).code == 102 and ask(page=1_000_001).code == 102


def test_K4_a_list_of_orders_in_pages(desk):
    """order.list takes every page that its document allows, and pageSize is the size of a page."""
    name = park("K4")
    desk.server.lot(name)
    made = [desk.book(name).data["orderNo"] for _ in range(5)][::-1]
    ask = lambda **data: desk.app("order.list", **data)
    found = lambda reply: [o["orderNo"] for o in reply.data["orders"]]
    assert [found(ask(page=n, pageSize=2)) for n in (1, 2, 3, 4)] == [made[:2], made[2:4], made[4:], []]
    for page in (1001, 1_000_000):
        far = ask(page=page, pageSize=100)
        assert (far.code, far.data.get("orders"), far.data.get("hasMore")) == (0, [], False), far
    assert found(ask(status=1, pageSize=100)) == made and found(ask(status=0)) == []
    assert ask(cursor="9" * 64).code in (0, 102) and ask(cursor="x" * 65).code == 102


#: Values that break a rule of the service and not its document: what belongs together, or what must exist.
BOUND = {("lot.info.report", "totalSpace", 0), ("lot.info.report", "reserveSpace", 1_000_000), ("lot.info.report", "shareSpace", 1_000_000),
         ("lot.info.report", "publicBizSpace", 1_000_000), *(("vehicle.record.correct", "correctType", n) for n in (1, 2, 3, 5))}
#: Texts that are words of a list or numbers of the server, as their document says in words.
WORDS = ["scope", "account", "kind", "state", "date", "orderNo", "plateType", "poolType", "cursor", "areaId", "sort"]


@pytest.mark.parametrize("service", CALLABLE, ids=lambda s: s["name"])
def test_K4_what_the_document_allows_is_taken(server, anybody, service):
    """The least and the greatest number and the longest text that the published schema allows are not refused as illegal."""
    refused = []
    for field in fields(service["request"]):
        if field.children or field.count is not None or not field.argument:
            continue
        if field.type == "int" and ".." in field.argument:
            values = [int(v) for v in field.argument.split("..")]
        elif field.type == "int":
            values = [int(v) for v in field.argument.split(",")]
        elif field.type == "string" and field.name not in CONTEXT and field.name not in WORDS:
            values = ["x" * int(field.argument), "车" * int(field.argument), "🚗" * int(field.argument)]
        else:
            continue
        for one in values:
            if (service["name"], field.name, one) in BOUND:
                continue
            data = good(service)[1]
            answer = send(server, anybody, service, {**data, field.name: one})
            if answer.code in (100, 101, 102, 104, 105, 500) and "rule" not in answer.data:
                refused.append((field.name, one if isinstance(one, int) else f"{one[:1]} × {len(one)}", answer.code, answer.json.get("hint")))
    assert refused == []
