{#-
The functions for containers. What they do is done by a program of its own for /bin/sh, as the script's
shell may be another one, with any options and any functions of its own.
The images of the head are pulled before the script begins, and its variables say where they are then.
-#}
{% if system.container_runtime == "none" %}
{% include "containers/none.sh" %}
{% else %}
cloudq_containers() {
    command -p cat <<'END_OF_CLOUDQ_CONTAINERS'
{% include "containers/" ~ system.container_runtime ~ ".sh" %}
END_OF_CLOUDQ_CONTAINERS
}

cloudq_container_run() {
    /bin/sh -c "$(cloudq_containers)" cloudq_container_run run "$@"
}
{% for image in directives.images %}

{% set first = image.variables[0] %}
{{ first }}=$(/bin/sh -c "$(cloudq_containers)" cloudq_container_run find "${{ first }}") || exit
{% for other in image.variables[1:] %}
{{ other }}=${{ first }}
{% endfor %}
{% endfor %}
{% endif %}
