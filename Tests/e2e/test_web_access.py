"""The pages from outside: who may do what, what a stranger's number finds, what a hostile form changes, what a first view weighs."""
import base64
import datetime
import hashlib
import hmac
import html
import json
import re
import struct
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from berth import ROOT, Server, booking, eventually, free_port, now, plate
from web import SiteServer, Visitor, routes

WEB = ROOT / "Sources/BerthWeb"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = SiteServer(tmp_path_factory.mktemp("site")).start()
    site.lot("P1", reserve=40)
    site.lot("P2", reserve=40)
    site.shared_lot("S1")
    site.passwords = {
        "operator": site.person("op.one", "operator", parks=["P1", "S1"]), "city": site.person("city.one", "city"),
        "developer": site.person("dev.one", "developer"), "audit": site.person("audit.one", "city", rights=["audit"])}
    yield site
    site.stop()


_numbers = iter(range(13_600_000_000, 13_700_000_000))


def driver(site):
    return site.visitor().sign_in(str(next(_numbers)))


def owner(site):
    person = driver(site)
    person.get("/owner")
    person.post("/owner/join", {"agree": "1"})
    return person


# Words


def flat(tree, prefix=""):
    for name, value in tree.items():
        yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


def test_both_languages_say_the_same_things():
    zh, en = (dict(flat(json.loads((WEB / f"Web/words.{tag}.json").read_text()))) for tag in ("zh", "en"))
    assert zh.keys() == en.keys()
    for key in zh:
        assert set(re.findall(r"\{(\w+)\}", zh[key])) == set(re.findall(r"\{(\w+)\}", en[key])), key
        assert zh[key].strip() and en[key].strip(), key
    # What the pages ask for is there; a name that is computed is there for each value that it can have.
    asked = set()
    for file in WEB.rglob("*.mustache"):
        asked |= set(re.findall(r"\{\{t\.([\w.]+)\}\}", file.read_text()))
    for file in WEB.rglob("*.swift"):
        text = file.read_text()
        asked |= {key for key in re.findall(r'say\([\w.]+,\s*"([\w.]+)"', text) if not key.endswith(".")}
        asked |= set(re.findall(r'word: "([\w.]+)"', text))
    missing = sorted(asked - zh.keys())
    assert not missing, missing
    for name, values in {"status": range(11), "delivery": range(6), "share.status": range(8), "offer.status": range(6), "level": range(4),
                         "flow.mode": range(4), "biz": range(1, 4), "price": range(1, 4)}.items():
        assert all(f"{name}.{value}" in zh for value in values), name
    # Each word is used by somebody.
    everything = "".join(f.read_text() for f in [*WEB.rglob("*.mustache"), *WEB.rglob("*.swift")])
    computed = re.compile(r"^(status|delivery|share\.status|offer\.status|level|flow\.mode|biz|price|kind|tag|scene|counter|counter\.what|group|field|right|share\.what|share\.verb|share\.wait|flow\.if|op\.gateSaid|penalty|appeal|ledger|role|"
                          r"rules\.effect|case|case\.done|message|receipt|stage|link|lists\.scope|credential\.role|quota\.pool|times|money\.why|terms|ticket|ticket\.t|error|remark|payer)\.")
    unused = [key for key in zh if key not in everything and not computed.match(key)]
    assert not unused, unused


# Roles


def test_each_role_at_each_page_and_action(site):
    """The table: whoever may not is told so, whoever may gets an answer, and nothing ends in 500."""
    people = {"nobody": (site.visitor(), set()), "driver": (driver(site), {"driver"}), "owner": (owner(site), {"driver", "owner"})}
    for login, roles in (("operator", {"operator"}), ("city", {"city"}), ("developer", {"developer"})):
        visitor = site.visitor()
        visitor.staff({"operator": "op.one", "city": "city.one", "developer": "dev.one"}[login], site.passwords[login])
        people[login] = (visitor, roles)
    table, faults = routes(), []
    assert len(table) > 70
    skipped = {"/signout", "/account/delete", "/account/sessions/end", "/account/totp", "/account/password"}  # they end the session that is tried
    for row in table:
        path = re.sub(r":(\w+)", lambda m: {"lot": "P1", "order": "YY202601010000000001", "offer": "SO0", "auth": "SA0"}.get(m.group(1), "x1"), row["pattern"])
        if path in skipped and row["method"] == "POST":
            continue
        access = row["access"]
        for name, (visitor, roles) in people.items():
            may = access == "anyone" or (roles and access == "signed in") or bool(roles & set(access.split(" or "))) \
                or (access.startswith("city: ") and "city" in roles)
            if row["method"] == "GET":
                answer = visitor.session.get(site.base + path, allow_redirects=False, timeout=30)
            else:
                visitor.get("/")
                answer = visitor.post(path, {}, follow=False)
            to_sign_in = answer.status_code == 303 and re.match(r"/(signin|staff)\?next=", answer.headers["location"])
            refused = answer.status_code == 403 or bool(to_sign_in)
            # An action's own refusal (an account that is its own, a second factor) is not the table's.
            if answer.status_code >= 500 or (may and to_sign_in) or (not may and not refused):
                faults.append((row["method"], path, access, name, answer.status_code, answer.headers.get("location")))
    assert not faults, faults


