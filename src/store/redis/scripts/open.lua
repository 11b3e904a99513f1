-- From now on leases are given in this epoch. ARGV: identity, epoch.
if epoch() ~= ARGV[2] then return 0 end
redis.call('HSET', META, 'opened', ARGV[2])
return 1
