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
            fail 125 "singularity: image pull failed: $cloudq_reference"
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
        fail 125 "singularity: image pull failed in another task: $cloudq_reference"
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
            singularity build --force "$cloudq_part" "$cloudq_kind:$cloudq_reference"
            return
            ;;
    esac
    set -- --force
    case $cloudq_reference in *@sha256:*) set -- "$@" --disable-cache ;; esac
    find_auth_file
    [ -z "$cloudq_auth_file" ] || set -- "$@" --authfile "$cloudq_auth_file"
    singularity pull "$@" "$cloudq_part" "$cloudq_reference"
}

run_image() { # COMMAND...
    set -- --pwd "$PWD" "$cloudq_image" "$@"
    is_unbound "${HOME-}"
    is_unbound /tmp
    for cloudq_folder in "$cloudq_work_dir" "$PWD" "${TMPDIR-}"; do
        case $cloudq_folder in "$cloudq_work_dir"/*) continue ;; esac
        ! is_unbound "$cloudq_folder" || set -- --bind "$cloudq_folder" "$@"
    done
    exec singularity exec "$@"
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
