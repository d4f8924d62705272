"""A seeded, stateful, signed fuzzer of everything that takes input from outside.

Each input is a valid request, built from what earlier valid requests made (lots, orders, offers, subscriptions, appointments, bills,
payments, pictures), in which one to three fields are replaced by extreme values and which is signed afterwards. Every service of the
catalogue is called by every role that may call it, over HTTPS, and for lots also over MQTT and as an entry of a batch; beside them
stand redirects, picture addresses, the public pages, a broker's questions, the admin socket and the local API of a gateway.

    python Tests/e2e/fuzz.py --count 1000000 --seed 7     the longer run
    python Tests/e2e/fuzz.py --keep-going                 starts the server again after a fault and looks for more
    python Tests/e2e/fuzz.py --replay FILE                sends what a failure printed, signed anew

The stream of each worker follows from the seed; only what the server answers, and how the workers interleave, may differ between runs.
"""
import argparse
import base64
import collections
import copy
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import queue
import random
import re
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import uuid

from berth import BIN, ROOT, Process, Server, canon, free_port, lot_info, now
from catalogue import REPLIES, SERVICES, conforms, fields
from catalogue import message as minimal

PROFILE = ROOT / "Sources/BerthWire/Profile/berth-1.0"
CODES = {c["code"] for c in json.loads((PROFILE / "codes.json").read_text())}
POLICIES = [p["name"] for p in json.loads((PROFILE / "policies.json").read_text())]
SHAPES = {s["name"]: fields(s["request"]) for s in SERVICES}
KINDS = {s["name"]: s for s in SERVICES}
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
MAX53 = 1 << 53
#: Longer bodies are not this fuzzer's affair, but that of test_exhaustion.
BODY_MAX = 1_000_000
#: Codes after which an entry of a log is not consumed (section 5.3).
NOT_CONSUMED = {*range(200, 209), 300, 301, 302, *range(500, 504), 610, 612, 613}
#: An answer that takes longer than this is a fault, s. Generous: many workers share two cores with the server.
SLOWEST = 6.0


def http_status(code):
    """The contract's table in section 3."""
    if code in (0, 611):
        return {200}
    if code == 101:
        return {400, 415}
    if code in (100, 102, 103, 105):
        return {400}
    if code in (104, 701):
        return {413}
    if code in (200, 201, 202, 203, 206, 208):
        return {401}
    if code in (204, 205, 207):
        return {403}
    if code in (300, 301, 302):
        return {429}
    if code == 400:
        return {404}
    if code in (402, 403, 404, 602, 610, 612, 613, 700, 702):
        return {409}
    if code in (501, 502, 503, 600, 601):
        return {503}
    if code == 603 or 1000 <= code <= 4999:
        return {422}
    return set()


# Signing

