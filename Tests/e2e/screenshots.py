"""Pictures of every page of a running demo city, into docs/pages: phone and desktop, both languages, light and dark.

    .venv/bin/python Tests/e2e/screenshots.py [folder] [--only NAME] [--whole]

With --whole each page is taken in both sizes, both languages, light and dark: to be looked at, and not kept.

The city is one of its own with the wishes of eight in the morning; nothing of a running one is touched.
"""
import argparse
import base64
import json
import pathlib
import signal
import tempfile
import time

from berth import BIN, ROOT, Process, eventually, free_port
from web import DESKTOP, PHONE, Person

#: A page: its name, its address, the sizes, and the looks beside Chinese and light.
STRANGER = [("find", "/", "pd", ["en", "dark"]), ("results", "/?to=医院", "pd", ["dark"]), ("map", "/map", "pd", ["dark"]), ("signin", "/signin", "p", []),
            ("staff", "/staff", "p", []), ("open", "/open", "d", []), ("docs", "/docs", "pd", ["en", "dark"]), ("scenes", "/scenes", "d", []),
            ("missing", "/nowhere/at-all", "p", [])]
DRIVER = [("lot", "{lot}", "pd", ["en", "dark"]), ("ticket", "{ticket}", "pd", ["en", "dark"]), ("cancel", "{ticket}/cancel", "p", []), ("change", "{ticket}/change", "p", []),
          ("mine", "/mine", "pd", []), ("messages", "/mine/messages", "p", []), ("vehicles", "/mine/vehicles", "p", []), ("standing", "/mine/standing", "p", []),
          ("share", "/share?q=花园", "p", []), ("share-lot", "{shared}", "p", []), ("owner", "/owner", "p", []), ("publish", "/owner/publish", "p", []), ("income", "/owner/income", "p", []), ("agreement", "/owner/agreement", "p", []),
          ("account", "/account", "p", [])]
OPERATOR = [("operator", "/operator", "pd", ["en", "dark"]), ("operator-lot", "{own}", "pd", []), ("operator-cases", "/operator/cases", "pd", ["dark"]),
            ("operator-reviews", "/operator/reviews", "d", []), ("operator-exceptions", "/operator/exceptions", "d", []), ("operator-money", "/operator/money", "d", []),
            ("operator-people", "/operator/people", "d", []), ("operator-flow", "{own}/flow", "d", []), ("operator-quota", "{own}/quota", "pd", []),
            ("operator-checklist", "{own}/checklist", "d", []), ("operator-credentials", "{own}/credentials", "pd", [])]
CITY = [("city", "/city", "pd", ["en", "dark"]), ("city-appeals", "/city/appeals", "d", []), ("city-areas", "/city/areas", "d", []), ("city-rules", "/city/rules", "d", []),
        ("city-compliance", "/city/compliance", "d", []), ("city-audit", "/city/audit", "d", []), ("city-plates", "/city/plates", "d", [])]
DEVELOPER = [("developer", "/developer", "d", []), ("developer-console", "/developer/console", "d", [])]


class Camera:
    def __init__(self, folder, only, whole=False):
        self.folder, self.only, self.whole, self.taken = folder, only, whole, []

    def look(self, me, size, pages, **names):
        """Each page in this size, then the looks beside the first one."""
        letter = "p" if size == PHONE else "d"
        for name, path, sizes, looks in pages:
            if letter not in sizes and not self.whole or (self.only and self.only != name):
                continue
            for look in ["zh"] + (["en", "dark", "en-dark"] if self.whole else looks):
                me.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if "dark" in look else "light"}]})
                me.go(path.format(**names) + (("&" if "?" in path else "?") + "lang=" + ("en" if look.startswith("en") else "zh") if not path.startswith(("/docs", "/scenes")) else "/en" if look.startswith("en") and path.startswith("/docs") else ""))
                time.sleep(2.5 if name == "map" else 0.8)  # tiles of a map, the first part of a stream
                shot = me.browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 60})
                file = self.folder / f"{name}-{'phone' if letter == 'p' else 'desktop'}{'' if look == 'zh' else '-' + look}.webp"
                file.write_bytes(base64.b64decode(shot["data"]))
                self.taken.append(file.name)
                severe = me.errors()
                print(file.name, file.stat().st_size, *severe, flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", nargs="?", default=ROOT / "docs/pages", type=pathlib.Path)
    options.add_argument("--only", help="one page by its name")
    options.add_argument("--whole", action="store_true", help="every page in every size and look")
    options.add_argument("--seconds", type=int, default=150, help="so long the city lives before the first picture")
    asked = options.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        page = free_port()
        city = Process([BIN / "berth", "city", "--data", home / "data", "--hour", "8", "--speed", "120", "--https-port", "0", "--mqtt-port", "0",
                        "--page-port", page], home / "city.log")
        try:
            import threading
            threading.Thread(target=lambda: [None for _ in city.process.stdout], daemon=True).start()
            fleet = home / "data/fleet.json"
            eventually(fleet.exists, 120, 1)
            time.sleep(asked.seconds)
            walk(f"http://127.0.0.1:{page}", json.loads(fleet.read_text()), Camera(asked.folder, asked.only, asked.whole))
        finally:
            city.process.send_signal(signal.SIGINT)
            city.process.wait(60)


def walk(base, fleet, camera):
    staff = {person["login"]: person["password"] for person in fleet["staff"]}
    hospital = next(lot["parkCode"] for lot in fleet["lots"] if lot["kind"] == "hospital")
    shared = next(lot["parkCode"] for lot in fleet["lots"] if lot["info"]["shareEnabled"])
    office = next(lot["parkCode"] for lot in fleet["lots"] if lot["kind"] == "office" and not lot["info"]["shareEnabled"])
    for size, number in ((PHONE, "13900000001"), (DESKTOP, "13900000002")):
        with Person(base, size) as me:
            camera.look(me, size, STRANGER)
            me.go("/?lang=zh").sign_in(number)
            me.go(f"/lots/{office}").type("input[name=plate]", "粤B6" + number[-4:]).tap("form.book .button.big").at(r"/tickets/YY\d+")
            ticket = me.path
            me.go("/mine/vehicles").type("form.card input[name=plate]", "粤BD1" + number[-4:]).tap("form.card .button")
            eventually(lambda: "BD1" in me.read().replace("·", ""))  # the form has been answered
            me.go(f"/lots/{hospital}").type("input[name=plate]", "粤B7" + number[-4:])
            if me.all("form.book .button.big"):
                me.tap("form.book .button.big").at(r"/tickets/YY\d+")
                me.tap("a[href$='/cancel']").tap("form .button")
            me.go("/owner")
            if me.all("input[name=agree]"):
                me.tap("input[name=agree]").tap("main .button").at("/owner/publish")
            camera.look(me, size, DRIVER, lot=f"/lots/{hospital}", ticket=ticket, shared=f"/share/{shared}")
            me.sign_out()
            for login, pages in (("operator", OPERATOR), ("city", CITY), ("developer", DEVELOPER)):
                me.staff(login, staff[login], "/" + login)
                camera.look(me, size, pages, own=f"/operator/lots/{hospital}")
                me.sign_out()
    print(len(camera.taken), "pictures in", camera.folder)


if __name__ == "__main__":
    main()
