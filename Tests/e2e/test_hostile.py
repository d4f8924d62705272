"""Input that means no good: an answer or a clean close, memory bounded, other clients served (section 3)."""
import json
import socket
import ssl
import threading
import time

from berth import booking, envelope


def raw(server):
    plain = socket.create_connection(("127.0.0.1", server.https_port), timeout=60)
    return server.context.wrap_socket(plain, server_hostname="127.0.0.1")


def served(server, provider):
    took = []
    for _ in range(3):
        started = time.time()
        assert server.call(provider, "sys.time.get").code == 0
        took.append(time.time() - started)
    assert min(took) < 2, took


def test_100_000_nested_brackets(server, provider):
    reply = server.post("/api/v1/order/create", b"[" * 100_000)
    assert (reply.code, reply.status) == (101, 400)
    message = json.dumps(envelope(provider, "order.create", {})).replace('"data": {}', '"data": ' + "[" * 100_000 + "]" * 100_000)
    assert server.post("/api/v1/order/create", message.encode()).code == 101
    served(server, provider)


def test_a_body_of_30_megabytes(server, provider):
    before = server.process.memory_mib()
    for chunked in (False, True):
        body = b"x" * (30 << 20)
        connection = server.connection()
        if chunked:
            def pieces():
                for at in range(0, len(body), 1 << 16):
                    yield body[at:at + (1 << 16)]
            connection.request("POST", "/api/v1/order/create", pieces(), {"content-type": "application/json"}, encode_chunked=True)
        else:
            connection.request("POST", "/api/v1/order/create", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 413 and json.loads(answer.read())["code"] == 104
        connection.close()
    assert server.process.memory_mib() - before < 150, "memory is bounded"
    served(server, provider)


def test_a_slow_sender_loses_its_connection(server, provider):
    slow = raw(server)
    slow.sendall(b"POST /api/v1/order/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
    started = time.time()
    closed = False
    try:
        while time.time() - started < 45:
            slow.sendall(b"{")
            slow.settimeout(1)
            try:
                if slow.recv(100) == b"":
                    closed = True
                    break
            except (socket.timeout, ssl.SSLWantReadError):
                pass
    except OSError:
        closed = True
    assert closed and time.time() - started < 40
    served(server, provider)


def test_clients_that_hang_up(server, provider):
    server.lot("HANG", reserve=100)
    for count in range(100):
        client = raw(server)
        body = json.dumps(envelope(provider, "order.create", booking("HANG"))).encode()
        head = b"POST /api/v1/order/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        client.sendall(head + (body if count % 2 else body[:50]))
        client.close()
    served(server, provider)


def test_garbage_on_the_socket(server, provider):
    for junk in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"POST " + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n"):
        client = raw(server)
        try:
            client.sendall(junk)
            client.settimeout(10)
            client.recv(1000)
        except OSError:
            pass
        client.close()
    with socket.create_connection(("127.0.0.1", server.https_port)) as plain:
        plain.sendall(b"not TLS at all\r\n\r\n")
    served(server, provider)


def test_garbage_over_mqtt(server, provider):
    from berth import Lot, now
    lot = Lot(server, server.lot("JUNK")).connect()
    for payload in (b"", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"version":"1.0"}', b"x" * 900_000):
        lot.client.publish("rsp/v1/JUNK/up/vehicle.entry.report", payload, 1)
        lot.client.publish("rsp/v1/JUNK/up/reply", payload, 1)
        lot.client.publish("rsp/v1/JUNK/up/status", payload, 1)
    answer = lot.call("sync.cursor.query")
    assert answer["code"] == 0
    lot.disconnect()