def quick_canon(value):
    """canon() at the speed of the C encoder, which sorts by code point: the same but for names beyond U+FFFF."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text if text.isascii() or max(text) < "\ud800" else canon(value)


def signature(message, secret):
    data = message.get("data")
    params = {"data": hashlib.sha256(quick_canon({} if data is None else data).encode()).hexdigest()}
    for name, value in message.items():
        if name not in ("sign", "data", "message", "hint") and value is not None and value != "":
            params[name] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    text = "&".join(f"{k}={params[k]}" for k in sorted(params))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def sign_pairs(members, secret):
    text = "&".join(f"{k}={urllib.parse.quote(members[k], safe='-._~')}" for k in sorted(members) if members[k] and k != "sign")
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


# Extreme values

INTS = [0, 1, -1, 2, 7, 255, 1 << 31, (1 << 31) - 1, -(1 << 31), -(1 << 31) - 1, 1 << 32, 1 << 52, MAX53 - 1, MAX53, MAX53 + 1, -(MAX53 - 1),
        -MAX53, -MAX53 - 1, (1 << 63) - 1, 1 << 63, -(1 << 63), -(1 << 63) - 1, (1 << 64) - 1, 1 << 64, 10 ** 30, 1_000_000_000, 1_000_000_001,
        1_000_000_000_000, 9_999_999_999_999]
NARROW = [i for i in INTS if abs(i) < MAX53]
INT_TEXTS = [str(i) for i in INTS] + ["-0", "+1", "1.0", "1e3", "0x10", " 1", "１２", "١٢", "", "NaN", "inf", "1_000"]
DEGREES = ["0", "-0", "90", "-90", "90.0", "-90.0", "90.0000000", "-90.0000000", "89.9999999", "-89.9999999", "90.0000001", "180", "-180",
           "180.0000000", "-180.0000000", "179.9999999", "-179.9999999", "180.0000001", "105", "35", "0.0065", "0.006", "0.0000001", "-0.0000001",
           "113.9461", "22.5408", "1e1", "nan", "inf", "-inf", "0x16.8", "+1", ".5", "5.", "00", "000.0000000", "９０", "1" * 400, "22.54N", "9" * 16]
CLOCKS = ["00:00", "24:00", "23:59", "12:00", "00:01", "08:00", "18:00", "24:01", "25:00", "-1:00", "0:0", "99:99", "１２:００", "08:00 ", "08:60", "8:00",
          "08:0", "08-00", "+8:00", "", "00:00:00"]
DATES = ["0001-01-01", "0000-00-00", "1970-01-01", "1969-12-31", "2001-09-09", "2023-02-29", "2024-02-29", "2026-02-30", "2026-12-31", "2027-01-01",
         "2286-11-20", "2286-11-21", "9999-12-31", "9999-13-01", "99999-1-1", "-999-01-01", "2026-+9-+9", " 2026-09-09", "2026-9-9", "２０２６-01-01", "",
         "2026-00-10",
         "2026-04-31", "20260101", "2026-01-01T00:00"]
SPECIAL = ["\u0000", "\u0001", "\u001f", "\u007f", "\u0085", "\u200b", "\u200d", "\u202e", "\u2066", "\u2069", "\ufeff", "\ufffd", "\uffff", "\u2028", "\u00a0",
           "\u3000", "\t", "\n", "\r\n", "\U0001f697", "\U0010ffff", "e\u0301", "\u00e9", "\u1112\u1161\u11ab", "\ud55c", "\u0130", "\u1e9e", "\ufdfa", "&",
           "=", "%00",
           "'", "\"", "\\", "/", "..", "#", "+", "$", "*", "|", "~", "<b>", "京", "粤B12345", "🚗\u200d🚗"]


def text_of(rng, limit):
    """A string in the class of its bounds: empty, one scalar, at its limit, one beyond, or with characters that programs stumble over."""
    limit = limit or 64
    kind = rng.randrange(13)
    if kind == 0:
        return ""
    if kind == 1:
        return rng.choice(SPECIAL)
    if kind == 2:
        return "x" * limit
    if kind == 3:
        return "x" * (limit + 1)
    if kind == 4:
        return "a" + "\u0301" * (limit - 1)
    if kind == 5:
        return "\u0301" * (limit + 1)
    if kind == 6:
        return "泊" * limit
    if kind == 7:
        return "\U0001f697" * limit
    if kind == 8:
        return "".join(rng.choice(SPECIAL) for _ in range(rng.randint(1, max(1, limit // 2))))
    if kind == 9:
        return " " * rng.choice([1, limit, limit + 1])
    if kind == 10:
        return rng.choice(INT_TEXTS + DATES + CLOCKS + DEGREES)
    if kind == 11:
        return "x" + rng.choice(SPECIAL) + "y"
    return "z" * rng.choice([5_000, 20_000])


def clock_of(rng, is_end=False):
    if rng.random() < 0.15:
        return rng.choice(CLOCKS)
    if is_end and rng.random() < 0.3:
        return "24:00"
    return f"{rng.choice([0, 0, 1, 7, 8, 12, 17, 18, 22, 23]):02}:{rng.choice([0, 0, 1, 29, 30, 31, 59]):02}"


def repeats_of(rng):
    """(repeatType, repeatData) at the edges of what a calendar allows."""
    kind = rng.choice(["daily", "weekly", "monthly", "date", "date", "monthly", "yearly", ""])
    data = {
        "daily": lambda: rng.choice([None, [], [1]]),
        "weekly": lambda: rng.choice([[1, 2, 3, 4, 5, 6, 7], [7], [0], [8], [1] * 100, [], ["1"], [-1], [MAX53 - 1]]),
        "monthly": lambda: rng.choice([[31], [30, 31], [29], list(range(1, 32)), [0], [32], [1] * 500, [-1], [MAX53 - 1], ["31"], []]),
        "date": lambda: [rng.choice(DATES) for _ in range(rng.choice([1, 2, 50, 400]))],
    }.get(kind, lambda: junk(rng, 2))()
    return kind, data


def segments_of(rng, many=None):
    rows = []
    for _ in range(many or rng.choice([0, 1, 1, 2, 7, 30, 100, 101])):
        kind, data = repeats_of(rng)
        row = {"repeatType": kind, "start": clock_of(rng), "end": clock_of(rng, True)}
        if data is not None:
            row["repeatData"] = data
        rows.append(row)
    return rows


def money_of(rng):
    return rng.choice([0, 1, 25, 100, 500, 999_999_999, 1_000_000_000, 1_000_000_000, rng.randrange(10_000)])


def rules_of(rng):
    rows = []
    for _ in range(rng.choice([0, 1, 1, 2, 3, 20, 200, 201])):
        row = {}
        if rng.random() < 0.5:
            row["days"] = rng.choice([[1], [1, 2, 3, 4, 5, 6, 7], [7, 7, 7], [], [0], [6, 7]])
        if rng.random() < 0.5:
            row["start"], row["end"] = clock_of(rng), clock_of(rng, True)
        for name, values in (("freeMin", [0, 1, 15, 1440, 100_000]), ("stepMin", [1, 5, 30, 60, 1440, 100_000]),
                             ("durStartMin", [0, 1, 30, 1440, 999_999, 1_000_000]), ("durEndMin", [-1, 0, 1, 30, 1440, 1_000_000])):
            if rng.random() < 0.6:
                row[name] = rng.choice(values)
        for name in ("stepFee", "capFee"):
            if rng.random() < 0.6:
                row[name] = money_of(rng)
        rows.append(row)
    return rows


def tariff_of(rng):
    tariff = {"tariffId": rng.choice(["T1", "T2", "T" + uuid_of(rng)[:6]]), "effectiveFrom": rng.choice([now() - 1000, now() - 1000, 1_000_000_000_000,
        9_999_999_999_999]),
              "rules": rules_of(rng)}
    for name, make in (("bizType", lambda: rng.randrange(4)), ("vehicleClass", lambda: rng.randint(1, 6)), ("dailyCap", lambda: money_of(rng)),
                       ("overtimeMultiplierPct", lambda: rng.choice([0, 1, 100, 150, 10_000])), ("text", lambda: "收费")):
        if rng.random() < 0.4:
            tariff[name] = make()
    return tariff


def hours_of(rng):
    return [{"days": rng.choice([[1, 2, 3, 4, 5, 6, 7], [1], [7], [6, 7], [1, 1, 1], []]), "start": clock_of(rng), "end": clock_of(rng, True)}
            for _ in range(rng.choice([0, 1, 1, 2, 7, 100, 101]))]


def quiet_of(rng):
    return [{"start": clock_of(rng), "end": clock_of(rng, True)} for _ in range(rng.choice([0, 1, 2, 10, 11]))]


def policy_of(rng):
    numbers = [0, 1, -1, 2, 5, 15, 30, 60, 90, 100, 120, 1000, 1440, 10_080, 43_200, 525_600, 1_000_000, 100_000_000, (1 << 31) - 1, MAX53 - 1, MAX53,
               (1 << 63) - 1]
    values = {}
    for _ in range(rng.choice([1, 1, 2, 5])):
        value = rng.choice(numbers)
        values[rng.choice(POLICIES)] = rng.choice([value, str(value), value, "", "ask", "trust", None, [], True])
    return values


def junk(rng, depth=4):
    """Any JSON."""
    kind = rng.randrange(9 if depth > 0 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice(NARROW)
    if kind in (3, 4):
        return text_of(rng, 16)[:200]
    if kind == 5:
        return rng.choice(INTS if rng.random() < 0.2 else NARROW)
    if kind == 6:
        return [junk(rng, depth - 1) for _ in range(rng.choice([0, 1, 3]))]
    return {text_of(rng, 8)[:50]: junk(rng, depth - 1) for _ in range(rng.choice([0, 1, 3]))}


def nested(depth, rng):
    value = rng.choice([1, "", {}, []])
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def uuid_of(rng):
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


PLATE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def plate_of(rng):
    return f"粤{rng.choice(PLATE_LETTERS)}{rng.choice(PLATE_LETTERS)}{rng.randrange(10_000):04}"


PLATES = ["粤B12345", "粤B1234I", "粤B6O017", "粤BD12345", "粤B12345D", "粤B0123警", "粤B1234应急", "粤X0119应急", "224578使", "WJ粤1234X", "VA12345", "无ES16V2A", "无", "无车牌",
          "粤Z1234港",
          "粤-B·9 9999", "粤Ｂ１２３４５", "粤b12345", "沪A.A8888", "O", "粤", "", " ", "粤B" + "\u0301" * 20, "粤B1234\u0301", "\u202e粤B12345", "粤B1234\U0001f697",
          "粤B12345" * 3, "AAAAAAA",
          "粤B1234\u0000", "粤OA1234", "粤A1234领", "粤B1234学"]


def legal(field, rng):
    """A value at the edges of what the field takes."""
    argument = field.argument
    kind = field.type
    if kind == "int":
        if argument and ".." in argument:
            low, high = (int(x) for x in argument.split(".."))
            return rng.choice([low, high, min(high, low + 1), max(low, high - 1), min(high, max(low, rng.randint(0, 100)))])
        return int(rng.choice(argument.split(","))) if argument else rng.choice(NARROW)
    if kind == "money":
        return money_of(rng)
    if kind == "time":
        return rng.choice([1_000_000_000_000, 9_999_999_999_999, now(), now() + 1, now() - 1, now() + 299_999, now() + 300_001, now() - 300_001,
                           now() - 30 * DAY,
                           now() - 366 * DAY, now() + 366 * DAY, now() + HOUR, now() - HOUR, 9_999_999_999_998, 1_000_000_000_001])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "lng":
        return rng.choice(["180", "-180", "180.0000000", "-180.0000000", "0", "105", "179.9999999", "-179.9999999", "0.0065", "0.0000001"])
    if kind == "lat":
        return rng.choice(["90", "-90", "90.0000000", "-90.0000000", "0", "35", "89.9999999", "-89.9999999", "0.006", "-0.0000001"])
    if kind == "hm":
        return rng.choice(["00:00", "23:59", "12:00"])
    if kind == "hmEnd":
        return rng.choice(["00:00", "24:00", "23:59", "00:01"])
    if kind == "date":
        return rng.choice(["0001-01-01", "1970-01-01", "2024-02-29", "2026-12-31", "9999-12-31", "2286-11-20"])
    if kind == "plateNo":
        return rng.choice(PLATES[:9])
    if kind == "plateColor":
        return rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12])
    if kind == "parkCode":
        return rng.choice(["FZ0", "FZ3", "A" * 32, ".", "-", "A._-"])
    if kind == "region":
        return rng.choice(["000000", "999999", "440305"])
    if kind == "sha256":
        return rng.choice(["0" * 64, "f" * 64, "F" * 64])
    if kind == "uuid":
        return rng.choice(["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"])
    if kind == "string":
        limit = int(argument or 64)
        return rng.choice(["x", "x" * limit, "泊" * limit, "a" + "\u0301" * (limit - 1), "\U0001f697" * limit, "", "e\u0301", "\u00e9", "\u202ex", "0", "-1"])
    if kind == "any":
        return named(field.name, rng) if field.name in NAMED else junk(rng)
    return {child.name: value_of(child, rng, 0.9) for child in field.children if child.required or rng.random() < 0.5}


#: Values whose members belong together.
NAMED = {"segments": segments_of, "rules": rules_of, "openHours": hours_of, "quietHours": quiet_of, "values": policy_of,
         "repeatData": lambda rng: repeats_of(rng)[1], "price": lambda rng: {"mode": rng.choice([1, 2, 3]), "amount": money_of(rng)}}


def named(name, rng):
    return NAMED[name](rng)


def illegal(field, rng):
    """A value that the field does not take, or hardly."""
    choice = rng.randrange(10)
    if choice == 0:
        return None
    if choice == 1:
        return ""
    if choice == 2:
        return rng.choice([[], {}, [[]], [{}], {"a": 1}, True, False, 0])
    if choice == 3:
        return junk(rng)
    if choice == 4:
        return nested(rng.choice([5, 27, 28, 29, 30]), rng)
    if field.type in ("int", "time", "money", "plateColor"):
        argument = field.argument
        if argument and ".." in argument and rng.random() < 0.4:
            low, high = (int(x) for x in argument.split(".."))
            return rng.choice([low - 1, high + 1])
        # A number beyond 2^53 is refused before the message is anybody's: most stay below.
        return rng.choice(NARROW + NARROW + NARROW + INT_TEXTS + INTS)
    if field.type in ("lng", "lat"):
        return rng.choice(DEGREES)
    if field.type in ("hm", "hmEnd"):
        return rng.choice(CLOCKS)
    if field.type == "date":
        return rng.choice(DATES)
    if field.type == "plateNo":
        return rng.choice(PLATES)
    if field.type == "object":
        return [] if rng.random() < 0.3 else {rng.choice(SPECIAL): junk(rng, 2), "x" * rng.choice([1, 5_000]): 1}
    if field.type in ("bool",):
        return rng.choice(["true", "false", 0, 1, "yes", []])
    return text_of(rng, int(field.argument) if field.argument and field.argument.isdigit() else 64)


def value_of(field, rng, legality=0.6):
    if field.count:
        if field.name in NAMED and rng.random() < 0.6:
            return named(field.name, rng)
        if rng.random() < 0.2:
            return illegal(field, rng)
        one = lambda: legal(field, rng) if rng.random() < legality else illegal(field, rng)
        # The longest arrays are rare: one of them costs as much as a hundred other inputs.
        many = rng.choice([0, 1, 1, 2, 3, 20] + ([field.count, field.count + 1] if field.count <= 200 or rng.random() < 0.02 else []))
        rows = [one() for _ in range(min(many, 3))]
        return rows + [copy.copy(rng.choice(rows)) for _ in range(many - len(rows))] if rows else []
    if field.name in NAMED and rng.random() < 0.7:
        return named(field.name, rng)
    return legal(field, rng) if rng.random() < legality else illegal(field, rng)


def places(shape, data, path=()):
    """Every field of the shape that is there, or could be."""
    found = []
    for field in shape:
        found.append((path + (field.name,), field))
        inner = data.get(field.name) if isinstance(data, dict) else None
        if not field.children or inner is None:
            continue
        if field.count and isinstance(inner, list):
            for index in range(min(len(inner), 3)):
                if isinstance(inner[index], dict):
                    found += places(field.children, inner[index], path + (field.name, index))
        elif isinstance(inner, dict):
            found += places(field.children, inner, path + (field.name,))
    return found


def put(data, path, value):
    at = data
    for step in path[:-1]:
        if isinstance(at, list):
            if not isinstance(step, int) or step >= len(at):
                return
            at = at[step]
        elif isinstance(at, dict):
            at = at.setdefault(step, {})
        else:
            return
    if isinstance(at, dict):
        at[path[-1]] = value
    elif isinstance(at, list) and isinstance(path[-1], int) and path[-1] < len(at):
        at[path[-1]] = value


DROP = object()


def mutate(rng, service, data, banned=frozenset()):
    """The same data with one to three of its fields changed, and what was changed."""
    data = copy.deepcopy(data)
    changed = []
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        found = [(p, f) for p, f in places(SHAPES.get(service, []), data) if (service, trail(p)) not in banned]
        kind = rng.random()
        if not found or kind < 0.03:
            name = rng.choice(["unknownField", text_of(rng, 8)[:40] or "x", "__proto__", "e\u0301", "\u00e9"])
            data[name] = junk(rng)
            changed.append(("+", name))
            continue
        path, field = rng.choice(found)
        if kind < 0.09:
            at = data
            for step in path[:-1]:
                at = at[step] if isinstance(at, list) else at.get(step, {})
            if isinstance(at, dict):
                at.pop(path[-1], None)
            changed.append(("-", trail(path)))
            continue
        put(data, path, value_of(field, rng))
        changed.append(("=", trail(path)))
    return data, changed


def trail(path):
    return ".".join(str(p) for p in path if not isinstance(p, int))


def edited(text, seed):
    """The bytes of a message after a change that leaves it hardly a message any more; the same seed makes the same change."""
    rng = random.Random(seed)
    kind = rng.randrange(9)
    numbers = [m for m in re.finditer(rb"(?<=[:,\[])-?\d+(?=[,}\]])", text)]
    if kind <= 2 and numbers:
        at = rng.choice(numbers)
        token = rng.choice([b"-0", b"1.5", b"1e3", b"1E400", b"01", b"9223372036854775808", b"-9223372036854775809", b"9" * 400, b"0x1", b"+1", b"NaN", b"-",
                            b"1.", b".1",
                            b"00", b"18446744073709551616", b"-9007199254740993"])
        return text[:at.start()] + token + text[at.end():]
    if kind == 3:
        names = [m for m in re.finditer(rb'"(\w+)":', text)]
        at = rng.choice(names)
        return text[:at.start()] + at.group() + rng.choice([b"1", b'""', b"null", b"[]"]) + b"," + text[at.start():]
    if kind == 4:
        at = rng.randrange(len(text))
        return text[:at]
    if kind == 5:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice([b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\xf4\x90\x80\x80", b"\"", b"{", b"]",
                                       b"\xef\xbb\xbf"]) + text[at:]
    if kind == 6:
        return text.replace(b'"data": ', b'"data": ' + b"[" * 40 + b"]" * 40 + b',"data2": ', 1)
    if kind == 7:
        return rng.choice([b"\xef\xbb\xbf" + text, text + b"\x00", b" " * 1000 + text, text + text, text.decode().encode("utf-16-le"), b"[" + text + b"]"])
    at = rng.randrange(len(text))
    return text[:at] + bytes([text[at] ^ (1 << rng.randrange(8))]) + text[at + 1:]


def envelope_changes(rng):
    """Members of an envelope at their edges; they are signed like the others."""
    kind = rng.randrange(9)
    if kind == 0:
        return {"timestamp": rng.choice([now() - 301_000, now() + 301_000, now() - 299_000, now() + 299_000, 1_000_000_000_000, 9_999_999_999_999, 0, -1,
                                         MAX53, -MAX53, (1 << 63) - 1, -(1 << 63),
                                         "1", None, True])}
    if kind == 1:
        return {"nonce": rng.choice(["", "x" * 7, "x" * 8 + uuid_of(rng)[:8], "y" * 24 + uuid_of(rng)[:8], "x" * 33, "z" * 5_000, "a&b=c&d=e", "\u0301" * 16,
                                     1, None])}
    if kind == 2:
        return {"requestId": rng.choice(["", "x", "0" * 36, "00000000-0000-0000-0000-000000000000", "\u0301" * 36, 5, None, uuid_of(rng).upper()])}
    if kind == 3:
        return {"version": rng.choice(["", "1", "1.1", "2.0", "1.0 ", 1, None, "1" * 5_000])}
    if kind == 4:
        return {rng.choice(["x", "e\u0301", "sign2", "Data", "x" * 5_000]): rng.choice([1, 0, MAX53 - 1, -MAX53, True, False, "v", "a=b", "a&b", "\u0000",
            "\u0301" * 100, [], {}])}
    if kind == 5:
        return {"parkCode": rng.choice(["FZ0", "FM0", "NOWHERE", "", "_cloud", "a/b", "A" * 33, "\u0301", 1, None])}
    if kind == 6:
        return {"epoch": rng.choice(["e", "", "x" * 16, "x" * 17, "\u0301", 1, None]), "seq": rng.choice([1, 0, -1, MAX53 - 1, MAX53, (1 << 63) - 1, "1", None,
            True])}
    if kind == 7:
        return {"signType": rng.choice(["HMACSHA256", "MD5", "", None, 1])}
    return {"sign": rng.choice(["", "0" * 64, "x" * 5_000, None, 1])}


def brief(cause, limit=1500):
    """An input as a line for people: long runs of one thing are told by their length. The whole stands in the file to replay."""
    text = json.dumps(cause, ensure_ascii=True)
    text = re.sub(r"((?:\\u[0-9a-f]{4}|\\u[0-9a-f]{4}\\u[0-9a-f]{4}|%[0-9A-F]{2}|.))\1{39,}", lambda m: f"{m.group(1)}…×{len(m.group(0)) // len(m.group(1))}",
                  text)
    return text if len(text) <= limit else text[:limit] + f"… ({len(text)} characters)"


class Fault(Exception):
    """What should not have happened, with the input after which it did."""

    def __init__(self, why, cause, more=""):
        super().__init__(why)
        self.why, self.cause, self.more = why, cause, more

    def __str__(self):
        return f"{self.why}\n  {self.more[:1500]}\n  input: {brief(self.cause, 3000)}"


class Gone(Exception):
    """The other end is not there any more."""


class Client:
    """One keep-alive connection, by hand: a request costs less than in http.client."""

    def __init__(self, port, context, timeout=60):
        self.port, self.context, self.timeout, self.sock = port, context, timeout, None

    def open(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.context.wrap_socket(plain, server_hostname="127.0.0.1") if self.context else plain
        self.rest = b""

    def close(self):
        if self.sock:
            try:
                self.sock.close()
            except OSError:
                pass
        self.sock = None

    def ask(self, method, target, body=b"", headers=()):
        """(status, headers, body); Gone when the other end closes without an answer."""
        head = [f"{method} {target} HTTP/1.1"]
        if not any(name == "host" for name, _ in headers):
            head.append(f"host: 127.0.0.1:{self.port}")
        if body or method in ("POST", "PUT", "PATCH"):
            head.append(f"content-length: {len(body)}")
        head += [f"{k}: {v}" for k, v in headers]
        try:
            if self.sock is None:
                self.open()
            self.sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1", "replace") + body)
            while True:
                answer = self.answer(method)
                if answer[0] != 100:
                    break
        except (OSError, ssl.SSLError) as error:
            self.close()
            raise Gone(f"{type(error).__name__}: {error}") from None
        if answer[1].get("connection", "").lower() == "close":
            self.close()
        return answer

    def line(self, mark):
        while True:
            at = self.rest.find(mark)
            if at >= 0:
                found, self.rest = self.rest[:at], self.rest[at + len(mark):]
                return found
            more = self.sock.recv(262_144)
            if not more:
                raise OSError("closed without an answer" if not self.rest else "closed in the middle of an answer")
            self.rest += more

    def take(self, count):
        while len(self.rest) < count:
            more = self.sock.recv(262_144)
            if not more:
                raise OSError("closed in the middle of a body")
            self.rest += more
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def answer(self, method):
        lines = self.line(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {k.lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:])}
        if method == "HEAD" or status in (100, 204, 304):
            return status, headers, b""
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while True:
                size = int(self.line(b"\r\n").split(b";")[0], 16)
                body += self.take(size)
                self.take(2)
                if size == 0:
                    return status, headers, body
        if "content-length" in headers:
            return status, headers, self.take(int(headers["content-length"]))
        body = self.rest
        while True:
            more = self.sock.recv(262_144)
            if not more:
                self.close()
                return status, headers, body
            body += more


class Socket(http.client.HTTPConnection):
    """HTTP over the admin socket, however deep its folder is."""

    def __init__(self, folder, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(f"/proc/self/fd/{self.folder}/admin.sock")

    def end(self):
        self.close()
        os.close(self.folder)


def ended(process, seconds=0.5):
    try:
        process.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


LOTS = ["FZ0", "FZ1", "FZ2", "FZ3"]
CLOUD_LOTS = ["FC0", "FC1"]
MQTT_LOTS = ["FM0", "FM1"]
#: Here descriptions and policies may become wild; elsewhere they stay as they are, so that most valid requests succeed.
WILD = {"FZ3", "FC1"}
PLACE = "FPLACE"


class World:
    """The server under test, the parties that speak to it, and what they have made so far."""

    def __init__(self, server, seed, banned=None):
        self.server, self.seed = server, seed
        self.lock = threading.Lock()
        self.banned = banned if banned is not None else set()
        self.orders, self.bills, self.payments = (collections.deque(maxlen=400) for _ in range(3))
        self.offers, self.subscriptions, self.appointments, self.penalties, self.appeals, self.cases = (collections.deque(maxlen=100) for _ in range(6))
        self.tickets, self.views, self.addresses = (collections.deque(maxlen=100) for _ in range(3))
        self.records = {}
        self.counts = collections.Counter()
        self.codes = collections.Counter()
        self.valid = collections.Counter()
        self.done = 0
        self.slowest = (0, "")

    def set_up(self):
        """Issues the credentials and makes what valid requests need; each step by a call that must succeed."""
        server = self.server
        rate = 1_000_000
        self.lots = {park: server.issue("lot", park, rate=rate) for park in LOTS + MQTT_LOTS}
        self.cloud = server.issue("cloud", CLOUD_LOTS, rate=rate)
        self.cloud.park = None
        self.providers = [server.issue("provider", rate=rate) for _ in range(2)]
        self.operators = [server.issue("operator", rate=rate), server.issue("operator", "FZ0", rate=rate)]
        for operator in self.operators:
            operator.park = None
        self.scrap = server.issue("provider", rate=rate)
        for provider in self.providers:
            server.cli("keys", "set", "--app-id", provider.app_id, "--return-host", "app.example")
        client = Client(server.https_port, server.context)
        for park in LOTS + CLOUD_LOTS + MQTT_LOTS:
            key = self.key_of(park)
            self.must(client, key, "lot.info.report", self.info(park), park)
            self.must(client, key, "lot.gate.report", {"gates": [{"gateCode": "G1", "gateName": "入", "direction": 3},
                                                                 {"gateCode": "G2", "gateName": "出", "direction": 3}]}, park)
            self.must(client, key, "lot.space.report", {"spaces": [{"spaceNo": f"S{i}"} for i in range(3000)]}, park)
            self.must(client, key, "lot.tariff.report", {"tariffId": "T1", "effectiveFrom": now() - DAY,
                                                         "rules": [{"freeMin": 0, "stepMin": 1, "stepFee": 100}]}, park)
        operator = self.operators[0]
        self.must(client, operator, "policy.set", {"scope": "lot:FZ1", "values": {"confirmMode": "ask"}})
        self.must(client, operator, "policy.set", {"scope": "lot:FZ2", "values": {"lateMin": 0}})
        self.must(client, operator, "biz.place.set", {"placeCode": PLACE, "name": "医院", "parkCodes": ["FZ0", "FZ1", "FM0"]})
        self.must(client, operator, "flow.area.set", {"areaId": "FAREA", "name": "区", "parkCodes": ["FZ3"]})
        client.close()
        return self

    def info(self, park):
        return lot_info(park, 2 if park == "FZ2" else 3000, 10_000, shareSpace=500, publicBizSpace=500, shareEnabled=True, publicBizEnabled=True,
                        **({"lat": "90", "coordType": 1} if park in WILD else {}))

    def key_of(self, park):
        return self.cloud if park in CLOUD_LOTS else self.lots[park]

    def must(self, client, key, service, data, park=None):
        message = compose(random.Random(secrets.randbits(64)), key, service, data, park)
        status, headers, raw = client.ask("POST", "/api/v1/" + service.replace(".", "/"), json.dumps(message, ensure_ascii=False).encode(),
                                          [("content-type", "application/json")])
        reply = json.loads(raw)
        assert reply["code"] == 0, (service, data, reply)
        return reply["data"]

    def ended(self, seconds=0.5):
        """Whether the process is at its end; a process that dies closes its connections first."""
        return ended(self.server.process, seconds)

    def pid_lives(self):
        return self.server.process is not None and self.server.process.process.poll() is None

    def healthy(self):
        client = Client(self.server.https_port, self.server.context, timeout=10)
        try:
            return client.ask("GET", "/healthz")[0] == 200
        except Gone:
            return False
        finally:
            client.close()


def compose(rng, key, service, data, park=None, **extra):
    """A signed envelope."""
    message = {"version": "1.0", "requestId": uuid_of(rng), "appId": key.app_id, "service": service, "timestamp": now(),
               "nonce": f"{rng.getrandbits(96):024x}", "data": data}
    park = park or key.park
    if park:
        message["parkCode"] = park
    message.update(extra)
    if "sign" not in extra:
        message["sign"] = signature(message, key.secret)
    return message


class Makers:
    """A valid request of each service, from what is there. The name of a maker is that of its service."""

    def __init__(self, world, rng):
        self.world, self.rng = world, rng

    def make(self, service, role, park):
        maker = getattr(self, service.replace(".", "_"), None)
        if maker is None:
            # A service that is new to the fuzzer: what its shape says.
            context = {"parkCode": park or "FZ0", "plateNo": plate_of(self.rng), "repeatType": "daily", "service": "event.report", "ext": "jpg",
                       "scene": "ORDER"}
            return minimal(SHAPES[service], context, self.rng.random() < 0.5)
        return maker(role, park)

    def some(self, items):
        try:
            return items[self.rng.randrange(len(items))] if items else None
        except IndexError:
            return None

    def order(self, park=None, provider=None):
        for _ in range(6):
            order = self.some(self.world.orders)
            if order and (park is None or order["parkCode"] == park) and (provider is None or order["provider"] == provider):
                return order
        return order

    def order_no(self, park=None):
        order = self.order(park, getattr(self, "provider", None))
        return order["orderNo"] if order else "YY1"

    def any_lot(self):
        return self.rng.choice(["FZ0", "FZ0", "FZ1", "FZ2", "FM0", "FM1", "FC0", "FZ3", "FC1"])

    def token(self, name="u"):
        return f"{name}{self.rng.randrange(40)}" if self.rng.random() < 0.3 else uuid_of(self.rng)

    # Lots

    def sys_time_get(self, role, park):
        return {"deviceSendTime": now()}

    def sys_heartbeat(self, role, park):
        return {"onlineGates": 2, "offlineGates": 0, "queueDepth": 0, "clockOffsetMs": 0, "softVersion": "1", "localTime": now()}

    def lot_info_report(self, role, park):
        return self.world.info(park)

    def lot_gate_report(self, role, park):
        return {"gates": [{"gateCode": self.rng.choice(["G1", "G2", "G3"]), "gateName": "门", "direction": 3, "lat": "22.54", "lng": "113.94"}]}

    def lot_space_report(self, role, park):
        return {"spaces": [{"spaceNo": f"S{self.rng.randrange(40)}", "floor": "B1", "spaceType": 1}]}

    def lot_tariff_report(self, role, park):
        return tariff_of(self.rng) if self.rng.random() < 0.5 else {
            "tariffId": "T1", "effectiveFrom": now() - 1, "rules": [{"freeMin": 0, "stepMin": 5, "stepFee": 100}], "dailyCap": 5000}

    def space_remain_report(self, role, park):
        remain = self.rng.randrange(100)
        return {"reportTime": now(), "total": 100, "occupied": 100 - remain, "remain": remain}

    def space_status_report(self, role, park):
        return {"items": [{"spaceNo": f"S{self.rng.randrange(30)}", "status": self.rng.randint(-1, 3), "changeTime": now()}]}

    def vehicle_preentry_check(self, role, park):
        order = self.order(park)
        return {"gateCode": "G1", "plateNo": order["plateNo"] if order else plate_of(self.rng), "plateColor": 9, "confidence": self.rng.choice([0, 50, 100]),
                "captureTime": now()}

    def inside(self, park):
        return self.some(self.world.records.get(park, [])) or {}

    def vehicle_preexit_report(self, role, park):
        seen = self.inside(park)
        return {"recordNo": seen.get("recordNo", "r1"), "plateNo": seen.get("plateNo", plate_of(self.rng)), "gateCode": "G2", "leaveTime": now()}

    def sync_down_pull(self, role, park):
        return {"afterSeq": self.rng.choice([0, 0, 1, 5]), "limit": 20, "waitMs": 0}

    def sync_down_ack(self, role, park):
        epoch, last = self.world.records.get((park, "down"), ("", 0))
        if self.rng.random() < 0.6 and last:
            return {"epoch": epoch, "ackSeq": last, "results": []}
        return {"epoch": epoch or "d", "ackSeq": self.rng.randint(0, last), "results": [{"seq": max(1, last), "code": 0, "data": {"accepted": True}}]}

    def sync_snapshot_query(self, role, park):
        return {"reason": "查"} if role == "operator" else {}

    def sync_cursor_query(self, role, park):
        return {}

    def recon_inlot_list(self, role, park):
        return {"detailType": self.rng.choice([1, 2]), "limit": 50, "reason": "查"}

    def payment_result_query(self, role, park):
        return {"payNo": self.pay_no()}

    def device_status_report(self, role, park):
        return {"devices": [{"deviceCode": f"D{self.rng.randrange(9)}", "type": 1, "status": 1, "uptime": 5, "deviceTime": now(), "ip": "10.0.0.1",
                             "mac": "00:00:00:00:00:00"}]}

    def image_ticket_apply(self, role, park):
        size = self.rng.choice([1, 3, 24, 200, 1000])
        return {"type": 1, "ext": self.rng.choice(["jpg", "png"]), "size": size, "sha256": hashlib.sha256(picture_bytes(size)).hexdigest()}

    def image_upload_query(self, role, park):
        ticket = self.some(self.world.tickets)
        return {"imageId": ticket["imageId"] if ticket else "i"}

    image_upload_complete = image_upload_query

    # Entries of the up log

    def vehicle_entry_report(self, role, park):
        order = self.order(park) if self.rng.random() < 0.5 else None
        order = order if order and order["parkCode"] == park else None
        sub = None if order else self.some([s for s in list(self.world.subscriptions) if s["parkCode"] == park]) if self.rng.random() < 0.2 else None
        plate = order["plateNo"] if order else sub["plateNo"] if sub else plate_of(self.rng)
        return {"recordNo": "r" + uuid_of(self.rng)[:12], "plateNo": plate, "plateColor": 9, "vehicleClass": 1,
                "carKind": {1: 5, 2: 6, 3: 7}[order["bizType"]] if order else 6 if sub else 1,
                "enterTime": self.rng.choice([now(), now(), now() - HOUR, now() - 30 * DAY, 1_000_000_000_000 if self.rng.random() < 0.1 else now() - MINUTE]),
                "gateCode": "G1", "gateName": "入",
                "enterMode": 1, "remain": {"total": 100, "remain": self.rng.randrange(100)},
                **({"orderNo": order["orderNo"]} if order else {"orderNo": sub["authNo"]} if sub else {})}

    def vehicle_exit_report(self, role, park):
        came = self.inside(park) or self.vehicle_entry_report(role, park)
        leave = max(came["enterTime"], now() - self.rng.choice([0, 1000])) + self.rng.choice([0, 0, 0, 4 * MINUTE])
        return {**came, "leaveTime": leave, "parkSeconds": 60, "exitGateCode": "G2", "exitMode": 1, "leaveKind": 1, "totalFee": 500, "discountFee": 0,
                "paidFee": 500,
                "payableFee": 500, "payments": [{"payNo": "x" + uuid_of(self.rng)[:12], "payType": 1, "amount": 500, "discount": 0, "payTime": leave}]}

    def vehicle_record_correct(self, role, park):
        seen = self.some(self.world.records.get((park, "left"), [])) or self.inside(park)
        kind = self.rng.randint(1, 5)
        after = {1: {"plateNo": plate_of(self.rng)}, 2: {"leaveTime": now()}, 3: {"totalFee": 700}, 4: {}, 5: {"recordNo": seen.get("recordNo", "r1")}}[kind]
        return {"recordNo": seen.get("recordNo", "r1"), "correctType": kind, "before": {}, "after": after, "operator": "张", "reason": "误"}

    def order_status_report(self, role, park):
        order = self.order(park)
        return {"orderNo": order["orderNo"] if order else "YY1", "orderVer": order["orderVer"] if order else 1,
                "status": self.rng.choice([2, 2, 2, 3, 4, 5, 6, 7, 8]), "occurTime": now()}

    def event_report(self, role, park):
        return {"eventId": "e" + uuid_of(self.rng), "eventType": self.rng.choice([1001, 6005, 9001, 2010, 4006]), "level": 1, "occurTime": now(),
                "detail": {"a": [1, {"b": "c"}]}}

    def payment_record_report(self, role, park):
        seen = self.inside(park)
        return {"payNo": "c" + uuid_of(self.rng)[:12], "recordNo": seen.get("recordNo", "r1"), "payType": 1, "amount": 500, "payTime": now(), "totalFee": 500}

    def share_space_report(self, role, park):
        return {"offers": [{"offerId": f"O{self.rng.randrange(20)}", "count": self.rng.choice([1, 3]),
                            "segments": [{"repeatType": "daily", "start": "00:00", "end": "24:00"}],
                            "price": {"mode": 2, "amount": 300}, "op": self.rng.choice([1, 1, 2, 3])}]}

    def list_local_report(self, role, park):
        return {"listType": self.rng.randint(1, 3), "complete": self.rng.random() < 0.3, "items": [{"plateNo": plate_of(self.rng), "plateColor": 0,
            "from": now(), "to": now() + DAY}]}

    def sync_batch_report(self, role, park):
        return {"entries": []}

    # Downward, by an operator

    def order_query(self, role, park):
        return {"orderNo": self.order_no()}

    def share_auth_push(self, role, park):
        return {"authNo": "A" + uuid_of(self.rng)[:8], "authVer": 1, "plateNos": [plate_of(self.rng)], "count": 1, "validFrom": now(), "validTo": now() + DAY,
                "segments": [{"repeatType": "daily", "start": "00:00", "end": "24:00"}]}

    def share_auth_revoke(self, role, park):
        sub = self.some(self.world.subscriptions)
        return {"authNo": sub["authNo"] if sub else "A1", "authVer": self.rng.choice([1, 2, 99])}

    def list_black_push(self, role, park):
        return {"plateNo": plate_of(self.rng), "plateColor": 0, "status": self.rng.choice([1, 0, -1]), "reason": "欠费", "from": now(), "to": now() + DAY}

    list_white_push = list_black_push

    def fee_query(self, role, park):
        if role == "provider":
            return {"orderNo": self.order_no()}
        seen = self.inside(park)
        return {"recordNo": seen.get("recordNo", "r1"), "scene": 0}

    def fee_estimate(self, role, park):
        return {"recordNo": self.inside(park).get("recordNo", "r1"), "freeMin": 15, "freeAmount": 100}

    def gate_control(self, role, park):
        return {"gateCode": "G1", "action": "OPEN", "ttlMs": self.rng.choice([1, 50]), "reason": "试"}

    def space_lock_control(self, role, park):
        return {"spaceNo": "S1", "action": "UP", "ttlMs": 50}

    def flow_policy_push(self, role, park):
        return {"policyId": "F" + str(self.rng.randrange(5)), "mode": 0, "validFrom": now(), "validTo": now() + HOUR}

    def config_push(self, role, park):
        return {"heartbeatSec": 30}

    def record_resend(self, role, park):
        return {"stream": "up", "seqFrom": 1, "seqTo": 5}

    def vehicle_lock(self, role, park):
        return {"plateNo": plate_of(self.rng), "locked": True}

    def time_sync(self, role, park):
        return {"serverSendTime": now()}

    # Providers

    def lot_search(self, role, park):
        data = {"lng": "113.9461", "lat": "22.5408", "coordType": self.rng.randint(1, 3), "radius": 5000}
        if self.rng.random() < 0.5:
            data |= {"bizType": self.rng.randint(0, 3), "arriveTime": now() + HOUR, "page": 1, "pageSize": 20}
        return data

    def lot_detail(self, role, park):
        return {"parkCode": self.any_lot()}

    def slot_query(self, role, park):
        return {"parkCode": self.any_lot(), "date": today(self.rng.choice([0, 0, 1])), "bizType": self.rng.randint(1, 3)}

    def order_create(self, role, park):
        biz = self.rng.choice([1, 1, 1, 2, 2, 3])
        data = {"clientOrderNo": uuid_of(self.rng), "userToken": self.token(), "plateNo": plate_of(self.rng), "plateColor": 9, "parkCode": self.any_lot(),
                "bizType": biz,
                "planTime": now() + self.rng.choice([600, 5 * MINUTE, 20 * MINUTE, 50 * MINUTE]), "mobile": "13800000000"}
        if biz == 2 and self.rng.random() < 0.7:
            offer = self.some(self.world.offers)
            if offer:
                data |= {"parkCode": offer["parkCode"], "offerId": offer["offerId"], "stayMin": 30}
        if biz == 3:
            appointment = self.some(self.world.appointments)
            if appointment:
                data |= {"parkCode": appointment["parkCode"], "extNo": appointment["extNo"], "planTime": appointment["appointTime"]}
        if self.rng.random() < 0.2:
            data["waitlist"] = True
        if self.rng.random() < 0.1:
            data["plateNos"] = [plate_of(self.rng)]
        if data["parkCode"] == "FZ2" and self.rng.random() < 0.5:
            data["planTime"] = now() + 400
        return data

    def order_modify(self, role, park):
        return {"orderNo": self.order_no(), **self.rng.choice([{"planTime": now() + self.rng.randint(1, 55) * MINUTE},
                                                               {"plateNo": plate_of(self.rng), "plateColor": 9}])}

    def order_cancel(self, role, park):
        return {"orderNo": self.order_no(), "reason": "变", "confirmBreach": self.rng.random() < 0.7}

    def order_detail(self, role, park):
        return {"orderNo": self.order_no(), **({"reveal": True, "reason": "查"} if role == "operator" else {})}

    def order_list(self, role, park):
        return self.rng.choice([{}, {"limit": 20}, {"page": 2, "pageSize": 5}, {"parkCode": "FZ0"}, {"userToken": "u1"}, {"status": 1}])

    def order_delay(self, role, park):
        return {"orderNo": self.order_no(), "reason": "堵"}

    def waitlist_join(self, role, park):
        data = self.order_create(role, park)
        data.pop("waitlist", None)
        return {**data, "parkCode": "FZ2", "bizType": 1, "planTime": now() + 50 * MINUTE}

    def waitlist_leave(self, role, park):
        return {"orderNo": self.order_no("FZ2")}

    def waitlist_list(self, role, park):
        return {"parkCode": "FZ2"}

    def vehicle_bind(self, role, park):
        return {"userToken": self.token(), "plateNo": plate_of(self.rng), "plateColor": 9}

    def vehicle_unbind(self, role, park):
        return {"userToken": self.token(), "plateNo": plate_of(self.rng)}

    def of_app(self, role):
        return {"appId": self.world.providers[0].app_id} if role == "operator" else {}

    def vehicle_list(self, role, park):
        return {"userToken": self.token(), **self.of_app(role)}

    def vehicle_verify(self, role, park):
        return {"plateNo": plate_of(self.rng), "userToken": self.token(), **self.of_app(role)}

    def user_credit_query(self, role, park):
        order = self.order()
        return {"userToken": order["userToken"] if order else "u1", "parkCode": self.any_lot(), "bizType": 1, **self.of_app(role)}

    def credit_appeal(self, role, park):
        return {"penaltyId": self.some(self.world.penalties) or "P1", "text": "道闸没有抬杆", "images": []}

    def pay_create(self, role, park):
        bill = self.some(self.world.bills)
        return {"billNo": bill["billNo"] if bill else "B1", "payNo": "p" + uuid_of(self.rng)[:16], "amount": bill["amount"] if bill else 100,
                "channel": self.rng.choice(["sandbox", "sandbox", "sandbox-fail", "sandbox-norefund"])}

    def pay_no(self):
        payment = self.some(self.world.payments)
        return payment["payNo"] if payment else "p1"

    def pay_query(self, role, park):
        return {"payNo": self.pay_no()}

    def refund_apply(self, role, park):
        payment = self.some(self.world.payments)
        return {"payNo": payment["payNo"] if payment else "p1", "refundNo": "f" + uuid_of(self.rng)[:16],
                "amount": self.rng.choice([1, payment["amount"] if payment else 1]), "reason": "退"}

    def share_product_list(self, role, park):
        return {"parkCode": self.any_lot()}

    def share_apply(self, role, park):
        offer = self.some(self.world.offers)
        data = {"parkCode": offer["parkCode"] if offer else "FZ0", "userToken": self.token(), "plateNos": [plate_of(self.rng)], "periodFrom": now() - MINUTE,
                "periodTo": now() + self.rng.choice([HOUR, 20 * DAY, 40 * DAY])}
        if offer and self.rng.random() < 0.7:
            data["offerId"] = offer["offerId"]
        return data

    def auth_no(self):
        sub = self.some(self.world.subscriptions)
        return sub["authNo"] if sub else "SA1"

    def share_cancel(self, role, park):
        return {"authNo": self.auth_no()}

    def share_renew(self, role, park):
        return {"authNo": self.auth_no(), "periodTo": now() + self.rng.choice([60, 90]) * DAY}

    def share_offer_publish(self, role, park):
        return {"parkCode": self.rng.choice(["FZ0", "FZ1", "FM0", "FC0"]), "providerToken": f"o{self.rng.randrange(5)}",
                "spaceNo": f"S{self.rng.randrange(40, 3000)}", "proofImages": ["i"], "agreementVersion": "1.0",
                "segments": segments_of(self.rng, 2) if self.rng.random() < 0.2 else [{"repeatType": "daily", "start": "00:00", "end": "24:00"}],
                "price": {"mode": self.rng.randint(1, 3), "amount": money_of(self.rng)}}

    def offer_id(self):
        offer = self.some(self.world.offers)
        return offer["offerId"] if offer else "SO1"

    def share_offer_update(self, role, park):
        return {"offerId": self.offer_id(), "price": {"mode": 2, "amount": 500}, "confirm": True}

    def share_offer_close(self, role, park):
        return {"offerId": self.offer_id(), "confirm": True}

    def share_income_query(self, role, park):
        return {"providerToken": f"o{self.rng.randrange(5)}", "from": now() - DAY, "to": now() + DAY, **self.of_app(role)}

    def share_withdraw_apply(self, role, park):
        return {"providerToken": f"o{self.rng.randrange(5)}", "amount": self.rng.choice([1, 100])}

    def biz_appointment_push(self, role, park):
        return {"extNo": uuid_of(self.rng), "bizCode": "hospital", "placeCode": PLACE, "appointTime": now() + self.rng.choice([20 * MINUTE, 3 * HOUR,
            25 * HOUR]), "personToken": self.token("n")}

    def ext_no(self):
        appointment = self.some(self.world.appointments)
        return appointment["extNo"] if appointment else "x1"

    def biz_appointment_change(self, role, park):
        return {"extNo": self.ext_no(), "appointTime": now() + 4 * HOUR}

    def biz_appointment_cancel(self, role, park):
        return {"extNo": self.ext_no(), "reason": "变"}

    def biz_quota_query(self, role, park):
        return {"placeCode": PLACE, "date": today(self.rng.choice([0, 1]))}

    def space_subscribe(self, role, park):
        return {"parkCodes": [self.any_lot()], "minInterval": self.rng.choice([30, 86_400])}

    def url_redirect_build(self, role, park):
        return {"scene": self.rng.choice(["ORDER", "PAY", "RESERVE", "NAVI"]), "orderNo": self.order_no(),
                **({"returnUrl": "https://app.example/x?a=b"} if role == "provider" else {})}

    def stat_daily_query(self, role, park):
        return {"dateFrom": today(-1), "dateTo": today(0), "groupBy": self.rng.sample(["day", "lot", "provider"], 2)}

    # Operators

    def policy_set(self, role, park):
        wild = self.rng.random() < 0.7
        return {"scope": self.rng.choice(["lot:FZ3", "lot:FZ3/2", "lot:FC1/3", "lot:FC1/1", "group:无"]) if wild else "lot:FZ0",
                "values": policy_of(self.rng) if wild else {"stayMin": 120}}

    def policy_query(self, role, park):
        return {"parkCode": self.any_lot(), "bizType": self.rng.randint(1, 3)}

    def calendar_set(self, role, park):
        return {"date": self.rng.choice(["2030-12-26", "2026-12-26"]), "kind": self.rng.choice(["workday", "holiday", "normal"])}

    def biz_place_set(self, role, park):
        return {"placeCode": f"Q{self.rng.randrange(9)}", "name": "某处", "parkCodes": ["FZ0"]}

    def flow_area_set(self, role, park):
        return {"areaId": self.rng.choice(["FAREA", "FA2"]), "name": "区", "parkCodes": ["FZ3"]}

    def flow_policy_set(self, role, park):
        return {"parkCode": self.rng.choice(["FZ3", "FC1"]), "policyId": f"F{self.rng.randrange(9)}", "mode": self.rng.choice([0, 2]), "saturationOpen": 80,
                "saturationClose": 90,
                "maxEntriesPer5min": 10, "pools": [{"pool": "PERSONAL", "count": 100}], "validFrom": now(), "validTo": now() + 8 * HOUR}

    flow_policy_preview = flow_policy_set

    def flow_policy_list(self, role, park):
        return {"parkCode": "FZ3"}

    def saturation_query(self, role, park):
        return {"parkCode": self.any_lot(), "hours": self.rng.choice([1, 6, 48])}

    def share_review(self, role, park):
        waiting = [o for o in list(self.world.offers) if not o.get("open")]
        offer = self.some(waiting)
        if offer:
            offer["open"] = True
            return {"offerId": offer["offerId"], "pass": True}
        return {"authNo": self.auth_no(), "pass": True}

    def share_review_list(self, role, park):
        return {"parkCode": self.any_lot()}

    def credit_appeal_list(self, role, park):
        return {"state": "open"}

    def credit_appeal_answer(self, role, park):
        return {"appealId": self.some(self.world.appeals) or "A1", "grant": True, "answer": "核实"}

    def gate_case_list(self, role, park):
        return {"parkCode": self.any_lot(), "state": "open"}

    def gate_case_decide(self, role, park):
        return {"parkCode": self.any_lot(), "caseNo": self.some(self.world.cases) or "GC1", "orderNo": self.order_no()}

    def ledger_statement_query(self, role, park):
        account = self.rng.choice({"provider": ["provider", "owner", "user"], "operator": ["lot", "till", "owner", "provider", "user", "platform",
            "compensation", "payout"]}.get(role, ["lot", "till"]))
        return {"account": account, "from": now() - DAY, "to": now() + DAY, **({"parkCode": "FZ0"} if role == "operator" and account in ("lot",
            "till") else {}),
                **({"appId": self.world.providers[0].app_id, "token": "o1"} if role == "operator" and account in ("owner", "provider",
                    "user") else {"token": "o1"} if account in ("owner", "user") else {})}

    def ledger_recon_query(self, role, park):
        return {"date": today(0), **({"parkCode": "FZ0"} if role == "operator" else {})}


def today(days=0):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600 + days * 86_400))


def picture_bytes(size):
    """The first bytes of a JPEG whose segment lengths lead outside of it."""
    return (b"\xff\xd8\xff\xe0\xff\xff" + b"\xff\xc0\x00\x00\x08\xff\xff\xff\xff" + b"\xff\xda" * 1000)[:size]


WEIGHTS = {"order.create": 8, "share.offer.publish": 3, "share.review": 3, "fee.query": 4, "pay.create": 4, "biz.appointment.push": 3, "share.apply": 3,
           "lot.info.report": 3,
           "lot.search": 3, "lot.tariff.report": 2, "refund.apply": 2, "policy.set": 2, "flow.policy.set": 2, "sync.down.pull": 2, "sync.down.ack": 2,
           "slot.query": 2,
           "share.renew": 2, "image.ticket.apply": 2}
LOG_UP = [s["name"] for s in SERVICES if s["direction"] == "up" and s["kind"] == "log"]
LOG_WEIGHTS = [{"vehicle.entry.report": 5, "vehicle.exit.report": 4, "event.report": 2}.get(n, 2) for n in LOG_UP]


def callable_by(role):
    found = []
    for s in SERVICES:
        if s["direction"] == "callback" or role not in s["roles"] or (s["direction"] == "up" and s["kind"] == "log") or s["name"] == "sync.batch.report":
            continue
        if s["direction"] == "down" and role not in ("provider", "operator"):
            continue
        found.append(s["name"])
    return found


CALLS = {role: callable_by(role) for role in ("lot", "cloud", "provider", "operator")}
CALL_WEIGHTS = {role: [WEIGHTS.get(n, 1) for n in names] for role, names in CALLS.items()}


class Worker(threading.Thread):
    """One stream of inputs. What it sends next is in `current` before it is sent, so that it is known if nobody answers any more."""

    #: Of all inputs so far, at most this part is this worker's.
    share = 1.0

    def __init__(self, run, name):
        super().__init__(name=name, daemon=True)
        self.mine = 0
        self.run_, self.world = run, run.world
        self.rng = random.Random(f"{run.seed}/{name}")
        self.makers = Makers(self.world, self.rng)
        self.current, self.client = None, None

    def run(self):
        try:
            while not self.run_.over():
                if self.mine > 20 + self.share * self.world.done:
                    self.run_.is_ending.wait(0.01)
                    continue
                try:
                    self.step()
                except Fault as fault:
                    if not self.run_.tolerates(fault):
                        raise
                    self.epoch, self.current = None, None
        except Fault as fault:
            self.run_.failed(fault)
        except Gone as error:
            self.run_.failed(Fault(f"no answer: {error}", self.current))
        except Exception:
            if not self.run_.ending():
                self.run_.failed(Fault("the fuzzer itself failed", self.current, traceback.format_exc()))
        finally:
            self.end()

    def end(self):
        if self.client:
            self.client.close()

    def count(self, kind, number=1):
        self.mine += number
        with self.world.lock:
            self.world.done += number
            self.world.counts[kind] += number

    def took(self, seconds, what, allowed=SLOWEST):
        if seconds > self.world.slowest[0]:
            self.world.slowest = (seconds, what)
        if seconds > allowed + self.run_.slack:
            raise Fault(f"the answer took {seconds:.1f} s", self.current)


class Caller(Worker):
    """Signed calls over HTTPS by all roles, and the log of one lot."""

    def __init__(self, run, name, lot):
        super().__init__(run, name)
        self.lot = lot
        self.client = Client(self.world.server.https_port, self.world.server.context)
        self.epoch, self.seq = None, 0
        self.kept = collections.deque(maxlen=30)

    def step(self):
        kind = self.rng.random()
        if kind < 0.22:
            self.log_entries()
        elif kind < 0.25:
            self.batch()
        elif kind < 0.28 and self.kept:
            self.again()
        else:
            self.call()

    def party(self):
        role = self.rng.choices(["lot", "cloud", "provider", "operator"], [25, 8, 42, 25])[0]
        park = None
        if role == "lot":
            park = self.lot if self.lot in self.world.lots else self.rng.choice(LOTS)
            key = self.world.lots[park]
        elif role == "cloud":
            park = self.rng.choice(CLOUD_LOTS)
            key = self.world.cloud
        elif role == "provider":
            self.makers.provider = self.rng.randrange(2)
            key = self.world.providers[self.makers.provider]
        else:
            key = self.world.operators[0 if self.rng.random() < 0.8 else 1]
            park = self.rng.choice(LOTS + MQTT_LOTS)
        return role, key, park

    def call(self):
        rng = self.rng
        role, key, park = self.party()
        service = rng.choices(CALLS[role], CALL_WEIGHTS[role])[0]
        if park == "FM1" and KINDS[service]["kind"] == "live":
            park = "FM0"
        data = self.makers.make(service, role, park)
        changed = []
        if rng.random() < 0.72 and not (service == "lot.info.report" and park not in WILD):
            data, changed = mutate(rng, service, data, self.world.banned)
        if isinstance(data.get("waitMs"), int) and 100 < data["waitMs"] <= 30_000:
            data["waitMs"] = 20
        extra = {}
        if rng.random() < 0.04:
            extra = envelope_changes(rng)
            changed.append(("envelope", ",".join(extra)))
        if "epoch" in extra and role in ("lot", "cloud"):
            # It may be taken for an entry of the lot's log, so it is sent to the log that this worker writes, which it looks up afterwards.
            park, self.epoch = self.lot, None
            key = self.world.key_of(park)
        if KINDS[service]["direction"] == "down" or role in ("lot", "cloud") or (role == "operator" and KINDS[service]["direction"] == "up"):
            pass
        elif "parkCode" not in extra:
            park = None if rng.random() < 0.9 else park
        edit = rng.getrandbits(40) if rng.random() < 0.03 else None
        self.send(key, role, service, data, park, changed, extra, edit)

    def send(self, key, role, service, data, park, changed, extra, edit=None):
        message = compose(self.rng, key, service, data, park, **extra)
        self.current = {"carrier": "https", "role": role, "appId": key.app_id, "service": service, "park": message.get("parkCode"), "changed": changed,
                        "extra": extra, "edit": edit, "data": data}
        body = json.dumps(message, ensure_ascii=False).encode()
        if len(body) > BODY_MAX:
            return None
        if edit is not None:
            body = edited(body, edit)
        reply, status = self.post(service, body)
        strict = edit is None and not extra
        check_reply(self.current, status, self.headers, reply, message, key, strict)
        self.count(f"https {role}")
        with self.world.lock:
            self.world.codes[reply["code"]] += 1
            if strict and not changed:
                self.world.valid[(service, reply["code"])] += 1
        if strict and reply["code"] == 0:
            harvest(self.world, key, service, data, reply["data"], park)
        if strict and KINDS[service]["kind"] == "kept" and reply["code"] not in NOT_CONSUMED and not reply.get("duplicate") and not service.startswith("image."):
            self.kept.append((key, role, message, reply["code"], reply["data"]))
        self.current = None
        return reply

    def post(self, service, body):
        started = time.perf_counter()
        target = "/api/v1/" + service.replace(".", "/")
        try:
            answer = self.client.ask("POST", target, body, [("content-type", "application/json")])
        except Gone:
            # A connection may end between two requests; the process may not.
            if self.world.ended():
                raise
            answer = self.client.ask("POST", target, body, [("content-type", "application/json")])
        status, self.headers, raw = answer
        self.took(time.perf_counter() - started, service)
        try:
            return json.loads(raw), status
        except ValueError:
            raise Fault(f"HTTP {status} with a body that is not JSON: {raw[:300]!r}", self.current)

    def again(self):
        """The same request sent again: its first result, told as a duplicate."""
        key, role, message, code, data = self.rng.choice(self.kept)
        again = {**message, "timestamp": now(), "nonce": f"{self.rng.getrandbits(96):024x}"}
        again["sign"] = signature(again, key.secret)
        self.current = {"carrier": "https", "role": role, "appId": key.app_id, "service": message["service"], "park": message.get("parkCode"),
                        "data": message["data"], "repeat": message["requestId"]}
        reply, status = self.post(message["service"], json.dumps(again, ensure_ascii=False).encode())
        check_reply(self.current, status, self.headers, reply, again, key, True)
        self.count("https again")
        if reply["code"] in NOT_CONSUMED:
            return
        same = reply["code"] == code and (reply.get("duplicate") is True or code in (100, 101, 102))
        if not same:
            raise Fault(f"sent again it is answered {reply['code']} {reply.get('duplicate')}, at first {code}", self.current,
                        json.dumps(reply, ensure_ascii=True)[:500])
        self.current = None

    # The log of a lot

    def cursor(self):
        data = self.world.must(self.client, self.world.key_of(self.lot), "sync.cursor.query", {}, self.lot)
        self.epoch, self.seq = data["up"]["epoch"], data["up"]["ackSeq"]
        self.world.records[(self.lot, "down")] = (data["down"]["epoch"], data["down"]["lastSeq"])
        if not self.epoch:
            self.epoch, self.seq = f"e{self.rng.getrandbits(24):x}", 0

    def entry(self, service, data, extra=None, changed=(), edit=None):
        """One entry; returns its reply. What is final is consumed, what is not is not."""
        if self.epoch is None:
            self.cursor()
        key = self.world.key_of(self.lot)
        message = compose(self.rng, key, service, data, self.lot, **{"epoch": self.epoch, "seq": self.seq + 1, **(extra or {})})
        self.current = {"carrier": "https", "role": key.role, "appId": key.app_id, "service": service, "park": self.lot, "changed": list(changed),
                        "data": data, "edit": edit,
                        "extra": {"epoch": self.epoch, "seq": self.seq + 1, **(extra or {})}}
        body = json.dumps(message, ensure_ascii=False).encode()
        if len(body) > BODY_MAX:
            return None
        if edit is not None:
            body = edited(body, edit)
        reply, status = self.post(service, body)
        check_reply(self.current, status, self.headers, reply, message, key, edit is None and not extra)
        self.count(f"log {key.role}")
        with self.world.lock:
            self.world.codes[reply["code"]] += 1
            if not changed and not extra and edit is None:
                self.world.valid[(service, reply["code"])] += 1
        if extra or edit is not None or reply["code"] == 101 or (reply["code"] == 102 and wide(data)):
            self.cursor()
            return reply
        if reply["code"] in NOT_CONSUMED:
            raise Fault(f"an entry that is next in its log is answered {reply['code']}", self.current, json.dumps(reply, ensure_ascii=True)[:500])
        if reply.get("ackSeq") != self.seq + 1:
            raise Fault(f"a final answer {reply['code']} did not consume the entry: ackSeq {reply.get('ackSeq')}, not {self.seq + 1}", self.current)
        self.seq += 1
        record(self.world, self.lot, service, data, reply)
        return reply

    def good_entry(self):
        """The log goes on: an ordinary entry is consumed, with code 0."""
        service = "event.report"
        reply = self.entry(service, self.makers.make(service, "lot", self.lot))
        if reply["code"] != 0:
            raise Fault(f"after a bad entry a good one is answered {reply['code']}", self.current, json.dumps(reply, ensure_ascii=True)[:500])
        self.current = None

    def log_entries(self):
        rng = self.rng
        service = rng.choices(LOG_UP, LOG_WEIGHTS)[0]
        data = self.makers.make(service, "lot", self.lot)
        if rng.random() < 0.35:
            self.entry(service, data)
            return
        data, changed = mutate(rng, service, data, self.world.banned)
        extra, edit = None, None
        if rng.random() < 0.06:
            extra = rng.choice([{"seq": MAX53 - 1}, {"seq": 0}, {"seq": -1}, {"seq": MAX53}, {"seq": (1 << 63) - 1}, {"seq": "1"}, {"seq": self.seq or 1},
                                {"epoch": "x" * 16, "seq": 2}, {"epoch": "x" * 17},
                                {"epoch": "\u0301"}, {"epoch": ""}, {"epoch": f"n{rng.getrandbits(20):x}", "seq": 1}, {"timestamp": now() - 400_000},
                                {"timestamp": MAX53 - 1}, {"sign": "0" * 64}])
        elif rng.random() < 0.03:
            edit = rng.getrandbits(40)
        self.entry(service, data, extra, changed, edit)
        self.good_entry()

    def batch(self):
        """Some entries at once, bad ones among them: all are consumed."""
        rng = self.rng
        if self.epoch is None:
            self.cursor()
        key = self.world.key_of(self.lot)
        entries, bad = [], []
        for index in range(rng.choice([1, 2, 5, 12])):
            service = rng.choices(LOG_UP, LOG_WEIGHTS)[0]
            data = self.makers.make(service, "lot", self.lot)
            if rng.random() < 0.5:
                data, changed = mutate(rng, service, data, self.world.banned)
                bad.append((index, service, changed))
            stamp = rng.choice([now(), now(), now() - 40 * DAY, 1_000_000_000_000, 9_999_999_999_999])
            entries.append({"epoch": self.epoch, "seq": self.seq + 1 + index, "requestId": uuid_of(rng), "service": service, "timestamp": stamp, "data": data})
        whole = rng.random() < 0.85
        data = {"entries": entries}
        changed = []
        if not whole:
            data, changed = mutate(rng, "sync.batch.report", data, self.world.banned)
        message = compose(rng, key, "sync.batch.report", data, self.lot)
        self.current = {"carrier": "https", "role": key.role, "appId": key.app_id, "service": "sync.batch.report", "park": self.lot, "changed": changed or bad,
                        "data": data, "extra": {}}
        body = json.dumps(message, ensure_ascii=False).encode()
        if len(body) > BODY_MAX:
            return
        reply, status = self.post("sync.batch.report", body)
        check_reply(self.current, status, self.headers, reply, message, key, True)
        self.count(f"batch {key.role}", max(1, len(entries)))
        if whole and not (reply["code"] == 101 or (reply["code"] == 102 and wide(data))):
            last = self.seq + len(entries)
            if reply["code"] not in (0, 611) or reply["data"].get("ackSeq") != last:
                raise Fault(f"a whole batch is answered {reply['code']} with ackSeq {reply['data'].get('ackSeq')}, not {last}", self.current,
                            json.dumps(reply, ensure_ascii=True)[:800])
            for row in reply["data"].get("failed", []):
                if row["code"] not in CODES or row["code"] in NOT_CONSUMED:
                    raise Fault(f"an entry of a batch failed with {row['code']}", self.current)
            self.seq = last
        else:
            self.cursor()
        self.good_entry()


def wide(value):
    """Whether a number stands in it that is none on the wire: the message is refused before anybody knows whose it is."""
    if isinstance(value, dict):
        return any(map(wide, value.values()))
    if isinstance(value, list):
        return any(map(wide, value))
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) >= MAX53


def depth(value):
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def check_reply(cause, status, headers, reply, message, key, strict):
    """What every answer is: signed, with a code of the dictionary, under the HTTP status of the contract's table, and never 500."""
    is_lie = KINDS.get(cause["service"], {}).get("kind") == "live" and message.get("parkCode") == "FM1"
    def fault(why):
        return Fault(why, cause, f"HTTP {status} {json.dumps(reply, ensure_ascii=True)[:1500]}")
    if not isinstance(reply, dict) or not isinstance(reply.get("code"), int):
        raise fault("the answer is no envelope")
    code = reply["code"]
    if code not in CODES:
        raise fault(f"{code} is not in the dictionary")
    if code in (1, 500) and not is_lie:
        raise fault("an internal error")
    if code in (501, 502, 503) and KINDS.get(cause["service"], {}).get("kind") != "live":
        raise fault(f"{code} though nothing is amiss")
    if status is not None and status not in http_status(code) | ({500} if is_lie and code in (1, 500) else set()):
        raise fault(f"HTTP {status} for code {code}")
    if code == 101 and strict and depth(message) > 32:
        return
    for name in ("version", "requestId", "appId", "service", "timestamp", "nonce", "message", "sign", "data"):
        if name not in reply:
            raise fault(f"the answer has no {name}")
    if not isinstance(reply["data"], dict):
        raise fault("the answer's data is no object")
    if reply["sign"]:
        if signature(reply, key.secret) != reply["sign"]:
            raise fault("the answer is not signed with the request's secret")
    elif strict or code not in (100, 101, 102, 103, 104, 200):
        raise fault("the answer is not signed")
    if strict and (reply["requestId"] != message["requestId"] or reply["service"] != message["service"] or reply["appId"] != message["appId"]):
        raise fault("the answer echoes something else")
    if code in (300, 301, 302) and status is not None and not headers.get("retry-after", "").isdigit():
        raise fault("429 without Retry-After")
    if code == 0 and strict and not is_lie:
        why = conforms(REPLIES[cause["service"]], reply["data"])
        if why:
            raise fault(f"the answer is not as its document says: {why}")


