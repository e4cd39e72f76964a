{#- Jobs that the agent itself runs. Its queue knows only a walltime; resource and other options mean nothing. -#}
{% extends "base.sh" %}

{% block directives %}
{% set asked = {"nodes": directives.nodes > 1, "cores": directives.cores > 1, "gpus": directives.gpus,
    "memory": directives.memory, "exclusive": directives.exclusive} %}
{% for key in asked if asked[key] %}
{{ fail(key, "system " ~ system.name ~ " runs processes of one host and sets nothing aside for a job") }}
{% endfor %}
{% if directives.walltime %}
#CLOUDQ --walltime={{ directives.walltime | clock }}
{% endif %}
{% for line in native_lines if line.startswith("#CLOUDQ") %}
{{ line }}
{% endfor %}
{% endblock %}

{% block tasks %}
ARY_TASK_ID=${CLOUDQ_TASK_ID-}
ARY_TASK_FIRST=${CLOUDQ_TASK_FIRST-}
ARY_TASK_LAST=${CLOUDQ_TASK_LAST-}
ARY_TASK_STEPSIZE=${CLOUDQ_TASK_STEP-}
{% endblock %}
