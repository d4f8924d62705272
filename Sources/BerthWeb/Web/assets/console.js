// Signs a message in the browser as section 3 of the contract says, shows the string to sign, and sends it.
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const utf8 = (text) => new TextEncoder().encode(text);
function canon(value) {
  if (Array.isArray(value)) return `[${value.map(canon).join(",")}]`;
  if (value && typeof value === "object") return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canon(value[key])}`).join(",")}}`;
  return JSON.stringify(value);
}
async function hmac(secret, text) {
  const key = await crypto.subtle.importKey("raw", utf8(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return hex(await crypto.subtle.sign("HMAC", key, utf8(text)));
}
export async function message(fields, data) {
  const envelope = { version: "1.0", requestId: crypto.randomUUID(), appId: fields.appId, service: fields.service, timestamp: Date.now(), nonce: hex(crypto.getRandomValues(new Uint8Array(8))) };
  if (fields.parkCode) envelope.parkCode = fields.parkCode;
  const params = { ...envelope, data: hex(await crypto.subtle.digest("SHA-256", utf8(canon(data)))) };
  const text = Object.keys(params).sort().map((name) => `${name}=${params[name]}`).join("&");
  return { text, body: { ...envelope, sign: await hmac(fields.secret, text), data } };
}
const zh = globalThis.document?.documentElement.lang.startsWith("zh");
export function start(form) {
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  const select = form.elements.service;
  const fill = () => { form.elements.data.value = JSON.stringify(JSON.parse(select.selectedOptions[0].dataset.example), null, 1); };
  select.addEventListener("change", fill);
  fill();
  const made = async () => {
    const fields = Object.fromEntries(new FormData(form));
    let data;
    try { data = JSON.parse(fields.data || "{}"); } catch (error) { throw new Error(`${zh ? "data 不是合法的 JSON：" : "data is no JSON: "}${error.message}`); }
    if (data === null || typeof data !== "object" || Array.isArray(data)) throw new Error(zh ? "data 须为 JSON 对象" : "data has to be a JSON object");
    const result = await message(fields, data);
    show("string-to-sign", result.text);
    show("request", JSON.stringify(result.body, null, 1));
    return result;
  };
  form.querySelector("[data-sign]").addEventListener("click", () => made().catch((error) => show("reply", error.message)));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { body } = await made();
      const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
      const answer = await fetch("/developer/console", { method: "POST", body: new URLSearchParams({ csrf, service: body.service, message: JSON.stringify(body) }) });
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch { /* It is shown as it is. */ }
      show("reply", answer.ok ? shown : `HTTP ${answer.status}\n${shown}`);
    } catch (error) { show("reply", error.message); }
  });
}
