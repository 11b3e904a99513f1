-- ARGV: identity, check value.
redis.call('HSET', META, 'check', ARGV[2])
return 1
