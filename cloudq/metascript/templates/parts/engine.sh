{#-
Docker and Podman share this. They keep images themselves; what is in our folders is the id of an image,
one file for each host. They differ from Apptainer in all that a container gets without being told:
hence the user, the folders, the variables (`-e NAME` hands on a value of any form), the host's network
and shared memory, and an entry point that is the command.

A container is no child of the job. Who asks the job to end is passed on by the client, and after
some seconds the container is removed; if the job is killed, nobody is left to do it but a process in a
session of its own, which notices as its pipe is closed. Schedulers that kill by cgroup reach that one, too.
-#}
{% extends "parts/images.sh" %}

{% block runtime %}
{% set engine = system.container_runtime %}
is_ready() {
    case $cloudq_target in
        *.tar) [ -e "$cloudq_target" ] ;;
        *) is_known "$cloudq_target" ;;
    esac
}

is_known() { # FILE: the engine has the image whose id it holds
    [ -s "$1" ] && {{ engine }} image inspect "$(cat "$1")" >/dev/null 2>&1
}

take_image() {
    case $cloudq_reference in
        docker://sha256:*)
            cloudq_image=${cloudq_reference#docker://}
            return
            ;;
        docker://* | *.tar) ;;
        *) fail 2 "$cloudq_reference: {{ engine }} takes images of the form docker://NAME, and archives FILE.tar" ;;
    esac
    choose_target "$cloudq_host.{{ engine }}"
    make_once make_id
    cloudq_image=$(cat "$cloudq_target")
}

make_id() {
    case $cloudq_reference in
        *.tar) cloudq_image=$({{ engine }} load -i "$cloudq_reference" | sed -n 's/^Loaded image[^:]*: *//p' | tail -n 1) ;;
        *) pull_image || return ;;
    esac
    cloudq_image=$({{ engine }} image inspect -f {{ "{{.Id}}" | quote }} "$cloudq_image") &&
        echo "sha256:${cloudq_image#sha256:}" >"$cloudq_part"
}

