"""What newcomers found on the pages: each screen says what is so, shows a consequence first, and keeps what was typed."""
import datetime
import html
import json
import re
import time
import uuid

import pytest
import requests

from berth import Lot, booking, envelope, eventually, lot_info, now, plate
from web import SiteServer

CHINA = datetime.timezone(datetime.timedelta(hours=8))
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = SiteServer(tmp_path_factory.mktemp("site")).start()
    site.keys = {name: site.lot(name, reserve=40, parkName=title, totalSpace=100) for name, title in
                 (("NORTH", "北山人民医院停车场"), ("SOUTH", "南山人民医院停车场"), ("EAST", "东湖公园停车场"))}
    tariff = {"tariffId": "T1", "effectiveFrom": now(), "rules": [{"stepMin": 60, "stepFee": 500}]}
    assert site.call(site.keys["NORTH"], "lot.tariff.report", tariff).code == 0
    site.shared_lot("SHARE")
    site.passwords = {"city": site.person("city.two", "city"), "op": site.person("op.two", "operator", parks=["NORTH", "SHARE"])}
    yield site
    site.stop()


_numbers = iter(range(13_500_000_000, 13_600_000_000))


def driver(site):
    return site.visitor().sign_in(str(next(_numbers)))


def staff(site, who):
    visitor = site.visitor()
    visitor.staff({"city": "city.two", "op": "op.two"}[who], site.passwords[who])
    return visitor


def moment(**ahead):
    time = datetime.datetime.now(CHINA) + datetime.timedelta(**ahead)
    return time.strftime("%Y-%m-%d"), time.strftime("%H:%M")


def hidden(page, action):
    """The hidden fields of the form with this address."""
    form = page.split(f'action="{action}"')[1].split("</form>")[0]
    return [(name, html.unescape(value)) for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form) if name != "csrf"]


# Drivers

def test_the_terms_are_of_the_chosen_stay(site):
    """Price and time to leave follow the length of the stay, in search and on the lot's page; the service says the same."""
    day, at = moment(minutes=40)
    provider = site.issue("provider")
    for stay, price in ((60, "¥5"), (240, "¥20")):
        page = site.visitor()
        page.get(f"/lots/NORTH?day={day}&at={at}&stay={stay}")
        assert f"预计 {price}" in page.text() and f'<option value="{stay}" selected>' in page.page.text, page.text()
        page.get(f"/?to=北山&day={day}&at={at}&stay={stay}")
        card = re.search(r'<li class="lot (?:(?!</li>).)*/lots/NORTH.*?</li>', page.page.text, re.S)[0]
        assert price in card, card
    plan = now() + 40 * 60_000
    detail = site.call(provider, "lot.detail", {"parkCode": "SHARE", "planTime": plan, "stayMin": 300}).data["stay"]["2"]
    assert detail["leaveBy"] == plan + 300 * 60_000 and detail["stayMin"] == 300 and detail["bookableFrom"] < now()
    made = site.call(provider, "order.create", booking("SHARE", plan, bizType=2, stayMin=300))
    assert made.code == 0 and made.data["leaveDeadline"] == detail["leaveBy"]
    assert site.call(provider, "lot.detail", {"parkCode": "SHARE", "stayMin": 5}).code == 102


def test_a_time_that_is_not_open_yet_is_not_full(site):
    day, at = moment(days=3)
    visitor = driver(site)
    visitor.get(f"/?to=北山&day={day}&at={at}")
    assert "尚未开放" in visitor.text() and "全部约满" not in visitor.text()
    visitor.get(f"/lots/NORTH?day={day}&at={at}")
    assert re.search(r"该时间尚未开放预约，.* 起可约", visitor.text()) and 'action="/book"' not in visitor.page.text and "候补" not in visitor.text().split("全部规则")[0]


