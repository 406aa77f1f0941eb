{#-
  Who a visitor is: for each anonymous_id the user_id that was last seen with it, in any call.

  An incremental run reads what has arrived (macros/since.sql).
-#}

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['source', 'anonymous_id']
) }}

with

arrived as (
    {%- for schema in var('schemas') %}
    select
        '{{ schema }}' as source,
        anonymous_id,
        user_id,
        min(coalesce("timestamp", received_at)) as first_seen_at,
        max(coalesce("timestamp", received_at)) as last_seen_at,
        max(received_at) as last_received_at
    from {{ source(schema, 'events') }}
    where anonymous_id is not null
    {%- if is_incremental() %}
    and received_at >= {{ since(schema) }}
    {%- endif %}
    group by anonymous_id, user_id
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

seen as (
    select
        *,
        case when user_id is not null then last_seen_at end as identified_at
    from arrived
    {%- if is_incremental() %}
    union all
    select
        source,
        anonymous_id,
        user_id,
        first_seen_at,
        last_seen_at,
        last_received_at,
        identified_at
    from {{ this }}
    where (source, anonymous_id) in (select source, anonymous_id from arrived)
    {%- endif %}
),

visitors as (
    select
        source,
        anonymous_id,
        (
            array_agg(user_id order by identified_at desc, user_id)
            filter (where user_id is not null)
        )[1] as user_id,
        max(identified_at) as identified_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        max(last_received_at) as last_received_at
    from seen
    group by source, anonymous_id
)

select
    source,
    anonymous_id,
    user_id,
    coalesce(user_id, anonymous_id) as blended_id,
    identified_at,
    first_seen_at,
    last_seen_at,
    last_received_at
from visitors
