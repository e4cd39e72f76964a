cloudq_container_run() {
    echo "cloudq_container_run: no container runtime is configured on system $SYSTEM" >&2
    return 127
}