def test_a_destination_that_is_not_known_or_not_clear(site):
    visitor = site.visitor()
    visitor.get("/?to=北山人民医阮")
    assert "没有找到“北山人民医阮”" in visitor.text() and "北山人民医院停车场" in visitor.text()
    visitor.get("/?to=xyzxyz")
    assert "没有找到“xyzxyz”" in visitor.text() and "三公里" not in visitor.text()
    visitor.get("/?to=人民医院")
    meant = visitor.page.text.split('class="meant"')[1].split("</nav>")[0]
    assert "您是不是要去" in meant and ("南山人民医院停车场" in meant or "北山人民医院停车场" in meant)
    visitor.get("/?to=东湖公园停车场")
    assert 'class="meant"' not in visitor.page.text


def test_a_refused_booking_keeps_what_was_typed_and_binds_nothing(site):
    person = driver(site)
    person.book("NORTH", "粤B1")
    assert 'name="plate" value="粤B1"' in person.page.text
    number = plate()
    day, at = moment(minutes=50)
    for _ in range(2):
        person.book("NORTH", plate(), at=(day, at))
    person.book("NORTH", number, at=(day, at))
    assert person.page.status_code == 409 and "(11" not in person.text(), "the day's limit, without a bare code"
    person.get("/mine/vehicles")
    shown = lambda text: f"{text[0]} {text[1]}·{text[2:]}"
    assert number not in person.page.text and shown(number) not in person.text()


def test_a_vehicle_with_a_reservation_stays(site):
    person, number = driver(site), plate()
    person.book("EAST", number)
    order = person.order
    person.get("/mine/vehicles")
    person.post("/mine/vehicles/remove", {"plate": number})
    assert "有未结束的预约" in person.text()
    person.post(f"/tickets/{order}/cancel", {"confirm": "1"})
    person.get("/mine/vehicles")
    person.post("/mine/vehicles/remove", {"plate": number})
    assert "还没有绑定车辆" in person.text()


def test_a_change_says_its_window_and_what_is_left(site):
    person = driver(site)
    person.book("EAST", plate())
    order = person.order
    assert "还可换车牌次数： 1" in (person.get(f"/tickets/{order}/change"), person.text())[1] and "新时间前" in person.text()
    person.post(f"/tickets/{order}/change", {"plate": plate()})
    assert "已更改" in person.text()
    assert "不能再换" in (person.get(f"/tickets/{order}/change"), person.text())[1]
    person.get(f"/tickets/{order}/delay")
    person.post(f"/tickets/{order}/delay", {})
    assert person.get(f"/tickets/{order}/delay").url.endswith(f"/tickets/{order}"), "a second delay is not offered"
    person.post(f"/tickets/{order}/cancel", {"confirm": "1"})
    assert "取消" in person.page.text.split('class="timeline"')[1].split("</ol>")[0]


def offer(site, person, price="300", mode="3"):
    """A space that an owner publishes through the pages and the city passes."""
    fields = {"lot": "SHARE", "space": "A-" + uuid.uuid4().hex[:5]}
    person.get("/owner/publish")
    person.post("/owner/publish", {"step": "1", **fields}, files={"proof": ("deed.png", PNG, "image/png")})
    proofs = dict(hidden(person.page.text, "/owner/publish"))["proofs"]
    times = [("days", str(day)) for day in range(1, 8)] + [("start", "00:00"), ("end", "24:00")]
    person.post("/owner/publish", [("step", "3"), ("proofs", proofs), *fields.items(), *times, ("mode", mode), ("amount", price), ("agree", "1")])
    number = re.search(r"/owner/offers/(SO\d+)", person.page.url).group(1)
    desk = staff(site, "op")
    desk.get("/operator/reviews")
    desk.post("/operator/reviews", {"lot": "SHARE", "offer": number, "pass": "1"})
    return number


def owner(site):
    person = driver(site)
    person.get("/owner")
    assert "平台" in person.text() and '/owner/agreement' in person.page.text
    person.post("/owner/join", {"agree": "1"})
    return person


def test_the_agreement_says_the_shares_in_force(site):
    """The split of the income is that of shared places: of the lot that was chosen, else of the city."""
    operator, person = site.issue("operator"), owner(site)
    shares = lambda address: re.search(r"平台\D*(\d+)\D*车场\D*(\d+)\D*(\d+)", (person.get(address), person.text())[1]).groups()
    usual = shares("/owner/agreement")
    assert site.call(operator, "policy.set", {"scope": "product:2", "values": {"platformPercent": 7}}).code == 0
    assert shares("/owner/agreement")[0] == "7" != usual[0]
    assert site.call(operator, "policy.set", {"scope": "product:2", "values": {"platformPercent": ""}}).code == 0
    assert shares("/owner/agreement") == usual


