# fish completion for coracle, also under the names docker and podman:
#   coracle completion fish > ~/.config/fish/completions/coracle.fish

function __coracle_complete
    set -l words (commandline -opc)
    set -l lines ($words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)
    set -l directive (string sub -s 2 -- $lines[-1])
    set -e lines[-1]
    if test (count $lines) -gt 0
        printf '%s\n' $lines
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path (commandline -ct)
    end
end

for name in coracle docker podman
    complete -c $name -f -a '(__coracle_complete)'
end
