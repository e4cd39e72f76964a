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
{% if wants_apptainer %}
if ! command -v apptainer >/dev/null; then
{% if family == "debian" %}    apt-get -qq -o DPkg::Lock::Timeout=300 -y install "$AGENT_HOME/.cloudq-packages/{{ apptainer.file }}" >/dev/null
{% else %}    dnf -q -y install "$AGENT_HOME/.cloudq-packages/{{ apptainer.file }}" >/dev/null
{% endif %}fi
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
