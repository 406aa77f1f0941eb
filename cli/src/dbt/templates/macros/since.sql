{#-
  From when on an incremental run reads what arrived at a source: var('look_back') before the newest
  row that the model knows of it, since rows of one moment are committed in any order.
-#}
{% macro since(schema) -%}
(
    select coalesce(max(last_received_at) - interval '{{ var("look_back") }}', '-infinity')
    from {{ this }}
    where source = '{{ schema }}'
)
{%- endmacro %}
