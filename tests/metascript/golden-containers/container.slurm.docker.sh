#!/bin/sh
# Translated by CloudQ: edit the meta script, not this.
#SBATCH -A lab42
#SBATCH -p short
#SBATCH --ntasks=1
#SBATCH --time=00:10:00

ARY_TASK_ID=${SLURM_ARRAY_TASK_ID-}
ARY_TASK_FIRST=${SLURM_ARRAY_TASK_MIN-}
ARY_TASK_LAST=${SLURM_ARRAY_TASK_MAX-}
ARY_TASK_STEPSIZE=${SLURM_ARRAY_TASK_STEP-}
SYSTEM=mycluster
export SYSTEM ARY_TASK_ID ARY_TASK_FIRST ARY_TASK_LAST ARY_TASK_STEPSIZE
CONTAINER_IMG0=docker://python:3.12-slim
export CONTAINER_IMG0
IMG0=docker://python:3.12-slim
export IMG0
BOX=docker://busybox:1.36
export BOX

# Leaves the exit status for the agent.
cloudq_status_file=/home/me/.cloudq/spool/1f/exit_status${ARY_TASK_ID:+.$ARY_TASK_ID}
cloudq_path=$PATH
cloudq_end() {
    [ "$cloudq_status" -le 255 ] || cloudq_status=$((cloudq_status - 128))
    case "$cloudq_status ${KSH_VERSION-}" in "0 "*' 93'*) return ;; esac
    unset IFS
    umask 077
    PATH=$cloudq_path
    command printf '%s\n' "$cloudq_status" >| "$cloudq_status_file.part" &&
        command -p mv -f "$cloudq_status_file.part" "$cloudq_status_file"
    exit "$cloudq_status"
}
rm -f "$cloudq_status_file" # of an earlier run, if the scheduler starts a job again
trap '{ cloudq_status=$?; set +eux; } 2>/dev/null; cloudq_end' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 131' QUIT
trap 'exit 138' USR1
trap 'exit 140' USR2
trap 'exit 141' PIPE
trap 'exit 142' ALRM
trap 'exit 143' TERM
trap 'exit 152' XCPU
if [ -n "${BASH_VERSION-}" ]; then
    trap 'exit 132' ILL
    trap 'exit 133' TRAP
    trap 'exit 134' ABRT
    trap 'exit 135' BUS
    trap 'exit 136' FPE
    trap 'exit 139' SEGV
    trap 'exit 153' XFSZ
    trap 'exit 154' VTALRM
    trap 'exit 159' SYS
fi

cd /home/me/.cloudq/cache/1f || exit

if [ -r /etc/profile.d/modules.sh ] && [ -n "${BASH_VERSION-}${ZSH_VERSION-}${KSH_VERSION-}" ]; then
    cloudq_flags=$-
    set +eu
    # shellcheck source=/dev/null
    . /etc/profile.d/modules.sh
    case $cloudq_flags in *e*) set -e ;; esac
    case $cloudq_flags in *u*) set -u ;; esac
fi

cloudq_containers() {
    command -p cat <<'END_OF_CLOUDQ_CONTAINERS'
# Finds, pulls and runs container images: find REFERENCE, fetch REFERENCE, run REFERENCE COMMAND...
cloudq_work_dir=/home/me/.cloudq/cache/1f
cloudq_own=/home/me/.cloudq/spool/1f/exit_status
cloudq_own=${cloudq_own%/*}/images # images that are this job's alone
cloudq_cache=/home/me/.cloudq/images
cloudq_host=$(uname -n)

say() {
    printf 'cloudq_container_run: %s\n' "$*" >&2
}

fail() { # STATUS WORDS...
    cloudq_status=$1
    shift
    say "$@"
    exit "$cloudq_status"
}

find_image() { # REFERENCE
    cloudq_reference=$1
    case $cloudq_reference in
        docker://python:3.12-slim) cloudq_reference=docker://python@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef ;;
    esac
    case $cloudq_reference in
        '') fail 2 "no image: the variable is empty, or the script's head has no such image" ;;
        s3://*) fail 2 "$cloudq_reference: name an image in S3 in the script's head (container_img)" ;;
        *://*) ;;
        /* | ./* | ../* | *.sif | *.tar)
            [ -e "$cloudq_reference" ] || fail 2 "$cloudq_reference: no such image file"
            case $cloudq_reference in /*) ;; *) cloudq_reference=$PWD/$cloudq_reference ;; esac
            ;;
        */* | *:*) cloudq_reference=docker://$cloudq_reference ;;
        *) fail 2 "$cloudq_reference: expected an image (docker://NAME, NAME:TAG, a file); is its variable empty?" ;;
    esac
}

