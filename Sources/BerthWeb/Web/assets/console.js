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
export function start(form) {
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  const select = form.elements.service;
  const fill = () => { form.elements.data.value = JSON.stringify(JSON.parse(select.selectedOptions[0].dataset.example), null, 1); };
  select.addEventListener("change", fill);
  fill();
  const made = async () => {
    const fields = Object.fromEntries(new FormData(form));
    const result = await message(fields, JSON.parse(fields.data || "{}"));
    show("string-to-sign", result.text);
    show("request", JSON.stringify(result.body, null, 1));
    return result;
  };
  form.querySelector("[data-sign]").addEventListener("click", () => made().catch((error) => show("reply", String(error))));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { body } = await made();
      const answer = await fetch(`/api/v1/${body.service.replaceAll(".", "/")}`, { method: "POST", headers: { "content-type": "application/json; charset=utf-8" }, body: JSON.stringify(body) });
      show("reply", `HTTP ${answer.status}\n${JSON.stringify(await answer.json(), null, 1)}`);
    } catch (error) { show("reply", String(error)); }
  });
}
