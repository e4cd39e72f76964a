{% include "containers/apptainer.sh" %}
