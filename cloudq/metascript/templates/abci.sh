{#-
ABCI as it was until 2024, and sites like it: Grid Engine, where a project is a group that qsub wants
on its command line (-g), and a resource type such as rt_F is asked for by `-l rt_F=<n_resource>`.
-#}
{% extends "gridengine.sh" %}
{% set gpu = gpu or ([resource] + native_lines | list) | join(" ") is matching("\\brt_A?[FG]\\b") %}

{% block project %}
{% endblock %}

{% block modules %}

if [ -n "${SGE_LOCALDIR-}" ]; then
    TMPDIR=$SGE_LOCALDIR
    export TMPDIR
fi
{{ super() }}
if command -v module >/dev/null 2>&1; then
    cloudq_flags=$-
    set +eu
    module load singularitypro/3.9 >/dev/null 2>&1
    module load aws-cli/2.11 >/dev/null 2>&1
    case $cloudq_flags in *e*) set -e ;; esac
    case $cloudq_flags in *u*) set -u ;; esac
fi
{% endblock %}
