{#- In a subshell, so that its variables are its own. `aws s3 cp` must be told of a folder. -#}
cloudq_cs_cp() (
    if [ "$#" -lt 2 ] || [ "$#" -gt 4 ]; then
        echo "cloudq_cs_cp: expected SRC DST [ENDPOINT [PROFILE]], got $# arguments" >&2
        exit 2
    fi
    source=$1
    target=$2
    endpoint={{ system.endpoint_url | quote }}
    endpoint=${3:-$endpoint}
    profile={{ system.profile | quote }}
    profile=${4:-$profile}
    case "$source $target" in
        s3://* | *' s3://'*) ;;
        *) exec cp -R -- "$source" "$target" ;;
    esac
    if ! command -v aws >/dev/null 2>&1; then
        echo "cloudq_cs_cp: the command aws is not installed on system $SYSTEM" >&2
        exit 127
    fi
    set --
    [ -z "$endpoint" ] || set -- "$@" --endpoint-url "$endpoint"
    [ -z "$profile" ] || set -- "$@" --profile "$profile"
    folder=no
    case $source in
        s3://*/) folder=yes ;;
        s3://*/*) if aws "$@" s3 ls "$source/" >/dev/null 2>&1; then folder=yes; fi ;;
        s3://*) folder=yes ;;
        *) if [ -d "$source" ]; then folder=yes; fi ;;
    esac
    set -- "$@" s3 cp --no-progress
    [ "$folder" = no ] || set -- "$@" --recursive
    exec aws "$@" "$source" "$target"
)

cq_cs_cp() {
    cloudq_cs_cp "$@"
}

abci_cs_cp() {
    cloudq_cs_cp "$@"
}

slurm_cs_cp() {
    cloudq_cs_cp "$@"
}
