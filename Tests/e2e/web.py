"""People at the pages: one without a script (requests) and one in Debian's Chromium."""
import html
import json
import re
import socket
import subprocess
import threading
import time

import requests

from berth import BIN, Gateway, Key, Server, eventually, free_port, lot_info

PHONE, DESKTOP = (390, 844), (1440, 900)


class Visitor:
    """A browser without scripts: links, forms, cookies."""

    def __init__(self, base):
        self.base, self.session = base, requests.Session()
        self.session.trust_env = False
        self.page = None

    def get(self, path, **options):
        self.page = self.session.get(path if path.startswith("http") else self.base + path, timeout=30, **options)
        return self.page

    @property
    def csrf(self):
        if self.page is None or 'name="csrf"' not in self.page.text:
            self.get("/")
        return re.search(r'<meta name="csrf" content="(\w+)"', self.page.text).group(1)

    def post(self, path, fields=None, files=None, csrf=None, follow=True):
        data = [("csrf", self.csrf if csrf is None else csrf)] + list((fields or {}).items() if isinstance(fields, dict) else fields)
        self.page = self.session.post(self.base + path, data=data, files=files, timeout=30, allow_redirects=follow)
        return self.page

    def sign_in(self, mobile):
        self.post("/signin", {"mobile": mobile, "next": "/mine"})
        code = re.search(r'<b id="code">(\d{6})</b>', self.page.text).group(1)
        self.post("/signin/code", {"mobile": mobile, "code": code, "next": "/mine"})
        assert self.page.url.endswith("/mine"), self.page.text[:3000]
        return self

    def staff(self, login, password, totp=""):
        self.get("/staff")
        return self.post("/staff", {"login": login, "password": password, "totp": totp})

    def text(self):
        """What a person reads of the page."""
        body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", self.page.text, flags=re.S)
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))

    def book(self, lot, plate_no, biz=1, key=None, at=None, **more):
        """The booking form as the page gives it, filled in."""
        self.get(f"/lots/{lot}?biz={biz}" + (f"&day={at[0]}&at={at[1]}" if at else ""))
        form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.page.text.split('action="/book"')[1].split("</form>")[0]))
        form.pop("csrf")
        form |= {"plate": plate_no, **({"key": key} if key else {}), **more}
        return self.post("/book", {name: html.unescape(str(value)) for name, value in form.items()})

    @property
    def order(self):
        return re.search(r"/tickets/(YY\d+)", self.page.url).group(1)


class SiteServer(Server):
    """A server with pages, its staff, and lots for what the screens show."""

    def __init__(self, folder, **settings):
        super().__init__(folder, environment="test", page__port=free_port(), **settings)

    def start(self):
        super().start()
        self.base = self.ready["page"].rstrip("/")
        return self

    def person(self, login, *roles, parks=(), rights=()):
        args = ["people", "add", "--login", login]
        for role in roles:
            args += ["--role", role]
        for park in parks:
            args += ["--park", park]
        for right in rights:
            args += ["--right", right]
        return json.loads(self.cli(*args))["password"]

    def visitor(self):
        return Visitor(self.base)

    def shared_lot(self, park, share=20, **changes):
        key = self.lot(park, reserve=0, shareEnabled=True, reserveEnabled=False, shareSpace=share, **changes)
        # Sharing by day too, whenever the tests run.
        self.cli("lots", "set", "--park", park, "shareWindow=00:00-24:00")
        return key


def chromium(size=PHONE, dark=False):
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    browser.set_page_load_timeout(90)
    browser.set_script_timeout(180)
    resize(browser, size)
    if dark:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    return browser


def resize(browser, size):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600})


