{#-
  Looks for identities as rudderlabs/dbt-id-stitching 1.1.2 does: in information_schema for relations
  with two or more of its columns, and in these for every pair that occurs in one row, as text.
-#}

{%- set columns = ['anonymous_id', 'user_id', 'email', 'context_traits_email'] %}

{%- set look %}
select table_schema, table_name, string_agg(column_name, ',' order by column_name)
from information_schema.columns
where lower(column_name) in ('{{ columns | join("', '") }}')
and table_schema in ('{{ var("schemas") | join("', '") }}')
group by table_schema, table_name
having count(*) >= 2
order by table_schema, table_name
{%- endset %}

{%- set selects = [] %}
{%- if execute %}
{%- for found in run_query(look).rows %}
{%- set names = found[2].split(',') %}
{%- for one in names %}
{%- for other in names if one < other %}
{%- set select %}
select distinct
    '{{ found[0] }}' as source,
    '{{ found[1] }}' as relation,
    "{{ one }}"::TEXT as edge_a,
    '{{ one }}' as edge_a_label,
    "{{ other }}"::TEXT as edge_b,
    '{{ other }}' as edge_b_label
from "{{ found[0] }}"."{{ found[1] }}"
where "{{ one }}" is not null and "{{ other }}" is not null
{%- endset %}
{%- do selects.append(select) %}
{%- endfor %}
{%- endfor %}
{%- endfor %}
{%- endif %}

{{ selects | join('\nunion all\n') }}
