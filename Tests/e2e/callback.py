"""A party's own address: a real HTTPS server that takes pushes and notifications, written from the contract alone."""
import datetime
import http.server
import ipaddress
import json
import secrets
import ssl
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from berth import example, note, now, sign


def certificate(folder):
    """A self-signed certificate for 127.0.0.1 and localhost: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a party")])
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + datetime.timedelta(days=2))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256()))
    (folder / "party.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "party.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / "party.pem", folder / "party.key"


class Callback:
    """Checks what is posted to it and answers by `answer(body) -> (code, data)`; None hangs up, an int is a bare HTTP status."""

    def __init__(self, pem, key_file, secrets_by_app=None):
        self.received, self.secrets, self.changed = [], secrets_by_app or {}, threading.Condition()
        self.answer = lambda body: (0, {"accepted": True})
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                secret = outer.secrets.get(body["appId"])
                if secret:
                    assert body["sign"] == sign(body, secret), "not signed with the party's secret"
                assert abs(body["timestamp"] - now()) < 60_000
                answer = outer.answer(body)
                note("callback", body["service"], None)
                example(body["service"], body["data"], {})
                with outer.changed:
                    outer.received.append(body)
                    outer.changed.notify_all()
                if answer is None:
                    self.close_connection = True
                    return
                if isinstance(answer, tuple):
                    reply = {"version": "1.0", "requestId": body["requestId"], "appId": body["appId"], "service": body["service"],
                             "timestamp": now(), "nonce": secrets.token_hex(8), "code": answer[0], "message": "", "data": answer[1]}
                    if "parkCode" in body:
                        reply["parkCode"] = body["parkCode"]
                    if "epoch" in body:
                        reply |= {"epoch": body["epoch"], "ackSeq": body["seq"]}
                    if secret:
                        reply["sign"] = sign(reply, secret)
                    status, text = 200, json.dumps(reply, ensure_ascii=False).encode()
                else:
                    status, text = answer, b"{}"
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("location", outer.redirect)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key_file)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}/berth"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, condition, timeout=15):
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.received), timeout), f"not called as hoped: {self.received}"
            return list(self.received)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
