-- The tables of the peer (fastapi_postgres.py) and its booking as one function, so that a booking is one round trip.
CREATE TABLE lots(code text PRIMARY KEY, capacity int NOT NULL, per_user int NOT NULL, per_plate int NOT NULL, down_last bigint NOT NULL DEFAULT 0);
CREATE TABLE slots(lot text NOT NULL REFERENCES lots, slot bigint NOT NULL, taken int NOT NULL, PRIMARY KEY(lot, slot)) WITH (fillfactor = 50);
CREATE TABLE days(kind "char" NOT NULL, name text NOT NULL, day int NOT NULL, count int NOT NULL, PRIMARY KEY(kind, name, day));
CREATE TABLE reservations(
  id bigserial PRIMARY KEY, app_id text NOT NULL, client_no text NOT NULL, user_token text NOT NULL, plate text NOT NULL, mobile text,
  lot text NOT NULL REFERENCES lots, starts bigint NOT NULL, ends bigint NOT NULL, status smallint NOT NULL DEFAULT 1, at bigint NOT NULL,
  UNIQUE(app_id, client_no));
CREATE INDEX ON reservations(plate);
CREATE TABLE replies(app_id text NOT NULL, request_id text NOT NULL, nonce text NOT NULL, reservation bigint, at bigint NOT NULL, PRIMARY KEY(app_id, request_id));
CREATE TABLE outbox(lot text NOT NULL, seq bigint NOT NULL, reservation bigint NOT NULL, data text NOT NULL, sent bool NOT NULL DEFAULT false, PRIMARY KEY(lot, seq));

-- Books a place and returns the number of the reservation; an exception names what refuses it, and nothing is changed then.
CREATE FUNCTION book(app text, request text, once text, client text, who text, car text, phone text, park text, from_ms bigint, until_ms bigint, now_ms bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE l lots; made bigint; kept replies; wanted int; got int; next bigint;
BEGIN
  SELECT * INTO kept FROM replies WHERE app_id = app AND request_id = request;
  IF FOUND THEN RETURN kept.reservation; END IF;
  SELECT * INTO l FROM lots WHERE code = park;
  IF NOT FOUND THEN RAISE EXCEPTION 'unknown lot' USING ERRCODE = 'BX300'; END IF;
  PERFORM FROM reservations WHERE plate = car AND status = 1 AND starts < until_ms AND ends > from_ms;
  IF FOUND THEN RAISE EXCEPTION 'the car has another reservation' USING ERRCODE = 'BX407'; END IF;
  INSERT INTO reservations(app_id, client_no, user_token, plate, mobile, lot, starts, ends, at)
    VALUES (app, client, who, car, phone, park, from_ms, until_ms, now_ms) RETURNING id INTO made;
  INSERT INTO days AS d VALUES ('u', who, from_ms / 86400000, 1) ON CONFLICT (kind, name, day) DO UPDATE SET count = d.count + 1 WHERE d.count < l.per_user;
  IF NOT FOUND THEN RAISE EXCEPTION 'limit of the user' USING ERRCODE = 'BX402'; END IF;
  INSERT INTO days AS d VALUES ('p', car, from_ms / 86400000, 1) ON CONFLICT (kind, name, day) DO UPDATE SET count = d.count + 1 WHERE d.count < l.per_plate;
  IF NOT FOUND THEN RAISE EXCEPTION 'limit of the plate' USING ERRCODE = 'BX403'; END IF;
  INSERT INTO replies VALUES (app, request, once, made, now_ms);
  -- The rows of a lot that all its bookings share come last, so that their locks are short. A slot is half an hour.
  wanted := (until_ms - 1) / 1800000 - from_ms / 1800000 + 1;
  INSERT INTO slots AS s SELECT park, n, 1 FROM generate_series(from_ms / 1800000, (until_ms - 1) / 1800000) n
    ON CONFLICT (lot, slot) DO UPDATE SET taken = s.taken + 1 WHERE s.taken < l.capacity;
  GET DIAGNOSTICS got = ROW_COUNT;
  IF got < wanted THEN RAISE EXCEPTION 'full' USING ERRCODE = 'BX401'; END IF;
  UPDATE lots SET down_last = down_last + 1 WHERE code = park RETURNING down_last INTO next;
  INSERT INTO outbox VALUES (park, next, made, concat_ws('|', made, car, from_ms, until_ms), false);
  RETURN made;
END $$;
