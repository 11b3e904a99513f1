-- Before every script. KEYS: meta, records, changes, gateways, order, operators, audit, used, beats.
-- ARGV[1]: the identity that this store must have; nothing is done in another one's place.
local META, RECORDS, CHANGES, GATEWAYS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ORDER, OPERATORS, AUDIT, USED, BEATS = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]

-- One life of one primary. Its run id alone misses one that was demoted and promoted again in place.
local function epoch()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local past = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  return redis.sha1hex(run .. past)
end

local identity = redis.call('HGET', META, 'identity')
if ARGV[1] ~= '' and identity ~= ARGV[1] then
  return redis.error_reply('NOTOURS ' .. (identity or 'none'))
end

-- A record begins with kind, state, revision, minting, and the number and nonce of its last change.
local HEAD = '^(%a):(%a):(%d+):(%-?%d+):(%d+):(%x+):'

-- Of two states of one record, whether the second is the senior: revoked wins, else the revision.
local function yields(stored, state, revision)
  local _, held, count = string.match(stored, HEAD)
  if held ~= state then return state == 'r' end
  return tonumber(count) < tonumber(revision)
end

local function last()
  local entry = redis.call('XREVRANGE', CHANGES, '+', '-', 'COUNT', 1)[1]
  if not entry then return { 0, '0' } end
  return { tonumber(string.match(entry[1], '^(%d+)')), entry[2][2] }
end

local function moved()
  return redis.call('HINCRBY', META, 'moves', 1)
end

-- Announces a record and stores it; its number. The stream goes first, so that nothing is stored
-- that was not announced; the record goes last: where it stands, it was announced and is on a page.
-- Where a script broke off between them, the stream is further than the count.
local function announce(id, head, sealed, nonce, member, kept)
  local number = math.max(tonumber(redis.call('HGET', META, 'seq') or '0'), last()[1]) + 1
  local record = head .. number .. ':' .. nonce .. ':' .. sealed
  redis.call('XADD', CHANGES, 'MAXLEN', kept, number .. '-0', 'nonce', nonce, 'id', id, 'record', record)
  redis.call('HSET', META, 'seq', number)
  redis.call('ZADD', ORDER, 0, member)
  if string.sub(head, 1, 1) == 'o' then redis.call('SADD', OPERATORS, id) end
  redis.call('HSET', RECORDS, id, record)
  return number
end

-- Whether a change with this number and nonce is in the stream.
local function stands(number, nonce)
  if number == '0' then
    local first = redis.call('XRANGE', CHANGES, '-', '+', 'COUNT', 1)[1]
    return nonce == '0' and (not first or first[1] == '1-0')
  end
  local entry = redis.call('XRANGE', CHANGES, number .. '-0', number .. '-0')[1]
  return entry and entry[2][2] == nonce
end
