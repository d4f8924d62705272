"""What a newcomer sees: the city that ./start runs, in a real browser at phone and desktop width."""
import json
import os
import signal
import subprocess
import time
import urllib.request

import pytest

from berth import BIN, ROOT, Process, booking, eventually, free_port


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    lots = folder / "lots.csv"
    rows = ["id,name,latitude,longitude,address,capacity"]
    kinds = ["人民医院", "实验小学", "中心公园", "体育馆"]
    for number in range(60):
        name = f"{kinds[number % 4]}{number}停车场" if number < 20 else f"花园{number}停车场"
        rows.append(f"{number},{name},{22.5 + number / 500:.6f},{114 + number / 700:.6f},深圳市,{'' if number % 2 else 100}")
    rows += ["61,no latitude,x,114,a,5", "61", "1,twice,22.5,114.0,a,5", '62,"open,22.5,114,a,5', "63,too many,22.5,114,a,-4"]
    lots.write_text("\n".join(rows) + "\n")
    city = City(folder, lots)
    city.start()
    yield city
    city.stop()


class City:
    def __init__(self, folder, lots):
        self.folder, self.lots = folder, lots
        self.page, self.https, self.mqtt = free_port(), free_port(), free_port()

    def start(self):
        self.process = Process(
            [BIN / "berth", "city", "--data", self.folder / "data", "--lots", self.lots, "--count", 40, "--speed", 2000,
             "--https-port", self.https, "--mqtt-port", self.mqtt, "--page-port", self.page], self.folder / "city.log")
        self.output = open(self.folder / "city.out", "ab")
        import threading
        threading.Thread(target=self._read, daemon=True).start()
        eventually(lambda: self.state()["totals"]["online"] == 40, 60)

    def _read(self):
        for line in self.process.process.stdout:
            self.output.write(line)
            self.output.flush()

    def text(self):
        return (self.folder / "city.out").read_text()

    def state(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/live/city", timeout=5) as answer:
                return json.loads(answer.read())
        except OSError:
            return {"totals": {"online": -1}}

    def stop(self):
        if self.process.process.poll() is None:
            self.process.process.send_signal(signal.SIGINT)
            self.process.process.wait(40)


def test_real_lots_are_imported_and_bad_rows_named(city):
    text = city.text()
    for words in ["line 62: latitude 'x'", "line 63: 1 columns", "line 64: id 1 came before", "line 65: a quote is not closed",
                  "line 66: capacity '-4'", "60 good rows, 5 bad ones"]:
        assert words in text, text
    names = eventually(lambda: len(found := [lot["n"] for lot in city.state()["lots"]]) == 40 and found)
    assert sum("医院" in n for n in names) == 5


def test_drivers_reserve_arrive_and_leave(city):
    totals = eventually(lambda: (t := city.state()["totals"])["left"] > 5 and t["cancelled"] > 0 and t, 60)
    assert totals["created"] > totals["entered"] >= totals["left"]
    orders = city.state()["orders"]
    assert orders and all("plate" not in order for order in orders), "the public page has no plate, not even a masked one"


def test_the_printed_examples_work(city):
    """What the terminal tells a newcomer to type, typed."""
    data = city.folder / "data"
    lot = city.state()["lots"][0]["c"]
    call = subprocess.run(
        [BIN / "berth", "call", "slot.query", "--data", data, "--url", f"https://127.0.0.1:{city.https}", "--data-json",
         json.dumps({"parkCode": next(l["c"] for l in city.state()["lots"] if not l["share"]), "bizType": 1, "date": time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))})],
        capture_output=True, text=True)
    assert call.returncode == 0 and len(json.loads(call.stdout)["data"]["slots"]) == 48, call
    lot = next(l["c"] for l in city.state()["lots"] if not l["share"] and l["free"] > 0)
    book = subprocess.run(
        [ROOT / "docs/examples/book.sh", f"https://127.0.0.1:{city.https}", data / "tls/ca.pem", data / "demo-key.json", lot],
        capture_output=True, text=True)
    assert book.returncode == 0 and '"code":0' in book.stdout and '"orderNo"' in book.stdout, book


@pytest.mark.parametrize("width,height", [(1280, 800), (390, 844)])
def test_the_page_in_a_real_browser(city, width, height):
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
        browser.get(f"http://127.0.0.1:{city.page}/map")
        text = lambda name: browser.find_element(By.ID, name).text
        eventually(lambda: "实时" in text("link") and text("online") == "40")
        eventually(lambda: len(browser.find_elements(By.CSS_SELECTOR, "#orders li")) >= 5)
        # The counts of the day are durable ones, and say so; they follow within seconds.
        eventually(lambda: text("today-orders").isdigit())
        before = int(text("today-orders"))
        eventually(lambda: int(text("today-orders")) > before, 30)
        assert "今日" in browser.find_element(By.ID, "totals").text
        lots = browser.execute_script("return [...berthLots.values()].map(e => [e.lot.c, e.lot.lvl, e.marker.options.icon.options.html])")
        assert len(lots) == 40 and all(f"mark l{level}" in html or "mark off" in html for _, level, html in lots), "shape and number, not colour alone"
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys
        # The list is made anew every few seconds, and keeps the focus: the key goes to what has it.
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#list button"))
        name = browser.execute_script("const b = document.querySelector('#list button'); b.focus(); return b.querySelector('span').textContent")
        ActionChains(browser).send_keys(Keys.ENTER).perform()
        eventually(lambda: any(name in popup.text for popup in browser.find_elements(By.CSS_SELECTOR, ".leaflet-popup-content")))
        wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert wide, "nothing sticks out at the side"
        errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
        assert not errors, errors
        if folder := os.environ.get("BERTH_SCREENSHOTS"):
            browser.save_screenshot(f"{folder}/city-{width}.png")
    finally:
        browser.quit()


def test_ctrl_c_ends_everything_and_the_next_start_goes_on(city):
    made = city.state()["totals"]
    city.stop()
    assert city.process.process.returncode == 0
    pid = city.folder / "data/broker/mosquitto.pid"
    assert not pid.exists() and not subprocess.run(["pgrep", "-f", str(city.folder)], capture_output=True).stdout
    import sqlite3
    database = sqlite3.connect(city.folder / "data/berth.sqlite")
    before = database.execute("SELECT count(*) FROM orders").fetchone()[0]
    database.close()
    assert before >= made["created"]
    city.start()
    eventually(lambda: city.state()["totals"]["created"] > 0, 30)
    database = sqlite3.connect(city.folder / "data/berth.sqlite")
    assert database.execute("SELECT count(*) FROM orders").fetchone()[0] > before
