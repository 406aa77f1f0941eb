-- Two sessions of a visitor are further apart than the pause that ends one.
select *
from (
    select
        source,
        anonymous_id,
        started_at,
        lag(ended_at) over (partition by source, anonymous_id order by started_at) as ended_before
    from {{ ref('sessions') }}
) as session
where started_at - ended_before <= interval '{{ var("session_gap") }}'
