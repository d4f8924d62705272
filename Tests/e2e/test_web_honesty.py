"""A page never lies: a line that is cut or dead, a broker that is gone, and a page that stays open."""
import os
import signal
import threading
import time

import pytest

from berth import BIN, Gateway, Process, booking, eventually, lot_info, now, plate
from web import DESKTOP, Person, SiteServer, Wire


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = SiteServer(tmp_path_factory.mktemp("honesty")).start()
    site.gateway = Gateway(site, tmp_path_factory.mktemp("box"), [(site.issue("lot", "P1"), {"info": lot_info("P1", 40, 200), "totalSpace": 200})])
    site.gateway.start()
    eventually(lambda: site.gateway.status()["synchronised"], 40)
    site.password = site.person("op.honest", "operator", parks=["P1"])
    yield site
    site.gateway.process.stop()
    site.stop()


def live(me):
    return me.attribute(".liveline", "data-live")


def test_a_line_that_is_cut_or_dead(site):
    """Cut, the page connects anew. Dead without a word, it says within seconds that its data are old, and mends itself."""
    wire = Wire(site.base)
    with Person(wire.base, DESKTOP) as desk:
        desk.staff("op.honest", site.password, "/operator")
        eventually(lambda: live(desk) == "up")
        wire.cut()
        eventually(lambda: live(desk) == "up" and len(wire.open) > 0, 12)
        wire.is_dead = True
        began = time.time()
        eventually(lambda: live(desk) == "late", 20)
        print(f"\nsaid to be old after {time.time() - began:.1f} s")
        site.gateway.pms("P1", "occupied", occupied=111)
        eventually(lambda: live(desk) == "down", 30)
        wire.is_dead = False
        wire.cut()
        eventually(lambda: live(desk) == "up", 20)
        desk.see("111/200", 10)
        wire.close()


def test_the_wall_map_on_a_dead_line(site):
    """The map that nobody touches says that its numbers are old, and is right again by itself."""
    wire = Wire(site.base)
    with Person(wire.base, DESKTOP) as wall:
        link = lambda: wall.attribute("#link", "data-live")
        wall.go("/map")
        eventually(lambda: link() == "up", 20)
        wire.is_dead = True
        eventually(lambda: link() == "late", 20)
        wall.see("没有新数据")
        site.gateway.pms("P1", "occupied", occupied=123)
        wire.is_dead = False
        wire.cut()
        eventually(lambda: link() == "up" and wall.text_of("#inside") == "123", 30)
        # The browser opens a stream that was cut by itself: what changed meanwhile was in no stream.
        for taken in (124, 125):
            wire.cut()
            site.gateway.pms("P1", "occupied", occupied=taken)
            eventually(lambda: link() == "up" and wall.text_of("#inside") == str(taken), 20)
        wire.close()


def test_a_broker_that_is_gone(site):
    """The broker is killed: the page stays true, and a car that comes meanwhile is seen, since the box goes over HTTPS."""
    with Person(site.base, DESKTOP) as desk:
        desk.staff("op.honest", site.password, "/operator").go("/operator/lots/P1")
        eventually(lambda: live(desk) == "up")
        site.gateway.pms("P1", "occupied", occupied=50)
        desk.see("50 / 200", 15)
        os.kill(int((site.data / "broker/mosquitto.pid").read_text()), signal.SIGKILL)
        number = plate()
        status, _ = site.gateway.pms("P1", "entry", plateNo=number, gateCode="G1")
        assert status == 200
        desk.see("51 / 200", 30)
        assert site.gateway.pms("P1", "exit", plateNo=number, gateCode="G2")[0] == 200
        assert live(desk) == "up" and not desk.errors()
        eventually(lambda: site.gateway.status()["online"], 60)


def test_news_wait_while_somebody_types(site):
    """A change that comes while a reason is typed is held and said; what was typed is kept, and the tap that ends the typing finds its button."""
    provider = site.issue("provider", rate=1000)

    def misread():
        number = plate()[1:]
        for province in ("粤", "湘"):
            assert site.call(provider, "order.create", booking("P1", now() + 60_000, plateNo=province + number)).code == 0
        ask = lambda: site.gateway.pms("P1", "decide", plateNo="桂" + number, plateColor=0, gateCode="G1", confidence=60)[1]
        eventually(lambda: ask().get("caseNo"), 20)
        return number
    with Person(site.base, DESKTOP) as desk:
        first = misread()
        desk.staff("op.honest", site.password, "/operator").go("/operator/cases").see(first[1:])
        desk.type("input[name=reason]", "看图")
        second = misread()
        eventually(lambda: live(desk) == "held", 20)
        assert second[1:] not in desk.read(), "nothing moves under the hand"
        desk.tap(".choices form .button").see("已放行").see(second[1:])
        assert not desk.errors()


def weight(browser):
    """What a page holds after a clean-up: bytes of its scripts, nodes, listeners."""
    browser.execute_cdp_cmd("HeapProfiler.enable", {})
    browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    counters = browser.execute_cdp_cmd("Memory.getDOMCounters", {})
    return browser.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"], counters["nodes"], counters["jsEventListeners"]


