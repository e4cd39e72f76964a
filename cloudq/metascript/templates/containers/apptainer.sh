{#-
Apptainer and Singularity share this. `exec` ignores the image's entry point, keeps the environment, and
shows $HOME and /tmp. A folder bound twice gives a warning each time.
-#}
{% extends "parts/images.sh" %}

{% block runtime %}
{% set runtime = system.container_runtime | quote %}
take_image() {
    case $cloudq_reference in
        docker://* | oras://* | library://* | *.tar)
            choose_target sif
            make_once make_sif
            cloudq_image=$cloudq_target
            ;;
        *) cloudq_image=$cloudq_reference ;;
    esac
}

fetch_image() {
    take_image
}

make_sif() {
    case $cloudq_reference in
        *.tar)
            cloudq_kind=oci-archive
            ! tar -tf "$cloudq_reference" manifest.json >/dev/null 2>&1 || cloudq_kind=docker-archive
            {{ runtime }} build --force "$cloudq_part" "$cloudq_kind:$cloudq_reference"
            return
            ;;
    esac
    set -- --force
    case $cloudq_reference in *@sha256:*) set -- "$@" --disable-cache ;; esac
    find_auth_file
    [ -z "$cloudq_auth_file" ] || set -- "$@" --authfile "$cloudq_auth_file"
    {{ runtime }} pull "$@" "$cloudq_part" "$cloudq_reference"
}

run_image() { # COMMAND...
    set -- --pwd "$PWD" "$cloudq_image" "$@"
    is_unbound "${HOME-}"
    is_unbound /tmp
    for cloudq_folder in "$cloudq_work_dir" "$PWD" "${TMPDIR-}"; do
        case $cloudq_folder in "$cloudq_work_dir"/*) continue ;; esac
        ! is_unbound "$cloudq_folder" || set -- --bind "$cloudq_folder" "$@"
    done
    exec {{ runtime }} exec{{ " --nv" if gpu }} "$@"
}
{% endblock %}
