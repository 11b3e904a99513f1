-- Moves times of last use forward. ARGV: identity, then id and microseconds by turns.
for at = 2, #ARGV, 2 do
  local before = redis.call('HGET', USED, ARGV[at])
  if not before or tonumber(before) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', USED, ARGV[at], ARGV[at + 1])
  end
end
return 1
