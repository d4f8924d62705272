// What must move: live parts, ages, one tap, plates, position. Pages work without it as far as search, booking and cancelling go.
const zh = document.documentElement.lang.startsWith("zh");
const say = (chinese, english) => (zh ? chinese : english);
// Asks for the page anew. A reload would send the form again whose answer the page is.
const again = () => location.replace(location.pathname + location.search);
const meta = (name) => document.querySelector(`meta[name=${name}]`)?.content ?? "";

// Ages: beside every live number, amber after 10 s without news where a page is live, as text elsewhere.
function ago(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return say(`${s} 秒前`, `${s} s ago`);
  if (s < 3600) return say(`${Math.floor(s / 60)} 分钟前`, `${Math.floor(s / 60)} min ago`);
  return null;
}
let skew = 0; // server's clock less ours
// A page that stays open over midnight says "today" of yesterday: it is asked for anew, or says so where something was typed or a form was answered.
const civilDay = () => Math.floor((Date.now() + skew - 2000 + 8 * 3600000) / 86400000);
let day = civilDay();
let isSkewKnown = false;
function setSkew(value) {
  // The first beat comes with the page: what it shows is of the server's day.
  const isJump = !isSkewKnown || Math.abs(value - skew) > 2000;
  isSkewKnown = true;
  skew = value;
  if (isJump) day = civilDay();
}
let isTurning = false;
async function midnight() {
  if (isTurning || civilDay() <= day) return;
  isTurning = true;
  try {
    // Without a line the page stays as it is; the server's clock decides.
    const answer = await fetch(location.pathname + location.search, { method: "HEAD", cache: "no-store" });
    const time = Date.parse(answer.headers.get("date") ?? "");
    if (!Number.isNaN(time)) skew = time - Date.now();
    if (civilDay() > day) turn();
  } catch { /* again in a while */ }
  setTimeout(() => { isTurning = false; }, 5000);
}
function turn() {
  day = civilDay();
  const isWritten = [...document.querySelectorAll("main input:not([type=hidden]),main textarea")].some((field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked)
    || [...document.querySelectorAll("main option")].some((option) => option.selected !== option.defaultSelected && option.parentElement.querySelector("option[selected]"));
  if (!isWritten && document.body.dataset.answer === undefined) return again();
  const word = document.createElement("p");
  word.className = "warn";
  word.setAttribute("role", "status");
  word.textContent = say("日期已变更，页面上的“今天”是昨天。", "A new day has begun: “today” on this page is yesterday. ");
  if (document.body.dataset.answer === undefined) {
    const link = document.createElement("a");
    link.href = location.pathname + location.search;
    link.textContent = say("刷新页面", "Load it anew");
    word.append(link);
  }
  document.querySelector("main")?.prepend(word);
}
function ages() {
  const now = Date.now() + skew;
  for (const node of document.querySelectorAll("time.age[data-at]")) {
    const age = now - Number(node.dataset.at);
    const text = ago(age);
    if (text) node.textContent = text;
    node.classList.toggle("amber", age > 120000 && age <= 600000);
    node.classList.toggle("red", age > 600000);
  }
  for (const node of document.querySelectorAll("time[data-until]")) {
    const left = Math.max(0, Math.round((Number(node.dataset.until) - now) / 1000));
    node.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  }
}

// A live part is replaced as a whole; the token of its forms and an open detail survive.
function prepare(root) {
  for (const field of root.querySelectorAll("input[name=csrf]")) field.value = meta("csrf");
  once(root);
  navigation(root);
}
function live() {
  const line = document.querySelector(".liveline");
  const part = document.getElementById("live");
  if (!document.body.dataset.stream || !part) return;
  const words = line?.querySelector(".say");
  let last = performance.now();
  let source;
  let held; // a part that came while somebody was typing
  const typing = () => part.contains(document.activeElement) && document.activeElement.matches("input,textarea,select");
  const put = (html) => {
    held = undefined;
    const opened = [...part.querySelectorAll("details[open] > summary")].map((node) => node.textContent);
    const focus = document.activeElement?.closest?.("#live a")?.getAttribute("href");
    const name = (field) => `${field.form?.getAttribute("action")} ${field.name}`;
    const written = new Map([...part.querySelectorAll("input:not([type=hidden]),textarea")].filter((field) => field.value !== field.defaultValue).map((field) => [name(field), field.value]));
    part.innerHTML = html;
    for (const node of part.querySelectorAll("details > summary")) if (opened.includes(node.textContent)) node.parentElement.open = true;
    for (const field of part.querySelectorAll("input:not([type=hidden]),textarea")) if (written.has(name(field))) field.value = written.get(name(field));
    if (focus) part.querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus();
    prepare(part);
    ages();
  };
  // Not at once: a tap on a button of the same part ends the typing too, and has to find its button.
  part.addEventListener("focusout", () => setTimeout(() => { if (held !== undefined && !typing() && !part.querySelector("form[data-sent]")) put(held); }, 600));
  const show = (state, text) => { if (line && line.dataset.live !== state) { line.dataset.live = state; words.textContent = text; } };
  const open = () => {
    source?.close();
    source = new EventSource(document.body.dataset.stream);
    source.addEventListener("part", (event) => {
      last = performance.now();
      if (typing()) { held = event.data; show("held", say("有新内容，输入结束后显示", "there is news; it is shown when you have finished typing")); } else put(event.data);
    });
    source.addEventListener("beat", (event) => {
      last = performance.now();
      const [run, now] = event.data.split(" ");
      setSkew(Number(now) - Date.now());
      if (run !== meta("run")) again();
      if (held === undefined) show("up", say("实时", "live"));
    });
    source.addEventListener("gone", () => { source.close(); again(); });
  };
  open();
  setInterval(() => {
    const silent = performance.now() - last;
    const seconds = Math.round(silent / 1000);
    if (silent > 30000) { line.dataset.live = "down"; words.textContent = say(`连接中断 ${seconds} 秒，显示的是旧数据，正在重试`, `no news for ${seconds} s: what you see is old; trying again`); }
    else if (silent > 10000) { line.dataset.live = "late"; words.textContent = say(`${seconds} 秒没有新数据`, `no news for ${seconds} s`); }
    // A stream that was cut in a way that nobody noticed is opened anew; the first part is the whole state.
    if (silent > 12000 && Math.round(silent / 1000) % 6 === 0) open();
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && performance.now() - last > 8000) open(); });
}

