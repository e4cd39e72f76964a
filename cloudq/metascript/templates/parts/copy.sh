{#-
The copy function. What it does is done by a program of its own for /bin/sh, as that of containers is.
-#}
cloudq_copying() {
    command -p cat <<'END_OF_CLOUDQ_COPYING'
{% include "parts/copying.sh" %}
END_OF_CLOUDQ_COPYING
}

cloudq_cs_cp() {
    /bin/sh -c "$(cloudq_copying)" cloudq_cs_cp "$@"
}

cq_cs_cp() {
    cloudq_cs_cp "$@"
}

abci_cs_cp() {
    cloudq_cs_cp "$@"
}

slurm_cs_cp() {
    cloudq_cs_cp "$@"
}