def test_a_car_of_another_driver_cannot_be_booked(site):
    """A plate that is typed becomes the driver's before the booking, and stays another's where it is; a refused booking leaves no car behind."""
    first, other, number, fresh = driver(site), driver(site), plate(), plate()
    first.get("/mine/vehicles")
    first.post("/mine/vehicles", {"plate": number})
    other.book("EAST", number)
    assert other.page.status_code == 409 and "号牌已被其他用户绑定" in other.text() and "还没有绑定车辆" in (other.get("/mine/vehicles"), other.text())[1]
    assert site.call(site.issue("operator"), "list.black.push", {"plateNo": fresh, "status": 1, "scope": "lot", "reason": "t"}, park="EAST").code == 0
    other.book("EAST", fresh)
    assert other.page.status_code == 409 and "还没有绑定车辆" in (other.get("/mine/vehicles"), other.text())[1], other.text()


def test_a_subscription_shows_its_price_and_its_end_first(site):
    """Asked for, renewed and ended with a page in between; when the owner closes the space, its subscriber learns why and gets the rest back."""
    host, person, number = owner(site), driver(site), plate()
    space = offer(site, host)
    person.get("/mine/vehicles")
    person.post("/mine/vehicles", {"plate": number})
    ask = [("offerId", space), ("plates", number), ("months", "2")]
    person.get("/share/SHARE")
    person.post("/share/SHARE", ask)
    assert "包月 2 个月，共 ¥600" in person.text() and "SA" not in person.page.text, "nothing is asked for yet"
    assert "SA" not in person.get("/share").text
    person.post("/share/SHARE", [*ask, ("confirm", "1")])
    assert "已申请" in person.text() and "待支付" in person.text()
    auth = re.search(r"/subscriptions/(SA\d+)/pay", person.page.text).group(1)
    person.post(f"/subscriptions/{auth}/pay", {})
    assert "已支付 ¥600" in person.text()
    eventually(lambda: "生效" in (person.get("/share"), person.text())[1], 20)
    assert "续订至" in (person.get(f"/subscriptions/{auth}/renew"), person.text())[1] and "¥300" in person.text()
    assert "已付的 ¥600 不退" in (person.get(f"/subscriptions/{auth}/cancel"), person.text())[1]
    assert person.post(f"/subscriptions/{auth}/cancel", {}, follow=False).headers["location"].endswith("/cancel"), "not without the confirmation"
    # The owner sees whom closing hits, and its cost.
    host.get(f"/owner/offers/{space}")
    host.post(f"/owner/offers/{space}/close", {})
    assert "订阅者 1" in host.text() and "整个发布" in host.text()
    host.post(f"/owner/offers/{space}/close", {"confirm": "1"})
    assert "已关闭" in host.text()
    person.get("/share")
    assert "车位主关闭了该车位" in person.text() and re.search(r"已退 ¥59\d|已退 ¥600", person.text()), person.text()
    assert "车位主关闭了车位" in (person.get("/mine/messages"), person.text())[1]


def test_closing_an_offer_that_nobody_uses_asks_too(site):
    host = owner(site)
    space = offer(site, host, "5", "2")
    host.get(f"/owner/offers/{space}")
    host.post(f"/owner/offers/{space}/close", {})
    assert "没有预约或订阅" in host.text() and "开放" in host.text()
    host.post(f"/owner/offers/{space}/close", {"confirm": "1"})
    assert "已关闭" in host.text()
    host.get("/owner/income")
    host.post("/owner/withdraw", {"amount": "9999", "key": str(uuid.uuid4())})
    assert "可提现余额为 ¥0" in host.text()


