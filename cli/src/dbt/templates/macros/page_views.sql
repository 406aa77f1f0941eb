{#- What sessions are made of, of one source. Conditions with `and` may follow. -#}
{% macro page_views(schema) %}
    select
        '{{ schema }}' as source,
        id,
        anonymous_id,
        user_id,
        coalesce("timestamp", received_at) as viewed_at,
        received_at,
        url,
        path,
        referrer,
        context_campaign_source,
        context_campaign_medium,
        context_campaign_name,
        context_campaign_term,
        context_campaign_content,
        context_user_agent
    from {{ source(schema, 'pages') }}
    where anonymous_id is not null
{%- endmacro %}
