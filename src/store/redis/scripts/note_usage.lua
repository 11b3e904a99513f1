-- Writes what a gateway has counted. KEYS: for each row the key's day. ARGV: for each row which hour
-- and whose count it is, the count, and the ms since 1970 at which the day goes.
-- The last sixteenth of the memory is for records and limits: without that none could be minted or
-- leased.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)') or '0')
local most = tonumber(string.match(memory, 'maxmemory:(%d+)') or '0')
if most > 0 and used > most / 16 * 15 then
  return redis.error_reply('NOROOM the last sixteenth of its memory (maxmemory) is kept for keys and limits')
end
for row, day in ipairs(KEYS) do
  local field, count = ARGV[3 * row - 2], ARGV[3 * row - 1]
  local fault = redis.pcall('HSET', day, field, count)
  if type(fault) == 'table' then
    if not string.find(fault.err, 'WRONGTYPE', 1, true) then return fault end
    -- Somebody else has put something there: it goes, so that all others are written.
    redis.call('DEL', day)
    redis.call('HSET', day, field, count)
  end
  redis.call('PEXPIREAT', day, ARGV[3 * row])
end
return { #KEYS }