def harvest(world, key, service, data, answer, park):
    """What a call made, for later calls."""
    provider = next((i for i, p in enumerate(world.providers) if p is key), None)
    if service in ("order.create", "waitlist.join") and answer.get("orderNo"):
        world.orders.append({"orderNo": answer["orderNo"], "orderVer": answer.get("orderVer", 1), "plateNo": answer.get("plateNo", ""),
                             "parkCode": answer.get("parkCode", ""),
                             "bizType": data.get("bizType", 1), "userToken": data.get("userToken", ""), "provider": provider})
    bill = answer.get("payInfo") or (answer if service == "fee.query" else None)
    if isinstance(bill, dict) and bill.get("billNo"):
        amount = bill.get("amount", bill.get("payable", 0))
        world.bills.append({"billNo": bill["billNo"], "amount": amount})
    if service == "pay.create":
        world.payments.append({"payNo": data["payNo"], "amount": data["amount"]})
    if service == "share.offer.publish":
        world.offers.append({"offerId": answer["offerId"], "parkCode": data["parkCode"]})
    if service == "share.apply":
        plates = answer.get("plateNos") or [""]
        world.subscriptions.append({"authNo": answer["authNo"], "parkCode": data["parkCode"], "plateNo": plates[0]})
    if service == "biz.appointment.push" and answer.get("parkCode"):
        world.appointments.append({"extNo": data["extNo"], "appointTime": data["appointTime"], "parkCode": answer["parkCode"]})
    if service == "user.credit.query":
        world.penalties.extend(p["penaltyId"] for p in answer.get("penalties", [])[:3] if p.get("penaltyId"))
    if service == "credit.appeal":
        world.appeals.append(answer.get("appealId", ""))
    if service == "gate.case.list":
        world.cases.extend(c["caseNo"] for c in answer.get("cases", [])[:3])
    if service == "image.ticket.apply":
        world.tickets.append({"imageId": answer["imageId"], "url": answer["uploadUrl"], "size": data["size"]})
    if service == "image.upload.query" and answer.get("downloadUrl"):
        world.views.append(answer["downloadUrl"])
    if service == "url.redirect.build":
        world.addresses.append(answer["url"])


