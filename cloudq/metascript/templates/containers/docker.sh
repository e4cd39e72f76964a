{% include "parts/engine.sh" %}