// One tap is one request: the button is taken away until the page changes, and comes back with the page.
function once(root = document) {
  for (const form of root.querySelectorAll("form[data-once]")) {
    if (form.dataset.ready) continue;
    form.dataset.ready = "1";
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) { event.preventDefault(); return; }
      form.dataset.sent = "1";
      setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; }, 0);
    });
  }
}
addEventListener("pageshow", (event) => {
  for (const form of document.querySelectorAll("form[data-once]")) { delete form.dataset.sent; for (const button of form.querySelectorAll("button:not([hidden])")) button.disabled = false; }
  if (event.persisted && document.querySelector("form[data-once] input[name=key]")) again();
});

// A plate: province keys while the first character is missing, letters in capitals, the usual errors as they are typed.
function plates() {
  const provinces = "粤京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵青藏川宁琼";
  for (const field of document.querySelectorAll("[data-plate]")) {
    const keys = document.createElement("div");
    keys.className = "keys";
    keys.hidden = true;
    for (const province of provinces) {
      const key = document.createElement("button");
      key.type = "button";
      key.textContent = province;
      key.addEventListener("click", () => { field.value = province + field.value.replace(/^[\u4e00-\u9fff]/, ""); update(); field.focus(); });
      keys.append(key);
    }
    field.after(keys);
    const update = () => {
      field.value = field.value.toUpperCase().replace(/[\s·.\-]/g, "");
      keys.hidden = document.activeElement !== field && !keys.contains(document.activeElement) || /^[\u4e00-\u9fffA-Z0-9]./.test(field.value) && /^[\u4e00-\u9fffWV0-9]/.test(field.value);
      const radio = field.closest("fieldset")?.querySelector("input[type=radio]:checked");
      if (radio && field.value) radio.checked = false;
    };
    field.addEventListener("input", update);
    field.addEventListener("focus", update);
    field.addEventListener("blur", () => setTimeout(update, 200));
  }
}

