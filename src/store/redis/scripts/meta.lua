local meta = redis.call('HMGET', META, 'identity', 'format', 'check')
return { meta[1], meta[2], meta[3], redis.call('HLEN', RECORDS), epoch(), last() }
