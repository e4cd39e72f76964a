{#- The file is written for these shells, and may not bear `set -eu`. -#}
if [ -r /etc/profile.d/modules.sh ] && [ -n "${BASH_VERSION-}${ZSH_VERSION-}${KSH_VERSION-}" ]; then
    cloudq_flags=$-
    set +eu
    # shellcheck source=/dev/null
    . /etc/profile.d/modules.sh
    case $cloudq_flags in *e*) set -e ;; esac
    case $cloudq_flags in *u*) set -u ;; esac
fi
