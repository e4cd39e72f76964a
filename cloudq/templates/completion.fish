# Completion of cloudqcli in fish. For all shells: cloudqcli completion fish > ~/.config/fish/completions/cloudqcli.fish
function __cloudqcli_cache
    set -q XDG_CACHE_HOME; and echo $XDG_CACHE_HOME/cloudq; or echo $HOME/.cache/cloudq
end
function __cloudqcli_ids
    echo @last
    for file in (__cloudqcli_cache)/*/jobs
        cut -f1,2 $file
    end
end
function __cloudqcli_systems
    echo ANY
    for file in (__cloudqcli_cache)/*/*.json
        basename $file .json
    end
end
complete -c cloudqcli -n __fish_use_subcommand -f
{% for command in commands %}
complete -c cloudqcli -n __fish_use_subcommand -a {{ command.name }} -d {{ command.help | quote }}
{% if command.takes == "ids" %}
complete -c cloudqcli -n '__fish_seen_subcommand_from {{ command.name }}' -f -a '(__cloudqcli_ids)'
{% endif %}
{% for option in command.options %}
complete -c cloudqcli -n '__fish_seen_subcommand_from {{ command.name }}'
{%- for name in option.names %} {{ "-l " ~ name[2:] if name.startswith("--") else "-s " ~ name[1:] }}{% endfor %}
{{- {"": "", "ids": " -x -a '(__cloudqcli_ids)'", "systems": " -x -a '(__cloudqcli_systems)'", "files": " -r -F", "value": " -x", "words": " -x -a " ~ (option.words | join(" ") | quote)}[option.takes] }} -d {{ option.help | quote }}
{% endfor %}
{% endfor %}
