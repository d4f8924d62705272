"""Inputs that failed once, one test a row: money (M, T) and time (S, K2, R) of the table of cases, with their siblings."""
import datetime
import uuid

import pytest

from berth import booking, entry, eventually, exit_, now, plate
from test_rules import Desk, desk, publish, segments, shared  # noqa: F401

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
ZONE = datetime.timezone(datetime.timedelta(hours=8))


def park(prefix):
    return prefix + uuid.uuid4().hex[:6].upper()


def today():
    return datetime.datetime.now(ZONE).date()


def at(day, clock="00:00"):
    """ms of a civil time in Shenzhen; 24:00 is the next day's beginning."""
    hour, minute = map(int, clock.split(":"))
    start = datetime.datetime.combine(day, datetime.time(), ZONE) + datetime.timedelta(hours=hour, minutes=minute)
    return int(start.timestamp() * 1000)


def inside(desk, key):
    return {i["recordNo"]: i for i in desk.server.call(key, "recon.inlot.list", {"detailType": 2}).data["items"]}


def till(desk, name):
    return desk.op("ledger.statement.query", account="till", parkCode=name).data["closing"]


def notices(desk, name, event):
    return desk.server.sql("SELECT count(*) FROM notices WHERE lot = ? AND type = ?", name, event)[0][0]


# M: numbers are their giver's own; months are months of the calendar

def test_M1_two_lots_with_one_running_number_on_the_exit(desk):
    """Cash taken with the exit under a number that another lot used too: both are taken, both tills hold their money."""
    number = f"{today():%Y%m%d}000001" + uuid.uuid4().hex[:4]
    for name, amount in ((park("M1"), 500), (park("M1"), 700)):
        key = desk.server.lot(name)
        came = entry("1", plate(), now() - HOUR)
        assert desk.log(key, "vehicle.entry.report", came).code == 0
        cash = [{"payNo": number, "payType": 1, "amount": amount, "payTime": now()}]
        assert desk.log(key, "vehicle.exit.report", exit_(came, totalFee=amount, paidFee=amount, leaveKind=1, payments=cash)).code == 0
        assert till(desk, name) == amount, name
        assert desk.server.call(key, "payment.result.query", {"payNo": number}).data["amount"] == amount


def test_M2_two_lots_with_one_running_number_by_themselves(desk):
    """The same by payment.record.report: neither is refused, and a lot's own number still counts once in that lot."""
    number = f"{today():%Y%m%d}000001" + uuid.uuid4().hex[:4]
    for name, amount in ((park("M2"), 500), (park("M2"), 500), (park("M2"), 700)):
        key = desk.server.lot(name)
        paid = {"payNo": number, "recordNo": "1", "payType": 1, "amount": amount, "payTime": now()}
        assert desk.log(key, "payment.record.report", paid).code == 0, name
        again = desk.log(key, "payment.record.report", paid)
        assert again.code == 0 and again.duplicate
        assert desk.log(key, "payment.record.report", {**paid, "amount": amount + 1}).code == 1404
        assert till(desk, name) == amount, name
        assert desk.server.call(key, "payment.result.query", {"payNo": number}).data["amount"] == amount


def stay(desk, provider, key, name, record, number=None, minutes=50, price=None):
    """A shared stay of a provider's user that has ended, and its bill."""
    made = desk.server.call(provider, "order.create", booking(name, now() + MINUTE, bizType=2, stayMin=60, plateNo=number or plate()))
    assert made.code == 0, made
    order = made.data
    came = entry(record, order["plateNo"], now() - minutes * MINUTE, order["orderNo"], carKind=6)
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    assert desk.log(key, "vehicle.exit.report", exit_(came)).code == 0
    bill = desk.server.call(provider, "fee.query", {"orderNo": order["orderNo"]}).data
    return order, bill