def test_a_preview_of_an_end_changes_nothing(site):
    """share.offer.close with `preview` answers like a question (needsConfirm), also where it would hit nobody."""
    provider, operator = site.issue("provider"), site.issue("operator")
    picture = site.call(provider, "image.ticket.apply", {"type": 4, "ext": "png", "size": len(PNG), "sha256": __import__("hashlib").sha256(PNG).hexdigest()}).data
    made = site.call(provider, "share.offer.publish", {
        "parkCode": "SHARE", "providerToken": "o1", "spaceNo": "P-1", "proofImages": [picture["imageId"]], "agreementVersion": "1.0",
        "segments": [{"repeatType": "daily", "start": "00:00", "end": "24:00"}], "price": {"mode": 2, "amount": 100}})
    number = made.data["offerId"]
    assert site.call(operator, "share.review", {"parkCode": "SHARE", "offerId": number, "pass": True}).code == 0
    looked = site.call(provider, "share.offer.close", {"offerId": number, "preview": True})
    assert looked.code == 403 and looked.data["needsConfirm"] is True and looked.data["orders"] == [] and looked.data["cost"] == 0
    state = lambda: site.call(provider, "share.offer.list", {"providerToken": "o1"}).data["offers"][0]["offerStatus"]
    assert state() == 2
    assert site.call(provider, "share.offer.close", {"offerId": number}).code == 0 and state() == 3


# Staff

def test_rules_are_applied_as_they_were_looked_at(site):
    desk = staff(site, "city")
    desk.get("/city/rules?scope=lot:EAST")
    form = {"scope": "lot:EAST", "v.waitlistMax": "9"}
    desk.post("/city/rules", form)
    seen = dict(hidden(desk.page.text, "/city/rules"))["seen"]
    desk.post("/city/rules", {**form, "v.waitlistMax": "7", "seen": seen, "apply": "1"})
    operator = site.issue("operator")
    there = lambda: {row["scope"]: row["values"] for row in site.call(operator, "policy.query", {}).data["scopes"]}.get("lot:EAST", {})
    assert "waitlistMax" not in there(), "other values than those that were looked at"
    desk.post("/city/rules", {**form, "seen": seen, "apply": "1"})
    assert str(there()["waitlistMax"]) == "9"
    desk.post("/city/rules", {"scope": "lot:EAST", "v.earlyMin": "-5"})
    assert "须为" in desk.text() and "的整数" in desk.text()


def test_flow_policies_stand_beside_each_other(site):
    """Each has a number of its own; times that cannot be are refused by name; the condition is shown."""
    desk = staff(site, "op")
    (day, at), (day2, at2) = moment(hours=1), moment(hours=2)
    form = {"mode": "3", "fromDay": day, "fromAt": at, "toDay": day2, "toAt": at2, "entries": "10", "close": ""}
    for wrong, words in (({"toAt": ""}, "结束日期和时间"), ({"toDay": "2020-01-01"}, "晚于开始"), ({"fromDay": "x"}, "开始日期和时间"), ({"close": "150"}, "1 到 100"),
                         ({"mode": "2", "entries": "abc"}, "0 到 10000"), ({"mode": ""}, "管控方式")):
        desk.get("/operator/lots/NORTH/flow")
        assert desk.post("/operator/lots/NORTH/flow", {**form, **wrong}).status_code == 422 and words in desk.text(), wrong
    for close in ("95", "90"):
        number = re.search(r'name="policy" value="(p-[^"]+)"', desk.get("/operator/lots/NORTH/flow").text).group(1)
        desk.post("/operator/lots/NORTH/flow", {**form, "close": close, "policy": number})
        seen = re.search(r'name="seen" value="(\w+)"', desk.page.text).group(1)
        desk.post("/operator/lots/NORTH/flow", {**form, "close": close, "policy": number, "seen": seen, "confirm": "1"})
    desk.get("/operator/lots/NORTH/flow")
    assert "饱和度达到 95% 时启用" in desk.text() and "饱和度达到 90% 时启用" in desk.text()
    assert "饱和度达到 90% 时启用" in (desk.get("/operator/lots/NORTH"), desk.text())[1]
    for number in re.findall(r'name="end-policy" value="([^"]+)"', desk.get("/operator/lots/NORTH/flow").text):
        desk.post("/operator/lots/NORTH/flow", {"end-policy": number})
    assert "没有管控策略" in desk.text()
    assert staff(site, "city").get("/city/areas/NOPE").status_code == 404


