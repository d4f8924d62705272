"use strict";
// The live map: one picture of the whole city at the start, then what changes, twice a second. No tiles, no third parties.
const statusWords = {
  0: ["待确认", "held"], 1: ["已预约", "booked"], 2: ["已入场", "in"], 3: ["已完成", "done"], 4: ["已取消", "cancelled"],
  5: ["违约取消", "late cancel"], 6: ["被拒绝", "rejected"], 7: ["未到", "no-show"], 8: ["已撤销", "revoked"],
  9: ["候补中", "waiting"], 10: ["候补未成", "waited in vain"],
};
const colours = { 3: "#2f9e5b", 2: "#e8930c", 1: "#d63a2f", 0: "#7a1f1f" };
const kinds = { 1: "住宅 residence", 2: "写字楼 office", 3: "商场 mall", 4: "医院 hospital", 5: "学校 school", 10: "场馆 venue", 11: "公园景区 scenic area" };
const byId = (id) => document.getElementById(id);
const map = L.map("map", { preferCanvas: true, attributionControl: false, zoomSnap: 0.25 }).setView([22.6, 114.06], 10.5);
L.control.scale({ imperial: false }).addTo(map);
const lots = new Map();
let framed = false;

function describe(lot) {
  const box = document.createElement("div");
  const line = (text, strong) => { const p = document.createElement(strong ? "strong" : "div"); p.textContent = text; box.append(p); };
  line(lot.n, true);
  line(`${kinds[lot.t] || "其他 other"} · ${lot.c}`);
  line(`在场 occupied ${lot.occ}/${lot.total} · 饱和度 saturation ${Math.floor(lot.sat / 10)}%`);
  line(`${lot.share ? "可共享 shareable" : "可预约 reservable"} ${lot.free}/${lot.q} · 有效预约 orders ${lot.orders}`);
  line(lot.on ? "链路正常 link up" : "链路中断 link down");
  return box;
}

function showLot(lot) {
  const style = {
    radius: 3 + Math.sqrt(lot.total) / 5, weight: lot.on ? 1 : 2, color: lot.on ? "#ffffff" : "#8a94a0",
    fillColor: lot.on ? colours[lot.lvl] : "#ffffff", fillOpacity: lot.on ? 0.85 : 0.6,
  };
  const known = lots.get(lot.c);
  if (known) { known.lot = lot; known.dot.setStyle(style); known.dot.setRadius(style.radius); return; }
  const entry = { lot, dot: L.circleMarker([Number(lot.y), Number(lot.x)], style) };
  entry.dot.bindPopup(() => describe(entry.lot));
  entry.dot.addTo(map);
  lots.set(lot.c, entry);
}

let lastOrder = 0;
function showOrder(order) {
  const row = document.createElement("li");
  row.className = `s${order.status}`;
  const time = document.createElement("time");
  time.textContent = new Date(order.t).toLocaleTimeString("zh-CN", { hour12: false, timeZone: "Asia/Shanghai" });
  const what = document.createElement("span");
  const word = document.createElement("b");
  word.textContent = statusWords[order.status][0];
  const english = document.createElement("small");
  english.textContent = ` ${statusWords[order.status][1]}`;
  what.append(word, english);
  const where = document.createElement("span");
  const lot = lots.get(order.lot);
  where.textContent = `${order.plate} ${lot ? lot.lot.n : order.lot}`;
  where.title = where.textContent;
  row.append(time, what, where);
  const list = byId("orders");
  list.prepend(row);
  while (list.children.length > 40) list.lastChild.remove();
}

function show(update) {
  update.lots.forEach(showLot);
  for (const [name, value] of Object.entries(update.totals)) { const cell = byId(name); if (cell) cell.textContent = value; }
  // Updates overlap, so that none is missed: the order's serial number in the stream tells what is new.
  for (const order of update.orders) if (order.i > lastOrder) { showOrder(order); lastOrder = order.i; }
  if (!framed && lots.size > 0) {
    framed = true;
    map.fitBounds(L.latLngBounds([...lots.values()].map((entry) => entry.dot.getLatLng())).pad(0.03), { maxZoom: 14 });
  }
}

function link(state, chinese, english) {
  byId("link").className = state;
  byId("link").innerHTML = "";
  const words = document.createElement("span");
  words.textContent = chinese;
  const small = document.createElement("small");
  small.textContent = ` ${english}`;
  byId("link").append(words, small);
}

function connect() {
  fetch("/live/city").then((answer) => answer.json()).then((city) => {
    show(city);
    const events = new EventSource("/live/events");
    events.onopen = () => link("up", "实时", "live");
    events.onmessage = (event) => show(JSON.parse(event.data));
    events.onerror = () => link("down", "连接中断，正在重试", "connection lost, retrying");
  }).catch(() => { link("down", "服务器无应答，正在重试", "no answer, retrying"); setTimeout(connect, 2000); });
}
connect();