def test_M4_two_providers_with_one_payment_number(desk):
    """Each provider's payNo and refundNo are its own: paid, shown and refunded apart, also beside a lot's payment of that number."""
    server = desk.server
    name = park("M4")
    key = shared(server, name, 0)
    publish(desk, name, "A1", price={"mode": 2, "amount": 1000})
    publish(desk, name, "A2", price={"mode": 2, "amount": 1000})
    publish(desk, name, "A3", price={"mode": 2, "amount": 1000})
    number = "2026112800000042" + uuid.uuid4().hex[:4]
    other = server.lot(park("M4"))
    cash = {"payNo": number, "recordNo": "r", "payType": 1, "amount": 77, "payTime": now()}
    assert desk.log(other, "payment.record.report", cash).code == 0
    one, two = desk.provider, server.issue("provider", rate=1000)
    for provider, record, amount in ((one, "a", 1000), (two, "b", 1000)):
        order, bill = stay(desk, provider, key, name, record)
        paid = server.call(provider, "pay.create", {"billNo": bill["billNo"], "payNo": number, "amount": amount, "channel": "sandbox"})
        assert (paid.code, paid.duplicate) == (0, False), (record, paid)
        eventually(lambda: server.call(provider, "pay.query", {"payNo": number}).data["state"] == 1)
    third, bill = stay(desk, two, key, name, "c")
    reused = server.call(two, "pay.create", {"billNo": bill["billNo"], "payNo": number, "amount": 1000, "channel": "sandbox"})
    assert reused.code == 404, "one provider's number is used once by that provider"
    refund = lambda provider, amount: server.call(provider, "refund.apply", {"payNo": number, "refundNo": "R1", "amount": amount})
    assert refund(one, 300).data["refunded"] == 300
    answer = refund(two, 1000)
    assert (answer.code, answer.duplicate, answer.data.get("refunded")) == (0, False, 1000), answer
    assert [server.call(p, "pay.query", {"payNo": number}).data["state"] for p in (one, two)] == [4, 3]
    assert server.call(other, "payment.result.query", {"payNo": number}).data["amount"] == 77
    assert desk.app("ledger.statement.query", account="provider").data["closing"] == 700
    assert server.call(two, "ledger.statement.query", {"account": "provider"}).data["closing"] == 0


def month(number, day=1, clock="00:00"):
    """That day of the next such month, within a year from now."""
    base = today() + datetime.timedelta(days=1)
    year = base.year if (number, day) >= (base.month, base.day) else base.year + 1
    return at(datetime.date(year, number, day), clock)


