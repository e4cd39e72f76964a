{#-
What all schedulers share. A template of a scheduler extends this one and fills two blocks:
`directives`, the lines that its submit command reads, and `tasks`, which sets ARY_TASK_*.
Everything here must run under any POSIX shell, also with `set -eu` in force.
-#}
{{ interpreter }}
# Translated by CloudQ: edit the meta script, not this.
{% block directives %}
{% endblock %}

{% block tasks %}
{% endblock %}
SYSTEM={{ system.name | quote }}
export SYSTEM ARY_TASK_ID ARY_TASK_FIRST ARY_TASK_LAST ARY_TASK_STEPSIZE
{% for image in directives.images %}
{% for variable in image.variables %}
{{ variable }}={{ image.url | quote }}
export {{ variable }}
{% endfor %}
{% endfor %}

{% include "parts/status.sh" %}

cd {{ placement.work_dir | quote }} || exit
{% block modules %}

{% include "parts/modules.sh" %}
{% endblock %}
{# Most scripts name no container: theirs stay short enough to be read. #}
{% if directives.images or "container_run" in body %}

{% include "parts/containers.sh" %}

cq_container_run() {
    cloudq_container_run "$@"
}
{% endif %}
{# What a script reads with `.` may copy, too. #}
{% if body is matching("(?m)cs_cp|^\\s*(\\.|source)\\s") %}

{% include "parts/copy.sh" %}
{% endif %}

# The meta script from its first command on.
{{ body -}}