class Person:
    """Somebody in front of Chromium: taps what they see."""

    def __init__(self, base, size=PHONE):
        self.base, self.browser = base, chromium(size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.browser.quit()

    def go(self, path):
        self.browser.get(self.base + path)
        return self

    def find(self, css):
        from selenium.webdriver.common.by import By
        return eventually(lambda: self.all(css), 30)[0] if css else self.browser.find_element(By.TAG_NAME, "body")

    def all(self, css):
        from selenium.webdriver.common.by import By
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def _surely(self, css, act):
        """A live part may replace an element between the look and the touch: a person looks again."""
        from selenium.common.exceptions import WebDriverException
        for _ in range(20):
            try:
                return act(self.find(css))
            except WebDriverException as fault:
                if "stale" not in str(fault) and "does not belong to the document" not in str(fault):
                    raise
        raise AssertionError(f"{css} never stands still")

    def tap(self, css):
        """Taps and, where the tap leads to another page, waits for that page."""
        def act(element):
            self.browser.execute_script("arguments[0].scrollIntoView({block:'center'})", element)
            element.click()
        self._surely(css, act)
        return self

    def type(self, css, text):
        def act(field):
            field.clear()
            field.send_keys(text)
        self._surely(css, act)
        return self

    def attribute(self, css, name):
        return self._surely(css, lambda element: element.get_attribute(name))

    def text_of(self, css):
        return self._surely(css, lambda element: element.text)

    def sign_out(self):
        self.go("/account").tap("form[action='/signout'] button")
        eventually(lambda: self.path != "/account")
        return self

    def see(self, words, seconds=30):
        eventually(lambda: words in self.read(), seconds)
        return self

    def read(self):
        from selenium.common.exceptions import WebDriverException
        try:
            return self.find("body").text
        except WebDriverException as fault:
            if "stale" not in str(fault) and "does not belong to the document" not in str(fault):
                raise
            return ""

    @property
    def path(self):
        return self.browser.execute_script("return location.pathname")

    def at(self, pattern, seconds=30):
        return eventually(lambda: re.fullmatch(pattern, self.path), seconds)

    def sign_in(self, mobile, next_="/mine"):
        self.go(f"/signin?next={next_}").type("input[name=mobile]", mobile).tap("main .button")
        self.find("#code")
        self.tap("main .button")
        eventually(lambda: self.path == next_)
        return self

    def staff(self, login, password, home):
        self.go("/staff").type("input[name=login]", login).type("input[name=password]", password).tap("main .button")
        eventually(lambda: self.path == home)
        return self

    def errors(self):
        """Errors of the console since the last look; a page that was refused on purpose is none."""
        return [e["message"] for e in self.browser.get_log("browser") if e["level"] == "SEVERE" and "status of 4" not in e["message"]]


class Wire:
    """The line between a browser and a server: it can be cut, it can go dead without a word, and it can let a day pass in a minute by handing
    on each event of a stream many times."""

    def __init__(self, base, repeats=None):
        """`repeats`: by the kind of an event, how often it is handed on."""
        self.port, self.repeats, self.events = int(base.rsplit(":", 1)[1]), repeats or {}, 0
        self.is_dead, self.open = False, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                browser, _ = self.listener.accept()
            except OSError:
                return
            if self.is_dead:
                browser.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                browser.close()
                continue
            self.open |= {browser, server}
            for source, sink, way in ((browser, server, self._plain), (server, browser, self._back)):
                threading.Thread(target=self._run, args=(way, source, sink), daemon=True).start()

    def _run(self, way, source, sink):
        try:
            way(source, sink)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()
                self.open.discard(end)

    def _plain(self, source, sink):
        while data := source.recv(65536):
            if not self.is_dead:
                sink.sendall(data)

    def _back(self, source, sink):
        """Frames of a stream of events are whole chunks; everything else goes as it comes."""
        held, is_stream = b"", False
        while data := source.recv(65536):
            if self.is_dead:
                continue
            if not is_stream:
                is_stream = bool(self.repeats) and b"text/event-stream" in data[:2000]
                if not is_stream:
                    sink.sendall(data)
                    continue
                head, data = data[:(end := data.index(b"\r\n\r\n") + 4)], data[end:]
                sink.sendall(head)
            held += data
            while (line := held.find(b"\r\n")) >= 0 and len(held) >= (end := line + 4 + int(held[:line], 16)):
                chunk, held = held[:end], held[end:]
                kind = re.search(rb"event: (\w+)", chunk)
                count = self.repeats.get(kind.group(1).decode(), 1) if kind else 1
                self.events += count if kind else 0
                for _ in range(count):
                    sink.sendall(chunk)
                    # Not faster than the page can draw: a person has to be able to tap meanwhile.
                    time.sleep(0.02 if kind and kind.group(1) == b"part" and count > 1 else 0)

    def cut(self):
        for end in list(self.open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        self.cut()


def routes():
    return json.loads(subprocess.run([BIN / "berth", "web", "--routes"], capture_output=True, text=True, check=True).stdout)