def test_rights_of_the_citys_staff_are_by_page(site):
    visitor = site.visitor()
    visitor.staff("audit.one", site.passwords["audit"])
    assert visitor.get("/city/audit").status_code == 200
    for path in ("/city", "/city/rules", "/city/plates", "/city/appeals", "/city/areas"):
        assert visitor.get(path).status_code == 403, path


def test_an_operator_is_limited_to_own_lots(site):
    visitor = site.visitor()
    visitor.staff("op.one", site.passwords["operator"])
    assert visitor.get("/operator/lots/P1").status_code == 200
    assert "P2" not in visitor.get("/operator").text
    for path in ("/operator/lots/P2", "/operator/lots/P2/flow", "/operator/money?lot=P2", "/operator/lots/NOWHERE"):
        assert visitor.get(path).status_code == 404, path
    for path, fields in (("/operator/lots/P2/flow", {"mode": "3", "confirm": "1"}), ("/operator/cases/GC1", {"lot": "P2"}),
                         ("/operator/reviews", {"lot": "P2", "offer": "SO1", "pass": "1"}), ("/operator/lots/P2/gate", {"gate": "G1", "reason": "x"})):
        visitor.get("/operator")
        assert visitor.post(path, fields).status_code == 404, path
    flows = site.call(site.issue("operator"), "flow.policy.list", {"parkCode": "P2"}).data["policies"]
    assert flows == []


# Foreign numbers


def test_another_users_ids_are_not_found(site):
    one, two = driver(site), driver(site)
    one.book("P1", plate())
    order = one.order
    assert two.get(f"/tickets/{order}").status_code == 404
    for what, fields in (("cancel", {"confirm": "1"}), ("change", {"day": "2026-12-01", "at": "10:00"}), ("delay", {}), ("pay", {"fen": "0"}), ("leave", {})):
        two.get("/mine")
        assert two.post(f"/tickets/{order}/{what}", fields).status_code == 404, what
        if what not in ("leave",):
            assert two.get(f"/tickets/{order}/{what}").status_code == 404, what
    stream = two.session.get(f"{site.base}/stream?path=/tickets/{order}", stream=True, timeout=10)
    lines = stream.iter_lines(decode_unicode=True)
    assert any(line == "event: gone" for _, line in zip(range(10), lines)), "a stream of a foreign ticket says nothing of it"
    assert "已预约" in Visitor.text(one) and one.get(f"/tickets/{order}").status_code == 200
    # A plate that another user has bound, a penalty, an offer, a subscription.
    mine = plate()
    one.get("/mine/vehicles"), one.post("/mine/vehicles", {"plate": mine})
    two.get("/mine/vehicles")
    assert two.post("/mine/vehicles", {"plate": mine}).status_code == 422
    two.get("/mine/standing")
    assert two.post("/mine/appeal", {"penalty": f"{order}-N", "text": "x"}).status_code == 404
    stranger = owner(site)
    for path in ("/owner/offers/SO202601010000000001", "/owner/offers/SO202601010000000001/close"):
        stranger.get("/owner")
        assert (stranger.get(path) if not path.endswith("close") else stranger.post(path, {})).status_code == 404
    stranger.get("/share")
    assert stranger.post("/subscriptions/SA202601010000000001/cancel", {}).status_code == 404


# Forms