def test_the_audit_is_searched_by_person_and_day(site):
    desk = staff(site, "city")
    desk.get("/city/plates")
    desk.post("/city/plates", {"plate": "粤B41238", "reason": "走查"})
    who = "city.two"
    today, tomorrow = moment()[0], moment(days=1)[0]
    find = lambda **fields: (desk.get("/city/audit?" + "&".join(f"{name}={requests.utils.quote(value)}" for name, value in fields.items())), desk.text())[1]
    text = find(actor=who, action="look order.list")
    assert "走查" in text and "粤B" in text and "粤B41238" not in text, "the plate is masked, and it is there"
    assert "走查" in find(actor=who, **{"from": today, "to": today}) and "走查" not in find(actor=who, **{"from": tomorrow})
    assert "走查" not in find(actor="somebody else")
    assert "走查" in find(actor=who, text="走查") and "走查" not in find(actor=who, text="另一件事").split("<td")[0].split("查询")[-1]
    assert "没有" in find(actor="op" + "x" * 14), "a party that is not there is no person"


def test_a_gate_from_afar_says_what_became_of_it(site):
    desk = staff(site, "op")
    desk.get("/operator/lots/NORTH")
    desk.post("/operator/lots/NORTH/gate", {"gate": "G9", "reason": "测试"})
    assert desk.page.status_code == 409 and "G9 未抬闸" in desk.text() and 'value="测试"' in desk.page.text, desk.text()
    desk.post("/operator/lots/NORTH/gate", {"gate": "G9", "reason": ""})
    assert "请填写原因" in desk.text()
    key, operator = site.lot("GATES"), site.issue("operator")
    lot, desk = Lot(site, key).connect(), staff(site, "city")
    eventually(lambda: site.call(operator, "lot.board.query", {"parkCode": "GATES"}).data["lots"][0]["online"])
    lot.answer = lambda body: body["service"] == "gate.control" and lot.say(body, 0, {"executed": True})
    opened = desk.post("/operator/lots/GATES/gate", {"gate": "G1", "reason": "测试"})
    assert opened.url.endswith("/operator/lots/GATES") and "G1 已抬闸" in desk.text()
    assert "已抬闸" not in (desk.get("/operator/lots/GATES"), desk.text())[1], "it is said once"
    # No answer says nothing of the gate.
    lot.answer = lambda body: None
    desk.post("/operator/lots/GATES/gate", {"gate": "G1", "reason": "测试"})
    assert "不知道 G1 是否打开" in desk.text() and "未抬闸" not in desk.text()
    lot.disconnect()


def test_a_result_cannot_be_sent_in_a_link(site):
    """What a page says of a deed comes from the deed: not from an address, nor from another person's or page's words."""
    person, number = driver(site), plate()
    person.book("EAST", number)
    order = person.order
    for query in ("changed=1", "paid=100", "done=applied", "gate=opened&gateCode=G1", "said=x", "again=1"):
        for path in (f"/tickets/{order}", "/share"):
            person.get(f"{path}?{query}")
            assert "已更改" not in person.text() and "已支付" not in person.text() and 'class="note" role="status"' not in person.page.text
    again = person.book("EAST", number)
    assert "同一辆车这个时段已有预约" in person.text() and again.url.endswith(f"/tickets/{order}"), person.text()
    twice = person.session.post(f"{site.base}/book", data=again.history[0].request.body, headers={"Content-Type": "application/x-www-form-urlencoded"}, allow_redirects=False)
    said = twice.cookies["berth_said"]
    for path, cookie, shown in ((f"/tickets/{order}", said, True), ("/mine", said, False), (f"/tickets/{order}", said[:-1] + "x", False), (f"/tickets/{order}", "9" * 30 + ".." + "0" * 64, False)):
        person.session.cookies.clear(domain="127.0.0.1", path="/", name="berth_said") if "berth_said" in person.session.cookies else None
        person.session.cookies.set("berth_said", cookie, domain="127.0.0.1", path="/")
        person.get(path)
        assert ("同一辆车这个时段已有预约" in person.text()) == shown, (path, cookie)
    other = driver(site)
    other.session.cookies.set("berth_said", said)
    assert "已有预约" not in (other.get("/mine"), other.text())[1]


