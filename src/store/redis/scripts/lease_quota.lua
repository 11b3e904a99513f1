-- Leases a part of a quota. KEYS: the count; of a month, also the count of this day. ARGV: the quota;
-- its window's name, first µs and first µs behind it; account, spent of all it was ever given, 1 if it
-- keeps the rest; wanted, at least; spent while the store was away: what was answered to before, and what
-- was not; the highest count of what was certainly spent that the gateway has seen in this window; the
-- number of the question; the time in µs, or nothing: the server's.
-- `window` is the window's name and its first µs, `used` what was spent or is out, `out` what is. Every
-- other field is an account: what it has out, what it had spent by then, the question, and how much
-- of what was spent while the store was away it has said in all. Nothing lapses: what is not returned is
-- spent.
local quota, name, first, behind = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local account, spent, keeps = ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1'
local wanted, least, told, unheard = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local seen, question = tonumber(ARGV[12]), tonumber(ARGV[13])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
if ARGV[14] ~= '' then now = tonumber(ARGV[14]) end

local held = redis.call('HMGET', KEYS[1], 'window', 'used', 'out', account)
local window, start = string.match(held[1] or '', '(%d+) (%d+)')
-- A clock that was set back stands still: no window begins twice.
now = math.max(now, tonumber(start or '0'))
if now < first or now >= behind then return { string.format('%.0f', now) } end
if window ~= name then
  redis.call('DEL', KEYS[1])
  held = {}
  -- What was spent today is a part of what was spent this month.
  local day = KEYS[2] and redis.call('HMGET', KEYS[2], 'window', 'used')
  if day and day[1] and string.sub(day[1], 1, 6) == name then held[2] = day[2] end
end

local used, out, mine = tonumber(held[2] or '0'), tonumber(held[3] or '0'), 0
local had, by_then, last, heard = string.match(held[4] or '', '(%d+) (%d+) (%d+) (%d+)')
if had then
  -- One that was overtaken is of the past: nothing is done, and nothing given.
  if question <= tonumber(last) then return { 0, 0, 0, 0, string.format('%.0f', now) } end
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
redis.call('HSET', KEYS[1], 'window', name .. ' ' .. string.format('%.0f', first),
  'used', string.format('%.0f', used), 'out', string.format('%.0f', out))
if mine > 0 or unheard > 0 then
  redis.call('HSET', KEYS[1], account, string.format('%.0f %.0f %.0f %.0f', mine, spent, question, heard))
else
  redis.call('HDEL', KEYS[1], account)
end
redis.call('PEXPIREAT', KEYS[1], math.ceil(behind / 1000) + 86400000)
local wait = 0
if granted < wanted then wait = behind - now end
return { granted, left, wait, used - out, string.format('%.0f', now) }
