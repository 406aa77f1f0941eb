{#-
  Reads pages as dbt-labs/segment 0.8.1 does: these 18 columns, by these names, of the first copy of
  each event; an incremental run those since the newest that it knows.
-#}

{{ config(materialized='incremental', unique_key=['source', 'page_view_id']) }}

{%- for schema in var('schemas') %}
{% if not loop.first %}union all{% endif %}
select
    '{{ schema }}' as source,
    id as page_view_id,
    anonymous_id,
    user_id,
    received_at as received_at_tstamp,
    sent_at as sent_at_tstamp,
    cast("timestamp" as timestamp) as tstamp,
    url as page_url,
    lower(path) as page_url_path,
    title as page_title,
    search as page_url_query,
    replace(referrer, 'www.', '') as referrer,
    context_campaign_source as utm_source,
    context_campaign_medium as utm_medium,
    context_campaign_name as utm_campaign,
    context_campaign_term as utm_term,
    context_campaign_content as utm_content,
    context_ip as ip,
    lower(context_user_agent) as user_agent
from (
    select
        *,
        row_number() over (partition by id order by received_at) as row_num
    from (
        select *
        from {{ source(schema, 'pages') }}
        {%- if is_incremental() %}
        where received_at >= (
            select max(received_at_tstamp)
            from {{ this }}
            where source = '{{ schema }}'
        )
        {%- endif %}
    ) as read
) as numbered
where row_num = 1
{%- endfor %}
