-- Writes what a gateway has counted. KEYS: for each row the key's day. ARGV: for each row which hour
-- and whose count it is, the count, and the ms since 1970 at which the day goes.
-- The last sixteenth of the memory is for records and limits: without that none could be minted or
-- leased.
local memory = redis.call('INFO', 'memory')
local used = tonumber(string.match(memory, 'used_memory:(%d+)') or '0')
local most = tonumber(string.match(memory, 'maxmemory:(%d+)') or '0')
if most > 0 and used > most / 16 * 15 then return redis.error_reply('OOM none of it is left for history') end
for row, day in ipairs(KEYS) do
  redis.call('HSET', day, ARGV[3 * row - 2], ARGV[3 * row - 1])
  redis.call('PEXPIREAT', day, ARGV[3 * row])
end
return { #KEYS }
