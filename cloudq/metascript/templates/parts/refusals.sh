{#- Refusals that templates of schedulers share. -#}

{#- Stops if a resource's definition says by itself how many there are, and the script wants several. -#}
{% macro unless_fixed_number(fail, system, directives, fixed) %}
{% if fixed and directives.n_resource > 1 %}
{% set place = directives.resource ~ " on system " ~ system.name %}
{{ fail("n_resource", "expected 1, as the definition of " ~ place ~ " fixes the number by " ~ fixed[0] ~ " without {n}") }}
{% endif %}
{% endmacro %}
