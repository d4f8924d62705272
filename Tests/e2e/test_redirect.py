"""Section 12: signed addresses from one party's page to another's."""
import hashlib
import hmac
import urllib.parse

import pytest
import requests

from berth import booking, envelope, note, now, plate

SECRET = "k7Qd2vXw9ZtY4mNb8RsC1pLf6HjA3eUg"
SCENES = ["RESERVE", "ORDER", "PAY", "ENTRY_QR", "EXIT_QR", "SHARE", "PUBLIC_BIZ", "NAVI", "INVOICE", "CREDIT"]


def sign_pairs(members, secret):
    text = "&".join(f"{k}={urllib.parse.quote(members[k], safe='-._~')}" for k in sorted(members) if members[k] and k != "sign")
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def test_vectors_of_section_12():
    members = {"appId": "sz10000001", "nonce": "9f86d081884c7d65", "orderNo": "YY202303010000000001", "parkCode": "440305000000001",
               "plateNo": "粤B12345", "scene": "PAY", "timestamp": "1677628500000"}
    assert sign_pairs(members, SECRET) == "489e262119bb5a15aecd48e26e1fbcf821336978e4c03f98331a840a554a142b"
    members |= {"scene": "ORDER", "returnUrl": "https://app.example/back?x=1&y=2"}
    assert sign_pairs(members, SECRET) == "4c086859c4352b8f160a088c85a0eb81f70d2f40b6c1e43a653c763c151545e9"


@pytest.fixture(scope="module")
def party(server):
    key = server.issue("provider", rate=1000)  # raised: this is not about the rate limit
    server.cli("keys", "set", "--app-id", key.app_id, "--return-host", "app.example")
    server.lot("GO")
    return key


@pytest.fixture(scope="module")
def web(server):
    session = requests.Session()
    session.verify, session.trust_env = server.ca, False
    session.headers["accept"] = "application/json"
    return session


def address(server, key, scene="ORDER", age=0, secret=None, path=None, **members):
    """An address that a provider makes itself."""
    import secrets
    members = {"appId": key.app_id, "scene": scene, "timestamp": str(now() - age), "nonce": secrets.token_hex(8), **members}
    members["sign"] = sign_pairs(members, secret or key.secret)
    return f"{server.ready['https']}/r/{path or scene}?" + urllib.parse.urlencode(members, quote_via=urllib.parse.quote)


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene(server, party, web, scene):
    order = server.call(party, "order.create", booking("GO")).data
    built = server.call(party, "url.redirect.build", {
        "scene": scene, "orderNo": order["orderNo"], "parkCode": "GO", "plateNo": order["plateNo"],
        "returnUrl": "https://app.example/back?x=1&y=2"})
    assert built.code == 0 and built.data["expireAt"] - now() <= (60_000 if scene == "PAY" else 300_000)
    url = built.data["url"]
    assert party.secret not in url
    page = web.get(url, headers={"accept": "text/html"})
    assert page.status_code == 200 and order["orderNo"] in page.text and order["plateNo"] not in page.text, "the plate is masked"
    assert page.headers["cache-control"] == "no-store" and page.headers["referrer-policy"] == "no-referrer"
    # The way back carries what became of it, signed.
    import html
    import re
    back = html.unescape(re.search(r'href="(https://app\.example[^"]*)"', page.text).group(1))
    assert back.startswith("https://app.example/back?x=1&y=2&")
    members = dict(urllib.parse.parse_qsl(back.split("?x=1&y=2&")[1]))
    assert members["result"] == "1" and members["orderNo"] == order["orderNo"]
    assert members.pop("sign") == sign_pairs(members, party.secret)
    # Good once.
    assert (web.get(url).status_code, web.get(url).json()["code"]) == (401, 203)


def test_refusals_of_addresses(server, party, web):
    def get(url):
        answer = web.get(url)
        note("https", "/r/", answer.json()["code"])
        return answer.status_code, answer.json()["code"]
    assert web.get(address(server, party)).status_code == 200
    assert get(address(server, party, scene="PAY", age=61_000)) == (401, 206)
    assert web.get(address(server, party, scene="PAY", age=55_000)).status_code == 200
    assert get(address(server, party, age=301_000)) == (401, 206)
    assert get(address(server, party, secret="x" * 40)) == (401, 201)
    assert get(address(server, party, scene="ELSEWHERE")) == (422, 1420)
    assert get(address(server, party, path="PAY")) == (422, 1420), "the path says another scene than what is signed"
    assert get(address(server, party) + "&orderNo=YY1") == (401, 201), "a parameter was added"
    assert get(address(server, party) + "&scene=PAY") == (400, 102), "a parameter stands twice"
    for url in ("https://evil.example/", "http://app.example/", "https://app.example@evil.example/", "https://evil.example/app.example",
                "https://app.example.evil.example/", "javascript:alert(1)", "https://app.example\\@evil.example/"):
        assert get(address(server, party, returnUrl=url)) == (422, 1420), url
        built = server.call(party, "url.redirect.build", {"scene": "ORDER", "returnUrl": url})
        assert (built.status, built.code) == (422, 1420), url
    assert web.get(address(server, party, returnUrl="https://app.example/x", cancelUrl="https://app.example/y")).status_code == 200
    stranger = server.issue("provider")
    stranger.app_id = "spNobody0001"
    assert get(address(server, stranger)) == (401, 200)
    assert server.call(party, "url.redirect.build", {"scene": "NOWHERE"}).code == 1420
    assert server.call(party, "url.redirect.build", {"scene": "ORDER", "orderNo": "YY0"}).code == 1120
    assert server.call(party, "url.redirect.build", {"scene": "ORDER", "parkCode": "NOWHERE"}).code == 1000
    page = web.get(address(server, party, age=400_000), headers={"accept": "text/html"})
    assert page.status_code == 401 and "无法打开" in page.text


def test_single_use_survives_a_restart(own_server):
    server = own_server.start()
    key = server.issue("provider")
    url = address(server, key)
    get = lambda: requests.get(url, verify=str(server.ca), headers={"accept": "application/json"})
    session = requests.Session()
    session.trust_env = False
    assert session.get(url, verify=server.ca).status_code == 200
    server.kill()
    server.start()
    assert session.get(url, verify=server.ca, headers={"accept": "application/json"}).json()["code"] == 203


def test_an_address_is_kept_by_its_request(server, party):
    message = envelope(party, "url.redirect.build", {"scene": "CREDIT"})
    first = server.send(party, message)
    again = server.send(party, envelope(party, "url.redirect.build", {"scene": "CREDIT"}, requestId=message["requestId"]))
    assert again.duplicate and again.data == first.data
