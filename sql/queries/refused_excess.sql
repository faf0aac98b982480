-- refused_excess: the senders of whom more refused requests are kept than they may have.
-- $1 megabytes of a sender int8
-- One row a sender: platform, source, bytes int8 beyond what it may have.
-- Bytes are counted as by the gateway, which lets them in: gateway/refused.c. A body's length is read without the body.
select platform, source, (sum(512 + octet_length(headers) + octet_length(body)) - $1::bigint * 1048576)::bigint as bytes
from settle.refused_requests
group by platform, source
having sum(512 + octet_length(headers) + octet_length(body)) > $1 * 1048576
order by platform, source
