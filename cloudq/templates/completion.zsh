#compdef cloudqcli
# Completion of cloudqcli in zsh. After compinit: eval "$(cloudqcli completion zsh)"; that line in ~/.zshrc: for all.
_cloudqcli() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/cloudq command kind word
    local -a list
    for word in ${words[2,CURRENT-1]}; do
        case $word in
            ({{ commands | map(attribute="name") | join("|") }}) command=$word; break ;;
        esac
    done
    case $command:${words[CURRENT-1]} in
{% for command in commands %}
{% for option in command.options if option.takes %}
        ({% for name in option.names %}{{ "|" if not loop.first }}{{ command.name }}:{{ name }}{% endfor %}) kind={{ option.takes }}; list=({{ option.words | map("quote") | join(" ") }}) ;;
{% endfor %}
{% endfor %}
    esac
    if [[ -z $kind && ${words[CURRENT]} == -* ]]; then
        kind=words
        case $command in
{% for command in commands %}
            ({{ command.name }}) list=({{ command.option_names | join(" ") }}) ;;
{% endfor %}
            (*) list=(--config --log-level --version --help) ;;
        esac
    elif [[ -z $kind && -z $command ]]; then
        kind=words
        list=({{ commands | map(attribute="name") | join(" ") }})
    elif [[ -z $kind ]]; then
        case $command in
            ({{ commands | selectattr("takes", "equalto", "ids") | map(attribute="name") | join("|") }}) kind=ids ;;
            (*) kind=files ;;
        esac
    fi
    case $kind in
        (ids) list=(@last ${(f)"$(cut -f1 $cache/*/jobs(N) /dev/null 2>/dev/null)"}) ;;
        (systems) list=(ANY $cache/*/*.json(N:t:r)) ;;
        (files) _files; return ;;
        (value) return ;;
    esac
    compadd -- $list
}
compdef _cloudqcli cloudqcli
