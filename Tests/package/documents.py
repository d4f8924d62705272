"""The sessions of the documents: what stands between ```sh and ``` is pasted into a shell by a reader, and by the tests."""


def sessions(path):
    """(the heading above it, the commands) for each session of a document."""
    heading, found, lines = "", [], None
    for line in path.read_text().splitlines():
        if lines is not None:
            if line == "```":
                found.append((heading, "\n".join(lines)))
                lines = None
            else:
                lines.append(line)
        elif line == "```sh":
            lines = []
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    assert lines is None, f"{path}: a session without an end"
    return found

