{#-
Grid Engine: qsub(1), measured with 8.1.9. qsub looks for options in the whole script, also in
here-documents of the body; so these scripts are submitted with `-C '#CQ$'` and begin their lines so.
In such a line both kinds of quotes are dropped wherever they stand, also one within the other; a #
ends the line, also within quotes; nothing escapes.
What Grid Engine has no word of its own for is asked for by the names of its manuals (the parallel
environment smp, the resources gpu and exclusive): a site that has others refuses the job and says so.
Queues in mode posix_compliant ignore the first line of a script and start it by -S, which takes a path
without arguments.
-#}
{% extends "base.sh" %}

{% macro word(directive, text) -%}
{% if text == "" or text is matching("[\"'#]") -%}
{{ fail(directive, "Grid Engine cannot be given an empty value, a quote or a # here, got " ~ text) }}
{%- elif text is matching("[ \\t]") -%}
'{{ text }}'
{%- else -%}
{{ text }}
{%- endif %}
{%- endmacro %}

{% macro lines(directive, words) %}
{% for option, values in words | options %}
{% if option == "-t" %}
{{ fail(directive, option ~ ": the tasks of an array job are given at submission (--array_tid)") }}
{% endif %}
#CQ$ {{ word(directive, option) }}{% for value in values %} {{ word(directive, value) }}{% endfor %}

{% endfor %}
{% endmacro %}

{% block directives %}
# Its options are read by: qsub -C '#CQ$'
{% if body is matching("(?m)^#CQ\\$") %}
{{ fail("#CQ$", "a line of the script begins so, which qsub would take for an option: change that line") }}
{% endif %}
{% set shell = interpreter[2:].split() %}
#CQ$ -S {{ word("shell", shell[0]) if shell | length == 1 else "/bin/sh" }}
{% block project %}
{% if project.startswith("-") %}
{{ lines("project", project.split()) -}}
{% elif project %}
{{ lines("project", ["-P", project]) -}}
{% endif %}
{% endblock %}
{% set n = directives.n_resource %}
{% if resource_words or not resource %}
{{ lines("resource", resource_words) -}}
{% if n > 1 and "{n}" not in resource %}
{% set place = directives.resource ~ " on system " ~ system.name %}
{{ fail("n_resource", "expected 1, as the definition of " ~ place ~ " has no {n}, such as in -pe smp {n}") }}
{% endif %}
{% else %}
{{ lines("resource", ["-l", resource ~ "=" ~ n]) -}}
{% endif %}
{% if (directives.nodes or 1) > 1 %}
{% set problem = "Grid Engine cannot be asked for nodes on every site: expected a resource that " ~ system.name %}
{{ fail("nodes", problem ~ " defines for that, such as -pe mpi {n}") }}
{% endif %}
{% set cores = directives.cores or 1 %}
{% if cores > 1 %}
#CQ$ -pe smp {{ cores }}
{% endif %}
{% if directives.gpus %}
#CQ$ -l gpu={{ directives.gpus }}
{% endif %}
{% if directives.memory %}
{# The limit is for each slot. #}
#CQ$ -l h_vmem={{ (directives.memory | mebibytes + cores - 1) // cores }}M
{% endif %}
{% if directives.exclusive %}
#CQ$ -l exclusive=true
{% endif %}
{% if directives.walltime %}
#CQ$ -l h_rt={{ directives.walltime | clock }}
{% endif %}
{{ lines("other_opts", directives.other_options) -}}
{% for line in native_lines if line is matching("\\A#\\$[ \\t]*-") %}
{% if line is matching("\\A#\\$[ \\t]*(.*[ \\t])?-t([ \\t]|\\Z)") %}
{{ fail(line, "the tasks of an array job are given at submission (--array_tid)") }}
{% endif %}
#CQ$ {{ line[2:].strip() }}
{% endfor %}
{% if shell | length > 1 %}

# Where the first line was ignored: start again as it says.
if [ -z "${CLOUDQ_STARTED-}" ] && [ -r "${JOB_SCRIPT-}" ]; then
    CLOUDQ_STARTED=yes
    export CLOUDQ_STARTED
    exec {{ shell | map("quote") | join(" ") }} "$JOB_SCRIPT"
fi
unset CLOUDQ_STARTED
{% endif %}
{% endblock %}

{% block tasks %}
ARY_TASK_ID=${SGE_TASK_ID-}
ARY_TASK_FIRST=${SGE_TASK_FIRST-}
ARY_TASK_LAST=${SGE_TASK_LAST-}
ARY_TASK_STEPSIZE=${SGE_TASK_STEPSIZE-}
if [ "$ARY_TASK_ID" = undefined ]; then
    ARY_TASK_ID=''
    ARY_TASK_FIRST=''
    ARY_TASK_LAST=''
    ARY_TASK_STEPSIZE=''
fi
{% endblock %}