def record(world, park, service, data, reply):
    """Which cars are inside a lot, as far as valid records say."""
    inside = world.records.setdefault(park, collections.deque(maxlen=60))
    if service == "vehicle.entry.report" and reply["code"] == 0 and all(isinstance(data.get(n), t) for n,
        t in (("recordNo", str), ("plateNo", str), ("enterTime", int))):
        inside.append(data)
    if service == "vehicle.exit.report" and reply["code"] == 0:
        world.records.setdefault((park, "left"), collections.deque(maxlen=60)).append(data)
        try:
            inside.remove(next(d for d in list(inside) if d["recordNo"] == data.get("recordNo")))
        except (StopIteration, ValueError):
            pass


class Line(Worker):
    """A lot on MQTT: it calls, writes its log, consumes its down log, and answers what it is asked, now and then with a lie."""

    def __init__(self, run, name, park):
        super().__init__(run, name)
        import paho.mqtt.client as mqtt
        self.park, self.key, self.lies = park, self.world.lots[park], park == "FM1"
        self.lot = park
        self.arrived = queue.Queue()
        self.epoch = None
        self.seq = 0
        self.down_epoch, self.down_ack = None, 0
        self.made = {}
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=self.key.client_id, clean_session=True, protocol=mqtt.MQTTv311)
        self.mqtt.username_pw_set(self.key.app_id, self.key.mqtt_password)
        self.mqtt.tls_set(ca_certs=self.world.server.ca)
        self.mqtt.max_inflight_messages_set(200)
        self.up = threading.Event()
        self.mqtt.on_connect = lambda c, u, f, reason, p: None if reason.is_failure else c.subscribe(f"rsp/v1/{park}/down/#", 1)
        self.mqtt.on_subscribe = lambda *a: self.up.set()
        self.mqtt.on_message = self.message
        self.mqtt.on_socket_open = lambda client, data, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.mqtt.reconnect_delay_set(1, 2)
        self.lie = random.Random(f"{run.seed}/{name}/lies")

    def run(self):
        try:
            self.mqtt.connect("127.0.0.1", self.world.server.mqtt_port, keepalive=60)
            self.mqtt.loop_start()
            if not self.up.wait(20):
                raise Fault("the broker does not admit the lot", self.current)
            self.mqtt.publish(f"rsp/v1/{self.park}/up/status", json.dumps({"online": True, "since": now()}), 1, True)
        except Fault as fault:
            return self.run_.failed(fault)
        except OSError as error:
            return self.run_.failed(Fault(f"no broker: {error}", None))
        super().run()

    def end(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def message(self, client, userdata, message):
        try:
            body = json.loads(message.payload)
            if message.topic.endswith("/down/reply"):
                self.arrived.put(body)
            else:
                self.reply_to(body)
        except Exception as error:
            if not self.run_.ending():
                self.run_.failed(Fault(f"what came over MQTT cannot be read: {error!r}", None, message.payload[:1000].decode("utf-8", "replace")))

    def reply_to(self, body):
        """Consumes in order, answers questions; a liar changes its answers."""
        rng = self.lie
        code, data, extra = 0, {"accepted": True}, {}
        if "epoch" in body:
            if body["epoch"] != self.down_epoch and body["seq"] == 1:
                self.down_epoch, self.down_ack = body["epoch"], 0
            if body["epoch"] == self.down_epoch and body["seq"] <= self.down_ack + 1:
                self.down_ack = max(self.down_ack, body["seq"])
            else:
                code, data = 610, {"expectedSeq": self.down_ack + 1, "epoch": self.down_epoch or "", "ackSeq": self.down_ack}
            extra = {"epoch": self.down_epoch or "", "ackSeq": self.down_ack}
        elif body["service"] == "fee.query":
            data = {"recordNo": body["data"].get("recordNo", "r1"), "billNo": "b" + uuid_of(rng)[:12], "enterTime": now() - HOUR, "parkSeconds": 3600,
                    "total": 1000, "free": 0, "paid": 0,
                    "payable": 1000, "bufferSec": 900, "billingParty": 1}
        elif body["service"] in REPLIES:
            data = minimal(REPLIES[body["service"]], {"plateNo": plate_of(rng), "parkCode": self.park})
        changed = []
        if self.lies and rng.random() < 0.5:
            for _ in range(rng.choice([1, 2])):
                if data and rng.random() < 0.6:
                    name = rng.choice(list(data))
                    data[name] = rng.choice((INTS if rng.random() < 0.1 else NARROW) + [text_of(rng, 32)[:200], None, [], {}, True, nested(20, rng)])
                    changed.append(name)
                elif extra:
                    name = rng.choice(list(extra))
                    extra[name] = rng.choice(NARROW + ["", "x" * 16, "\u0301", None])
                    changed.append(name)
                else:
                    code = rng.choice([0, 1, 500, 501, 1101, 7777, -1, MAX53 - 1, 603, 610, 1234])
                    changed.append("code")
        message = {"version": "1.0", "requestId": body["requestId"], "appId": self.key.app_id, "service": body["service"], "parkCode": self.park,
                   "timestamp": now(),
                   "nonce": f"{rng.getrandbits(96):024x}", "code": code, "message": "", "data": data, **extra}
        message["sign"] = signature(message, self.key.secret)
        self.told = {"carrier": "mqtt reply", "role": "lot", "service": body["service"], "park": self.park, "changed": changed, "code": code, "data": data,
                     "extra": extra}
        self.count("mqtt replies")
        self.mqtt.publish(f"rsp/v1/{self.park}/up/reply", json.dumps(message, ensure_ascii=False), 1)

    def exchange(self, service, message, payload):
        """Publishes and returns the answer; a message that cannot be read has one that names no request."""
        started = time.perf_counter()
        self.mqtt.publish(f"rsp/v1/{self.park}/up/{service}", payload, 1)
        while True:
            try:
                body = self.arrived.get(timeout=0.5)
            except queue.Empty:
                if self.run_.ending():
                    raise Gone("the run ends") from None
                if time.perf_counter() - started > 10 + self.run_.slack:
                    raise Fault("no answer over MQTT within 10 s", self.current) from None
                continue
            if body.get("requestId") == message["requestId"] or (body.get("requestId") == "" and body.get("code") == 101):
                self.took(time.perf_counter() - started, "mqtt " + service, 10)
                return body

    def tell(self, service, payload):
        """Publishes what may be answered under any name, or not at all; whatever comes is the answer, since nothing else is under way."""
        self.mqtt.publish(f"rsp/v1/{self.park}/up/{service}", payload, 1)
        self.count("mqtt lot")
        try:
            self.arrived.get(timeout=0.2 if service == "sys.heartbeat" else 2)
        except queue.Empty:
            pass
        self.current = None

    def cursor(self):
        message = compose(self.rng, self.key, "sync.cursor.query", {}, self.park)
        data = self.exchange("sync.cursor.query", message, json.dumps(message))["data"]
        self.epoch, self.seq = data["up"]["epoch"], data["up"]["ackSeq"]
        if not self.epoch:
            self.epoch, self.seq = f"m{self.rng.getrandbits(24):x}", 0

    def step(self):
        rng = self.rng
        if self.epoch is None:
            self.cursor()
        is_entry = rng.random() < 0.45
        extra, changed = {}, []
        if is_entry:
            service = rng.choices(LOG_UP, LOG_WEIGHTS)[0]
        else:
            service = rng.choices(CALLS["lot"], CALL_WEIGHTS["lot"])[0]
        data = self.makers.make(service, "lot", self.park)
        if rng.random() < 0.7 and service != "lot.info.report":
            data, changed = mutate(rng, service, data, self.world.banned)
        if isinstance(data.get("waitMs"), int) and 100 < data["waitMs"] <= 30_000:
            data["waitMs"] = 20
        if is_entry:
            extra = {"epoch": self.epoch, "seq": self.seq + 1}
        elif rng.random() < 0.05:
            extra = envelope_changes(rng)
        message = compose(rng, self.key, service, data, self.park, **extra)
        payload = json.dumps(message, ensure_ascii=False).encode()
        self.current = {"carrier": "mqtt", "role": "lot", "appId": self.key.app_id, "service": service, "park": self.park, "changed": changed, "data": data,
                        "extra": extra}
        if len(payload) > 250_000:
            return
        if rng.random() < 0.03:
            # What cannot be read is not waited for; what follows shows that the line is still there.
            self.tell(service, edited(payload, rng.getrandbits(40)))
            self.cursor()
            return
        if service == "sys.heartbeat" or (not is_entry and extra):
            self.tell(service, payload)
            if "epoch" in extra:
                self.epoch = None
            return
        reply = self.exchange(service, message, payload)
        check_reply(self.current, None, {}, reply, message, self.key, True)
        self.count("mqtt lot")
        with self.world.lock:
            self.world.codes[reply["code"]] += 1
        if is_entry and (reply["code"] == 101 or (reply["code"] == 102 and wide(data))):
            self.cursor()
        elif is_entry:
            if reply["code"] in NOT_CONSUMED or reply.get("ackSeq") != self.seq + 1:
                raise Fault(f"an entry that is next in its log is answered {reply['code']} with ackSeq {reply.get('ackSeq')}, not {self.seq + 1}", self.current,
                            json.dumps(reply, ensure_ascii=True)[:500])
            self.seq += 1
            record(self.world, self.park, service, data, reply)
        elif reply["code"] == 0:
            harvest(self.world, self.key, service, data, reply["data"], self.park)
        self.current = None


class Asker(Caller):
    """An operator who asks the lot that lies. It may wait 10 s for an answer that is none, and nobody waits for it."""

    LIVE = [n for n in CALLS["operator"] if KINDS[n]["kind"] == "live"]

    def step(self):
        service = self.rng.choice(self.LIVE)
        data, changed = self.makers.make(service, "operator", "FM1"), []
        if self.rng.random() < 0.3:
            data, changed = mutate(self.rng, service, data, self.world.banned)
        self.send(self.world.operators[0], "operator", service, data, "FM1", changed, {})

    def took(self, seconds, what, allowed=SLOWEST):
        super().took(0 if seconds < 11 else seconds, what)


class Visitor(Worker):
    """Whoever has a browser: redirects signed by their own party, picture addresses, pages, a broker's questions."""

    share = 0.12
    TIMES = [-(1 << 63), -(1 << 63) + 1, -(1 << 63) - 1, (1 << 63) - 1, 1 << 63, (1 << 64), 0, -1, 1, MAX53, -MAX53, 1_000_000_000_000, 9_999_999_999_999,
             -9_999_999_999_999, 1 << 62, -(1 << 62)]

    def __init__(self, run, name):
        super().__init__(run, name)
        self.client = Client(self.world.server.https_port, self.world.server.context)

    def step(self):
        what = self.rng.choices([self.redirect, self.picture, self.page, self.broker, self.odd_call], [5, 4, 1, 2, 1])[0]
        if what == self.broker and ("web", "mqtt") in self.world.banned:
            return
        what()
        self.count("web")

    def ask(self, method, target, body=b"", headers=(), allowed=()):
        self.current = {"carrier": "web", "method": method, "target": target, "body": body.decode("latin-1"), "headers": list(headers)}
        started = time.perf_counter()
        try:
            status, headers, raw = self.client.ask(method, target, body, headers)
        except Gone:
            if self.world.ended():
                raise
            status, headers, raw = self.client.ask(method, target, body, headers)
        self.took(time.perf_counter() - started, target[:60])
        if method == "HEAD":
            # Whether something follows a head is the affair of test_exhaustion.
            self.client.close()
        if status not in allowed:
            raise Fault(f"HTTP {status}, not one of {sorted(allowed)}", self.current, raw[:400].decode("latin-1"))
        self.current = None
        return status, headers, raw

    def redirect(self):
        rng, world = self.rng, self.world
        party = rng.choice(world.providers + world.operators[:1])
        scene = rng.choice(["RESERVE", "ORDER", "PAY", "ENTRY_QR", "EXIT_QR", "SHARE", "PUBLIC_BIZ", "NAVI", "INVOICE", "CREDIT"])
        members = {"appId": party.app_id, "scene": scene, "timestamp": str(now()), "nonce": uuid_of(rng).replace("-", "")}
        if rng.random() < 0.6:
            order = self.makers.order()
            members |= {"orderNo": order["orderNo"] if order else "YY1", "parkCode": "FZ0", "plateNo": plate_of(rng), "userToken": "t"}
        if ("redirect", "timestamp") not in world.banned and rng.random() < 0.6:
            time_ = rng.choice(self.TIMES)
            members["timestamp"] = rng.choice([str(time_), str(time_), str(now() + time_ % 400_000), "+" + str(now()), " " + str(now()), "1e12", "0x1", "",
                                               "NaN", str(now()) + "\u0000"])
        for _ in range(rng.choice([0, 1, 1, 2])):
            name = rng.choice(["nonce", "orderNo", "parkCode", "plateNo", "userToken", "returnUrl", "cancelUrl", "scene", "x", "e\u0301"])
            members[name] = {"nonce": lambda: rng.choice(["x" * 7, "x" * 8, "x" * 33, "n" * 50_000, "\u0301" * 16, "n" * 24 + uuid_of(rng)[:8], "\u0000" * 10]),
                             "returnUrl": lambda: rng.choice(["https://app.example/" + "a" * 5000, "https://app.example:99999999999/",
                                                              "https://app.example:-1/", "https://[::1]/", "https://app.example", "//app.example",
                                                              "https://app.example/?" + "%" * 100, "https://app.example/\u0000", "https://用户@app.example/",
                                                              "https://app.example#" + "\u0301" * 100]),
                             }.get(name, lambda: text_of(rng, 32)[:30_000])()
        members["cancelUrl"] = members.get("cancelUrl", "")
        members["sign"] = sign_pairs(members, party.secret) if rng.random() < 0.95 else "0" * rng.choice([0, 64, 5000])
        if rng.random() < 0.1:
            members["extra"] = "1"
        query = urllib.parse.urlencode({k: v for k, v in members.items() if v}, quote_via=urllib.parse.quote)
        if rng.random() < 0.06:
            query += rng.choice(["&scene=PAY", "&", "&&", "&=", "&a", "&%", "&%zz=%", "&%ff=%fe", "#x", "?", "&" * 1000])
        self.current = {"carrier": "redirect", "members": {k: v[:200] for k, v in members.items()}}
        status, headers, raw = self.ask("GET",
                                        f"/r/{scene if rng.random() < 0.95 else text_of(rng, 8).encode('ascii', 'ignore').decode().replace(' ', '') or 'X'}?{query}", b"",
                                        [("accept", "application/json" if rng.random() < 0.8 else "text/html")], {200, 303, 400, 401, 404, 414, 422, 429, 431})
        if "application/json" in headers.get("content-type", "") and status != 404:
            code = json.loads(raw)["code"]
            if code not in CODES or status not in http_status(code):
                raise Fault(f"a redirect is answered HTTP {status} with code {code}", self.current)

    def picture(self):
        rng = self.rng
        view = self.makers.some(self.world.views) if rng.random() < 0.2 else None
        ticket = self.makers.some(self.world.tickets)
        if view:
            target, size = "/" + view.split("/", 3)[3], 0
        elif ticket:
            target, size = "/" + ticket["url"].split("/", 3)[3], ticket["size"]
        else:
            target, size = "/upload/x?e=1&s=2", 3
        kind = rng.random()
        if kind < 0.45:
            until = rng.choice([str(t) for t in self.TIMES] + ["", "x", "+1", "1e3", "9" * 400])
            target = rng.choice([re.sub(r"e=\d+", "e=" + until, target), re.sub(r"s=\w+", "s=" + rng.choice(["", "0" * 64, "x" * 5000, "%00", "%ff"]), target),
                                 target.split("?")[0] + "?" + "e=1&" * 500,
                                 target.split("?")[0], target.replace("/upload/", "/picture/"), target.replace("/upload/", "/upload/../"), target + "&e=1",
                                 "/picture/" + "a" * 8000])
        method = rng.choice(["HEAD", "PATCH", "PUT", "POST", "OPTIONS", "GET", "PATCH", "DELETE"])
        headers = [("tus-resumable", rng.choice(["1.0.0", "1.0.0", "1.0.0", "0.2.2", ""]))]
        body = b""
        number = lambda: rng.choice([str(t) for t in self.TIMES] + ["0", "0", "0", str(size), "", "x", "1e3"])
        if method == "PATCH":
            headers += [("content-type", rng.choice(["application/offset+octet-stream"] * 4 + ["text/plain"])), ("upload-offset", number())]
            body = picture_bytes(rng.choice([0, 1, size, size, size + 1, 70_000]))
            if rng.random() < 0.3:
                headers.append(("upload-checksum", rng.choice(["sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode(), "sha1 AAAA", "md5 x",
                                                               "sha256", "sha256 ====", "sha256 " + "A" * 5000])))
        elif method == "PUT":
            body = picture_bytes(rng.choice([size, size, 0, size + 1, 70_000]))
        elif method == "POST":
            headers.append(("upload-length", number()))
        self.ask(method, target, body, headers, {200, 201, 204, 400, 403, 404, 405, 409, 410, 412, 413, 414, 415, 423, 431, 460})

    def page(self):
        rng = self.rng
        path = rng.choice(["/", "/docs", "/docs/en", "/live/city", "/openapi.json", "/healthz", "/city.css", "/lib/leaflet/leaflet.css",
                           "/lib/leaflet/../../../etc/passwd", "/lib/leaflet/%2e%2e/x", "/scenes/x",
                           "/scenes/" + "a" * 5000, "/metrics", "/" + "a" * 7000, "/%00", "/%ff", "/?" + "a=b&" * 1000, "//", "/..", "/upload/", "/picture/",
                           "/api/v1/", "/api/v1", "/r/", "/mqtt/acl"])
        self.ask(rng.choice(["GET", "HEAD", "OPTIONS", "DELETE", "PUT"]), path, b"", [("range",
            rng.choice(["bytes=0-1", "bytes=99999999999999999999-"]))] if rng.random() < 0.2 else [],
                 {200, 204, 206, 400, 403, 404, 405, 412, 413, 414, 416, 422, 429, 431})

    def broker(self):
        rng, key = self.rng, self.rng.choice(list(self.world.lots.values()))
        fields_ = {"username": key.app_id, "password": key.mqtt_password, "clientid": key.client_id, "topic": f"rsp/v1/{key.park}/up/x", "action": "publish"}
        for _ in range(rng.choice([1, 2])):
            name = rng.choice(["username", "password", "clientid", "topic", "action", "routing_key", "resource", "permission", "name", "vhost", "e\u0301"])
            fields_[name] = rng.choice([text_of(rng, 64)[:3000], "x" * 3000, "", key.client_id + "_" + rng.choice(["2023030100", "9999999999", "-999999999",
                "0000000000", "99999999999999999999"]), "rsp.v1." + key.park + ".up.x",
                                        "$SYS/#", "+/+/+", f"rsp/v1/{key.park}/up/" + "/" * 500])
        path = rng.choice(["/mqtt/auth", "/mqtt/acl"])
        allowed = {200, 400, 403, 413, 415, 429}
        if rng.random() < 0.5:
            self.ask("POST", path, json.dumps(fields_).encode() if rng.random() < 0.9 else json.dumps(junk(rng)).encode(),
                     [("content-type", "application/json")], allowed)
        elif rng.random() < 0.5:
            self.ask("POST", path, urllib.parse.urlencode(fields_).encode() + rng.choice([b"", b"", b"&%", b"&a&b", b"%zz=%ff", b"\xff\xfe"]),
                     [("content-type", "application/x-www-form-urlencoded")], allowed)
        else:
            self.ask("GET", path + "?" + urllib.parse.urlencode(fields_), b"", [], allowed | {414, 431})

    def odd_call(self):
        """A service called otherwise than by a JSON POST."""
        rng = self.rng
        method = rng.choice(["GET", "PUT", "POST", "HEAD", "POST", "OPTIONS"])
        kind = rng.choice(["text/plain", "application/json; charset=gbk", "application/json", "application/json;charset=UTF-8", "",
                           "application/x-www-form-urlencoded", "application/json" + ";" * 500])
        self.ask(method, rng.choice(["/api/v1/order/create", "/api/v1/order.create", "/api/v1/", "/api/v1//", "/api/v1/" + "a/" * 500, "/api/v1/%ff",
                                     "/api/v1/sys/time/get"]),
                 rng.choice([b"", b"{}", b"[]", b"null", b"{" * 1000, b"[" * 30_000, b"0" * 1000, b'"' + b"\\u0301" * 5000 + b'"']) if method in ("POST",
                     "PUT") else b"",
                 [("content-type", kind)] if kind else [], {400, 401, 404, 405, 413, 414, 415, 431} | ({200} if method in ("HEAD", "OPTIONS") else set()))


class Operator(Worker):
    """Whoever may open the admin socket: imports and settings with extreme numbers."""

    share = 0.06

    def __init__(self, run, name):
        super().__init__(run, name)
        self.socket = Socket(self.world.server.data)
        self.client = Client(self.world.server.https_port, self.world.server.context)

    def end(self):
        super().end()
        self.socket.end()

    def number(self):
        return self.rng.choice(INTS + [0, 1, 100, 20_000, 20_500, 1_000_000] + INT_TEXTS[:6] + [None, [], {}])

    def command(self):
        rng = self.rng
        kind = rng.choices(["occupancy.import", "lots.set", "keys.set", "audit.list", "keys.list", "lots.onboarding", "lots.attest", "tidings.list",
                            "tidings.retry", "status", "junk", "keys.issue", "lots.suspend",
                            "audit.verify"], [10, 8, 8, 3, 1, 1, 2, 1, 1, 1, 3, 0.4, 1, 0.3])[0]
        if kind == "occupancy.import":
            rows = []
            for _ in range(rng.choice([0, 1, 1, 3])):
                counts = [rng.choice([0, 1, 50, 1_000_000, -1]) for _ in range(48)]
                if rng.random() < 0.6:
                    counts[rng.randrange(48)] = self.number()
                if rng.random() < 0.1:
                    counts = counts[:rng.choice([0, 47])] * rng.choice([1, 2])
                day = rng.choice([20_600, 20_700, 20_780]) if rng.random() < 0.5 else self.number()
                rows.append({"park": rng.choice(["FZ3", "FZ0", "NOWHERE", "", "x" * 33]), "day": day, "counts": counts})
            return {"command": kind, "rows": rows, "make": rng.random() < 0.6}
        if kind == "lots.set":
            return {"command": kind, "park": "FZ3", "policy": policy_of(rng) if rng.random() < 0.5 else {rng.choice(POLICIES): self.number()}}
        if kind == "keys.set":
            return {"command": kind, "appId": self.world.scrap.app_id, rng.choice(["rate", "burst"]): self.number(),
                    **({"rate": rng.choice([1, 1000, 10_000_000]), "burst": self.number()} if rng.random() < 0.6 else {}),
                    **({"callback": text_of(rng, 64)} if rng.random() < 0.1 else {}), **({"returnHosts": junk(rng, 2)} if rng.random() < 0.1 else {})}
        if kind == "keys.issue":
            return {"command": kind, "keys": [{"role": rng.choice(["provider", "operator", "x"]), "rate": self.number(), "burst": self.number(),
                                               "name": text_of(rng, 64), "parks": junk(rng, 1)}]}
        if kind == "audit.list":
            return {"command": kind, "after": rng.choice([MAX53 - 1, (1 << 63) - 1, -1, -(1 << 63), self.number()])}
        if kind == "lots.attest":
            return {"command": kind, "park": "FZ3", "item": rng.choice(["backupPower", text_of(rng, 16)]), "by": text_of(rng, 64),
                    "withdraw": rng.random() < 0.5}
        if kind == "lots.suspend":
            return {"command": rng.choice(["lots.suspend", "lots.resume", "lots.approve"]), "park": rng.choice(["FC1", "NOWHERE"])}
        if kind == "tidings.retry":
            return {"command": kind, "appId": rng.choice([self.world.scrap.app_id, text_of(rng, 32), 5])}
        if kind == "junk":
            return junk(rng)
        return {"command": kind, "park": "FZ3"}

    def step(self):
        command = self.command()
        if isinstance(command, dict) and ("admin", command.get("command")) in self.world.banned:
            return
        self.current = {"carrier": "admin", "command": command}
        started = time.perf_counter()
        try:
            self.socket.request("POST", "/", json.dumps(command, ensure_ascii=False).encode())
            answer = self.socket.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.socket.close()
            raise Gone(f"the admin socket: {error!r}")
        self.took(time.perf_counter() - started, f"admin {json.dumps(command)[:60]}", 20)
        self.count("admin")
        if answer.status not in (200, 400):
            raise Fault(f"HTTP {answer.status} on the admin socket", self.current, raw[:400].decode("utf-8", "replace"))
        json.loads(raw)
        if isinstance(command, dict) and command.get("command") == "keys.set":
            # What was set is used at once.
            message = compose(self.rng, self.world.scrap, "lot.detail", {"parkCode": "FZ0"})
            status, headers, raw = self.client.ask("POST", "/api/v1/lot/detail", json.dumps(message).encode(), [("content-type", "application/json")])
            reply = json.loads(raw)
            if reply["code"] not in (0, 301):
                raise Fault(f"a credential with a strange rate is answered {reply['code']}", self.current, raw[:400].decode())
        self.current = None


class Box(Worker):
    """A parking management system at the local API of a gateway."""

    share = 0.08

    def __init__(self, run, name, gateway):
        super().__init__(run, name)
        self.gateway = gateway
        self.client = Client(gateway.port, None)
        self.cars = collections.deque(maxlen=40)

    def step(self):
        rng = self.rng
        what = rng.choice(["decide", "decide", "entry", "entry", "exit", "exit", "occupied", "event", "answer", "inbox", "commands", "list", "dead", "status"])
        plate = rng.choice([plate_of(rng), self.makers.some(self.cars) or plate_of(rng)])
        data = {"decide": {"plateNo": plate, "plateColor": 9, "gateCode": "G1", "confidence": 90},
                "entry": {"plateNo": plate, "plateColor": 9, "gateCode": "G1"},
                "exit": {"plateNo": plate, "gateCode": "G2", "totalFee": 500}, "occupied": {"occupied": 5}, "event": {"eventType": 1001, "detail": {"a": 1}},
                "answer": {"id": "x", "code": 0, "data": {}}, "inbox": {"through": 1}}.get(what)
        if data is None:
            path = {"commands": "/pms/FG0/commands?waitMs=" + rng.choice(["0", "-1", "-9223372036854775808", "-9223372036854775809", "x", "", "1e3", "+0"]),
                    "list": "/pms/FG0/list", "status": "/status",
                    "dead": "/pms/FG0/dead?limit=" + rng.choice(["1", "0", "-1", "9223372036854775808", "x", ""])}[what]
            return self.ask("GET", path, b"")
        if rng.random() < 0.75:
            for _ in range(rng.choice([1, 1, 2])):
                name = rng.choice(list(data) + ["enterTime", "leaveTime", "recordNo", "orderNo", "enterMode", "plateless", "totalFee", "confidence",
                                                "plateColor", "through", "eventType", "detail", "code", "x"])
                data[name] = self.extreme(name)
        body = json.dumps(data, ensure_ascii=False).encode()
        if rng.random() < 0.05:
            body = rng.choice([b"", b"[]", b"null", b"{" * 100, b"[" * 60_000, b'{"a":1,"a":2}', b"\xff", body[:-1], b'{"plateNo":1e400}', b"x" * 70_000])
        park = "FG0" if rng.random() < 0.97 else rng.choice(["NOWHERE", "%00", "..", "x" * 500])
        status, raw = self.ask("POST", f"/pms/{park}/{what}", body)
        if status == 200 and what == "entry":
            self.cars.append(data["plateNo"])

    def extreme(self, name):
        rng = self.rng
        if name in ("enterTime", "leaveTime"):
            return rng.choice([1_000_000_000_000, 9_999_999_999_999, now() + DAY, now() - 400 * DAY, now() + 400_000] + INTS)
        if name in ("totalFee", "occupied", "through", "code", "confidence", "plateColor", "enterMode", "eventType"):
            return rng.choice(INTS + INT_TEXTS)
        if name == "plateNo":
            return rng.choice(PLATES)
        if name in ("detail", "data"):
            return rng.choice([junk(rng), nested(rng.choice([20, 25, 26, 27, 28, 29, 30]), rng), {}, None, "x" * 50_000])
        return rng.choice([text_of(rng, rng.choice([32, 48, 64])), junk(rng, 2)])

    def ask(self, method, path, body):
        rng = self.rng
        headers = [("content-type", "application/json")] + self.gateway.headers
        odd = rng.random() < 0.05
        if odd:
            headers.append(rng.choice([("host", "evil.example"), ("host", ""), ("host", "127.0.0.1:99999999999999999999"), ("host", "[" + ":" * 200),
                                       ("origin", "https://evil.example"), ("origin", "http://" + "a" * 400),
                                       ("x-pms-session", "x" * 5000), ("x-pms-session", "\u00ff"), ("authorization", "Bearer " + "x" * 5000),
                                       ("content-type", "text/plain")]))
        self.current = {"carrier": "gateway", "method": method, "path": path, "body": body.decode("utf-8", "replace")[:3000],
                        "headers": headers[-1:] if odd else []}
        started = time.perf_counter()
        try:
            status, _, raw = self.client.ask(method, path, body, headers)
        except Gone:
            if ended(self.gateway.process):
                raise Fault("the gateway ended", self.current) from None
            if len(body) > 65_536 or odd:
                # It need not be read to its end.
                self.count("gateway")
                return 413, b""
            status, _, raw = self.client.ask(method, path, body, headers)
        self.took(time.perf_counter() - started, "gateway " + path)
        self.count("gateway")
        if status not in {200, 400, 403, 404, 405, 409, 413, 414, 415, 422, 429} | ({401, 421, 431} if odd else set()):
            raise Fault(f"HTTP {status} at the gateway", self.current, raw[:400].decode("utf-8", "replace"))
        if status != 431:
            json.loads(raw)
        self.current = None
        return status, raw


class GatewayProcess:
    """The real gateway of one lot. Its local API asks for a token if the release has one: `has_token` says so."""

    def __init__(self, server, folder):
        self.server, self.folder = server, pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = server.issue("lot", "FG0", rate=1_000_000)
        self.port = free_port()
        self.config = self.folder / "gateway.json"
        self.config.write_text(json.dumps({
            "server": server.ready["https"], "mqtt": f"127.0.0.1:{server.mqtt_port}", "ca": server.ca, "spool": str(self.folder / "spool.sqlite"),
            "listen": f"127.0.0.1:{self.port}", "heartbeatSeconds": 1,
            "lots": [{"parkCode": "FG0", "appId": self.key.app_id, "appSecret": self.key.secret, "info": lot_info("FG0", 100, 20_000),
                      "gates": [{"gateCode": "G1", "gateName": "入口", "direction": 1}, {"gateCode": "G2", "gateName": "出口", "direction": 2}]}]}))
        self.headers = []

    def start(self):
        self.process = Process([BIN / "berth-gateway", "run", "--config", self.config], self.folder / "gateway.log")
        ready = self.process.ready()
        known = json.loads(self.config.read_text())
        token = next((v for k, v in {**known, **ready}.items() if "token" in k.lower() and isinstance(v, str)), None)
        self.has_token = token is not None
        self.headers = [("authorization", f"Bearer {token}")] if token else []
        return self

    def status(self):
        client = Client(self.port, None, 10)
        try:
            return json.loads(client.ask("GET", "/status", b"", self.headers)[2])[0]
        finally:
            client.close()


class LyingServer:
    """What a gateway would meet if its server lied: each answer is signed with the lot's secret, and mostly true but for one to three members."""

    DOWN = [s["name"] for s in SERVICES if s["direction"] == "down" and s["kind"] == "log"]

    def __init__(self, folder, seed, lots=12):
        import http.server
        from callback import certificate
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.pem, key_file = certificate(folder)
        self.seed, self.lots = seed, {f"FL{n}": (f"ltLiar{n:04}", f"secret-of-the-lot-{n:04}-" + "k" * 20) for n in range(lots)}
        self.count, self.last, self.lock, self.honest = 0, collections.deque(maxlen=40), threading.Lock(), False
        self.seqs = collections.Counter()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                status, text = outer.reply(body)
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def setup(self):
                super().setup()
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def log_message(self, *args):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass
        self.http = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, key_file)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, body):
        with self.lock:
            self.count += 1
            rng = random.Random(f"{self.seed}/{self.count}")
        park = body.get("parkCode", "FL0")
        service = body["service"]
        data, extra, code = self.truth(rng, park, service, body), {}, 0
        if "epoch" in body:
            extra = {"epoch": body["epoch"], "ackSeq": body["seq"]}
        changed = []
        if not self.honest and rng.random() < 0.7:
            shape = REPLIES.get(service, [])
            for _ in range(rng.choice([1, 1, 2, 3])):
                found = places(shape, data)
                kind = rng.random()
                if kind < 0.75 and found:
                    path, field = rng.choice(found)
                    put(data, path, value_of(field, rng, 0.5))
                    changed.append(trail(path))
                elif kind < 0.85:
                    code = rng.choice([0, 1, 100, 202, 203, 300, 301, 404, 500, 501, 610, 611, 612, 613, 7777, -1, MAX53 - 1, 1101])
                    if code in (610, 613):
                        data = {"expectedSeq": rng.choice(NARROW), "epoch": rng.choice(["", "x", "e" * 16, body.get("epoch", "")]),
                                "ackSeq": rng.choice(NARROW), "snapshot": rng.random() < 0.5}
                    if code == 301:
                        data = {"retryAfterMs": rng.choice(NARROW)}
                    changed.append("code")
                else:
                    extra[rng.choice(["epoch", "ackSeq", "duplicate", "timestamp", "x"])] = rng.choice(NARROW + ["", "x" * 16, True, None])
                    changed.append("envelope")
        message = {"version": "1.0", "requestId": body["requestId"], "appId": body["appId"], "service": service, "timestamp": now(),
                   "nonce": f"{rng.getrandbits(96):024x}", "code": code, "message": "", "data": data}
        if "parkCode" in body:
            message["parkCode"] = park
        message.update(extra)
        message["sign"] = signature(message, self.lots.get(park, self.lots["FL0"])[1])
        with self.lock:
            self.last.append({"service": service, "park": park, "changed": changed, "code": code, "extra": extra, "data": data})
        text = json.dumps(message, ensure_ascii=False).encode()
        if not self.honest and rng.random() < 0.02:
            return rng.choice([(200, edited(text, rng.getrandbits(30))), (500, b"{}"), (404, b""), (302, b""), (200, b"[" * 50_000), (200, b"x" * 2_000_000),
                               (503, text)])
        return 200, text

    def truth(self, rng, park, service, body):
        context = {"plateNo": plate_of(rng), "parkCode": park}
        data = minimal(REPLIES.get(service, []), context, rng.random() < 0.5)
        sent = body.get("data", {})
        if service == "sys.time.get":
            data |= {"serverRecvTime": now(), "serverSendTime": now(), "ntpServers": []}
        if service == "sync.cursor.query":
            data = {"up": {"epoch": sent.get("epoch", ""), "ackSeq": 0}, "down": {"epoch": "dtrue", "lastSeq": 0, "ackSeq": 0}}
        if service == "sync.batch.report":
            entries = sent.get("entries", [])
            data = {"epoch": entries[0]["epoch"] if entries else "", "ackSeq": entries[-1]["seq"] if entries else 0, "failed": []}
        if service == "sync.snapshot.query":
            data = {"downEpoch": "dtrue", "downSeq": 0, "orders": [self.message(rng, "order.reserve.push") for _ in range(2)],
                    "shareAuths": [self.message(rng, "share.auth.push")],
                    "blackList": [self.message(rng, "list.black.push")], "whiteList": [], "flowPolicies": [self.message(rng, "flow.policy.push")],
                    "config": [self.message(rng, "config.push")], "vehicleLocks": []}
        if service == "sync.down.pull":
            after = sent.get("afterSeq", 0)
            names = [rng.choice(self.DOWN) for _ in range(rng.choice([0, 1, 1, 4]))]
            data = {"epoch": sent.get("epoch") or "dtrue", "hasMore": rng.random() < 0.5,
                    "entries": [{"epoch": sent.get("epoch") or "dtrue", "seq": after + 1 + i, "requestId": uuid_of(rng), "service": name, "timestamp": now(),
                                 "data": self.message(rng, name)} for i, name in enumerate(names)]}
        if service == "vehicle.preentry.check":
            data |= {"decision": rng.choice([1, 0, -1]), "reasonCode": 1101, "displayText": "欢迎"}
        return data

    def message(self, rng, name):
        data = minimal(SHAPES[name], {"plateNo": plate_of(rng), "parkCode": "FL0", "repeatType": "daily", "enterStart": now() - HOUR, "enterEnd": now() + HOUR,
                                      "planTime": now(), "validTo": now() + HOUR}, rng.random() < 0.5)
        return data if self.honest or rng.random() < 0.4 else mutate(rng, name, data)[0]

    def gateway(self, folder):
        """The configuration of a gateway that believes this server."""
        port = free_port()
        config = pathlib.Path(folder) / "believer.json"
        config.write_text(json.dumps({
            "server": self.url, "mqtt": f"127.0.0.1:{free_port()}", "ca": str(self.pem), "spool": str(pathlib.Path(folder) / "believer.sqlite"),
            "listen": f"127.0.0.1:{port}", "heartbeatSeconds": 1, "carrier": "https",
            "lots": [{"parkCode": park, "appId": app, "appSecret": secret, "info": lot_info(park, 100, 20_000),
                      "gates": [{"gateCode": "G1", "gateName": "入口", "direction": 3}]} for park, (app, secret) in self.lots.items()]}))
        return config, port

    def close(self):
        self.http.shutdown()
        self.http.server_close()


