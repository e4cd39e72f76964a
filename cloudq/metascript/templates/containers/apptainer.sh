{#-
Apptainer and Singularity share this. `exec` ignores the image's entry point and keeps the environment.
A directory bound twice gives a warning each time, hence the case.
-#}
cloudq_container_run() {
    if [ "$#" -lt 2 ]; then
        echo "cloudq_container_run: expected IMAGE COMMAND..., got $# arguments" >&2
        return 2
    fi
    case $PWD/ in
        {{ (placement.work_dir ~ "/") | quote }}*) ;;
        *) set -- --bind "$PWD" "$@" ;;
    esac
    {{ system.container_runtime | quote }} exec{{ " --nv" if gpu }} --bind {{ placement.work_dir | quote }} --pwd "$PWD" "$@"
}
