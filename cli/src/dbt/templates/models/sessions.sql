{#-
  Sessions: the page views of a visitor (anonymous_id) without a pause of more than var('session_gap')
  between two of them, ordered by when they happened.

  An incremental run reads what has arrived (macros/since.sql) and the earlier page views of the
  sessions that this touches. Other sessions stay as they are, also those whose page views the
  source's retention has dropped: dbt build --full-refresh would lose these.
-#}

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['source', 'anonymous_id']
) }}

{%- set gap = "interval '" ~ var('session_gap') ~ "'" %}

with

arrived as (
    {%- for schema in var('schemas') %}
        {{- page_views(schema) }}
        {%- if is_incremental() %}
        and received_at >= {{ since(schema) }}
        {%- endif %}
        {%- if not loop.last %}
    union all
        {%- endif %}
    {%- endfor %}
),

{% if is_incremental() %}
-- Sessions that something arrived for: a page view of theirs, or one that continues them.
touched as (
    select *
    from {{ this }} as known
    where exists (
        select 1
        from arrived
        where arrived.source = known.source
        and arrived.anonymous_id = known.anonymous_id
        and arrived.viewed_at between known.started_at - {{ gap }} and known.ended_at + {{ gap }}
    )
),

-- Their page views that arrived before.
earlier as (
    {%- for schema in var('schemas') %}
    select *
    from (
        {{- page_views(schema) }}
        and received_at < {{ since(schema) }}
        and received_at >= (select min(first_received_at) from touched where source = '{{ schema }}')
    ) as page_view
    where exists (
        select 1
        from touched
        where touched.source = page_view.source
        and touched.anonymous_id = page_view.anonymous_id
        and page_view.viewed_at between touched.started_at and touched.ended_at
    )
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),
{% endif %}
-- An event that its sender posted twice counts once.
page_views as (
    select *
    from (
        select
            *,
            row_number() over (partition by source, id order by received_at) as copy
        from (
            select * from arrived
            {%- if is_incremental() %}
            union all
            select * from earlier
            {%- endif %}
        ) as read
    ) as numbered
    where copy = 1 or id is null
),

paused as (
    select
        *,
        viewed_at - lag(viewed_at) over visitor > {{ gap }} as is_first_after_pause
    from page_views
    window visitor as (partition by source, anonymous_id order by viewed_at, received_at, id)
),

in_session as (
    select
        *,
        count(*) filter (where is_first_after_pause) over (
            partition by source, anonymous_id
            order by viewed_at, received_at, id
            rows unbounded preceding
        ) as session_number
    from paused
),

placed as (
    select
        *,
        row_number() over (
            partition by source, anonymous_id, session_number order by viewed_at, received_at, id
        ) as place,
        row_number() over (
            partition by source, anonymous_id, session_number
            order by viewed_at desc, received_at desc, id desc
        ) as place_from_end
    from in_session
),

sessions as (
    select
        md5(concat_ws('|', source, anonymous_id, extract(epoch from min(viewed_at)))) as session_id,
        source,
        anonymous_id,
        (array_agg(user_id order by place desc) filter (where user_id is not null))[1] as user_id,
        min(viewed_at) as started_at,
        max(viewed_at) as ended_at,
        extract(epoch from max(viewed_at) - min(viewed_at)) as seconds,
        count(*) as page_views,
        max(url) filter (where place = 1) as first_url,
        max(path) filter (where place = 1) as first_path,
        max(url) filter (where place_from_end = 1) as last_url,
        max(path) filter (where place_from_end = 1) as last_path,
        max(referrer) filter (where place = 1) as referrer,
        max(context_campaign_source) filter (where place = 1) as campaign_source,
        max(context_campaign_medium) filter (where place = 1) as campaign_medium,
        max(context_campaign_name) filter (where place = 1) as campaign_name,
        max(context_campaign_term) filter (where place = 1) as campaign_term,
        max(context_campaign_content) filter (where place = 1) as campaign_content,
        max(context_user_agent) filter (where place = 1) as user_agent,
        min(received_at) as first_received_at,
        max(received_at) as last_received_at
    from placed
    group by source, anonymous_id, session_number
)

select * from sessions
{%- if is_incremental() %}

-- All rows of a visitor are replaced, so that two sessions can become one.
union all
select *
from {{ this }} as known
where (source, anonymous_id) in (select source, anonymous_id from arrived)
and session_id not in (select session_id from touched)
{%- endif %}