class Run:
    """A bounded run against one server: starts the workers, watches the process, collects what failed."""

    def __init__(self, server, seed, count, seconds=None, gateway=None, banned=None, callers=6, only=None, known=()):
        self.server, self.seed, self.count, self.gateway = server, seed, count, gateway
        self.deadline = time.monotonic() + seconds if seconds else None
        self.faults, self.is_ending, self.slack = [], threading.Event(), 0
        self.known, self.seen, self.samples = list(known), collections.Counter(), {}
        self.world = World(server, seed, banned).set_up()
        lots = LOTS + CLOUD_LOTS
        self.workers = [Caller(self, f"caller{i}", lots[i % len(lots)]) for i in range(min(callers, len(lots)))]
        self.workers += [Line(self, f"line {park}", park) for park in MQTT_LOTS] + [Visitor(self, "visitor"), Operator(self, "operator"),
            Asker(self, "asker", None)]
        if gateway:
            self.workers.append(Box(self, "box", gateway))
        if only:
            self.workers = [w for w in self.workers if w.name.startswith(only)]
            for worker in self.workers:
                worker.share = 1.0

    def over(self):
        return self.is_ending.is_set() or self.world.done >= self.count or (self.deadline is not None and time.monotonic() > self.deadline)

    def ending(self):
        return self.is_ending.is_set()

    def tolerates(self, fault):
        """Whether it is known already, and only counted."""
        text = str(fault)
        known = next((k for k in self.known if re.search(k, text)), None)
        if known is None or not self.world.pid_lives():
            return False
        with self.world.lock:
            self.seen[known] += 1
            self.samples.setdefault(known, text)
        return True

    def failed(self, fault):
        with self.world.lock:
            # While the run ends, answers fail to come for that reason alone.
            if not self.faults or not self.world.pid_lives():
                self.faults.append(fault)
        self.is_ending.set()

    def go(self):
        started = time.monotonic()
        for worker in self.workers:
            worker.start()
        asked = 0
        awaited = [w for w in self.workers if not isinstance(w, Asker)]
        while any(w.is_alive() for w in awaited):
            if self.is_ending.wait(0.05):
                break
            if not self.world.pid_lives():
                self.failed(Fault("the server ended", None))
                break
            if self.world.done - asked >= 500:
                asked = self.world.done
                if not self.world.healthy() and not self.is_ending.is_set():
                    self.failed(Fault("the server ended" if self.world.ended() else "/healthz does not answer", None))
        if not self.is_ending.is_set():
            for worker in awaited:
                worker.join(40)
                if worker.is_alive():
                    self.failed(Fault("a worker waits for an answer that does not come", worker.current))
        self.is_ending.set()
        for worker in awaited:
            worker.join(15)
        self.seconds = time.monotonic() - started
        if self.faults and self.gateway and self.gateway.process.process.poll() is not None:
            self.faults.insert(0, Fault("the gateway ended", next((w.current for w in self.workers if isinstance(w, Box)), None)))
        return self

    @property
    def died(self):
        return not self.world.pid_lives()

    def suspects(self):
        """What was under way when the process ended."""
        causes = [f.cause for f in self.faults if f.cause] + [w.current for w in self.workers if w.current] + [w.told for w in self.workers if getattr(w,
            "told", None)]
        return list({json.dumps(c, sort_keys=True, ensure_ascii=True): c for c in causes}.values())

    def report(self):
        lines = [f"fuzz: seed {self.seed}: {self.world.done} inputs in {self.seconds:.1f} s ({self.world.done / max(self.seconds, 0.1):.0f}/s); "
                 + ", ".join(f"{k} {v}" for k, v in sorted(self.world.counts.items())),
                 f"fuzz: slowest answer {self.world.slowest[0] * 1000:.0f} ms ({self.world.slowest[1]}); codes "
                 + " ".join(f"{c}×{n}" for c, n in self.world.codes.most_common(60))]
        lines += [f"fuzz: known: {number} × {known}" for known, number in self.seen.items()]
        return "\n".join(lines)

    def explain(self, folder):
        """The failure as text, and a file from which it can be replayed."""
        file = pathlib.Path(folder) / f"fuzz-{self.seed}.json"
        suspects = self.suspects()
        file.write_text(json.dumps({"seed": self.seed, "inputs": suspects}, ensure_ascii=True, indent=1))
        text = [self.report(), f"seed {self.seed}; replay with: python Tests/e2e/fuzz.py --replay {file}"]
        text += [str(f) for f in self.faults[:3]]
        if self.died:
            text.append(f"the server ended with {self.server.process.process.poll()}; under way were:")
            text += ["  " + brief(s, 400) for s in suspects]
            text.append(trap(self.server)[:600])
        return "\n".join(text)


