local ids = redis.call('SMEMBERS', OPERATORS)
if #ids == 0 then return { epoch(), ids, {}, {} } end
return { epoch(), ids, redis.call('HMGET', RECORDS, unpack(ids)), redis.call('HMGET', USED, unpack(ids)) }
