#!/bin/bash
# Runs as root at each start of a compute node.
set -euo pipefail

AGENT_USER={{ user | quote }}
AGENT_HOME=$(getent passwd "$AGENT_USER" | cut -d: -f6)

rm -f /etc/sudoers.d/90-cloud-init-users
for group in sudo wheel admin adm lxd; do
    if id -nG "$AGENT_USER" | tr ' ' '\n' | grep -qx "$group"; then
        gpasswd -d "$AGENT_USER" "$group" >/dev/null
    fi
done
{% if apptainer %}
if ! command -v apptainer >/dev/null; then
    # It lies in the home directory of a user who runs jobs and could replace it, so root installs a copy of
    # its own, once it has been compared.
    folder=$(mktemp -d)
    chmod 755 "$folder"
    cp "$AGENT_HOME/.cloudq-packages/{{ apptainer_file }}" "$folder"
    if ! echo {{ apptainer.sha256 | quote }}"  $folder/{{ apptainer_file }}" | sha256sum --check --quiet; then
        echo "cloudq: the package of Apptainer is not the one whose SHA-256 is known" >&2
        exit 1
    fi
{% if family == "debian" %}    apt-get -qq -o DPkg::Lock::Timeout=300 -y install "$folder/{{ apptainer_file }}" >/dev/null
{% else %}    dnf -q -y install "$folder/{{ apptainer_file }}" >/dev/null
{% endif %}    rm -rf "$folder"
fi
{% endif %}{% if wants_docker %}
# Members of the group docker are as good as root on this node; that is what the preset asks for.
if ! command -v docker >/dev/null; then
{% if family == "debian" %}    apt-get -qq update
    apt-get -qq -o DPkg::Lock::Timeout=300 -y install --no-install-recommends docker.io >/dev/null
{% else %}    dnf -q -y install docker >/dev/null
{% endif %}fi
systemctl enable --now docker
gpasswd -a "$AGENT_USER" docker >/dev/null
{% endif %}
