-- ARGV: identity, id.
return { epoch(), redis.call('HGET', RECORDS, ARGV[2]), redis.call('HGET', USED, ARGV[2]) }