# An image by digest is kept for all jobs, and so is what is made of a file, until the file changes.
# Behind any other name may be another image tomorrow: it is this job's.
choose_target() { # SUFFIX
    cloudq_target=$cloudq_cache
    case $cloudq_reference in
        *@sha256:*) cloudq_key=sha256-${cloudq_reference##*@sha256:} ;;
        /*) cloudq_key=${cloudq_reference##*/}-$(ls -dln "$cloudq_reference" | cksum | tr ' ' -) ;;
        *) cloudq_key=$(printf %s "$cloudq_reference" | cksum | tr ' ' -) cloudq_target=$cloudq_own ;;
    esac
    cloudq_target=${cloudq_target:-$cloudq_own}/$cloudq_key-$(uname -m).$1
}

is_ready() {
    [ -e "$cloudq_target" ]
}

make_once() { # COMMAND...: have COMMAND make $cloudq_part, which becomes $cloudq_target; once
    ! is_ready || return 0
    mkdir -p "${cloudq_target%/*}" "$cloudq_own" || exit 125
    cloudq_failed=$cloudq_own/${cloudq_target##*/}.failed
    lock || return 0
    if ! is_ready; then
        rm -rf "$cloudq_target" "$cloudq_target".part.*
        cloudq_part=$cloudq_target.part.$cloudq_host.$$
        say "pulling $cloudq_reference"
        if ! "$@" >&2 || ! mv "$cloudq_part" "$cloudq_target"; then
            rm -rf "$cloudq_part"
            : >"$cloudq_failed"
            fail 125 "docker: image pull failed: $cloudq_reference"
        fi
    fi
    unlock
}

lock() { # false: another task has made it
    cloudq_lock=$cloudq_target.lock
    cloudq_sign='' cloudq_silence=0 cloudq_tries=0 cloudq_waited=''
    until mkdir "$cloudq_lock" 2>/dev/null; do
        cloudq_tries=$((cloudq_tries + 1))
        [ ! -d "$cloudq_lock" ] || cloudq_tries=0
        [ "$cloudq_tries" -lt 10 ] || fail 125 "cannot be made: $cloudq_lock"
        [ -n "$cloudq_waited" ] || say "another task is pulling $cloudq_reference"
        cloudq_waited=yes
        sleep 1
        ! is_ready || return 1
        cloudq_silence=$((cloudq_silence + 1))
        cloudq_last=$cloudq_sign
        read_sign
        [ "$cloudq_sign" = "$cloudq_last" ] || cloudq_silence=0
        if [ "$cloudq_silence" -ge 60 ]; then
            mv "$cloudq_lock" "$cloudq_lock.dead.$cloudq_host.$$" 2>/dev/null
            rm -rf "$cloudq_lock.dead.$cloudq_host.$$"
            cloudq_silence=0
        fi
    done
    hold & # before the traps: bash may run them in it, too, if it is killed as it begins
    cloudq_holding=$!
    trap unlock EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ -z "$cloudq_waited" ]; then
        rm -f "$cloudq_failed"
    elif [ -e "$cloudq_failed" ]; then
        fail 125 "docker: image pull failed in another task: $cloudq_reference"
    fi
}

