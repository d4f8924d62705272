// Keeps the last tickets that somebody saw, with the files that they need: readable without a line.
const store = "berth-tickets-1";
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.pathname === "/signout") event.waitUntil(caches.delete(store));
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  const isTicket = event.request.mode === "navigate" && /^\/tickets\/[^/]+$/.test(url.pathname);
  const isFile = url.pathname.startsWith("/assets/");
  if (url.pathname === "/signin" || url.pathname === "/staff") event.waitUntil(caches.delete(store));
  if (!isTicket && !isFile) return;
  event.respondWith((async () => {
    const cache = await caches.open(store);
    const key = isTicket ? url.origin + url.pathname : event.request.url;
    if (isFile) { const known = await cache.match(key); if (known) return known; }
    try {
      const answer = await fetch(event.request);
      if (answer.ok && !answer.redirected) await cache.put(key, answer.clone());
      return answer;
    } catch (error) {
      const known = await cache.match(key);
      if (known) return known;
      throw error;
    }
  })());
});
