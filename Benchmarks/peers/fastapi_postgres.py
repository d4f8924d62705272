"""The server that a team would build for `order.create` with FastAPI, asyncpg and PostgreSQL: the peer of scripts/bench.sh.

It takes the same signed bodies as Berth, checks the signature, the clock and the nonce, validates the fields, books in one transaction
(quota of each half hour, limits of user and plate, one car in one place, the provider's own number, kept reply, outbox of the lot), and
answers with a signed reply after the commit. It is generous to the peer: the booking is one function in the database and so one round trip;
plates and phones are not encrypted; there is no delivery to lots, no waitlist, no policy, no audit record and no journal.

  DATABASE=postgres://… KEY=credential.json uvicorn fastapi_postgres:app --loop uvloop --http httptools
"""
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import time

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field, ValidationError

CREDENTIAL = json.load(open(os.environ["KEY"]))
APP_ID, SECRET = CREDENTIAL["appId"], CREDENTIAL["appSecret"].encode()
STAY = 3_600_000
REFUSED = {"BX300": 300, "BX401": 401, "BX402": 402, "BX403": 403, "BX407": 407}


class Booking(BaseModel):
    clientOrderNo: str = Field(min_length=1, max_length=64)
    userToken: str = Field(min_length=1, max_length=64)
    plateNo: str = Field(pattern=r"^[\u4e00-\u9fa5][A-Z][A-Z0-9]{5,6}$")
    plateColor: int = Field(ge=0, le=9)
    parkCode: str = Field(min_length=1, max_length=32)
    bizType: int = Field(ge=1, le=3)
    planTime: int
    mobile: str | None = Field(default=None, pattern=r"^1[0-9]{10}$")


class Envelope(BaseModel):
    version: str
    requestId: str = Field(min_length=1, max_length=64)
    appId: str
    service: str
    timestamp: int
    nonce: str = Field(pattern=r"^[A-Za-z0-9_-]{8,32}$")
    sign: str
    data: dict


def signature(envelope):
    """The contract's section 3: HMAC-SHA256 over the members and the hash of the canonical data."""
    digest = hashlib.sha256(orjson.dumps(envelope["data"], option=orjson.OPT_SORT_KEYS)).hexdigest()
    parts = [("data", digest)]
    for name, value in envelope.items():
        if name in ("sign", "data", "message", "hint") or value is None or value == "":
            continue
        parts.append((name, str(value)))
    parts.sort()
    return hmac.new(SECRET, "&".join(f"{name}={value}" for name, value in parts).encode(), hashlib.sha256).hexdigest()


nonces: set[str] = set()


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE"], min_size=16, max_size=16)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=lifespan)


def reply(envelope, code, message, data):
    out = {"version": "1.0", "requestId": envelope.get("requestId", ""), "appId": APP_ID, "service": envelope.get("service", ""),
           "timestamp": int(time.time() * 1000), "nonce": secrets.token_hex(8), "code": code, "message": message, "data": data}
    out["sign"] = signature(out)
    return Response(orjson.dumps(out), media_type="application/json")


async def checked(request):
    """The envelope, or the reply that refuses it."""
    raw = orjson.loads(await request.body())
    try:
        envelope = Envelope.model_validate(raw)
    except ValidationError as error:
        return None, reply({}, 101, str(error), {})
    if envelope.appId != APP_ID:
        return None, reply(raw, 200, "unknown appId", {})
    if abs(time.time() * 1000 - envelope.timestamp) > 300_000:
        return None, reply(raw, 202, "clock", {})
    if not hmac.compare_digest(signature(raw), envelope.sign):
        return None, reply(raw, 201, "signature", {})
    if envelope.nonce in nonces:
        return None, reply(raw, 203, "nonce", {})
    nonces.add(envelope.nonce)
    return raw, None


@app.post("/api/v1/sys/time/get")
async def time_get(request: Request):
    envelope, refused = await checked(request)
    return refused or reply(envelope, 0, "ok", {"time": int(time.time() * 1000)})


@app.post("/api/v1/order/create")
async def create(request: Request):
    envelope, refused = await checked(request)
    if refused:
        return refused
    try:
        booking = Booking.model_validate(envelope["data"])
    except ValidationError as error:
        return reply(envelope, 101, str(error), {})
    now = int(time.time() * 1000)
    try:
        number = await app.state.pool.fetchval(
            "SELECT book($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", APP_ID, envelope["requestId"], envelope["nonce"],
            booking.clientOrderNo, booking.userToken, booking.plateNo, booking.mobile, booking.parkCode, booking.planTime,
            booking.planTime + STAY, now)
    except asyncpg.PostgresError as error:
        return reply(envelope, REFUSED.get(error.sqlstate, 501), str(error), {})
    return reply(envelope, 0, "ok", {
        "orderNo": f"YY{time.strftime('%Y%m%d')}{number:010d}", "clientOrderNo": booking.clientOrderNo, "status": 1, "parkCode": booking.parkCode,
        "planTime": booking.planTime, "plateNo": booking.plateNo})
