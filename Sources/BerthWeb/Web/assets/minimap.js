// The lots of a list on a map without tiles: Leaflet from the server itself.
const load = (tag, attributes) => new Promise((done, fail) => { const node = Object.assign(document.createElement(tag), attributes); node.onload = done; node.onerror = fail; document.head.append(node); });
const colours = { l3: "#1d7f45", l2: "#a35a00", l1: "#c02a20", l0: "#7a1717" };
export async function draw(box, points, center, query) {
  await Promise.all([load("link", { rel: "stylesheet", href: "/lib/leaflet/leaflet.css" }), load("script", { src: "/lib/leaflet/leaflet.min.js" })]);
  const L = globalThis.L;
  const map = L.map(box, { attributionControl: false });
  L.control.scale({ imperial: false }).addTo(map);
  const bounds = [];
  for (const point of points) {
    const at = [Number(point.y), Number(point.x)];
    bounds.push(at);
    const dot = L.circleMarker(at, { radius: 9, weight: 2, color: "#fff", fillColor: point.f === undefined || point.f > 0 ? colours[point.k] : "#55636f", fillOpacity: .9 });
    const link = document.createElement("a");
    if (point.u) link.href = point.u;
    link.textContent = point.f === undefined ? point.n : `${point.n} · ${point.f}`;
    dot.bindPopup(link).addTo(map);
    // Numbers beside the nearest ones alone: more of them cover each other.
    if (point.f !== undefined && bounds.length <= 12) dot.bindTooltip(String(point.f), { permanent: true, direction: "right" });
  }
  if (center) {
    const [x, y] = center.split(" ").map(Number);
    bounds.push([y, x]);
    L.circleMarker([y, x], { radius: 7, weight: 4, color: "#0f5fa6", fillColor: "#fff", fillOpacity: 1 }).bindTooltip(document.documentElement.lang.startsWith("zh") ? "目的地" : "destination", { direction: "top" }).addTo(map);
  }
  // A point of the map is a destination too.
  if (query) map.on("click", (event) => {
    const link = document.createElement("a");
    link.href = `/?lng=${event.latlng.lng.toFixed(6)}&lat=${event.latlng.lat.toFixed(6)}&${query}`;
    link.textContent = document.documentElement.lang.startsWith("zh") ? "查找这里附近" : "Search near here";
    L.popup().setLatLng(event.latlng).setContent(link).openOn(map);
  });
  if (bounds.length) map.fitBounds(L.latLngBounds(bounds).pad(.1), { maxZoom: 16 });
}
