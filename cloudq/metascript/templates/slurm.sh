{#-
Slurm: sbatch(1), measured with 22.05. In a #SBATCH line sbatch honours both kinds of quotes; a
backslash escapes also within them, but not a blank outside; a bare # ends the line; an empty word is
dropped, and the next line's first word becomes the value. `--x=v` is right also where v is optional.
-#}
{% extends "base.sh" %}
{% from "parts/refusals.sh" import unless_fixed_number %}

{% macro word(text) -%}
{% if text is matching("\\A[A-Za-z0-9_@%+=:,./-]+\\Z") -%}
{{ text }}
{%- else -%}
'{{ text | replace("\\", "\\\\") | replace("'", "\\'") }}'
{%- endif %}
{%- endmacro %}

{% macro lines(directive, words) %}
{% for option, values in words | options %}
{% if option is matching("\\A(-a|--array)") %}
{{ fail(directive, option ~ ": the tasks of an array job are given at submission (--array_tid)") }}
{% elif option is matching("\\A--[^=]+\\Z") and values | length == 1 %}
#SBATCH {{ word(option ~ "=" ~ values[0]) }}
{% elif "" in values %}
{{ fail(directive, option ~ ": Slurm cannot be given an empty value here") }}
{% else %}
#SBATCH {{ word(option) }}{% for value in values %} {{ word(value) }}{% endfor %}

{% endif %}
{% endfor %}
{% endmacro %}

{% block directives %}
{% if project %}
{{ lines("project", ["-A", project]) -}}
{% endif %}
{% set n = directives.n_resource %}
{% set fixed = resource_words | select("matching", "\\A(-[Nn]|--nodes(=|\\Z)|--ntasks(=|\\Z))") | list %}
{% if directives.resource %}
{% if resource %}
{{ lines("resource", resource_words or ["-C", resource]) -}}
{% endif %}
{% if "{n}" in resource %}
{% elif not fixed %}
#SBATCH --nodes={{ n }}
{% else %}
{{ unless_fixed_number(fail, system, directives, fixed) -}}
{% endif %}
{% endif %}
{% if directives.nodes %}
#SBATCH --nodes={{ directives.nodes }}
{% endif %}
{% if directives.cores %}
#SBATCH --ntasks-per-node=1 --cpus-per-task={{ directives.cores }}
{% endif %}
{% if directives.gpus %}
#SBATCH --gres=gpu:{{ directives.gpus }}
{% endif %}
{% if directives.memory %}
#SBATCH --mem={{ directives.memory | mebibytes }}M
{% endif %}
{% if directives.exclusive %}
#SBATCH --exclusive
{% endif %}
{% if directives.walltime %}
#SBATCH --time={{ directives.walltime | clock }}
{% endif %}
{{ lines("other_opts", directives.other_options) -}}
{% for line in native_lines if line.startswith("#SBATCH") %}
{% if line is matching("\\A#SBATCH\\s+(.*\\s)?(-a|--array)") %}
{{ fail(line, "the tasks of an array job are given at submission (--array_tid)") }}
{% endif %}
{{ line }}
{% endfor %}
{% endblock %}

{% block tasks %}
ARY_TASK_ID=${SLURM_ARRAY_TASK_ID-}
ARY_TASK_FIRST=${SLURM_ARRAY_TASK_MIN-}
ARY_TASK_LAST=${SLURM_ARRAY_TASK_MAX-}
ARY_TASK_STEPSIZE=${SLURM_ARRAY_TASK_STEP-}
{% endblock %}
