{#-
PBS Professional and OpenPBS: qsub(1B). In a #PBS line qsub honours both kinds of quotes, and a backslash
outside of them; there are no comments (make_argv in qsub.c). So a word is written as for a shell.
A job starts in the home directory: `cd` in base.sh brings it to its own.
-#}
{% extends "base.sh" %}
{% from "parts/refusals.sh" import unless_fixed_number %}
{#- Queues of ABCI 3.0 whose nodes or shares have GPUs; `select` need not say so there. -#}
{% set gpu = gpu or ([resource] + directives.other_options | list + native_lines | list) | join(" ") is matching("\\brt_H[FG]\\b") %}

{% macro lines(directive, words) %}
{% for option, values in words | options %}
{% if option is matching("\\A-J") %}
{{ fail(directive, option ~ ": the tasks of an array job are given at submission (--array_tid)") }}
{% endif %}
#PBS {{ option | quote }}{% for value in values %} {{ value | quote }}{% endfor %}

{% endfor %}
{% endmacro %}

{#- Stops if the definition of the resource has what a directive would say again. -#}
{% macro unless_fixed(directive, name) %}
{% for word in resource_words if word is matching("(\\A|[,l])" ~ name ~ "=") %}
{% set place = directives.resource ~ " on system " ~ system.name %}
{{ fail(directive, "the definition of " ~ place ~ " has " ~ word ~ " already: leave it out") }}
{% endfor %}
{% endmacro %}

{% block directives %}
{% if project.startswith("-") %}
#PBS {{ project }}
{% elif project %}
{{ lines("project", ["-P", project]) -}}
{% endif %}
{% set asked = {"cores": directives.cores, "gpus": directives.gpus, "memory": directives.memory} %}
{% set on_each_node %}
{% if directives.cores %}:ncpus={{ directives.cores }}{% endif %}
{% if directives.gpus %}:ngpus={{ directives.gpus }}{% endif %}
{% if directives.memory %}:mem={{ directives.memory | mebibytes }}mb{% endif %}
{% endset %}
{% for directive, number in asked.items() if number %}
{{ unless_fixed(directive, "(select|nodes|ncpus)") -}}
{% endfor %}
{% set n = directives.n_resource if directives.resource else directives.nodes or 1 %}
{% set fixed = resource_words | select("matching", "(\\A|[,l])(select|nodes|ncpus)=") | list %}
{% set queue = resource and not resource_words and "=" not in resource %}
{% set chunk = (":" ~ resource if resource and not resource_words and not queue) ~ on_each_node %}
{% if queue %}
{{ lines("resource", ["-q", resource]) -}}
{% endif %}
{{ lines("resource", resource_words) -}}
{% if "{n}" not in resource %}
{{ unless_fixed_number(fail, system, directives, fixed) -}}
{% endif %}
{% if not fixed and (directives.resource or directives.nodes or chunk) and "{n}" not in resource %}
{{ lines("resource", ["-l", "select=" ~ n ~ chunk]) -}}
{% endif %}
{% set sharing = ["exclhost"] if directives.exclusive else [] %}
{% set placing = (["scatter"] if directives.nodes > 1 else []) + sharing %}
{% if placing %}
{{ unless_fixed("exclusive", "place") -}}
#PBS -l place={{ placing | join(":") }}
{% endif %}
{% if directives.walltime %}
#PBS -l walltime={{ directives.walltime | clock }}
{% endif %}
{{ lines("other_opts", directives.other_options) -}}
{% for line in native_lines if line.startswith("#PBS") %}
{% if line is matching("\\A#PBS\\s+(.*\\s)?-J") %}
{{ fail(line, "the tasks of an array job are given at submission (--array_tid)") }}
{% endif %}
{{ line }}
{% endfor %}
{% endblock %}

{% block tasks %}
{# PBS tells a task its number only. #}
{% set ids = placement.array_range.task_ids() if placement.array_range else () %}
ARY_TASK_ID=${PBS_ARRAY_INDEX-}
ARY_TASK_FIRST={{ ids | first if ids }}
ARY_TASK_LAST={{ ids | last if ids }}
ARY_TASK_STEPSIZE={{ (ids[1] - ids[0] if ids | length > 1 else 1) if ids }}
{% endblock %}