def at_clock(browser, ahead):
    """The clock of the browser's next pages runs this far ahead of the machine's, ms, whenever a page is opened."""
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {
        "source": f"{{ const D = Date; self.Date = class extends D {{ constructor(...a) {{ a.length ? super(...a) : super(D.now() + {ahead}); }}"
                  f" static now() {{ return D.now() + {ahead}; }} }}; }}"})


def test_a_page_that_is_open_over_midnight(tmp_path):
    """The clocks of server and browser stand before midnight. What says "today" is right again after it: the live page, one that stands still,
    and one with a form that somebody fills in, which says that it is of yesterday."""
    import datetime
    from test_clock import BY_SHELL, skewed
    zone = datetime.timezone(datetime.timedelta(hours=8))
    here = datetime.datetime.now(zone)
    midnight = (here + datetime.timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
    ahead = int((midnight - here).total_seconds()) - 60

    class Site(SiteServer):
        def start(self):
            arguments = [*BY_SHELL, BIN / "berth", "serve", "--data", self.data, "--https-port", self.https_port, "--mqtt-port", self.mqtt_port]
            for name, value in self.settings.items():
                arguments += ["--set", f"{name.replace('__', '.')}={value}"]
            self.process = Process(arguments, self.folder / "server.log", skewed(ahead))
            self.ready = self.process.ready()
            self.ca, self.base = self.ready["ca"], self.ready["page"].rstrip("/")
            return self
    site = Site(tmp_path / "night").start()
    try:
        password = site.person("op.night", "operator", "city")
        clock = lambda: int((time.time() + ahead) * 1000)
        with Person(site.base, DESKTOP) as desk, Person(site.base, DESKTOP) as still, Person(site.base) as writer:
            for one in (desk, still, writer):
                at_clock(one.browser, ahead * 1000)
            refused = lambda: desk.browser.execute_script(
                "return [...document.querySelectorAll('dl.tiles div')].find(d => d.textContent.includes('被拒请求')).querySelector('dd').textContent")
            site.visitor().get("/lots/NOSUCH")
            desk.staff("op.night", password, "/city").see("今天")
            eventually(lambda: live(desk) == "up" and int(refused()) > 0)
            still.staff("op.night", password, "/city").go("/city/rules").find("input[name=date]")
            writer.go("/").type("input[name=to]", "人民")
            # The rules are tried on yesterday's reservations.
            date = lambda back: (midnight - datetime.timedelta(days=back)).strftime("%Y-%m-%d")
            assert still.attribute("input[name=date]", "value") == date(2)
            eventually(lambda: clock() > midnight.timestamp() * 1000, 90)
            writer.see("日期已变更", 20)
            assert writer.find("input[name=to]").get_attribute("value") == "人民", "what was typed stays"
            eventually(lambda: still.attribute("input[name=date]", "value") == date(1), 20)
            eventually(lambda: live(desk) == "up" and int(refused()) == 0, 20)
            assert not desk.errors() and not still.errors() and not writer.errors()
    finally:
        site.kill()


def test_a_page_that_is_open_for_a_day(site):
    """Twenty-four hours of a stream in two minutes: each beat, and a change each fifteen seconds. Nothing is piled up, and at the end
    the page shows what a fresh one shows."""
    beats, parts = 24 * 3600 // 5, 24 * 3600 // 15
    seconds = 30
    wire = Wire(site.base, {"beat": beats // (seconds // 5), "part": parts // (seconds // 2)})
    stop = threading.Event()

    def cars():
        count = 0
        while not stop.wait(0.7):
            count += 1
            site.gateway.pms("P1", "occupied", occupied=20 + count % 100)
    with Person(wire.base, DESKTOP) as desk:
        desk.staff("op.honest", site.password, "/operator")
        eventually(lambda: live(desk) == "up")
        mover = threading.Thread(target=cars)
        mover.start()
        try:
            time.sleep(8)
            early = weight(desk.browser)
            end = time.time() + 600
            while wire.events < beats + parts and time.time() < end:
                time.sleep(1)
        finally:
            stop.set()
            mover.join()
        assert wire.events >= beats + parts, wire.events
        wire.repeats = {}
        site.gateway.pms("P1", "occupied", occupied=77)
        desk.see("77/200", 180)  # what is still on its way comes first
        late = weight(desk.browser)
        print(f"\n{wire.events} events; heap {early[0] >> 10} -> {late[0] >> 10} kB, nodes {early[1]} -> {late[1]}, listeners {early[2]} -> {late[2]}")
        assert late[0] < early[0] + (4 << 20) and late[1] < early[1] * 2 + 500 and late[2] < early[2] * 2 + 100
        assert live(desk) == "up" and not desk.errors()
        here = desk.find("#live").text
        desk.browser.refresh()
        import re
        bare = lambda text: re.sub(r"\d+ 秒前", "", text)
        assert bare(desk.find("#live").text) == bare(here), "a fresh page says the same"
        wire.close()
