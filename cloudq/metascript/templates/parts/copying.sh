{#-
The program that copies files and folders, from and to buckets too, for any POSIX /bin/sh. What it may ask its agent for
needs no key: the agent gives URLs that are good for one object each and end soon (cloudq/agent/running/copying.py). So long
lists are asked for in pieces, and again if a URL has ended meanwhile. URLs go by standard input, as `ps` shows arguments.
Everything else in S3 is left to the command aws, with a profile of this account.
-#}
# Copies SRC DST [ENDPOINT [PROFILE]]
cloudq_copies={{ placement.status_file | quote }}
cloudq_copies=${cloudq_copies%/*}/copies
cloudq_endpoint={{ system.endpoint_url | quote }}
cloudq_profile={{ system.profile | quote }}
cloudq_request=''
cloudq_temporary=''

fail() { # STATUS WORDS...
    cloudq_status=$1
    shift
    printf 'cloudq_cs_cp: %s\n' "$*" >&2
    exit "$cloudq_status"
}

forget() { # the last request and its answer
    [ -z "$cloudq_request" ] || rm -f "$cloudq_request" "$cloudq_request.request" "$cloudq_request.answer"
    cloudq_request=''
}

clean() {
    forget
    [ -z "$cloudq_temporary" ] || rm -rf "$cloudq_temporary"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

make_temporary() { # sets cloudq_temporary to a folder
    [ -n "$cloudq_temporary" ] || cloudq_temporary=$(mktemp -d "${TMPDIR:-.}/cloudq-copy.XXXXXXXXXX") || exit 1
}

is_given() { # PLACE: the agent gives URLs for it
    [ -z "$cloudq_asked" ] || return 1
    case $1/ in
{% for place in system.copy_places %}
        {{ place | quote }}*) return 0 ;;
{% endfor %}
    esac
    return 1
}

ask() { # GET|PUT PLACE, names on standard input: have the agent answer, in $cloudq_request.answer
    forget
    [ -d "$cloudq_copies" ] || fail 1 "no agent has made $cloudq_copies"
    cloudq_request=$(mktemp "$cloudq_copies/XXXXXXXXXX") || exit 1
    { printf '%s\n' "$1" "$2" && cat; } >"$cloudq_request" || exit 1
    mv "$cloudq_request" "$cloudq_request.request" || exit 1
    cloudq_tries=0
    until [ -e "$cloudq_request.answer" ]; do
        [ "$cloudq_tries" -lt 600 ] || fail 75 "the agent of system $SYSTEM has not answered for ten minutes"
        cloudq_tries=$((cloudq_tries + 1))
        sleep 1
        ls "$cloudq_copies" >/dev/null # else NFS remembers for a while that there is no such file
    done
    IFS= read -r cloudq_kind <"$cloudq_request.answer"
    case $cloudq_kind in
        file | folder) ;;
        *) fail 1 "the agent of system $SYSTEM: $cloudq_kind" ;;
    esac
}

by_curl() { # GET|PUT FILE, the URL on standard input
    case $1 in
        GET) sed 's/.*/url = "&"/' | curl -qfsSg -K - -o "$2" ;;
        PUT) sed 's/.*/url = "&"/' | curl -qfsSg -K - -H Expect: -o /dev/null -T "$2" ;;
    esac
}

by_python() { # the same
    python3 -c '
import os, shutil, sys, urllib.request
method, path = sys.argv[1:]
url = sys.stdin.readline().strip()
try:
    if method == "GET":
        with urllib.request.urlopen(url) as answer, open(path, "wb") as file:
            shutil.copyfileobj(answer, file)
            if file.tell() != int(answer.headers.get("Content-Length", file.tell())):
                sys.exit("cloudq_cs_cp: the answer broke off")
    else:
        with open(path, "rb") as file:
            headers = {"Content-Length": str(os.path.getsize(path)), "Content-Type": "binary/octet-stream"}
            urllib.request.urlopen(urllib.request.Request(url, file, headers, method=method)).close()
except OSError as error:
    sys.exit("cloudq_cs_cp: %s" % error)
' "$1" "$2"
}

transfer() { # GET|PUT URL FILE
    if command -v curl >/dev/null 2>&1; then
        cloudq_way=by_curl
    elif command -v python3 >/dev/null 2>&1; then
        cloudq_way=by_python
    else
        fail 127 "neither curl nor python3 is installed on $(uname -n)"
    fi
    for cloudq_pause in 1 5 0; do
        ! printf '%s\n' "$2" | "$cloudq_way" "$1" "$3" || return 0
        sleep "$cloudq_pause"
    done
    return 1
}

get_file() { # URL FILE, which appears whole
    : >"$2.cloudq-part" || return 1
    if transfer GET "$1" "$2.cloudq-part"; then
        mv -f "$2.cloudq-part" "$2"
    else
        rm -f "$2.cloudq-part"
        return 1
    fi
}

put_file() { # URL FILE
    [ -z "$(find -L "$2" -size +10485760 2>/dev/null)" ] || fail 1 "$2: larger than 5 GiB"
    transfer PUT "$1" "$2"
}