pull_image() { # an image that no registry has, but this host, is taken as it is
    cloudq_image=${cloudq_reference#docker://}
{% if engine == "podman" %}
    case $cloudq_image in
        *.*/* | *:*/* | localhost/*) ;;
        *) cloudq_image=docker.io/$cloudq_image ;;
    esac
{% endif %}
    case $cloudq_image in
        *@sha256:*) ! {{ engine }} image inspect "$cloudq_image" >/dev/null 2>&1 || return 0 ;;
    esac
    with_credentials {{ engine }} pull -q "$cloudq_image" || {{ engine }} image inspect "$cloudq_image" >/dev/null 2>&1
}

with_credentials() ( # COMMAND...
    find_auth_file
    [ -n "$cloudq_auth_file" ] || exec "$@"
{% if engine == "podman" %}
    export REGISTRY_AUTH_FILE="$cloudq_auth_file"
    exec "$@"
{% else %}
    # The folder that DOCKER_CONFIG names also says which engine to speak to.
    cloudq_engine=${DOCKER_HOST:-$(docker context inspect -f {{ "{{.Endpoints.docker.Host}}" | quote }} 2>/dev/null)}
    cloudq_login=$(mktemp -d) || exit
    trap 'rm -rf "$cloudq_login"' EXIT
    ln -s "$cloudq_auth_file" "$cloudq_login/config.json" || exit
    [ -z "$cloudq_engine" ] || export DOCKER_HOST="$cloudq_engine"
    DOCKER_CONFIG=$cloudq_login "$@"
{% endif %}
)

fetch_image() { # as an archive, which take_image can load where the job runs
    case $cloudq_reference in
        docker://*)
            choose_target tar
            make_once make_archive
            cloudq_image=$cloudq_target
            ;;
        *) take_image && cloudq_image=$cloudq_reference ;;
    esac
}

make_archive() {
    pull_image && {{ engine }} save -o "$cloudq_part" "$cloudq_image"
}

bind_of() { # PATH TARGET: prints the value of --mount, which is a line of CSV
    case $1$2 in
        *[\",]*) printf 'type=bind,"source=%s","target=%s"' "$(in_csv "$1")" "$(in_csv "$2")" ;;
        *) printf 'type=bind,source=%s,target=%s' "$1" "$2" ;;
    esac
}

in_csv() { # TEXT
    printf %s "$1" | sed 's/"/""/g'
}

run_image() { # COMMAND...
    cloudq_command=$1
    shift
    set -- --entrypoint "$cloudq_command" -w "$PWD" "$cloudq_image" "$@"
    for cloudq_folder in "$cloudq_work_dir" "$PWD" "${HOME-}" "${TMPDIR-}" /tmp; do
        case $cloudq_folder in
            "$cloudq_work_dir"/*) ;;
            *) ! is_unbound "$cloudq_folder" || set -- --mount "$(bind_of "$cloudq_folder" "$cloudq_folder")" "$@" ;;
        esac
    done
{% if gpu %}
    cloudq_gpus=${SLURM_JOB_GPUS-}
{% endif %}
    for cloudq_name in $(awk 'BEGIN { for (name in ENVIRON) print name }'); do
        case $cloudq_name in
            PATH | LD_* | SHLVL | _ | [0-9]* | *[!A-Za-z0-9_]*) ;;
{% if gpu %}
            NVIDIA_VISIBLE_DEVICES) ;;
            CUDA_VISIBLE_DEVICES) [ -n "$cloudq_gpus" ] || set -- -e "$cloudq_name" "$@" ;;
{% endif %}
            *) set -- -e "$cloudq_name" "$@" ;;
        esac
    done
{% if gpu and engine == "docker" %}
    # The container numbers the GPUs that it is given from 0.
    set -- --gpus "${cloudq_gpus:+\"device=}${cloudq_gpus:-all}${cloudq_gpus:+\"}" "$@"
{% elif gpu %}
    for cloudq_name in $(echo "${cloudq_gpus:-all}" | tr , ' '); do
        set -- --device "nvidia.com/gpu=$cloudq_name" "$@"
    done
{% endif %}
{% if engine == "podman" %}
    set -- --annotation run.oci.keep_original_groups=1 --user "$(id -u):$(id -g)" "$@"
    [ "$(id -u)" = 0 ] || set -- --userns=keep-id "$@"
    [ ! -d /dev/mqueue ] || set -- --ipc=host "$@"
    for cloudq_name in /usr/libexec/podman/catatonit /usr/libexec/catatonit/catatonit /usr/bin/catatonit; do
        [ ! -x "$cloudq_name" ] || { set -- --init --init-path "$cloudq_name" "$@"; break; }
    done
{% else %}
    set -- --init --ipc=host "$@"
    # Without root, the engine's user 0 is the caller.
    case $(docker info -f {{ "{{.SecurityOptions}}" | quote }} 2>/dev/null) in
        *rootless*) set -- --user 0:0 "$@" ;;
        *)
            set -- --user "$(id -u):$(id -g)" "$@"
            for cloudq_name in $(id -G); do
                set -- --group-add "$cloudq_name" "$@"
            done
            write_names
            for cloudq_name in passwd group; do
                set -- --mount "$(bind_of "$cloudq_own/$cloudq_name" "/etc/$cloudq_name")" "$@"
            done
            ;;
    esac
{% endif %}
    guard "$@"
}
{% if engine == "docker" %}

write_names() { # the names of the user and the group, which the image does not know
    [ ! -s "$cloudq_own/group" ] || return 0
    mkdir -p "$cloudq_own" || exit 125
    printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false \
        "$(id -un):x:$(id -u):$(id -g)::${HOME:-/}:/bin/sh" >"$cloudq_own/passwd.$$"
    mv "$cloudq_own/passwd.$$" "$cloudq_own/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: "$(id -gn):x:$(id -g):" >"$cloudq_own/group.$$"
    mv "$cloudq_own/group.$$" "$cloudq_own/group"
}
{% endif %}

guard() { # OPTIONS... IMAGE ARGUMENTS...: run the container; do not leave it behind
    cloudq_name=cloudq-$cloudq_host-$$-$(date +%s)
    cloudq_began=$(date +%s)
    { : <&0; } 2>/dev/null || exec </dev/null
    exec 5<&0
    cloudq_pipe=$(mktemp -d) && mkfifo "$cloudq_pipe/pipe" || exit 125
    exec 4<>"$cloudq_pipe/pipe" 6<"$cloudq_pipe/pipe"
    rm -rf "$cloudq_pipe"
    watch "$cloudq_name" 3<&6 </dev/null >/dev/null 2>&1 4>&- 5<&- 6<&-
    exec 6<&-
    {{ engine }} run --rm -i --name "$cloudq_name" --label "cloudq.job=${cloudq_work_dir##*/}" \
        --network=host --security-opt label=disable "$@" <&5 4>&- 5<&- &
    cloudq_client=$!
    exec 5<&-
    trap 'echo stop >&4' HUP INT TERM USR1 USR2 XCPU
    while :; do
        wait "$cloudq_client"
        cloudq_status=$?
        kill -0 "$cloudq_client" 2>/dev/null || break
    done
    echo ended >&4
    case $cloudq_status in 12[567]) tell_whose_status ;; esac
    exit "$cloudq_status"
}

watch() { # NAME: in the background and in a session of its own; descriptor 3 is what guard says
    cloudq_session=setsid
    command -v setsid >/dev/null || cloudq_session=''
    $cloudq_session /bin/sh -c '
        trap "" HUP INT TERM
        {
            if read -r said; then
                [ "$said" = stop ] || exit
                for second in 1 2 3 4 5 6 7 8; do
                    sleep 1
                    {{ engine }} container inspect "$1" || exit
                done
            fi
            for try in 1 2 3; do # a container that is just being made is not there yet
                {{ engine }} kill "$1" || sleep 1
                {{ engine }} rm -f "$1"
            done
        } <&3 3<&- &
    ' cloudq_watch "$1"
}

tell_whose_status() {
    # Podman 4.3 may leave out what is there when it is given an --until; Docker needs one, or never ends.
    cloudq_events=$({{ engine }} events --since "$cloudq_began" \
        {{ '--stream=false' if engine == "podman" else '--until "$(($(date +%s) + 1))"' }} \
        --filter event=start --filter "container=$cloudq_name" 2>/dev/null)
    [ -n "$cloudq_events" ] ||
        say "{{ engine }} could not start the command in the image: status $cloudq_status is its own, not the command's"
}
{% endblock %}
