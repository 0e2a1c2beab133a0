# Bash ends a word at a colon, and event types have colons: joins such words before they are completed,
# and removes what is typed of them from the candidates.
_switchyard() {
    local words=() word last at
    for ((at = 0; at <= COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        last=${#words[@]}
        if ((last > 0)) && [[ $word == :* || ${words[last - 1]} == *: ]]; then
            words[last - 1]+=$word
        else
            words+=("$word")
        fi
    done
    last=$((${#words[@]} - 1))
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$last typed=${words[last]}
    _clap_complete_switchyard "$1" "$typed" "$3"
    local before=${typed%"${typed##*:}"}
    if [[ -n $before && ${#COMPREPLY[@]} -gt 0 ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}
if [[ ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 || ${BASH_VERSINFO[0]} -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _switchyard switchyard
else
    complete -o nospace -o bashdefault -F _switchyard switchyard
fi
