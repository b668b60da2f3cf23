# registry.sh - a registry on loopback; sourced by scripts.
#   registry_start DIR LOG   starts Debian's docker-registry over DIR; sets registry_address
#   registry_stop            ends it
registry_pid=

registry_start() {
    local dir=$1 log=$2 port config try
    config=$(mktemp)
    for try in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 10000))
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue
        cat >"$config" <<X
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
X
        docker-registry serve "$config" >"$log" 2>&1 </dev/null &
        registry_pid=$!
        for _ in $(seq 100); do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && kill -0 "$registry_pid" 2>/dev/null; then
                rm -f "$config"
                registry_address=127.0.0.1:$port
                return 0
            fi
            kill -0 "$registry_pid" 2>/dev/null || break
            sleep 0.1
        done
        registry_stop
    done
    rm -f "$config"
    echo "the registry did not start:" >&2
    cat "$log" >&2
    return 1
}

registry_stop() {
    [ -n "$registry_pid" ] || return 0
    kill "$registry_pid" 2>/dev/null || true
    wait "$registry_pid" 2>/dev/null || true
    registry_pid=
}
