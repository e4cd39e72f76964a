{#-
Charliecloud, measured with 0.31: runs folders. The user is the caller, /tmp and the environment are the
host's. It makes no mount points in an image, so they are made in the folder before.
Its own ch-image pulls only by https; skopeo with umoci, where they are, pull what the other runtimes do.
-#}
{% extends "parts/images.sh" %}

{% block runtime %}
take_image() {
    case $cloudq_reference in
        docker://* | *.tar)
            choose_target dir
            make_once make_folder
            cloudq_image=$cloudq_target
            ;;
        *://* | *.sif) fail 2 "$cloudq_reference: charliecloud takes docker://NAME, archives FILE.tar, and folders" ;;
        *) cloudq_image=$cloudq_reference ;;
    esac
}

fetch_image() {
    take_image
}

make_folder() {
    find_auth_file
    case $cloudq_reference in
        *.tar)
            cloudq_source=oci-archive:$cloudq_reference
            ! tar -tf "$cloudq_reference" manifest.json >/dev/null 2>&1 || cloudq_source=docker-archive:$cloudq_reference
            ;;
        *) cloudq_source=$cloudq_reference ;;
    esac
    if command -v skopeo >/dev/null && command -v umoci >/dev/null; then
        unpack_with_umoci
    elif [ "$cloudq_source" = "$cloudq_reference" ]; then
        [ -z "$cloudq_auth_file" ] || say "credentials for $cloudq_registry need skopeo and umoci"
        ch-image pull "${cloudq_reference#docker://}" &&
            ch-convert -i ch-image -o dir "${cloudq_reference#docker://}" "$cloudq_part"
    else
        say "an archive needs the commands skopeo and umoci"
        return 1
    fi
}

unpack_with_umoci() (
    cloudq_scratch=$cloudq_part.unpacking
    trap 'rm -rf "$cloudq_scratch"' EXIT
    # Without a folder of the user's, skopeo looks for credentials where it may not.
    mkdir -p "$cloudq_scratch/run" && chmod 700 "$cloudq_scratch/run"
    export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$cloudq_scratch/run}"
    [ -z "$cloudq_auth_file" ] || export REGISTRY_AUTH_FILE="$cloudq_auth_file"
    cloudq_root=$cloudq_scratch/image/rootfs
    skopeo copy -q "$cloudq_source" "oci:$cloudq_scratch/oci:image" &&
        umoci unpack --rootless --image "$cloudq_scratch/oci:image" "$cloudq_scratch/image" &&
        mkdir -p "$cloudq_root/ch" || exit
    sed -n '/"env": \[/,/\]/s/^[[:space:]]*"\(.*\)",\{0,1\}$/\1/p' "$cloudq_scratch/image/config.json" |
        grep -v -e ^HOME= -e ^TERM= >"$cloudq_root/ch/environment"
    chmod -R u+w "$cloudq_root" # or nobody can remove it
    mv "$cloudq_root" "$cloudq_part"
)

run_image() { # COMMAND...
    set -- -c "$PWD" "$cloudq_image" -- "$@"
    is_unbound /tmp
    for cloudq_folder in "${cloudq_work_dir%/*}" "$PWD" "${HOME-}" "${TMPDIR-}"; do
        case $cloudq_folder in "${cloudq_work_dir%/*}"/* | /tmp/*) continue ;; esac
        is_unbound "$cloudq_folder" || continue
        mkdir -p "$cloudq_image$cloudq_folder" 2>/dev/null
        set -- -b "$cloudq_folder:$cloudq_folder" "$@"
    done
    # What the image sets counts only where the job sets nothing; and its PATH, always.
    if [ -r "$cloudq_image/ch/environment" ]; then
        while IFS= read -r cloudq_line; do
            case ${cloudq_line%%=*} in
                PATH) ;;
                '' | [0-9]* | *[!A-Za-z0-9_]*) continue ;;
                *) if eval "[ -n \"\${${cloudq_line%%=*}+set}\" ]"; then continue; fi ;;
            esac
            set -- "--set-env=$cloudq_line" "$@"
        done <"$cloudq_image/ch/environment"
    fi
    USER=${USER:-$(id -un)}
    export USER
    exec ch-run --env-no-expand "$@"
}
{% endblock %}
