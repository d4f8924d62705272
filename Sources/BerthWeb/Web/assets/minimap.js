// The lots of a list on a map without tiles: Leaflet from the server itself.
const load = (tag, attributes) => new Promise((done, fail) => { const node = Object.assign(document.createElement(tag), attributes); node.onload = done; node.onerror = fail; document.head.append(node); });
const colours = { l3: "#1d7f45", l2: "#a35a00", l1: "#c02a20", l0: "#7a1717" };
export async function draw(box, points) {
  await Promise.all([load("link", { rel: "stylesheet", href: "/lib/leaflet/leaflet.css" }), load("script", { src: "/lib/leaflet/leaflet.min.js" })]);
  const L = globalThis.L;
  const map = L.map(box, { attributionControl: false });
  L.control.scale({ imperial: false }).addTo(map);
  const bounds = [];
  for (const point of points) {
    const at = [Number(point.y), Number(point.x)];
    bounds.push(at);
    const dot = L.circleMarker(at, { radius: 9, weight: 2, color: "#fff", fillColor: point.f > 0 ? colours[point.k] : "#55636f", fillOpacity: .9 });
    const link = document.createElement("a");
    link.href = point.u;
    link.textContent = `${point.n} · ${point.f}`;
    dot.bindPopup(link).bindTooltip(String(point.f), { permanent: true, direction: "right" }).addTo(map);
  }
  if (bounds.length) map.fitBounds(L.latLngBounds(bounds).pad(.1), { maxZoom: 16 });
}
