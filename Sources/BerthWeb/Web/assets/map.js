// The wall map: the whole city once, then what changes. Without the map library the list still works. Every number has its period; old data say so.
const zh = document.documentElement.lang.startsWith("zh");
const say = (chinese, english) => (zh ? chinese : english);
const names = JSON.parse(document.body.dataset.names);
const byId = (id) => document.getElementById(id);
const lots = new Map();
const L = globalThis.L;
const shapes = { l3: '<circle class="s" r="11"/>', l2: '<path class="s" d="M0-13L13 11H-13z"/>', l1: '<path class="s" d="M-11-11H11V11H-11z"/>', l0: '<path class="s" d="M0-14L14 0L0 14L-14 0z"/>', off: '<circle class="s" r="10"/>' };
const level = (lot) => (lot.on ? `l${lot.lvl}` : "off");
let map, cluster, outlines, framed = false, run = null, last = performance.now(), lastOrder = 0;

if (L) {
  map = L.map("map", { attributionControl: false, zoomSnap: 0.25, maxZoom: 18 }).setView([22.6, 114.06], 10.5);
  L.control.scale({ imperial: false }).addTo(map);
  outlines = L.layerGroup().addTo(map);
  const worst = (marker) => ["l0", "l1", "l2", "l3"].indexOf(level(marker.lot)) ;
  cluster = L.markerClusterGroup ? L.markerClusterGroup({ maxClusterRadius: 40, chunkedLoading: true, iconCreateFunction: (group) => {
    const children = group.getAllChildMarkers();
    const full = children.filter((marker) => worst(marker) >= 0 && worst(marker) <= 1).length;
    return L.divIcon({ className: "", iconSize: [38, 38], html: `<span class="cluster ${full * 2 >= children.length ? "l1" : full ? "l2" : ""}">${children.length}</span>` });
  } }) : L.layerGroup();
  map.addLayer(cluster);
} else byId("map").querySelector(".nomap").hidden = false;

