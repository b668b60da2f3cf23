#!/usr/bin/env bash
# Integration tests of several containers without compose: a network, aliases, and loops that wait
# for what one depends on.
#   APP_IMAGE (with bash and python3)
set -euo pipefail

NET="it-$$"
trap 'docker rm -f it-db it-api it-proxy >/dev/null 2>&1 || true; docker network rm "$NET" "$NET-back" >/dev/null 2>&1 || true' EXIT

docker network inspect "$NET" >/dev/null 2>&1 || docker network create --driver bridge --label ci=true "$NET" >/dev/null
docker network create --internal "$NET-back" >/dev/null

docker run -d --name it-db --network "$NET-back" --network-alias db --hostname db1 "$APP_IMAGE" \
  python3 -u -c '
import socketserver
class Store(socketserver.StreamRequestHandler):
    data = {}
    def handle(self):
        for line in self.rfile:
            words = line.decode().split()
            if words[0] == "SET": self.data[words[1]] = words[2]; self.wfile.write(b"+OK\n")
            elif words[0] == "GET": self.wfile.write((self.data.get(words[1], "-") + "\n").encode())
            self.wfile.flush()
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", 6379), Store).serve_forever()' >/dev/null

docker create --name it-api --network "$NET" --network-alias api -e DB_HOST=db "$APP_IMAGE" \
  python3 -u -c '
import http.server, os, socket
class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with socket.create_connection((os.environ["DB_HOST"], 6379)) as db:
            words = self.path.strip("/").split("/")
            db.sendall((" ".join(words) + "\n").encode())
            answer = db.makefile().readline()
        self.send_response(200); self.end_headers(); self.wfile.write(answer.encode())
http.server.ThreadingHTTPServer(("", 8000), Api).serve_forever()' >/dev/null
docker network connect --alias backend "$NET-back" it-api
docker start it-api >/dev/null

wait_for_port() { # container host port
  local n=0
  until docker exec "$1" bash -c "</dev/tcp/$2/$3" 2>/dev/null; do
    n=$((n + 1))
    if [ $n -gt 300 ]; then
      echo "$2:$3 is not reachable from $1" >&2
      docker logs --tail 20 "$1" >&2
      return 1
    fi
    sleep 0.1
  done
}
wait_for_port it-api db 6379
wait_for_port it-api localhost 8000

get() { docker run --rm --network "$NET" "$APP_IMAGE" python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode().strip())' "$1"; }
[ "$(get http://api:8000/SET/answer/42)" = +OK ]
[ "$(get http://it-api:8000/GET/answer)" = 42 ]

# The database is in the back network only.
if docker run --rm --network "$NET" "$APP_IMAGE" getent hosts db; then echo "db must not be visible" >&2; exit 1; fi
docker exec it-api getent hosts db | awk '{ print $1 }' >db-address
[ "$(cat db-address)" = "$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' it-db)" ]
[ "$(docker inspect -f "{{with index .NetworkSettings.Networks \"$NET-back\"}}{{.IPAddress}}{{end}}" it-db)" = "$(cat db-address)" ]
rm db-address
docker inspect it-api | jq -e --arg net "$NET" '.[0].NetworkSettings.Networks[$net].Aliases | index("api")' >/dev/null
docker network inspect "$NET-back" -f '{{range .Containers}}{{println .Name}}{{end}}' | grep . | sort | tr '\n' ' ' | grep -qx 'it-api it-db '

# The host's side, by a published port that the engine chooses.
docker run -d --name it-proxy --network "$NET" -P --expose 8080 "$APP_IMAGE" python3 -m http.server 8080 --directory /etc >/dev/null
host_port="$(docker inspect --format='{{(index (index .NetworkSettings.Ports "8080/tcp") 0).HostPort}}' it-proxy)"
curl --retry 50 --retry-all-errors --retry-delay 0 -fsS "http://localhost:$host_port/hostname" >/dev/null
# One's network is another's.
docker run --rm --network container:it-proxy "$APP_IMAGE" bash -c '</dev/tcp/127.0.0.1/8080'

docker network disconnect "$NET-back" it-api
if docker exec it-api getent hosts db; then exit 1; fi
if docker network rm "$NET" 2>/dev/null; then echo "in use" >&2; exit 1; fi
docker rm -f it-db it-api it-proxy
docker network rm "$NET" "$NET-back"
[ -z "$(docker network ls --filter label=ci=true -q)" ]