def test_a_form_without_its_token_changes_nothing(site):
    person = driver(site)
    good = person.csrf
    for token in ("", "x", "0" * 64, good[:-1] + ("0" if good[-1] != "0" else "1"), site.visitor().csrf):
        assert person.post("/mine/vehicles", {"plate": plate()}, csrf=token).status_code == 403, token
    assert "还没有绑定车辆" in person.get("/mine/vehicles").text
    # The token of another session is none here, and the own one is good in any of the pages.
    assert person.post("/mine/vehicles", {"plate": plate()}, csrf=good).status_code == 200


def test_one_reservation_for_two_taps_two_tabs_and_the_back_button(site):
    person, number, key = driver(site), plate(), uuid.uuid4().hex
    person.book("P1", number, key=key)
    first = person.order
    person.book("P1", number, key=key)
    assert person.order == first, "a second tap on the same form"
    person.book("P1", number)
    assert person.order == first and "已有预约" in person.page.text, "another tab"
    assert len(set(re.findall(r"/tickets/(YY\d+)", person.get("/mine").text))) == 1


def test_many_taps_at_once(site):
    from concurrent.futures import ThreadPoolExecutor
    person, number, key = driver(site), plate(), uuid.uuid4().hex
    person.get("/lots/P1?biz=1")
    plan = int(re.search(r'name="planTime" value="(\d+)"', person.page.text).group(1))
    fields = {"csrf": person.csrf, "lot": "P1", "biz": "1", "planTime": plan, "key": key, "plate": number}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: person.session.post(site.base + "/book", data=fields, allow_redirects=False, timeout=30), range(16)))
    assert len({a.headers["location"].split("?")[0] for a in answers}) == 1, [a.status_code for a in answers]