def test_a_list_says_whom_it_hits(site):
    person, number = driver(site), plate()
    person.book("NORTH", number)
    desk = staff(site, "op")
    address = "/operator/lots/NORTH/lists"
    desk.get(address)
    entry = {"kind": "black", "plate": number, "reason": "逃费", "toDay": moment(days=2)[0]}
    desk.post(address, {**entry, "toDay": "2020-01-01"})
    assert "截止日期" in desk.text() and 'value="逃费"' in desk.page.text
    desk.post(address, entry)
    assert "有 1 个预约" in desk.text() and "没有车辆" in desk.text()
    seen = dict(hidden(desk.page.text, address))["seen"]
    desk.post(address, {**entry, "toDay": moment(days=3)[0], "seen": seen})
    assert "有 1 个预约" in desk.text(), "another entry is asked about anew"
    desk.post(address, {**entry, "seen": seen})
    assert "有 1 个预约" not in desk.text() and "逃费" in desk.text()
    desk.post(address, {**entry, "kind": "white"})
    assert "黑名单优先" in desk.text()


def test_accounts_with_their_rights(site):
    desk = staff(site, "city")
    desk.get("/operator/people")
    desk.post("/operator/people", {"login": "dev.two", "role": "developer", "name": "开发"})
    assert "须填写 appId" in desk.text() and 'value="dev.two"' in desk.page.text
    desk.post("/operator/people", [("login", "city.three"), ("role", "city"), ("rights", "audit"), ("rights", "flow")])
    password = re.search(r'city\.three</b> <b class="mono">(\w+)<', desk.page.text).group(1)
    other = site.visitor()
    other.staff("city.three", password)
    assert other.get("/city/audit").status_code == 200 and other.get("/city/rules").status_code == 403
    assert "结束全部会话" in desk.text(), "the consequence stands beside the button"


def test_the_console_works_at_the_address_of_the_pages(site):
    """The browser signs; the pages carry the message and its answer as they are."""
    provider = site.issue("provider")
    visitor = site.visitor()
    visitor.get("/developer/console")
    message = envelope(provider, "lot.detail", {"parkCode": "NOBODY"})
    answer = visitor.post("/developer/console", {"service": "lot.detail", "message": json.dumps(message)})
    assert answer.status_code == 200 and answer.json()["code"] == 1000 and answer.json()["requestId"] == message["requestId"]
    assert visitor.post("/developer/console", {"service": "no.such", "message": "{}"}).status_code == 400
    assert visitor.post("/developer/console", {"service": "lot.detail", "message": "no json"}).json()["code"] == 101


def test_accounts_of_a_day_as_a_person_reads_them(site):
    desk = staff(site, "op")
    answer = desk.get(f"/operator/money.csv?lot=NORTH&day={moment(days=30)[0]}")
    assert answer.text.lstrip("\ufeff").startswith("车场,日期,记录号,上报（元）") and moment()[0] in answer.headers["content-disposition"], "no day to come"
    assert "没有符合条件的车场" in (desk.get("/operator?q=zzz"), desk.text())[1]
    assert 'href="/operator"' in desk.get("/operator/lots/EAST").text.split("<main")[1], "an error leads back to the work"


def test_no_plate_is_public(site):
    """The stream of the wall map has no plate, not even a masked one."""
    provider = site.issue("provider")
    with requests.get(f"{site.base}/live/events", stream=True, timeout=20) as stream:
        assert site.call(provider, "order.create", booking("EAST")).code == 0
        seen, end = [], time.monotonic() + 15
        for line in stream.iter_lines(delimiter=b"\n"):
            if line.startswith(b"data:"):
                seen = json.loads(line[5:])["orders"]
            if seen or time.monotonic() > end:
                break
        assert seen and all("plate" not in order for order in seen)