read_sign() { # sets cloudq_sign to the last sign of life of who holds the lock
    cloudq_sign=''
    { read -r cloudq_sign <"$cloudq_lock/holder"; } 2>/dev/null
}

hold() { # gives signs of life for at most three hours; frees the lock if its holder was killed
    exec </dev/null >/dev/null 2>&1 # nobody waits for it
    cloudq_tries=0
    while kill -0 "$$" 2>/dev/null; do
        echo "$cloudq_host $$ $cloudq_tries" >"$cloudq_lock/holder" || exit
        cloudq_tries=$((cloudq_tries + 1))
        [ "$cloudq_tries" -le 5400 ] || exit
        sleep 2
    done
    rm -rf "$cloudq_lock"
}

unlock() {
    trap - EXIT HUP INT TERM
    kill "$cloudq_holding" 2>/dev/null
    read_sign
    case $cloudq_sign in
        "$cloudq_host $$ "* | '') rm -rf "$cloudq_lock" ;;
    esac
}

find_auth_file() { # sets cloudq_auth_file to the credentials for the image's registry, or to nothing
    cloudq_auth_file=''
    cloudq_registry=${cloudq_reference#*://}
    case $cloudq_registry in
        *.*/* | *:*/* | localhost/*) cloudq_registry=${cloudq_registry%%/*} ;;
        *) cloudq_registry=docker.io ;;
    esac
    case $cloudq_registry in
        nvcr.io) cloudq_auth_file=/home/me/keys.json ;;
    esac
}

cloudq_bound=''
is_unbound() { # FOLDER: it exists, is no part of an image's system, and was not asked about before
    [ -d "$1" ] || return 1
    case $1/ in // | /bin/* | /boot/* | /dev/* | /etc/* | /lib* | /proc/* | /sbin/* | /sys/* | /usr/*) return 1 ;; esac
    case $cloudq_bound in *"|$1|"*) return 1 ;; esac
    cloudq_bound="$cloudq_bound|$1|"
}

is_ready() {
    case $cloudq_target in
        *.tar) [ -e "$cloudq_target" ] ;;
        *) is_known "$cloudq_target" ;;
    esac
}

is_known() { # FILE: the engine has the image whose id it holds
    [ -s "$1" ] && docker image inspect "$(cat "$1")" >/dev/null 2>&1
}

take_image() {
    case $cloudq_reference in
        docker://sha256:*)
            cloudq_image=${cloudq_reference#docker://}
            return
            ;;
        docker://* | *.tar) ;;
        *) fail 2 "$cloudq_reference: docker takes images of the form docker://NAME, and archives FILE.tar" ;;
    esac
    choose_target "$cloudq_host.docker"
    make_once make_id
    cloudq_image=$(cat "$cloudq_target")
}

make_id() {
    case $cloudq_reference in
        *.tar) cloudq_image=$(docker load -i "$cloudq_reference" | sed -n 's/^Loaded image[^:]*: *//p' | tail -n 1) ;;
        *) pull_image || return ;;
    esac
    cloudq_image=$(docker image inspect -f '{{.Id}}' "$cloudq_image") &&
        echo "sha256:${cloudq_image#sha256:}" >"$cloudq_part"
}

pull_image() { # an image that no registry has, but this host, is taken as it is
    cloudq_image=${cloudq_reference#docker://}
    case $cloudq_image in
        *@sha256:*) ! docker image inspect "$cloudq_image" >/dev/null 2>&1 || return 0 ;;
    esac
    with_credentials docker pull -q "$cloudq_image" || docker image inspect "$cloudq_image" >/dev/null 2>&1
}

