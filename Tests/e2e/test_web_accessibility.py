"""Every page for people who cannot see, point, or stand a small screen: axe-core, the keyboard alone, 320 px and large text, both languages."""
import re

import pytest

from berth import eventually, plate
from web import DESKTOP, PHONE, Person, SiteServer, resize

DRIVER = ["/", "/?to=测试", "/lots/P1", "/lots/FULL", "/mine", "/mine/vehicles", "/mine/messages", "/mine/standing", "/share", "/share/S1", "/owner", "/account", "/account/delete"]
OWNER = ["/owner/publish", "/owner/income"]
STAFF = ["/city", "/city/appeals", "/city/areas", "/city/rules", "/city/compliance", "/city/audit", "/city/plates", "/operator", "/operator/lots/P1",
         "/operator/cases", "/operator/reviews", "/operator/exceptions", "/operator/money", "/operator/people", "/operator/lots/P1/flow", "/operator/lots/P1/lists", "/operator/lots/P1/quota",
         "/operator/lots/P1/checklist", "/operator/lots/P1/credentials", "/developer",
         "/developer/console", "/open"]
STRANGER = ["/signin", "/staff", "/nowhere-to-be-found/at-all", "/map"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = SiteServer(tmp_path_factory.mktemp("a11y")).start()
    site.lot("P1", reserve=40)
    site.lot("FULL", reserve=0)
    site.shared_lot("S1")
    site.password = site.person("city.a11y", "city")
    yield site
    site.stop()


def axe():
    import axe_core_python
    import pathlib
    return next(pathlib.Path(axe_core_python.__file__).parent.rglob("axe.min.js")).read_text()


def faults(me, script, path, shown):
    me.browser.execute_cdp_cmd("Runtime.evaluate", {"expression": script})  # past the page's own policy, as a developer's tools are
    found = me.browser.execute_async_script("const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations))")
    return [(path, shown, v["id"], v["impact"], [n["target"] for n in v["nodes"]][:3]) for v in found if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_serious_finding_on_any_page(site, size, language):
    script, found, seen = axe(), [], 0
    with Person(site.base, size) as me:
        def look(paths):
            nonlocal seen
            for path in paths:
                me.go(path)
                assert me.browser.execute_script("return document.documentElement.lang") == {"zh": "zh-CN", "en": "en"}[language], path
                found.extend(faults(me, script, path, (size[0], language)))
                width = me.browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
                if width > 0:
                    found.append((path, "sticks out by", width))
                seen += 1
        me.go(f"/?lang={language}")
        look([path for path in STRANGER if not path.startswith("/nowhere")])
        me.sign_in(f"134000001{size[0]:04d}"[:10] + ("1" if language == "zh" else "2"))  # somebody else in each run
        me.go("/lots/P1").type("input[name=plate]", plate()).tap("form.book .button.big").at(r"/tickets/YY\d+")
        ticket = me.path
        look(DRIVER + [ticket, ticket + "/cancel", ticket + "/change", ticket + "/delay", ticket + "/receipt"])
        me.go("/owner")
        if me.all("input[name=agree]"):
            me.tap("input[name=agree]").tap("main .button").at("/owner/publish")
        look(OWNER)
        me.sign_out()
        me.staff("city.a11y", site.password, "/city")
        look(STAFF)
        severe = [e for e in me.errors() if "axe" not in e]
        assert not severe, severe
    assert seen > 35 and not found, found


@pytest.mark.parametrize("path", ["/docs", "/docs/en"])
def test_the_documentation(site, path):
    """Nothing serious, nothing cut at the side, and a search that leads to the service."""
    script = axe()
    with Person(site.base, PHONE) as me:
        me.go(path)
        assert faults(me, script, path, PHONE) == []
        assert me.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        me.type("#q", "order.create")
        shown = [link.text for link in me.all("#index li a") if link.is_displayed()]
        assert any("order.create" in text for text in shown) and len(shown) <= 3, shown
        me.find("#q").submit()
        eventually(lambda: me.browser.current_url.endswith("#order.create"))
        resize(me.browser, DESKTOP)
        assert faults(me, script, path, DESKTOP) == [] and me.errors() == []


def test_booking_by_the_keyboard_alone(site):
    from selenium.webdriver.common.keys import Keys
    with Person(site.base, DESKTOP) as me:
        me.sign_in("13400000003", "/mine").go("/lots/P1")

        def press(key, times=1):
            for _ in range(times):
                me.browser.switch_to.active_element.send_keys(key)
        me.browser.execute_script("document.body.focus()")
        from selenium.webdriver import ActionChains
        reached = []
        for _ in range(80):
            ActionChains(me.browser).send_keys(Keys.TAB).perform()
            active = me.browser.switch_to.active_element
            outline = me.browser.execute_script("const s = getComputedStyle(arguments[0]); return s.outlineStyle + s.outlineWidth", active)
            reached.append(active.tag_name)
            assert "none" not in outline or active.get_attribute("type") in ("date", "time", "radio"), (active.get_attribute("outerHTML")[:120], outline)
            if active.get_attribute("name") == "plate":
                press(plate())
                press(Keys.ENTER)
                break
        me.at(r"/tickets/YY\d+")
        assert "a" in reached and "input" in reached


@pytest.mark.parametrize("size,zoom", [((320, 640), 1), ((640, 900), 2)])
def test_small_screens_and_large_text_lose_nothing(site, size, zoom):
    """320 px, and 200 %: nothing is cut off at the side, and the ways on are there."""
    with Person(site.base, (size[0] // zoom, size[1] // zoom)) as me:
        me.staff("city.a11y", site.password, "/city")
        for path in ["/", "/?to=测试", "/lots/P1", "/share", *STAFF]:
            me.go(path)
            out = me.browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert out <= 0, (path, out)


def test_without_a_script_search_book_and_cancel(site):
    from web import Visitor
    me = Visitor(site.base).sign_in("13400000004")
    assert "测试车场" in me.get("/?to=测试").text
    me.book("P1", plate())
    assert "已预约" in me.page.text
    order = me.order
    me.get(f"/tickets/{order}/cancel")
    me.post(f"/tickets/{order}/cancel", {"confirm": "1"})
    assert "取消" in me.get(f"/tickets/{order}").text and "现在" in me.get("/").text
