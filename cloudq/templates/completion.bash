# Completion of cloudqcli in bash. For this shell: eval "$(cloudqcli completion bash)"; that line in ~/.bashrc: for all.
_cloudqcli() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/cloudq command='' kind='' words='' word file
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            {{ commands | map(attribute="name") | join("|") }}) command=$word; break ;;
        esac
    done
    COMPREPLY=()
    case $command:$previous in
{% for command in commands %}
{% for option in command.options if option.takes %}
        {% for name in option.names %}{{ "|" if not loop.first }}{{ command.name }}:{{ name }}{% endfor %}) kind={{ option.takes }} words={{ option.words | join(" ") | quote }} ;;
{% endfor %}
{% endfor %}
    esac
    if [[ -z $kind && $current == -* ]]; then
        kind=words
        case $command in
{% for command in commands %}
            {{ command.name }}) words={{ command.option_names | join(" ") | quote }} ;;
{% endfor %}
            *) words='--config --log-level --version --help' ;;
        esac
    elif [[ -z $kind && -z $command ]]; then
        kind=words words={{ commands | map(attribute="name") | join(" ") | quote }}
    elif [[ -z $kind ]]; then
        case $command in
            {{ commands | selectattr("takes", "equalto", "ids") | map(attribute="name") | join("|") }}) kind=ids ;;
        esac
    fi
    case $kind in
        ids) words="@last $(cut -f1 "$cache"/*/jobs 2>/dev/null)" ;;
        systems)
            for file in "$cache"/*/*.json; do
                file=${file##*/}
                [[ $file == '*.json' ]] || words+=" ${file%.json}"
            done
            words+=' ANY'
            ;;
        words) ;;
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o bashdefault -o default -F _cloudqcli cloudqcli
