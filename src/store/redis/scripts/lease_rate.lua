-- Leases tokens of one bucket that refills. KEYS: the bucket. ARGV: count, its period in µs, burst;
-- account, spent of all it was ever given, 1 if it keeps the rest; wanted, at least; spent while the
-- store was away: what was answered to before, what was not, of that still owed, for how many µs; after
-- how many µs a slice lapses; the number of the question; the time in µs, or nothing: the server's.
-- The bucket: `bucket` is tokens, as of when, and what flowed over, from when until when. Every other
-- field is an account: what it has out, what it had spent by then, when that lapses, the question, and
-- how much of what was spent while the store was away it has said in all.
local per_us, burst = tonumber(ARGV[1]) / tonumber(ARGV[2]), tonumber(ARGV[3])
local account, spent, keeps = ARGV[4], tonumber(ARGV[5]), ARGV[6] == '1'
local wanted, least = tonumber(ARGV[7]), tonumber(ARGV[8])
local told, unheard, owed = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local away_us, life, question = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
if ARGV[15] ~= '' then now = tonumber(ARGV[15]) end

-- One that was never touched is full, and has flowed over all the time.
local tokens, at, over, from, till = burst, now, away_us * per_us, now - away_us, now
local accounts, out, lapsing = {}, 0, {}
-- What cannot be read somebody else has put there: it is as though nothing had been. One bucket is
-- spoiled with that, and no other.
local held = redis.pcall('HGETALL', KEYS[1])
if held.err then
  if not string.find(held.err, 'WRONGTYPE', 1, true) then return held end
  redis.call('DEL', KEYS[1])
  held = {}
end
for field = 1, #held, 2 do
  local numbers = {}
  for number in string.gmatch(held[field + 1], '%-?%d%S*') do numbers[#numbers + 1] = tonumber(number) end
  if #numbers ~= 5 then
    redis.call('HDEL', KEYS[1], held[field])
  elseif held[field] == 'bucket' then
    tokens, at, over, from, till = unpack(numbers)
  else
    -- Where the clock was set back, nothing lapses later than it would have.
    local it = { name = held[field], out = numbers[1], spent = numbers[2],
      lapse = math.min(numbers[3], now + life), told = numbers[5] }
    -- One that was overtaken is of the past: nothing is done, and nothing given.
    if it.name == account and question <= numbers[4] then
      return { 0, 0, 0, 0, string.format('%.0f', now) }
    end
    accounts[it.name], out = it, out + it.out
    lapsing[#lapsing + 1] = it
  end
end
table.sort(lapsing, function(one, other) return one.lapse < other.lapse end)

-- The bucket refills only to burst − what is out. What flows over may make good for what a gateway
-- reports late that it spent meanwhile.
local function room() return math.max(0, burst - out) end
local function refill(time)
  local fresh = math.max(0, time - at) * per_us
  local before = math.min(tokens, room())
  tokens = math.min(before + fresh, room())
  local flowed = before + fresh - tokens
  if flowed > 0 then
    if till < at then over, from = 0, at end
    over, till = over + flowed, time
  end
  -- A clock that was set back stands still.
  at = time
end

local gone = {}
for _, it in ipairs(lapsing) do
  if it.lapse > now then break end
  refill(math.max(at, it.lapse))
  out, accounts[it.name], gone[#gone + 1] = out - it.out, nil, it.name
end
refill(now)

local mine = accounts[account]
if mine then
  local used = math.min(mine.out, math.max(0, spent - mine.spent))
  mine.out, out = mine.out - used, out - used
  if not keeps then
    out = out - mine.out
    tokens, mine.out = math.min(tokens + mine.out, room()), 0
  end
else
  mine = { name = account, out = 0, told = 0 }
end
mine.spent = spent

-- What was said with a question whose answer was lost is said again, and counts once.
local away = math.max(0, told + unheard - math.max(told, mine.told))
mine.told = math.max(told + unheard, mine.told)
if away > 0 then
  local both = math.max(0, math.min(till, now) - math.max(from, now - away_us))
  local made_good = math.min(math.max(0, away - owed), over, both * per_us)
  over = over - made_good
  -- It may go below zero, by one burst at most: a caller is not to be shut out for our outage.
  tokens = math.max(tokens - away + made_good, -burst)
end

tokens = math.max(tokens, -burst)
local granted = 0
if wanted > 0 and tokens >= least then granted = math.min(wanted, math.floor(tokens)) end
tokens, mine.out, out = tokens - granted, mine.out + granted, out + granted
mine.lapse = now + life

-- When there will be enough for another: once what others have out has lapsed, where they have too much.
local wait, so_far, still, cap = 0, tokens, out, room()
least = math.max(least, 1)
if tokens < least then
  for _, it in ipairs(lapsing) do
    if cap >= least then break end
    if accounts[it.name] and it.name ~= account and it.lapse > now then
      so_far = math.min(so_far + (it.lapse - now - wait) * per_us, cap)
      wait, still = it.lapse - now, still - it.out
      cap = math.max(0, burst - still)
    end
  end
  if so_far < least then wait = wait + (least - so_far) / per_us end
end

local write = { 'HSET', KEYS[1], 'bucket', string.format('%.17g %.0f %.17g %.0f %.0f', tokens, at, over, from, till) }
-- Before anything is written: the account may be among those that have just lapsed.
gone[#gone + 1] = account
redis.call('HDEL', KEYS[1], unpack(gone))
if mine.out > 0 or unheard > 0 then
  write[#write + 1] = account
  write[#write + 1] = string.format('%.0f %.0f %.0f %.0f %.0f', mine.out, mine.spent, mine.lapse, question, mine.told)
end
redis.call(unpack(write))
-- By then it is full, and nothing of it is out.
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / per_us / 1000 + 2 * life / 1000) + 60000)
return { granted, math.max(0, math.floor(tokens)), math.ceil(wait), 0, string.format('%.0f', now) }
