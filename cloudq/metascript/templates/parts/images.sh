{#-
The program that finds, pulls and runs images; a template of a runtime extends it. What happens with
$reference, an image as somebody wrote it, is up to the runtime:

  take_image    sets cloudq_image to what the runtime's commands take
  fetch_image   the same for a host other than that of the job: a path on the shared file system
  run_image     runs "$@" in cloudq_image; does not return

It must run under any POSIX /bin/sh. A variable that the job exports would reach the container with
another value if it were assigned here, so all names begin with cloudq_.

A lock is a folder: mkdir excludes others on every shared file system, which flock(1) does not. Its
holder writes into it every two seconds. A lock without such a sign for a minute, by the clock of the one
who waits, was its holder's who is dead. Should two hold it all the same, both pull and nothing else
happens, as an image appears under its name when it is whole.
-#}
# Finds, pulls and runs container images: find REFERENCE, fetch REFERENCE, run REFERENCE COMMAND...
cloudq_work_dir={{ placement.work_dir | quote }}
cloudq_own={{ placement.status_file | quote }}
cloudq_own=${cloudq_own%/*}/images # images that are this job's alone
cloudq_cache={{ system.image_cache | quote }}
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
{% for url, found in placement.images.items() %}
        {{ url | quote }}) cloudq_reference={{ found | quote }} ;;
{% endfor %}
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
            fail 125 "{{ system.container_runtime }}: image pull failed: $cloudq_reference"
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
        fail 125 "{{ system.container_runtime }}: image pull failed in another task: $cloudq_reference"
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
{% for registry in system.registries %}
        {{ registry.host | quote }}) cloudq_auth_file={{ registry.auth_file | quote }} ;;
{% endfor %}
    esac
}

cloudq_bound=''
is_unbound() { # FOLDER: it exists, is no part of an image's system, and was not asked about before
    [ -d "$1" ] || return 1
    case $1/ in // | /bin/* | /boot/* | /dev/* | /etc/* | /lib* | /proc/* | /sbin/* | /sys/* | /usr/*) return 1 ;; esac
    case $cloudq_bound in *"|$1|"*) return 1 ;; esac
    cloudq_bound="$cloudq_bound|$1|"
}

{% block runtime %}
{% endblock %}

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
