"""The catalogue as a client reads it: services.json, its own reading of the field lines, and messages made from them."""
import json
import re

from berth import ROOT, now

SERVICES = json.loads((ROOT / "Sources/BerthWire/Profile/berth-1.0/services.json").read_text())


class Field:
    def __init__(self, line):
        match = re.fullmatch(r"( *)(\w+)(!?) (\w+)(?:\(([^)]*)\))?(?:\[(\d+)\])? (.+) \| (.+)", line)
        assert match, line
        indent, self.name, required, self.type, self.argument, count, self.zh, self.en = match.groups()
        self.depth, self.required, self.count, self.children = len(indent), bool(required), count and int(count), []


def fields(lines):
    top, stack = [], []
    for line in lines:
        field = Field(line)
        del stack[field.depth:]
        (stack[-1].children if stack else top).append(field)
        stack.append(field)
    return top


def value(field, context, full):
    """A value that the field takes; `context` names what must exist, such as the lot."""
    if field.name in context and not field.children and field.count is None:
        return context[field.name]
    one = {
        "string": lambda: context.get(field.name, "x" * min(8, int(field.argument or 8))),
        "int": lambda: int(re.match(r"-?\d+", field.argument or "1").group()),
        "bool": lambda: True, "time": now, "date": lambda: "2026-11-23", "hm": lambda: "08:00", "hmEnd": lambda: "24:00",
        "money": lambda: 100, "plateNo": lambda: context["plateNo"], "plateColor": lambda: 9, "parkCode": lambda: context["parkCode"],
        "lng": lambda: "114.05", "lat": lambda: "22.54", "region": lambda: "440305", "sha256": lambda: "0" * 64,
        "uuid": lambda: "0f8fad5b-d9cb-469f-a165-70867728950e", "any": lambda: {},
        "object": lambda: message(field.children, context, full),
    }[field.type]()
    return [one] if field.count else one


def message(shape, context, full=False):
    return {f.name: value(f, context, full) for f in shape if f.required or full}


def wrong(field):
    """A value of the wrong type."""
    if field.count:
        return "not an array"
    return {"string": 1, "bool": "true", "object": 1, "any": None, "uuid": 1, "hm": "8 o'clock", "hmEnd": "25:00", "date": "yesterday",
            "lng": "east", "lat": "north", "region": "ABCDEF", "sha256": "xyz", "plateNo": 1, "reading": 1, "parkCode": "a b"}.get(field.type, "1")


REPLIES = {s["name"]: fields(s["reply"]) for s in SERVICES}
TYPES = {"bool": bool, "string": str, "date": str, "hm": str, "hmEnd": str, "plateNo": str, "reading": str, "parkCode": str, "lng": str, "lat": str,
         "region": str, "sha256": str, "uuid": str, "int": int, "time": int, "money": int, "plateColor": int, "object": dict}


def conforms(shape, data, path=""):
    """What is wrong with the data of a reply, or None: every mandatory field is there, every field has its type and keeps its length."""
    for field in shape:
        value, where = data.get(field.name), path + field.name
        if value is None:
            if field.required:
                return f"{where} is missing"
            continue
        if field.count and not (isinstance(value, list) and len(value) <= field.count):
            return f"{where} is not a list of at most {field.count}"
        for one in value if field.count else [value]:
            kind = TYPES.get(field.type)
            if kind and (not isinstance(one, kind) or (kind is int and isinstance(one, bool))):
                return f"{where} is {one!r}, not {field.type}"
            if field.type == "string" and field.argument and len(one) > int(field.argument):
                return f"{where} is longer than {field.argument}"
            if field.type == "object":
                fault = conforms(field.children, one, where + ".")
                if fault:
                    return fault
    return None
