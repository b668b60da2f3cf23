# bash completion for coracle, also under the names docker and podman:
#   source <(coracle completion bash)

_coracle() {
    local line=${COMP_LINE:0:COMP_POINT} words word last candidates directive
    # COMP_WORDS is cut at : and =, which names and flags contain.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    last=${words[-1]}
    candidates=$("${words[0]}" __complete "${words[@]:1}" 2>/dev/null) || return
    directive=${candidates##*:}
    candidates=${candidates%:*}
    # What bash already counts as a word of its own stays.
    local kept=""
    [[ $last == *[:=]* ]] && kept=${last%"${last##*[:=]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        [[ -n $word ]] && COMPREPLY+=("${word#"$kept"}")
    done <<<"$candidates"
    ((directive & 2)) && compopt -o nospace 2>/dev/null
    if ((!(directive & 4) && ${#COMPREPLY[@]} == 0)); then
        compopt -o default 2>/dev/null
    fi
}

complete -F _coracle coracle docker podman
