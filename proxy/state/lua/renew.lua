-- Holds slots for another while. A slot that a restart of the server lost is taken again.
--
-- KEYS: of the slots, all in one hash slot.
-- ARGV: lease ms, now s, now ns (both empty: the server's clock), then for each key the id of the lease.

local LEASE_MS = tonumber(ARGV[1])
local SLACK_MS = 60000

local now_ms
if ARGV[2] == "" then
  local time = redis.call("TIME")
  now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
else
  now_ms = tonumber(ARGV[2]) * 1000 + math.floor(tonumber(ARGV[3]) / 1000000)
end

for i, key in ipairs(KEYS) do
  redis.call("ZADD", key, now_ms + LEASE_MS, ARGV[i + 3])
  redis.call("PEXPIRE", key, LEASE_MS + SLACK_MS)
end
return #KEYS
