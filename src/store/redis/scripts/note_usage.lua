-- Writes what a gateway has counted. KEYS: for each row the key's day. ARGV: for each row which hour
-- and whose count it is, the count, and the ms since 1970 at which the day goes.
for row, day in ipairs(KEYS) do
  redis.call('HSET', day, ARGV[3 * row - 2], ARGV[3 * row - 1])
  redis.call('PEXPIREAT', day, ARGV[3 * row])
end
return { #KEYS }
