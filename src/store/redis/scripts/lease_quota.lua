-- Leases a part of a quota. KEYS: the count of its window; the count beside it, of the month where the
-- window is a day, and of the day where it is a month. ARGV: the quota; its window's first µs, and the
-- first behind it; the same of the other window, or nothing: the day that it is; account, spent of all it
-- was ever given, 1 if it keeps the rest; wanted, at least; spent while the store was away: what was
-- answered to before, and what was not; the highest count of what was certainly spent that the gateway
-- has seen in this window; the number of the question; the time in µs, or nothing: the server's.
-- `window` is the window's first µs, `used` what was spent or is out, whichever window it was leased of,
-- `out` what is out of this one. Every other field is an account: what it has out, what it had spent by
-- then, the question, how much of what was spent while the store was away it has said in all, and the
-- first µs of the other window at the time. Nothing lapses: what is not returned is spent.
local quota, first, behind = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first_beside, behind_beside = tonumber(ARGV[4]), tonumber(ARGV[5])
local account, spent, keeps = ARGV[6], tonumber(ARGV[7]), ARGV[8] == '1'
local wanted, least, told, unheard = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local seen, question = tonumber(ARGV[13]), tonumber(ARGV[14])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
if ARGV[15] ~= '' then now = tonumber(ARGV[15]) end
local function text(number) return string.format('%.0f', number) end

-- What cannot be read somebody else has put there: it is as though nothing had been. One count is
-- spoiled with that, and no other.
local function whole(text) return tonumber(string.match(text or '', '^%d+$') or '0') end
local held = redis.pcall('HMGET', KEYS[1], 'window', 'used', 'out', account)
local held_beside = redis.pcall('HMGET', KEYS[2], 'window', 'used')
for _, it in ipairs({ held, held_beside }) do
  if it.err and not string.find(it.err, 'WRONGTYPE', 1, true) then return it end
end
local window, window_beside = whole(held[1]), whole(held_beside[1])
-- A clock that was set back stands still: no window begins twice.
now = math.max(now, window, window_beside)
if now < first or now >= behind then return { text(now) } end
local day = 86400000000
first_beside = first_beside or math.floor(now / day) * day
behind_beside = behind_beside or first_beside + day
if window ~= first then
  redis.call('DEL', KEYS[1])
  held = {}
end

local used, out, mine = whole(held[2]), whole(held[3]), 0
local before, beside = used, 0
if window_beside == first_beside then beside = whole(held_beside[2]) end
local had, by_then, last, heard, then_beside = string.match(held[4] or '', '(%d+) (%d+) (%d+) (%d+) (%d+)')
if had then
  -- One that was overtaken is of the past: nothing is done, and nothing given.
  if question <= tonumber(last) then return { 0, 0, 0, 0, text(now) } end
  -- What was out when the other window began may have been spent in that.
  if tonumber(then_beside) ~= first_beside then beside = beside + tonumber(had) end
  local done = math.min(tonumber(had), math.max(0, spent - tonumber(by_then)))
  mine, out = tonumber(had) - done, out - done
  if not keeps then used, out, mine = used - mine, out - mine, 0 end
end
-- What was said with a question whose answer was lost is said again, and counts once.
heard = tonumber(heard or '0')
local away = math.max(0, told + unheard - math.max(told, heard))
heard = math.max(told + unheard, heard)
-- What is certainly spent is never less than anybody has seen of it.
used = math.max(used, seen + out) + away

local left, granted = math.max(0, quota - used), 0
if wanted > 0 and left >= least then granted = math.min(wanted, left) end
used, out, mine, left = used + granted, out + granted, mine + granted, left - granted
redis.call('HSET', KEYS[1], 'window', text(first), 'used', text(used), 'out', text(out))
if mine > 0 or unheard > 0 then
  local terms = { text(mine), text(spent), text(question), text(heard), text(first_beside) }
  redis.call('HSET', KEYS[1], account, table.concat(terms, ' '))
else
  redis.call('HDEL', KEYS[1], account)
end
redis.call('PEXPIREAT', KEYS[1], math.ceil((behind + day) / 1000))
-- Both count all of it, so that a quota may go over from days to months and back.
if window_beside ~= first_beside then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[2], 'window', text(first_beside), 'used', text(math.max(0, beside + used - before)))
redis.call('PEXPIREAT', KEYS[2], math.ceil((behind_beside + day) / 1000))
local wait = 0
if granted < wanted then wait = behind - now end
return { granted, left, wait, math.max(0, used - out), text(now) }
