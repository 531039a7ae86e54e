-- One step of a shared log: appends entries, forgets the oldest beyond the bound, and gives what the reader has not seen.
--
-- An entry's id is the number of rows in the log up to its last, so that the bound in rows is one XTRIM, and a reader
-- that fell behind knows how many rows it missed. README.md of `proxy.state` has the layout.
--
-- KEYS: the stream; its head, a hash of the epoch and of the rows ever appended.
-- ARGV: the reader's epoch, the last row that it has, its name, rows kept, entries and rows of an answer at most,
--       seconds until an unused log is forgotten; then for each new entry: seq, kind, rows, mark, payload.
-- Returns the epoch, the rows ever appended, and entries after the last row: its last row, seq, origin, kind, rows, mark,
-- when it was appended (seconds), payload (empty for the reader's own).

local stream, head = KEYS[1], KEYS[2]
local reader_epoch, last, reader = ARGV[1], ARGV[2], ARGV[3]
local kept, entries_at_most, rows_at_most, seconds = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), ARGV[7]
local NEW, FIELDS = 8, 5

local held = redis.call("HMGET", head, "epoch", "rows")
local epoch, rows = held[1] or "", tonumber(held[2] or "0")

local function whole(number)
  return string.format("%d", number)
end

local function begin(now) -- a new server, or one that lost half of it
  epoch, rows = now, 0
  redis.call("HSET", head, "epoch", epoch, "rows", "0") -- the first to write, so that a full server refuses
  redis.call("DEL", stream)
end

local function append(now, seq, kind, count, mark, payload)
  return redis.pcall("XADD", stream, whole(rows + tonumber(count)) .. "-1", "s", seq, "o", reader, "k", kind, "n", count,
    "m", mark, "t", now, "p", payload)
end

if #ARGV >= NEW then
  local time = redis.call("TIME")
  local now = string.format("%s.%06d", time[1], tonumber(time[2]))
  if epoch == "" then begin(now) end
  for at = NEW, #ARGV, FIELDS do
    local added = append(now, unpack(ARGV, at, at + FIELDS - 1))
    if type(added) == "table" and added.err and string.find(added.err, "smaller", 1, true) then
      begin(now) -- the head is older than the stream, as from a backup
      added = append(now, unpack(ARGV, at, at + FIELDS - 1))
    end
    if type(added) == "table" and added.err then return added end
    rows = rows + tonumber(ARGV[at + 2])
  end
  if rows > kept then redis.call("XTRIM", stream, "MINID", "=", whole(rows - kept)) end
  redis.call("HSET", head, "rows", whole(rows))
  redis.call("EXPIRE", stream, seconds)
  redis.call("EXPIRE", head, seconds)
end

if reader_epoch ~= epoch then last = "0" end
local page, total = {}, 0
for _, entry in ipairs(redis.call("XRANGE", stream, "(" .. last .. "-1", "+", "COUNT", entries_at_most)) do
  if total >= rows_at_most then break end
  local field = entry[2]
  local origin = field[4]
  total = total + tonumber(field[8])
  page[#page + 1] = {
    string.match(entry[1], "^%d+"), field[2], origin, field[6], field[8], field[10], field[12],
    origin == reader and "" or field[14],
  }
end
return { epoch, whole(rows), page }