def test_bad_input_is_named_and_changes_nothing(site):
    person = driver(site)
    for wrong, words in (("粤B1", "“粤B1”不是合法的车牌号"), ("", "请选择或填写车牌"), ("XX", "“XX”不是")):
        person.book("P1", wrong)
        assert person.page.status_code == 409 and words in person.text(), (wrong, person.text()[:600])
    person.get("/")
    for path in ("/?to=" + "长" * 500, "/?to=%FF%FE&lng=abc&lat=9e99&biz=9&day=x&at=99:99&stay=-1", "/?lng=200&lat=1", "/lots/" + "A" * 400, "/lots/%00",
                 "/tickets/" + "9" * 300, "/mine?cursor=zzz", "/share?q=<script>", "/arrive/x", "/arrive/x.y"):
        assert person.get(path).status_code < 500, path
        assert "<script>" not in person.page.text.replace("<script type=\"module\"", "")
    assert person.post("/book", {"lot": "P1"}).status_code == 400
    big = person.session.post(site.base + "/mine/vehicles", data=b"x" * (7 << 20), headers={"content-type": "application/x-www-form-urlencoded"}, timeout=30)
    assert big.status_code == 413
    odd = person.session.post(site.base + "/owner/publish", data=b"--x\r\nbroken", headers={"content-type": "multipart/form-data; boundary=x"}, timeout=30)
    assert odd.status_code == 403
    for target in ("//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
        visitor = site.visitor()
        number = str(next(_numbers))
        visitor.post("/signin", {"mobile": number, "next": target})
        code = re.search(r'<b id="code">(\d{6})</b>', visitor.page.text).group(1)
        answer = visitor.post("/signin/code", {"mobile": number, "code": code, "next": target}, follow=False)
        assert answer.status_code == 303 and answer.headers["location"] == "/", target


# Signing in


def test_codes_are_good_once_and_a_few_times_an_hour(site):
    visitor, number = site.visitor(), str(next(_numbers))
    visitor.post("/signin", {"mobile": number})
    code = re.search(r'<b id="code">(\d{6})</b>', visitor.page.text).group(1)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    for left in (4, 3, 2, 1, 0):
        answer = visitor.post("/signin/code", {"mobile": number, "code": wrong})
        assert answer.status_code == 422 and f"还可再试 {left} 次" in answer.text
    assert visitor.post("/signin/code", {"mobile": number, "code": code}).status_code == 422, "after five wrong tries the right one is dead too"
    for _ in range(4):
        assert visitor.post("/signin", {"mobile": number}).status_code == 200
    assert visitor.post("/signin", {"mobile": number}).status_code == 429
    other = str(next(_numbers))
    person = site.visitor().sign_in(other)
    again = site.visitor()
    again.post("/signin", {"mobile": other})
    code = re.search(r'<b id="code">(\d{6})</b>', again.page.text).group(1)
    assert again.post("/signin/code", {"mobile": other, "code": code, "next": "/mine"}).url.endswith("/mine")
    assert again.post("/signin/code", {"mobile": other, "code": code}).status_code == 422, "used"
    for bad in ("123", "1380013800a", "+86", "13800138000; rm"):
        assert site.visitor().post("/signin", {"mobile": bad}).status_code == 422, bad


def totp(secret, at=None):
    key = base64.b32decode(secret)
    mac = hmac.new(key, struct.pack(">Q", int(at or time.time()) // 30), hashlib.sha1).digest()
    offset = mac[19] & 15
    return f"{(struct.unpack('>I', mac[offset:offset + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"


def test_staff_sign_in_with_a_second_factor(site):
    password = site.person("two.factor", "operator", parks=["P1"])
    one, other = site.visitor(), site.visitor()
    answers = {one.staff(login, "wrong-password-1").text.split("role=\"alert\">")[1].split("<")[0] for login in ("two.factor", "nobody.here")}
    assert len(answers) == 1, "one answer, whether the name exists or not"
    one.staff("two.factor", password)
    assert one.page.url.endswith("/operator")
    one.get("/account")
    secret = re.search(r'name="secret" value="(\w+)"', one.page.text).group(1)
    assert one.post("/account/totp", {"secret": secret, "totp": "000000"}).status_code == 422
    code = totp(secret)
    one.get("/account"), one.post("/account/totp", {"secret": secret, "totp": code})
    assert one.page.url.endswith("/operator")
    assert other.staff("two.factor", password).status_code == 422
    assert other.staff("two.factor", password, code).status_code == 422, "a code is good once"
    assert other.staff("two.factor", password, totp(secret, time.time() + 30)).url.endswith("/operator")
    # Sessions are listed, and end when their owner ends them.
    assert other.get("/account").text.count("python-requests") == 0 and one.get("/account").text.count('action="/account/sessions/end"') == 1
    ended = re.search(r'name="id" value="(\w{16})"', one.page.text).group(1)
    one.post("/account/sessions/end", {"id": ended})
    assert other.get("/operator").url.split("?")[0].endswith("/staff"), "signed out elsewhere"
    # A closed account has no sessions.
    person = [p for p in map(json.loads, site.cli("people", "list").splitlines()) if p["login"] == "two.factor"][0]
    site.cli("people", "set", "--person", person["personId"], "--state", "disabled")
    assert one.get("/operator").url.split("?")[0].endswith("/staff")
    assert site.visitor().staff("two.factor", password, totp(secret, time.time() + 60)).status_code == 422


def test_many_tries_are_slowed_down(site):
    visitor = site.visitor()
    visitor.get("/staff")
    codes = [visitor.staff("slow.me", f"wrong-{n}").status_code for n in range(10)]
    assert codes[0] == 422 and 429 in codes


def test_an_account_is_deleted_when_nothing_is_open(site):
    person = driver(site)
    number = plate()
    person.book("P1", number)
    order = person.order
    person.get("/account/delete")
    assert "未完成的预约" in person.page.text and "确认注销" not in person.page.text
    person.post("/account/delete", {})
    assert person.get("/mine").status_code == 200 and person.page.url.endswith("/mine"), "nothing was deleted"
    person.get(f"/tickets/{order}/cancel")
    person.post(f"/tickets/{order}/cancel", {"confirm": "1"})
    person.get("/account/delete")
    assert "确认注销" in person.page.text
    person.post("/account/delete", {})
    assert "/signin" in person.get("/mine").url
    # The plate is free for somebody else, and nothing that names the person is left in the rows of accounts.
    other = driver(site)
    other.get("/mine/vehicles")
    assert other.post("/mine/vehicles", {"plate": number}).status_code == 200


# What is sent


def test_headers_and_the_weight_of_the_first_view(site):
    answer = requests.get(site.base + "/", headers={"accept-encoding": "gzip"}, timeout=10)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-encoding"] == "gzip" and "x-berth-compress" not in answer.headers
    assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=Lax" in answer.headers["set-cookie"]
    assert not re.search(r'\sstyle="|<script>|<style|\son\w+="', answer.text)
    weights = {}
    with requests.get(site.base + "/", headers={"accept-encoding": "gzip"}, stream=True, timeout=10) as page:
        weights["/"] = len(page.raw.read())
    for path in re.findall(r'(?:href|src)="(/assets/[^"]+|/favicon.svg)"', answer.text):
        with requests.get(site.base + path, headers={"accept-encoding": "gzip"}, stream=True, timeout=10) as file:
            assert file.status_code == 200, path
            weights[path.split("?")[0]] = len(file.raw.read())
            if "?v=" in path:
                assert "immutable" in file.headers["cache-control"]
    print("\nfirst view, bytes on the wire:", weights, "in all", sum(weights.values()))
    assert sum(weights.values()) <= 60_000
    head = requests.head(site.base + "/", timeout=10)
    assert head.status_code == 200 and not head.content


def test_pages_name_nobody_else(site):
    person = driver(site)
    for path in ("/", "/?to=测试", "/lots/P1", "/mine", "/share", "/signin", "/staff", "/open", "/developer/console"):
        person.get(path)
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', person.page.text), path


def test_no_plate_without_sign_in(site):
    person, number = driver(site), plate()
    person.book("P1", number)
    for path in ("/", "/?to=测试", "/lots/P1", "/share", "/open/lots.json", "/open/datex2/status.xml", "/live/city", "/map"):
        text = requests.get(site.base + path, timeout=10).text
        assert number not in text and "138000" not in text, path


def test_open_data_is_read_by_an_aggregators_own_code(site, tmp_path):
    """JSON, and DATEX II as parkapi-sources reads it; its list of languages gets Chinese."""
    rows = requests.get(site.base + "/open/lots.json", timeout=10).json()
    assert {"P1", "P2", "S1"} <= {row["id"] for row in rows["lots"]}
    script = """
import json, sys
from enum import Enum
from lxml import etree
from parkapi_sources.converters.base_converter.datex2 import parking_record_status_mixin as status, urban_parking_site_mixin as table
from parkapi_sources.converters.base_converter.datex2 import urban_parking_site_validator as site
from parkapi_sources.util import XMLHelper
from validataclass.dataclasses import validataclass
from validataclass.validators import EnumValidator, StringValidator
site.ParkingName.__dataclass_fields__["lang"].metadata["validator"].__init__(Enum("Language", {"DE": "de", "ZH": "zh"}))
source = type("Info", (), {"uid": "berth"})
Table = type("Table", (table.UrbanParkingSiteMixin,), {"xml_helper": XMLHelper(), "source_info": source})
Status = type("Status", (status.ParkingRecordStatusMixin,), {"xml_helper": XMLHelper(), "source_info": source})
lots, bad = Table()._handle_static_xml_data(etree.parse(sys.argv[1]).getroot())
states, worse = Status()._handle_realtime_xml_data(etree.parse(sys.argv[2]).getroot())
print(json.dumps({"lots": {l.uid: l.capacity for l in lots}, "free": {s.uid: s.realtime_free_capacity for s in states}, "faults": [str(e) for e in bad + worse]}))
"""
    for name in ("table", "status"):
        (tmp_path / f"{name}.xml").write_bytes(requests.get(f"{site.base}/open/datex2/{name}.xml", timeout=10).content)
    done = subprocess.run([ROOT / ".venv-datex/bin/python", "-c", script, tmp_path / "table.xml", tmp_path / "status.xml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    read = json.loads(done.stdout)
    assert not read["faults"], read["faults"][:3]
    assert read["lots"]["P1"] == 100 and set(read["lots"]) == set(read["free"]) >= {"P1", "P2", "S1"}
    assert read["free"]["P1"] == {row["id"]: row["free"] for row in rows["lots"]}["P1"]


def test_a_second_process_serves_the_same_people(site, tmp_path):
    """`berth web` against the server over HTTPS: the same accounts, the same sessions."""
    from berth import BIN, Process, free_port
    keys = tmp_path / "web.json"
    keys.write_text(site.cli("keys", "web"))
    port = free_port()
    process = Process([BIN / "berth", "web", "--server", site.ready["https"], "--ca", site.ca, "--keys", keys, "--port", port, "--plain", "--test", "--codes", "screen"],
                      tmp_path / "web.log")
    try:
        base = process.ready()["page"].rstrip("/")
        person = driver(site)
        person.base = base
        assert person.get("/mine").status_code == 200 and person.page.url == base + "/mine", "signed in at the first, known at the second"
        person.book("P2", plate())
        assert "已预约" in person.text()
    finally:
        process.stop()


def test_limits_by_source_behind_a_proxy(site, tmp_path):
    """A named proxy's X-Forwarded-For is believed from its end; what a visitor writes in front of it is not, and nobody else's is."""
    from berth import BIN, Process, free_port
    keys = tmp_path / "web.json"
    keys.write_text(site.cli("keys", "web"))
    port = free_port()
    wrong = subprocess.run([BIN / "berth", "web", "--server", "https://x", "--keys", keys, "--proxy", "nobody"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "--proxy nobody" in wrong.stderr
    process = Process([BIN / "berth", "web", "--server", site.ready["https"], "--ca", site.ca, "--keys", keys, "--port", port, "--plain", "--test", "--codes", "screen",
                       "--proxy", "127.0.0.1"], tmp_path / "web.log")
    try:
        base = process.ready()["page"].rstrip("/")
        ask = lambda chain: requests.get(f"{base}/open/lots.json", headers={"X-Forwarded-For": chain} if chain else {}, timeout=20)
        def codes(get):
            # Places come back, two a second: many ask at a time.
            with ThreadPoolExecutor(8) as many:
                return set(many.map(get, range(500)))
        assert codes(lambda n: ask(f"9.9.9.{n}, 1.1.1.1").status_code) == {200, 429}, "the visitor is 1.1.1.1, whatever they write in front"
        late = eventually(lambda: (answer := ask("8.8.8.8, 1.1.1.1:4711")).status_code == 429 and [answer], step=0.01)[0]
        assert late.headers["retry-after"] == "60"
        assert ask("1.1.1.1, 2.2.2.2").status_code == 200 and ask("[::1]:80").status_code == 200 and ask("nonsense").status_code == 200
        # The city's own server believes nobody.
        assert 429 in codes(lambda n: requests.get(f"{site.base}/open/lots.json", headers={"X-Forwarded-For": f"3.3.3.{n}"}, timeout=20).status_code)
    finally:
        process.stop()


# Who may do more than they should (each of these was possible once)


def test_a_review_is_of_the_lot_that_the_reviewer_works_for(site):
    """An operator of P1 names P1 and an offer of S1: it is not found, and stays under review."""
    site.shared_lot("S1R")
    app = site.issue("provider")
    offer = site.call(app, "share.offer.publish", {"parkCode": "S1R", "providerToken": "o", "count": 1, "proofImages": ["i"], "agreementVersion": "1.0"}).data
    operator = site.issue("operator")
    for wrong in ("P1", "P2"):
        assert site.call(operator, "share.review", {"parkCode": wrong, "offerId": offer["offerId"], "pass": True}).code == 400
    visitor = site.visitor()
    visitor.staff("op.one", site.passwords["operator"])
    visitor.get("/operator/reviews")
    assert visitor.post("/operator/reviews", {"lot": "P1", "offer": offer["offerId"], "pass": "1"}).status_code != 200
    rows = site.call(app, "share.offer.list", {"providerToken": "o"}).data["offers"]
    assert [(r["offerId"], r["offerStatus"]) for r in rows] == [(offer["offerId"], offer["offerStatus"])]


def test_a_limited_member_of_the_citys_staff_makes_no_accounts(site):
    """One right is one page: no boards, no accounts, no gates."""
    visitor = site.visitor()
    visitor.staff("audit.one", site.passwords["audit"])
    for path in ("/operator", "/operator/people", "/operator/cases", "/operator/lots/P1"):
        assert visitor.get(path).status_code == 403, path
    for path, fields in (("/operator/people", {"login": "evil.one", "role": "city"}), ("/operator/lots/P1/gate", {"gate": "G1", "reason": "x"})):
        visitor.get("/city/audit")
        assert visitor.post(path, fields).status_code == 403, path
    assert "evil.one" not in site.cli("people", "list")
    site.person("lots.one", "city", rights=["lots"])


def test_an_operator_gives_no_password_to_who_may_more(site):
    password = site.person("more.one", "city", parks=["P1"])
    person = next(p for p in map(json.loads, site.cli("people", "list").splitlines()) if p["login"] == "more.one")
    visitor = site.visitor()
    visitor.staff("op.one", site.passwords["operator"])
    assert "more.one" not in visitor.get("/operator/people").text
    assert visitor.post(f"/operator/people/{person['personId']}", {"do": "reset"}).status_code == 404
    assert site.visitor().staff("more.one", password).url.endswith("/city"), "the password is the old one"


def test_without_a_second_factor_staff_get_one_first(tmp_path):
    """In production: every page leads to the account page, every action is refused, until there is one."""
    server = Server(tmp_path, page__port=free_port()).start()
    try:
        server.lot("P1")
        password = json.loads(server.cli("people", "add", "--login", "new.one", "--role", "city"))["password"]
        visitor = Visitor(server.ready["page"].rstrip("/"))
        visitor.staff("new.one", password)
        assert visitor.page.url.endswith("/account")
        for path in ("/city", "/operator", "/operator/cases", "/city/rules", "/developer"):
            assert visitor.get(path).url.endswith("/account"), path
        visitor.get("/account")
        assert visitor.post("/operator/people", {"login": "evil.one", "role": "city"}).status_code == 403
        assert visitor.session.get(visitor.base + "/stream?path=/city", timeout=10).text.count("event: part") == 0
        visitor.get("/account")
        secret = re.search(r'name="secret" value="(\w+)"', visitor.page.text).group(1)
        visitor.post("/account/totp", {"secret": secret, "totp": totp(secret)})
        assert visitor.get("/city").url.endswith("/city") and visitor.page.status_code == 200
    finally:
        server.stop()


def test_next_stays_on_this_site(site):
    for bad in ("//evil.example", "/\\evil.example", "//\ufe0fevil.example", "/\ufe0f/evil.example", "https://evil.example", "/a\nb", "/\t/evil.example"):
        page = site.visitor().get("/signin?next=" + requests.utils.quote(bad))
        assert re.search(r'name="next" value="([^"]*)"', page.text).group(1) == "/", bad
    page = site.visitor().get("/signin?next=" + requests.utils.quote("/lots/P1?at=08%3A00&day=2026-12-01"))
    assert html.unescape(re.search(r'name="next" value="([^"]*)"', page.text).group(1)) == "/lots/P1?at=08%3A00&day=2026-12-01"


def test_the_chosen_day_survives_signing_in(site):
    """The link to the sign-in page of a lot carries the whole address."""
    soon = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=8))) + datetime.timedelta(minutes=40)
    day, at = soon.strftime("%Y-%m-%d"), soon.strftime("%H:%M")
    page = site.visitor().get(f"/lots/P1?biz=1&day={day}&at={at}")
    link = html.unescape(re.search(r'href="(/signin\?next=[^"]*)"', page.text).group(1))
    page = site.visitor().get(link)
    back = html.unescape(re.search(r'name="next" value="([^"]*)"', page.text).group(1))
    assert back.startswith("/lots/P1?") and f"day={day}" in back and "at=" + at.replace(":", "%3A") in back, back


def test_a_sign_with_a_combining_mark_is_escaped(site):
    """A browser sees the sign alone: it must not close an attribute or open an element."""
    for text in ('"\u0301 autofocus', "\u0600<meta name=x>", "<\u0301b>", '\u0600"x'):
        page = site.visitor().get("/?to=" + requests.utils.quote(text)).text
        assert "<meta name=x" not in page and '\u0600"' not in page and '"\u0301' not in page and "<\u0301b" not in page, text


def test_bodies_of_strangers_are_short(site):
    visitor = site.visitor()
    visitor.get("/signin")
    assert visitor.post("/signin", {"mobile": "1" * 70_000}).status_code == 413
    assert visitor.post("/signin", {"mobile": "123"}).status_code == 422


def test_a_place_of_a_stream_comes_back(site):
    """300 streams of one source that are gone before their head is written: the next one is served."""
    import socket
    import struct
    port = int(site.base.rsplit(":", 1)[1])
    for _ in range(300):
        link = socket.create_connection(("127.0.0.1", port))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.sendall(b"GET /stream?path=/operator HTTP/1.1\r\nhost: x\r\n\r\n")
        link.close()

    def is_served():
        with site.visitor().session.get(site.base + "/stream?path=/", timeout=10, stream=True) as answer:
            return answer.status_code == 200
    eventually(is_served, 30, 0.5)
