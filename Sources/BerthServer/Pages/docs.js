// The search of the documentation: it narrows the index, and says how many entries are left.
const form = document.getElementById("search")
const input = document.getElementById("q")
const found = document.getElementById("found")
const groups = [...document.querySelectorAll("#index details")].map((group) => ({
  group, wasOpen: group.open,
  entries: [...group.querySelectorAll("li")].map((entry) => ({ entry, text: entry.textContent.toLowerCase() })),
}))

function narrow() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean)
  let count = 0
  for (const { group, wasOpen, entries } of groups) {
    let here = 0
    for (const { entry, text } of entries) {
      const fits = words.every((word) => text.includes(word))
      entry.hidden = !fits
      if (fits) here += 1
    }
    group.hidden = here === 0
    group.open = words.length ? here > 0 : wasOpen
    count += here
  }
  found.textContent = words.length ? (count ? String(count) : found.dataset.none) : ""
}

form.hidden = false
form.addEventListener("submit", (event) => {
  event.preventDefault()
  document.querySelector("#index details:not([hidden]) li:not([hidden]) a")?.click()
})
input.addEventListener("input", narrow)
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault()
    input.focus()
  }
})
