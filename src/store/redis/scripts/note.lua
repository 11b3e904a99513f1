-- ARGV: identity, audit line.
redis.call('XADD', AUDIT, '*', 'line', ARGV[2])
return 1
