#!/bin/bash
# Runs once as root on the head node, when Slurm has been configured: installs the agent from the set-up
# bucket and starts it as {{ user }}. A status other than 0 makes the whole cluster fail, with what is
# printed last as the reason, so nothing goes on after an error.
set -euo pipefail

SETUP={{ setup_url | quote }}
AGENT_USER={{ user | quote }}
AGENT_SHA256={{ agent_sha256 | quote }}
AGENT_HOME=$(getent passwd "$AGENT_USER" | cut -d: -f6)
export AWS_DEFAULT_REGION={{ region | quote }}

fail() {
    echo "cloudq: $*" >&2
    exit 1
}

fetch() {
    aws s3 cp --only-show-errors "$SETUP/$1" "$2" || fail "cannot fetch $SETUP/$1"
}

# The newest Python of the image that is new enough: the system's, or the one that ParallelCluster brings.
find_python() {
    local python
    for python in /usr/bin/python3.1[0-9] /opt/parallelcluster/pyenv/versions/*/bin/python3 /usr/bin/python3; do
        if [ -x "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < {{ python_floor }})'; then
            echo "$python"
            return
        fi
    done
    fail "no Python {{ python_floor }} or later in this image"
}

# No way to become root: neither for the agent nor for the jobs it starts.
take_sudo_away() {
    rm -f /etc/sudoers.d/90-cloud-init-users
    for group in sudo wheel admin adm lxd docker; do
        if id -nG "$AGENT_USER" | tr ' ' '\n' | grep -qx "$group"; then
            gpasswd -d "$AGENT_USER" "$group" >/dev/null
        fi
    done
}

install_agent() {
    install -d -m 755 /opt/cloudq /etc/cloudq
    fetch agent.zip /opt/cloudq/agent.zip
    echo "$AGENT_SHA256  /opt/cloudq/agent.zip" | sha256sum --check --quiet ||
        fail "agent.zip in the set-up bucket is not the one that was put there"
    "$PYTHON" -m zipfile -e /opt/cloudq/agent.zip /opt/cloudq/lib
    chmod -R a+rX,go-w /opt/cloudq
    fetch config.ini /etc/cloudq/config.ini
    chmod 644 /etc/cloudq/config.ini
    install -d -o "$AGENT_USER" -g "$(id -g "$AGENT_USER")" -m 700 "$AGENT_HOME/.cloudq"
    cat >/opt/cloudq/cloudqd <<END
#!/bin/sh
PYTHONPATH=/opt/cloudq/lib exec $PYTHON -c 'from cloudq.agent.cli import main; main(prog_name="cloudqd")' "\$@"
END
    chmod 755 /opt/cloudq/cloudqd
}
{% if secret_arn %}
# The keys of a store outside AWS stay in Secrets Manager: asked for when needed, never written.
install_store_keys() {
    cat >/opt/cloudq/store-keys <<'END'
#!/bin/sh
exec aws secretsmanager get-secret-value --region {{ secret_region | quote }} --secret-id {{ secret_arn | quote }} \
    --query SecretString --output text
END
    chmod 755 /opt/cloudq/store-keys
    install -d -o "$AGENT_USER" -g "$(id -g "$AGENT_USER")" -m 700 "$AGENT_HOME/.aws"
    printf '[profile cs]\ncredential_process = /opt/cloudq/store-keys\n' >"$AGENT_HOME/.aws/config"
    chown "$AGENT_USER" "$AGENT_HOME/.aws/config"
}
{% endif %}
{% if apptainer %}
# Apptainer is fetched once; the compute nodes take it from the folder that they share with this one.
fetch_apptainer() {
    local package="$AGENT_HOME/.cloudq-packages/{{ apptainer_file }}"
    install -d -m 755 "$AGENT_HOME/.cloudq-packages"
    curl --fail --silent --show-error --location --retry 5 --output "$package" {{ apptainer.url | quote }} ||
        fail "cannot fetch "{{ apptainer.url | quote }}
    echo {{ apptainer.sha256 | quote }}"  $package" | sha256sum --check --quiet ||
        fail {{ apptainer.url | quote }}" is not the package whose SHA-256 is known"
}
{% endif %}
# The end: the agent, which may not do it itself, asks by a file that systemd watches.
install_end() {
    install -d -m 755 /var/lib/cloudq
    cat >/opt/cloudq/end-cluster <<'END'
#!/bin/bash
# Shuts the fleet and then this host down. The compute nodes end by themselves when this host is gone, too.
PATH=/opt/slurm/bin:$PATH
scontrol update nodename=ALL state=power_down_force reason="cloudq: the end" || true
for _ in $(seq 30); do
    sinfo --noheader --states=alloc,mix,comp,power_up --format=%n | grep -q . || break
    sleep 10
done
shutdown -h now "cloudq: the lease has ended, or there was nothing to do"
END
    cat >/opt/cloudq/fetch-lease <<'END'
#!/bin/sh
# What `cloudqaws extend` and `cloudqaws delete` wrote; the agent reads the file.
aws s3 cp --only-show-errors "$1/lease" /var/lib/cloudq/term.new && chmod 644 /var/lib/cloudq/term.new &&
    mv /var/lib/cloudq/term.new /var/lib/cloudq/term
END
    chmod 755 /opt/cloudq/end-cluster /opt/cloudq/fetch-lease
    /opt/cloudq/fetch-lease "$SETUP"
}

install_units() {
    cat >/etc/systemd/system/cloudqd.service <<END
[Unit]
Description=CloudQ agent
After=network-online.target slurmctld.service
Wants=network-online.target

[Service]
User=$AGENT_USER
WorkingDirectory=$AGENT_HOME
Environment=PATH=/opt/slurm/bin:/usr/local/bin:/usr/bin:/bin
Environment=AWS_DEFAULT_REGION=$AWS_DEFAULT_REGION
ExecStart=/opt/cloudq/cloudqd --foreground --config /etc/cloudq/config.ini
Restart=always
RestartSec=15
RuntimeDirectory=cloudq
RuntimeDirectoryPreserve=yes
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
END
    cat >/etc/systemd/system/cloudq-lease.service <<END
[Service]
Type=oneshot
Environment=AWS_DEFAULT_REGION=$AWS_DEFAULT_REGION
ExecStart=/opt/cloudq/fetch-lease $SETUP
END
    cat >/etc/systemd/system/cloudq-lease.timer <<'END'
[Timer]
OnBootSec=2min
OnUnitActiveSec=1min

[Install]
WantedBy=timers.target
END
    cat >/etc/systemd/system/cloudq-end.path <<'END'
[Path]
PathExists=/run/cloudq/end

[Install]
WantedBy=paths.target
END
    cat >/etc/systemd/system/cloudq-end.service <<'END'
[Service]
Type=oneshot
ExecStart=/opt/cloudq/end-cluster
END
}

# The agent's log and what jobs print, beside the logs of ParallelCluster. Each file of a job is a stream of its own, named
# after its path; without publish_multi_logs only the newest would be sent (CloudWatch agent, plugins/inputs/logfile).
log_to_cloudwatch() {
    local ctl=/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl group home=$AGENT_HOME/.cloudq
    group=$(sed -n 's/.*"log_group_name": *"\([^"]*\)".*/\1/p' \
        /etc/parallelcluster/amazon-cloudwatch-agent/*.json \
        /opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/*.json \
        /opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json 2>/dev/null | head -n 1) || true
    if [ ! -x "$ctl" ] || [ -z "$group" ]; then
        echo "cloudq: no CloudWatch agent: the logs of agent and jobs are only in the bucket"
        return
    fi
    cat >/opt/cloudq/cloudwatch.json <<END
{"logs": {"logs_collected": {"files": {"collect_list": [
    {"file_path": "$home/cloudqd.log", "log_group_name": "$group", "log_stream_name": "cloudqd"},
    {"file_path": "$home/spool/*/stdout*", "log_group_name": "$group", "log_stream_name": "job", "publish_multi_logs": true},
    {"file_path": "$home/spool/*/stderr*", "log_group_name": "$group", "log_stream_name": "job", "publish_multi_logs": true}
]}}}}
END
    "$ctl" -a append-config -m ec2 -s -c file:/opt/cloudq/cloudwatch.json >/dev/null ||
        echo "cloudq: the logs of agent and jobs are only in the bucket"
}

wait_for_slurm() {
    for _ in $(seq 60); do
        if /opt/slurm/bin/scontrol ping 2>/dev/null | grep -q 'UP$\|is UP'; then
            return
        fi
        sleep 5
    done
    fail "Slurm does not answer"
}

[ -n "$AGENT_HOME" ] || fail "no user $AGENT_USER in this image"
PYTHON=$(find_python)
take_sudo_away
install_agent
{% if secret_arn %}install_store_keys
{% endif %}{% if apptainer %}fetch_apptainer
{% endif %}install_end
install_units
log_to_cloudwatch
wait_for_slurm
systemctl daemon-reload
systemctl enable --now --no-block cloudq-lease.timer cloudq-end.path cloudqd.service
echo "cloudq: the agent has been started"
