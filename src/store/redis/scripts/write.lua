-- Checks, stores, numbers and announces one change, and audits it.
-- ARGV: identity, expectation, id, head, sealed, nonce, member, kept, audit line,
--       and where it may be repeated: name, fingerprint, milliseconds for which it is remembered.
local expect, id, head, sealed, nonce = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local function answer(word, number, mark, more)
  return { word, epoch(), number, mark, redis.call('HGET', META, 'moves') or '0',
    redis.call('HGETALL', GATEWAYS), more }
end

local stored = redis.call('HGET', RECORDS, id)
if stored then
  local _, _, _, _, number, mark = string.match(stored, HEAD)
  -- This very write was made before, and its answer was lost.
  if mark == nonce and stands(number, mark) then return answer('applied', tonumber(number), mark) end
end
if ARGV[10] then
  local once = redis.call('GET', KEYS[10])
  if once then
    local fingerprint, made = string.match(once, '^(%x+) (.*)$')
    if fingerprint ~= ARGV[10] then return { 'conflicting' } end
    local place = last()
    return answer('replayed', place[1], place[2], made)
  end
end

local holds
if expect == 'absent' then
  holds = not stored
elseif expect == 'operator' then
  holds = not stored and redis.call('SCARD', OPERATORS) == 0
elseif stored then
  local _, state, revision = string.match(stored, HEAD)
  holds = state == 'a' and revision == expect
end
if not holds then return { 'conflict', stored, redis.call('HGET', USED, id) } end

local number = announce(id, head, sealed, nonce, ARGV[7], ARGV[8])
redis.call('XADD', AUDIT, '*', 'line', ARGV[9])
if ARGV[10] then redis.call('SET', KEYS[10], ARGV[10] .. ' ' .. id, 'PX', ARGV[11]) end
return answer('applied', number, nonce)