function here() {
  const button = document.querySelector("[data-here]");
  if (!button || !navigator.geolocation) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    button.disabled = true;
    const form = button.closest("form");
    navigator.geolocation.getCurrentPosition((position) => {
      form.elements.lng.value = position.coords.longitude.toFixed(6);
      form.elements.lat.value = position.coords.latitude.toFixed(6);
      (form.elements.to ?? form.elements.q).value = "";
      form.requestSubmit();
    }, () => {
      button.disabled = false;
      const word = form.querySelector(".nohere") ?? Object.assign(document.createElement("p"), { className: "warn nohere" });
      word.setAttribute("role", "status");
      word.textContent = say("没有取得位置：请在浏览器中允许定位，或填写目的地。", "No position: allow it in the browser, or enter a destination.");
      form.append(word);
    }, { timeout: 8000, maximumAge: 60000 });
  });
  document.querySelector("form.find input[name=to]")?.addEventListener("input", (event) => { const form = event.target.form; form.elements.lng.value = ""; form.elements.lat.value = ""; });
}

// Names of places while a destination is typed. Without them the search does the same.
function suggestions() {
  const field = document.querySelector("[data-suggest]");
  let asked = 0;
  field?.addEventListener("input", () => {
    const mine = ++asked;
    setTimeout(async () => {
      if (mine !== asked || !field.value.trim()) return;
      const names = await fetch(`/suggest?q=${encodeURIComponent(field.value.trim())}`).then((answer) => (answer.ok ? answer.json() : [])).catch(() => []);
      if (mine !== asked) return;
      field.list.replaceChildren(...names.map((name) => new Option(name, name)));
    }, 250);
  });
}

// The map of a list is fetched when somebody opens it.
function maps() {
  for (const box of document.querySelectorAll(".mapbox")) box.addEventListener("toggle", async () => {
    if (!box.open || box.dataset.ready) return;
    box.dataset.ready = "1";
    const { draw } = await import(document.querySelector("script[src*='app.js']").src.replace(/app\.js.*/, "minimap.js"));
    draw(box.querySelector(".minimap"), JSON.parse(box.dataset.points), box.dataset.center, box.dataset.query);
  });
  for (const box of document.querySelectorAll(".mapbox[open]")) box.dispatchEvent(new Event("toggle"));
}

// A phone's pictures are larger than what is kept: they are made smaller before they go.
function shrinking() {
  for (const field of document.querySelectorAll("input[type=file][data-shrink]")) field.addEventListener("change", async () => {
    const most = Number(field.dataset.shrink);
    const files = [...field.files];
    if (files.every((file) => file.size <= most)) return;
    const buttons = field.form.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    try {
      const kept = new DataTransfer();
      for (const file of files) kept.items.add(file.size <= most ? file : await smaller(file, most) ?? file);
      field.files = kept.files;
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  });
}
async function smaller(file, most) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return null;
  for (let side = 1800; side >= 600; side *= 0.75) {
    const scale = Math.min(1, side / Math.max(picture.width, picture.height));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.8));
    if (blob && blob.size <= most) return new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", { type: "image/jpeg" });
  }
  return null;
}

// Apple's own scheme for a place; other systems know geo:.
function navigation(root = document) {
  if (!/iPhone|iPad|Macintosh/.test(navigator.userAgent)) return;
  for (const link of root.querySelectorAll("a[data-navigate]")) link.href = `https://maps.apple.com/?q=${link.dataset.navigate}`;
}

async function consolePage() {
  const form = document.querySelector("[data-console]");
  if (!form) return;
  const { start } = await import("/assets/console.js");
  start(form);
}

// A ticket is readable without a line; it says its age then.
if ("serviceWorker" in navigator && (location.protocol === "https:" || location.hostname === "127.0.0.1" || location.hostname === "localhost")) navigator.serviceWorker.register("/sw.js").catch(() => {});
const kept = document.querySelector("[data-kept]");
if (kept && !navigator.onLine) {
  kept.hidden = false;
  // What was said of a deed belonged to the moment after it.
  document.querySelector("[data-said]")?.remove();
}
addEventListener("offline", () => { if (kept) kept.hidden = false; });
addEventListener("online", () => { if (kept) kept.hidden = true; });

for (const button of document.querySelectorAll("[data-print]")) { button.hidden = false; button.addEventListener("click", () => print()); }

// A long list of tabs begins with the present one.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
ages();
setInterval(() => { ages(); midnight(); }, 1000);
once();
plates();
here();
suggestions();
maps();
shrinking();
navigation();
live();
consolePage();