each_file() { # COMMAND FOLDER: COMMAND URL FILE for each of the answer, until one fails
    cloudq_done=0
    {
        IFS= read -r cloudq_kind
        while IFS= read -r cloudq_url && IFS= read -r cloudq_name; do
            "$1" "$cloudq_url" "$2/$cloudq_name" || break
            cloudq_last=$cloudq_name
            cloudq_done=$((cloudq_done + 1))
        done
    } <"$cloudq_request.answer"
    [ "$cloudq_done" -gt 0 ] || fail 1 "$cloudq_name could not be copied"
}

get_below() { # URL FILE, whose folder may be missing
    mkdir -p "${2%/*}" && get_file "$1" "$2"
}

answered() { # the number of files in the answer
    echo $((($(wc -l <"$cloudq_request.answer") - 1) / 2))
}

get() { # PLACE TARGET
    ask GET "$1" </dev/null
    if [ "$cloudq_kind" = file ]; then
        case $2 in */) mkdir -p "$2" || exit 1 ;; esac
        cloudq_target=$2
        [ ! -d "$2" ] || cloudq_target=${2%/}/${1##*/}
        { IFS= read -r cloudq_kind && IFS= read -r cloudq_url; } <"$cloudq_request.answer"
        get_file "$cloudq_url" "$cloudq_target" || fail 1 "$1 could not be copied"
        return
    fi
    mkdir -p "$2" || exit 1
    while cloudq_answered=$(answered) && [ "$cloudq_answered" -gt 0 ]; do
        each_file get_below "${2%/}"
        [ "$cloudq_answered" -ge 1000 ] || [ "$cloudq_done" -lt "$cloudq_answered" ] || return 0
        ask GET "$1" <<END_OF_NAME
$cloudq_last
END_OF_NAME
    done
}

put() { # SOURCE PLACE
    if [ ! -d "$1" ]; then
        [ -f "$1" ] || fail 1 "$1: no such file"
        cloudq_target=$2
        case $2 in */) cloudq_target=$2${1##*/} ;; esac
        ask PUT "$cloudq_target" </dev/null
        { IFS= read -r cloudq_kind && IFS= read -r cloudq_url; } <"$cloudq_request.answer"
        put_file "$cloudq_url" "$1" || fail 1 "$1 could not be copied"
        return
    fi
    [ -z "$(find "$1/." -name '*
*' | head -n 1)" ] || fail 1 "$1: a name with a line break cannot be copied"
    [ -z "$(find "$1/." -type l | head -n 1)" ] || printf 'cloudq_cs_cp: %s\n' "$1: links are left out" >&2
    make_temporary
    (cd "$1" && find . -type f) | sed 's,^\./,,' >"$cloudq_temporary/names"
    cloudq_next=1
    while sed -n "$cloudq_next,$((cloudq_next + 999))p" "$cloudq_temporary/names" >"$cloudq_temporary/some" &&
        [ -s "$cloudq_temporary/some" ]; do
        ask PUT "$2" <"$cloudq_temporary/some"
        each_file put_file "${1%/}"
        cloudq_next=$((cloudq_next + cloudq_done))
    done
}

by_aws() { # SRC DST
    command -v aws >/dev/null 2>&1 || fail 127 "the command aws is not installed on system $SYSTEM"
    cloudq_source=$1
    cloudq_target=$2
    set --
    [ -z "$cloudq_endpoint" ] || set -- "$@" --endpoint-url "$cloudq_endpoint"
    [ -z "$cloudq_profile" ] || set -- "$@" --profile "$cloudq_profile"
    cloudq_folder=no
    case $cloudq_source in
        s3://*/) cloudq_folder=yes ;;
        s3://*/*) if aws "$@" s3 ls "$cloudq_source/" >/dev/null 2>&1; then cloudq_folder=yes; fi ;;
        s3://*) cloudq_folder=yes ;;
        *) if [ -d "$cloudq_source" ]; then cloudq_folder=yes; fi ;;
    esac
    # It must be told of a folder.
    set -- "$@" s3 cp --no-progress
    [ "$cloudq_folder" = no ] || set -- "$@" --recursive
    aws "$@" "$cloudq_source" "$cloudq_target"
}

copy() { # SRC DST
    case "$1 $2" in
        s3://*' s3://'*)
            if is_given "$1" || is_given "$2"; then
                make_temporary
                cloudq_source=${1%/}
                set -- "$1" "$2" "$cloudq_temporary/${cloudq_source##*/}"
                copy "$1" "$3" && copy "$3" "$2"
            else
                by_aws "$1" "$2"
            fi
            ;;
        s3://*) if is_given "$1"; then get "$1" "$2"; else by_aws "$1" "$2"; fi ;;
        *' s3://'*) if is_given "$2"; then put "$1" "$2"; else by_aws "$1" "$2"; fi ;;
        *) cp -R -- "$1" "$2" ;;
    esac
}

path() { # prints a place in S3 as it is, and a path so that it does not look like an option
    case $1 in -*) printf './%s\n' "$1" ;; *) printf '%s\n' "$1" ;; esac
}

if [ "$#" -lt 2 ] || [ "$#" -gt 4 ]; then
    fail 2 "expected SRC DST [ENDPOINT [PROFILE]], got $# arguments"
fi
cloudq_asked=${3-}${4-} # with keys that the job names, it does not need the agent's help
cloudq_endpoint=${3:-$cloudq_endpoint}
cloudq_profile=${4:-$cloudq_profile}
copy "$(path "$1")" "$(path "$2")"