with_credentials() ( # COMMAND...
    find_auth_file
    [ -n "$cloudq_auth_file" ] || exec "$@"
    # The folder that DOCKER_CONFIG names also says which engine to speak to.
    cloudq_engine=${DOCKER_HOST:-$(docker context inspect -f '{{.Endpoints.docker.Host}}' 2>/dev/null)}
    cloudq_login=$(mktemp -d) || exit
    trap 'rm -rf "$cloudq_login"' EXIT
    ln -s "$cloudq_auth_file" "$cloudq_login/config.json" || exit
    [ -z "$cloudq_engine" ] || export DOCKER_HOST="$cloudq_engine"
    DOCKER_CONFIG=$cloudq_login "$@"
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
    pull_image && docker save -o "$cloudq_part" "$cloudq_image"
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
    for cloudq_name in $(awk 'BEGIN { for (name in ENVIRON) print name }'); do
        case $cloudq_name in
            PATH | LD_* | SHLVL | _ | [0-9]* | *[!A-Za-z0-9_]*) ;;
            *) set -- -e "$cloudq_name" "$@" ;;
        esac
    done
    set -- --init --ipc=host "$@"
    # Without root, the engine's user 0 is the caller.
    case $(docker info -f '{{.SecurityOptions}}' 2>/dev/null) in
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
    guard "$@"
}

write_names() { # the names of the user and the group, which the image does not know
    [ ! -s "$cloudq_own/group" ] || return 0
    mkdir -p "$cloudq_own" || exit 125
    printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false \
        "$(id -un):x:$(id -u):$(id -g)::${HOME:-/}:/bin/sh" >"$cloudq_own/passwd.$$"
    mv "$cloudq_own/passwd.$$" "$cloudq_own/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: "$(id -gn):x:$(id -g):" >"$cloudq_own/group.$$"
    mv "$cloudq_own/group.$$" "$cloudq_own/group"
}

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
    docker run --rm -i --name "$cloudq_name" --label "cloudq.job=${cloudq_work_dir##*/}" \
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
                    docker container inspect "$1" || exit
                done
            fi
            for try in 1 2 3; do # a container that is just being made is not there yet
                docker kill "$1" || sleep 1
                docker rm -f "$1"
            done
        } <&3 3<&- &
    ' cloudq_watch "$1"
}

tell_whose_status() {
    # Podman 4.3 may leave out what is there when it is given an --until; Docker needs one, or never ends.
    cloudq_events=$(docker events --since "$cloudq_began" \
        --until "$(($(date +%s) + 1))" \
        --filter event=start --filter "container=$cloudq_name" 2>/dev/null)
    [ -n "$cloudq_events" ] ||
        say "docker could not start the command in the image: status $cloudq_status is its own, not the command's"
}

cloudq_task=${1-}
shift
case $cloudq_task in
    find)
        find_image "$1"
        take_image
        printf '%s\n' "$cloudq_image"
        ;;
    fetch)
        find_image "$1"
        fetch_image
        printf '%s\n' "$cloudq_image"
        ;;
    run)
        [ "$#" -ge 2 ] || fail 2 "expected IMAGE COMMAND..., got $# arguments"
        [ -n "$2" ] || fail 2 "expected IMAGE COMMAND..., got an empty command"
        find_image "$1"
        take_image
        shift
        run_image "$@"
        ;;
esac
END_OF_CLOUDQ_CONTAINERS
}

cloudq_container_run() {
    /bin/sh -c "$(cloudq_containers)" cloudq_container_run run "$@"
}

CONTAINER_IMG0=$(/bin/sh -c "$(cloudq_containers)" cloudq_container_run find "$CONTAINER_IMG0") || exit
IMG0=$CONTAINER_IMG0

BOX=$(/bin/sh -c "$(cloudq_containers)" cloudq_container_run find "$BOX") || exit

cq_container_run() {
    cloudq_container_run "$@"
}

# The meta script from its first command on.
cq_container_run "$CONTAINER_IMG0" python3 -c 'import sys; print("Python", sys.version.split()[0])'
cloudq_container_run "$BOX" ls -l