def first_days(count):
    """The first days of the next months, ms."""
    day, found = today(), []
    for _ in range(count):
        day = (day.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
        found.append(at(day))
    return found


def span(first, second):
    """From one (month, day[, clock]) to the next such day after it."""
    start = month(*first)
    begins = datetime.datetime.fromtimestamp(start / 1000, ZONE).date()
    number, day, clock = (*second, "00:00")[:3]
    year = begins.year if (number, day) > (begins.month, begins.day) else begins.year + 1
    return start, at(datetime.date(year, number, day), clock)


MONTHS = [((12, 1), (1, 1), 1), ((4, 1), (5, 1), 1), ((2, 1), (3, 1), 1), ((12, 15), (1, 15), 1), ((1, 1), (4, 1), 3), ((7, 1), (9, 1), 2),
          # A month that has no such day ends with its last one; a started month is a month.
          ((1, 31), (2, 28), 1), ((1, 30), (2, 28), 1), ((3, 31), (4, 30), 1), ((3, 31), (5, 31), 2), ((8, 31), (10, 1), 2),
          ((2, 28), (3, 28), 1), ((12, 1), (12, 11), 1), ((12, 1), (1, 2), 2), ((4, 1), (4, 30, "23:59"), 1), ((5, 10, "10:30"), (6, 10, "10:30"), 1),
          ((5, 10, "10:30"), (6, 10, "10:31"), 2), ((6, 1), (12, 1), 6)]


@pytest.mark.parametrize("kind", ["pool", "offer"])
def test_M8_a_month_is_a_calendar_month(desk, kind):
    """At 300.00 a month, a subscription costs its calendar months, begun ones whole; what is quoted is what is asked."""
    name = park("M8")
    shared(desk.server, name, 40 if kind == "pool" else 0)
    if kind == "pool":
        desk.set(f"lot:{name}", shareMonthlyFen=30_000, shareWindow="00:00-24:00")
    else:
        times = segments()
        made = desk.app("share.offer.publish", parkCode=name, providerToken="业主", count=40, proofImages=["i"], agreementVersion="1.0",
                        segments=times, price={"mode": 3, "amount": 30_000})
        assert desk.op("share.review", offerId=made.data["offerId"], **{"pass": True}).code == 0
    wrong = {}
    for first, second, months in MONTHS:
        start, end = span(first, second)
        answer = desk.app("share.apply", parkCode=name, userToken=uuid.uuid4().hex, plateNos=[plate()], periodFrom=start, periodTo=end)
        assert answer.code == 0, (first, second, answer)
        fee = (answer.data.get("fee"), answer.data.get("payInfo", {}).get("amount"))
        if fee != (30_000 * months,) * 2:
            wrong[first, second] = fee
    assert wrong == {}


def test_M8_the_fee_quoted_is_the_fee_asked(desk):
    """Reviewed first, a subscription is asked the fee that it was quoted; a renewal of a month costs a month."""
    name = park("M8")
    shared(desk.server, name, 4)
    desk.set(f"lot:{name}", shareMonthlyFen=30_000, subscriptionReview=1, shareWindow="00:00-24:00")
    for first, second, months in (((12, 1), (1, 1), 1), ((7, 1), (9, 1), 2)):
        start, end = span(first, second)
        made = desk.app("share.apply", parkCode=name, userToken=uuid.uuid4().hex, plateNos=[plate()], periodFrom=start, periodTo=end).data
        passed = desk.op("share.review", authNo=made["authNo"], **{"pass": True}).data
        assert (made.get("fee"), passed["payInfo"]["amount"]) == (30_000 * months,) * 2
    desk.set(f"lot:{name}", subscriptionReview=0)
    # The next two months: a renewal reaches at most a year ahead.
    start, end, later = first_days(3)
    made = desk.app("share.apply", parkCode=name, userToken=uuid.uuid4().hex, plateNos=[plate()], periodFrom=start, periodTo=end).data
    pay = {"billNo": made["payInfo"]["billNo"], "payNo": uuid.uuid4().hex, "amount": 30_000, "channel": "sandbox"}
    assert desk.app("pay.create", **pay).code == 0
    renewed = eventually(lambda: (r := desk.app("share.renew", authNo=made["authNo"], periodTo=later)).code not in (403, 1109) and r)
    assert renewed.code == 0 and renewed.data["payInfo"]["amount"] == 30_000, renewed


# T: tariffs

def fees(desk, rules, stays, start=None, **tariff):
    """What shared stays of these minutes cost by the lot's tariff."""
    name = park("T")
    key = shared(desk.server, name, 50)
    desk.set(f"lot:{name}", shareWindow="00:00-24:00", shareLateStrikes=1000)
    reported = desk.server.call(key, "lot.tariff.report", {"tariffId": "T", "effectiveFrom": now() - 40 * DAY, "bizType": 2, "rules": rules, **tariff})
    assert reported.code == 0, reported
    found = []
    for n, minutes in enumerate(stays):
        made = desk.book(name, 20, bizType=2, stayMin=10_080)
        assert made.code == 0, made
        enter = start or now() - 2 * DAY
        came = entry(f"t{n}", made.data["plateNo"], enter, made.data["orderNo"], carKind=6)
        assert desk.log(key, "vehicle.entry.report", came).code == 0
        assert desk.log(key, "vehicle.exit.report", exit_(came, enter + minutes * MINUTE)).code == 0
        found.append(desk.app("fee.query", orderNo=made.data["orderNo"]).data["total"])
    return found


@pytest.mark.parametrize("free", [{}, {"stepFee": 0}, {"stepFee": 0, "stepMin": 60}])
def test_T2_a_step_never_reaches_beyond_its_rule(desk, free):
    """Free to the 30th minute, then 0.25 for each 5: 30, 31 and 45 minutes cost 0, 25 and 75 fen, whatever step the free rule has."""
    rules = [{"durStartMin": 0, "durEndMin": 30, **free}, {"durStartMin": 30, "durEndMin": -1, "stepMin": 5, "stepFee": 25}]
    assert fees(desk, rules, [1, 30, 31, 35, 36, 45, 90]) == [0, 0, 25, 25, 50, 75, 300]


def test_T2_a_step_ends_where_its_rule_ends(desk):
    """A paid step is cut at the end of its rule, by length of stay and by time of day, and the next rule's begins there."""
    by_length = [{"durStartMin": 0, "durEndMin": 45, "stepMin": 30, "stepFee": 100}, {"durStartMin": 45, "stepMin": 15, "stepFee": 10}]
    assert fees(desk, by_length, [30, 31, 45, 46, 60, 61]) == [100, 200, 200, 210, 210, 220]
    by_clock = [{"start": "08:00", "end": "20:00", "stepMin": 60, "stepFee": 500}, {"start": "20:00", "end": "08:00", "stepMin": 60, "stepFee": 100}]
    evening = at(today() - datetime.timedelta(days=2), "19:30")
    assert fees(desk, by_clock, [30, 31, 60, 90, 91], start=evening) == [500, 600, 600, 600, 700]


def test_T2_free_until_and_then_by_the_day(desk):
    """Free hours of the night have no step either: who comes at 07:50 pays from 08:00 on."""
    rules = [{"start": "20:00", "end": "08:00", "stepFee": 0}, {"start": "08:00", "end": "20:00", "stepMin": 30, "stepFee": 200}]
    morning = at(today() - datetime.timedelta(days=2), "07:50")
    assert fees(desk, rules, [10, 11, 40, 41, 70], start=morning) == [0, 200, 200, 400, 400]


def test_T8_a_cap_of_nothing_is_refused(desk):
    """capFee 0 and dailyCap 0 would make parking free for ever: 102, and the field is named."""
    name = park("T8")
    key = desk.server.lot(name)
    report = lambda rule=None, **more: desk.server.call(key, "lot.tariff.report", {
        "tariffId": "T", "effectiveFrom": now(), "rules": [{"stepMin": 60, "stepFee": 500}, {"stepMin": 60, "stepFee": 500, **(rule or {})}], **more})
    for reply, field in ((report({"capFee": 0}), "capFee"), (report(dailyCap=0), "dailyCap")):
        assert (reply.code, reply.status) == (102, 400), (field, reply)
        assert field in (reply.json.get("hint") or ""), (field, reply)
    assert report({"capFee": None}, dailyCap="").code == 0, "no cap"
    assert report({"capFee": 1}, dailyCap=1).code == 0
    assert report({"stepFee": 0}).code == 0, "a rule that is free by its fee says so openly"


# S: slots and bookings

def probe(desk, name, plan, **more):
    """The code of a booking that is given back at once."""
    made = desk.server.call(desk.provider, "order.create", booking(name, plan, **more))
    if made.code == 0:
        assert desk.app("order.cancel", orderNo=made.data["orderNo"], confirmBreach=True).code == 0
    return made.code


def disagreements(desk, name, day, biz, step=5, before=None, **more):
    """The slots of a day whose `full` is not what the bookings inside them say."""
    slots = desk.app("slot.query", parkCode=name, date=f"{day:%Y-%m-%d}", bizType=biz).data["slots"]
    assert slots and slots[0]["start"] == at(day) and slots[-1]["end"] == at(day, "24:00")
    wrong = []
    for slot in slots:
        assert slot["full"] == (slot["remain"] == 0) and (not slot["full"] or slot.get("reason")), slot
        if slot["end"] <= now() + 5000:
            continue
        times = [t for t in [*range(slot["start"], slot["end"], step * MINUTE), slot["end"] - 1] if t > now() + 5000]
        codes = {before(t) if before else probe(desk, name, t, bizType=biz, **more) for t in times}
        if slot["full"] != (0 not in codes):
            clock = datetime.datetime.fromtimestamp(slot["start"] / 1000, ZONE).strftime("%H:%M")
            wrong.append((clock, "full" if slot["full"] else "free", slot.get("reason"), sorted(codes)))
        elif slot["full"] and slot["reason"] not in codes:
            clock = datetime.datetime.fromtimestamp(slot["start"] / 1000, ZONE).strftime("%H:%M")
            wrong.append((clock, "says", slot["reason"], sorted(codes)))
    return wrong


HOURS = [{"days": [1, 2, 3, 4, 5, 6, 7], "start": "08:10", "end": "22:15"}]


@pytest.fixture
def far(server):
    """A desk whose lots may be booked a fortnight ahead."""
    desk = Desk(server)
    desk.far = lambda name, **values: desk.set(f"lot:{name}", advanceMaxMin=20_160, **values)
    return desk


def test_S1_a_reservation_slot_is_full_when_nothing_in_it_can_be_booked(far):
    """Open 08:10 to 22:15 in slots of 30 minutes: at every 5 minutes of tomorrow slot.query says what order.create says."""
    name = park("S1")
    far.server.lot(name, 3, openHours=HOURS)
    far.far(name)
    day = today() + datetime.timedelta(days=1)
    assert disagreements(far, name, day, 1) == []
    # One place, taken for two hours and at the very end of the day.
    tight = park("S1")
    far.server.lot(tight, 1, openHours=HOURS)
    far.far(tight, stayMin=45, earlyMin=10)
    for clock in ("11:20", "21:50"):
        assert far.server.call(far.provider, "order.create", booking(tight, at(day, clock))).code == 0
    assert disagreements(far, tight, day, 1) == []


def test_S1_a_slot_beyond_the_advance_is_full(far):
    """What cannot be booked yet is full with 1100, and the slot in which the advance ends is not."""
    name = park("S1")
    far.server.lot(name, 3)
    far.set(f"lot:{name}", advanceMaxMin=100, slotMin=60)
    for day in (today(), today() + datetime.timedelta(days=1)):
        # Once more where the advance has just passed from one slot into the next.
        assert disagreements(far, name, day, 1, step=10) == [] or disagreements(far, name, day, 1, step=10) == []


def test_S1_flow_control_and_pools_in_slots(far):
    """A pool that a policy cuts to nothing for two hours, and an hour that is closed, are full in slot.query as for order.create."""
    name = park("S1")
    far.server.lot(name, 3)
    far.far(name, stayMin=30, earlyMin=0)
    day = today() + datetime.timedelta(days=1)
    none = {"mode": 2, "pools": [{"pool": "PERSONAL", "count": 0}], "validFrom": at(day, "09:10"), "validTo": at(day, "11:10")}
    closed = {"mode": 3, "validFrom": at(day, "14:05"), "validTo": at(day, "15:05")}
    for number, policy in (("P", none), ("C", closed)):
        assert far.op("flow.policy.set", parkCode=name, policyId=number, **policy).code == 0
    assert disagreements(far, name, day, 1) == []


def test_S1_a_shared_slot_is_full_when_nothing_in_it_can_be_booked(far):
    """Sharing: offers with their own times, the pool's window and quiet hours, one place of them taken."""
    name = park("S1")
    shared(far.server, name, 0, openHours=HOURS)
    far.far(name, stayMin=30, earlyMin=10, lateMin=10, quietHours="12:00-13:05")
    day = today() + datetime.timedelta(days=1)
    publish(far, name, "A1", times=segments("09:05", "16:20"))
    publish(far, name, "A2", times=segments("15:40", "18:00"))
    assert far.server.call(far.provider, "order.create", booking(name, at(day, "10:00"), bizType=2, stayMin=45)).code == 0
    assert disagreements(far, name, day, 2) == []
    pool = park("S1")
    shared(far.server, pool, 2, openHours=HOURS)
    far.far(pool, stayMin=30, shareWindow="06:00-09:25; 17:50-24:00", quietHours="19:10-19:50")
    assert disagreements(far, pool, day, 2) == []


def test_S1_a_public_slot_is_full_when_nothing_in_it_can_be_booked(far):
    """Public service: opening hours, one place, one order in it; an appointment for that very time is what order.create needs."""
    name = park("S1")
    far.server.lot(name, 0, reserveEnabled=False, publicBizSpace=1, publicBizEnabled=True, openHours=HOURS)
    far.set(f"lot:{name}", bizBeforeMin=10, bizAfterMin=10, bizStayMin=40)
    day = today() + datetime.timedelta(days=1)

    def ask(plan, keep=False):
        number = uuid.uuid4().hex
        push = far.app("biz.appointment.push", extNo=number, bizCode="hospital", placeCode=name, appointTime=plan, personToken=uuid.uuid4().hex)
        assert push.code == 0, push
        made = far.server.call(far.provider, "order.create", booking(name, plan, bizType=3, extNo=number))
        if not keep:
            assert far.app("biz.appointment.cancel", extNo=number).code == 0
        return made.code
    assert ask(at(day, "10:00"), keep=True) == 0
    assert disagreements(far, name, day, 3, before=ask) == []


def test_S1d_slots_outside_the_weekly_window_are_full(far):
    """The shared pool has a weekly window: on a Tuesday the slots outside it are full, and say 1205."""
    name = park("S1D")
    shared(far.server, name, 3000, total=3000)
    far.far(name, shareWindow="1-5 18:00-08:00; 6-7 00:00-24:00", stayMin=60)
    tuesday = today() + datetime.timedelta(days=(1 - today().weekday()) % 7 or 7)
    slots = far.app("slot.query", parkCode=name, date=f"{tuesday:%Y-%m-%d}", bizType=2).data["slots"]
    seen = {(s["full"], s["reason"] if s["full"] else 0, s["remain"]) for s in slots if at(tuesday, "08:00") <= s["start"] < at(tuesday, "18:00")}
    assert seen == {(True, 1205, 0)}
    assert {s["full"] for s in slots if s["end"] <= at(tuesday, "07:00") or s["start"] >= at(tuesday, "18:00")} == {False}
    assert disagreements(far, name, tuesday, 2, step=10) == []


def test_S5b_opening_hours_follow_the_work_calendar(far):
    """Open on weekdays: a Saturday that is a make-up workday can be booked, a Wednesday that is a holiday cannot."""
    name = park("S5B")
    far.server.lot(name, 5, openHours=[{"days": [1, 2, 3, 4, 5], "start": "00:00", "end": "24:00"}])
    far.set(f"lot:{name}", advanceMaxMin=60 * 24 * 60)
    ahead = lambda weekday: today() + datetime.timedelta(days=14 + (weekday - today().weekday()) % 7)
    saturday, wednesday = ahead(5), ahead(2)
    try:
        for day, kind in ((saturday, "normal"), (wednesday, "normal")):
            assert far.op("calendar.set", date=f"{day:%Y-%m-%d}", kind=kind).code == 0
        assert [probe(far, name, at(day, "10:00")) for day in (saturday, wednesday)] == [1002, 0]
        assert far.op("calendar.set", date=f"{saturday:%Y-%m-%d}", kind="workday").code == 0
        assert far.op("calendar.set", date=f"{wednesday:%Y-%m-%d}", kind="holiday").code == 0
        assert [probe(far, name, at(day, "10:00")) for day in (saturday, wednesday)] == [0, 1002]
        for day, full in ((saturday, False), (wednesday, True)):
            slots = far.app("slot.query", parkCode=name, date=f"{day:%Y-%m-%d}", bizType=1).data["slots"]
            assert {s["full"] for s in slots[20:30]} == {full}, day
    finally:
        for day in (saturday, wednesday):
            far.op("calendar.set", date=f"{day:%Y-%m-%d}", kind="normal")


def test_S_a_plan_is_bookable_while_its_window_is_open(desk):
    """A planTime of some minutes ago can be booked while its late minutes run, and not after them."""
    name = park("S")
    desk.server.lot(name, 5)
    late = desk.book(name, -29)
    assert late.code == 0 and late.data["enterEnd"] > now(), late
    assert desk.book(name, -31).code == 1108


# K2, R5, R3: times ahead, and an exit that was missed

def test_K2_a_report_dated_tomorrow_silences_nothing(desk):
    """A remaining report dated tomorrow counts as of now and raises 6010; the next one counts."""
    name = park("K2")
    key = desk.server.lot(name)
    remain = lambda left, when: desk.server.call(key, "space.remain.report", {"reportTime": when, "total": 100, "occupied": 100 - left, "remain": left})
    shown = lambda: desk.app("lot.detail", parkCode=name).data["remain"]
    assert remain(40, now() + DAY).code == 0 and shown() == 40
    for left in (30, 0, 20):
        assert remain(left, now()).code == 0 and shown() == left
    eventually(lambda: notices(desk, name, 6010) >= 1, 3)
    assert remain(50, now() + 400_000).code == 0 and shown() == 50
    assert remain(10, now() + 250_000).code == 0 and shown() == 10, "a clock that is 250 s fast is a clock"


def test_K2_other_reports_dated_tomorrow(desk):
    """Spaces and devices that were reported for tomorrow take the next report of today."""
    name = park("K2")
    key = desk.server.lot(name)
    assert desk.server.call(key, "lot.space.report", {"spaces": [{"spaceNo": "A1"}]}).code == 0
    status = lambda value, when: desk.server.call(key, "space.status.report", {"items": [{"spaceNo": "A1", "status": value, "changeTime": when}]}).code
    assert status(1, now() + DAY) == 0 and status(0, now()) == 0
    assert desk.server.reports(name, "spaceStatus")["A1"]["status"] == 0
    eventually(lambda: notices(desk, name, 6010) >= 1, 3)
    device = lambda value, when: desk.server.call(key, "device.status.report", {
        "devices": [{"deviceCode": "C1", "type": 1, "status": value, "deviceTime": when}]}).code
    assert device(0, now() + DAY) == 0 and device(1, now()) == 0
    assert desk.log(key, "event.report", {"eventId": "e", "eventType": 1005, "occurTime": now() + DAY}).code == 0
    when = desk.server.sql("SELECT max(at) FROM notices WHERE lot = ? AND type = 1005", name)[0][0]
    assert when <= now() + 300_000


FUTURE = 4_070_908_800_000  # 2099-01-01


def test_R5_an_entry_dated_2099(desk):
    """It counts as of now and raises 6010: the booked car is in by its order, later records count, and it can leave."""
    name = park("R5")
    key = desk.server.lot(name)
    order = desk.book(name, 10).data
    came = entry("1", order["plateNo"], FUTURE, order["orderNo"])
    taken = desk.log(key, "vehicle.entry.report", came)
    assert (taken.code, taken.data.get("orderStatus")) == (0, 2), taken
    assert abs(inside(desk, key)["1"]["enterTime"] - now()) < MINUTE
    eventually(lambda: notices(desk, name, 6010) >= 1, 3)
    assert abs(desk.order(order["orderNo"])["enterTime"] - now()) < MINUTE
    again = desk.log(key, "vehicle.entry.report", came)
    assert again.code == 0, "the same record again is no error"
    left = desk.log(key, "vehicle.exit.report", exit_(came, now() + 1000))
    assert (left.code, left.data.get("orderStatus")) == (0, 3), left
    assert inside(desk, key) == {}


def test_R5_an_exit_dated_2099(desk):
    """The car has left now; its plate comes again, and what it costs is the time that it was there."""
    name = park("R5")
    key = shared(desk.server, name, 0)
    publish(desk, name, "A1", price={"mode": 2, "amount": 1000})
    number = plate()
    order = desk.book(name, 1, bizType=2, plateNo=number, stayMin=60).data
    came = entry("1", number, now() - 10 * MINUTE, order["orderNo"], carKind=6)
    assert desk.log(key, "vehicle.entry.report", came).code == 0
    left = desk.log(key, "vehicle.exit.report", exit_(came, FUTURE))
    assert (left.code, left.data.get("orderStatus")) == (0, 3), left
    assert inside(desk, key) == {} and abs(desk.order(order["orderNo"])["leaveTime"] - now()) < MINUTE
    assert desk.app("fee.query", orderNo=order["orderNo"]).data["total"] == 1000
    assert desk.log(key, "vehicle.entry.report", entry("2", number)).code == 0


def test_R5_a_payment_dated_2099_stands_in_todays_books(desk):
    """Money that is dated ahead was taken when it was reported."""
    name = park("R5")
    key = desk.server.lot(name)
    paid = {"payNo": uuid.uuid4().hex, "recordNo": "1", "amount": 500, "payType": 1, "payTime": FUTURE}
    assert desk.log(key, "payment.record.report", paid).code == 0
    rows = desk.op("ledger.statement.query", account="till", parkCode=name, to=now() + DAY).data
    assert rows["closing"] == 500 and abs(rows["rows"][0]["at"] - now()) < MINUTE, rows


def test_R3_yesterdays_exit_was_missed(desk):
    """A car that is inside since yesterday stands at the gate with a booking: admitted, and the old visit is closed as exit missed (1015)."""
    name = park("R3")
    key = desk.server.lot(name)
    number = plate()
    assert desk.log(key, "vehicle.entry.report", entry("old", number, now() - DAY)).code == 0
    order = desk.book(name, 5, plateNo=number).data
    asked = desk.ask(key, number)
    assert (asked["decision"], asked.get("orderNo")) == (1, order["orderNo"]), asked
    taken = desk.log(key, "vehicle.entry.report", entry("new", number, order=order["orderNo"]))
    assert (taken.code, taken.data.get("orderStatus")) == (0, 2), taken
    assert list(inside(desk, key)) == ["new"]
    assert notices(desk, name, 1015) == 1
    # Within five minutes the camera saw it twice.
    assert desk.ask(key, number).get("reasonCode") == 1133
    twice = desk.log(key, "vehicle.entry.report", entry("again", number))
    assert twice.code == 1133 and list(inside(desk, key)) == ["new"]
    left = desk.log(key, "vehicle.exit.report", exit_(entry("new", number, inside(desk, key)["new"]["enterTime"], order["orderNo"])))
    assert (left.code, left.data.get("orderStatus")) == (0, 3) and inside(desk, key) == {}


def test_R3_a_walk_in_whose_exit_was_missed(desk):
    """Without a booking it is the same: the second entry is the visit that counts."""
    name = park("R3")
    key = desk.server.lot(name)
    number = plate()
    assert desk.log(key, "vehicle.entry.report", entry("old", number, now() - 10 * MINUTE)).code == 0
    assert desk.ask(key, number)["decision"] == 0
    assert desk.log(key, "vehicle.entry.report", entry("new", number)).code == 0
    assert list(inside(desk, key)) == ["new"] and notices(desk, name, 1015) == 1
    assert desk.server.call(key, "recon.inlot.count", {}).data["count"] == 1


def test_R3_a_missed_exit_is_not_charged_beyond_its_proof(desk):
    """A shared stay whose exit was missed costs until its last proof, and not until the car came again."""
    name = park("R3")
    key = shared(desk.server, name, 0)
    publish(desk, name, "A1", price={"mode": 2, "amount": 1000})
    number = plate()
    order = desk.book(name, 1, bizType=2, plateNo=number, stayMin=60).data
    assert desk.log(key, "vehicle.entry.report", entry("old", number, now() - DAY, order["orderNo"], carKind=6)).code == 0
    before = desk.app("fee.query", orderNo=order["orderNo"]).data
    assert before["total"] >= 24_000
    assert desk.log(key, "vehicle.entry.report", entry("new", number)).code == 0
    assert desk.order(order["orderNo"])["status"] == 3
    after = desk.app("fee.query", orderNo=order["orderNo"]).data
    assert after["total"] <= 1000, after


def test_R3_a_subscriber_whose_exit_was_missed(desk):
    """A subscriber does not take the subscriber's own place twice: the car comes again on the next day, and its old visit is closed."""
    name = park("R3")
    key = shared(desk.server, name, 0)
    offer = publish(desk, name, "A1")
    number = plate()
    share = desk.app("share.apply", parkCode=name, userToken="u", plateNos=[number, plate()], offerId=offer, periodFrom=now() - 2 * HOUR,
                     periodTo=now() + 20 * DAY).data["authNo"]
    assert desk.log(key, "vehicle.entry.report", entry("old", number, now() - HOUR, share, carKind=6)).code == 0
    assert desk.ask(key, number)["decision"] == 1
    assert desk.log(key, "vehicle.entry.report", entry("new", number, order=share, carKind=6)).code == 0
    assert list(inside(desk, key)) == ["new"] and notices(desk, name, 1015) == 1
