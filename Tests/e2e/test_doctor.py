"""`berth doctor` asks a real SNTP server on loopback; no answer is "unknown", not "failed"."""
import socket
import struct
import subprocess
import threading
import time

from berth import BIN, free_port


def clock_line(tmp_path, port):
    done = subprocess.run([BIN / "berth", "doctor", "--data", tmp_path / "none", "--ntp", f"127.0.0.1:{port}"], capture_output=True, text=True)
    return next(line for line in done.stdout.splitlines() if "clock against" in line)


def test_the_clock_against_ntp(tmp_path):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    shift = [0.0]

    def serve():
        while True:
            question, address = server.recvfrom(48)
            moment = time.time() + 2_208_988_800 + shift[0]
            stamp = struct.pack("!II", int(moment), int((moment % 1) * 2**32))
            server.sendto(bytes([0x24, 8, 4, 0xEC]) + bytes(20) + question[40:48] + stamp + stamp, address)
    threading.Thread(target=serve, daemon=True).start()
    for shift[0], word in ((0.0, "ok"), (2.4, "ok"), (7.0, "FAILED")):
        line = clock_line(tmp_path, server.getsockname()[1])
        offset = int(line.split(": ")[1].split()[0])
        assert line.startswith(word) and abs(offset - shift[0] * 1000) < 100, line
    assert clock_line(tmp_path, free_port()).startswith("unknown")
