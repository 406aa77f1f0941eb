-- A visitor is listed once.
select source, anonymous_id
from {{ ref('identities') }}
group by source, anonymous_id
having count(*) > 1
