-- Sends each line of a file once; each thread has its own file. Counts the answers by their code.
local threads = {}
function setup(thread) table.insert(threads, thread); thread:set("number", #threads) end
function init(args)
  lines = {}
  for line in io.lines(os.getenv("BODIES") .. "." .. number) do lines[#lines + 1] = line end
  at, good, bad = 0, 0, 0
  path = os.getenv("TARGET")
end
function request()
  at = at + 1
  if at > #lines then wrk.thread:stop() ; at = 1 end
  return wrk.format("POST", path, { ["content-type"] = "application/json" }, lines[at])
end
function response(status, headers, body)
  if body:find('"code":0,', 1, true) then good = good + 1 else bad = bad + 1; if bad == 1 then print(body) end end
end
function done(summary, latency, requests)
  local good, bad = 0, 0
  for _, thread in ipairs(threads) do good = good + thread:get("good"); bad = bad + thread:get("bad") end
  io.write(string.format("RESULT %.0f %d %d %.2f %.2f\n", good * 1e6 / summary.duration, good, bad,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
