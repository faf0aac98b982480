-- wrk.lua: sends the requests of a file one after the other, for ops/bench.
-- wrk ... -- FILE RECORD_BYTES [WRAP_AFTER]
-- WRAP_AFTER: begin again at the first after so many requests (for duplicates). Otherwise the end of the file is
-- an error, since more requests than it holds would be duplicates. Prints one JSON object at the end.
local thread_of_run

function setup(thread)
  thread_of_run = thread -- the bench uses one
end

function init(args)
  file = assert(io.open(args[1], "rb"))
  record_bytes = tonumber(args[2])
  wrap_after = tonumber(args[3] or 0)
  taken = 0   -- requests handed to wrk; it takes one that it does not send, to look at it
  ran_dry = 0
end

function request()
  if wrap_after > 0 and taken % wrap_after == 0 then
    file:seek("set", 0)
  end
  taken = taken + 1
  local record = file:read(record_bytes)
  if not record then
    ran_dry = 1
    file:seek("set", 0)
    record = file:read(record_bytes)
  end
  return record
end

function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "taken": %d, "ran_dry": %d, "non_2xx": %d, "socket_errors": %d,'
      .. ' "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}',
    summary.requests, summary.duration / 1e6, thread_of_run:get("taken"), thread_of_run:get("ran_dry"), e.status,
    e.connect + e.read + e.write + e.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3))
end
