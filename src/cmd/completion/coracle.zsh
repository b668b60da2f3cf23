#compdef coracle docker podman
# zsh completion for coracle, also under the names docker and podman:
#   coracle completion zsh > "${fpath[1]}/_coracle"

_coracle() {
    local -a lines found
    local line directive
    lines=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    directive=${lines[-1]#:}
    for line in "${(@)lines[1,-2]}"; do
        # A colon in the word is not the one before its description.
        found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    local -a options
    (( directive & 2 )) && options+=(-S '')
    if (( ${#found} )); then
        _describe -t words word found $options
    elif (( ! (directive & 4) )); then
        _files
    fi
}

compdef _coracle coracle docker podman