function icon(lot) {
  const text = lot.on ? `${Math.floor(lot.sat / 10)}%` : "–";
  return L.divIcon({ className: "", iconSize: [30, 30], html: `<svg class="mark ${level(lot)}" viewBox="-15 -15 30 30">${shapes[level(lot)]}<text y="4">${text}</text></svg>` });
}
const clock = (ms) => new Date(ms).toLocaleTimeString(zh ? "zh-CN" : "en-GB", { hour12: false, timeZone: "Asia/Shanghai" });
function describe(lot) {
  const box = document.createElement("div");
  const line = (text, tag = "div") => { const node = document.createElement(tag); node.textContent = text; box.append(node); };
  line(lot.n, "b");
  line(`${names.kind[lot.t] ?? lot.t} · ${lot.c}`);
  line(say(`已占 ${lot.occ}/${lot.total} · 饱和度 ${Math.floor(lot.sat / 10)}% ${names.level[lot.lvl]}`, `taken ${lot.occ}/${lot.total} · saturation ${Math.floor(lot.sat / 10)}% ${names.level[lot.lvl]}`));
  line(`${lot.share ? say("可共享", "to share") : say("可预约", "to reserve")} ${lot.free}/${lot.q} · ${say("有效预约", "reservations")} ${lot.orders}`);
  line(lot.on ? say("在线", "connected") : `${say("离线", "not connected")}${lot.offlineSince ? say(" 自 ", " since ") + clock(lot.offlineSince) : ""}${lot.asOf ? say("，数据 ", ", data of ") + clock(lot.asOf) : ""}`);
  const way = document.createElement("a");
  way.href = `/lots/${encodeURIComponent(lot.c)}`;
  way.textContent = say("去预约", "Reserve");
  box.append(way);
  return box;
}
const filters = byId("filters");
function shown(lot) {
  const text = filters.elements.q.value.trim().toLowerCase(), show = filters.elements.show.value;
  if (text && !`${lot.n} ${lot.c}`.toLowerCase().includes(text)) return false;
  return !show || (show === "hospital" && lot.t === 4) || (show === "share" && lot.share) || (show === "free" && lot.on && lot.lvl === 3) || (show === "off" && !lot.on);
}
function put(lot, number) {
  const known = lots.get(lot.c);
  const entry = known ?? { lot };
  if (known && number < known.number) return;
  entry.number = number;
  const isNew = !known || level(known.lot) !== level(lot) || Math.floor(known.lot.sat / 10) !== Math.floor(lot.sat / 10);
  entry.lot = lot;
  lots.set(lot.c, entry);
  if (!L) return;
  if (!entry.marker) {
    entry.marker = L.marker([Number(lot.y), Number(lot.x)], { icon: icon(lot), keyboard: true, title: lot.n, alt: lot.n });
    entry.marker.lot = lot;
    entry.marker.bindPopup(() => describe(entry.lot));
  } else {
    entry.marker.lot = lot;
    if (isNew) entry.marker.setIcon(icon(lot));
    // An open pop-up follows the data.
    if (entry.marker.isPopupOpen()) entry.marker.getPopup().setContent(describe(lot));
  }
  const isIn = cluster.hasLayer(entry.marker);
  if (shown(lot) && !isIn) cluster.addLayer(entry.marker);
  if (!shown(lot) && isIn) cluster.removeLayer(entry.marker);
}
let touched = -Infinity;
byId("list").addEventListener("touchstart", () => { touched = performance.now(); }, { passive: true });
function list() {
  // The order stays while somebody points at the list or is in it; the numbers follow all the same.
  const isHeld = byId("list").matches(":hover,:focus-within") || performance.now() - touched < 5000;
  const place = new Map(isHeld ? [...byId("list").querySelectorAll("[data-lot]")].map((node, index) => [node.dataset.lot, index]) : []);
  const rows = [...lots.values()].filter((entry) => shown(entry.lot)).sort((a, b) => (place.get(a.lot.c) ?? 1e6) - (place.get(b.lot.c) ?? 1e6) || b.lot.sat - a.lot.sat || a.lot.c.localeCompare(b.lot.c));
  byId("list-count").textContent = String(rows.length);
  const focus = document.activeElement?.dataset?.lot;
  byId("list").replaceChildren(...rows.slice(0, 60).map(({ lot }) => {
    const item = document.createElement("li"), button = document.createElement("button"), name = document.createElement("span"), value = document.createElement("small");
    button.type = "button";
    button.dataset.lot = lot.c;
    name.textContent = lot.n;
    value.textContent = lot.on ? `${Math.floor(lot.sat / 10)}% ${names.level[lot.lvl]}` : say("离线", "not connected");
    button.append(name, value);
    button.addEventListener("click", () => {
      const entry = lots.get(lot.c);
      if (!L) { location.href = `/lots/${encodeURIComponent(lot.c)}`; return; }
      const open = () => entry.marker.openPopup();
      byId("map").scrollIntoView({ block: "nearest" });
      if (cluster.zoomToShowLayer) cluster.zoomToShowLayer(entry.marker, open); else { map.setView(entry.marker.getLatLng(), 15); open(); }
    });
    item.append(button);
    return item;
  }));
  if (focus) byId("list").querySelector(`[data-lot="${CSS.escape(focus)}"]`)?.focus();
}
// Outlines of the districts from the lots' own region codes: the convex hull of their positions. A lot far from the middle of its district has a
// wrong code or place, and does not stretch the outline.
function core(points) {
  const middle = (index) => { const all = points.map((p) => p[index]).sort((a, b) => a - b); return all[Math.floor(all.length / 2)]; };
  const [y, x] = [middle(0), middle(1)];
  const far = points.map((p) => Math.hypot(p[0] - y, p[1] - x));
  const usual = [...far].sort((a, b) => a - b)[Math.floor(far.length / 2)];
  return { points: points.filter((_, index) => far[index] <= usual * 2.5 + 0.002), middle: [y, x] };
}
function hull(points) {
  points.sort((a, b) => a[1] - b[1] || a[0] - b[0]);
  const cross = (o, a, b) => (a[1] - o[1]) * (b[0] - o[0]) - (a[0] - o[0]) * (b[1] - o[1]);
  const half = (list) => { const out = []; for (const p of list) { while (out.length > 1 && cross(out.at(-2), out.at(-1), p) <= 0) out.pop(); out.push(p); } out.pop(); return out; };
  return [...half(points), ...half([...points].reverse())];
}
function districts() {
  if (!L) return;
  outlines.clearLayers();
  const groups = {};
  for (const { lot } of lots.values()) (groups[lot.r] ??= []).push([Number(lot.y), Number(lot.x)]);
  for (const [code, points] of Object.entries(groups)) {
    if (points.length < 3) continue;
    const { points: inner, middle } = core(points);
    if (inner.length < 3) continue;
    const polygon = L.polygon(hull(inner), { className: "outline", color: null, fillColor: null, weight: 1, fillOpacity: 0.35, interactive: false }).addTo(outlines);
    L.tooltip({ permanent: true, direction: "top", offset: [0, 4], className: "district", interactive: false }).setLatLng([polygon.getBounds().getNorth(), middle[1]]).setContent(document.createTextNode(names.district[code] ?? code).textContent).addTo(outlines);
  }
}
function order(row) {
  const item = document.createElement("li"), time = document.createElement("time"), word = document.createElement("b"), where = document.createElement("span");
  time.textContent = clock(row.t);
  word.textContent = names.status[row.status];
  where.textContent = lots.get(row.lot)?.lot.n ?? row.lot;
  item.append(time, word, where);
  byId("orders").prepend(item);
  while (byId("orders").children.length > 40) byId("orders").lastChild.remove();
}
let listed = -Infinity;
// Updates are numbered. The state of the whole city has the number of the last update before it, and is newer than that one.
function show(update, number = update.n) {
  // Another run of the server: what is on the page is another city's state until it is fetched anew.
  if (run && update.run && update.run !== run) { location.replace(location.href); return; }
  run = update.run ?? run;
  for (const lot of update.lots) put(lot, number);
  for (const name of ["online", "lots", "active"]) byId(name).textContent = update.totals[name];
  // All cars: those on record, and those that a lot counts without a record.
  byId("inside").textContent = [...lots.values()].reduce((sum, { lot }) => sum + lot.occ, 0);
  const today = update.today ?? {};
  const values = { orders: today.orders, entered: today.entered, left: today.left, cancelled: today.cancelled === undefined ? undefined : today.cancelled + today.breach, noShows: today.noShows };
  for (const [name, value] of Object.entries(values)) byId(`today-${name}`).textContent = value ?? "–";
  for (const row of update.orders) if (row.i > lastOrder) { order(row); lastOrder = row.i; }
  if (!framed && lots.size > 0) {
    framed = true;
    districts();
    if (L) map.fitBounds(L.latLngBounds([...lots.values()].map(({ lot }) => [Number(lot.y), Number(lot.x)])).pad(0.03), { maxZoom: 14 });
  }
  if (performance.now() - listed > 3000) { listed = performance.now(); list(); }
}
function link(state, text) { const line = byId("link"); line.dataset.live = state; line.querySelector(".say").textContent = text; }
// The stream has only what changes. Each time it opens, also when the browser opens it again by itself, the whole state is fetched, and the
// data count as new only then.
let events, isWhole = false, isFetching = false, tried = 0, opening = 0;
async function fetchCity() {
  const own = ++opening;
  isFetching = true;
  try {
    const city = await (await fetch("/live/city", { signal: AbortSignal.timeout(20000) })).json();
    // The stream has broken off or opened anew meanwhile: what came between is in neither.
    if (own !== opening) return;
    show(city, city.n + 0.5);
    isWhole = true;
    last = performance.now();
  } catch { /* The watch below connects anew. */ } finally { if (own === opening) isFetching = false; }
}
function connect() {
  tried = performance.now();
  isWhole = isFetching = false;
  opening++;
  events?.close();
  const stream = events = new EventSource("/live/events");
  stream.onopen = () => { isWhole = false; fetchCity(); };
  stream.onerror = () => { isWhole = isFetching = false; opening++; };
  stream.onmessage = (event) => {
    if (run === null) return;
    show(JSON.parse(event.data));
    if (!isWhole) return;
    last = performance.now();
    link("up", say("实时", "live"));
  };
}
setInterval(() => {
  const silent = performance.now() - last, seconds = Math.round(silent / 1000);
  if (silent > 30000) link("down", say(`连接中断 ${seconds} 秒，显示的是旧数据，正在重试`, `no news for ${seconds} s: what you see is old; trying again`));
  else if (silent > 10000) link("late", say(`${seconds} 秒没有新数据`, `no news for ${seconds} s`));
  if (silent > 8000 && performance.now() - tried > (isFetching ? 24000 : 8000)) connect();
}, 1000);
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("input", () => { for (const { lot, number } of lots.values()) put(lot, number); list(); });
globalThis.berthLots = lots;
connect();
