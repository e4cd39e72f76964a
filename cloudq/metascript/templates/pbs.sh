{#-
PBS Professional and OpenPBS: qsub(1B). In a #PBS line qsub honours both kinds of quotes, and a backslash
outside of them; there are no comments (make_argv in qsub.c). So a word is written as for a shell.
A job starts in the home directory: `cd` in base.sh brings it to its own.
-#}
{% extends "base.sh" %}

{% macro lines(directive, words) %}
{% for option, values in words | options %}
{% if option is matching("\\A-J") %}
{{ fail(directive, option ~ ": the tasks of an array job are given at submission (--array_tid)") }}
{% endif %}
#PBS {{ option | quote }}{% for value in values %} {{ value | quote }}{% endfor %}

{% endfor %}
{% endmacro %}

{% block directives %}
{% if project.startswith("-") %}
#PBS {{ project }}
{% elif project %}
{{ lines("project", ["-P", project]) -}}
{% endif %}
{% set n = directives.n_resource %}
{% set fixed = resource_words | select("matching", "(\\A|[,l])(select|nodes|ncpus)=") | list %}
{% if not directives.resource %}
{% elif resource_words %}
{{ lines("resource", resource_words) -}}
{% if "{n}" in resource %}
{% elif not fixed %}
#PBS -l select={{ n }}
{% elif n > 1 %}
{% set place = directives.resource ~ " on system " ~ system.name %}
{{ fail("n_resource", "expected 1, as the definition of " ~ place ~ " fixes the number by " ~ fixed[0] ~ " without {n}") }}
{% endif %}
{% elif "=" in resource %}
{{ lines("resource", ["-l", "select=" ~ n ~ ":" ~ resource]) -}}
{% else %}
{{ lines("resource", ["-q", resource, "-l", "select=" ~ n]) -}}
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
