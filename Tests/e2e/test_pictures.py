"""U18: pictures by ticket; tus 1.0 judged by a tus client from PyPI that is cut off in the middle; limits, digests, ends."""
import base64
import hashlib
import socket
import ssl
import struct
import zlib

import pytest
import requests
from tusclient import client as tus
from tusclient.exceptions import TusCommunicationError

from berth import booking, eventually, now


def png(width, height, seed=1):
    """A real picture of this size that does not compress to nothing."""
    import random
    noise = random.Random(seed)
    rows = b"".join(b"\0" + noise.randbytes(width // 8) for _ in range(height))
    chunk = lambda kind, data: struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, 1, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


PICTURE = png(1280, 720)


@pytest.fixture(scope="module")
def lot(server):
    return server.lot("PIC", rate=1000)  # raised: this is not about the rate limit


@pytest.fixture(scope="module")
def web(server):
    session = requests.Session()
    session.verify, session.trust_env = server.ca, False
    session.headers["Tus-Resumable"] = "1.0.0"
    return session


def ticket(server, key, data=PICTURE, **changes):
    return server.call(key, "image.ticket.apply", {
        "type": 1, "ext": "png", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes})


class OwnSession(requests.Session):
    pass


def test_a_tus_client_that_is_cut_off_goes_on(server, lot, web, tmp_path, monkeypatch):
    given = ticket(server, lot).data
    file = tmp_path / "picture.png"
    file.write_bytes(PICTURE)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    uploader = tus.TusClient(given["uploadUrl"]).uploader(str(file), chunk_size=20_000, url=given["uploadUrl"])
    uploader.upload_chunk()
    assert uploader.offset == 20_000
    # Cut off in the middle of a piece: half of it is sent, then the line is dead.
    target = given["uploadUrl"].split("/", 3)
    raw = server.context.wrap_socket(socket.create_connection(("127.0.0.1", server.https_port)), server_hostname="127.0.0.1")
    raw.sendall((f"PATCH /{target[3]} HTTP/1.1\r\nhost: x\r\ntus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream\r\n"
                 f"upload-offset: 20000\r\ncontent-length: 30000\r\n\r\n").encode() + PICTURE[20_000:35_000])
    eventually(lambda: server.call(lot, "image.upload.query", {"imageId": given["imageId"]}).data["offset"] > 20_000)
    raw.close()
    # A client that comes back asks where the server stands, and finishes.
    again = tus.TusClient(given["uploadUrl"]).uploader(str(file), chunk_size=16_384, url=given["uploadUrl"])
    assert again.offset == 35_000, "what came before the cut is there"
    again.upload()
    assert server.call(lot, "image.upload.query", {"imageId": given["imageId"]}).data == {
        "imageId": given["imageId"], "offset": len(PICTURE), "size": len(PICTURE), "complete": False}
    done = server.call(lot, "image.upload.complete", {"imageId": given["imageId"]})
    assert done.data == {"imageId": given["imageId"], "sha256": hashlib.sha256(PICTURE).hexdigest()}
    shown = server.call(lot, "image.upload.query", {"imageId": given["imageId"]}).data
    assert shown["complete"] and now() + 500_000 < shown["expireAt"] <= now() + 600_000
    seen = web.get(shown["downloadUrl"])
    assert seen.content == PICTURE and seen.headers["content-type"] == "image/png" and "no-store" in seen.headers["cache-control"]
    # The address is nobody else's, and not to be changed.
    url = shown["downloadUrl"]
    assert web.get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    assert web.get(url.replace("e=", "e=9")).status_code == 403 and web.get(url.split("?")[0]).status_code == 403
    assert web.get(url.replace("/picture/", "/upload/")).status_code in (403, 405)


def test_creation_by_tus(server, lot, web, tmp_path, monkeypatch):
    """The creation extension: a client that begins with POST gets the ticket's own address."""
    given = ticket(server, lot, png(64, 64)).data
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    file = tmp_path / "small.png"
    file.write_bytes(png(64, 64))
    tus.TusClient(given["uploadUrl"]).uploader(str(file), chunk_size=100).upload()
    assert server.call(lot, "image.upload.complete", {"imageId": given["imageId"]}).code == 0
    assert web.post(given["uploadUrl"], headers={"Upload-Length": "1"}).status_code == 413, "not the ticket's length"
    with pytest.raises(TusCommunicationError):
        tus.TusClient(given["uploadUrl"] + "0").uploader(str(file)).upload()


def test_the_protocol(server, lot, web):
    options = web.options(ticket(server, lot).data["uploadUrl"])
    assert options.status_code == 204 and options.headers["tus-version"] == "1.0.0"
    assert set(options.headers["tus-extension"].split(",")) == {"creation", "checksum", "expiration"}
    data = b"x" * 1000
    given = ticket(server, lot, data).data
    url = given["uploadUrl"]
    head = web.head(url)
    assert head.headers["upload-offset"] == "0" and head.headers["upload-length"] == "1000" and head.headers["cache-control"] == "no-store"
    assert head.headers["upload-expires"].endswith("GMT")
    patch = lambda body, offset, **more: web.patch(url, data=body, headers={
        "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset), **more})
    sum_ = lambda body, name="sha256": f"{name} {base64.b64encode(hashlib.new(name, body).digest()).decode()}"
    assert web.patch(url, data=b"x", headers={"Upload-Offset": "0"}).status_code == 415
    assert web.patch(url, data=b"x", headers={"Tus-Resumable": "0.2.2"}).status_code == 412
    assert patch(b"x" * 10, 5).status_code == 409
    assert patch(b"x" * 10, 0, **{"Upload-Checksum": sum_(b"y")}).status_code == 460 and web.head(url).headers["upload-offset"] == "0"
    assert patch(b"x" * 10, 0, **{"Upload-Checksum": "crc32 AAAA"}).status_code == 400
    assert patch(b"x" * 400, 0, **{"Upload-Checksum": sum_(b"x" * 400)}).headers["upload-offset"] == "400"
    assert patch(b"x" * 100, 400, **{"Upload-Checksum": sum_(b"x" * 100, "sha1")}).status_code == 204
    assert patch(b"x" * 501, 500).status_code == 413 and patch(b"x" * 500, 500).status_code == 204
    assert web.get(url).status_code == 405 and web.patch(url.split("?")[0]).status_code == 403


def test_a_plain_put(server, lot, web):
    data = png(32, 32, 7)
    given = ticket(server, lot, data).data
    assert web.put(given["uploadUrl"], data=data).status_code == 204
    assert server.call(lot, "image.upload.complete", {"imageId": given["imageId"]}).code == 0
    assert web.put(given["uploadUrl"], data=data).status_code == 409, "a complete picture is not written over"


def test_refusals_of_pictures(server, lot, web):
    """701 over the limit, 700 another digest, 702 too late, 403 not all there, 400 not yours."""
    big = ticket(server, lot, size=500_001)
    assert (big.status, big.code, big.data["maxSize"]) == (413, 701, 500_000)
    assert ticket(server, lot, ext="gif").code == 102
    data = b"a" * 100
    wrong = ticket(server, lot, data, sha256="0" * 64).data
    complete = lambda id: server.call(lot, "image.upload.complete", {"imageId": id})
    short = complete(wrong["imageId"])
    assert (short.status, short.code, short.data["offset"]) == (409, 403, 0)
    assert web.put(wrong["uploadUrl"], data=data).status_code == 204
    mismatch = complete(wrong["imageId"])
    assert (mismatch.status, mismatch.code) == (409, 700)
    assert web.head(wrong["uploadUrl"]).headers["upload-offset"] == "0", "what is wrong is thrown away"
    late = ticket(server, lot, data).data
    server.write("UPDATE pictures SET expire_at = ? WHERE image_id = ?", now() - 1, late["imageId"])
    assert (complete(late["imageId"]).status, complete(late["imageId"]).code) == (409, 702)
    assert web.head(late["uploadUrl"]).status_code == 410
    other = server.lot("PIC2")
    query = server.call(other, "image.upload.query", {"imageId": late["imageId"]})
    assert (query.status, query.code) == (404, 400)
    assert server.call(lot, "image.upload.query", {"imageId": "nonsense"}).code == 400
    # The same request makes the same ticket.
    from berth import envelope
    message = envelope(lot, "image.ticket.apply", {"type": 1, "ext": "png", "size": 100, "sha256": "0" * 64})
    first = server.send(lot, message)
    repeat = envelope(lot, "image.ticket.apply", message["data"], requestId=message["requestId"])
    second = server.send(lot, repeat)
    assert second.duplicate and second.data == first.data


def test_pictures_end(own_server):
    """What is older than it is kept is deleted with its file, and so is a ticket that was never used up."""
    server = own_server.start()
    lot = server.lot("P1", rate=1000)
    session = requests.Session()
    session.verify, session.trust_env = server.ca, False
    kept, old, dead = (ticket(server, lot, png(32, 32, n)).data for n in range(3))
    for n, given in ((0, kept), (1, old)):
        assert session.put(given["uploadUrl"], data=png(32, 32, n)).status_code == 204
        assert server.call(lot, "image.upload.complete", {"imageId": given["imageId"]}).code == 0
    files = lambda: {f.stem for f in (server.data / "pictures").iterdir()}
    assert files() == {kept["imageId"], old["imageId"]}
    server.stop()
    server.write("UPDATE pictures SET at = ? WHERE image_id = ?", now() - 91 * 86_400_000, old["imageId"])
    server.write("UPDATE pictures SET expire_at = ? WHERE image_id = ?", now() - 2 * 86_400_000, dead["imageId"])
    server.start()
    eventually(lambda: files() == {kept["imageId"]})
    assert server.sql("SELECT image_id FROM pictures") == [(kept["imageId"],)]
