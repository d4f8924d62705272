"""What the programs say to people has a Chinese sentence in ChineseMessages.swift: the messages of the sources, and those of the catalogue."""
import pathlib
import re

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "Sources"
CATALOGUE = SOURCES / "BerthLink/ChineseMessages.swift"
#: Where reasons for people arise.
PLACES = ("berth", "berth-gateway", "BerthServer/Composition", "BerthServer/Keeping", "BerthServer/Broker", "BerthServer/Services/Admin.swift", "BerthLink",
          "BerthSimulator", "BerthGateway/GatewayConfiguration.swift", "BerthGateway/GatewayCheck.swift", "BerthGateway/GatewayToken.swift",
          "BerthGateway/Spool.swift", "BerthWire/CSVReader.swift", "BerthWire/LotCode.swift", "BerthWire/Resources.swift")
SAID = re.compile(r'\b(?:fail|ValidationError|Failed|Refused|Invalid|Unusable|Unreadable|Fault|Missing|wrong|failed|Speech\.text)'
                  r'\(\s*(?:description:\s*|(?:line:[^"()]*)?reason:\s*)?(?=")')


def after_value(text, at):
    """The place behind a value in parentheses, in which literals may stand."""
    depth = 0
    while True:
        if text[at] == '"':
            at += 1
            while text[at] != '"':
                at = after_value(text, at + 1) if text.startswith("\\(", at) else at + (2 if text[at] == "\\" else 1)
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return at


def literal(text, at):
    """The literal of Swift that begins here, with {} in place of each value."""
    mark = '"""' if text.startswith('"""', at) else '"'
    out, at = "", at + len(mark)
    while not text.startswith(mark, at):
        if text.startswith("\\(", at):
            out, at = out + "{}", after_value(text, at + 1)
        elif text[at] == "\\":
            out, at = out + {"n": "\n", "\n": "\\\n"}.get(text[at + 1], text[at + 1]), at + 2
        else:
            out, at = out + text[at], at + 1
    # Lines of a long literal have the indentation of its end, and a backslash where they go on.
    return re.sub(r"\\\n *", "", re.sub(r"\n +", "\n", out)) if mark == '"""' else out


def said():
    """Each message with the file that says it."""
    found = {}
    for place in PLACES:
        path = SOURCES / place
        for file in sorted(path.glob("*.swift")) if path.is_dir() else [path]:
            text = "" if file == CATALOGUE else file.read_text()
            for match in SAID.finditer(text):
                message = literal(text, match.end()).strip("\n")
                if re.search("[A-Za-z]{2}", message.replace("{}", "")):
                    found.setdefault(message, file.relative_to(SOURCES))
    return found


def known():
    """English and Chinese of each message of the catalogue."""
    lines = [line.strip() for line in CATALOGUE.read_text().split('"""')[1].strip("\n").splitlines() if line.strip()]
    return list(zip(lines[::2], lines[1::2]))


def faults():
    catalogue = dict(known())
    for message, file in said().items():
        if message not in catalogue:
            yield f"{file}: without a Chinese sentence in ChineseMessages.swift: {message}"
    for en, zh in known():
        places = en.count("{}")
        if any(int(place) > places for place in re.findall(r"\{(\d+)\}", zh)):
            yield f"ChineseMessages.swift: a place that the English sentence does not have: {en}"
    if len(catalogue) != len(known()):
        yield "ChineseMessages.swift: a message is there twice"
