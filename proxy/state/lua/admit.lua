-- Decisions over all limits of each of some calls, one after the other; proxy/limits/README.md has the key layout.
--
-- KEYS: those of the first call, of the second, and so on, all in one hash slot.
-- ARGV: lease ms, now s, now ns (both empty: the server's clock), then a line for each call: the id of its lease, then
--       for each of its keys measure, need, capacity, and 1 if enforced else 0.
-- Returns now as "s ns", then a line for each call: 1 if admitted else 0, and how much of each limit was in use before.
--
-- Numbers are float64: seconds and nanoseconds stay apart, and every sum stays below 2^53, so that all are exact.

local LEASE_MS = tonumber(ARGV[1])
local SECOND, DAY = 1000000000, 86400
local SLACK_MS = 60000 -- kept past its end, in case the clock is set back

local now_s, now_ns
if ARGV[2] == "" then
  local time = redis.call("TIME")
  now_s, now_ns = tonumber(time[1]), tonumber(time[2]) * 1000
else
  now_s, now_ns = tonumber(ARGV[2]), tonumber(ARGV[3])
end
local now_ms = now_s * 1000 + math.floor(now_ns / 1000000)
local today = math.floor(now_s / DAY)

local function whole(number)
  return string.format("%d", number) -- tostring would round to 14 digits
end

-- The day never goes back, even if the clock does.
local function day_and_spent(stored)
  local day, spent = string.match(stored or "", "^(%d+) (%d+)$")
  day, spent = tonumber(day), tonumber(spent)
  if day and day >= today then return day, spent end
  return today, 0
end

local function store_backlog(key, used)
  local ns = now_ns + used
  local tat = string.format("%d.%09d", now_s + math.floor(ns / SECOND), ns % SECOND)
  redis.call("SET", key, tat, "PX", whole(math.ceil(used / 1000000) + SLACK_MS))
end

local used_of = {}

function used_of.backlog(key, capacity)
  local s, ns = string.match(redis.call("GET", key) or "", "^(%d+)%.(%d+)$")
  if not s then return 0 end
  local ahead = (tonumber(s) - now_s) * SECOND + (tonumber(ns) - now_ns)
  if ahead > capacity then -- the clock went back, or the rule became stricter
    store_backlog(key, capacity)
    return capacity
  end
  return math.max(0, ahead)
end

function used_of.day(key)
  local _, spent = day_and_spent(redis.call("GET", key))
  return spent
end

function used_of.lifetime(key)
  return tonumber(redis.call("GET", key) or 0)
end

function used_of.slots(key)
  return redis.call("ZCOUNT", key, "(" .. whole(now_ms), "+inf")
end

local charge = {}

charge.backlog = store_backlog

function charge.day(key, used)
  local day = day_and_spent(redis.call("GET", key))
  local left_ms = ((day + 1) * DAY - now_s) * 1000
  redis.call("SET", key, whole(day) .. " " .. whole(used), "PX", whole(left_ms + SLACK_MS))
end

function charge.lifetime(key, used)
  redis.call("SET", key, whole(used))
end

function charge.slots(key, _, lease)
  redis.call("ZADD", key, now_ms + LEASE_MS, lease) -- the first to write, so that a full server refuses
  redis.call("ZREMRANGEBYSCORE", key, "-inf", now_ms)
  redis.call("PEXPIRE", key, LEASE_MS + SLACK_MS)
end

local next_key = 0

local function decide(lease, limits)
  local fitting, answer = {}, {1}
  for measure, need, capacity, enforced in string.gmatch(limits, "(%a+) (%d+) (%d+) (%d)") do
    next_key = next_key + 1
    local key, most = KEYS[next_key], tonumber(capacity)
    local used = used_of[measure](key, most)
    local after = used + tonumber(need)
    answer[#answer + 1] = whole(used)
    if after <= most then
      fitting[#fitting + 1] = {charge[measure], key, after}
    elseif enforced == "1" then
      answer[1] = 0
    end
  end
  if answer[1] == 1 then
    for _, fit in ipairs(fitting) do fit[1](fit[2], fit[3], lease) end
  end
  return table.concat(answer, " ")
end

local answers = {whole(now_s) .. " " .. whole(now_ns)}
for at = 4, #ARGV do
  answers[#answers + 1] = decide(string.match(ARGV[at], "^(%S+) (.*)$"))
end
return answers