class OwnServer(Server):
    """A server that knows where its log stood when it was started."""

    def start(self):
        log = self.folder / "server.log"
        self.log_from = log.stat().st_size if log.exists() else 0
        return super().start()


def trap(server):
    """What the server's log says of its end."""
    log = (pathlib.Path(server.folder) / "server.log").read_bytes()[getattr(server, "log_from", 0):].decode(errors="replace")
    at = max(log.rfind("Fatal error"), log.rfind("💣"), log.rfind("Crash"))
    return log[at:at + 3000] if at >= 0 else log[-1500:]


def cover(world):
    """Services of which no valid request succeeded: what the fuzzer does not reach behind the door."""
    good = collections.Counter()
    for (service, code), number in world.valid.items():
        good[service] += number if code == 0 else 0
    return {s for s in {s for names in CALLS.values() for s in names} | set(LOG_UP) if not good[s]}


def replay(world, inputs):
    """Sends inputs again, each signed anew by the same role; returns what became of each."""
    said = []
    client = Client(world.server.https_port, world.server.context, 20)
    keys = {k.app_id: k for k in [*world.lots.values(), world.cloud, *world.providers, *world.operators]}
    roles = {"lot": lambda c: world.lots.get(c.get("park")) or world.lots["FZ0"], "cloud": lambda c: world.cloud, "provider": lambda c: world.providers[0],
             "operator": lambda c: world.operators[0]}
    for cause in inputs:
        try:
            if cause["carrier"] in ("https", "mqtt") :
                key = keys.get(cause.get("appId")) or roles[cause["role"]](cause)
                extra = dict(cause.get("extra") or {})
                if "seq" in extra and cause["service"] in LOG_UP:
                    up = world.must(client, key, "sync.cursor.query", {}, cause["park"])["up"]
                    extra |= {"epoch": up["epoch"] or "e1", "seq": up["ackSeq"] + 1}
                message = compose(random.Random(secrets.randbits(64)), key, cause["service"], cause["data"], cause.get("park"), **extra)
                body = json.dumps(message, ensure_ascii=False).encode()
                if cause.get("edit") is not None:
                    body = edited(body, cause["edit"])
                answer = client.ask("POST", "/api/v1/" + cause["service"].replace(".", "/"), body, [("content-type", "application/json")])
                said.append((cause, f"HTTP {answer[0]} {answer[2][:600].decode('utf-8', 'replace')}"))
            elif cause["carrier"] == "redirect":
                key = keys.get(cause["members"]["appId"], world.providers[0])
                members = {**cause["members"], "appId": key.app_id, "nonce": secrets.token_hex(12)}
                members["sign"] = sign_pairs(members, key.secret)
                answer = client.ask("GET", f"/r/{members['scene']}?" + urllib.parse.urlencode(members, quote_via=urllib.parse.quote), b"",
                                    [("accept", "application/json")])
                said.append((cause, f"HTTP {answer[0]} {answer[2][:300]}"))
            elif cause["carrier"] == "web":
                target = cause["target"]
                if target.startswith("/r/"):
                    members = dict(urllib.parse.parse_qsl(target.split("?", 1)[1]))
                    key = keys.get(members.get("appId"), world.providers[0])
                    members |= {"appId": key.app_id, **({"nonce": secrets.token_hex(12)} if 8 <= len(members.get("nonce", "")) <= 32 else {})}
                    members["sign"] = sign_pairs(members, key.secret)
                    target = target.split("?")[0] + "?" + urllib.parse.urlencode(members, quote_via=urllib.parse.quote)
                answer = client.ask(cause["method"], target, cause["body"].encode("latin-1"), cause["headers"])
                said.append((cause, f"HTTP {answer[0]} {answer[2][:300]}"))
            elif cause["carrier"] == "admin":
                socket_ = Socket(world.server.data)
                command = cause["command"]
                if isinstance(command, dict) and "appId" in command:
                    command = {**command, "appId": world.scrap.app_id}
                socket_.request("POST", "/", json.dumps(command))
                answer = socket_.getresponse()
                said.append((cause, f"HTTP {answer.status} {answer.read()[:300]}"))
                if isinstance(command, dict) and command.get("command") == "keys.set":
                    world.must(client, world.scrap, "lot.detail", {"parkCode": "FZ0"})
                socket_.end()
            else:
                said.append((cause, "is not replayed alone"))
        except (Gone, OSError, http.client.HTTPException, AssertionError) as error:
            try:
                world.server.process.process.wait(3)
            except Exception:
                pass
            said.append((cause, f"no answer: {error}" + ("; THE SERVER ENDED" if not world.pid_lives() else "")))
            client.close()
            if not world.pid_lives():
                break
    client.close()
    return said


def kind_of(cause):
    """By what a kind of input is left out of the next run, where a change of a field does not say it."""
    if cause["carrier"] == "admin":
        return "admin", cause["command"].get("command") if isinstance(cause["command"], dict) else None
    if cause["carrier"] in ("web", "redirect"):
        return ("redirect", "timestamp") if cause["carrier"] == "redirect" or cause["target"].startswith("/r/") else ("web",
            cause["target"].split("?")[0].split("/")[1])
    return cause["carrier"], None


def isolate(run, limit=12):
    """Starts the server again on what it has and sends each suspect alone: which one ends it, and where.

    Returns [(cause, trap)]; the server runs afterwards.
    """
    culprits = []
    for cause in run.suspects()[:limit]:
        if not run.world.pid_lives():
            run.server.start()
        said = replay(run.world, [cause])
        if said and run.world.ended(0.2):
            culprits.append((cause, trap(run.server)))
    if not run.world.pid_lives():
        run.server.start()
    return culprits


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=secrets.randbits(32))
    options.add_argument("--seconds", type=int)
    options.add_argument("--folder", default=None)
    options.add_argument("--keep-going", action="store_true")
    options.add_argument("--no-gateway", action="store_true")
    options.add_argument("--only", help="workers whose names begin so: caller, line, visitor, operator, box")
    options.add_argument("--replay")
    options.add_argument("--known", action="append", default=[], help="a regular expression; faults that it matches are counted and do not end the run")
    given = options.parse_args()
    # A crash dump takes seconds, and says nothing that the trap itself does not.
    os.environ.setdefault("SWIFT_BACKTRACE", "enable=no")
    folder = pathlib.Path(given.folder or tempfile.mkdtemp(prefix="berth-fuzz-"))
    print(f"fuzz: seed {given.seed}, binaries {BIN}, folder {folder}", flush=True)
    server = OwnServer(folder / "server", environment="test").start()
    try:
        if given.replay:
            world = World(server, given.seed).set_up()
            for cause, outcome in replay(world, json.loads(pathlib.Path(given.replay).read_text())["inputs"]):
                print(json.dumps(cause, ensure_ascii=True)[:2000], "\n  →", outcome)
            return 0 if world.pid_lives() else 1
        banned, done, bad, seed = set(), 0, 0, given.seed
        while done < given.count:
            gateway = None if given.no_gateway else GatewayProcess(server, folder / f"gateway{seed}").start()
            run = Run(server, seed, given.count - done, given.seconds, gateway, banned, only=given.only, known=given.known).go()
            done += run.world.done
            print(run.report(), flush=True)
            if gateway:
                gateway.process.kill()
            print("fuzz: no valid request succeeded of:", " ".join(sorted(cover(run.world))))
            if not run.faults:
                break
            bad += 1
            print(run.explain(folder), flush=True)
            if run.died:
                for cause, where in isolate(run):
                    print("ALONE IT ENDS THE SERVER:", brief(cause, 3000), "\n", where[:1500], flush=True)
                    banned.add(kind_of(cause))
            if not given.keep_going or bad > 60:
                return 1
            for fault in run.faults:
                cause = fault.cause or {}
                for change in cause.get("changed") or []:
                    banned.add((cause["service"], change[-1]))
            seed += 1
        return 1 if bad else 0
    finally:
        if server.process and server.process.process.poll() is None:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
